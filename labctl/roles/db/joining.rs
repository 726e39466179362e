//! How a database becomes a member of a cluster. A cluster is founded once: only the first database in the order of
//! names founds one, only on an empty disk, and only after every other database has said that it knows of none that
//! has begun. A database with an empty disk that finds a cluster joins it under a new identifier; what its old
//! self promised by votes and acknowledgements is forgotten, so its old self must never speak again.
//!
//! With fewer than all answers nothing is founded. An emptied disk therefore waits for its peers and cannot split
//! the site into two memories.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::{ChangeMembers, EmptyNode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::directory::{Directory, RaftId};
use super::link::Link;
use super::log::{Identity, Log, LogError};
use super::network::Links;
use super::protocol::{Ask, Census, ClusterId, Reply, Request};
use super::server::Member;
use crate::roles::random;

/// Time from one look around to the next; a lab that starts should not notice it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long another database may take to answer. One that is busy writing its identity needs a flush of the disk.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long a new member may take to get the log or a snapshot before it is asked to try again.
const ADMIT_MAX: Duration = Duration::from_secs(10);

/// Why a database cannot become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Its disk failed.
    #[error("keep the identity of a member")]
    Log(#[from] LogError),
    /// The machine has no randomness to give.
    #[error("read /dev/urandom for an identifier")]
    Random(#[source] io::Error),
}

/// A wish that this database become a founding member, and where to say that it is one.
pub(super) type Enrolment = (ClusterId, oneshot::Sender<()>);

/// What a database without identity does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait: to be enrolled by the founder, or for answers that are missing.
    Wait,
    /// Found a cluster; under this name if the founder had begun before it lost its disk.
    Found(Option<ClusterId>),
    /// Join the cluster that exists.
    Join(ClusterId),
}

/// Decides from what the others say. `None` is a database that did not answer.
pub(super) fn decide(place: usize, others: &[Option<Census>]) -> Step {
    let known = || others.iter().flatten();
    let begun = known().find(|census| census.founded).and_then(|census| census.cluster);
    match begun {
        Some(cluster) => Step::Join(cluster),
        None if place > 0 || others.contains(&None) => Step::Wait,
        None => Step::Found(known().find_map(|census| census.cluster)),
    }
}

/// What a database needs to look around.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// Who is who.
    pub directory: Arc<Directory>,
    /// The ways to them.
    pub links: Links,
    /// Our own place.
    pub place: usize,
}

impl Surroundings {
    fn others(&self) -> impl Iterator<Item = &Link> {
        let place = self.place;
        self.links.iter().enumerate().filter(move |(at, _)| *at != place).map(|(_, link)| link)
    }

    async fn census(&self) -> Vec<Option<Census>> {
        let mut answers = Vec::new();
        for link in self.others() {
            answers.push(match link.call(&Request::Census, ANSWER_MAX).await {
                Ok(Reply::Census(census)) => Some(census),
                _ => None,
            });
        }
        answers
    }

    /// Whether every other database is a member of this cluster now.
    async fn enrol_others(&self, cluster: ClusterId) -> bool {
        for link in self.others() {
            if !matches!(link.call(&Request::Enrol { cluster }, ANSWER_MAX).await, Ok(Reply::Enrolled)) {
                return false;
            }
        }
        true
    }

    /// Asks to be a voter. Any member passes it on to the leader.
    async fn ask_admission(&self, id: RaftId) {
        let request = Request::Leader { ask: Ask::Admit(id), forwarded: false };
        for link in self.others() {
            if matches!(link.call(&request, ANSWER_MAX).await, Ok(Reply::Done)) {
                return;
            }
        }
    }
}

/// Gives an empty disk its identity: founds a cluster, is enrolled into one, or finds one to join.
pub(super) async fn become_member(
    around: &Surroundings,
    log: &Log,
    enrolments: &mut mpsc::Receiver<Enrolment>,
) -> Result<Identity, JoinError> {
    let founding_id = around.directory.raft_id(around.place, 0);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let identity = tokio::select! {
            Some((cluster, done)) = enrolments.recv() => {
                let identity = Identity { cluster, id: founding_id };
                log.adopt(identity).await?;
                // The founder may have gone; it will ask again.
                let _ = done.send(());
                return Ok(identity);
            }
            _ = look.tick() => match decide(around.place, &around.census().await) {
                Step::Wait => continue,
                Step::Found(begun) => {
                    let cluster = begun.map_or_else(random::bytes, Ok).map_err(JoinError::Random)?;
                    tracing::info!("found a cluster, because no database knows of one");
                    Identity { cluster, id: founding_id }
                }
                Step::Join(cluster) => {
                    let generation = u32::from_be_bytes(random::bytes().map_err(JoinError::Random)?).max(1);
                    let id = around.directory.raft_id(around.place, generation);
                    tracing::warn!("join as new member {id}, because the disk is empty and a cluster exists");
                    Identity { cluster, id }
                }
            },
        };
        log.adopt(identity).await?;
        return Ok(identity);
    }
}

/// Brings a member to its vote: the founder begins the cluster once all are enrolled, a new member asks to be admitted.
/// Returns once this member is a voter.
pub(super) async fn settle(around: &Surroundings, member: &Member) {
    let founding_id = around.directory.raft_id(around.place, 0);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if member.has_vote(member.identity.id) {
            return;
        }
        if member.identity.id != founding_id {
            around.ask_admission(member.identity.id).await;
        } else if around.place == 0
            && !member.begun().await
            && around.enrol_others(member.identity.cluster).await
        {
            let founders = around.directory.founders().map(|id| (id, EmptyNode {}));
            let members: BTreeMap<_, _> = founders.collect();
            if let Err(error) = member.raft.initialize(members).await {
                tracing::error!("begin the cluster: {error}");
            }
        }
    }
}

/// The leader's part: the new member learns the log, then takes the vote of whoever had its seat.
pub(super) async fn admit(directory: &Directory, member: &Member, id: RaftId) {
    if member.has_vote(id) {
        // It has not yet heard of it and asks again.
        return;
    }
    let admission = async {
        member.raft.add_learner(id, EmptyNode {}, true).await?;
        let metrics = member.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let stays = |other: &RaftId| directory.place(*other) != directory.place(id);
        // Of two configurations the later one counts: the earlier may still name another seat's old identifier.
        let voters = membership.get_joint_config().last().into_iter().flatten().copied();
        let voters = voters.filter(stays).chain([id]).collect();
        // The old identifier leaves for good: it is not kept as a learner.
        member.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false).await?;
        // Neither is one that lost its disk again before it had a vote.
        let learners = membership.learner_ids().filter(|other| *other != id && !stays(other));
        match learners.collect::<BTreeSet<_>>() {
            stale if stale.is_empty() => Ok(()),
            stale => member.raft.change_membership(ChangeMembers::RemoveNodes(stale), false).await.map(drop),
        }
    };
    match timeout(ADMIT_MAX, admission).await {
        Ok(Ok(())) => tracing::info!("member {id} votes from now on"),
        Ok(Err(error)) => tracing::warn!("admit member {id}: {error}"),
        Err(_) => tracing::warn!("admit member {id}: it took too long"),
    }
}
