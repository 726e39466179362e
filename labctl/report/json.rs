//! `report.json`: the findings and the verdict for programs. Every figure names its unit; times are counted from the
//! first turn on the timetable. The shape is `reports/report.schema.json`, and its name changes when the shape does.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::MonotonicNs;
use super::findings::{Aftermath, Findings, Quantiles};
use super::outage::Outage;
use super::usage::NodeUsage;
use super::verdict::{self, Check, Verdict};
use crate::conversation::checker;

/// Name and version of the shape.
pub const SCHEMA: &str = "labctl.report/1";

/// A whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `labctl.report/1`.
    pub schema: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the drill was given up, where it was.
    pub aborted: Option<String>,
    /// What was checked, and how each check ended.
    pub checks: Vec<Check>,
    /// What was done, and where.
    pub drill: DrillFacts,
    /// The faults and what followed each.
    pub faults: Vec<FaultFacts>,
    /// Every time in which probes of the VIP were lost.
    pub outages: Vec<OutageFacts>,
    /// The longest time of the timetable without an acknowledged turn; null if the load never began.
    pub pause: Option<PauseFacts>,
    /// What became of the turns.
    pub turns: TurnFacts,
    /// What the checker says of the history of all conversations: `labctl check` on `history.jsonl` says the same.
    /// Nothing in reports of before it was asked.
    #[serde(default)]
    pub memory: MemoryFacts,
    /// Acknowledged turns, from their place on the timetable to the answer. Turns that were never acknowledged are not in
    /// it: see `turns`.
    pub latency: QuantileFacts,
    /// The same of turns that were acknowledged before the first fault; nothing in records of before this was measured.
    #[serde(default)]
    pub latency_before_faults: QuantileFacts,
    /// Where the VIP went.
    pub holder_changes: Vec<MoveFacts>,
    /// What each node used before the first fault, or in the whole timetable where there was none; empty in records of
    /// before this was measured.
    #[serde(default)]
    pub usage: Vec<UsageFacts>,
    /// How good the measurement was.
    pub pacer: PacerFacts,
    /// What readers should know.
    pub notes: Vec<String>,
}

/// What was done, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillFacts {
    /// Name of the drill.
    pub name: String,
    /// The topology, as the drill file names it.
    pub topology: String,
    /// Name of the lab.
    pub lab: String,
    /// When, as RFC 3339 in UTC.
    pub started_at: String,
    /// How long the timetable was.
    pub duration_us: u64,
    /// Conversations held at the same time.
    pub conversations: u32,
    /// Turns per second of all conversations together.
    pub turns_per_s: u32,
    /// From one probe to the next.
    pub probe_interval_us: u64,
    /// Kernel and processors.
    pub machine: String,
    /// Version of labctl.
    pub version: String,
    /// The address that was probed.
    pub vip: String,
}

/// A fault and the way back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultFacts {
    /// When.
    pub at_us: i64,
    /// In the words of the drill file.
    pub action: String,
    /// The node that was hit.
    pub target: String,
    /// Whether the lab saw it take place.
    pub seen: bool,
    /// Acknowledged turns from it to the next fault or the end.
    pub acknowledged_turns: u64,
    /// The longest time without an acknowledged turn from it to the next fault or the end; null where nobody looked at that.
    #[serde(default)]
    pub pause_us: Option<u64>,
    /// The worst outage that began after it.
    pub outage: Option<OutageFacts>,
    /// The way back, each phase as the time after the fault; absent phases were not reached.
    pub phases: Vec<PhaseFacts>,
}

/// A phase of the way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseFacts {
    /// Its name.
    pub phase: String,
    /// Time after the fault.
    pub after_us: i64,
}

/// A time in which probes were lost; the true outage is between the two lengths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutageFacts {
    /// When the first lost probe left.
    pub first_lost_at_us: i64,
    /// From the first lost probe to the last.
    pub shortest_us: u64,
    /// From the last answered probe before to the first answered probe after; null if the record does not show both.
    pub longest_us: Option<u64>,
    /// Probes lost.
    pub lost_probes: u64,
}

/// A time without an acknowledged turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PauseFacts {
    /// The acknowledgement before it, or the beginning of the timetable.
    pub from_us: i64,
    /// How long.
    pub length_us: u64,
}

/// What became of the turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnFacts {
    /// Turns on the timetable.
    pub scheduled: u64,
    /// Turns of which at least one attempt was made.
    pub attempted: u64,
    /// Turns that were acknowledged.
    pub acknowledged: u64,
    /// Turns of the timetable that were never acknowledged, whether or not they were attempted.
    pub never_acknowledged: u64,
    /// Turns that took more than one attempt.
    pub retried: u64,
    /// Acknowledged turns before the first fault.
    pub acknowledged_before_faults: u64,
    /// Attempts by how they ended.
    pub attempts: BTreeMap<String, u64>,
    /// Acknowledged turns by the web node that answered.
    pub served_by: BTreeMap<String, u64>,
    /// Acknowledged turns by where the answer said that they are kept.
    #[serde(default)]
    pub durability: BTreeMap<String, u64>,
    /// Acknowledged turns that are missing in the end, as `conversation/key`.
    pub lost: Vec<String>,
    /// Turns that are in one transcript more than once.
    pub duplicated: Vec<String>,
    /// Turns in a transcript that nobody attempted.
    pub phantoms: Vec<String>,
    /// Conversations whose final transcripts differ.
    pub disagreements: Vec<String>,
    /// Conversations of which a transcript has turns in another order than that in which they were said.
    pub disordered: Vec<String>,
    /// Conversations that could not be read back.
    pub unread: Vec<String>,
    /// Conversations that were read back, but not by every web node that is up.
    pub partly_read: Vec<String>,
    /// Conversations that were opened.
    pub conversations: u64,
    /// Final transcripts that were read back.
    pub transcripts: u64,
    /// Web nodes that were asked for the final transcripts.
    pub transcripts_by: Vec<String>,
    /// Web nodes that were down in the end and could not be asked.
    pub webs_down: Vec<String>,
}

/// What the checker says of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryFacts {
    /// Whether one order of all that was asked explains every answer; null where the history shows too little for a word.
    pub consistent: Option<bool>,
    /// Conversations that contradict themselves, by the first claim that each breaks.
    pub contradictions: BTreeMap<String, u64>,
    /// The first contradiction, a line each.
    pub story: Vec<String>,
    /// Why the history shows too little, where it does.
    pub shortfalls: Vec<String>,
    /// Attempts to append and reads, answered or not.
    pub operations: u64,
    /// Reads in the middle of the run that were answered.
    pub reads: u64,
    /// Reads that were not.
    pub unanswered_reads: u64,
    /// Turns of which nobody knows from an answer whether they were taken.
    pub unknown_turns: u64,
    /// Those of them that were told later on.
    pub unknown_turns_kept: u64,
}

/// Quantiles of a set of times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuantileFacts {
    /// How many there are.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// All but one in a hundred.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// The VIP came to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoveFacts {
    /// When.
    pub at_us: i64,
    /// From which node, if one was known to have it.
    pub from: Option<String>,
    /// To which.
    pub to: String,
}

/// What a node used before the first fault, or in the whole timetable where there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageFacts {
    /// The node.
    pub node: String,
    /// What it is for.
    pub role: String,
    /// Processor time of all its processes; null if the node was off in between.
    pub cpu_us: Option<u64>,
    /// Memory of all its processes in the end; what several share counts in parts.
    pub memory_bytes: u64,
    /// Bytes that its processes wrote: to files, and to sockets where a program writes to those in the same way (etcd and Redis
    /// do, ours do not). Null if the node was off in between.
    pub written_bytes: Option<u64>,
    /// Bytes that came in by its interfaces; null if the node was off in between.
    pub received_bytes: Option<u64>,
    /// Bytes that left by its interfaces; null if the node was off in between.
    pub sent_bytes: Option<u64>,
}

/// How good the measurement was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PacerFacts {
    /// How late probes left.
    pub lateness: QuantileFacts,
    /// The same around outages, or around faults where there was no outage. The verdict goes by its p99.
    pub lateness_around_outages: QuantileFacts,
}

impl Report {
    /// The report on these findings.
    pub fn new(findings: &Findings) -> Self {
        let checks = verdict::checks(findings);
        let at = |ns| since(findings.zero_ns, ns);
        let outage_facts = |outage: &Outage| outage_facts(findings.zero_ns, outage);
        Self {
            schema: SCHEMA.to_owned(),
            verdict: verdict::verdict(findings, &checks),
            aborted: match &findings.ended {
                None => Some("the record was cut off".to_owned()),
                Some(reason) => reason.clone(),
            },
            checks,
            drill: drill_facts(findings),
            faults: findings.aftermaths.iter().map(|fault| fault_facts(findings.zero_ns, fault)).collect(),
            outages: findings.outages.iter().map(outage_facts).collect(),
            pause: findings
                .pause
                .map(|pause| PauseFacts { from_us: at(pause.from_ns), length_us: us(pause.length()) }),
            turns: turn_facts(findings),
            memory: memory_facts(findings),
            latency: findings.latency.into(),
            latency_before_faults: findings.latency_before.into(),
            holder_changes: findings
                .moves
                .iter()
                .map(|step| MoveFacts { at_us: at(step.at_ns), from: step.from.clone(), to: step.to.clone() })
                .collect(),
            usage: findings.usage.iter().map(UsageFacts::from).collect(),
            pacer: PacerFacts {
                lateness: findings.lateness.into(),
                lateness_around_outages: findings.lateness_around.into(),
            },
            notes: findings.notes.clone(),
        }
    }

    /// The bytes of `report.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is plain data with text keys");
        text.push('\n');
        text
    }
}

/// The bytes of `report.schema.json`.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Report))
        .expect("a schema is plain data with text keys");
    text.push('\n');
    text
}

fn drill_facts(findings: &Findings) -> DrillFacts {
    let began = &findings.began;
    DrillFacts {
        name: began.drill.name.to_string(),
        topology: began.drill.topology.display().to_string(),
        lab: began.lab.clone(),
        started_at: began.started_at.to_string(),
        duration_us: us(began.drill.duration),
        conversations: began.drill.load.conversations,
        turns_per_s: began.drill.load.turns_per_s,
        probe_interval_us: us(began.drill.load.probe_interval),
        machine: began.machine.clone(),
        version: began.version.clone(),
        vip: began.vip.to_string(),
    }
}

fn fault_facts(zero_ns: MonotonicNs, fault: &Aftermath) -> FaultFacts {
    let phases = &fault.phases;
    let reached = [
        ("first loss", phases.first_loss_ns),
        ("elected", phases.elected_ns),
        ("VIP added", phases.vip_added_ns),
        ("announced", phases.announced_ns),
        ("database leader", phases.leader_ns),
        ("first success", phases.first_success_ns),
        ("steady", phases.steady_ns),
    ];
    let phases = reached.into_iter().filter_map(|(phase, at_ns)| {
        Some(PhaseFacts { phase: phase.to_owned(), after_us: since(fault.window.from_ns, at_ns?) })
    });
    FaultFacts {
        at_us: since(zero_ns, fault.window.from_ns),
        action: fault.window.action.clone(),
        target: fault.window.target.clone(),
        seen: fault.window.seen,
        acknowledged_turns: fault.acknowledged,
        pause_us: Some(us(fault.pause.length())),
        outage: fault.outage.as_ref().map(|outage| outage_facts(zero_ns, outage)),
        phases: phases.collect(),
    }
}

fn outage_facts(zero_ns: MonotonicNs, outage: &Outage) -> OutageFacts {
    OutageFacts {
        first_lost_at_us: since(zero_ns, outage.first_lost_ns),
        shortest_us: us(outage.shortest()),
        longest_us: outage.longest().map(us),
        lost_probes: outage.lost,
    }
}

fn turn_facts(findings: &Findings) -> TurnFacts {
    let turns = findings.turns.clone();
    TurnFacts {
        scheduled: findings.scheduled,
        attempted: turns.attempted,
        acknowledged: turns.acknowledged,
        never_acknowledged: findings.never_acknowledged(),
        retried: turns.retried,
        acknowledged_before_faults: findings.acknowledged_before,
        attempts: findings.outcomes.clone(),
        served_by: findings.served_by.clone(),
        durability: findings.durability.clone(),
        lost: turns.lost,
        duplicated: turns.duplicated,
        phantoms: turns.phantoms,
        disagreements: turns.disagreements,
        disordered: turns.disordered,
        unread: turns.unread,
        partly_read: turns.partly_read,
        conversations: turns.conversations,
        transcripts: turns.transcripts,
        transcripts_by: turns.asked.into_iter().collect(),
        webs_down: findings.webs_down.iter().cloned().collect(),
    }
}

fn memory_facts(findings: &Findings) -> MemoryFacts {
    let judgement = match &findings.judgement {
        Ok(judgement) => judgement,
        Err(why) => return MemoryFacts { shortfalls: vec![why.clone()], ..MemoryFacts::default() },
    };
    let counts = judgement.contradictions.iter().map(|(claim, count)| (claim.to_string(), *count));
    let story = judgement.story.as_ref().map(ToString::to_string).unwrap_or_default();
    let balance = &judgement.balance;
    MemoryFacts {
        consistent: match judgement.verdict {
            checker::Verdict::Consistent => Some(true),
            checker::Verdict::Contradiction => Some(false),
            checker::Verdict::Vacuous => None,
        },
        contradictions: counts.collect(),
        story: story.lines().map(str::to_owned).collect(),
        // A contradiction stands, however little else there is.
        shortfalls: if judgement.story.is_some() { Vec::new() } else { judgement.shortfalls.clone() },
        operations: balance.operations,
        reads: balance.reads,
        unanswered_reads: balance.unanswered_reads,
        unknown_turns: balance.unknown_turns,
        unknown_turns_kept: balance.unknown_turns_kept,
    }
}

impl From<&NodeUsage> for UsageFacts {
    fn from(of: &NodeUsage) -> Self {
        Self {
            node: of.node.clone(),
            role: of.role.to_string(),
            cpu_us: of.cpu_us,
            memory_bytes: of.memory_bytes,
            written_bytes: of.written_bytes,
            received_bytes: of.received_bytes,
            sent_bytes: of.sent_bytes,
        }
    }
}

impl From<Quantiles> for QuantileFacts {
    fn from(of: Quantiles) -> Self {
        Self {
            count: of.count,
            p50_us: us(of.p50),
            p90_us: us(of.p90),
            p99_us: us(of.p99),
            max_us: us(of.max),
        }
    }
}

fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds from one point to another, which may lie before it.
fn since(zero_ns: MonotonicNs, at_ns: MonotonicNs) -> i64 {
    let us = |ns: u64| i64::try_from(ns / 1_000).unwrap_or(i64::MAX);
    if at_ns >= zero_ns { us(at_ns - zero_ns) } else { -us(zero_ns - at_ns) }
}
