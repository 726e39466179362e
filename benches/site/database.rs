//! What the three databases do through the VIP: turns per second and their latency, one at a time and 32 in flight, and
//! the pause when the leader dies. The load is that of `labctl drill`, which runs in the client node.

use std::path::Path;
use std::time::Duration;

use labctl::report::{Event, Outcome, What};

use super::drill::{self, Drilled, Verdicts};
use super::page::{Page, Table, quantile};
use super::shell::{Error, Shell};

/// The most that a drill allows, and about what the site can do: the timetable is behind nearly all the time, and each
/// conversation says its next turn as soon as the one before is acknowledged. How many were in flight is in the table.
const RATE_PER_S: u32 = 5_000;
/// Conversations, and turns of all of them together: seconds of work each. A conversation has at most 1,024 turns.
const LOADS: [(u32, u32, &str); 2] = [(1, 1_000, "1"), (32, 24_000, "32")];
/// The drill whose pause is measured; the leader dies at 2 s and comes back at 4 s.
const LEADER_KILL: &str = "topologies/drills/leader-kill.yaml";
/// The figure that is summed over everything.
const LOST: &str = "acknowledged turns lost (count)";

pub fn measure(shell: &Shell, runs: u32, page: &mut Page) -> Result<(), Error> {
    let site = std::fs::read_to_string(super::site())?;
    page.note(
        "turns are HTTP requests by `labctl drill`'s load in the client node: VIP, balancer, web, leader of the \
         databases, a majority of their logs flushed (a lab's disks are in memory); latency is from the request to the \
         acknowledgement"
            .to_owned(),
    );
    page.note(format!(
        "gap: the longest pause between two acknowledged turns of `{LEADER_KILL}`, 400 turns per second"
    ));
    let table = page.table("Turns of conversations", &["conversations", "figure"]);
    let mut verdicts = Verdicts::default();
    let mut acknowledged = 0;
    let result = rounds(shell, runs, &site, table, &mut |drilled| {
        verdicts.count(drilled);
        acknowledged += drilled.report.turns.acknowledged;
    });
    let lost: f64 = ["1", "32", "leader killed"].iter().map(|load| table.sum(&[load, LOST])).sum();
    page.note(format!("acknowledged turns lost over all of these: {lost} of {acknowledged}"));
    page.note(verdicts.line());
    result
}

fn rounds(
    shell: &Shell,
    runs: u32,
    site: &str,
    table: &mut Table,
    count: &mut impl FnMut(&Drilled),
) -> Result<(), Error> {
    let leader_kill = Path::new(env!("CARGO_MANIFEST_DIR")).join(LEADER_KILL);
    for run in 1..=runs {
        for (conversations, turns, label) in LOADS {
            eprintln!("database: run {run} of {runs}, {label} conversations at a time");
            let drilled = drill::run_text(shell, &text(conversations, turns), site)?;
            count(&drilled);
            for (figure, value) in throughput(&drilled.events()?)? {
                table.add(&[label, figure], value);
            }
            table.add(&[label, LOST], drilled.lost()?);
        }
        eprintln!("database: run {run} of {runs}, the leader is killed");
        let drilled = drill::run(shell, &leader_kill)?;
        count(&drilled);
        for (figure, value) in gap(&drilled)? {
            table.add(&["leader killed", figure], value);
        }
        table.add(&["leader killed", LOST], drilled.lost()?);
    }
    Ok(())
}

fn text(conversations: u32, turns: u32) -> String {
    let duration_ms = u64::from(turns) * 1_000 / u64::from(RATE_PER_S);
    format!(
        "name: bench-database\n\
         topology: site.yaml\n\
         duration: {duration_ms}ms\n\
         load: {{ conversations: {conversations}, turns_per_s: {RATE_PER_S}, timeout: 5s, probe_interval: 100ms }}\n\
         faults: []\n"
    )
}

pub fn throughput(events: &[Event]) -> Result<Vec<(&'static str, f64)>, Error> {
    let mut turns: Vec<(u64, u64)> = Vec::new();
    for event in events {
        if let What::Request { outcome: Outcome::Ok, key: Some(_), started_ns, .. } = &event.what {
            turns.push((*started_ns, event.at_ns));
        }
    }
    let (first, last) = (turns.iter().map(|turn| turn.0).min(), turns.iter().map(|turn| turn.1).max());
    let (Some(first), Some(last)) = (first, last) else {
        return Err(Error::Unfit("no turn was acknowledged".to_owned()));
    };
    let took = Duration::from_nanos(last - first).as_secs_f64();
    let mut latency: Vec<f64> = turns.iter().map(|turn| turn.1.saturating_sub(turn.0) as f64 / 1e6).collect();
    latency.sort_by(f64::total_cmp);
    // Little's law.
    let in_flight = latency.iter().sum::<f64>() / 1e3 / took;
    Ok(vec![
        ("in flight on the average", in_flight),
        ("acknowledged turns per second", turns.len() as f64 / took),
        ("latency p50, ms", quantile(&latency, 0.5)),
        ("latency p99, ms", quantile(&latency, 0.99)),
    ])
}

fn gap(drilled: &Drilled) -> Result<Vec<(&'static str, f64)>, Error> {
    let report = &drilled.report;
    if report.faults.first().is_none_or(|fault| !fault.seen) {
        return Err(Error::Unfit("the leader was not killed".to_owned()));
    }
    let pause = report.pause.as_ref().ok_or_else(|| Error::Unfit("too few acknowledged turns".to_owned()))?;
    let mut figures = vec![("gap between acknowledged turns, ms", pause.length_us as f64 / 1e3)];
    figures.extend(drilled.phase_ms("database leader").map(|at| ("next leader after the kill, ms", at)));
    Ok(figures)
}
