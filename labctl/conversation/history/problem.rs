//! What can be wrong with a history, in words for whoever wrote it. It knows nothing of how it is shown.

use super::{FAULTS_MAX, LINE_BYTES_MAX, TurnKey};

/// The problems of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalid {
    /// The first of them.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub left_out: usize,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: Kind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// Longer than any line of a history has to be.
    #[error("the line is {bytes} bytes long, more than {LINE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not one of the objects of the format.
    #[error("{0}")]
    Format(String),
    /// The end is missing.
    #[error("the result is known, but not when it was: `completed_ns` is missing")]
    NoEnd,
    /// The end lies before the beginning.
    #[error("it ends before it begins")]
    Backwards,
    /// A position of a turn that was not acknowledged.
    #[error("it has a `position`, but was not acknowledged")]
    StrayPosition,
    /// Keys of a read that was not answered.
    #[error("it has `keys`, but was not answered")]
    StrayKeys,
    /// An answered read without its answer.
    #[error("the read was answered, but its `keys` are missing")]
    NoKeys,
    /// More faults than a run has.
    #[error("there are more than {FAULTS_MAX} faults")]
    TooManyFaults,
    /// Two turns with one key.
    #[error("turn {key} is said in other words than in line {first_line}")]
    OtherWords {
        /// The key.
        key: TurnKey,
        /// Where it was used first.
        first_line: usize,
    },
    /// A final transcript that others went on after.
    #[error(
        "the transcript is not final: turn {key} (line {append_line}) was acknowledged when it was asked for"
    )]
    NotFinal {
        /// The turn.
        key: TurnKey,
        /// Where it was acknowledged.
        append_line: usize,
    },
}

impl Kind {
    /// The way out.
    pub fn help(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "a history is JSON Lines: one operation a line",
            Self::Format(_) => {
                "reports/history.schema.json describes every kind of line; unknown fields are refused"
            }
            Self::NoEnd => "say when the answer came; only `\"result\": \"info\"` may go without",
            Self::Backwards => "all times are of one monotonic clock, in nanoseconds",
            Self::StrayPosition | Self::StrayKeys => "leave it out, or say `\"result\": \"ok\"`",
            Self::NoKeys => "an empty conversation has `\"keys\": []`; a read without an answer is `info`",
            Self::TooManyFaults => "one line is one fault from its beginning to its end",
            Self::OtherWords { .. } => "a retry repeats key and words; another turn has another key",
            Self::NotFinal { .. } => {
                "read the final transcripts after the last acknowledgement; before it, the line is of kind `read`"
            }
        }
    }
}

impl Invalid {
    pub(super) fn push(&mut self, problem: Problem, max: usize) {
        if self.problems.len() < max {
            self.problems.push(problem);
        } else {
            self.left_out += 1;
        }
    }
}
