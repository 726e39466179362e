//! What became of the turns of a conversation: acknowledged turns must be in the final transcripts, once and in the
//! order in which they were said, and all transcripts of a conversation must agree. It knows neither outages nor faults.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Event, MonotonicNs, Outcome, What};

/// A turn: its conversation and its key.
type Turn<'a> = (&'a str, &'a str);

/// The balance of all turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// Turns of which at least one attempt was made.
    pub attempted: u64,
    /// Turns with at least one acknowledged attempt.
    pub acknowledged: u64,
    /// Turns that took more than one attempt.
    pub retried: u64,
    /// Acknowledged turns that are in no final transcript of their conversation, as `conversation/key`.
    pub lost: Vec<String>,
    /// Turns that are in one transcript more than once.
    pub duplicated: Vec<String>,
    /// Turns in a transcript that nobody attempted.
    pub phantoms: Vec<String>,
    /// Conversations of which a final transcript has turns in another order than that in which they were said.
    pub disordered: Vec<String>,
    /// Conversations whose final transcripts differ.
    pub disagreements: Vec<String>,
    /// Conversations of which no transcript was read back: nothing is known of them.
    pub unread: Vec<String>,
    /// Conversations that were read back, but not by every web node that should tell them.
    pub partly_read: Vec<String>,
    /// Conversations that were opened.
    pub conversations: u64,
    /// Transcripts that were read back.
    pub transcripts: u64,
    /// The web nodes that were asked for transcripts.
    pub asked: BTreeSet<String>,
}

/// The attempts at one turn.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    count: u64,
    /// When the first began, and its place among events of the same time.
    first: (MonotonicNs, usize),
}

/// Draws the balance of events in order of time. Each of these web nodes should have told every conversation.
pub(super) fn turns(events: &[Event], webs: &BTreeSet<String>) -> Turns {
    let mut attempts: BTreeMap<Turn, Attempts> = BTreeMap::new();
    let mut acknowledged: BTreeSet<Turn> = BTreeSet::new();
    let mut opened: BTreeSet<&str> = BTreeSet::new();
    let mut transcripts: BTreeMap<&str, Vec<(&str, &[String])>> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        match &event.what {
            What::Request { conversation: Some(conversation), key: None, .. } => {
                opened.insert(conversation);
            }
            What::Request {
                conversation: Some(conversation), key: Some(key), outcome, started_ns, ..
            } => {
                let turn = (conversation.as_str(), key.as_str());
                opened.insert(conversation);
                let begun = (*started_ns, place);
                let of_turn = attempts.entry(turn).or_insert(Attempts { count: 0, first: begun });
                of_turn.count += 1;
                of_turn.first = of_turn.first.min(begun);
                if *outcome == Outcome::Ok {
                    acknowledged.insert(turn);
                }
            }
            What::Transcript { conversation, keys, served_by, .. } => {
                transcripts.entry(conversation).or_default().push((served_by, keys));
            }
            _ => {}
        }
    }

    let mut balance = Turns {
        attempted: attempts.len() as u64,
        acknowledged: acknowledged.len() as u64,
        retried: attempts.values().filter(|of_turn| of_turn.count > 1).count() as u64,
        asked: transcripts.values().flatten().map(|&(web, _)| web.to_owned()).collect(),
        conversations: opened.len() as u64,
        transcripts: transcripts.values().map(|copies| copies.len() as u64).sum(),
        ..Turns::default()
    };
    let mut kept: BTreeSet<Turn> = BTreeSet::new();
    let mut duplicated: BTreeSet<Turn> = BTreeSet::new();
    for (&conversation, copies) in &transcripts {
        if copies.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            balance.disagreements.push(conversation.to_owned());
        }
        let mut ordered = true;
        for (_, copy) in copies {
            let mut in_copy = BTreeSet::new();
            let mut latest = None;
            for key in *copy {
                let turn = (conversation, key.as_str());
                kept.insert(turn);
                if !in_copy.insert(turn) {
                    // Its first place says where it belongs; that there is a second is another matter.
                    duplicated.insert(turn);
                } else if let Some(of_turn) = attempts.get(&turn) {
                    ordered &= latest.is_none_or(|latest| latest < of_turn.first);
                    latest = Some(of_turn.first);
                }
            }
        }
        if !ordered {
            balance.disordered.push(conversation.to_owned());
        }
    }
    let unread: BTreeSet<&str> =
        opened.iter().copied().filter(|conversation| !transcripts.contains_key(conversation)).collect();
    let told_by = |conversation: &str, web: &String| {
        transcripts.get(conversation).is_some_and(|copies| copies.iter().any(|(told, _)| told == web))
    };
    let partly_read = opened.iter().filter(|&&conversation| {
        !unread.contains(conversation) && !webs.iter().all(|web| told_by(conversation, web))
    });
    balance.partly_read = partly_read.map(|&conversation| conversation.to_owned()).collect();
    balance.lost =
        names(acknowledged.difference(&kept).filter(|(conversation, _)| !unread.contains(conversation)));
    balance.duplicated = names(duplicated.iter());
    balance.phantoms = names(kept.iter().filter(|turn| !attempts.contains_key(*turn)));
    balance.unread = unread.into_iter().map(str::to_owned).collect();
    balance
}

fn names<'a>(turns: impl Iterator<Item = &'a Turn<'a>>) -> Vec<String> {
    turns.map(|(conversation, key)| format!("{conversation}/{key}")).collect()
}

#[cfg(test)]
mod tests;
