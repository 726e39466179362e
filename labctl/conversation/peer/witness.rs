//! The witness: a third voter, which keeps no conversations but remembers who has them. An ask and the time in, actions
//! out. It knows neither sockets nor disks.

use std::time::Duration;

use super::asking::{Ask, Holders, Record, Verdict, WITNESS_VERSION, Want, Why, WitnessReply};
use super::contract::{Member, Time};
use super::message::Copied;

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub struct WitnessConfig {
    /// How long a sole holder may go on by itself, by its own clock, from when it asked.
    pub lease: Duration,
    /// How much longer the witness waits, by its own clock, from when it answered: more than two clocks can drift apart in one
    /// lease.
    pub margin: Duration,
}

impl WitnessConfig {
    /// Figures for machines on one network: a second, and a twentieth of it for clocks.
    pub fn lab() -> Self {
        Self { lease: Duration::from_secs(1), margin: Duration::from_millis(50) }
    }
}

/// What the driver shall do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WitnessAction {
    /// Write this down, in place of what was written before, so that it survives the loss of power. If that fails, stop: what follows
    /// must not be sent.
    Persist(Record),
    /// Answer the web that asked.
    Reply(WitnessReply),
}

/// The witness.
#[derive(Clone, Debug)]
pub struct Witness {
    config: WitnessConfig,
    record: Record,
    /// The last lease, and when it has run out for certain.
    lease: Option<(Member, Time)>,
    /// While nothing is written down: who says to be a pair with whom, and what it has.
    claim: Option<(Member, Member, Copied)>,
    /// Before this, whoever got a lease in an earlier life of the witness may have one still.
    silent_until: Time,
}

impl Witness {
    /// A witness that starts now, with what was written down.
    pub fn new(config: WitnessConfig, record: Record, now: Time) -> Self {
        Self { config, record, lease: None, claim: None, silent_until: now + config.lease + config.margin }
    }

    /// What it remembers.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Takes a question.
    pub fn handle(&mut self, now: Time, ask: Ask) -> Vec<WitnessAction> {
        let before = self.record;
        let verdict = self.judge(now, &ask);
        let persist = (self.record != before).then_some(WitnessAction::Persist(self.record));
        let reply = WitnessReply {
            version: WITNESS_VERSION,
            to: ask.from,
            number: ask.number,
            verdict,
            record: self.record,
        };
        persist.into_iter().chain([WitnessAction::Reply(reply)]).collect()
    }

    fn judge(&mut self, now: Time, ask: &Ask) -> Verdict {
        let from = ask.from;
        if ask.version != WITNESS_VERSION {
            return Verdict::Refused(Why::Version);
        }
        if self.record.latest(from.side) > Some(from.incarnation) {
            return Verdict::Refused(Why::Superseded);
        }
        self.record.hear_of(from);
        if let Want::Found { met: Some(other) } | Want::Pair { with: other } = ask.want
            && other.side != from.side
        {
            self.record.hear_of(other);
        }
        if self.record.founding == 0 && now >= self.silent_until {
            self.recall(ask);
        }
        if ask.term != self.record.term {
            return Verdict::Refused(Why::OtherTerm);
        }
        let holds = self.record.holders.include(from);
        match ask.want {
            Want::Alone | Want::Renew if !holds => Verdict::Refused(Why::NotHolder),
            Want::Renew if self.record.holders != Holders::One(from) => Verdict::Refused(Why::NotHolder),
            Want::Renew => self.grant(from, now),
            Want::Alone if self.may_somebody_else_have_a_lease(from, now) => Verdict::Refused(Why::LeaseRuns),
            Want::Alone => {
                self.begin_term(Holders::One(from));
                self.grant(from, now)
            }
            // The joiner may say so itself: whoever gave it everything acknowledges nothing alone any more in this term.
            Want::Pair { with }
                if with.side == from.side || !(holds || self.record.holders == Holders::One(with)) =>
            {
                Verdict::Refused(Why::NotHolder)
            }
            // A joiner that is known to have been restarted has nothing.
            Want::Pair { with } if holds && self.record.latest(with.side) > Some(with.incarnation) => {
                Verdict::Refused(Why::NotHolder)
            }
            Want::Pair { with } => {
                let both = Holders::both(from, with);
                if self.record.holders != both {
                    self.begin_term(both);
                    // Who lets itself be written down as one of two goes on alone no more.
                    self.lease = None;
                }
                Verdict::Noted
            }
            // A disk that was wiped looks like one on which nothing was ever written.
            Want::Found { met: None } if self.record.founding == 0 => Verdict::Refused(Why::Forgotten),
            Want::Found { .. } if !self.record.is_orphaned() => Verdict::Refused(Why::HolderLives),
            Want::Found { .. } if self.may_somebody_else_have_a_lease(from, now) => {
                Verdict::Refused(Why::LeaseRuns)
            }
            Want::Found { .. } => {
                let Copied { founding, term } = ask.copy.unwrap_or_default();
                self.record.founding = self.record.founding.max(founding) + 1;
                self.record.term = self.record.term.max(term);
                self.begin_term(Holders::One(from));
                self.grant(from, now)
            }
        }
    }

    /// Learns again what stood on a disk that was wiped. A sole holder knows that nobody else has everything; of two halves each
    /// knows only that it did not go on alone itself, so both must say so. What was asked before the loss does not come
    /// as late as this.
    fn recall(&mut self, ask: &Ask) {
        let Some(copy) = ask.copy else { return };
        match (ask.want, self.claim) {
            (Want::Renew, _) => {
                (self.record.founding, self.record.term) = (copy.founding, copy.term);
                self.record.holders = Holders::One(ask.from);
            }
            (Want::Pair { with }, Some((other, named, theirs))) if (with, ask.from) == (other, named) => {
                let copy = copy.max(theirs);
                (self.record.founding, self.record.term) = (copy.founding, copy.term);
                self.begin_term(Holders::both(ask.from, with));
            }
            (Want::Pair { with }, _) => self.claim = Some((ask.from, with, copy)),
            (Want::Alone | Want::Found { .. }, _) => {}
        }
    }

    fn begin_term(&mut self, holders: Holders) {
        self.record.term += 1;
        self.record.holders = holders;
    }

    fn grant(&mut self, to: Member, now: Time) -> Verdict {
        let until = now + self.config.lease + self.config.margin;
        self.lease = Some((to, until));
        Verdict::Granted { lease: self.config.lease }
    }

    /// After a start it remembers no leases, but only the sole holder that is written down can have one.
    fn may_somebody_else_have_a_lease(&self, from: Member, now: Time) -> bool {
        let silent = now < self.silent_until;
        let unknown = silent && ![Holders::Nobody, Holders::One(from)].contains(&self.record.holders);
        unknown || self.lease.is_some_and(|(holder, until)| holder != from && now < until)
    }
}
