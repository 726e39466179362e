//! How long the site was away: by probes of the VIP, as a bracket within which the truth lies, and by turns, as the
//! longest pause between two acknowledgements. It knows neither faults nor verdicts.

use std::time::Duration;

use super::event::{Event, MonotonicNs, Outcome, What};

/// Losses at most this far apart belong to one outage: a site that flickers has not come back.
const FLICKER: Duration = Duration::from_millis(50);

/// What became of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// When it should have left.
    pub intended_ns: MonotonicNs,
    /// When it left.
    pub sent_ns: MonotonicNs,
    /// Whether it was answered in time.
    pub answered: bool,
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
    /// The first answered probe after the last lost one; `None` if the record ends before.
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

/// The probes among the events, in order of sending. An answer that took longer than `patience` came too late.
pub(super) fn probes(events: &[Event], patience: Duration) -> Vec<Probed> {
    let mut probes: Vec<_> = events
        .iter()
        .filter_map(|event| match event.what {
            What::Probe { intended_ns, sent_ns, answered_ns } => {
                let answered = answered_ns
                    .is_some_and(|at| Duration::from_nanos(at.saturating_sub(sent_ns)) <= patience);
                Some(Probed { intended_ns, sent_ns, answered })
            }
            _ => None,
        })
        .collect();
    probes.sort_by_key(|probe| probe.sent_ns);
    probes
}

/// All outages that these probes, in order of sending, have seen.
pub(super) fn outages(probes: &[Probed]) -> Vec<Outage> {
    let mut found: Vec<Outage> = Vec::new();
    let mut last_ok_ns = None;
    for probe in probes {
        let at = probe.sent_ns;
        if probe.answered {
            if let Some(outage) = found.last_mut() {
                outage.first_ok_ns.get_or_insert(at);
            }
            last_ok_ns = Some(at);
            continue;
        }
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
    found
}

/// A time without any acknowledged turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The acknowledgement before it.
    pub from_ns: MonotonicNs,
    /// The acknowledgement after it.
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

/// The longest pause between two of these points in order of time; the first of equals, `None` if there are fewer
/// than two.
pub(super) fn longest_pause(acknowledgements: &[MonotonicNs]) -> Option<Pause> {
    let pauses = acknowledgements.windows(2).map(|pair| Pause { from_ns: pair[0], to_ns: pair[1] });
    pauses.reduce(|longest, pause| if pause.length() > longest.length() { pause } else { longest })
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
