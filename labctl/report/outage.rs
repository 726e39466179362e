//! How long the site was away: by probes of the VIP, as a bracket within which the truth lies, and by turns, as the
//! longest time of the timetable without an acknowledgement. It knows neither faults nor verdicts.

use std::time::Duration;

use super::event::{Event, MonotonicNs, Outcome, What};

/// Losses at most this far apart belong to one outage: a site that flickers has not come back.
const FLICKER: Duration = Duration::from_millis(50);

/// An answer to a probe that took longer than this counts as none. The way through a site takes well below a millisecond
/// and a busy machine adds some, so what took longer waited for somebody to come back: until then, the site was away.
pub const PROBE_PATIENCE: Duration = Duration::from_millis(50);

/// What became of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// When it should have left.
    pub intended_ns: MonotonicNs,
    /// When it left.
    pub sent_ns: MonotonicNs,
    /// Whether it was answered in time.
    pub answered: bool,
    /// When it was answered too late to count, which bounds the outage that it was lost in.
    pub late_ns: Option<MonotonicNs>,
}

impl Probed {
    /// A probe that was due and left at these times, and was answered then if it was.
    pub fn new(intended_ns: MonotonicNs, sent_ns: MonotonicNs, answered_ns: Option<MonotonicNs>) -> Self {
        let in_time = |at: &MonotonicNs| at.saturating_sub(sent_ns) <= nanos(PROBE_PATIENCE);
        let answered = answered_ns.as_ref().is_some_and(in_time);
        Self { intended_ns, sent_ns, answered, late_ns: answered_ns.filter(|at| !in_time(at)) }
    }
}

/// A time in which probes were lost. The true outage is longer than `shortest` and shorter than `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The last answered probe before the first lost one; `None` if there was none.
    pub last_ok_ns: Option<MonotonicNs>,
    /// The first lost probe.
    pub first_lost_ns: MonotonicNs,
    /// The last lost probe.
    pub last_lost_ns: MonotonicNs,
    /// The first answered probe after the last lost one; where the record ends before, the late answer to the last lost
    /// one; `None` if there is neither.
    pub first_ok_ns: Option<MonotonicNs>,
    /// How many probes were lost in it.
    pub lost: u64,
}

impl Outage {
    /// From the first lost probe to the last.
    pub fn shortest(&self) -> Duration {
        Duration::from_nanos(self.last_lost_ns - self.first_lost_ns)
    }

    /// From the last answered probe before to the first answered probe after; `None` where the record does not show
    /// one of the two, so that no bound is known.
    pub fn longest(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.first_ok_ns? - self.last_ok_ns?))
    }
}

/// The probes among the events, in order of sending.
pub(super) fn probes(events: &[Event]) -> Vec<Probed> {
    let mut probes: Vec<_> = events
        .iter()
        .filter_map(|event| match event.what {
            What::Probe { intended_ns, sent_ns, answered_ns } => {
                Some(Probed::new(intended_ns, sent_ns, answered_ns))
            }
            _ => None,
        })
        .collect();
    probes.sort_by_key(|probe| probe.sent_ns);
    probes
}

/// All outages that these probes, in order of sending, have seen.
pub fn outages(probes: &[Probed]) -> Vec<Outage> {
    let mut found: Vec<Outage> = Vec::new();
    let (mut last_ok_ns, mut late_ns) = (None, None);
    for probe in probes {
        let at = probe.sent_ns;
        if probe.answered {
            if let Some(outage) = found.last_mut() {
                outage.first_ok_ns.get_or_insert(at);
            }
            last_ok_ns = Some(at);
            continue;
        }
        late_ns = probe.late_ns;
        match found.last_mut() {
            Some(outage) if at - outage.last_lost_ns <= nanos(FLICKER) || outage.first_ok_ns.is_none() => {
                outage.last_lost_ns = at;
                outage.first_ok_ns = None;
                outage.lost += 1;
            }
            _ => found.push(Outage {
                last_ok_ns,
                first_lost_ns: at,
                last_lost_ns: at,
                first_ok_ns: None,
                lost: 1,
            }),
        }
    }
    // Nothing was lost after this one, and it was answered in the end.
    if let Some(open) = found.last_mut().filter(|outage| outage.first_ok_ns.is_none()) {
        open.first_ok_ns = late_ns;
    }
    found
}

/// A time without any acknowledged turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The acknowledgement before it, or the beginning of the timetable.
    pub from_ns: MonotonicNs,
    /// The acknowledgement after it, or the end of the timetable.
    pub to_ns: MonotonicNs,
}

impl Pause {
    /// How long it was.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.to_ns - self.from_ns)
    }
}

/// When turns were acknowledged, in order.
pub(super) fn acknowledgements(events: &[Event]) -> Vec<MonotonicNs> {
    let mut at: Vec<_> = events
        .iter()
        .filter(|event| matches!(&event.what, What::Request { outcome: Outcome::Ok, key: Some(_), .. }))
        .map(|event| event.at_ns)
        .collect();
    at.sort_unstable();
    at
}

/// The longest pause on a timetable with acknowledgements at these points in order of time; the first of equals. A site
/// that has not begun to acknowledge pauses from the beginning, and one that has ceased for good until the end.
pub(super) fn longest_pause(
    begins_ns: MonotonicNs,
    ends_ns: MonotonicNs,
    acknowledgements: &[MonotonicNs],
) -> Pause {
    let mut longest = Pause { from_ns: begins_ns, to_ns: begins_ns };
    let mut from_ns = begins_ns;
    // Acknowledgements after the end are of turns that were due before it, so the wait for them is the site's.
    for to_ns in acknowledgements.iter().copied().chain([ends_ns]) {
        let pause = Pause { from_ns, to_ns: to_ns.max(from_ns) };
        if pause.length() > longest.length() {
            longest = pause;
        }
        from_ns = pause.to_ns;
    }
    longest
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
