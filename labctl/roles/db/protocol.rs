//! What one can ask a database, and what it answers. The same port and the same frames serve visitors, other databases
//! that pass a request on, and raft itself. It knows nothing of connections.

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::directory::RaftId;
use crate::conversation::{Command, ConversationId, Outcome, Transcript};

openraft::declare_raft_types!(
    /// The types of our raft. One log entry is a batch of commands, so that one flush of the disk serves them all.
    pub TypeConfig:
        D = Vec<Command>,
        R = Vec<Outcome>,
        NodeId = RaftId,
        Node = openraft::EmptyNode,
        SnapshotData = std::io::Cursor<Vec<u8>>,
);

/// What a cluster calls itself, chosen at random when it is founded. Members of another never talk to it.
pub(super) type ClusterId = [u8; 16];

/// What a database is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Is anybody there? Answered without the other databases.
    Ping,
    /// Something that only the leader can do.
    Leader {
        /// What.
        ask: Ask,
        /// Whether another database passed it on; it is then never passed on again.
        forwarded: bool,
    },
    /// What do you know of a cluster?
    Census,
    /// Become a founding member of this cluster, if you are of none.
    Enrol {
        /// The cluster.
        cluster: ClusterId,
    },
    /// Raft talks to raft.
    Raft {
        /// The cluster of the sender.
        cluster: ClusterId,
        /// The member that is meant; a disk that was emptied since is another member.
        to: RaftId,
        /// What it says.
        message: RaftMessage,
    },
}

/// Something that only the leader can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Change the store.
    Apply(Command),
    /// Read a conversation as it is now.
    Read(ConversationId),
    /// Is there a leader that a majority follows?
    Check,
    /// Take this member in place of the one that had its seat before.
    Admit(RaftId),
}

/// What raft says to raft.
#[derive(Debug, Serialize, Deserialize)]
pub enum RaftMessage {
    /// Log entries, or a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// A candidate asks for a vote.
    Vote(VoteRequest<RaftId>),
    /// A piece of a snapshot.
    Snapshot(InstallSnapshotRequest<TypeConfig>),
}

/// What a database answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To `Ping`.
    Pong,
    /// To `Apply`.
    Applied(Outcome),
    /// To `Read`.
    Transcript(Option<Transcript>),
    /// To `Check` and `Admit`.
    Done,
    /// To `Census`.
    Census(Census),
    /// To `Enrol`: it is a member of that cluster now.
    Enrolled,
    /// To `Append`.
    Append(Result<AppendEntriesResponse<RaftId>, RaftError<RaftId>>),
    /// To `Vote`.
    Vote(Result<VoteResponse<RaftId>, RaftError<RaftId>>),
    /// To `Snapshot`.
    Snapshot(Result<InstallSnapshotResponse<RaftId>, RaftError<RaftId, InstallSnapshotError>>),
    /// Not now; asking again, here or elsewhere, may help.
    Unavailable(Unavailable),
    /// Not to you: another cluster, or another member than the one you mean.
    Refused,
}

/// What a database knows of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// The cluster that it is a member of; `None` with an empty disk.
    pub cluster: Option<ClusterId>,
    /// Whether that cluster has begun: its raft has a log or gave a vote.
    pub founded: bool,
    /// Whether it has a vote there, as far as it knows.
    pub votes: bool,
}

/// Why a database cannot do it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unavailable {
    /// It is not (yet) a member of the cluster.
    #[error("the database is not yet a member of the cluster")]
    Joining,
    /// It knows of no leader.
    #[error("the databases have no leader")]
    NoLeader,
    /// It was taken for the leader and is not.
    #[error("the leader of the databases has changed")]
    NotLeader,
    /// The leader cannot reach a majority.
    #[error("the leader of the databases cannot reach a majority")]
    NoQuorum,
    /// The leader does not answer another database.
    #[error("the leader of the databases does not answer")]
    LeaderSilent,
    /// It took too long. A command may have been carried out all the same.
    #[error("the databases did not finish in time")]
    TimedOut,
    /// Too much is going on already.
    #[error("the database has too many requests in flight")]
    Busy,
}
