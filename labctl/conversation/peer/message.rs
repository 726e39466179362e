//! What two webs say to each other. It knows neither how that travels nor what follows from it.

use serde::{Deserialize, Serialize};

use super::asking::Record;
use super::contract::{Member, Ownership, RequestId};
use crate::conversation::{Command, ConversationId, Outcome, TURN_BYTES_MAX, TurnKey};

/// The version of these messages; webs of different versions do not talk.
pub const PEER_VERSION: u16 = 1;
/// Text in one piece of a snapshot: large enough that a piece is worth a message, small enough that a turn does not wait for it.
pub const PIECE_BYTES_MAX: usize = 64 * 1_024;
/// What a part of a piece costs besides its text.
pub const PART_BYTES: usize = 64;
/// No frame is longer, encoded compactly: a full piece, one turn beyond it, and what surrounds them.
pub const FRAME_BYTES_MAX: usize = 2 * PIECE_BYTES_MAX + TURN_BYTES_MAX;

/// A message with its place in the stream of its connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// [`PEER_VERSION`] of the sender.
    pub version: u16,
    /// Its number on this connection and in this direction, from 0.
    pub number: u64,
    /// The message.
    pub message: Message,
}

/// What one web says to the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The first message of each side.
    Hello {
        /// Who speaks.
        from: Member,
        /// What it is.
        standing: Standing,
    },
    /// It is there.
    Alive,

    /// What follows is everything that the sender, a sole holder, has.
    Snapshot,
    /// A piece of it.
    Piece {
        /// Its number in the snapshot, from 1.
        number: u64,
        /// Conversations, or parts of them.
        parts: Vec<Part>,
    },
    /// A piece was taken.
    PieceTaken {
        /// Its number.
        number: u64,
    },
    /// A change to what was given already, made while the rest was on its way.
    Tail {
        /// The change.
        entry: Entry,
    },
    /// That was everything: both are a pair from here on.
    PairUp {
        /// The pair.
        pairing: Pairing,
        /// The copy that both have now.
        copy: Copied,
    },
    /// It is: the other may be written down as a holder.
    Joined {
        /// The pair.
        pairing: Pairing,
    },

    /// A change that the sender, the owner of its conversation, has applied.
    Replicate {
        /// Its number in this pair and this direction, from 1.
        number: u64,
        /// The request of the receiver that asked for it.
        request: Option<RequestId>,
        /// The change.
        entry: Entry,
    },
    /// Changes were applied.
    Applied {
        /// The number of the last.
        through: u64,
    },
    /// A command for the owner.
    Forward {
        /// The request of the sender.
        request: RequestId,
        /// What its client wants.
        command: Command,
    },
    /// A forwarded command changed nothing.
    Settled {
        /// The request of the receiver.
        request: RequestId,
        /// What became of it.
        outcome: Outcome,
        /// Who owns the conversation.
        ownership: Option<Ownership>,
    },
    /// A forwarded command was not carried out, and will not be.
    Declined {
        /// The request of the receiver.
        request: RequestId,
    },
    /// Are you still one of this pair?
    Probe {
        /// Counted by the sender.
        number: u64,
    },
    /// Yes, and everything that was said before the question is applied.
    Probed {
        /// The number of the question.
        number: u64,
    },
}

/// What a web is, as far as the other must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It has nothing, or an outdated copy.
    Blank {
        /// The copy.
        copy: Option<Copied>,
    },
    /// It is one of a pair.
    Half {
        /// The pair.
        pairing: Pairing,
        /// How many changes of the other it has applied.
        applied: u64,
        /// What it has.
        copy: Copied,
    },
    /// It is the only one that has everything.
    Sole {
        /// What it has.
        copy: Copied,
        /// Does the witness know it?
        licensed: bool,
        /// Turns and conversations that it took alone.
        turns: u64,
    },
}

/// A memory that was whole once: which, and up to when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Copied {
    /// The number of the beginning of this memory.
    pub founding: u64,
    /// The last term of the witness in which it was whole.
    pub term: u64,
}

impl Copied {
    /// Was it whole in the term of this record?
    pub(super) fn is_of(&self, record: &Record) -> bool {
        (self.founding, self.term) == (record.founding, record.term)
    }
}

/// Two webs that have the same, from one moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// Who gave.
    pub source: Member,
    /// Who took.
    pub joiner: Member,
    /// Counted by the source.
    pub number: u64,
}

impl Pairing {
    /// The other of the two.
    pub(super) fn other_than(&self, member: Member) -> Member {
        if self.source == member { self.joiner } else { self.source }
    }
}

/// A change that its owner has decided on: it is applied and not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A new conversation.
    Create {
        /// Which.
        id: ConversationId,
        /// Who orders its turns.
        ownership: Ownership,
    },
    /// A new turn.
    Append {
        /// The conversation.
        id: ConversationId,
        /// Who orders its turns: the sender.
        ownership: Ownership,
        /// Its place.
        position: u64,
        /// The author's key.
        key: TurnKey,
        /// What was said.
        body: String,
    },
}

/// A conversation, or turns of one, in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The conversation.
    pub id: ConversationId,
    /// Who orders its turns.
    pub ownership: Ownership,
    /// The place of the first of these turns.
    pub from: u64,
    /// Keys and texts of turns.
    pub turns: Vec<(TurnKey, String)>,
}
