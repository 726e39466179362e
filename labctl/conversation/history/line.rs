//! One line of a history as it stands in the file, to be read and to be written: the two are one, so that whoever records a
//! history cannot write what the checker does not read. Unknown fields are refused: a `postion` that was silently skipped
//! would make the check weaker without a word. It does not know what the lines around it say.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Append, Ended, Fault, Kind, LINE_BYTES_MAX, MonotonicNs, Server, Teller, Telling};
use crate::conversation::names::{ConversationId, TurnKey};

/// One line of a history of conversations: an attempt to append a turn, a read, a final transcript, or a fault. All times
/// are nanoseconds of one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[schemars(title = "Line of a history")]
pub enum Line {
    /// An attempt to append.
    Append(AppendLine),
    /// A read in the middle of the run.
    Read(ReadLine),
    /// A final transcript.
    Transcript(TranscriptLine),
    /// A fault.
    Fault(FaultLine),
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Acknowledged, or answered.
    Ok,
    /// It certainly did not and will not take effect.
    Fail,
    /// Nobody knows whether it took effect, as after a time-out.
    Info,
}

/// An attempt to append a turn. Attempts with the same conversation and key are one turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppendLine {
    /// The client.
    pub who: String,
    /// The conversation: 32 hexadecimal digits in lower case.
    #[serde(deserialize_with = "id", serialize_with = "id_text")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    pub conversation: ConversationId,
    /// The idempotency key of the turn: 1 to 64 visible ASCII characters.
    #[schemars(with = "String", length(min = 1, max = 64))]
    pub key: TurnKey,
    /// What was said. A retry repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Which attempt at the turn it is, from 1.
    #[serde(default = "first")]
    pub attempt: NonZeroU32,
    /// When it began.
    pub invoked_ns: MonotonicNs,
    /// When it ended; only `info` may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_ns: Option<MonotonicNs>,
    /// How it ended.
    pub result: Reply,
    /// Where the turn stands, from 0, as the acknowledgement said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The web that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// The owner's epoch, as the answer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Where the turn was kept when it was acknowledged, as the answer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
}

/// A read of a whole conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadLine {
    /// The client.
    pub who: String,
    /// The conversation: 32 hexadecimal digits in lower case.
    #[serde(deserialize_with = "id", serialize_with = "id_text")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    pub conversation: ConversationId,
    /// When it began.
    pub invoked_ns: MonotonicNs,
    /// When it ended; only `info` may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_ns: Option<MonotonicNs>,
    /// How it ended; one that was not answered shows nothing.
    pub result: Reply,
    /// The keys of all turns in order, of an answered read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub keys: Option<Vec<TurnKey>>,
    /// The web that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// The owner's epoch, as the answer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// How safe the answer was, as it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
}

/// The final transcript of a conversation, as one web told it after the last acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TranscriptLine {
    /// The conversation: 32 hexadecimal digits in lower case.
    #[serde(deserialize_with = "id", serialize_with = "id_text")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    pub conversation: ConversationId,
    /// The web that told it.
    pub web: String,
    /// When it was asked.
    pub invoked_ns: MonotonicNs,
    /// When it had answered.
    pub completed_ns: MonotonicNs,
    /// The keys of all turns, in order.
    #[schemars(with = "Vec<String>")]
    pub keys: Vec<TurnKey>,
}

/// Something that was broken on purpose. There must be acknowledgements before, while and after it lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultLine {
    /// What was done.
    pub action: String,
    /// To whom.
    pub target: String,
    /// When it began.
    pub began_ns: MonotonicNs,
    /// When it was over; without it, it was never mended, and what came after it came while it lasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ns: Option<MonotonicNs>,
    /// Whether somebody else than who did it saw it take place.
    pub seen: bool,
    /// How many turns must have been acknowledged before, during and after it, where that is not for the checker to say: of
    /// a fault that stops everything, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_min: Option<u64>,
}

/// The bytes of `history.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Line);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain data with text keys");
    text.push('\n');
    text
}

fn first() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn id<'de, D: Deserializer<'de>>(from: D) -> Result<ConversationId, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn id_text<S: Serializer>(id: &ConversationId, into: S) -> Result<S::Ok, S::Error> {
    into.collect_str(id)
}

fn span(began_ns: MonotonicNs, ended_ns: MonotonicNs) -> Result<(), Kind> {
    if began_ns <= ended_ns { Ok(()) } else { Err(Kind::Backwards) }
}

/// When an operation with this result ended; nothing if nobody knows.
fn end(
    began_ns: MonotonicNs,
    ended_ns: Option<MonotonicNs>,
    result: Reply,
) -> Result<Option<MonotonicNs>, Kind> {
    ended_ns.map_or(Ok(()), |ended_ns| span(began_ns, ended_ns))?;
    match (result, ended_ns) {
        (Reply::Info, _) => Ok(None),
        (Reply::Ok | Reply::Fail, None) => Err(Kind::NoEnd),
        (Reply::Ok | Reply::Fail, Some(ended_ns)) => Ok(Some(ended_ns)),
    }
}

impl Line {
    /// The line as it stands in a file, without its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a line is plain data with text keys")
    }

    /// Understands one line.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Kind> {
        if text.len() > LINE_BYTES_MAX {
            return Err(Kind::TooLong { bytes: text.len() });
        }
        // Else an array of the values in their order would do as well.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(Kind::Format("a line is a JSON object".to_owned()));
        }
        serde_json::from_slice(text).map_err(|error| {
            let text = error.to_string();
            // The number of the line is that in the file, and the column of no use where an object was taken whole.
            Kind::Format(text.split(" at line ").next().unwrap_or_default().to_owned())
        })
    }
}

impl AppendLine {
    pub(super) fn at(self, line: usize) -> Result<Append, Kind> {
        let ended = match (self.result, end(self.invoked_ns, self.completed_ns, self.result)?) {
            (Reply::Ok, Some(at_ns)) => Ended::Acknowledged { at_ns, position: self.position },
            _ if self.position.is_some() => return Err(Kind::StrayPosition),
            (Reply::Fail, _) => Ended::Refused,
            (Reply::Info | Reply::Ok, _) => Ended::Unknown,
        };
        Ok(Append {
            line,
            who: self.who,
            conversation: self.conversation,
            key: self.key,
            said: self.said,
            attempt: self.attempt,
            invoked_ns: self.invoked_ns,
            ended,
            by: Server { served_by: self.served_by, epoch: self.epoch, durability: self.durability },
        })
    }
}

impl ReadLine {
    /// What was told, if it was.
    pub(super) fn at(self, line: usize) -> Result<Option<Telling>, Kind> {
        let completed_ns = end(self.invoked_ns, self.completed_ns, self.result)?;
        let (completed_ns, keys) = match (self.result, completed_ns, self.keys) {
            (Reply::Ok, Some(completed_ns), Some(keys)) => (completed_ns, keys),
            (Reply::Ok, _, None) => return Err(Kind::NoKeys),
            (_, _, Some(_)) => return Err(Kind::StrayKeys),
            (_, _, None) => return Ok(None),
        };
        let by = Server { served_by: self.served_by, epoch: self.epoch, durability: self.durability };
        Ok(Some(Telling {
            line,
            conversation: self.conversation,
            teller: Teller::Read { who: self.who, by },
            invoked_ns: self.invoked_ns,
            completed_ns,
            keys,
        }))
    }
}

impl TranscriptLine {
    pub(super) fn at(self, line: usize) -> Result<Telling, Kind> {
        span(self.invoked_ns, self.completed_ns)?;
        Ok(Telling {
            line,
            conversation: self.conversation,
            teller: Teller::Final { web: self.web },
            invoked_ns: self.invoked_ns,
            completed_ns: self.completed_ns,
            keys: self.keys,
        })
    }
}

impl FaultLine {
    pub(super) fn checked(self) -> Result<Fault, Kind> {
        span(self.began_ns, self.ended_ns.unwrap_or(self.began_ns))?;
        Ok(Fault {
            what: format!("{} of {}", self.action, self.target),
            began_ns: self.began_ns,
            ended_ns: self.ended_ns,
            seen: self.seen,
            acknowledged_min: self.acknowledged_min,
        })
    }
}
