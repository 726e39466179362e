//! The history of a memory under load: what was asked of it, what it answered, and when, and what it told in the end.
//! Reads the file format into values in which nothing can be wrong any more; what they prove is decided in `checker`. It
//! knows neither files nor clocks.

mod line;
mod problem;

use std::collections::HashMap;
use std::num::NonZeroU32;

pub use line::{AppendLine, FaultLine, Line, ReadLine, Reply, TranscriptLine, schema};
pub use problem::{Invalid, Kind, Problem};

use super::names::{ConversationId, KEY_BYTES_MAX, TurnKey};
use super::transcript::{TURN_BYTES_MAX, TURNS_MAX};

/// The longest line: a transcript of as many turns as a conversation may have, or the longest turn with each of its
/// characters escaped, and room for the other fields.
pub const LINE_BYTES_MAX: usize = TURNS_MAX * (KEY_BYTES_MAX + 4) + 6 * TURN_BYTES_MAX + 16 * 1_024;
/// The longest history: about a million operations. It is held in memory as a whole.
pub const HISTORY_BYTES_MAX: usize = 256 * 1_024 * 1_024;
/// Faults in one history: a drill has a handful.
pub const FAULTS_MAX: usize = 256;
/// Problems that are told one by one; a file with more is of another kind altogether.
const PROBLEMS_MAX: usize = 8;

/// A point on the monotonic clock of the machine, in nanoseconds.
pub type MonotonicNs = u64;

/// Everything that is known of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Attempts to say something.
    pub appends: Vec<Append>,
    /// What was told: answers to reads, and the final transcripts.
    pub tellings: Vec<Telling>,
    /// What was broken on purpose.
    pub faults: Vec<Fault>,
    /// Reads without an answer. They show nothing.
    pub unanswered_reads: u64,
}

/// One attempt to append a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Its line in the file, from 1.
    pub line: usize,
    /// The client.
    pub who: String,
    /// The conversation.
    pub conversation: ConversationId,
    /// The key that makes all attempts at a turn one turn.
    pub key: TurnKey,
    /// What was said.
    pub said: Option<String>,
    /// Which attempt at the turn it is, from 1.
    pub attempt: NonZeroU32,
    /// When it began.
    pub invoked_ns: MonotonicNs,
    /// How it ended.
    pub ended: Ended,
    /// Who answered.
    pub by: Server,
}

/// How an attempt to append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The memory said that it has the turn.
    Acknowledged {
        /// When.
        at_ns: MonotonicNs,
        /// Where the turn stands, from 0, if the answer told.
        position: Option<u64>,
    },
    /// The memory certainly did not take the turn, and will not.
    Refused,
    /// Nobody knows: it may have taken effect at any time since it began, or may do so later, or never.
    Unknown,
}

/// Who answered, as far as it said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// The web.
    pub served_by: Option<String>,
    /// The owner's epoch.
    pub epoch: Option<u64>,
    /// Where the turn was when it was acknowledged.
    pub durability: Option<String>,
}

/// A conversation as somebody was told it: whole, and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// Its line in the file, from 1.
    pub line: usize,
    /// The conversation.
    pub conversation: ConversationId,
    /// Who asked, and whom.
    pub teller: Teller,
    /// When the question was put.
    pub invoked_ns: MonotonicNs,
    /// When the answer was there.
    pub completed_ns: MonotonicNs,
    /// The keys of the turns, in order.
    pub keys: Vec<TurnKey>,
}

/// Who asked for a conversation, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Teller {
    /// A client read it in the middle of the run.
    Read {
        /// The client.
        who: String,
        /// Who answered.
        by: Server,
    },
    /// The final transcript, after everything else.
    Final {
        /// The web that told it.
        web: String,
    },
}

/// Something that was broken on purpose, from when to when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was done to whom.
    pub what: String,
    /// When it began.
    pub began_ns: MonotonicNs,
    /// When it was over, if it was.
    pub ended_ns: Option<MonotonicNs>,
    /// Whether somebody else than who did it saw it take place.
    pub seen: bool,
    /// How many turns must have been acknowledged before, during and after it, if that is not for the checker to say.
    pub acknowledged_min: Option<u64>,
}

impl Append {
    /// When and where it was acknowledged, if it was.
    pub fn acknowledged(&self) -> Option<(MonotonicNs, Option<u64>)> {
        match self.ended {
            Ended::Acknowledged { at_ns, position } => Some((at_ns, position)),
            Ended::Refused | Ended::Unknown => None,
        }
    }
}

impl Telling {
    /// The web whose final transcript it is.
    pub fn final_of(&self) -> Option<&str> {
        match &self.teller {
            Teller::Final { web } => Some(web),
            Teller::Read { .. } => None,
        }
    }
}

impl History {
    /// Reads a history, one JSON object a line. Empty lines are skipped.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let mut history = Self::default();
        let mut invalid = Invalid::default();
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if text.trim_ascii().is_empty() {
                continue;
            }
            if let Err(kind) = Line::parse(text).and_then(|of| history.add(line, of)) {
                invalid.push(Problem { line, kind }, PROBLEMS_MAX);
            }
        }
        history.check_words(&mut invalid);
        history.check_finality(&mut invalid);
        invalid.problems.sort_by_key(|problem| problem.line);
        if invalid.problems.is_empty() { Ok(history) } else { Err(invalid) }
    }

    fn add(&mut self, line: usize, of: Line) -> Result<(), Kind> {
        match of {
            Line::Append(append) => self.appends.push(append.at(line)?),
            Line::Read(read) => match read.at(line)? {
                Some(telling) => self.tellings.push(telling),
                None => self.unanswered_reads += 1,
            },
            Line::Transcript(transcript) => self.tellings.push(transcript.at(line)?),
            Line::Fault(_) if self.faults.len() >= FAULTS_MAX => return Err(Kind::TooManyFaults),
            Line::Fault(fault) => self.faults.push(fault.checked()?),
        }
        Ok(())
    }

    /// A retry repeats the words of its turn: under other words it would be another turn, and the balance wrong.
    fn check_words(&self, invalid: &mut Invalid) {
        let mut first = HashMap::new();
        for append in &self.appends {
            let Some(said) = &append.said else { continue };
            let (words, first_line) =
                *first.entry((append.conversation, &append.key)).or_insert((said, append.line));
            if words != said {
                let kind = Kind::OtherWords { key: append.key.clone(), first_line };
                invalid.push(Problem { line: append.line, kind }, PROBLEMS_MAX);
            }
        }
    }

    /// A transcript that was read while turns were still acknowledged is not final, and a turn missing in it not lost.
    fn check_finality(&self, invalid: &mut Invalid) {
        let mut earliest: HashMap<ConversationId, &Telling> = HashMap::new();
        for telling in self.tellings.iter().filter(|telling| telling.final_of().is_some()) {
            let of_conversation = earliest.entry(telling.conversation).or_insert(telling);
            if telling.invoked_ns < of_conversation.invoked_ns {
                *of_conversation = telling;
            }
        }
        for append in &self.appends {
            let (Some((at_ns, _)), Some(transcript)) =
                (append.acknowledged(), earliest.get(&append.conversation))
            else {
                continue;
            };
            if at_ns >= transcript.invoked_ns {
                let kind = Kind::NotFinal { key: append.key.clone(), append_line: append.line };
                invalid.push(Problem { line: transcript.line, kind }, PROBLEMS_MAX);
            }
        }
    }

    /// When the first operation began, from which stories count their times.
    pub fn zero_ns(&self) -> MonotonicNs {
        let appends = self.appends.iter().map(|append| append.invoked_ns);
        appends.chain(self.tellings.iter().map(|telling| telling.invoked_ns)).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
