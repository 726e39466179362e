//! The memory of two webs: the state machine of `conversation::peer` in a task of its own, with a clock, a line to the other
//! web and one to the witness. It decides nothing about conversations, and knows nothing of HTTP.
#![expect(
    clippy::disallowed_methods,
    reason = "a process is told from its earlier lives by the time of its start"
)]

mod keeper;
mod line;
mod voter;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::keeper::{Keeper, Question};
use super::memory::{Claim, Worth};
use crate::conversation::peer::{
    Answer, Config, Degrade, Durability, Incarnation, Member, Refusal, Reply, Side, State,
};
use crate::conversation::{Command, ConversationId, Outcome, Transcript};
use crate::roles::{Reporter, Site};
use crate::topology::{self, NodeName, Peers, Topology};

/// Most questions that wait for the keeper, beyond those in its own hands. The application lets in fewer.
const QUESTIONS_MAX: usize = 256;
/// Most things heard that wait for the keeper; a full queue holds up whoever sends.
const HEARD_MAX: usize = 256;

/// A memory in two webs.
pub(super) struct Peer {
    webs: [NodeName; 2],
    questions: mpsc::Sender<Question>,
    state: watch::Receiver<State>,
    /// Ended with this value.
    _tasks: JoinSet<()>,
}

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The site does not say who remembers for whom.
    #[error("{0} has no part in a memory of two webs")]
    NoPart(NodeName),
    /// The port for the other web cannot be listened on.
    #[error("listen on {address} for the other web")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The clock of the machine is before 1970.
    #[error("tell this start of the web from earlier ones: the machine's clock is before 1970")]
    Clock,
}

/// Where everybody is.
struct Places {
    side: Side,
    mine: SocketAddr,
    other: SocketAddr,
    witness: SocketAddr,
}

impl Places {
    fn of(topology: &Topology, peers: &Peers, me: &NodeName) -> Option<Self> {
        let at = |node: &NodeName, port| {
            let address = topology.node(node)?.address_on(&peers.network)?;
            Some(SocketAddr::new(address.into(), port))
        };
        let [first, second] = &peers.webs;
        let (side, other) = if me == first { (Side::First, second) } else { (Side::Second, first) };
        let places = Self {
            side,
            mine: at(me, peers.port)?,
            other: at(other, peers.port)?,
            witness: at(&peers.witness, peers.witness_port)?,
        };
        peers.webs.contains(me).then_some(places)
    }
}

impl Peer {
    /// Begins with nothing, and looks for the other web.
    pub(super) async fn open(site: &Site, reporter: &Reporter) -> Result<Self, PeerError> {
        let no_part = || PeerError::NoPart(site.me.clone());
        let peers = site.topology.conversation.peers.as_ref().ok_or_else(no_part)?;
        let places = Places::of(&site.topology, peers, &site.me).ok_or_else(no_part)?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| PeerError::Clock)?;
        let incarnation = Incarnation(u64::try_from(started.as_nanos()).map_err(|_| PeerError::Clock)?);
        let me = Member { side: places.side, incarnation };
        let config = Config::lab(me, degrade(peers.degrade));

        // Everything in here ends when it is dropped.
        let mut tasks = JoinSet::new();
        let (to_keeper, heard) = mpsc::channel(HEARD_MAX);
        match places.side {
            Side::First => {
                let address = places.mine;
                let bound = TcpListener::bind(address).await;
                let listener = bound.map_err(|source| PeerError::Bind { address, source })?;
                tasks.spawn(line::listen(listener, places.other.ip(), to_keeper.clone()));
            }
            Side::Second => {
                tasks.spawn(line::dial(places.mine.ip(), places.other, to_keeper.clone()));
            }
        }
        let (asks, asked) = mpsc::channel(voter::ASKS_MAX);
        tasks.spawn(voter::ask(places.mine.ip(), places.witness, asked, to_keeper, reporter.clone()));
        let (questions, questioned) = mpsc::channel(QUESTIONS_MAX);
        let (says, state) = watch::channel(State::Joining);
        let keeper = Keeper::new(config, asks, says, reporter.clone());
        tasks.spawn(keeper.run(questioned, heard));
        Ok(Self { webs: peers.webs.clone(), questions, state, _tasks: tasks })
    }

    /// What a turn that is acknowledged now survives; nothing if none is.
    pub(super) fn durability(&self) -> Option<&'static str> {
        match *self.state.borrow() {
            State::Paired => Some(word(Durability::Pair)),
            State::Alone => Some(word(Durability::Solo)),
            State::Joining | State::Fenced => None,
        }
    }

    /// Whether it may answer, as far as it knows.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match *self.state.borrow() {
            State::Paired | State::Alone => Ok(()),
            state @ (State::Joining | State::Fenced) => Err(Refusal::NotServing(state)),
        }
    }

    /// Carries out a command.
    pub(super) async fn apply(&self, command: Command) -> Result<(Outcome, Worth), Refusal> {
        let (reply, worth) = self.ask(|answer| Question::Apply(command, answer)).await?;
        match reply {
            Reply::Outcome(outcome) => Ok((outcome, worth)),
            // The state machine answers what it was asked.
            Reply::Transcript(_) => Err(Refusal::Unknown),
        }
    }

    /// Reads a conversation.
    pub(super) async fn read(&self, id: ConversationId) -> Result<(Option<Arc<Transcript>>, Worth), Refusal> {
        let (reply, worth) = self.ask(|answer| Question::Read(id, answer)).await?;
        match reply {
            Reply::Transcript(transcript) => Ok((transcript, worth)),
            Reply::Outcome(_) => Err(Refusal::Unknown),
        }
    }

    async fn ask(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<Answer, Refusal>>) -> Question,
    ) -> Result<(Reply, Worth), Refusal> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(question(answer)).map_err(|_| Refusal::Busy)?;
        // A keeper that is gone took the answer with it.
        let answer = answered.await.unwrap_or(Err(Refusal::Unknown))?;
        let claim = answer.ownership.map(|ownership| Claim {
            epoch: ownership.epoch,
            owner: self.webs[match ownership.owner {
                Side::First => 0,
                Side::Second => 1,
            }]
            .clone(),
        });
        Ok((answer.reply, Worth { durability: word(answer.durability), claim }))
    }
}

/// As the header has it.
fn word(durability: Durability) -> &'static str {
    match durability {
        Durability::Pair => "pair",
        Durability::Solo => "solo",
    }
}

fn degrade(asked: topology::Degrade) -> Degrade {
    match asked {
        topology::Degrade::Never => Degrade::Never,
        topology::Degrade::Witness => Degrade::Witness,
        topology::Degrade::Always => Degrade::Always,
    }
}

#[cfg(test)]
mod tests;
