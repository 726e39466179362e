//! One web of peer memory: an event and the time in, actions out. Here is what it is and what it wants when; how it deals with
//! clients, the other web and the witness is in the rooms beside. It knows no socket and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use super::asking::Record;
use super::contract::{
    Action, Cause, Config, Degrade, DropCause, Event, Incarnation, Notice, RequestId, State, Time,
};
use super::link::Link;
use super::memory::{Cursor, Memory};
use super::message::{Copied, Pairing, Standing};
use super::requests::Requests;
use super::tenure::Asks;

/// One web. The driver calls [`Peer::handle`] for everything that happens and once [`Peer::next_deadline`] has come.
#[derive(Debug)]
pub struct Peer {
    pub(super) config: Config,
    /// When the latest event happened.
    pub(super) now: Time,
    state: State,
    /// Whole, or outdated: the phase tells.
    pub(super) memory: Memory,
    /// What the memory is a copy of; nothing if it is empty because nobody gave it anything.
    pub(super) copy: Option<Copied>,
    pub(super) phase: Phase,
    pub(super) link: Option<Link>,
    /// Since when there is no link, if there is none.
    pub(super) unlinked_since: Time,
    pub(super) asks: Asks,
    /// What the witness remembered when it was asked last.
    pub(super) record: Option<Record>,
    pub(super) requests: Requests,
    pub(super) probes: Probes,
    /// Counts the pairs that it was the source of.
    pub(super) pairings: u64,
    pub(super) superseded: bool,
    pub(super) actions: Vec<Action>,
    #[cfg(test)]
    pub(super) flaw: Option<super::tests::Flaw>,
}

/// What it is, with what only that has.
#[derive(Debug)]
pub(super) enum Phase {
    Blank(Blank),
    Half(Half),
    Sole(Sole),
}

/// It has nothing that counts.
#[derive(Debug, Default)]
pub(super) struct Blank {
    /// What it is about to have.
    pub(super) staging: Option<Staging>,
    /// Turns and conversations that it took alone. before it gave way to another who had been alone too.
    pub(super) turns_alone: u64,
}

/// A memory that is still on its way.
#[derive(Debug, Default)]
pub(super) struct Staging {
    pub(super) memory: Memory,
    pub(super) pieces: u64,
}

/// One of two who have the same.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) pairing: Pairing,
    /// Changes of the other that it has applied.
    pub(super) applied: u64,
    /// Changes of its own.
    pub(super) sent: u64,
    /// Those of them that the other may not have yet.
    pub(super) unacked: VecDeque<Unacked>,
    /// What it was before, until the joiner has said that it took everything.
    pub(super) before: Option<Sole>,
    /// Does the witness know?
    pub(super) noted: bool,
    pub(super) bond: Bond,
    /// How it became one of two that talk.
    pub(super) because: Cause,
}

/// What a half has of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bond {
    /// They talk.
    Live,
    /// They do not.
    Apart {
        /// Since when.
        since: Time,
        /// Has the witness said that this one is not a holder?
        refused: bool,
    },
}

/// A change that the other may not have yet.
#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) number: u64,
    pub(super) entry: super::message::Entry,
    /// The own client that waits for it.
    pub(super) own: Option<RequestId>,
    /// The client of the other that waits for it.
    pub(super) theirs: Option<RequestId>,
}

/// The only one that has everything, or the one that is to stay if both believe that.
#[derive(Debug)]
pub(super) struct Sole {
    /// Does the witness know?
    pub(super) licensed: bool,
    /// Until when it may answer, and when it asked for that.
    pub(super) lease: Option<Lease>,
    /// Before this it rather waits for the other than be alone: memory has only begun.
    pub(super) waits_until: Time,
    pub(super) admission: Option<Admission>,
    /// Turns and conversations that it took alone.
    pub(super) turns: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) from: Time,
    pub(super) until: Time,
}

/// Giving the other everything.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pub(super) cursor: Cursor,
    pub(super) given: u64,
    pub(super) taken: u64,
}

/// Questions to the other, of which one at a time is on its way.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) asked: u64,
    pub(super) in_flight: bool,
}

/// What it may do for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Footing {
    /// Together with the other.
    Paired,
    /// By itself.
    Alone,
    /// Nothing now, but soon this or that.
    Waiting,
    /// Nothing.
    None,
}

impl Peer {
    /// A web that has just started, with nothing in its memory.
    pub fn new(config: Config, now: Time) -> Self {
        Self {
            config,
            now,
            state: State::Joining,
            memory: Memory::default(),
            copy: None,
            phase: Phase::Blank(Blank::default()),
            link: None,
            unlinked_since: now,
            asks: Asks::default(),
            record: None,
            requests: Requests::default(),
            probes: Probes::default(),
            pairings: 0,
            superseded: false,
            actions: Vec::new(),
            #[cfg(test)]
            flaw: None,
        }
    }

    /// What it is, as of the last event.
    pub fn state(&self) -> State {
        self.state
    }

    /// The life of the other web, as far as it is connected.
    pub fn other(&self) -> Option<Incarnation> {
        self.link.as_ref()?.peer.map(|(member, _)| member.incarnation)
    }

    /// The memory's beginning and the term in which it was whole last, if it has one.
    pub fn copy(&self) -> Option<Copied> {
        self.copy
    }

    /// Takes one event, at this time, and says what to do about it.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        // A lease may have run out, or patience, since the last event; what comes now is judged by what it is now.
        self.settle_state();
        match event {
            Event::Command { request, command } => self.command(request, command),
            Event::Read { request, id } => self.read(request, id),
            Event::PeerConnected { connection } => self.connected(connection),
            Event::PeerMessage { connection, frame } => self.hear(connection, frame),
            Event::PeerLost { connection } => {
                if self.link.as_ref().is_some_and(|link| link.connection == connection) {
                    self.unlink();
                }
            }
            Event::WitnessReply(reply) => self.witness_says(reply),
            Event::Tick => self.drop_if_silent(),
        }
        self.pursue();
        self.settle_state();
        std::mem::take(&mut self.actions)
    }

    /// When it wants [`Event::Tick`], at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        let link = self.link.as_ref();
        let errand = self.errand().map(|errand| self.asks.next(&errand));
        let lapses = match &self.phase {
            Phase::Sole(sole) => sole.lease.map(|lease| lease.until).filter(|until| self.now < *until),
            Phase::Half(_) => self.grace_until().filter(|until| self.now < *until),
            Phase::Blank(_) => None,
        };
        let times = [
            link.map(|link| link.said_at + self.config.alive_every),
            link.map(|link| link.heard_at + self.config.silence_max),
            errand,
            lapses,
            self.requests.deadline(),
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due, whatever happened.
    fn pursue(&mut self) {
        if self.config.degrade == Degrade::Always {
            self.go_on_unlicensed();
        }
        self.admit();
        if let Some(errand) = self.errand()
            && self.asks.next(&errand) <= self.now
        {
            let ask = self.ask(&errand);
            self.actions.push(Action::AskWitness(ask));
        }
        self.serve_waiting();
        self.say_alive();
    }

    /// What it may do for clients now.
    pub(super) fn footing(&self) -> Footing {
        match &self.phase {
            Phase::Blank(_) => Footing::None,
            Phase::Half(half) if half.bond == Bond::Live => Footing::Paired,
            Phase::Half(_) => match self.grace_until() {
                Some(until) if self.now < until => Footing::Waiting,
                _ => Footing::None,
            },
            Phase::Sole(sole) if self.is_entitled(sole) => Footing::Alone,
            Phase::Sole(_) => Footing::None,
        }
    }

    fn is_entitled(&self, sole: &Sole) -> bool {
        let leased = sole.lease.is_some_and(|lease| self.now < lease.until);
        self.now >= sole.waits_until
            && match self.config.degrade {
                Degrade::Never => false,
                Degrade::Witness => leased,
                Degrade::Always => true,
            }
    }

    /// Until when a half that has lost the other is as good as a pair: the connection may come back, or the witness answer.
    pub(super) fn grace_until(&self) -> Option<Time> {
        let Phase::Half(Half { bond: Bond::Apart { since, refused: false }, .. }) = self.phase else {
            return None;
        };
        let patience = since + self.config.patience;
        match self.config.degrade {
            Degrade::Never => Some(patience),
            Degrade::Witness | Degrade::Always => Some(patience + self.config.ask_every),
        }
    }

    /// What it is now, and why if it was not before.
    pub(super) fn standing_state(&self) -> (State, Cause) {
        match (&self.phase, self.footing()) {
            (Phase::Blank(blank), _) if self.copy.is_none() || blank.staging.is_some() => {
                (State::Joining, Cause::Admission)
            }
            (Phase::Blank(_), _) => (State::Fenced, Cause::Outdated),
            (Phase::Half(half), Footing::Paired) => (State::Paired, half.because),
            (Phase::Half(_), Footing::Waiting) => (State::Paired, Cause::Resumed),
            (Phase::Half(Half { bond: Bond::Apart { refused: true, .. }, .. }), _)
                if !self.is_forgotten() =>
            {
                (State::Fenced, Cause::Outdated)
            }
            (Phase::Half(_), _) => (State::Fenced, Cause::LeftAlone),
            (Phase::Sole(sole), Footing::Alone) if sole.licensed => (State::Alone, Cause::Leased),
            (Phase::Sole(_), Footing::Alone) => (State::Alone, Cause::Unlicensed),
            (Phase::Sole(sole), _) if self.now < sole.waits_until => (State::Joining, Cause::Founded),
            (Phase::Sole(_), _) if self.state == State::Alone => (State::Fenced, Cause::LeaseLapsed),
            (Phase::Sole(_), _) => (State::Fenced, Cause::LeftAlone),
        }
    }

    fn settle_state(&mut self) {
        let (to, because) = self.standing_state();
        if to != self.state {
            self.actions.push(Action::SetState { from: self.state, to, because });
            self.state = to;
        }
    }

    /// What the other web must know of it.
    pub(super) fn standing(&self) -> Standing {
        match (&self.phase, self.copy) {
            (Phase::Half(half), Some(copy)) => {
                Standing::Half { pairing: half.pairing, applied: half.applied, copy }
            }
            (Phase::Sole(sole), Some(copy)) => {
                Standing::Sole { copy, licensed: sole.licensed, turns: sole.turns }
            }
            (Phase::Blank(_) | Phase::Half(_) | Phase::Sole(_), copy) => Standing::Blank { copy },
        }
    }

    /// It has everything, and is the only one.
    pub(super) fn become_sole(&mut self, sole: Sole) {
        // Whoever believes to be one of a pair with this one must find out; who knows better can be admitted at once.
        let believes =
            !matches!(self.link.as_ref().map(|link| link.peer), Some(Some((_, Standing::Blank { .. }))));
        self.phase = Phase::Sole(sole);
        self.asks.forget();
        if believes && self.link.is_some() {
            self.drop_link(DropCause::WentAlone);
        }
    }

    /// Goes on without permission, where that is configured and nothing better is in sight.
    fn go_on_unlicensed(&mut self) {
        let Phase::Half(Half { bond: Bond::Apart { .. }, .. }) = &self.phase else { return };
        if self.footing() == Footing::None {
            self.become_sole(Sole::unlicensed(self.now));
        }
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.actions.push(Action::Tell(notice));
    }

    #[cfg(test)]
    pub(super) fn has(&self, flaw: super::tests::Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

impl Sole {
    pub(super) fn unlicensed(now: Time) -> Self {
        Self { licensed: false, lease: None, waits_until: now, admission: None, turns: 0 }
    }

    pub(super) fn licensed(lease: Option<Lease>, waits_until: Time) -> Self {
        Self { licensed: true, lease, waits_until, admission: None, turns: 0 }
    }
}

impl Lease {
    pub(super) fn span(&self) -> Duration {
        self.until.saturating_sub(self.from)
    }
}
