//! The history of a drill as the checker of conversations reads it: every attempt at a turn, every read, every final
//! transcript, and every fault from its beginning to its end. It knows which fault mends which, and judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use super::event::{Event, Outcome, What};
use super::phases::Window;
use crate::conversation::history::{AppendLine, FaultLine, History, Line, ReadLine, Reply, TranscriptLine};
use crate::conversation::{NameError, TurnKey};

/// Who says and reads where an event does not tell its node.
const CLIENT: &str = "client";

/// A history, and what it is as a file.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The bytes of `history.jsonl`.
    pub text: String,
    /// What the checker reads in them, or why it cannot.
    pub history: Result<History, String>,
}

/// The history that these events tell, in order of time. `acknowledged_min` is what the drill demands of each of its parts.
pub(super) fn recorded(events: &[Event], windows: &[Window], acknowledged_min: u64) -> Recorded {
    let lines = match lines(events) {
        Ok(lines) => lines.into_iter().chain(faults(windows, acknowledged_min)),
        Err(error) => return Recorded { text: String::new(), history: Err(error.to_string()) },
    };
    let text: String = lines.map(|line| line.to_json() + "\n").collect();
    let history = History::parse(text.as_bytes()).map_err(|invalid| {
        let first =
            invalid.problems.first().map(|problem| format!("line {}: {}", problem.line, problem.kind));
        first.unwrap_or_default()
    });
    Recorded { text, history }
}

fn lines(events: &[Event]) -> Result<Vec<Line>, NameError> {
    let mut attempts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut lines = Vec::new();
    for event in events {
        let who = || event.node.clone().unwrap_or_else(|| CLIENT.to_owned());
        let completed_ns = Some(event.at_ns);
        match &event.what {
            What::Request {
                started_ns,
                outcome,
                conversation: Some(conversation),
                key: Some(key),
                served_by,
                position,
                epoch,
                durability,
                ..
            } => {
                let attempt = attempts.entry((conversation, key)).or_default();
                *attempt = attempt.saturating_add(1);
                let result = reply(outcome);
                lines.push(Line::Append(AppendLine {
                    who: who(),
                    conversation: conversation.parse()?,
                    key: key.parse()?,
                    said: None,
                    attempt: NonZeroU32::new(*attempt).unwrap_or(NonZeroU32::MIN),
                    invoked_ns: *started_ns,
                    completed_ns,
                    result,
                    position: position.filter(|_| result == Reply::Ok),
                    served_by: served_by.clone(),
                    epoch: *epoch,
                    durability: durability.clone(),
                }));
            }
            What::Read { started_ns, outcome: _, conversation, served_by, epoch, durability, keys: told } => {
                lines.push(Line::Read(ReadLine {
                    who: who(),
                    conversation: conversation.parse()?,
                    invoked_ns: *started_ns,
                    completed_ns,
                    result: if told.is_some() { Reply::Ok } else { Reply::Info },
                    keys: told.as_deref().map(keys).transpose()?,
                    served_by: served_by.clone(),
                    epoch: *epoch,
                    durability: durability.clone(),
                }));
            }
            What::Transcript { conversation, served_by, asked_ns, keys: told } => {
                lines.push(Line::Transcript(TranscriptLine {
                    conversation: conversation.parse()?,
                    web: served_by.clone(),
                    // Records of older versions do not say it; an answer was asked for before it came.
                    invoked_ns: asked_ns.unwrap_or(event.at_ns),
                    completed_ns: event.at_ns,
                    keys: keys(told)?,
                }));
            }
            _ => {}
        }
    }
    Ok(lines)
}

fn keys(told: &[String]) -> Result<Vec<TurnKey>, NameError> {
    told.iter().map(|key| key.parse()).collect()
}

/// What an outcome says of whether the turn took effect. A request without an answer, or one that somebody on its way gave
/// up, may have been done all the same; only where the site has understood it and said no is it certain that it was not.
fn reply(outcome: &Outcome) -> Reply {
    match outcome {
        Outcome::Ok => Reply::Ok,
        // Nobody took the connection, so nothing was said.
        Outcome::Refused => Reply::Fail,
        Outcome::Timeout | Outcome::Reset | Outcome::Unreachable => Reply::Info,
        // 408 and 409 say that something is under way, or was.
        Outcome::Status(code) if (400..500).contains(code) && !matches!(code, 408 | 409) => Reply::Fail,
        Outcome::Status(_) => Reply::Info,
    }
}

/// A fault that is still to be mended.
struct Open {
    line: FaultLine,
    /// Nodes that it still lasts on.
    nodes: BTreeSet<String>,
}

/// The faults, each from its beginning until the drill mended it on all of its nodes. What the drill leaves to the site to
/// mend, as the end of a service, has no end: whatever comes after it shows what the site makes of it.
fn faults(windows: &[Window], acknowledged_min: u64) -> Vec<Line> {
    let mut all: Vec<Open> = Vec::new();
    for window in windows {
        if is_mending(&window.action) {
            for fault in all.iter_mut().filter(|fault| mends(&window.action, &fault.line.action)) {
                let before = fault.nodes.len();
                fault.nodes.retain(|node| !window.nodes().any(|mended| mended == node));
                if fault.nodes.len() < before {
                    fault.line.seen &= window.seen;
                    fault.line.ended_ns = fault.nodes.is_empty().then_some(window.from_ns);
                }
            }
            continue;
        }
        all.push(Open {
            nodes: window.nodes().map(str::to_owned).collect(),
            line: FaultLine {
                action: window.action.clone(),
                target: window.target.clone(),
                began_ns: window.from_ns,
                ended_ns: None,
                seen: window.seen,
                // Where the drill wants to see traffic, the checker's own demand is the least that shows anything.
                acknowledged_min: (acknowledged_min == 0).then_some(0),
            },
        });
    }
    all.into_iter().map(|fault| Line::Fault(fault.line)).collect()
}

fn words(action: &str) -> (&str, &str) {
    action.split_once(' ').unwrap_or((action, ""))
}

fn is_mending(action: &str) -> bool {
    let (verb, about) = words(action);
    matches!(verb, "power-on" | "link-up" | "heal" | "thaw" | "free-disk")
        || verb == "signal" && about.ends_with(" CONT")
}

/// Whether one action is the end of what another began, on the same node.
fn mends(mending: &str, fault: &str) -> bool {
    let ((verb, about), (of, with)) = (words(mending), words(fault));
    match verb {
        "power-on" => matches!(of, "power-off" | "kill-node"),
        "link-up" => of == "link-down" && about == with,
        // Without a network, all of them are healed.
        "heal" => matches!(of, "partition" | "split" | "cut-link") && (about.is_empty() || about == with),
        "thaw" => of == "freeze",
        "free-disk" => of == "fill-disk",
        "signal" => {
            let hung = |service: &str| with.strip_suffix(" STOP") == Some(service);
            of == "signal" && about.strip_suffix(" CONT").is_some_and(hung)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
