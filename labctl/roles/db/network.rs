//! How raft reaches the other members: its messages in our frames, over the links that requests use too. It knows
//! nothing of what the messages say.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, RaftNetwork, RaftNetworkFactory};

use super::directory::{Directory, RaftId};
use super::link::{Link, LinkError};
use super::log::Identity;
use super::protocol::{RaftMessage, Reply, Request, TypeConfig};

/// Rest before a member that cannot be reached is tried again: a heartbeat's time, so that one that comes back hears
/// from its leader before it calls an election.
const REST: Duration = Duration::from_millis(50);

/// Links to all seats, in the order of the directory. The one to a member's own seat is never used.
pub(super) type Links = Arc<[Link]>;

/// Makes the ways to other members.
#[derive(Debug)]
pub(super) struct Network {
    /// Who they are.
    pub directory: Arc<Directory>,
    /// The ways.
    pub links: Links,
    /// Who we are.
    pub identity: Identity,
}

/// The way to one other member.
#[derive(Debug)]
pub(super) struct Peer {
    links: Links,
    place: Option<usize>,
    target: RaftId,
    identity: Identity,
}

/// Why a member gave no answer to raft.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("member {0} refuses: its seat belongs to another cluster, or its disk was emptied")]
    Refused(RaftId),
    #[error("no database has the identifier {0}")]
    Unknown(RaftId),
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: RaftId, _node: &EmptyNode) -> Peer {
        let place = self.directory.place(target);
        Peer { links: self.links.clone(), place, target, identity: self.identity }
    }
}

impl Peer {
    async fn send(&self, message: RaftMessage, option: &RPCOption) -> Result<Reply, PeerError> {
        let link = self.place.and_then(|place| self.links.get(place));
        let link = link.ok_or(PeerError::Unknown(self.target))?;
        let request = Request::Raft { cluster: self.identity.cluster, to: self.target, message };
        match link.call(&request, option.hard_ttl()).await? {
            Reply::Refused | Reply::Unavailable(_) => Err(PeerError::Refused(self.target)),
            reply => Ok(reply),
        }
    }

    fn remote<E: std::error::Error>(&self, error: E) -> RPCError<RaftId, EmptyNode, E> {
        RPCError::RemoteError(RemoteError::new(self.target, error))
    }
}

fn unreachable<E: std::error::Error>(error: PeerError) -> RPCError<RaftId, EmptyNode, E> {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn odd<E: std::error::Error>() -> RPCError<RaftId, EmptyNode, E> {
    let error = std::io::Error::other("the answer belongs to another question");
    RPCError::Network(NetworkError::new(&error))
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, RPCError<RaftId, EmptyNode, RaftError<RaftId>>> {
        match self.send(RaftMessage::Append(request), &option).await.map_err(unreachable)? {
            Reply::Append(answer) => answer.map_err(|error| self.remote(error)),
            _ => Err(odd()),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<RaftId>,
        RPCError<RaftId, EmptyNode, RaftError<RaftId, InstallSnapshotError>>,
    > {
        match self.send(RaftMessage::Snapshot(request), &option).await.map_err(unreachable)? {
            Reply::Snapshot(answer) => answer.map_err(|error| self.remote(error)),
            _ => Err(odd()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, RPCError<RaftId, EmptyNode, RaftError<RaftId>>> {
        match self.send(RaftMessage::Vote(request), &option).await.map_err(unreachable)? {
            Reply::Vote(answer) => answer.map_err(|error| self.remote(error)),
            _ => Err(odd()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(REST))
    }
}
