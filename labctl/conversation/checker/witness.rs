//! Whether a history proves anything: something was acknowledged, everything was read back, and the faults were seen and fell
//! into the middle of the run. It looks for no contradictions.

use std::collections::BTreeSet;

use super::Demand;
use super::conversation::Conversation;
use super::tally::Balance;
use crate::conversation::history::{History, MonotonicNs};

/// A time in which something was broken, counted from the first operation of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it began.
    pub began_ns: MonotonicNs,
    /// When it was over.
    pub ended_ns: MonotonicNs,
}

/// Why a history proves too little; nothing if it does not.
pub(super) fn shortfalls(
    history: &History,
    conversations: &[Conversation],
    balance: &Balance,
    demand: &Demand,
) -> Vec<String> {
    let mut found = Vec::new();
    if balance.acknowledged_turns == 0 {
        found.push("nothing was acknowledged".to_owned());
    }
    found.extend(unread(history, conversations));
    let mut acknowledged: Vec<_> = conversations
        .iter()
        .flat_map(|conversation| conversation.turns.values())
        .filter_map(|turn| turn.acknowledged.map(|(at_ns, append)| (append.invoked_ns, at_ns)))
        .collect();
    acknowledged.sort_unstable();
    for fault in &history.faults {
        if !fault.seen {
            found.push(format!("nobody saw the fault `{}` take place", fault.what));
        }
        let name = format!("`{}`", fault.what);
        found.extend(unwitnessed(
            &name,
            fault.began_ns,
            fault.ended_ns,
            &acknowledged,
            fault.acknowledged_min.unwrap_or(demand.acknowledged_min),
        ));
    }
    let zero_ns = history.zero_ns();
    for (number, window) in (1..).zip(&demand.windows) {
        let at = |ns: MonotonicNs| zero_ns.saturating_add(ns);
        let (began_ns, ended_ns) = (at(window.began_ns), at(window.ended_ns));
        let name = format!("window {number}");
        found.extend(unwitnessed(&name, began_ns, Some(ended_ns), &acknowledged, demand.acknowledged_min));
    }
    found
}

/// Conversations with acknowledged turns of which not every web told a final transcript, or of which the final ones differ. If
/// nothing else is wrong, turns of unknown outcome took effect between them: they were read too early to be final.
fn unread(history: &History, conversations: &[Conversation]) -> Vec<String> {
    let webs = super::webs(history);
    let mut found = Vec::new();
    for conversation in conversations {
        if !conversation.turns.values().any(|turn| turn.acknowledged.is_some()) {
            continue;
        }
        let told: BTreeSet<&str> =
            conversation.transcripts().filter_map(|telling| telling.final_of()).collect();
        let id = conversation.id;
        match webs.difference(&told).next() {
            _ if told.is_empty() => found.push(format!("conversation {id} has no final transcript")),
            Some(web) => found.push(format!("conversation {id} was not read back from {web}")),
            None if differ(conversation) => found.push(format!(
                "the final transcripts of conversation {id} differ by turns of unknown outcome; they were read too early"
            )),
            None => {}
        }
    }
    found
}

fn differ(conversation: &Conversation) -> bool {
    let mut transcripts = conversation.transcripts();
    let first = transcripts.next();
    first.is_some_and(|first| transcripts.any(|other| other.keys != first.keys))
}

/// Parts of a run around a fault with too few acknowledgements. Only an operation that lies wholly within a part is a
/// witness of it: one that began before a fault and was answered in it shows nothing about what the fault left working. A
/// fault that was never mended has no time after it.
fn unwitnessed(
    fault: &str,
    began_ns: MonotonicNs,
    ended_ns: Option<MonotonicNs>,
    acknowledged: &[(MonotonicNs, MonotonicNs)],
    min: u64,
) -> Vec<String> {
    let count = |within: &dyn Fn(MonotonicNs, MonotonicNs) -> bool| {
        acknowledged.iter().filter(|(invoked_ns, at_ns)| within(*invoked_ns, *at_ns)).count() as u64
    };
    let over_ns = ended_ns.unwrap_or(MonotonicNs::MAX);
    let during = count(&|invoked_ns, at_ns| began_ns <= invoked_ns && at_ns <= over_ns);
    let parts = [("before", count(&|_, at_ns| at_ns < began_ns)), ("during", during)];
    let after = ended_ns.map(|ended_ns| ("after", count(&|invoked_ns, _| ended_ns < invoked_ns)));
    let missing = parts.into_iter().chain(after).filter(|(_, count)| *count < min);
    missing
        .map(|(part, count)| {
            let turns = if count == 1 { "turn" } else { "turns" };
            format!("{count} acknowledged {turns} {part} {fault}, {min} wanted")
        })
        .collect()
}
