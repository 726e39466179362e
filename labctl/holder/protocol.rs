//! What is said over a lab's control socket: one request a connection, one JSON line each way, descriptors attached to
//! the first byte of an answer. The socket has an abstract address, so it leaves no file and ends with the holder.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::kernel::cgroup::Counters;
pub use crate::report::{ApartFrom, Cable};
use crate::roles::init::Order;
use crate::topology::{LabName, Limits, NetworkName, NodeName, Role, ServiceName, Topology};

/// Every lab of a network namespace listens on this and its name.
pub const ADDRESS_PREFIX: &str = "labctl/";
/// Longest request line.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// The control address of a lab.
pub fn address(lab: &LabName) -> String {
    format!("{ADDRESS_PREFIX}{lab}")
}

/// What a client may ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Request {
    /// The topology that the lab was made of.
    Topology,
    /// What there is.
    Status,
    /// Who has the public floating address: the one question that is worth asking hundreds of times a second.
    Holders,
    /// A descriptor of a node's PID 1.
    Enter {
        /// The node.
        node: NodeName,
    },
    /// A descriptor of a node's log.
    Log {
        /// The node.
        node: NodeName,
    },
    /// All events so far, and those to come if `follow`: one JSON line each after the answer.
    Events {
        /// Stay connected.
        follow: bool,
    },
    /// Cut a node's cables, kill it and unplug it: its peers see silence.
    PowerOff {
        /// The node.
        node: NodeName,
    },
    /// Kill a node's PID 1 and with it all its processes, cables still in: its peers see what a dying kernel sends.
    Kill {
        /// The node.
        node: NodeName,
    },
    /// Plug a node in again and start it, its disk as it was.
    PowerOn {
        /// The node.
        node: NodeName,
    },
    /// Break or mend one of a node's cables.
    Cable {
        /// The node.
        node: NodeName,
        /// Where the cable leads.
        network: NetworkName,
        /// What becomes of it.
        becomes: Cable,
    },
    /// Cut nodes off, from all others or from each other, links up. Healing their cables mends it.
    SetApart {
        /// The nodes.
        nodes: Vec<NodeName>,
        /// From whom.
        from: ApartFrom,
        /// Where; on every network without it.
        network: Option<NetworkName>,
    },
    /// Have all processes of a node hang or go on, its kernel and its cables as they are.
    Hang {
        /// The node.
        node: NodeName,
        /// Which of the two.
        hangs: bool,
    },
    /// Do something to a node's disk.
    Disk {
        /// The node.
        node: NodeName,
        /// What.
        becomes: Disk,
    },
    /// Take the floating addresses of a network from a node behind its daemon's back.
    DeleteFloating {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// An order for a node's PID 1.
    Order {
        /// The node.
        node: NodeName,
        /// The order.
        order: Order,
    },
    /// Tie a cable from each network namespace of the lab into the one that is sent along: when those cables are gone,
    /// so are the namespaces.
    Tie,
    /// End the lab.
    Down,
}

/// What may be done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// Emptied; the node must be off.
    Wiped,
    /// Left without room for one byte more.
    Full,
    /// Given its room back.
    Free,
}

/// The first line of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Done,
    /// Refused, and why, for people.
    Refused(String),
    /// The topology.
    Topology(Box<Topology>),
    /// What there is.
    Status(Box<Status>),
    /// Who has the public floating address in the kernel.
    Holders(Vec<NodeName>),
    /// Cables were tied from the namespaces of these, in order.
    Tied(Vec<String>),
}

/// What a lab is like at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the lab.
    pub lab: LabName,
    /// Process id of its holder, as the reader sees it; filled in by the client.
    pub holder_pid: Option<i32>,
    /// What keeps it from being ready; empty if it is.
    pub waiting_for: Vec<String>,
    /// Who has the public floating address, in the kernel's own words.
    pub vip_holders: Vec<NodeName>,
    /// Whom the databases follow.
    pub raft_leader: Option<NodeName>,
    /// Every node, in the order of the file.
    pub nodes: Vec<NodeStatus>,
    /// What differs from the topology, as steps that would mend it.
    pub drift: Vec<String>,
}

impl Status {
    /// One node of it.
    pub fn node(&self, name: &NodeName) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| &node.name == name)
    }

    /// Whether everything is there that the topology names, and works.
    pub fn is_ready(&self) -> bool {
        self.waiting_for.is_empty()
    }
}

/// What a node is like at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// What it is for.
    pub role: Role,
    /// `up`, or how it went down.
    pub state: NodeState,
    /// Process id of its PID 1, as the reader sees it; filled in by the client.
    pub pid: Option<i32>,
    /// Addresses in the kernel, floating ones included.
    pub addresses: BTreeMap<NetworkName, Vec<IpAddr>>,
    /// Default routes in the kernel, the one that counts first: next hop and metric.
    pub default_routes: Vec<(IpAddr, u32)>,
    /// Its services.
    pub services: BTreeMap<ServiceName, ServiceStatus>,
    /// What it may use, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What the kernel counted of that since the lab is up, whether the node was off meanwhile or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
}

/// Whether a node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum NodeState {
    /// Its PID 1 runs.
    Up,
    /// It does not.
    Down {
        /// `powered off`, `killed`, `signal SIGKILL`.
        how: String,
    },
}

/// What is known of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its process runs.
    pub running: bool,
    /// It says that it works.
    pub ready: bool,
    /// How often it was started.
    pub starts: u32,
    /// How it last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// What else it last said: `active`, `leader db2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

/// What `labctl up` tells the holder that it starts.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartSpec {
    /// Name of the lab.
    pub lab: LabName,
    /// What to build.
    pub topology: Topology,
    /// How long it may take to be ready.
    pub ready_within_ms: u64,
}

/// What the holder tells the `labctl up` that waits for it, one JSON line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Progress {
    /// Packets pass on every cable.
    Network {
        /// How long it took.
        took_us: u64,
    },
    /// Not ready yet.
    Waiting {
        /// What for.
        waiting_for: Vec<String>,
    },
    /// Everything works.
    Ready {
        /// How long it took from the beginning.
        took_us: u64,
    },
    /// Somebody else was faster: a lab of that name is up.
    Taken,
    /// It cannot be done; the holder is gone after this line.
    Failed {
        /// The error and its causes, outermost first.
        because: String,
    },
}
