//! Every memory and every database engine on the same site, in turns: turns per second and their latency, who bears the load,
//! how long the next turn takes when a web dies, and the gap in acknowledged turns when the leader of the databases dies or is
//! cut off. The load is that of `labctl drill`, which runs in the client node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use labctl::report::{Event, Outcome, Report, UsageFacts, What};

use super::database::throughput;
use super::drill::{self, Drilled, Verdicts};
use super::page::{Page, Table, quantile};
use super::shell::{Error, Shell};

/// A memory on a site of its own.
struct Contender {
    name: &'static str,
    site: &'static str,
    /// Has it a leader that can be lost?
    led: bool,
    /// How long a fault may keep turns waiting: an election, or a claim that has to run out.
    after_fault_s: u32,
}

const CONTENDERS: [Contender; 6] = [
    Contender { name: "none", site: "ha-none.yaml", led: false, after_fault_s: 3 },
    Contender { name: "peer", site: "ha-peer.yaml", led: false, after_fault_s: 3 },
    Contender { name: "embedded", site: "ha.yaml", led: true, after_fault_s: 3 },
    Contender { name: "etcd", site: "ha-etcd.yaml", led: true, after_fault_s: 4 },
    Contender { name: "postgres", site: "ha-postgres.yaml", led: true, after_fault_s: 13 },
    Contender { name: "redis", site: "ha-redis.yaml", led: true, after_fault_s: 6 },
];
/// The most that a drill allows; a timetable that is behind keeps every conversation busy.
const RATE_PER_S: u32 = 5_000;
/// Conversations, turns of all of them together, label. A conversation has at most 1,024 turns.
const LOADS: [(u32, u32, &str); 2] = [(1, 500, "1"), (32, 8_000, "32")];
/// When something is broken, and how long before it the load begins.
const FAULT_AT_S: u32 = 2;
/// The most that a conversation holds; those that are cut off hold all that the load says.
const CONVERSATIONS: u32 = 32;
/// What becomes of the leader.
const LEADER_FAULTS: [(&str, &str); 2] = [
    ("leader killed", "do: kill-node, target: raft-leader"),
    ("leader powered off", "do: power-off, target: raft-leader"),
];
/// The leader and the web beside it see each other and nobody else on the data network, for as long.
const CUT_S: u32 = 6;
/// A contender that could not be measured so often is left out.
const FAILURES_MAX: usize = 2;
const LOST: &str = "acknowledged turns lost (count)";

pub fn measure(shell: &Shell, runs: u32, page: &mut Page) -> Result<(), Error> {
    page.note(
        "turns are HTTP requests by `labctl drill`'s load in the client node: VIP, balancer, web, memory; latency is from \
         the request to the acknowledgement; disks of nodes are in memory"
            .to_owned(),
    );
    page.note(
        "next turn after a web's death: of the conversations that the dead web served last, the median time from the kill \
         to the next acknowledgement, by whichever web; 200 turns per second in 32 conversations, an attempt lasts at most \
         1 s; `none` acknowledges nothing then, because the other web knows no such conversation"
            .to_owned(),
    );
    page.note("gap: the longest pause between two acknowledged turns, 200 turns per second".to_owned());
    let table = page.table("Memories", &["memory", "case", "figure"]);
    let mut verdicts = Verdicts::default();
    let mut failed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut result = Ok(());
    'runs: for run in 1..=runs {
        for contender in &CONTENDERS {
            if failed.get(contender.name).is_some_and(|failures| failures.len() >= FAILURES_MAX) {
                continue;
            }
            eprintln!("memory: run {run} of {runs}, {}", contender.name);
            match round(shell, contender, table, &mut verdicts) {
                Ok(()) => {}
                Err(Error::Interrupted) => {
                    result = Err(Error::Interrupted);
                    break 'runs;
                }
                Err(error) => {
                    eprintln!("  {error}");
                    failed.entry(contender.name).or_default().push(format!("run {run}: {error}"));
                }
            }
        }
    }
    for (name, failures) in failed {
        let over = if failures.len() < FAILURES_MAX { "" } else { " (left out from then on)" };
        page.note(format!("{name} was not measured whole: {}{over}", failures.join("; ")));
    }
    page.note(verdicts.line());
    result
}

/// Everything that is measured of one contender once.
fn round(shell: &Shell, of: &Contender, table: &mut Table, verdicts: &mut Verdicts) -> Result<(), Error> {
    let site = std::fs::read_to_string(site(of.site))?;
    let mut run = |drill: &str| {
        let drilled = drill::run_text(shell, drill, &site)?;
        verdicts.count(&drilled);
        Ok::<_, Error>(drilled)
    };
    for (conversations, turns, label) in LOADS {
        let drilled = run(&steady(conversations, turns))?;
        let case = format!("{label} at a time");
        for (figure, value) in throughput(&drilled.events()?)? {
            table.add(&[of.name, &case, figure], value);
        }
        if conversations > 1 {
            for (figure, value) in burden(&drilled.report) {
                table.add(&[of.name, &case, &figure], value);
            }
        }
    }
    let drilled = run(&broken("do: kill-node, target: web2", of.after_fault_s))?;
    if let Some(ms) = next_turn_ms(&drilled.events()?, "web2") {
        table.add(&[of.name, "web killed", "next turn of its visitors, ms"], ms);
    }
    table.add(&[of.name, "web killed", LOST], drilled.lost()?);
    if !of.led {
        return Ok(());
    }
    for (case, fault) in LEADER_FAULTS {
        gap(of, case, &run(&broken(fault, of.after_fault_s))?, table)?;
    }
    let cut = "do: split, network: data, target: [raft-leader, serving-web] }\n\
               \x20 - { at: 8s, do: heal, network: data, target: same";
    gap(of, "leader and a web cut off for 6 s", &run(&broken(cut, CUT_S + of.after_fault_s))?, table)
}

fn gap(of: &Contender, case: &str, drilled: &Drilled, table: &mut Table) -> Result<(), Error> {
    let report = &drilled.report;
    if report.faults.first().is_none_or(|fault| !fault.seen) {
        return Err(Error::Unfit(format!("{case}: nothing was broken")));
    }
    let pause = report.pause.as_ref().ok_or_else(|| Error::Unfit("too few acknowledged turns".to_owned()))?;
    table.add(&[of.name, case, "gap between acknowledged turns, ms"], pause.length_us as f64 / 1e3);
    table.add(&[of.name, case, LOST], drilled.lost()?);
    Ok(())
}

fn site(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(file)
}

/// As many turns as can be said, and nothing broken.
fn steady(conversations: u32, turns: u32) -> String {
    let duration_ms = turns * 1_000 / RATE_PER_S;
    format!(
        "name: bench-memory\n\
         topology: site.yaml\n\
         duration: {duration_ms}ms\n\
         load: {{ conversations: {conversations}, turns_per_s: {RATE_PER_S}, timeout: 5s, probe_interval: 100ms }}\n\
         faults: []\n"
    )
}

/// An even load, in the middle of which something breaks.
fn broken(fault: &str, then_s: u32) -> String {
    let duration_s = FAULT_AT_S + then_s;
    let rate = 200.min(CONVERSATIONS * 1_000 / duration_s);
    format!(
        "name: bench-memory\n\
         topology: site.yaml\n\
         duration: {duration_s}s\n\
         load: {{ conversations: {CONVERSATIONS}, turns_per_s: {rate}, timeout: 1s, probe_interval: 100ms }}\n\
         faults:\n\
         \x20 - {{ at: {FAULT_AT_S}s, {fault} }}\n"
    )
}

/// What a turn costs webs and databases, and how much memory the greatest database takes.
fn burden(report: &Report) -> Vec<(String, f64)> {
    let turns = report.turns.acknowledged_before_faults as f64;
    let mut figures = Vec::new();
    for role in ["web", "db"] {
        let nodes: Vec<&UsageFacts> = report.usage.iter().filter(|node| node.role == role).collect();
        let mut a_turn = |name: String, of: fn(&UsageFacts) -> Option<u64>| {
            let all: Option<u64> = nodes.iter().map(|node| of(node)).sum();
            if let Some(all) = all.filter(|_| !nodes.is_empty() && turns > 0.0) {
                figures.push((name, all as f64 / turns));
            }
        };
        a_turn(format!("processor of all {role} nodes a turn, us"), |node| node.cpu_us);
        a_turn(format!("written by all {role} nodes a turn, B"), |node| node.written_bytes);
        if let Some(bytes) = nodes.iter().map(|node| node.memory_bytes).max() {
            figures.push((format!("memory of the greatest {role} node, MiB"), bytes as f64 / 1_048_576.0));
        }
    }
    figures
}

/// From the fault to the next acknowledgement, the median of the conversations that this web had served last.
fn next_turn_ms(events: &[Event], dead: &str) -> Option<f64> {
    let fault_ns = events.iter().find(|event| matches!(event.what, What::Fault { .. }))?.at_ns;
    let mut turns: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for event in events {
        if let What::Request {
            outcome: Outcome::Ok,
            conversation: Some(conversation),
            key: Some(_),
            served_by: Some(web),
            ..
        } = &event.what
        {
            turns.entry(conversation).or_default().push((event.at_ns, web));
        }
    }
    let mut waits: Vec<f64> = turns
        .values_mut()
        .filter_map(|turns| {
            turns.sort_unstable();
            let after = turns.partition_point(|(at_ns, _)| *at_ns < fault_ns);
            let (_, last) = turns[..after].last()?;
            let (next_ns, _) = turns.get(after)?;
            (*last == dead).then(|| (next_ns - fault_ns) as f64 / 1e6)
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    (!waits.is_empty()).then(|| quantile(&waits, 0.5))
}
