//! The balance: what a history consists of. It judges nothing.

use schemars::JsonSchema;
use serde::Serialize;

use crate::conversation::history::History;

/// What a history consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Balance {
    /// Attempts to append and reads, answered or not.
    pub operations: u64,
    /// Attempts to append.
    pub attempts: u64,
    /// Turns: attempts with one key count once.
    pub turns: u64,
    /// Turns with an acknowledgement.
    pub acknowledged_turns: u64,
    /// Turns of which nobody knows from an answer whether they were taken.
    pub unknown_turns: u64,
    /// Those of them that were told later on.
    pub unknown_turns_kept: u64,
    /// Turns whose every attempt was refused.
    pub refused_turns: u64,
    /// Turns with more than one attempt.
    pub retried_turns: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that were not.
    pub unanswered_reads: u64,
    /// Conversations.
    pub conversations: u64,
    /// Final transcripts.
    pub transcripts: u64,
    /// The webs that told them.
    pub webs: Vec<String>,
    /// Faults, those of the command line included.
    pub faults: u64,
}

impl Balance {
    /// What can be counted without looking into conversations.
    pub(super) fn of(history: &History) -> Self {
        let transcripts =
            history.tellings.iter().filter(|telling| telling.final_of().is_some()).count() as u64;
        let (attempts, tellings) = (history.appends.len() as u64, history.tellings.len() as u64);
        let reads = tellings - transcripts;
        Self {
            operations: attempts + reads + history.unanswered_reads,
            attempts,
            reads,
            unanswered_reads: history.unanswered_reads,
            transcripts,
            webs: super::webs(history).into_iter().map(str::to_owned).collect(),
            ..Self::default()
        }
    }
}
