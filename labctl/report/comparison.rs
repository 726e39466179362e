//! Several reports side by side: the figures that answer "which of these sites is better, and what does it cost", each
//! beside the first report's. It judges nothing; a ratio of two runs on one machine says more than either figure.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{FaultFacts, Report, UsageFacts};
use super::verdict::{Claim, Verdict};

/// Several reports side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The reports, in the order in which they were given.
    pub sides: Vec<Side>,
    /// The figures.
    pub rows: Vec<Row>,
}

/// One report of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Name of the drill.
    pub drill: String,
    /// The topology, as the drill file names it.
    pub topology: String,
    /// When, as RFC 3339 in UTC.
    pub started_at: String,
    /// The verdict.
    pub verdict: String,
}

/// One figure of all reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What it is.
    pub figure: String,
    /// In what it is counted; empty for a plain number.
    pub unit: String,
    /// One for each report; null where a report does not have it.
    pub values: Vec<Option<f64>>,
    /// Each of them by the first report's; null where there is none, or the first is zero.
    pub ratios: Vec<Option<f64>>,
}

impl Comparison {
    /// Compares reports with the first of them.
    pub fn of(reports: &[Report]) -> Self {
        let sides = reports.iter().map(|report| Side {
            drill: report.drill.name.clone(),
            topology: report.drill.topology.clone(),
            started_at: report.drill.started_at.clone(),
            verdict: report.verdict.to_string(),
        });
        let mut rows = Vec::new();
        let mut row = |figure: &str, unit: &str, of: &dyn Fn(&Report) -> Option<f64>| {
            let values: Vec<Option<f64>> = reports.iter().map(of).collect();
            if values.iter().any(Option::is_some) {
                let first = values.first().copied().flatten().filter(|first| *first != 0.0);
                let ratios = values.iter().map(|value| Some(value.as_ref()? / first?)).collect();
                rows.push(Row { figure: figure.to_owned(), unit: unit.to_owned(), values, ratios });
            }
        };
        let ms = |us: u64| Some(us as f64 / 1e3);
        row("turns acknowledged", "", &|report| Some(report.turns.acknowledged as f64));
        row("turns never acknowledged", "", &|report| Some(report.turns.never_acknowledged as f64));
        row("acknowledged turns lost", "", &|report| {
            let lost = report.turns.lost.len();
            (lost > 0 || !open(report, Claim::LostTurns)).then_some(lost as f64)
        });
        row("latency p50 before the first fault", "ms", &|report| ms(report.latency_before_faults.p50_us));
        row("latency p99 before the first fault", "ms", &|report| ms(report.latency_before_faults.p99_us));
        row("latency p99 of all", "ms", &|report| ms(report.latency.p99_us));
        row("longest pause", "ms", &|report| ms(report.pause.as_ref()?.length_us));
        row("longest outage of the VIP", "ms", &|report| worst_outage_ms(report));
        // Of drills with other timetables, the third fault of one is not that of the other.
        let faults = |report: &Report| report.faults.iter().map(name_of_fault).collect::<Vec<_>>();
        let names = reports.first().map(faults).unwrap_or_default();
        let together = if reports.iter().all(|report| faults(report) == names) { names } else { Vec::new() };
        for (at, name) in together.iter().enumerate() {
            row(&format!("longest pause after {name}"), "ms", &|report| ms(report.faults[at].pause_us?));
        }
        let roles: BTreeSet<&str> =
            reports.iter().flat_map(|report| &report.usage).map(|node| node.role.as_str()).collect();
        for role in roles {
            row(&format!("{role}: processor, all nodes"), "ms", &|report| {
                Some(sum(report, role, |node| node.cpu_us)? as f64 / 1e3)
            });
            let mut a_turn = |what: &str, unit: &str, of: fn(&UsageFacts) -> Option<u64>| {
                row(&format!("{role}: {what} a turn"), unit, &|report| {
                    let turns = report.turns.acknowledged_before_faults;
                    Some(sum(report, role, of)? as f64 / (turns > 0).then_some(turns as f64)?)
                });
            };
            a_turn("processor", "µs", |node| node.cpu_us);
            a_turn("written", "B", |node| node.written_bytes);
            a_turn("sent", "B", |node| node.sent_bytes);
            row(&format!("{role}: memory, greatest node"), "MiB", &|report| {
                let of_role = report.usage.iter().filter(|node| node.role == role);
                Some(of_role.map(|node| node.memory_bytes).max()? as f64 / 1_048_576.0)
            });
        }
        Self { sides: sides.collect(), rows }
    }
}

/// When it was on the timetable, and what; which node it hit is chosen anew in each run.
fn name_of_fault(fault: &FaultFacts) -> String {
    format!("{} at {:.1} s", fault.action, fault.at_us as f64 / 1e6)
}

/// Whether the measurement leaves this open: finding nothing then means nothing.
fn open(report: &Report, claim: Claim) -> bool {
    report.checks.iter().any(|check| check.claim == claim && check.result == Verdict::Unknown)
}

/// Over all nodes of a role. Nothing is known of the role if nothing is known of one of them.
fn sum(report: &Report, role: &str, of: impl Fn(&UsageFacts) -> Option<u64>) -> Option<u64> {
    let of_role: Vec<_> = report.usage.iter().filter(|node| node.role == role).collect();
    if of_role.is_empty() {
        return None;
    }
    of_role.into_iter().map(of).sum()
}

fn worst_outage_ms(report: &Report) -> Option<f64> {
    if report.outages.is_empty() && open(report, Claim::Outage) {
        return None;
    }
    let longest = report.outages.iter().map(|outage| outage.longest_us.unwrap_or(outage.shortest_us)).max();
    Some(longest.unwrap_or(0) as f64 / 1e3)
}
