//! A drill in which nothing can be wrong any more: [`super::parse`] makes it from a file, and the events of a drill
//! carry it, so that a report can be rendered again without the file. It knows neither YAML nor the lab.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::{optional, required};
use serde::{Deserialize, Serialize};

use crate::topology::{DrillName, NetworkName, NodeName, ServiceName, Topology};

/// A fault injection exercise: a site under load, faults on a timetable, and what must still hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Also the name of its report's folder.
    pub name: DrillName,
    /// The site, relative to the drill file.
    pub topology: PathBuf,
    /// Who uses the site meanwhile.
    pub load: Load,
    /// From the first turn on the timetable to the last.
    #[serde(with = "required")]
    pub duration: Duration,
    /// In order of time.
    pub faults: Vec<Fault>,
    /// What must hold for the drill to pass.
    pub expect: Expect,
}

/// An open loop: its timetable does not wait for slow answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Conversations held at the same time.
    pub conversations: u32,
    /// Turns per second of all conversations together.
    pub turns_per_s: u32,
    /// How long an answer may take before the attempt counts as failed, at most [`super::TIMEOUT_MAX`].
    #[serde(with = "required")]
    pub timeout: Duration,
    /// From one probe of the VIP to the next.
    #[serde(with = "required")]
    pub probe_interval: Duration,
    /// Of each hundred turns, so many are followed by a read of the whole conversation, from another of the client's addresses.
    #[serde(default)]
    pub reads_percent: u32,
}

/// One thing broken, or mended, on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// After the first turn on the timetable.
    #[serde(with = "required")]
    pub at: Duration,
    /// What is done.
    pub action: Action,
    /// To whom; who is named first is hit first.
    #[serde(rename = "target", with = "one_or_many")]
    pub targets: Vec<Target>,
}

/// What is done to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Its links go down first, then everything on it dies: silence.
    PowerOff,
    /// A node that was off starts.
    PowerOn,
    /// Everything on it dies while its links are up: peers may hear resets.
    KillNode,
    /// SIGKILL for one of its services.
    KillService(ServiceName),
    /// SIGTERM for one of its services, which may then leave in good order.
    Stop(ServiceName),
    /// Any other signal for one of its services; those that no process can refuse reach all processes of it.
    Signal(ServiceName, Signal),
    /// Its end of a cable is taken down: no carrier on either side.
    LinkDown(NetworkName),
    /// The end of that.
    LinkUp(NetworkName),
    /// A network lets nothing through to it or from it, and both sides see a carrier.
    Partition(NetworkName),
    /// The end of that, on this network or on all: everybody reaches the node again.
    Heal(Option<NetworkName>),
    /// On this network or on all, nothing gets through between these nodes and all others; among themselves they reach each
    /// other, and their links are up.
    Split(Option<NetworkName>),
    /// On this network or on all, nothing gets through from one of these nodes to another; everybody else reaches them.
    CutLink(Option<NetworkName>),
    /// All processes of it hang; its kernel and its connections stay.
    Freeze,
    /// They go on.
    Thaw,
    /// The disk of a node that is off is emptied.
    WipeDisk,
    /// Its disk has no room any more.
    FillDisk,
    /// Its disk has room again.
    FreeDisk,
    /// The floating addresses that it holds on a network are deleted behind its daemon's back.
    DeleteAddress(NetworkName),
}

/// The signals that say something to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Hang, all of it.
    Stop,
    /// Go on, all of it.
    Cont,
    /// Read the configuration again.
    Hup,
    /// Die at once, all of it.
    Kill,
    /// Leave in good order.
    Term,
    /// Whatever the daemon makes of it.
    Usr1,
    /// Whatever the daemon makes of it.
    Usr2,
}

/// Which node, possibly known only when the fault is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Word", into = "Word")]
pub enum Target {
    /// The node that holds the VIP at that time.
    Holder,
    /// The leader of the databases at that time.
    RaftLeader,
    /// A database that follows the leader at that time, the first by name.
    RaftFollower,
    /// The web that acknowledged the last turn before.
    ServingWeb,
    /// The nodes that the fault before this one hit.
    Same,
    /// This node.
    Node(NodeName),
}

/// The serialised form of [`Target`]: one word, which `holder` and its like are well-formed node names for.
#[derive(Serialize, Deserialize)]
struct Word(NodeName);

impl From<Word> for Target {
    fn from(Word(name): Word) -> Self {
        match name.as_str() {
            "holder" => Self::Holder,
            "raft-leader" => Self::RaftLeader,
            "raft-follower" => Self::RaftFollower,
            "serving-web" => Self::ServingWeb,
            "same" => Self::Same,
            _ => Self::Node(name),
        }
    }
}

impl From<NodeName> for Target {
    fn from(name: NodeName) -> Self {
        Word(name).into()
    }
}

impl From<Target> for Word {
    fn from(target: Target) -> Self {
        Self(target.to_string().parse().expect("each word of a target is a well-formed name"))
    }
}

/// A list of one is written as that one, as it was before there were lists.
mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Target;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(Target),
        Many(Vec<Target>),
    }

    pub(super) fn serialize<S: Serializer>(targets: &[Target], into: S) -> Result<S::Ok, S::Error> {
        match targets {
            [one] => one.serialize(into),
            many => many.serialize(into),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Target>, D::Error> {
        Ok(match OneOrMany::deserialize(from)? {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        })
    }
}

/// What must hold for a drill to pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// The longest that probes of the VIP may stay unanswered.
    #[serde(with = "required")]
    pub outage_max: Duration,
    /// The longest time of the timetable without an acknowledged turn; unchecked if absent.
    #[serde(with = "optional", default, skip_serializing_if = "Option::is_none")]
    pub pause_max: Option<Duration>,
    /// The slowest acknowledged turn but one in a hundred, from its place on the timetable; unchecked if absent.
    #[serde(with = "optional", default, skip_serializing_if = "Option::is_none")]
    pub p99_max: Option<Duration>,
    /// Acknowledged turns that may be missing from the transcripts in the end.
    pub lost_turns: u64,
    /// Acknowledged turns that must be missing in the end: a control that keeps them all proves nothing by losing none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_turns_min: Option<u64>,
    /// Whether one order must explain every answer, or none may, as of a control.
    #[serde(default = "yes")]
    pub consistent: bool,
    /// Turns that may be in a transcript more than once.
    pub duplicate_turns: u64,
    /// Turns of the timetable that may stay without an acknowledgement for good.
    pub unacknowledged_turns: u64,
    /// Attempts that the site must refuse with 503, as one does that cannot keep what it is told; unchecked if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals_min: Option<u64>,
    /// The VIP moves at least so often.
    pub holder_changes_min: u64,
    /// The VIP moves at most so often; unchecked if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_changes_max: Option<u64>,
    /// At most so many nodes have the VIP on an interface at one time; unchecked if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders_max: Option<u64>,
    /// Turns that must be acknowledged before the first fault and after each, or the drill has shown nothing.
    pub acknowledged_min: u64,
}

impl Load {
    /// How many turns are on a timetable of this length: turn `n` is due `n / turns_per_s` after the first.
    pub fn turns_within(&self, duration: Duration) -> u64 {
        let turns = (duration.as_nanos() * u128::from(self.turns_per_s)).div_ceil(1_000_000_000);
        u64::try_from(turns).unwrap_or(u64::MAX)
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            conversations: 8,
            turns_per_s: 100,
            timeout: Duration::from_secs(1),
            probe_interval: Duration::from_millis(1),
            reads_percent: 0,
        }
    }
}

/// What a drill expects that does not say otherwise, as those of older versions do not.
fn yes() -> bool {
    true
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            outage_max: Duration::from_secs(1),
            pause_max: None,
            p99_max: None,
            lost_turns: 0,
            lost_turns_min: None,
            consistent: true,
            duplicate_turns: 0,
            unacknowledged_turns: 0,
            refusals_min: None,
            holder_changes_min: 0,
            holder_changes_max: None,
            holders_max: None,
            acknowledged_min: 20,
        }
    }
}

impl Action {
    /// The word in a drill file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::PowerOff => "power-off",
            Self::PowerOn => "power-on",
            Self::KillNode => "kill-node",
            Self::KillService(_) => "kill-service",
            Self::Stop(_) => "stop",
            Self::Signal(..) => "signal",
            Self::LinkDown(_) => "link-down",
            Self::LinkUp(_) => "link-up",
            Self::Partition(_) => "partition",
            Self::Heal(_) => "heal",
            Self::Split(_) => "split",
            Self::CutLink(_) => "cut-link",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::WipeDisk => "wipe-disk",
            Self::FillDisk => "fill-disk",
            Self::FreeDisk => "free-disk",
            Self::DeleteAddress(_) => "delete-address",
        }
    }

    /// The service that it is about.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::KillService(service) | Self::Stop(service) | Self::Signal(service, _) => Some(service),
            _ => None,
        }
    }

    /// The network that it is about.
    pub fn network(&self) -> Option<&NetworkName> {
        match self {
            Self::LinkDown(network)
            | Self::LinkUp(network)
            | Self::Partition(network)
            | Self::DeleteAddress(network) => Some(network),
            Self::Heal(network) | Self::Split(network) | Self::CutLink(network) => network.as_ref(),
            _ => None,
        }
    }

    /// Whether it is done to a node that is off, which holds and leads nothing.
    pub fn wants_dead(&self) -> bool {
        matches!(self, Self::PowerOn | Self::WipeDisk)
    }
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Stop, Self::Cont, Self::Hup, Self::Kill, Self::Term, Self::Usr1, Self::Usr2];

    /// The word in a drill file: its name without `SIG`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "STOP",
            Self::Cont => "CONT",
            Self::Hup => "HUP",
            Self::Kill => "KILL",
            Self::Term => "TERM",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Signal(service, signal) => write!(f, " {service} {}", signal.word()),
            action => {
                let service = action.service().map(ServiceName::as_str);
                service.or(action.network().map(NetworkName::as_str)).map_or(Ok(()), |it| write!(f, " {it}"))
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder => f.pad("holder"),
            Self::RaftLeader => f.pad("raft-leader"),
            Self::RaftFollower => f.pad("raft-follower"),
            Self::ServingWeb => f.pad("serving-web"),
            Self::Same => f.pad("same"),
            Self::Node(name) => name.fmt(f),
        }
    }
}

/// What a drill asks of a site that the site does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// No such node.
    #[error("the fault at {at:?} is for node {node}, which {topology} does not have")]
    NoSuchNode {
        /// When it is due.
        at: Duration,
        /// Whom it is for.
        node: NodeName,
        /// The site's name.
        topology: String,
    },
    /// The node has no such service.
    #[error("the fault at {at:?} is for service {service}, which {node} does not run")]
    NoSuchService {
        /// When it is due.
        at: Duration,
        /// The node.
        node: NodeName,
        /// The service.
        service: ServiceName,
    },
    /// The node has no such cable.
    #[error("the fault at {at:?} is for network {network}, which {node} is not on")]
    NotPlugged {
        /// When it is due.
        at: Duration,
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// The site has no such network.
    #[error("the fault at {at:?} is for network {network}, which {topology} does not have")]
    NoSuchNetwork {
        /// When it is due.
        at: Duration,
        /// The network.
        network: NetworkName,
        /// The site's name.
        topology: String,
    },
    /// Nothing to hold a VIP, or nothing behind it.
    #[error("{topology} has no {what}, so the load has nowhere to go")]
    NoService {
        /// The site's name.
        topology: String,
        /// What is missing.
        what: &'static str,
    },
}

impl Drill {
    /// Everything that this drill needs and the site lacks; empty if it fits.
    pub fn misfits(&self, topology: &Topology) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        let site = || topology.name.to_string();
        if topology.balancer.as_ref().is_none_or(|balancer| balancer.services.is_empty()) {
            misfits.push(Misfit::NoService { topology: site(), what: "virtual service" });
        }
        if topology.nodes_of(crate::topology::Role::Client).next().is_none() {
            misfits.push(Misfit::NoService { topology: site(), what: "client node" });
        }
        for fault in &self.faults {
            if let Some(network) = fault.action.network().filter(|it| !topology.networks.contains_key(*it)) {
                let (at, network) = (fault.at, network.clone());
                misfits.push(Misfit::NoSuchNetwork { at, network, topology: site() });
                continue;
            }
            misfits.extend(fault.targets.iter().flat_map(|target| target_misfits(fault, target, topology)));
        }
        misfits
    }
}

/// What a fault asks of one of its targets and the site does not have.
fn target_misfits(fault: &Fault, target: &Target, topology: &Topology) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    let Target::Node(name) = target else { return misfits };
    let Some(node) = topology.node(name) else {
        let topology = topology.name.to_string();
        return vec![Misfit::NoSuchNode { at: fault.at, node: name.clone(), topology }];
    };
    if let Some(network) = fault.action.network().filter(|network| node.on(network).is_none()) {
        let (node, network) = (name.clone(), network.clone());
        misfits.push(Misfit::NotPlugged { at: fault.at, node, network });
    }
    let missing = |service: &&ServiceName| !node.services.iter().any(|running| &running.name == *service);
    if let Some(service) = fault.action.service().filter(missing) {
        misfits.push(Misfit::NoSuchService { at: fault.at, node: name.clone(), service: service.clone() });
    }
    misfits
}
