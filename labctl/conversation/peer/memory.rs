//! What a web has in its memory: conversations and who owns them; changes that it decides on, changes that the other has
//! decided on, and the pieces in which all of it travels. It knows nothing of states, connections or clients.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::contract::{Ownership, Side};
use super::message::{Entry, PART_BYTES, PIECE_BYTES_MAX, Part};
use crate::conversation::{Command, ConversationId, Outcome, Store, Transcript};

/// Conversations and who owns them.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    store: Store,
    owners: BTreeMap<ConversationId, Ownership>,
}

/// What became of a command.
pub(super) enum Decision {
    /// It changed something: this.
    Changed(Outcome, Entry),
    /// It changed nothing.
    Settled(Outcome),
}

/// A change that contradicts what is known. Nothing that this program does leads to one.
#[derive(Debug)]
pub(super) struct Misfit;

/// How much of a memory was given away: every conversation up to one, and the beginning of another.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    through: Option<ConversationId>,
    begun: Option<(ConversationId, usize)>,
    ended: bool,
}

impl Cursor {
    /// Was everything given?
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Does the change concern what was given already? Whatever else has changed goes with a later piece.
    pub(super) fn is_past(&self, entry: &Entry) -> bool {
        let (Entry::Create { id, .. } | Entry::Append { id, .. }) = entry;
        self.ended || self.through.is_some_and(|through| *id <= through) || self.skips(id)
    }

    /// Does it come before a conversation of which the beginning was given? Then it has begun since.
    fn skips(&self, id: &ConversationId) -> bool {
        self.begun.is_some_and(|(begun, _)| *id < begun)
    }
}

impl Memory {
    pub(super) fn get(&self, id: &ConversationId) -> Option<&Arc<Transcript>> {
        self.store.get(id)
    }

    pub(super) fn ownership(&self, id: &ConversationId) -> Option<Ownership> {
        self.owners.get(id).copied()
    }

    /// Carries out a command as the owner. Of a conversation that this web does not own yet it becomes the owner; a new one
    /// belongs to `creator`.
    pub(super) fn decide(&mut self, me: Side, creator: Side, command: Command) -> Decision {
        match command {
            Command::Create { id } => {
                let known = self.store.get(&id).is_some();
                match self.store.apply(command) {
                    Outcome::Created if !known => {
                        let ownership = Ownership { owner: creator, epoch: 1 };
                        self.owners.insert(id, ownership);
                        Decision::Changed(Outcome::Created, Entry::Create { id, ownership })
                    }
                    outcome => Decision::Settled(outcome),
                }
            }
            Command::AppendTurn { id, ref key, ref body } => {
                let (key, body) = (key.clone(), body.clone());
                let outcome = self.store.apply(command);
                let Outcome::Appended { position, .. } = outcome else { return Decision::Settled(outcome) };
                let ownership = self.owners.entry(id).or_insert(Ownership { owner: me, epoch: 1 });
                if ownership.owner != me {
                    *ownership = Ownership { owner: me, epoch: ownership.epoch + 1 };
                }
                let ownership = *ownership;
                Decision::Changed(outcome, Entry::Append { id, ownership, position, key, body })
            }
        }
    }

    /// Applies what the owner has decided on.
    pub(super) fn adopt(&mut self, from: Side, entry: Entry) -> Result<Outcome, Misfit> {
        match entry {
            Entry::Create { id, ownership } => {
                if self.store.get(&id).is_some() {
                    return Err(Misfit);
                }
                self.owners.insert(id, ownership);
                Ok(self.store.adopt(Command::Create { id }))
            }
            Entry::Append { id, ownership, position, key, body } => {
                let known = self.ownership(&id).ok_or(Misfit)?;
                let continued = known == ownership || known.epoch < ownership.epoch;
                if ownership.owner != from || !continued {
                    return Err(Misfit);
                }
                let outcome = self.store.adopt(Command::AppendTurn { id, key, body });
                self.owners.insert(id, ownership);
                match outcome {
                    Outcome::Appended { position: here, .. } if here == position => Ok(outcome),
                    _ => Err(Misfit),
                }
            }
        }
    }

    /// The next piece of everything, with so much text or one turn; it is empty at most if there is nothing left.
    pub(super) fn piece(&self, cursor: &mut Cursor, bytes_max: usize) -> Vec<Part> {
        let bytes_max = bytes_max.min(PIECE_BYTES_MAX);
        let mut parts = Vec::new();
        if cursor.ended {
            return parts;
        }
        let mut bytes = 0;
        for (id, transcript) in self.store.iter_after(cursor.through) {
            if cursor.skips(id) {
                continue;
            }
            if bytes + PART_BYTES > bytes_max && !parts.is_empty() {
                return parts;
            }
            bytes += PART_BYTES;
            let from = cursor.begun.filter(|(begun, _)| begun == id).map_or(0, |(_, turns)| turns);
            let ownership = self.ownership(id).unwrap_or(Ownership { owner: Side::First, epoch: 0 });
            let mut part = Part { id: *id, ownership, from: from as u64, turns: Vec::new() };
            for turn in &transcript.turns()[from..] {
                let cost = turn.key.as_str().len() + turn.body.len() + PART_BYTES;
                let first = parts.is_empty() && part.turns.is_empty();
                if bytes + cost > bytes_max && !first {
                    cursor.begun = Some((*id, from + part.turns.len()));
                    parts.push(part);
                    return parts;
                }
                bytes += cost;
                part.turns.push((turn.key.clone(), turn.body.clone()));
            }
            parts.push(part);
            cursor.through = Some(*id);
        }
        cursor.ended = true;
        parts
    }

    /// Takes a part of a piece.
    pub(super) fn take(&mut self, part: Part) -> Result<(), Misfit> {
        let Part { id, ownership, from, turns } = part;
        self.store.adopt(Command::Create { id });
        self.owners.insert(id, ownership);
        for (place, (key, body)) in (from..).zip(turns) {
            match self.store.adopt(Command::AppendTurn { id, key, body }) {
                Outcome::Appended { position, .. } if position == place => {}
                _ => return Err(Misfit),
            }
        }
        Ok(())
    }

    /// How many of its turns another memory has not.
    pub(super) fn turns_missing_in(&self, other: &Self) -> u64 {
        let missing = self.store.iter().map(|(id, transcript)| {
            let there = other.get(id).map_or(&[][..], |transcript| transcript.turns());
            let there: HashSet<_> = there.iter().map(|turn| &turn.key).collect();
            transcript.turns().iter().filter(|turn| !there.contains(&turn.key)).count() as u64
        });
        missing.sum()
    }
}
