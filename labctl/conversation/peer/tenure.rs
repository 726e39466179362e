//! How a web deals with the witness: what it wants of it when, and what follows from the answers. It knows nothing of
//! clients, nor how the other web is given everything.

use std::collections::VecDeque;
use std::time::Duration;

use super::asking::{Ask, Holders, Record, Verdict, WITNESS_VERSION, Want, Why, WitnessReply};
use super::contract::{Degrade, Member, Notice, Side, Time};
use super::machine::{Blank, Bond, Half, Lease, Peer, Phase, Sole};
use super::message::{Copied, Standing};

/// Questions whose answers may still come; older ones are too old to be of use.
const OPEN_MAX: usize = 16;
/// A lease is renewed this many times in its span.
const RENEWALS: u32 = 3;

/// Questions to the witness.
#[derive(Debug, Default)]
pub(super) struct Asks {
    count: u64,
    /// What was asked when, and not answered yet.
    open: VecDeque<(u64, Time)>,
    asked_at: Option<Time>,
    /// The latest question that was answered.
    answered: u64,
}

/// What a web wants of the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    want: Want,
    /// Not before.
    from: Time,
    /// And again after this.
    every: Duration,
}

impl Asks {
    /// When an errand is due.
    pub(super) fn next(&self, errand: &Errand) -> Time {
        self.asked_at.map_or(errand.from, |at| errand.from.max(at + errand.every))
    }

    /// What was asked before does not count any more: what it was asked as, this web is no longer. An answer to it could
    /// give permission for something that was overtaken.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.asked_at = None;
    }

    /// Asks again at once.
    fn hurry(&mut self) {
        self.asked_at = None;
    }

    fn begin(&mut self, now: Time) -> u64 {
        self.count += 1;
        self.open.push_back((self.count, now));
        if self.open.len() > OPEN_MAX {
            self.open.pop_front();
        }
        self.asked_at = Some(now);
        self.count
    }

    /// When the question was asked, if it still counts.
    fn end(&mut self, number: u64) -> Option<Time> {
        let at = self.open.iter().position(|(open, _)| *open == number)?;
        self.answered = self.answered.max(number);
        self.open.remove(at).map(|(_, asked_at)| asked_at)
    }
}

impl Peer {
    /// What it wants of the witness, if anything.
    pub(super) fn errand(&self) -> Option<Errand> {
        let Self { config, now, .. } = self;
        let other = self.link.as_ref().and_then(|link| link.peer);
        let life = other.map(|(member, _)| member);
        let met = other.and_then(|(member, standing)| match (&self.phase, standing) {
            (_, Standing::Blank { copy }) if self.copy >= copy => Some(member),
            (Phase::Half(_), Standing::Half { copy, .. }) if self.begins_before(Some(copy)) => Some(member),
            _ => None,
        });
        let errand = |want, from, every| Some(Errand { want, from, every });
        // It gave way to one that went on without permission, and is gone.
        let stays = config.degrade == Degrade::Always
            && self.copy.is_some()
            && self.record.is_some_and(|record| record.holders.include(config.me));
        let want = if stays { Want::Alone } else { Want::Found { met } };
        let founds = |from| errand(want, from, config.ask_every);
        match &self.phase {
            Phase::Blank(Blank { staging: Some(_), .. }) => None,
            Phase::Blank(_) => match other {
                // Of two that have nothing that counts, the better copy begins.
                Some((_, Standing::Blank { copy })) if self.begins_before(copy) => founds(Time::ZERO),
                Some((_, Standing::Blank { copy: Some(_) })) => None,
                // It waits for the witness, which may hear this one and not the other.
                Some((_, Standing::Blank { copy: None } | Standing::Half { .. })) => {
                    founds(self.unlinked_since + config.found_patience)
                }
                Some((_, Standing::Sole { .. })) => None,
                None if config.degrade == Degrade::Never => None,
                None => founds(self.unlinked_since + config.found_patience),
            },
            Phase::Half(Half { bond: Bond::Live, before: Some(_), .. }) => None,
            Phase::Half(Half { bond: Bond::Live, noted, pairing, .. }) => {
                let every = if *noted { config.note_every } else { config.ask_every };
                errand(Want::Pair { with: pairing.other_than(config.me) }, Time::ZERO, every)
            }
            Phase::Half(Half { bond: Bond::Apart { since, refused }, pairing, .. }) => {
                let is_heir = self.record.is_some_and(|record| self.is_unknown_heir(&record));
                let want = if is_heir { Want::Pair { with: pairing.source } } else { Want::Alone };
                match other {
                    Some((_, Standing::Sole { .. })) => None,
                    _ if *refused && self.is_orphaned(life) => founds(Time::ZERO),
                    _ if *refused => errand(Want::Alone, Time::ZERO, config.note_every),
                    // It is not going to be half of this pair again, so there is nothing to be patient for; and who wants
                    // to be a pair again must be the sole holder first.
                    Some(_) => errand(want, Time::ZERO, config.ask_every),
                    None if config.degrade == Degrade::Never => None,
                    None => errand(want, *since + config.patience, config.ask_every),
                }
            }
            Phase::Sole(sole) if !sole.licensed => match self.is_orphaned(life) {
                true => founds(Time::ZERO),
                false => errand(Want::Alone, Time::ZERO, config.note_every),
            },
            Phase::Sole(_) if config.degrade == Degrade::Never => None,
            Phase::Sole(Sole { lease, waits_until, .. }) => {
                let due = lease.filter(|lease| *now < lease.until);
                let due = due.map_or(Time::ZERO, |lease| lease.from + lease.span() / RENEWALS);
                errand(Want::Renew, due.max(*waits_until), config.ask_every)
            }
        }
    }

    /// Is it this web, of two that have nothing that counts, with which memory begins?
    fn begins_before(&self, copy: Option<Copied>) -> bool {
        self.copy > copy || (self.copy == copy && self.config.me.side == Side::First)
    }

    /// Has it everything, by the word of whom the witness still takes for the sole holder? In the term in which that gave it
    /// everything, it has acknowledged nothing alone since; but for a web that needs no permission.
    fn is_unknown_heir(&self, record: &Record) -> bool {
        let Phase::Half(half) = &self.phase else { return false };
        half.pairing.joiner == self.config.me
            && record.holders == Holders::One(half.pairing.source)
            && self.copy.is_some_and(|copy| copy.is_of(record))
            && self.config.degrade != Degrade::Always
    }

    /// Is everybody who had everything gone, as far as is known?
    fn is_orphaned(&self, met: Option<Member>) -> bool {
        self.record.is_some_and(|mut record| {
            met.into_iter().for_each(|member| record.hear_of(member));
            record.is_orphaned()
        })
    }

    /// The question.
    pub(super) fn ask(&mut self, errand: &Errand) -> Ask {
        let known = self.record.map_or(0, |record| record.term);
        let term = match (&self.phase, errand.want, self.copy) {
            (Phase::Half(_) | Phase::Sole(_), Want::Alone | Want::Renew | Want::Pair { .. }, Some(copy)) => {
                copy.term
            }
            _ => known,
        };
        let number = self.asks.begin(self.now);
        Ask {
            version: WITNESS_VERSION,
            from: self.config.me,
            number,
            term,
            copy: self.copy,
            want: errand.want,
        }
    }

    /// An answer.
    pub(super) fn witness_says(&mut self, reply: WitnessReply) {
        if reply.version != WITNESS_VERSION || reply.to != self.config.me {
            return;
        }
        let asked_at = self.asks.end(reply.number);
        #[cfg(test)]
        let asked_at =
            asked_at.or_else(|| self.has(super::tests::Flaw::BelievesOldGrants).then_some(self.now));
        let Some(asked_at) = asked_at else { return };
        if reply.verdict == Verdict::Refused(Why::Superseded) && !self.superseded {
            self.superseded = true;
            self.tell(Notice::Superseded);
        }
        if reply.record.founding == 0 && self.copy.is_some() {
            // What it said before it was told again comes late.
            if reply.number == self.asks.answered {
                self.learn_of_loss(reply.record);
            }
            return;
        }
        let known_term = self.record.map(|record| record.term);
        if known_term > Some(reply.record.term) {
            return;
        }
        self.record = Some(reply.record);
        if known_term != Some(reply.record.term) && matches!(reply.verdict, Verdict::Refused(_)) {
            self.asks.hurry();
        }
        self.learn(asked_at, &reply);
    }

    /// Does the witness know of no memory?
    pub(super) fn is_forgotten(&self) -> bool {
        self.record.is_some_and(|record| record.founding == 0)
    }

    /// What is known of its record is void.
    fn learn_of_loss(&mut self, record: Record) {
        if self.record.replace(record).is_none_or(|known| known.founding > 0) {
            self.tell(Notice::Forgotten);
        }
        if let Phase::Half(half) = &mut self.phase {
            half.noted = false;
            if let Bond::Apart { refused, .. } = &mut half.bond {
                *refused = true;
            }
        }
    }

    fn learn(&mut self, asked_at: Time, reply: &WitnessReply) {
        let (me, record) = (self.config.me, &reply.record);
        let is_heir = self.is_unknown_heir(record);
        let holds = record.holders.include(me);
        let lease = match reply.verdict {
            Verdict::Granted { lease } => Some(Lease { from: asked_at, until: asked_at + lease }),
            Verdict::Noted | Verdict::Refused(_) => None,
        };
        match &mut self.phase {
            Phase::Half(half) if half.bond == Bond::Live => {
                half.noted = reply.verdict == Verdict::Noted;
                // Who goes on without permission may have joined while a question of its former self was on its way.
                if holds {
                    self.know_beginning(record);
                }
            }
            Phase::Half(_) if lease.is_some() => self.hold(lease, record),
            Phase::Half(half) => {
                if let Bond::Apart { refused, .. } = &mut half.bond {
                    *refused = !holds && !is_heir;
                }
                if holds {
                    self.know_term(record);
                }
            }
            // The answer that gave it everything was lost.
            Phase::Blank(_) if lease.is_some() || record.holders == Holders::One(me) => {
                self.hold(lease, record)
            }
            Phase::Blank(_) => {}
            Phase::Sole(sole) if lease.is_some() => {
                let was_licensed = std::mem::replace(&mut sole.licensed, true);
                sole.lease = lease.into_iter().chain(sole.lease).max_by_key(|lease| lease.until);
                match was_licensed {
                    true => self.know_term(record),
                    false => self.know_beginning(record),
                }
            }
            Phase::Sole(_) if holds => self.know_term(record),
            // Somebody began anew because this web was taken for dead.
            Phase::Sole(sole) if sole.licensed => self.give_way(),
            Phase::Sole(_) => {}
        }
    }

    fn know_term(&mut self, record: &Record) {
        if let Some(copy) = &mut self.copy {
            copy.term = record.term;
        }
    }

    /// It is the sole holder, as the witness has it.
    fn hold(&mut self, lease: Option<Lease>, record: &Record) {
        let begins = self.copy.is_none_or(|copy| copy.founding != record.founding);
        let waits_until = if begins { self.now + self.config.patience } else { self.now };
        self.know_beginning(record);
        self.become_sole(Sole::licensed(lease, waits_until));
    }

    /// Takes note of the record under which it is the sole holder, and tells if memory has begun with that.
    fn know_beginning(&mut self, record: &Record) {
        let kept = self.copy;
        self.copy = Some(Copied { founding: record.founding, term: record.term });
        let outdated = matches!(self.phase, Phase::Blank(_));
        if kept.is_some_and(|kept| kept.founding == record.founding && !outdated) {
            return;
        }
        self.tell(match record.founding {
            ..=1 if kept.is_none() => Notice::Founded,
            founding => Notice::MemoryLost { founding, kept_term: kept.map(|kept| kept.term) },
        });
    }

    /// Its memory is not the one that stays.
    pub(super) fn give_way(&mut self) {
        let turns_alone = match &self.phase {
            Phase::Sole(sole) => sole.turns,
            Phase::Blank(_) | Phase::Half(_) => 0,
        };
        self.abandon_requests();
        self.phase = Phase::Blank(Blank { staging: None, turns_alone });
        self.asks.forget();
    }
}
