//! What became of the turns of a conversation: acknowledged turns must be in the final transcripts, once, and all
//! transcripts of a conversation must agree. It knows neither outages nor faults.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Event, Outcome, What};

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
    /// Conversations whose final transcripts differ.
    pub disagreements: Vec<String>,
    /// Conversations with acknowledged turns of which no transcript was read back: nothing is known of them.
    pub unread: Vec<String>,
    /// The web nodes that were asked for transcripts.
    pub asked: BTreeSet<String>,
}

/// Draws the balance.
pub(super) fn turns(events: &[Event]) -> Turns {
    let mut attempts: BTreeMap<Turn, u64> = BTreeMap::new();
    let mut acknowledged: BTreeSet<Turn> = BTreeSet::new();
    let mut transcripts: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for event in events {
        match &event.what {
            What::Request { conversation: Some(conversation), key: Some(key), outcome, .. } => {
                let turn = (conversation.as_str(), key.as_str());
                *attempts.entry(turn).or_default() += 1;
                if *outcome == Outcome::Ok {
                    acknowledged.insert(turn);
                }
            }
            What::Transcript { conversation, keys, served_by } => {
                transcripts.entry(conversation).or_default().push(keys);
                asked.insert(served_by.clone());
            }
            _ => {}
        }
    }

    let mut balance = Turns {
        attempted: attempts.len() as u64,
        acknowledged: acknowledged.len() as u64,
        retried: attempts.values().filter(|&&count| count > 1).count() as u64,
        asked,
        ..Turns::default()
    };
    let mut kept: BTreeSet<Turn> = BTreeSet::new();
    let mut duplicated: BTreeSet<Turn> = BTreeSet::new();
    for (&conversation, copies) in &transcripts {
        if copies.windows(2).any(|pair| pair[0] != pair[1]) {
            balance.disagreements.push(conversation.to_owned());
        }
        for copy in copies {
            let mut in_copy = BTreeSet::new();
            for key in *copy {
                let turn = (conversation, key.as_str());
                kept.insert(turn);
                if !in_copy.insert(turn) {
                    duplicated.insert(turn);
                }
            }
        }
    }
    let unread: BTreeSet<&str> = acknowledged
        .iter()
        .map(|&(conversation, _)| conversation)
        .filter(|conversation| !transcripts.contains_key(conversation))
        .collect();
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
