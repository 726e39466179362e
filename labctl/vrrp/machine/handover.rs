//! Make before break, which only [`super::Profile::Lab`] has: an Active on its way out answers for the addresses no more, but
//! serves those who know the way until the heir is there. It does not know who that will be.

use std::net::IpAddr;
use std::time::Duration;

use super::active::Hold;
use super::{Action, Cause, Interval, Machine, Phase, State, Time, transition};

/// How long it goes on serving once the heir has the addresses: what is on its way still arrives.
const DRAIN: Duration = Duration::from_millis(10);
/// How long it waits for an heir beyond one interval: for five heirs, each in its turn.
const HEIR_WAIT: Duration = Duration::from_millis(100);
/// Shortest time between two resignations: whoever takes advertises too, and would be answered until it has announced.
const RESIGN_GAP: Duration = Duration::from_millis(20);

/// What an Active on its way out knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handover {
    /// What it becomes.
    pub(super) to: State,
    /// Why.
    pub(super) because: Cause,
    /// The interval of whoever is better, or the own one.
    interval: Interval,
    /// Whoever is better.
    better: Option<(IpAddr, u8)>,
    /// When it last said that it resigns.
    said_at: Time,
    /// It waits no longer, and its lease ends.
    pub(super) until: Time,
    /// The heir is there, and what is on its way has arrived by then.
    drained_at: Option<Time>,
}

impl Handover {
    pub(super) fn ends_at(&self) -> Time {
        self.drained_at.map_or(self.until, |at| at.min(self.until))
    }

    /// It was told to stop on its way.
    pub(super) fn for_good(self) -> Self {
        Self { to: State::Initialize, because: Cause::Stopped, ..self }
    }
}

impl Machine {
    /// It is silent before it says so: an heir that asks at once must not hear an answer. Its lease is extended only then, or
    /// a process that is stopped in between would answer for all of the extension.
    pub(super) fn hand_over(
        &mut self,
        hold: Hold,
        to: State,
        because: Cause,
        (interval, better): (Interval, Option<(IpAddr, u8)>),
        now: Time,
    ) -> Vec<Action> {
        let until = now + self.config.interval.duration() + HEIR_WAIT;
        self.phase =
            Phase::Leaving(Handover { to, because, interval, better, said_at: now, until, drained_at: None });
        let lease = (hold.lease_until != Time::MAX).then_some(Action::Lease { until });
        [Action::Hush].into_iter().chain(lease).chain([Action::SendAdvert { priority: 0 }]).collect()
    }

    /// Another machine has the addresses.
    pub(super) fn heir_is_there(&mut self, handover: Handover, now: Time) -> Vec<Action> {
        let drained_at = handover.drained_at.or(Some(now + DRAIN));
        self.phase = Phase::Leaving(Handover { drained_at, ..handover });
        vec![]
    }

    /// Whoever advertises after a resignation is the heir. But the better router to which this one gives way advertises
    /// before it takes; if it does so again, it has not heard the answer.
    pub(super) fn heir_speaks(
        &mut self,
        handover: Handover,
        (from, priority): (IpAddr, u8),
        now: Time,
    ) -> Vec<Action> {
        if handover.better.is_none() {
            return self.heir_is_there(handover, now);
        }
        let unheard = handover.drained_at.is_none() && now >= handover.said_at + RESIGN_GAP;
        if !unheard || !self.is_outranked_by(priority, from) {
            return vec![];
        }
        self.phase = Phase::Leaving(Handover { said_at: now, ..handover });
        vec![Action::SendAdvert { priority: 0 }]
    }

    /// Releases. Whoever gave way to a router that never came looks for another holder, and may be it again.
    pub(super) fn let_go(&mut self, handover: Handover, now: Time) -> Vec<Action> {
        let Handover { to, because, interval, better, drained_at, .. } = handover;
        let mut actions = vec![Action::ReleaseAddresses];
        if to == State::Initialize {
            actions.extend(self.initialize(State::Active, because));
            actions.extend(self.begin_if_fit(now));
        } else if !self.is_fit() {
            actions.extend(self.initialize(State::Active, self.unfit_because()));
        } else {
            actions.push(transition(State::Active, State::Backup, because));
            match (drained_at, better) {
                (None, Some(_)) => self.look_around(interval, now),
                (Some(_), _) | (None, None) => self.watch(interval, better, now),
            }
        }
        actions
    }
}
