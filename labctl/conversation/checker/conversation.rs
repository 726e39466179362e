//! One conversation: its turns, each the sum of its attempts, and what was told of it; and the first way in which they
//! contradict each other. It knows nothing of other conversations, nor how a contradiction is told.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::order::{self, Step};
use super::story::Contradiction;
use super::tally::Balance;
use crate::conversation::history::{Append, Ended, History, MonotonicNs, Telling};
use crate::conversation::names::{ConversationId, TurnKey};

/// A conversation as the history has it.
pub(super) struct Conversation<'h> {
    pub(super) id: ConversationId,
    pub(super) turns: HashMap<&'h TurnKey, Turn<'h>>,
    pub(super) tellings: Vec<&'h Telling>,
}

/// A turn: all attempts with one key. Since a memory appends a key at most once, it takes effect between the beginning of
/// its first attempt that was not refused and its first acknowledgement.
pub(super) struct Turn<'h> {
    pub(super) attempts: Vec<&'h Append>,
    /// The earliest attempt that may have taken effect.
    pub(super) begun: Option<&'h Append>,
    /// The earliest acknowledgement.
    pub(super) acknowledged: Option<(MonotonicNs, &'h Append)>,
}

impl<'h> Turn<'h> {
    fn add(&mut self, attempt: &'h Append) {
        self.attempts.push(attempt);
        if attempt.ended == Ended::Refused {
            return;
        }
        if self.begun.is_none_or(|begun| attempt.invoked_ns < begun.invoked_ns) {
            self.begun = Some(attempt);
        }
        if let Some((at_ns, _)) = attempt.acknowledged()
            && self.acknowledged.is_none_or(|(earliest_ns, _)| at_ns < earliest_ns)
        {
            self.acknowledged = Some((at_ns, attempt));
        }
    }
}

impl<'h> Conversation<'h> {
    /// All conversations of a history, in order of identifier.
    pub(super) fn all_of(history: &'h History) -> Vec<Self> {
        let mut all: BTreeMap<ConversationId, Self> = BTreeMap::new();
        let empty = |id| Self { id, turns: HashMap::new(), tellings: Vec::new() };
        for append in &history.appends {
            let of = all.entry(append.conversation).or_insert_with(|| empty(append.conversation));
            let none = || Turn { attempts: Vec::new(), begun: None, acknowledged: None };
            of.turns.entry(&append.key).or_insert_with(none).add(append);
        }
        for telling in &history.tellings {
            let of = all.entry(telling.conversation).or_insert_with(|| empty(telling.conversation));
            of.tellings.push(telling);
        }
        all.into_values().collect()
    }

    /// The final transcripts.
    pub(super) fn transcripts(&self) -> impl Iterator<Item = &'h Telling> {
        self.tellings.iter().copied().filter(|telling| telling.final_of().is_some())
    }

    /// Adds this conversation to the balance.
    pub(super) fn count(&self, balance: &mut Balance) {
        let kept: HashSet<&TurnKey> = self.longest().into_iter().flat_map(|longest| &longest.keys).collect();
        balance.conversations += 1;
        for (key, turn) in &self.turns {
            balance.turns += 1;
            balance.retried_turns += u64::from(turn.attempts.len() > 1);
            match (turn.acknowledged, turn.begun) {
                (Some(_), _) => balance.acknowledged_turns += 1,
                (None, None) => balance.refused_turns += 1,
                (None, Some(_)) => {
                    balance.unknown_turns += 1;
                    balance.unknown_turns_kept += u64::from(kept.contains(*key));
                }
            }
        }
    }

    /// The telling that all others must be a beginning of; a final one, if there are several.
    fn longest(&self) -> Option<&'h Telling> {
        let finals_last = |telling: &&Telling| (telling.keys.len(), telling.final_of().is_some());
        self.tellings.iter().copied().max_by_key(finals_last)
    }

    /// The first way in which this conversation contradicts itself. Of a conversation without a final transcript nothing
    /// is said: turns may be missing in what was read before the end, and nobody knows what came after it.
    pub(super) fn contradiction(&self) -> Option<Contradiction<'h>> {
        self.transcripts().next()?;
        let longest = self.longest()?;
        let places: HashMap<&TurnKey, usize> =
            longest.keys.iter().enumerate().map(|(place, key)| (key, place)).collect();
        self.strange(longest)
            .or_else(|| self.fork(longest))
            .or_else(|| self.lost(&places))
            .or_else(|| self.elsewhere(longest, &places))
            .or_else(|| {
                let (done, begun) = order::violation(self.steps(&places))?;
                Some(Contradiction::Order { done, begun })
            })
    }

    /// A turn that is told twice, or that nobody said.
    fn strange(&self, telling: &'h Telling) -> Option<Contradiction<'h>> {
        let mut places = HashMap::with_capacity(telling.keys.len());
        for (place, key) in telling.keys.iter().enumerate() {
            if let Some(first) = places.insert(key, place) {
                return Some(Contradiction::Duplicate { telling, key, places: (first, place) });
            }
            let turn = self.turns.get(key);
            if turn.is_none_or(|turn| turn.begun.is_none()) {
                let refused = turn.and_then(|turn| turn.attempts.last().copied());
                return Some(Contradiction::Phantom { telling, key, place, refused });
            }
        }
        None
    }

    /// A telling that is no beginning of the longest. If it also tells what cannot be, that is the better story.
    fn fork(&self, longest: &'h Telling) -> Option<Contradiction<'h>> {
        let other = |telling: &&Telling| longest.keys[..telling.keys.len()] != telling.keys[..];
        let telling = self
            .tellings
            .iter()
            .copied()
            .filter(other)
            .min_by_key(|telling| (telling.final_of().is_none(), telling.completed_ns))?;
        self.strange(telling).or_else(|| {
            let place = telling.keys.iter().zip(&longest.keys).position(|(here, there)| here != there)?;
            Some(Contradiction::Fork { tellings: (telling, longest), place })
        })
    }

    /// A final transcript without a turn that was acknowledged before it was asked for.
    fn lost(&self, places: &HashMap<&TurnKey, usize>) -> Option<Contradiction<'h>> {
        let shortest = self.transcripts().min_by_key(|telling| (telling.keys.len(), telling.completed_ns))?;
        let is_missing = |key| places.get(key).is_none_or(|place| *place >= shortest.keys.len());
        let missing = self.turns.iter().filter(|(key, _)| is_missing(*key));
        let (at_ns, append) =
            missing.filter_map(|(_, turn)| turn.acknowledged).min_by_key(|(at_ns, of)| (*at_ns, of.line))?;
        let kept_by = self.tellings.iter().copied().find(|telling| telling.keys.contains(&append.key));
        Some(Contradiction::Lost { append, at_ns, telling: shortest, kept_by })
    }

    /// An acknowledgement that named another position than that of the turn.
    fn elsewhere(
        &self,
        telling: &'h Telling,
        places: &HashMap<&TurnKey, usize>,
    ) -> Option<Contradiction<'h>> {
        let attempts = self.turns.values().flat_map(|turn| &turn.attempts);
        let wrong = attempts.filter_map(|append| {
            let (at_ns, Some(position)) = append.acknowledged()? else { return None };
            let place = *places.get(&append.key)?;
            (place as u64 != position).then_some((at_ns, append.line, *append, place))
        });
        let (at_ns, _, append, place) = wrong.min_by_key(|(at_ns, line, ..)| (*at_ns, *line))?;
        Some(Contradiction::Position { append, at_ns, telling, place })
    }

    /// What has a place in the order: the turns that are told at all, and the tellings.
    fn steps(&self, places: &HashMap<&TurnKey, usize>) -> Vec<Step<'h>> {
        let turns = self.turns.iter().filter_map(|(key, turn)| {
            Some(Step::Turn {
                place: *places.get(*key)?,
                begun: turn.begun?,
                acknowledged: turn.acknowledged,
            })
        });
        turns.chain(self.tellings.iter().map(|telling| Step::Telling(telling))).collect()
    }
}
