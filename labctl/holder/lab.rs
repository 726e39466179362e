//! The owner of a lab's state: one thread, one queue of inputs, no locks. It decides nothing about order or content of
//! the network (the plan does) and says nothing to people (commands do).

mod cable;
mod disk;
mod grave;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use super::network::{self, Network};
use super::node::{self, Exit, Home, Running, log_path};
use super::protocol::{Answer, NodeState, NodeStatus, Request, Status};
use super::record::Record;
use super::shares::Shares;
use super::tripwire;
use crate::kernel::{cgroup, clock};
use crate::plan::{Observed, Step, Wanted, between};
use crate::report::{Event, What};
use crate::roles::init::Order;
use crate::topology::{LabName, Limits, NetworkName, NodeName, Topology};
use grave::Grave;

/// What the owner is told.
#[derive(Debug)]
pub enum Input {
    /// Somebody in the lab saw something.
    Event(Box<Event>),
    /// A node's PID 1 ended.
    Exit(Exit),
    /// A client asks.
    Request {
        /// What.
        request: Request,
        /// Descriptors that came with it.
        descriptors: Vec<OwnedFd>,
        /// Where the reply goes.
        reply: SyncSender<Reply>,
    },
    /// The `labctl up` that started this lab says: keep it.
    Commit,
    /// The `labctl up` that started this lab is gone before it said so.
    Abandoned,
}

impl From<Exit> for Input {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

/// What a client is told.
#[derive(Debug)]
pub struct Reply {
    /// The first line.
    pub answer: Answer,
    /// Descriptors that go with it.
    pub descriptors: Vec<OwnedFd>,
    /// Lines after it.
    pub past: Vec<Arc<Event>>,
    /// And those to come.
    pub follow: Option<Receiver<Arc<Event>>>,
    /// The lab ends once the answer is out; told by dropping the other end.
    pub last_words: Option<SyncSender<()>>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, descriptors: Vec::new(), past: Vec::new(), follow: None, last_words: None }
    }
}

/// Why a lab does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A node.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] cgroup::Error),
    /// A name that the topology does not have.
    #[error("the lab has no node {name}; it has {known}")]
    NoSuchNode {
        /// The name.
        name: NodeName,
        /// All that there are.
        known: String,
    },
    /// A node that is not running cannot be asked for anything.
    #[error("{0} is down; `labctl power on {0}` starts it")]
    NodeIsDown(NodeName),
    /// It is on already.
    #[error("{0} is up already")]
    NodeIsUp(NodeName),
    /// It has no cable to that.
    #[error("{node} is not on {network}")]
    NotPlugged {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// There is no address to take away.
    #[error("{node} holds no floating address on {network}")]
    HoldsNothing {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// Isolation knows one group a network.
    #[error("on {network}, {node} is cut off from another node already; `heal` it first")]
    CutAlready {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// Nodes that have nothing to do with each other.
    #[error("there is no network on which these nodes could be cut off")]
    NothingBetween,
    /// The disk of a node that runs is its own.
    #[error("{0} is up; `labctl power off {0}` first")]
    DiskInUse(NodeName),
    /// The disk does not take what is done to it.
    #[error("{act} of {node}")]
    Disk {
        /// What was tried.
        act: &'static str,
        /// The node.
        node: NodeName,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A descriptor cannot be handed out.
    #[error("open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No tripwires.
    #[error(transparent)]
    Tripwire(#[from] tripwire::Error),
}

impl Error {
    /// None of these has that name.
    pub fn no_such_node<'a>(name: &NodeName, known: impl Iterator<Item = &'a NodeName>) -> Self {
        let known: Vec<&str> = known.map(NodeName::as_str).collect();
        Self::NoSuchNode { name: name.clone(), known: known.join(", ") }
    }
}

/// A lab.
#[derive(Debug)]
pub struct Lab {
    name: LabName,
    topology: Topology,
    network: Network,
    shares: Shares,
    /// Nodes that are switched on.
    on: BTreeSet<NodeName>,
    running: BTreeMap<NodeName, Running>,
    /// How those that are not running went down.
    down: BTreeMap<NodeName, String>,
    /// Dead nodes that are still to be cleared away.
    graves: BTreeMap<NodeName, Grave>,
    record: Record,
    lives: u64,
    disks: PathBuf,
    logs: PathBuf,
    events: UnixDatagram,
    inputs: SyncSender<Input>,
}

impl Lab {
    /// A lab with an empty network. Disks and logs go below `home`; `events` is the end that nodes write to.
    pub fn new(
        name: LabName,
        topology: Topology,
        network: Network,
        home: &Path,
        events: UnixDatagram,
        inputs: SyncSender<Input>,
    ) -> Self {
        Self {
            on: topology.nodes.iter().map(|node| node.name.clone()).collect(),
            name,
            topology,
            network,
            shares: Shares::default(),
            running: BTreeMap::new(),
            down: BTreeMap::new(),
            record: Record::default(),
            lives: 0,
            graves: BTreeMap::new(),
            disks: home.join("disks"),
            logs: home.join("logs"),
            events,
            inputs,
        }
    }

    /// The network part of it, and what its nodes may use.
    pub fn build(&mut self) -> Result<(), Error> {
        self.shares = Shares::make(&self.name, &self.topology)?;
        self.take_steps(None)
    }

    /// The steps that concern one node. Whatever else differs was broken on purpose, and stays so.
    fn settle(&mut self, node: &NodeName) -> Result<(), Error> {
        self.take_steps(Some(node))
    }

    /// Those of one node, or all.
    fn take_steps(&mut self, of: Option<&NodeName>) -> Result<(), Error> {
        let (wanted, observed) = self.compare()?;
        let mut steps = between(&wanted, &observed);
        steps.retain(|step| of.is_none() || step.node() == of);
        for step in &steps {
            if let Step::StopNode { node } = step
                && let Some(running) = self.running.remove(node)
            {
                running.kill()?;
            }
        }
        self.network.carry_out(&wanted, &steps)?;
        self.network.wait_for_carrier(of)?;
        Ok(())
    }

    /// The nodes' part of it.
    pub fn start_nodes(&mut self) -> Result<(), Error> {
        let asleep: Vec<NodeName> = self
            .topology
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .filter(|name| self.on.contains(name) && !self.running.contains_key(name))
            .collect();
        for name in asleep {
            self.start_node(&name)?;
        }
        Ok(())
    }

    fn start_node(&mut self, name: &NodeName) -> Result<(), Error> {
        let Some(netns) = self.network.node(name) else { return Ok(()) };
        self.lives += 1;
        let fabric = self.network.fabric();
        let doors = self.topology.node(name).map_or(Ok(Vec::new()), |node| self.shares.doors(node))?;
        let (disks, logs, events) = (&self.disks, &self.logs, &self.events);
        let home = Home { disks, logs, events, fabric, doors: &doors };
        let running = Running::start(name, self.lives, &self.topology, netns, &home, self.inputs.clone())?;
        self.running.insert(name.clone(), running);
        self.down.remove(name);
        Ok(())
    }

    fn compare(&mut self) -> Result<(Wanted, Observed), Error> {
        let wanted = Wanted::with(&self.topology, |name| self.on.contains(name));
        let observed = self.network.observe(|name| self.running.contains_key(name), &wanted.floating)?;
        Ok((wanted, observed))
    }

    /// Takes an event into the record.
    pub fn remember(&mut self, event: Event) {
        self.record.add(event);
    }

    fn note(&mut self, node: &NodeName, what: What) {
        let node = Some(node.to_string());
        self.record.add(Event { at_ns: clock::monotonic_ns(), node, source: "holder".to_owned(), what });
    }

    /// A node's PID 1 ended without being told to. A machine without PID 1 is a dead machine: its kernel must not go
    /// on answering for its addresses.
    pub fn node_ended(&mut self, exit: &Exit) -> Result<(), Error> {
        match self.running.get(&exit.node) {
            Some(running) if running.life == exit.life => {}
            _ => return Ok(()),
        }
        let last_words = last_line(&log_path(&self.logs, &exit.node));
        let how = match last_words.filter(|line| line.starts_with("init:")) {
            Some(line) => format!("{}, {line}", exit.how),
            None => exit.how.clone(),
        };
        self.network.silence(&exit.node, None)?;
        self.running.remove(&exit.node);
        self.bury(&exit.node, &how, None);
        Ok(())
    }

    /// Answers a client.
    pub fn answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Reply {
        self.try_answer(request, descriptors).unwrap_or_else(|error| Answer::Refused(chain(&error)).into())
    }

    fn try_answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Result<Reply, Error> {
        Ok(match request {
            Request::Topology => Answer::Topology(Box::new(self.topology.clone())).into(),
            Request::Status => {
                let status = self.status()?;
                let mut reply = Reply::from(Answer::Status(Box::new(status)));
                reply.descriptors = self.pidfds();
                reply
            }
            Request::Holders => Answer::Holders(self.holders()?).into(),
            Request::Enter { node } => {
                let pidfd = duplicate(self.running(&node)?.pidfd().as_fd(), Path::new("pidfd"))?;
                Reply { descriptors: vec![pidfd], ..Answer::Done.into() }
            }
            Request::Log { node } => {
                self.known(&node)?;
                let path = log_path(&self.logs, &node);
                let file = File::open(&path).map_err(|source| Error::Open { path, source })?;
                Reply { descriptors: vec![file.into()], ..Answer::Done.into() }
            }
            Request::Events { follow } => {
                let past = self.record.events();
                let follow = follow.then(|| self.record.follow());
                Reply { past, follow, ..Answer::Done.into() }
            }
            Request::PowerOff { node } => {
                self.running(&node)?;
                // The election's own link first: a machine that loses its power does not say goodbye on the one link because
                // the other has just failed.
                let first = self.topology.failover.as_ref().map(|failover| failover.network.clone());
                self.network.silence(&node, first.as_ref())?;
                self.freeze(&node, "powered off")?;
                Answer::Done.into()
            }
            Request::Kill { node } => {
                self.kill(&node, "killed")?;
                Answer::Done.into()
            }
            Request::PowerOn { node } => {
                self.known(&node)?;
                if self.running.contains_key(&node) {
                    return Err(Error::NodeIsUp(node));
                }
                self.power_on(&node)?;
                Answer::Done.into()
            }
            Request::Order { node, order } => {
                self.order(&node, &order)?;
                Answer::Done.into()
            }
            Request::Cable { node, network, becomes } => {
                self.change_cable(&node, &network, becomes)?;
                Answer::Done.into()
            }
            Request::SetApart { nodes, from, network } => {
                self.set_apart(&nodes, from, network.as_ref())?;
                Answer::Done.into()
            }
            Request::Hang { node, hangs } => {
                self.running(&node)?.hang(hangs)?;
                self.note(&node, What::Hung { hangs });
                Answer::Done.into()
            }
            Request::Disk { node, becomes } => {
                self.change_disk(&node, becomes)?;
                Answer::Done.into()
            }
            Request::DeleteFloating { node, network } => {
                self.delete_floating(&node, &network)?;
                Answer::Done.into()
            }
            Request::Tie => match descriptors.first() {
                Some(watcher) => Answer::Tied(self.network.tie(watcher.as_fd())?).into(),
                None => Answer::Refused("no network namespace was sent along".to_owned()).into(),
            },
            Request::Down => Answer::Done.into(),
        })
    }

    /// Half a node is worse than none: if it cannot come up, it is off.
    fn power_on(&mut self, node: &NodeName) -> Result<(), Error> {
        self.clear_away(node)?;
        self.on.insert(node.clone());
        let up = self.settle(node).and_then(|()| self.start_node(node));
        if up.is_err() {
            self.on.remove(node);
            self.running.remove(node);
            let _ = self.settle(node);
        }
        up
    }

    fn order(&mut self, node: &NodeName, order: &Order) -> Result<(), Error> {
        Ok(self.running(node)?.order(order)?)
    }

    fn known(&self, name: &NodeName) -> Result<(), Error> {
        if self.topology.node(name).is_some() {
            return Ok(());
        }
        Err(Error::no_such_node(name, self.topology.nodes.iter().map(|node| &node.name)))
    }

    fn running(&self, name: &NodeName) -> Result<&Running, Error> {
        self.known(name)?;
        self.running.get(name).ok_or_else(|| Error::NodeIsDown(name.clone()))
    }

    /// One for each node that is up, in order; they stop at the first that cannot be had, so that none is taken for
    /// another's.
    fn pidfds(&self) -> Vec<OwnedFd> {
        let running = self.topology.nodes.iter().filter_map(|node| self.running.get(&node.name));
        running.map_while(|running| running.pidfd().as_fd().try_clone_to_owned().ok()).collect()
    }

    fn holders(&mut self) -> Result<Vec<NodeName>, Error> {
        let Some(failover) = &self.topology.failover else { return Ok(Vec::new()) };
        let Some(public) = failover.public() else { return Ok(Vec::new()) };
        let mut holders = Vec::new();
        // A dead one that is not cleared away yet may have it still.
        let candidates = failover.priorities.keys().filter(|name| self.running.contains_key(*name));
        for candidate in candidates {
            if self.network.has_address(candidate, public)? {
                holders.push(candidate.clone());
            }
        }
        Ok(holders)
    }

    /// What the lab is like now.
    pub fn status(&mut self) -> Result<Status, Error> {
        self.clear_all_away()?;
        let (wanted, observed) = self.compare()?;
        let waiting_for = super::ready::waiting_for(&super::ready::Facts {
            topology: &self.topology,
            observed: &observed,
            listening: &self.network.listening()?,
            record: &self.record,
            down: &self.down,
        });
        let nodes = self.topology.nodes.iter().map(|node| self.node_status(node, &observed)).collect();
        Ok(Status {
            lab: self.name.clone(),
            holder_pid: None,
            waiting_for,
            vip_holders: super::ready::holders(&self.topology, &observed),
            raft_leader: self.record.leader(),
            nodes,
            drift: between(&wanted, &observed).iter().map(ToString::to_string).collect(),
        })
    }

    fn node_status(&self, node: &crate::topology::Node, observed: &Observed) -> NodeStatus {
        let seen = observed.nodes.get(&node.name);
        let interfaces = seen.into_iter().flat_map(|seen| &seen.interfaces);
        let addresses = interfaces.map(|(network, interface)| {
            (network.clone(), interface.addresses.iter().map(|(address, _)| *address).collect())
        });
        let mut default_routes: Vec<_> = seen
            .into_iter()
            .flat_map(|seen| &seen.routes)
            .map(|(route, metric)| (route.gateway, *metric))
            .collect();
        default_routes.sort_by_key(|&(_, metric)| metric);
        let services = node
            .services
            .iter()
            .map(|service| (service.name.clone(), self.record.service(&node.name, &service.name)));
        NodeStatus {
            name: node.name.clone(),
            role: node.role,
            state: match self.running.contains_key(&node.name) {
                true => NodeState::Up,
                false => NodeState::Down {
                    how: self.down.get(&node.name).cloned().unwrap_or("not started".into()),
                },
            },
            pid: None,
            addresses: addresses.collect(),
            default_routes,
            services: services.collect(),
            limits: (node.limits != Limits::default()).then_some(node.limits),
            counters: self.shares.counters(node),
        }
    }
}

/// What a log ends with, as far as its last few hundred bytes tell.
fn last_line(path: &Path) -> Option<String> {
    const TAIL_BYTES: u64 = 400;
    let mut file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    String::from_utf8_lossy(&tail).lines().next_back().map(str::to_owned)
}

fn duplicate(fd: std::os::fd::BorrowedFd, path: &Path) -> Result<OwnedFd, Error> {
    fd.try_clone_to_owned().map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
