//! How one web gives the other everything: pieces, and between them what changes in what was given already, until both have
//! the same and are a pair. It knows nothing of the witness.

use super::contract::{Cause, Member, Notice};
use super::machine::{Admission, Blank, Bond, Half, Peer, Phase, Sole, Staging};
use super::message::{Copied, Entry, Message, Pairing, Part, Standing};

/// Pieces on their way at once: enough that the other is never idle, few enough that a turn does not wait long behind them.
const PIECES_IN_FLIGHT: u64 = 4;

impl Peer {
    /// Gives the other what it needs, as far as that is ready to take it.
    pub(super) fn admit(&mut self) {
        let peer = self.link.as_ref().and_then(|link| link.peer);
        let Some((joiner, Standing::Blank { .. } | Standing::Half { .. })) = peer else { return };
        let Phase::Sole(sole) = &mut self.phase else { return };
        let mut messages = Vec::new();
        let admission = sole.admission.get_or_insert_with(|| {
            messages.push(Message::Snapshot);
            Admission::default()
        });
        while admission.given - admission.taken < PIECES_IN_FLIGHT && !admission.cursor.has_ended() {
            let parts = self.memory.piece(&mut admission.cursor, self.config.piece_bytes);
            if !parts.is_empty() {
                admission.given += 1;
                messages.push(Message::Piece { number: admission.given, parts });
            }
        }
        let complete = admission.cursor.has_ended();
        messages.into_iter().for_each(|message| self.say(message));
        if complete {
            self.pair_up(joiner);
        }
    }

    /// Everything is given: from now on nothing is acknowledged without the other, until the witness begins another term. Whoever
    /// needs permission keeps to that even if the other never hears of it, so that one that has heard of it may rely on that.
    fn pair_up(&mut self, joiner: Member) {
        let (Phase::Sole(sole), Some(copy)) = (&mut self.phase, self.copy) else { return };
        let Sole { licensed, lease, waits_until, turns, .. } = *sole;
        self.pairings += 1;
        let pairing = Pairing { source: self.config.me, joiner, number: self.pairings };
        let mut half = Half::new(pairing, Cause::Admitted);
        half.before = Some(Sole { licensed, lease, waits_until, turns, admission: None });
        #[cfg(test)]
        if self.has(super::tests::Flaw::VouchesEarly) {
            half.before = None;
        }
        self.phase = Phase::Half(half);
        self.asks.forget();
        self.say(Message::PairUp { pairing, copy });
        self.go_on_as_pair();
    }

    pub(super) fn piece_taken(&mut self, number: u64) -> bool {
        let Phase::Sole(Sole { admission: Some(admission), .. }) = &mut self.phase else { return false };
        let expected = number == admission.taken + 1 && number <= admission.given;
        admission.taken += u64::from(expected);
        expected
    }

    /// Passes a change on to whoever is being given everything.
    pub(super) fn pass_on(&mut self, entry: Entry) {
        let Phase::Sole(Sole { admission: Some(admission), .. }) = &self.phase else { return };
        if admission.cursor.is_past(&entry) {
            self.say(Message::Tail { entry });
        }
    }

    /// The other begins to give everything.
    pub(super) fn begin_to_join(&mut self) {
        if let Phase::Half(_) = self.phase {
            self.give_way();
        }
        if let Phase::Blank(blank) = &mut self.phase {
            blank.staging = Some(Staging::default());
        }
    }

    pub(super) fn take_piece(&mut self, number: u64, parts: Vec<Part>) -> bool {
        let Phase::Blank(Blank { staging: Some(staging), .. }) = &mut self.phase else { return false };
        if number != staging.pieces + 1 || parts.into_iter().any(|part| staging.memory.take(part).is_err()) {
            return false;
        }
        staging.pieces = number;
        self.say(Message::PieceTaken { number });
        true
    }

    pub(super) fn take_tail(&mut self, from: Member, entry: Entry) -> bool {
        let Phase::Blank(Blank { staging: Some(staging), .. }) = &mut self.phase else { return false };
        staging.memory.adopt(from.side, entry).is_ok()
    }

    /// It has everything.
    pub(super) fn join(&mut self, source: Member, pairing: Pairing, copy: Copied) -> bool {
        let Phase::Blank(Blank { staging, turns_alone }) = &mut self.phase else { return false };
        let Some(Staging { memory, .. }) = staging.take() else { return false };
        if pairing.joiner != self.config.me || pairing.source != source {
            return false;
        }
        if *turns_alone > 0 {
            let turns_lost = self.memory.turns_missing_in(&memory);
            self.tell(Notice::Diverged { turns_lost });
        }
        self.memory = memory;
        self.copy = Some(copy);
        self.phase = Phase::Half(Half::new(pairing, Cause::Joined));
        self.asks.forget();
        self.say(Message::Joined { pairing });
        true
    }
}

impl Half {
    /// One of two that have the same now.
    fn new(pairing: Pairing, because: Cause) -> Self {
        Self {
            pairing,
            applied: 0,
            sent: 0,
            unacked: Default::default(),
            before: None,
            noted: false,
            bond: Bond::Live,
            because,
        }
    }

    /// The joiner says that it has everything.
    pub(super) fn confirm(&mut self, pairing: Pairing) -> bool {
        self.before = None;
        pairing == self.pairing && self.bond == Bond::Live
    }
}
