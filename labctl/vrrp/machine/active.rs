//! Section 6.4.3: an Active advertises, and stands its ground against a worse one. In [`super::Profile::Lab`] it also renews its
//! lease, and steps down if it is late for it. It does not know how it became Active.

use std::net::IpAddr;
use std::time::Duration;

use super::{Action, Cause, Health, Links, Machine, Phase, State, Time, transition};

/// Shortest time between two announcements because of conflicts: a peer that never gives in must not turn the holder
/// into a source of broadcasts, and a link that heals twice a second still gets its announcement.
const CONFLICT_ANNOUNCE_GAP: Duration = Duration::from_secs(1);
/// Intervals that a lease covers: as many adverts as a Backup lets pass.
const LEASE_INTERVALS: u32 = 3;
/// A lease is never shorter where whoever takes over asks first: a busy machine may be late by a few tens of milliseconds
/// without having been stopped. Where nobody asks, it must be over when the Active_Down_Timer of a backup fires.
const LEASE_MIN: Duration = Duration::from_millis(40);
/// How much later than the decision a lease may still be opened: a rival waits for longer than this and the age of a silence.
const GRANT_LATE_MAX: Duration = Duration::from_millis(4);

/// What an Active knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// When the Adver_Timer fires.
    pub(super) advert_at: Time,
    /// Conflicts before this are not announced.
    quiet_until: Time,
    /// It must not act as the Active from then on; [`Time::MAX`] without a lease.
    pub(super) lease_until: Time,
    /// Before this, whoever else announces the addresses took them at the same time.
    young_until: Time,
    /// Somebody else answered for the addresses not long before this.
    pub(super) contested_until: Option<Time>,
}

impl Machine {
    pub(super) fn become_active(&mut self, from: State, because: Cause, now: Time) -> Vec<Action> {
        let until = now + self.lease_span();
        self.phase = Phase::Active(Hold {
            advert_at: now + self.config.interval.duration(),
            quiet_until: Time::ZERO,
            lease_until: if self.leases() { until } else { Time::MAX },
            young_until: until,
            contested_until: None,
        });
        let lease = self.leases().then_some(Action::Grant { until, by: now + GRANT_LATE_MAX });
        // Nobody must hear of a router that was too late for its lease.
        let taken = [self.advert(), Action::TakeAddresses, transition(from, State::Active, because)];
        lease.into_iter().chain(taken).collect()
    }

    pub(super) fn advertise(&mut self, mut hold: Hold, now: Time) -> Vec<Action> {
        let interval = self.config.interval.duration();
        // From when it was due, or a loop that is always a little late sends too few; but never a burst.
        let on_time = hold.advert_at + interval;
        hold.advert_at = if on_time > now { on_time } else { now + interval };
        hold.contested_until = hold.contested_until.filter(|until| now < *until);
        let actions = self.say(&mut hold, now);
        self.phase = Phase::Active(hold);
        actions
    }

    /// Somebody else gave up what this router holds.
    pub(super) fn speak_up(&mut self, mut hold: Hold, now: Time) -> Vec<Action> {
        hold.advert_at = now + self.config.interval.duration();
        let actions = self.say(&mut hold, now);
        self.phase = Phase::Active(hold);
        actions
    }

    /// A worse Active is there. What it announced is set right, which the RFC leaves open.
    pub(super) fn contradict(&mut self, mut hold: Hold, now: Time) -> Vec<Action> {
        let mut actions = self.say(&mut hold, now);
        actions.extend(announce(&mut hold, now));
        self.phase = Phase::Active(hold);
        actions
    }

    /// Another machine answers for the addresses. Of two that took them at the same time neither knows better, so both
    /// look again; but who has held them for a while does not give them to whoever merely says that it has them.
    pub(super) fn defend(&mut self, mut hold: Hold, now: Time) -> Vec<Action> {
        if self.lab().is_none() {
            return vec![];
        }
        if now < hold.young_until {
            return self.step_down(Cause::Contested, now);
        }
        hold.contested_until = Some(now + CONFLICT_ANNOUNCE_GAP);
        let announcement = announce(&mut hold, now);
        self.phase = Phase::Active(hold);
        announcement.into_iter().collect()
    }

    /// Section 6.4.3: the Active gives up.
    pub(super) fn resign(&mut self, hold: Hold, because: Cause, now: Time) -> Vec<Action> {
        match self.lab() {
            None => self.drop_everything(because),
            Some(_) => self.hand_over(hold, State::Initialize, because, (self.config.interval, None), now),
        }
    }

    /// Section 6.4.3: a better Active is there.
    pub(super) fn yield_to(
        &mut self,
        hold: Hold,
        (by, priority): (IpAddr, u8),
        interval: super::Interval,
        now: Time,
    ) -> Vec<Action> {
        let because = Cause::Outranked { by, priority };
        let better = (interval, Some((by, priority)));
        if self.lab().is_some() {
            return self.hand_over(hold, State::Backup, because, better, now);
        }
        self.watch(interval, better.1, now);
        vec![Action::ReleaseAddresses, transition(State::Active, State::Backup, because)]
    }

    /// Another virtual router of the group was released, or the news of a lowered priority cannot reach anybody.
    pub(super) fn make_way(&mut self, hold: Hold, because: Cause, now: Time) -> Vec<Action> {
        let interval = self.config.interval;
        if self.lab().is_some() {
            return self.hand_over(hold, State::Backup, because, (interval, None), now);
        }
        self.watch(interval, None, now);
        vec![
            Action::SendAdvert { priority: 0 },
            Action::ReleaseAddresses,
            transition(State::Active, State::Backup, because),
        ]
    }

    pub(super) fn active_links(&mut self, hold: Hold, links: Links, now: Time) -> Vec<Action> {
        let deaf_now = self.links.election && !links.election;
        self.links = links;
        if self.is_fit() {
            self.phase = Phase::Active(hold);
            // A priority that a check has lowered counts for nothing any more if nobody can hear of it.
            return match deaf_now && self.health.lowered_by > 0 {
                true => self.make_way(hold, Cause::CheckFailed, now),
                false => vec![],
            };
        }
        // Whoever cannot serve has nothing to hand over gently.
        let mut actions = self.drop_everything(Cause::LinkDown);
        actions.extend(self.begin_if_fit(now));
        actions
    }

    pub(super) fn active_health(&mut self, hold: Hold, health: Health, now: Time) -> Vec<Action> {
        let before = self.priority();
        self.health = health;
        if health.fault {
            self.resign(hold, Cause::CheckFailed, now)
        } else if !self.links.election && self.priority() < before {
            self.make_way(hold, Cause::CheckFailed, now)
        } else {
            vec![]
        }
    }

    /// Whoever was stopped for longer than its lease is not the Active any more, whatever it believes.
    pub(super) fn step_down_if_lapsed(&mut self, now: Time) -> Vec<Action> {
        match self.phase {
            Phase::Active(hold) if now >= hold.lease_until => self.step_down(Cause::LeaseLapsed, now),
            Phase::Leaving(handover) if now > handover.until => self.let_go(handover, now),
            Phase::Initialize | Phase::Backup(_) | Phase::Active(_) | Phase::Leaving(_) => vec![],
        }
    }

    pub(super) fn step_down(&mut self, because: Cause, now: Time) -> Vec<Action> {
        self.look_around(self.config.interval, now);
        vec![Action::ReleaseAddresses, transition(State::Active, State::Backup, because)]
    }

    fn drop_everything(&mut self, because: Cause) -> Vec<Action> {
        let mut actions = vec![Action::SendAdvert { priority: 0 }, Action::ReleaseAddresses];
        actions.extend(self.initialize(State::Active, because));
        actions
    }

    /// An advert, and the lease that goes with it.
    fn say(&self, hold: &mut Hold, now: Time) -> Vec<Action> {
        let mut actions = vec![self.advert()];
        if self.leases() {
            hold.lease_until = now + self.lease_span();
            actions.push(Action::Lease { until: hold.lease_until });
        }
        actions
    }

    fn leases(&self) -> bool {
        self.lab().is_some_and(|rules| rules.lease)
    }

    fn lease_span(&self) -> Duration {
        let span = self.config.interval.duration() * LEASE_INTERVALS;
        if self.searches() { span.max(LEASE_MIN) } else { span }
    }
}

fn announce(hold: &mut Hold, now: Time) -> Option<Action> {
    if now < hold.quiet_until {
        return None;
    }
    hold.quiet_until = now + CONFLICT_ANNOUNCE_GAP;
    Some(Action::Announce)
}
