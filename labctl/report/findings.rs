//! Everything that a drill has shown, gathered from its events alone. Judging it is `verdict`'s business, printing it
//! `json`'s and `summary`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::event::{Began, Event, MonotonicNs, Outcome, What};
use super::history::{self, Recorded};
use super::outage::{self, Outage, Pause, Probed};
use super::phases::{self, Move, Phases, Window};
use super::turns::{self, Turns};
use super::usage::{self, NodeUsage};
use crate::conversation::checker::{self, Demand, Judgement};

/// The pacer's lateness counts from this long before an outage to this long after it.
const AROUND: Duration = Duration::from_millis(100);
/// Three significant digits tell 1.00 ms from 1.01 ms, and no measurement here is finer.
const SIGNIFICANT_DIGITS: u8 = 3;
/// Longer times count as this long in quantiles; no drill lasts longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is nothing to report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The record lacks its first event.
    #[error("the record does not say which drill it is of: it has no `drill-began` event")]
    Drill,
}

/// Quantiles of a set of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many there are.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// Nine in ten are at most this.
    pub p90: Duration,
    /// All but one in a hundred are at most this.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// A fault and all that followed until the next.
#[derive(Clone, Debug)]
pub struct Aftermath {
    /// The fault.
    pub window: Window,
    /// The way back.
    pub phases: Phases,
    /// The worst outage that began in it.
    pub outage: Option<Outage>,
    /// Acknowledged turns in it.
    pub acknowledged: u64,
    /// Its longest time without an acknowledged turn.
    pub pause: Pause,
}

/// Everything that a drill has shown.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The circumstances.
    pub began: Began,
    /// Zero of all times that people read: the first turn on the timetable.
    pub zero_ns: MonotonicNs,
    /// How the drill ended: `None` if the record was cut off, else whether and why it was given up.
    pub ended: Option<Option<String>>,
    /// The faults.
    pub aftermaths: Vec<Aftermath>,
    /// Acknowledged turns before the first fault.
    pub acknowledged_before: u64,
    /// Probes sent.
    pub probes: u64,
    /// All outages.
    pub outages: Vec<Outage>,
    /// Turns on the timetable.
    pub scheduled: u64,
    /// The longest time of the timetable without an acknowledged turn; `None` if the load never began.
    pub pause: Option<Pause>,
    /// Web nodes that tell nothing in the end.
    pub webs_down: BTreeSet<String>,
    /// The balance of turns.
    pub turns: Turns,
    /// Attempts by how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// Acknowledged turns by who answered.
    pub served_by: BTreeMap<String, u64>,
    /// Acknowledged turns, from their place on the timetable to the answer.
    pub latency: Quantiles,
    /// The same of turns that were acknowledged before the first fault.
    pub latency_before: Quantiles,
    /// How late the pacer sent its probes.
    pub lateness: Quantiles,
    /// The same around the outages, or around the faults where there was none.
    pub lateness_around: Quantiles,
    /// The way of the VIP.
    pub moves: Vec<Move>,
    /// Acknowledged turns by where the answer said that they are kept.
    pub durability: BTreeMap<String, u64>,
    /// The history of all conversations.
    pub recorded: Recorded,
    /// What the checker says of it, or why it says nothing.
    pub judgement: Result<Judgement, String>,
    /// The nodes that had the VIP at one time, when these were most.
    pub most_holders: BTreeSet<String>,
    /// What each node used before the first fault, or in the whole timetable where there was none.
    pub usage: Vec<NodeUsage>,
    /// What readers should know.
    pub notes: Vec<String>,
}

impl Findings {
    /// Gathers them.
    pub fn of(events: &[Event]) -> Result<Self, Missing> {
        let mut events = events.to_vec();
        // Events of several processes come in no order; those of one process at the same time keep theirs.
        events.sort_by_key(|event| event.at_ns);
        let events = events.as_slice();
        let began = events.iter().find_map(|event| match &event.what {
            What::DrillBegan(began) => Some((event.at_ns, began.as_ref().clone())),
            _ => None,
        });
        let (began_ns, began) = began.ok_or(Missing::Drill)?;
        let leader_changes = phases::leader_changes(events);
        // How the lab came up is no part of the drill.
        let events = &events[events.partition_point(|event| event.at_ns < began_ns)..];
        let ready = |event: &&Event| event.source == "load" && event.what == What::Ready;
        let loaded_ns = events.iter().find(ready).map(|event| event.at_ns);
        let zero_ns = loaded_ns.unwrap_or(began_ns);

        let probes = outage::probes(events);
        let outages = outage::outages(&probes);
        let acknowledged = outage::acknowledgements(events);
        let windows = phases::windows(events, end_of_load(events).unwrap_or(zero_ns));
        let before_ns = windows.first().map_or(MonotonicNs::MAX, |window| window.from_ns);
        let recorded = history::recorded(events, &windows, began.drill.expect.acknowledged_min);
        let judgement = match &recorded.history {
            Ok(history) => Ok(checker::check(history, &Demand::default())),
            Err(why) => Err(why.clone()),
        };
        let lateness_around = lateness_around(&probes, &outages, &windows, began.drill.expect.outage_max);
        let aftermaths = windows
            .into_iter()
            .map(|window| {
                let phases = phases::phases(&window, began.vip, events, &probes, &outages, &leader_changes);
                aftermath(window, phases, &outages, &acknowledged)
            })
            .collect();
        let ended = events.iter().rfind(|event| matches!(event.what, What::DrillEnded { .. }));
        let webs_down = phases::webs_down(events, &began.webs);
        let webs_up = began.webs.difference(&webs_down).cloned().collect();
        Ok(Self {
            zero_ns,
            ended: events.iter().find_map(|event| match &event.what {
                What::DrillEnded { aborted } => Some(aborted.clone()),
                _ => None,
            }),
            aftermaths,
            acknowledged_before: acknowledged.partition_point(|&at| at < before_ns) as u64,
            probes: probes.len() as u64,
            scheduled: began.drill.load.turns_within(began.drill.duration),
            pause: loaded_ns.map(|begins_ns| {
                let length = u64::try_from(began.drill.duration.as_nanos()).unwrap_or(u64::MAX);
                let planned_ns = begins_ns.saturating_add(length);
                // A drill that was given up has no timetable any more.
                let ends_ns = ended.map_or(planned_ns, |event| planned_ns.min(event.at_ns));
                outage::longest_pause(begins_ns, ends_ns, &acknowledged)
            }),
            turns: turns::turns(events, &webs_up),
            webs_down,
            outcomes: outcomes(events),
            served_by: acknowledged_by(events, |served_by, _| served_by),
            durability: acknowledged_by(events, |_, durability| durability),
            recorded,
            judgement,
            latency: latency(events),
            latency_before: latency(&events[..events.partition_point(|event| event.at_ns < before_ns)]),
            lateness: lateness(probes.iter()),
            lateness_around,
            moves: phases::moves(events, began.vip, began.holder.as_deref()),
            most_holders: phases::most_holders(events, began.vip, began.holder.as_deref()),
            usage: usage::usage(events),
            notes: notes(events),
            outages,
            began,
        })
    }

    /// Turns of the timetable that were never acknowledged, whether or not they were attempted.
    pub fn never_acknowledged(&self) -> u64 {
        self.scheduled.saturating_sub(self.turns.acknowledged)
    }
}

/// The outage with the greatest upper bound; one without an upper bound is the worst of all.
fn worst<'a>(outages: impl Iterator<Item = &'a Outage>) -> Option<&'a Outage> {
    outages.max_by_key(|outage| (outage.longest().unwrap_or(Duration::MAX), outage.shortest()))
}

fn aftermath(window: Window, phases: Phases, outages: &[Outage], acknowledged: &[MonotonicNs]) -> Aftermath {
    let until = |at_ns: MonotonicNs| acknowledged.partition_point(|&at| at < at_ns);
    // The last window includes its end.
    let within = &acknowledged[until(window.from_ns)..until(window.to_ns.saturating_add(1))];
    let mine = outages.iter().filter(|outage| (window.from_ns..window.to_ns).contains(&outage.first_lost_ns));
    Aftermath {
        phases,
        outage: worst(mine).copied(),
        acknowledged: within.len() as u64,
        pause: outage::longest_pause(window.from_ns, window.to_ns, within),
        window,
    }
}

fn end_of_load(events: &[Event]) -> Option<MonotonicNs> {
    let of_load = |event: &&Event| matches!(event.what, What::Probe { .. } | What::Request { .. });
    events.iter().filter(of_load).map(|event| event.at_ns).max()
}

fn lateness<'a>(probes: impl Iterator<Item = &'a Probed>) -> Quantiles {
    quantiles(probes.map(|probe| probe.sent_ns.saturating_sub(probe.intended_ns)))
}

/// How late the probes left that decide on the outage. Where there was no outage, those that would have seen one.
fn lateness_around(
    probes: &[Probed],
    outages: &[Outage],
    windows: &[Window],
    outage_max: Duration,
) -> Quantiles {
    let around = AROUND.as_nanos() as u64;
    let mut spans: Vec<(MonotonicNs, MonotonicNs)> = outages
        .iter()
        .map(|outage| (outage.first_lost_ns.saturating_sub(around), outage.last_lost_ns + around))
        .collect();
    if spans.is_empty() {
        let length = u64::try_from(outage_max.as_nanos()).unwrap_or(u64::MAX);
        spans.extend(windows.iter().map(|window| (window.from_ns, window.from_ns.saturating_add(length))));
    }
    lateness(
        probes.iter().filter(|probe| spans.iter().any(|&(from, to)| (from..=to).contains(&probe.sent_ns))),
    )
}

fn latency(events: &[Event]) -> Quantiles {
    quantiles(events.iter().filter_map(|event| match event.what {
        What::Request { outcome: Outcome::Ok, key: Some(_), intended_ns, .. } => {
            Some(event.at_ns.saturating_sub(intended_ns))
        }
        _ => None,
    }))
}

/// Quantiles to the microsecond.
fn quantiles(times_ns: impl Iterator<Item = u64>) -> Quantiles {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST.as_micros() as u64, SIGNIFICANT_DIGITS)
        .expect("the bounds are in order and the digits are between 0 and 5");
    // The histogram rounds its buckets up, and a maximum above all measurements would be odd to read.
    let mut max_us = 0;
    for time_ns in times_ns {
        let time_us = time_ns / 1_000;
        max_us = max_us.max(time_us);
        histogram.saturating_record(time_us);
    }
    let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile).min(max_us));
    Quantiles {
        count: histogram.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        max: Duration::from_micros(max_us),
    }
}

fn outcomes(events: &[Event]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        if let What::Request { outcome, key: Some(_), .. } = &event.what {
            *counts.entry(outcome.to_string()).or_default() += 1;
        }
    }
    counts
}

/// Acknowledgements by something that the answers said: who served them, or where the turn is kept.
fn acknowledged_by(
    events: &[Event],
    said: for<'a> fn(&'a Option<String>, &'a Option<String>) -> &'a Option<String>,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        let What::Request { outcome: Outcome::Ok, key: Some(_), served_by, durability, .. } = &event.what
        else {
            continue;
        };
        if let Some(word) = said(served_by, durability) {
            *counts.entry(word.clone()).or_default() += 1;
        }
    }
    counts
}

fn notes(events: &[Event]) -> Vec<String> {
    let note = |event: &Event| match &event.what {
        What::Note { text } => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(note).collect()
}
