//! Did the site pass? Each expectation of the drill is one check; the verdict is the worst of them. A check that the
//! measurement cannot carry is `unknown`, never a guess.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Outcome;
use super::figure;
use super::findings::Findings;
use crate::conversation::checker;

/// Where the pacer's lateness could change a result, it may be at most this part of what is measured.
const LATENESS_PART: u32 = 10;

/// What a drill has shown in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that must hold did hold.
    Pass,
    /// Something that must hold did not.
    Fail,
    /// The measurement does not carry a verdict.
    Unknown,
    /// The drill did not come to its end.
    Aborted,
}

/// One thing that a drill checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Probes of the VIP are answered again in time.
    Outage,
    /// Turns are acknowledged again in time.
    Pause,
    /// Nearly all turns are fast.
    Latency,
    /// Every turn of the timetable is acknowledged in the end.
    UnacknowledgedTurns,
    /// The site says so where it cannot keep what it is told.
    Refusals,
    /// No acknowledged turn is lost.
    LostTurns,
    /// No turn is there twice.
    DuplicateTurns,
    /// All web nodes tell the same, in the order in which it was said, and nothing that nobody said.
    Agreement,
    /// One order explains every answer that anybody got.
    Consistency,
    /// The VIP moved as often as it should.
    HolderChanges,
    /// No more nodes have the VIP at one time than may.
    Holders,
    /// The faults took place.
    Faults,
    /// There was traffic to tell by, before and after each fault.
    Traffic,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What was checked.
    pub claim: Claim,
    /// What the drill expects, in words.
    pub expected: String,
    /// What was measured, in words.
    pub measured: String,
    /// The result; a check is never `aborted`.
    pub result: Verdict,
}

/// All checks of a drill, in a fixed order.
pub(super) fn checks(findings: &Findings) -> Vec<Check> {
    let expect = &findings.began.drill.expect;
    let mut checks = vec![outage(findings)];
    checks.extend(expect.pause_max.map(|max| pause(findings, max)));
    checks.extend(expect.p99_max.map(|max| latency(findings, max)));
    checks.push(unacknowledged(findings));
    checks.extend(expect.refusals_min.map(|min| refusals(findings, min)));
    checks.extend([lost(findings), duplicates(findings)]);
    // Of a memory that is expected to fail, webs tell what they please.
    checks.extend(expect.consistent.then(|| agreement(findings)));
    checks.push(consistency(findings));
    if expect.holder_changes_min > 0 || expect.holder_changes_max.is_some() {
        checks.push(holder_changes(findings));
    }
    checks.extend(expect.holders_max.map(|max| holders(findings, max)));
    checks.extend([faults(findings), traffic(findings)]);
    checks
}

/// The verdict on a drill with these results.
pub(super) fn verdict(findings: &Findings, checks: &[Check]) -> Verdict {
    let any = |result| checks.iter().any(|check| check.result == result);
    match findings.ended {
        None | Some(Some(_)) => Verdict::Aborted,
        Some(None) if any(Verdict::Fail) => Verdict::Fail,
        Some(None) if any(Verdict::Unknown) => Verdict::Unknown,
        Some(None) => Verdict::Pass,
    }
}

/// Every outage by itself: a short one that fails is not hidden by a longer one that leaves it open.
fn outage(findings: &Findings) -> Check {
    let max = findings.began.drill.expect.outage_max;
    let late = findings.lateness_around.p99;
    let probe_interval = findings.began.drill.load.probe_interval;
    let judged = findings.outages.iter().map(|outage| {
        let bracket = figure::bracket(outage.shortest(), outage.longest());
        let result = judge(outage.shortest(), outage.longest(), late, max);
        let measured = match result {
            Verdict::Unknown if too_late(late, outage.longest()) => blurred(&bracket, late),
            // The limit lies within the bracket, or the record ends before the outage does.
            Verdict::Unknown => format!("{bracket}, which leaves it open"),
            _ => bracket,
        };
        (severity(result), outage.longest().unwrap_or(Duration::MAX), outage.shortest(), measured, result)
    });
    let (measured, result) = match judged.max_by_key(|judged| (judged.0, judged.1, judged.2)) {
        _ if findings.probes == 0 => ("no probe was sent".to_owned(), Verdict::Unknown),
        Some((.., measured, result)) => (measured, result),
        // What could have hidden between two probes is as long as they were apart.
        None if probe_interval + late > max => (blurred("none seen", late), Verdict::Unknown),
        None => ("none".to_owned(), Verdict::Pass),
    };
    Check { claim: Claim::Outage, expected: format!("at most {}", figure::time(max)), measured, result }
}

/// What an outage within these bounds says of the limit. Lateness matters only where it could change the result.
fn judge(shortest: Duration, longest: Option<Duration>, late: Duration, max: Duration) -> Verdict {
    match longest {
        Some(longest) if longest + late <= max => Verdict::Pass,
        _ if shortest > max + late => Verdict::Fail,
        _ if too_late(late, longest) => Verdict::Unknown,
        Some(longest) if longest <= max => Verdict::Pass,
        _ if shortest > max => Verdict::Fail,
        _ => Verdict::Unknown,
    }
}

fn too_late(late: Duration, longest: Option<Duration>) -> bool {
    longest.is_some_and(|longest| late * LATENESS_PART > longest)
}

fn severity(result: Verdict) -> u8 {
    match result {
        Verdict::Pass => 0,
        Verdict::Unknown | Verdict::Aborted => 1,
        Verdict::Fail => 2,
    }
}

fn blurred(measured: &str, late: Duration) -> String {
    format!("{measured}, but probes left up to {} late (p99)", figure::time(late))
}

fn pause(findings: &Findings, max: Duration) -> Check {
    let (measured, result) = match findings.pause {
        Some(pause) => (figure::time(pause.length()), limit(pause.length() <= max)),
        None => ("the load never began".to_owned(), Verdict::Unknown),
    };
    Check { claim: Claim::Pause, expected: format!("at most {}", figure::time(max)), measured, result }
}

fn latency(findings: &Findings, max: Duration) -> Check {
    let latency = &findings.latency;
    let (measured, result) = match latency.count {
        0 => ("no acknowledged turn".to_owned(), Verdict::Unknown),
        count => {
            // A turn without an answer has no latency; its check is another.
            let text = format!("{}, of the {count} acknowledged", figure::time(latency.p99));
            (text, limit(latency.p99 <= max))
        }
    };
    Check { claim: Claim::Latency, expected: format!("at most {}", figure::time(max)), measured, result }
}

fn unacknowledged(findings: &Findings) -> Check {
    let max = findings.began.drill.expect.unacknowledged_turns;
    let count = findings.never_acknowledged();
    let unattempted = findings.scheduled.saturating_sub(findings.turns.attempted);
    let measured = match unattempted {
        0 => format!("{count} of {}", findings.scheduled),
        _ => format!("{count} of {}, {unattempted} of them not even attempted", findings.scheduled),
    };
    Check {
        claim: Claim::UnacknowledgedTurns,
        expected: format!("at most {max}"),
        measured,
        result: limit(count <= max),
    }
}

fn refusals(findings: &Findings, min: u64) -> Check {
    let count = findings.outcomes.get(&Outcome::Status(503).to_string()).copied().unwrap_or(0);
    Check {
        claim: Claim::Refusals,
        expected: format!("at least {min} answers of status 503"),
        measured: count.to_string(),
        result: limit(count >= min),
    }
}

fn lost(findings: &Findings) -> Check {
    let (turns, expect) = (&findings.turns, &findings.began.drill.expect);
    let (count, unread) = (turns.lost.len() as u64, turns.unread.len());
    let min = expect.lost_turns_min.unwrap_or(0);
    let expected = match (expect.lost_turns_min, expect.lost_turns) {
        (None, max) => format!("at most {max}"),
        (Some(min), u64::MAX) => format!("at least {min}"),
        (Some(min), max) => format!("{min} to {max}"),
    };
    let (measured, result) = match (count > expect.lost_turns, unread) {
        (true, _) => (format!("{count} of {}", turns.acknowledged), Verdict::Fail),
        (false, 0) if turns.acknowledged > 0 && count < min => {
            (format!("{count} of {}", turns.acknowledged), Verdict::Fail)
        }
        (false, 0) if turns.acknowledged == 0 => ("no acknowledged turn".to_owned(), Verdict::Unknown),
        (false, 0) => (format!("{count} of {}", turns.acknowledged), Verdict::Pass),
        (false, _) => (format!("{unread} conversations could not be read back"), Verdict::Unknown),
    };
    Check { claim: Claim::LostTurns, expected, measured, result }
}

fn duplicates(findings: &Findings) -> Check {
    let (count, max) = (findings.turns.duplicated.len() as u64, findings.began.drill.expect.duplicate_turns);
    let (measured, result) = match (count > max, gap(findings)) {
        (true, _) => (count.to_string(), Verdict::Fail),
        (false, Some(gap)) => (format!("{count}, but {gap}"), Verdict::Unknown),
        (false, None) => (count.to_string(), Verdict::Pass),
    };
    Check { claim: Claim::DuplicateTurns, expected: format!("at most {max}"), measured, result }
}

fn agreement(findings: &Findings) -> Check {
    let turns = &findings.turns;
    let wrong: Vec<String> = [
        (turns.disagreements.len(), "conversations differ"),
        (turns.disordered.len(), "conversations are out of order"),
        (turns.phantoms.len(), "turns are nobody's"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let read = format!(
        "{} transcripts of {} conversations by {}",
        turns.transcripts,
        turns.conversations,
        list(&turns.asked)
    );
    let (measured, result) = match (wrong.is_empty(), gap(findings)) {
        (false, _) => (format!("{}; {read}", wrong.join(", ")), Verdict::Fail),
        (true, Some(gap)) => (format!("{read}; {gap}"), Verdict::Unknown),
        (true, None) if findings.webs_down.is_empty() => (read, Verdict::Pass),
        (true, None) => (format!("{read}; {} down in the end", list(&findings.webs_down)), Verdict::Pass),
    };
    let expected = "all transcripts agree, by every web that is up".to_owned();
    Check { claim: Claim::Agreement, expected, measured, result }
}

/// The checker's word on the history. A control that must lose its memory passes by a contradiction.
fn consistency(findings: &Findings) -> Check {
    let wanted = findings.began.drill.expect.consistent;
    let (measured, result) = match &findings.judgement {
        Err(why) => (format!("the record is no history: {why}"), Verdict::Unknown),
        Ok(judgement) => {
            let (operations, reads) = (judgement.balance.operations, judgement.balance.reads);
            match judgement.verdict {
                checker::Verdict::Consistent => {
                    let text = format!("consistent: {operations} operations, {reads} of them reads");
                    (text, limit(wanted))
                }
                checker::Verdict::Contradiction => {
                    let broken = judgement.contradictions.iter();
                    let broken = broken.map(|(claim, count)| format!("{claim} in {count} conversations"));
                    let text = format!("contradiction: {}", broken.collect::<Vec<_>>().join(", "));
                    (text, limit(!wanted))
                }
                checker::Verdict::Vacuous => {
                    let first = judgement.shortfalls.first().cloned().unwrap_or_default();
                    (format!("shows too little: {first}"), Verdict::Unknown)
                }
            }
        }
    };
    let expected = if wanted { "a consistent history" } else { "a contradiction" };
    Check { claim: Claim::Consistency, expected: expected.to_owned(), measured, result }
}

/// What is missing of the final transcripts: every conversation by every web node that is up. One that is down cannot be
/// asked, and what it would have said is no claim of the drill.
fn gap(findings: &Findings) -> Option<String> {
    let turns = &findings.turns;
    let webs_up = findings.began.webs.len() - findings.webs_down.len();
    match (turns.unread.len(), turns.partly_read.len()) {
        _ if turns.conversations == 0 => Some("no conversation was opened".to_owned()),
        _ if webs_up == 0 => Some("no web was up in the end".to_owned()),
        (0, 0) => None,
        (0, partly) => Some(format!("{partly} conversations were not read by every web that is up")),
        (unread, _) => Some(format!("{unread} conversations could not be read back")),
    }
}

fn list(names: &BTreeSet<String>) -> String {
    match names.is_empty() {
        true => "nobody".to_owned(),
        false => names.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn holder_changes(findings: &Findings) -> Check {
    let expect = &findings.began.drill.expect;
    let count = findings.moves.len() as u64;
    let in_range =
        count >= expect.holder_changes_min && expect.holder_changes_max.is_none_or(|max| count <= max);
    let expected = match expect.holder_changes_max {
        Some(max) => format!("{} to {max}", expect.holder_changes_min),
        None => format!("at least {}", expect.holder_changes_min),
    };
    Check { claim: Claim::HolderChanges, expected, measured: count.to_string(), result: limit(in_range) }
}

/// By the word of the daemons and of the lab on who has the address. A handover in good order may overlap by design.
fn holders(findings: &Findings, max: u64) -> Check {
    let most = &findings.most_holders;
    Check {
        claim: Claim::Holders,
        expected: format!("at most {max} at one time"),
        measured: list(most),
        result: limit(most.len() as u64 <= max),
    }
}

fn faults(findings: &Findings) -> Check {
    let expected = findings.began.drill.faults.len();
    let seen = findings.aftermaths.iter().filter(|aftermath| aftermath.window.seen).count();
    // A drill that broke nothing has shown nothing.
    let result = if seen == expected { Verdict::Pass } else { Verdict::Unknown };
    Check {
        claim: Claim::Faults,
        expected: format!("{expected} took place"),
        measured: format!("{seen} seen by the lab"),
        result,
    }
}

fn traffic(findings: &Findings) -> Check {
    let min = findings.began.drill.expect.acknowledged_min;
    let after = findings.aftermaths.iter().map(|aftermath| aftermath.acknowledged);
    let counts: Vec<u64> = std::iter::once(findings.acknowledged_before).chain(after).collect();
    let enough = counts.iter().all(|&count| count >= min);
    let list = counts.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    Check {
        claim: Claim::Traffic,
        expected: format!("at least {min} acknowledged turns before the first fault and after each"),
        measured: list,
        result: if enough { Verdict::Pass } else { Verdict::Unknown },
    }
}

fn limit(holds: bool) -> Verdict {
    if holds { Verdict::Pass } else { Verdict::Fail }
}

impl Verdict {
    /// The exit code of a drill: 0 passed, 1 failed, 4 when nothing is known about the site (it is the laboratory that
    /// fell short). 2 and 3 are for usage and regressions.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Unknown | Self::Aborted => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Aborted => "aborted",
        })
    }
}

impl Claim {
    /// What a person should do first when this check did not pass.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Outage => {
                "Find the longest step in the phases above. Loss long before the election: advertisement interval. \
                 Election done but no answers: announcement or routes. Probes late: run on a quieter machine."
            }
            Self::Pause => {
                "If probes were answered but turns were not, the balancer or the databases took the time, not the \
                 election: look for `real-down` and `raft-leader` in events.jsonl."
            }
            Self::Latency => "Compare p50 with p99: if both are high the site is too small for this load.",
            Self::UnacknowledgedTurns => {
                "Search events.jsonl for the last `request` events: their outcomes say how the site ceased to answer."
            }
            Self::Refusals => {
                "The site kept quiet where it should have said no: see `attempts` in report.json for what clients got \
                 instead. A `timeout` of the load that is shorter than the site's patience hides refusals."
            }
            Self::LostTurns => {
                "Search events.jsonl for the first lost key: who acknowledged it, and was that node hit by a fault?"
            }
            Self::DuplicateTurns => {
                "A retry with the same key was taken for a new turn: key and turn must be stored in one step."
            }
            Self::Agreement => {
                "Compare the `transcript` events of one conversation: a web node answers from its own memory, or \
                 reads from a database that lags. Not read by every web: the balancer leads all addresses of the client \
                 to one, or a web was out in the end."
            }
            Self::Consistency => {
                "`labctl check history.jsonl` tells the first contradiction with the lines of the history that do not go \
                 together. Shows too little: it says what the run lacks."
            }
            Self::HolderChanges => "Read the `vrrp-state` events: each says why.",
            Self::Holders => {
                "Read the `vrrp-state` events of both: who took over, and did it ask on the public network first?"
            }
            Self::Faults => {
                "The drill broke nothing; see the log of the lab for the fault that left no trace."
            }
            Self::Traffic => {
                "Too little to tell by: lengthen the drill, raise `turns_per_s`, or see why the site did not answer."
            }
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Outage => "outage of the VIP",
            Self::Pause => "pause of the turns",
            Self::Latency => "latency of turns, p99",
            Self::UnacknowledgedTurns => "unacknowledged turns",
            Self::Refusals => "refusals",
            Self::LostTurns => "lost turns",
            Self::DuplicateTurns => "duplicate turns",
            Self::Agreement => "transcripts",
            Self::Consistency => "history",
            Self::HolderChanges => "moves of the VIP",
            Self::Holders => "holders of the VIP",
            Self::Faults => "faults",
            Self::Traffic => "traffic to tell by",
        })
    }
}

#[cfg(test)]
mod tests;
