//! The database's end of its protocol: accepts connections, reads one request after the other from each, and finds the
//! answer here or at the leader. Everything is bounded; nothing that a visitor sends ends the daemon.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::Raft;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::desk::Desk;
use super::directory::RaftId;
use super::frame::{self, PREAMBLE};
use super::joining::{self, Enrolment, Surroundings};
use super::log::Identity;
use super::machine::Machine;
use super::protocol::{Ask, Census, ClusterId, RaftMessage, Reply, Request, TypeConfig, Unavailable};
use crate::conversation::Outcome;
use crate::roles::callers;

/// Longest work on one request. It is shorter than a web node's patience with one database (300 ms), so that the web
/// hears why, and asks the next one.
pub(super) const SERVE_MAX: Duration = Duration::from_millis(250);
/// Longest wait for the leader when a request is passed on; less than [`SERVE_MAX`], so that the visitor hears of it.
const FORWARD_MAX: Duration = Duration::from_millis(220);
/// Most connections: two web nodes at full load and all other members, several times over.
const CONNECTIONS_MAX: usize = 1_024;
/// Most requests of visitors in work at once.
pub(super) const IN_FLIGHT_MAX: usize = 256;
/// How long a connection may be open without a request.
const QUIET_MAX: Duration = Duration::from_secs(120);
/// How long a peer may take to send the preamble, or to take an answer.
const PEER_MAX: Duration = Duration::from_secs(2);

/// A member that takes part in raft.
pub(super) struct Member {
    /// Who it is.
    pub identity: Identity,
    /// Its raft.
    pub raft: Raft<TypeConfig>,
    /// What raft has decided so far.
    pub machine: Machine,
    /// Where commands queue.
    pub desk: Desk,
}

impl Member {
    /// Whether its raft has a log or gave a vote; said to be so where raft has ended, to be on the safe side.
    pub(super) async fn begun(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(true)
    }

    /// Whether a member has a vote, as far as this one knows, and no change of the membership is under way.
    pub(super) fn has_vote(&self, member: RaftId) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        // Two configurations at once: the old one, with the seat's old identifier, still has its say.
        let settled = membership.get_joint_config().len() == 1;
        settled && membership.voter_ids().any(|id| id == member)
    }
}

/// What answers requests.
pub(super) struct Server {
    around: Surroundings,
    member: OnceLock<Arc<Member>>,
    enrolments: mpsc::Sender<Enrolment>,
    in_flight: Semaphore,
    admissions: Arc<Semaphore>,
}

impl Server {
    /// A server that is not a member yet; wishes that it become one go to the queue.
    pub(super) fn new(around: Surroundings, enrolments: mpsc::Sender<Enrolment>) -> Self {
        Self {
            around,
            member: OnceLock::new(),
            enrolments,
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            // Raft changes its membership one step at a time.
            admissions: Arc::new(Semaphore::new(1)),
        }
    }

    /// Takes part in raft from now on.
    pub(super) fn take_part(&self, member: Arc<Member>) {
        // It is called once; a second member would be the same disk.
        let _ = self.member.set(member);
    }

    /// Serves until the future is dropped, with all its connections.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        callers::serve_each(listener, CONNECTIONS_MAX, |stream| self.clone().converse(stream)).await;
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut stream = BufReader::new(stream);
        let mut preamble = [0; PREAMBLE.len()];
        match timeout(PEER_MAX, stream.read_exact(&mut preamble)).await {
            Ok(Ok(_)) if &preamble == PREAMBLE => {}
            _ => return,
        }
        while let Ok(Ok(request)) = timeout(QUIET_MAX, frame::read(&mut stream)).await {
            let reply = self.answer(request).await;
            let Ok(bytes) = frame::encode(&reply) else { return };
            match timeout(PEER_MAX, stream.get_mut().write_all(&bytes)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }

    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Ping => Reply::Pong,
            Request::Census => Reply::Census(self.census().await),
            Request::Enrol { cluster } => self.enrol(cluster).await,
            Request::Raft { cluster, to, message } => self.raft(cluster, to, message).await,
            Request::Leader { ask, forwarded } => {
                let Ok(_permit) = self.in_flight.try_acquire() else {
                    return Reply::Unavailable(Unavailable::Busy);
                };
                let answer = timeout(SERVE_MAX, self.lead(ask, forwarded)).await;
                answer.unwrap_or(Err(Unavailable::TimedOut)).unwrap_or_else(Reply::Unavailable)
            }
        }
    }

    async fn census(&self) -> Census {
        match self.member.get() {
            None => Census { cluster: None, founded: false, votes: false },
            Some(member) => Census {
                cluster: Some(member.identity.cluster),
                founded: member.begun().await,
                votes: member.has_vote(member.identity.id),
            },
        }
    }

    async fn enrol(&self, cluster: ClusterId) -> Reply {
        if let Some(member) = self.member.get() {
            return if member.identity.cluster == cluster { Reply::Enrolled } else { Reply::Refused };
        }
        let (done, enrolled) = oneshot::channel();
        if self.enrolments.try_send((cluster, done)).is_err() {
            return Reply::Unavailable(Unavailable::Joining);
        }
        match timeout(SERVE_MAX, enrolled).await {
            Ok(Ok(())) => Reply::Enrolled,
            _ => Reply::Unavailable(Unavailable::Joining),
        }
    }

    /// Only the member that is meant may listen: another cluster's entries, or a vote asked of a disk that was emptied
    /// since, would break what raft has promised.
    async fn raft(&self, cluster: ClusterId, to: RaftId, message: RaftMessage) -> Reply {
        let meant = |member: &&Arc<Member>| member.identity == Identity { cluster, id: to };
        let Some(member) = self.member.get().filter(meant) else { return Reply::Refused };
        match message {
            RaftMessage::Append(entries) => Reply::Append(member.raft.append_entries(entries).await),
            RaftMessage::Vote(request) => Reply::Vote(member.raft.vote(request).await),
            RaftMessage::Snapshot(piece) => Reply::Snapshot(member.raft.install_snapshot(piece).await),
        }
    }

    /// Does what only the leader can do, or has the leader do it.
    async fn lead(&self, ask: Ask, forwarded: bool) -> Result<Reply, Unavailable> {
        if let Ask::Apply(command) = &ask
            && command.is_too_long()
        {
            // It must never get into the log: entries travel together, and the next frame would not hold them.
            return Ok(Reply::Applied(Outcome::TurnTooLong));
        }
        let member = self.member.get().ok_or(Unavailable::Joining)?;
        let leader = member.raft.metrics().borrow().current_leader.ok_or(Unavailable::NoLeader)?;
        if leader == member.identity.id {
            return self.decide(member, ask).await;
        }
        if forwarded {
            // Passed on a second time it could go round in circles while members disagree.
            return Err(Unavailable::NotLeader);
        }
        let place = self.around.directory.place(leader).ok_or(Unavailable::NoLeader)?;
        let request = Request::Leader { ask, forwarded: true };
        self.around.links[place].call(&request, FORWARD_MAX).await.map_err(|_| Unavailable::LeaderSilent)
    }

    async fn decide(&self, member: &Arc<Member>, ask: Ask) -> Result<Reply, Unavailable> {
        match ask {
            Ask::Apply(command) => Ok(Reply::Applied(member.desk.apply(command).await?)),
            Ask::Read(id) => {
                member.desk.catch_up().await?;
                let transcript = member.machine.transcript(&id);
                Ok(Reply::Transcript(transcript.map(|transcript| transcript.as_ref().clone())))
            }
            Ask::Check => {
                member.desk.catch_up().await?;
                Ok(Reply::Done)
            }
            Ask::Admit(id) => {
                self.around.directory.place(id).ok_or(Unavailable::Joining)?;
                let permit = self.admissions.clone().try_acquire_owned().map_err(|_| Unavailable::Busy)?;
                let (directory, member) = (self.around.directory.clone(), member.clone());
                tokio::spawn(async move {
                    joining::admit(&directory, &member, id).await;
                    drop(permit);
                });
                Ok(Reply::Done)
            }
        }
    }
}
