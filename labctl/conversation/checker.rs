//! Decides whether a memory kept its word: whether some order of all that was asked of it explains every answer and the
//! final transcripts, and respects who was done before whom began (linearizability). It knows neither files nor clocks.
//!
//! In general that takes a search. Here it does not: turns have unique keys and the whole conversation is read back, so the
//! longest telling says in which order turns took effect, if the memory is consistent at all. A turn at place `p` of it has
//! rank `2p + 1`, a telling of `m` turns has rank `2m`, and the history is consistent exactly if every telling is a
//! prefix of the longest, every acknowledged turn is in it at the position that was acknowledged, and nothing that was
//! done before something else began has the higher rank: then sorting by rank and beginning is such an order. A turn of
//! unknown outcome has no end, so it may stand anywhere after its beginning, or nowhere.

mod conversation;
mod order;
mod story;
mod tally;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

pub use story::{Fact, Story};
pub use tally::Balance;
pub use witness::Window;

use super::history::History;
use conversation::Conversation;

/// Name and version of the shape of a judgement.
pub const SCHEMA: &str = "labctl.check/1";
/// Shortfalls that are told one by one; with more, the run was not what it should have been, whatever they are.
const SHORTFALLS_MAX: usize = 8;

/// What a history has to show before it proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Acknowledged turns before, during and after each fault.
    pub acknowledged_min: u64,
    /// Windows in which something was broken, besides the faults in the history.
    pub windows: Vec<Window>,
}

impl Default for Demand {
    fn default() -> Self {
        Self { acknowledged_min: 1, windows: Vec::new() }
    }
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There is an order that explains everything, and the history is rich enough for that to mean something.
    Consistent,
    /// There is none.
    Contradiction,
    /// Nothing speaks against the memory, but the history shows too little for that to mean anything.
    Vacuous,
}

/// What a contradiction breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// No turn is told twice.
    Duplicate,
    /// No turn is told that nobody said, or whose every attempt was refused.
    Phantom,
    /// Whoever tells a conversation tells the same, as far as they go.
    Agreement,
    /// Every acknowledged turn is in every final transcript.
    Lost,
    /// A turn stands where its acknowledgement said.
    Position,
    /// What was done before something else began stands before it.
    Order,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Duplicate => "duplicate",
            Self::Phantom => "phantom",
            Self::Agreement => "agreement",
            Self::Lost => "lost",
            Self::Position => "position",
            Self::Order => "order",
        })
    }
}

/// The judgement of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Judgement {
    /// Always `labctl.check/1`.
    pub schema: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What the history consists of.
    pub balance: Balance,
    /// Conversations that contradict themselves, by the first claim that each breaks.
    pub contradictions: BTreeMap<Claim, u64>,
    /// The first contradiction.
    pub story: Option<Story>,
    /// Why the history proves too little, where it does.
    pub shortfalls: Vec<String>,
    /// How many more reasons there are.
    pub shortfalls_left_out: u64,
}

/// Judges a history.
pub fn check(history: &History, demand: &Demand) -> Judgement {
    let conversations = Conversation::all_of(history);
    let mut balance = Balance::of(history);
    balance.faults = (history.faults.len() + demand.windows.len()) as u64;
    let mut contradictions = BTreeMap::new();
    let mut first = None;
    for conversation in &conversations {
        conversation.count(&mut balance);
        let Some(contradiction) = conversation.contradiction() else { continue };
        *contradictions.entry(contradiction.claim()).or_default() += 1;
        // Where several conversations contradict themselves, the story is the one that could be noticed first.
        let at_ns = contradiction.at_ns();
        if first.as_ref().is_none_or(|(earliest_ns, _)| at_ns < *earliest_ns) {
            first = Some((at_ns, contradiction));
        }
    }
    let mut shortfalls = witness::shortfalls(history, &conversations, &balance, demand);
    let shortfalls_left_out = shortfalls.len().saturating_sub(SHORTFALLS_MAX) as u64;
    shortfalls.truncate(SHORTFALLS_MAX);
    Judgement {
        schema: SCHEMA,
        verdict: match (&first, shortfalls.as_slice()) {
            (Some(_), _) => Verdict::Contradiction,
            (None, []) => Verdict::Consistent,
            (None, _) => Verdict::Vacuous,
        },
        story: first.map(|(_, contradiction)| contradiction.story(history.zero_ns())),
        balance,
        contradictions,
        shortfalls,
        shortfalls_left_out,
    }
}

/// The bytes of `check.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Judgement);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain data with text keys");
    text.push('\n');
    text
}

/// The webs that told a final transcript of anything.
fn webs(history: &History) -> BTreeSet<&str> {
    history.tellings.iter().filter_map(|telling| telling.final_of()).collect()
}

#[cfg(test)]
mod tests;
