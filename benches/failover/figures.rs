//! From what the instruments saw between two moments to figures. Pure: it asks no clock and no lab.

use std::time::Duration;

use labctl::report::{Probed, outages};
use serde::Serialize;

use super::instruments::Seen;
use super::notices::{Notice, Place, Said};
use super::watcher::{self, Round};

/// Lateness of the pacer that is never held against a run: the finest outage that is told apart from none.
const LATENESS_MIN: Duration = Duration::from_millis(2);
/// Beyond that, it may be this part of what is measured.
const LATENESS_PART: u32 = 10;
/// Lateness counts from this long before an outage, or the fault, to this long after.
const AROUND: Duration = Duration::from_millis(100);
/// Most lines of what happened in one run that are kept.
const LINES_MAX: usize = 200;

/// From when to when, and how long an election may take.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from_ns: u64,
    pub to_ns: u64,
    pub formula: Duration,
    /// Whether something was broken, so that lateness would hide something. Without a fault it is told and no more.
    pub strict: bool,
}

/// What a fault, or its end, cost.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Why nothing can be concluded from this run.
    pub unknown: Option<String>,
    pub length_ms: f64,
    pub probes: usize,
    pub lost: usize,
    /// Outages, from the first lost probe of each to the last: all of them together. The truth is longer than this.
    pub away_at_least_ms: f64,
    /// From the last answered probe before to the first answered one after: all of them together. The truth is shorter.
    /// `None` if the VIP was still away in the end.
    pub away_at_most_ms: Option<f64>,
    pub outages: usize,
    /// From the fault to the first lost probe.
    pub first_loss_ms: Option<f64>,
    /// Probes that were lost although somebody answered for the VIP, because the router sent them to somebody else.
    pub stale: usize,
    /// Questions on the public network that two hardware addresses answered.
    pub two_answer_ms: f64,
    /// Questions that nobody answered.
    pub none_answers_ms: f64,
    /// Both kernels had the VIP on an interface.
    pub two_have_ms: f64,
    pub announcements: usize,
    /// How often an interface of a proxy got the VIP.
    pub takeovers: usize,
    /// How late a probe left, around the outages, at the worst.
    pub pacer_late_ms: f64,
    pub pacer_late_p99_ms: f64,
    /// How late a question was asked, at the worst.
    pub watcher_late_ms: f64,
    /// What happened, in milliseconds after the fault.
    pub story: Vec<String>,
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Window {
    fn has(&self, at_ns: u64) -> bool {
        (self.from_ns..self.to_ns).contains(&at_ns)
    }

    fn after(&self, at_ns: u64) -> f64 {
        (at_ns as f64 - self.from_ns as f64) / 1e6
    }
}

/// The figures of one window.
pub fn figures(seen: &Seen, window: Window) -> Figures {
    let probes: Vec<Probed> = seen.probes.iter().copied().filter(|probe| window.has(probe.sent_ns)).collect();
    let rounds: Vec<Round> =
        seen.sightings.rounds.iter().copied().filter(|round| window.has(round.asked_ns)).collect();
    let away = outages(&probes);
    let mut at_most = Some(0);
    for outage in &away {
        // One that began before the window counts from where the window does.
        let from_ns = outage.last_ok_ns.unwrap_or(window.from_ns);
        at_most = at_most.zip(outage.first_ok_ns).map(|(sum, to_ns)| sum + (to_ns - from_ns));
    }
    let spans: Vec<(u64, u64)> = match away.as_slice() {
        [] if window.strict => vec![(window.from_ns, window.from_ns + nanos(window.formula))],
        [] => vec![(window.from_ns, window.to_ns)],
        away => away.iter().map(|it| (it.first_lost_ns, it.first_ok_ns.unwrap_or(window.to_ns))).collect(),
    };
    let mut late: Vec<u64> = probes
        .iter()
        .filter(|probe| {
            spans.iter().any(|&(from, to)| {
                (from.saturating_sub(nanos(AROUND))..to + nanos(AROUND)).contains(&probe.sent_ns)
            })
        })
        .map(|probe| probe.sent_ns.saturating_sub(probe.intended_ns))
        .collect();
    late.sort_unstable();
    let latest_ns = late.last().copied().unwrap_or(0);
    let longest = Duration::from_nanos(
        away.iter().map(|it| nanos(it.longest().unwrap_or(it.shortest()))).max().unwrap_or(0),
    );
    let allowed = LATENESS_MIN.max(longest / LATENESS_PART);
    let announced = seen.sightings.announcements.iter().filter(|(at_ns, _)| window.has(*at_ns));
    let in_window = |said: Said| {
        seen.notices.iter().filter(move |notice| notice.said == said && window.has(notice.at_ns))
    };
    Figures {
        unknown: unknown(&probes, latest_ns, allowed, window),
        length_ms: ms(window.to_ns - window.from_ns),
        probes: probes.len(),
        lost: probes.iter().filter(|probe| !probe.answered).count(),
        away_at_least_ms: ms(away.iter().map(|outage| nanos(outage.shortest())).sum()),
        away_at_most_ms: at_most.map(ms),
        outages: away.len(),
        first_loss_ms: away.first().map(|outage| window.after(outage.first_lost_ns)),
        stale: probes.iter().filter(|probe| !probe.answered && is_stale(seen, probe.sent_ns)).count(),
        two_answer_ms: rounds_ms(&rounds, |who| who.count_ones() > 1),
        none_answers_ms: rounds_ms(&rounds, |who| who == 0),
        two_have_ms: both_have_ms(&seen.notices, window),
        announcements: announced.count(),
        takeovers: in_window(Said::Has).count(),
        pacer_late_ms: ms(latest_ns),
        pacer_late_p99_ms: late.get(late.len().saturating_sub(1) * 99 / 100).copied().map_or(0.0, ms),
        watcher_late_ms: rounds.iter().map(|round| round.late_ns).max().map_or(0.0, ms),
        story: story(seen, window),
    }
}

fn unknown(probes: &[Probed], latest_ns: u64, allowed: Duration, window: Window) -> Option<String> {
    if probes.is_empty() {
        return Some("no probe was sent".to_owned());
    }
    let late = window.strict && latest_ns > nanos(allowed);
    late.then(|| {
        format!("a probe left {:.1} ms late, and {:.1} ms were allowed", ms(latest_ns), ms(nanos(allowed)))
    })
}

fn rounds_ms(rounds: &[Round], is: impl Fn(u8) -> bool) -> f64 {
    let count = rounds.iter().filter(|round| is(round.who)).count() as u64;
    ms(count * nanos(watcher::INTERVAL))
}

/// Who has the VIP by the kernels' word at every change, beginning with what was so when the listeners began.
fn both_have_ms(notices: &[Notice], window: Window) -> f64 {
    let (mut primary, mut backup, mut since_ns, mut sum_ns) = (false, false, 0, 0);
    let end = Notice { at_ns: window.to_ns, place: Place::Router, said: Said::Entry(None) };
    for notice in notices.iter().filter(|notice| notice.at_ns < window.to_ns).chain([&end]) {
        if primary && backup {
            sum_ns += notice.at_ns.saturating_sub(since_ns.max(window.from_ns));
        }
        since_ns = notice.at_ns;
        match (notice.place, notice.said) {
            (Place::Primary, Said::Has) => primary = true,
            (Place::Primary, Said::HasNot) => primary = false,
            (Place::Backup, Said::Has) => backup = true,
            (Place::Backup, Said::HasNot) => backup = false,
            (_, Said::Entry(_)) | (Place::Router, _) => {}
        }
    }
    ms(sum_ns)
}

/// Whether the router sent this probe to somebody who did not answer for the VIP while somebody else did.
fn is_stale(seen: &Seen, sent_ns: u64) -> bool {
    let entry = seen.notices.iter().rev().find_map(|notice| match notice.said {
        Said::Entry(mac) if notice.at_ns <= sent_ns => Some(mac),
        _ => None,
    });
    let Some(Some(mac)) = entry else { return false };
    let asked = seen.sightings.rounds.partition_point(|round| round.asked_ns <= sent_ns);
    let Some(round) = asked.checked_sub(1).and_then(|last| seen.sightings.rounds.get(last)) else {
        return false;
    };
    let bit = seen.sightings.macs.iter().position(|known| *known == mac);
    round.who != 0 && bit.is_none_or(|bit| round.who & (1 << bit) == 0)
}

fn story(seen: &Seen, window: Window) -> Vec<String> {
    let name = |mac| match seen.macs.iter().position(|known| *known == mac) {
        Some(0) => "primary".to_owned(),
        Some(_) => "backup".to_owned(),
        None => format!("{mac:02x?}"),
    };
    let of_bit = |bit: u8| seen.sightings.macs.get(usize::from(bit)).map_or("?".to_owned(), |&mac| name(mac));
    let mut lines: Vec<(u64, String)> = Vec::new();
    for notice in &seen.notices {
        let line = match notice.said {
            Said::Has => format!("{:?} has the VIP", notice.place),
            Said::HasNot => format!("{:?} has it no more", notice.place),
            Said::Entry(mac) => format!("the router takes {} for it", mac.map_or("nobody".to_owned(), name)),
        };
        lines.push((notice.at_ns, line));
    }
    lines.extend(
        seen.sightings.announcements.iter().map(|&(at, bit)| (at, format!("{} announces", of_bit(bit)))),
    );
    let mut before = None;
    for round in &seen.sightings.rounds {
        if before != Some(round.who) {
            let who: Vec<_> = (0..8).filter(|bit| round.who & (1 << bit) != 0).map(of_bit).collect();
            let who = if who.is_empty() { "nobody".to_owned() } else { who.join(" and ") };
            lines.push((round.asked_ns, format!("{who} answers")));
            before = Some(round.who);
        }
    }
    lines.extend(seen.probes.windows(2).filter_map(|pair| match (pair[0].answered, pair[1].answered) {
        (true, false) => Some((pair[1].sent_ns, "first lost probe".to_owned())),
        (false, true) => Some((pair[1].sent_ns, "first answered probe".to_owned())),
        _ => None,
    }));
    lines.sort_by_key(|line| line.0);
    // Neighbour entries are told anew each time that they are confirmed.
    lines.dedup_by(|next, line| next.1 == line.1 && next.1.starts_with("the router"));
    let within = lines.iter().filter(|line| window.has(line.0)).take(LINES_MAX);
    within.map(|(at, line)| format!("{:+.1} {line}", window.after(*at))).collect()
}
