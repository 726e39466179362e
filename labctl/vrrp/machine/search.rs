//! The second silence: a round of probes on the links of the addresses, and when it is over. It does not know what
//! follows from an answer or from none.
//!
//! Two routers that search at the same time would both find silence. So whoever hears a rival's probe before its own first
//! one waits, and of two that began together the one with the greater hardware address begins anew. This is safe as
//! long as a frame needs less than half of [`QUIET`] from one machine to another: whoever decides does so at most [`STALE`]
//! after its last probe and acts soon after, and whoever heard that probe does not even begin before.

use std::time::Duration;

use super::Time;

/// Probes of a round. Three survive a frame lost on a link that has just come up, as RFC 5227 has it.
pub(super) const PROBES: u32 = 3;
/// Probes after the Active's own word that it gives up: that alone needs no second silence, but a word may be old.
pub(super) const HEIR_PROBES: u32 = 1;
/// From one probe of a round to the next: longer than a burst that a full queue loses.
const GAP: Duration = Duration::from_millis(1);
/// Silence after the last probe that counts. The kernel of a holder answers in tens of microseconds, even a busy one.
const QUIET: Duration = Duration::from_millis(4);
/// A silence longer ago than this proves nothing: a process that was stopped in between may have missed a frame.
const STALE: Duration = Duration::from_millis(12);
/// How long a rival gets after each of its probes: for its silence, for as long as that may be ago when it decides, and
/// for as late as it may act then.
const GIVE_WAY: Duration = Duration::from_millis(20);
/// Longest that rivals are given way without a pause. Routers settle in a fraction of it who takes; whoever goes on for
/// longer takes nothing, and must not keep the addresses dark. What is lost then is one of two guards against two that take at
/// once: the other is that each announces the addresses, and steps down if it hears the other.
const GIVE_WAY_MAX: Duration = Duration::from_secs(2);
/// After this a probe that was asked for counts as lost.
const LOST: Duration = Duration::from_millis(100);
/// How long before the Active_Down_Timer fires a round begins, so that it adds no latency: the round and a millisecond to
/// spare. A later beginning is better than an earlier one: the skews keep the searches of the backups apart.
const LEAD: Duration = Duration::from_millis(7);

/// Probes that were asked for and have not left yet. They outlive the search that asked for them, so that a late one is not
/// taken for one of the next search.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InFlight {
    count: u32,
    asked_at: Time,
}

impl InFlight {
    /// One more is asked for. What did not leave for so long never will.
    pub(super) fn ask(&mut self, now: Time) {
        if now > self.asked_at + LOST {
            self.count = 0;
        }
        *self = Self { count: self.count + 1, asked_at: now };
    }

    /// One has left.
    pub(super) fn left(&mut self) {
        self.count = self.count.saturating_sub(1);
    }
}

/// Whoever else probes for the addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rivals {
    since: Time,
    until: Time,
}

impl Rivals {
    /// One is heard. False if they have been given way for long enough.
    pub(super) fn hear(&mut self, now: Time) -> bool {
        if now > self.until {
            self.since = now;
        }
        self.until = now + GIVE_WAY;
        now < self.since + GIVE_WAY_MAX
    }

    /// They have until then to take the addresses.
    pub(super) fn until(&self) -> Time {
        self.until.min(self.since + GIVE_WAY_MAX)
    }
}

/// A round of probes, perhaps still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// When the next probe is due.
    next_at: Time,
    /// How many a round has.
    probes: u32,
    /// How many of this round were asked for.
    asked: u32,
    /// When the last one left.
    left_at: Time,
}

/// What is next in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A probe, then.
    Probe(Time),
    /// Silence is complete then.
    Silence(Time),
    /// Probes that do not leave are lost then.
    Lost(Time),
}

impl Search {
    /// A round of so many probes that begins then.
    pub(super) fn at(begin: Time, probes: u32) -> Self {
        Self { next_at: begin, probes, asked: 0, left_at: Time::ZERO }
    }

    /// The round that ends when the Active_Down_Timer fires, but does not begin before now.
    pub(super) fn before(down_at: Time, now: Time) -> Self {
        Self::at(down_at.saturating_sub(LEAD).max(now), PROBES)
    }

    /// Has a probe of this round been asked for?
    pub(super) fn has_begun(&self) -> bool {
        self.asked > 0
    }

    /// What comes next, with so many probes on their way, and if a rival has until then.
    pub(super) fn next(&self, in_flight: InFlight, rival_until: Time) -> Next {
        if !self.has_begun() {
            Next::Probe(self.next_at.max(rival_until))
        } else if self.asked < self.probes {
            Next::Probe(self.next_at)
        } else if in_flight.count > 0 {
            Next::Lost(in_flight.asked_at + LOST)
        } else {
            Next::Silence(self.left_at + QUIET)
        }
    }

    /// One probe is asked for.
    pub(super) fn ask(&mut self, now: Time) {
        self.asked += 1;
        self.next_at = now + GAP;
    }

    /// One probe has left.
    pub(super) fn left(&mut self, at: Time) {
        self.left_at = self.left_at.max(at);
    }

    /// Is the silence too long ago?
    pub(super) fn is_stale(&self, now: Time) -> bool {
        now > self.left_at + STALE
    }

    /// The same round from its beginning, after whoever goes first.
    pub(super) fn again(&self, now: Time) -> Self {
        Self::at(now, self.probes)
    }
}
