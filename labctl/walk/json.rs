//! A walk for programs: its record, from which all else is made, and the conversations that were found in it. The shape is
//! `reports/walk.schema.json`, and its name changes when the shape does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conversation::{Conversation, Walk};
use super::record::Record;

/// Name and version of the shape.
pub const SCHEMA: &str = "labctl.walk/1";

/// A whole walk.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Walk")]
struct Page<'a> {
    /// Always `labctl.walk/1`.
    schema: &'static str,
    /// The conversations that were found in the record: that of the client first, and one more for each proxy that read the
    /// request and asked by a connection of its own.
    conversations: &'a [Conversation],
    /// What was captured. `labctl trace --replay FILE` reads nothing else.
    record: &'a Record,
}

/// What is read of a file.
#[derive(Deserialize)]
struct File {
    schema: String,
    record: Record,
}

/// Why a file is no walk.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not of this shape at all.
    #[error("it is not what `labctl trace --format json` writes")]
    Shape(#[from] serde_json::Error),
    /// It is of another version.
    #[error("it is of the shape {0:?}, and this labctl reads {SCHEMA:?}")]
    Version(String),
    /// It contradicts itself.
    #[error("frame {0} is on an interface that the file does not list")]
    Interface(usize),
}

/// A walk as JSON, with those frames only that it is about.
pub fn json(walk: &Walk) -> String {
    let record = trimmed(walk);
    let walk = Walk::of(&record);
    let page = Page { schema: SCHEMA, conversations: &walk.conversations, record: &record };
    serde_json::to_string_pretty(&page).expect("plain values have a form in JSON") + "\n"
}

/// The record in a file.
pub fn parse(text: &str) -> Result<Record, Unreadable> {
    let File { schema, record } = serde_json::from_str(text)?;
    if schema != SCHEMA {
        return Err(Unreadable::Version(schema));
    }
    match record.frames.iter().position(|frame| frame.interface >= record.interfaces.len()) {
        Some(at) => Err(Unreadable::Interface(at)),
        None => Ok(record),
    }
}

/// The bytes of `walk.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Page);
    serde_json::to_string_pretty(&schema).expect("a schema is plain values") + "\n"
}

fn trimmed(walk: &Walk) -> Record {
    let wanted = walk.frames(true);
    let mut record = walk.record.clone();
    let mut at = 0;
    record.frames.retain(|_| {
        at += 1;
        wanted.contains(&(at - 1))
    });
    record
}
