//! What goes into the state machine of a web and what comes out of it, with the words that people read. It decides nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asking::{Ask, WitnessReply};
use super::message::{Frame, PIECE_BYTES_MAX};
use crate::conversation::{Command, ConversationId, Outcome, Transcript};

/// A point in time: the span since a start that only the driver knows. It is read right before it is handed over.
pub type Time = Duration;

/// Which of the two webs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The one whose name comes first.
    First,
    /// The other one.
    Second,
}

impl Side {
    /// The other web.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::First => "the first web",
            Self::Second => "the second web",
        })
    }
}

/// One life of a web's process, with whose end its memory ends. It is greater than that of every earlier life of this web: the
/// time of its start in nanoseconds since 1970 will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A web in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which web.
    pub side: Side,
    /// Which life.
    pub incarnation: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (start {})", self.side, self.incarnation.0)
    }
}

/// What a web does that has lost the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degrade {
    /// Waits for it: every turn is on two machines, always.
    Never,
    /// Goes on alone if the witness lets it.
    Witness,
    /// Goes on alone, by permission or without: turns may be lost, and that is told.
    Always,
}

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This web.
    pub me: Member,
    /// What it does without the other.
    pub degrade: Degrade,
    /// How often it says something to the other, if only that it is there.
    pub alive_every: Duration,
    /// How long the other may be silent on a connection before that counts as broken.
    pub silence_max: Duration,
    /// How long it waits for a new connection before it asks to go on alone.
    pub patience: Duration,
    /// Patience with the witness: it is asked again after this.
    pub ask_every: Duration,
    /// How often the witness is told who the holders are once it knows.
    pub note_every: Duration,
    /// How long a web without memory waits for the other before memory begins without it.
    pub found_patience: Duration,
    /// How long a client's request may wait. Shorter than the patience of whoever sent it.
    pub request_max: Duration,
    /// Text in one piece of a snapshot; [`PIECE_BYTES_MAX`] at most.
    pub piece_bytes: usize,
}

impl Config {
    /// Figures for machines on one network, which answer within milliseconds: a web that is silent for 300 ms is cut off or dead.
    pub fn lab(me: Member, degrade: Degrade) -> Self {
        Self {
            me,
            degrade,
            alive_every: Duration::from_millis(50),
            silence_max: Duration::from_millis(300),
            patience: Duration::from_millis(100),
            ask_every: Duration::from_millis(100),
            note_every: Duration::from_secs(1),
            found_patience: Duration::from_secs(2),
            request_max: Duration::from_millis(1_500),
            piece_bytes: PIECE_BYTES_MAX,
        }
    }
}

/// What a web is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has nothing to tell yet: it waits for the other, or takes over what that has.
    Joining,
    /// Both webs have everything; a turn is acknowledged once both have applied it.
    Paired,
    /// It has everything and may go on by itself.
    Alone,
    /// It has a memory that it may not use now, or that is outdated.
    Fenced,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Joining => "JOINING",
            Self::Paired => "PAIRED",
            Self::Alone => "ALONE",
            Self::Fenced => "FENCED",
        })
    }
}

/// Why a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It took over everything that the other has.
    Joined,
    /// It gave the other everything.
    Admitted,
    /// Both went on where they were interrupted.
    Resumed,
    /// The witness gave it a lease.
    Leased,
    /// It may go on without anybody's permission.
    Unlicensed,
    /// The other is gone, and it may not go on alone, or nobody who could permit it answers.
    LeftAlone,
    /// The other is the sole holder, so this memory is outdated.
    Outdated,
    /// The lease ran out.
    LeaseLapsed,
    /// It begins to take over what the other has.
    Admission,
    /// Memory begins anew.
    Founded,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Joined => "it took over everything from the other web",
            Self::Admitted => "the other web took over everything",
            Self::Resumed => "both webs went on where they were interrupted",
            Self::Leased => "the witness gave it a lease",
            Self::Unlicensed => "it goes on without permission, as `degrade: always` says",
            Self::LeftAlone => "the other web is gone, and nobody lets it go on alone",
            Self::Outdated => "the other web went on without it",
            Self::LeaseLapsed => "its lease ran out",
            Self::Admission => "it takes over what the other web has",
            Self::Founded => "memory begins",
        })
    }
}

/// A connection to the other web, numbered by the driver; no number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A client's request, numbered by the driver; no number is used twice in one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// What can happen to a web.
///
/// Messages that already wait are handed over before [`Event::Tick`]: a process that ran late must not take for silence what is in its
/// own queue. Nothing becomes wrong if they are not.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A client wants something changed.
    Command {
        /// Its request.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// A client wants to know a conversation.
    Read {
        /// Its request.
        request: RequestId,
        /// Which conversation.
        id: ConversationId,
    },
    /// There is a connection to the other web, in place of any before it. It delivers in order, until it breaks.
    PeerConnected {
        /// Its number.
        connection: ConnectionId,
    },
    /// The other web says something.
    PeerMessage {
        /// On which connection.
        connection: ConnectionId,
        /// What.
        frame: Frame,
    },
    /// A connection broke, or was closed.
    PeerLost {
        /// Which.
        connection: ConnectionId,
    },
    /// The witness answers. Answers may come late, twice, or never.
    WitnessReply(WitnessReply),
    /// The deadline has come. Said too early it does nothing.
    Tick,
}

/// What the driver shall do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Say this to the other web. If the connection is broken, nothing.
    SendPeer {
        /// On which connection.
        connection: ConnectionId,
        /// What.
        frame: Frame,
    },
    /// Close this connection, and connect anew. Nothing that still comes on it counts.
    DropPeer {
        /// Which.
        connection: ConnectionId,
        /// Why.
        because: DropCause,
    },
    /// Send this to the witness. It need not arrive.
    AskWitness(Ask),
    /// Answer a client. Each request is answered once.
    Answer {
        /// Its request.
        request: RequestId,
        /// What.
        answer: Result<Answer, Refusal>,
    },
    /// The state is another from now on.
    SetState {
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// Why.
        because: Cause,
    },
    /// Something that people must hear of.
    Tell(Notice),
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// The other speaks another version.
    Version,
    /// A frame is missing, or came twice.
    Gap,
    /// The other was silent for too long.
    Silence,
    /// What the other says does not fit to what this web is; a new connection begins with who is what.
    Misfit,
    /// This web went on alone, so the other must not believe to be one of a pair.
    WentAlone,
    /// There is a newer connection.
    Replaced,
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Version => "the other web speaks another version",
            Self::Gap => "a frame is missing or came twice",
            Self::Silence => "the other web is silent",
            Self::Misfit => "what the other web says does not fit",
            Self::WentAlone => "this web went on alone",
            Self::Replaced => "there is a newer connection",
        })
    }
}

/// What a client is told, and what that is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer itself.
    pub reply: Reply,
    /// Who has it.
    pub durability: Durability,
    /// Who orders the turns of the conversation, and since when; nothing of a conversation that does not exist.
    pub ownership: Option<Ownership>,
}

/// The answer to a command or a read.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// What became of a command.
    Outcome(Outcome),
    /// A conversation, if there is one.
    Transcript(Option<Arc<Transcript>>),
}

/// Who has what an answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Both webs.
    Pair,
    /// This web only.
    Solo,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pair => "pair",
            Self::Solo => "solo",
        })
    }
}

/// Who orders the turns of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Which web.
    pub owner: Side,
    /// Raised whenever another web takes the conversation over.
    pub epoch: u64,
}

/// Why a client is not answered: 503, and it should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing was done.
    #[error("this web is {0} and may not answer now")]
    NotServing(State),
    /// Nothing was done.
    #[error("too many requests wait for the other web")]
    Busy,
    /// Nothing was done.
    #[error("the other web did not answer in time")]
    TimedOut,
    /// Nobody knows whether it was done, or will be; sending it again with the same key tells.
    #[error("the other web did not answer in time; whether the turn counts is not known")]
    Unknown,
}

impl Refusal {
    /// Whether the work may have been done all the same.
    pub fn may_be_done(self) -> bool {
        match self {
            Self::Unknown => true,
            Self::NotServing(_) | Self::Busy | Self::TimedOut => false,
        }
    }
}

/// Something that people must hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There is a memory for the first time.
    Founded,
    /// Everybody who had everything was restarted. Memory begins anew, with what this web has left.
    MemoryLost {
        /// The number of the new beginning.
        founding: u64,
        /// The term up to which this web's copy is whole; nothing if it has none, and every conversation is gone.
        kept_term: Option<u64>,
    },
    /// Both webs went on alone, and the other's memory stays.
    Diverged {
        /// Turns that this web had and the other has not: they are gone.
        turns_lost: u64,
    },
    /// The witness remembers nothing of the memory that this web has a copy of: its disk was wiped.
    Forgotten,
    /// The witness knows a later life of this web: the clock of its machine was set back between two starts.
    Superseded,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Founded => f.write_str("memory begins"),
            Self::MemoryLost { founding, kept_term: None } => {
                write!(f, "memory lost: both webs were restarted; memory begins anew (founding {founding})")
            }
            Self::MemoryLost { founding, kept_term: Some(term) } => write!(
                f,
                "memory lost: the last web that had everything was restarted; memory begins anew with a copy of term {term} (founding {founding})"
            ),
            Self::Diverged { turns_lost } => {
                write!(
                    f,
                    "diverged: both webs went on alone; {turns_lost} turns that only this web had are gone"
                )
            }
            Self::Forgotten => f.write_str(
                "the witness has forgotten who has everything (was its disk wiped?): until it has heard that from a web that is \
                 alone, or from both of a pair, nobody goes on alone",
            ),
            Self::Superseded => {
                f.write_str("the witness knows a later start of this web: was its clock set back?")
            }
        }
    }
}
