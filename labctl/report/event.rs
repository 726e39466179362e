//! What happened, when, and where: the one language between whoever sees something and whoever reports it. Daemons
//! emit these, the holder keeps them, a drill writes them to `events.jsonl`, and every report is rendered from them.
//! It knows nothing of how an event travels.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::drill::Drill;
use crate::topology::Role;

/// A point on the machine's monotonic clock in nanoseconds (`CLOCK_MONOTONIC`); all nodes of a lab share it.
pub type MonotonicNs = u64;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at_ns: MonotonicNs,
    /// The node it happened on; `None` for the lab itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Who says so: a service's name, `init`, `holder`, `drill` or `load`.
    pub source: String,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// The things that can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A service does its work from now on.
    Ready,
    /// PID 1 started a service.
    ServiceStarted {
        /// Process id inside the node.
        pid: i32,
    },
    /// A service ended.
    ServiceExited {
        /// `exit status 1`, `signal SIGKILL`.
        how: String,
    },
    /// A service cannot do its work, and ends.
    GaveUp {
        /// Why, in words for people.
        because: String,
    },
    /// PID 1 sent a service a signal because somebody asked for it.
    Signalled {
        /// Its name without `SIG`.
        signal: String,
    },
    /// Somebody broke or mended a cable of a node.
    Cable {
        /// Where it leads.
        network: String,
        /// What became of it.
        becomes: Cable,
    },
    /// Nodes cannot reach each other any more, or not the others, and all their links are up.
    Apart {
        /// The nodes.
        nodes: BTreeSet<String>,
        /// Whom they do not reach.
        from: ApartFrom,
        /// The networks on which that is so.
        networks: BTreeSet<String>,
    },
    /// All processes of a node hang, or go on.
    Hung {
        /// Whether they hang.
        hangs: bool,
    },
    /// Somebody emptied the disk of a node that was off.
    DiskWiped {
        /// Files and folders that were on it.
        entries: u64,
    },
    /// Somebody left a node's disk without room, or gave it its room back.
    DiskFull {
        /// Whether it is full.
        full: bool,
    },
    /// Somebody took a floating address from an interface behind its daemon's back.
    AddressDeleted {
        /// The interface's network.
        network: String,
        /// The address.
        address: IpAddr,
    },
    /// A node's PID 1 runs.
    NodeUp,
    /// A node is gone.
    NodeDown {
        /// `powered off`, `killed`.
        how: String,
    },
    /// A VRRP instance changed its state (RFC 9568 section 6.4).
    VrrpState {
        /// Which virtual router.
        vrid: u8,
        /// The state before.
        from: String,
        /// The state now: `initialize`, `backup` or `active`.
        to: String,
        /// Why, in words for people.
        because: String,
    },
    /// An interface got a floating address.
    AddressAdded {
        /// The address.
        address: IpAddr,
    },
    /// An interface lost a floating address.
    AddressRemoved {
        /// The address.
        address: IpAddr,
    },
    /// Gratuitous ARP for a floating address left the interface, or an unsolicited neighbour advertisement.
    Announced {
        /// The address.
        address: IpAddr,
    },
    /// A database member sees a leader, or none.
    RaftLeader {
        /// Node name of the leader.
        leader: Option<String>,
        /// Raft term.
        term: u64,
    },
    /// A web's part in a memory of two changed.
    MemoryState {
        /// `paired`, `alone`, `joining` or `fenced`.
        state: String,
        /// Why, in words for people.
        because: String,
    },
    /// A web that remembers with another reaches the witness from now on, or does not any more.
    WitnessReached {
        /// Does it answer?
        answers: bool,
    },
    /// A real server gets new connections from now on.
    RealUp {
        /// Virtual service.
        service: String,
        /// Node name of the real server.
        real: String,
    },
    /// A real server gets no new connections from now on.
    RealDown {
        /// Virtual service.
        service: String,
        /// Node name of the real server.
        real: String,
        /// What its check said.
        because: String,
    },
    /// Every real server of a service is out, so all of them get new connections (fail open).
    FailOpen {
        /// Virtual service.
        service: String,
    },
    /// The balancer forwards (this node holds the VIP) or not.
    Balancing {
        /// Whether it does.
        active: bool,
        /// What with.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        backend: String,
    },
    /// A drill broke something on purpose.
    Fault {
        /// What it did, in the words of the drill file.
        action: String,
        /// To whom.
        target: String,
    },
    /// A drill begins. All that a report needs besides the other events, so that it can be rendered again.
    DrillBegan(Box<Began>),
    /// A drill is over. A record without this event was cut off.
    DrillEnded {
        /// Why it was given up; `None` if it came to its end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        aborted: Option<String>,
    },
    /// Something that a reader of the report should know, such as a measurement that was hampered.
    Note {
        /// In words for people.
        text: String,
    },
    /// What a node has used since it started, at this moment.
    Usage(Usage),
    /// A request of the load began and ended.
    Request {
        /// When it should have begun, by the timetable of the open loop.
        intended_ns: MonotonicNs,
        /// When it really began.
        started_ns: MonotonicNs,
        /// How it ended.
        outcome: Outcome,
        /// The conversation it belongs to, where it is a turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        conversation: Option<String>,
        /// Idempotency key of the turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The web node that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        served_by: Option<String>,
        /// Where the turn stands, from 0, as its acknowledgement said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u64>,
        /// The epoch of the conversation's owner, as the answer said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// Where what was acknowledged is kept, as the answer said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        durability: Option<String>,
    },
    /// A conversation was read in the middle of the load.
    Read {
        /// When it began.
        started_ns: MonotonicNs,
        /// How it ended. A web node that knows of no such conversation has told one without turns.
        outcome: Outcome,
        /// The conversation.
        conversation: String,
        /// The web node that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        served_by: Option<String>,
        /// The epoch of the conversation's owner, as the answer said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// How safe the answer is, as it said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        durability: Option<String>,
        /// Keys of its turns, in order, if it was answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keys: Option<Vec<String>>,
    },
    /// A 1 ms probe of the VIP was sent; `answered_ns` says when it came back.
    Probe {
        /// When it should have left.
        intended_ns: MonotonicNs,
        /// When it left.
        sent_ns: MonotonicNs,
        /// When its answer came, if it came.
        answered_ns: Option<MonotonicNs>,
    },
    /// The final transcript of a conversation was read back after the faults were over. A web node that knows of no such
    /// conversation has told one without turns.
    Transcript {
        /// The conversation.
        conversation: String,
        /// The web node that was asked.
        served_by: String,
        /// When it was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked_ns: Option<MonotonicNs>,
        /// Keys of its turns, in order.
        keys: Vec<String>,
    },
}

/// What a node has used since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What the node is for.
    pub role: Role,
    /// Process id of its PID 1, as the drill sees it: with another one it has been started anew.
    pub init: i32,
    /// Processor time of all its processes, those included that have ended.
    pub cpu_us: u64,
    /// Memory of all its processes; what several share counts in parts (PSS).
    pub memory_bytes: u64,
    /// Bytes that its processes wrote, to files and in some programs to sockets.
    #[serde(default)]
    pub written_bytes: u64,
    /// Bytes that came in by its interfaces.
    pub received_bytes: u64,
    /// Bytes that left by its interfaces.
    pub sent_bytes: u64,
}

/// What can become of a cable between a node and a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cable {
    /// The node's end is taken down: both sides see no carrier.
    Down,
    /// The node's end is brought up, and the static route that left by it is there again.
    Up,
    /// The network lets nothing through to the node or from it, and both sides see a carrier.
    Partition,
    /// The end of that.
    Heal,
}

/// Whom nodes that were cut off do not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApartFrom {
    /// Everybody else; they reach each other.
    TheRest,
    /// Each other; they reach everybody else.
    EachOther,
}

/// The circumstances of a drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Began {
    /// What is done, and what must hold.
    pub drill: Drill,
    /// The calendar's time, for people.
    pub started_at: Timestamp,
    /// Name of the lab.
    pub lab: String,
    /// The machine, in words for people: kernel and processors.
    pub machine: String,
    /// Version of this program.
    pub version: String,
    /// The address that is probed and that the load goes to.
    pub vip: Ipv4Addr,
    /// The web nodes behind it, each of which should tell the same in the end.
    pub webs: BTreeSet<String>,
    /// The node that held it at the beginning.
    pub holder: Option<String>,
    /// The leader of the databases at the beginning.
    pub leader: Option<String>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Acknowledged: the turn counts from now on.
    Ok,
    /// No answer in time.
    Timeout,
    /// The connection was refused.
    Refused,
    /// The connection was reset or closed in the middle.
    Reset,
    /// No route, or no neighbour answered.
    Unreachable,
    /// An answer with this HTTP status other than success.
    Status(u16),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok => f.pad("ok"),
            Self::Timeout => f.pad("timeout"),
            Self::Refused => f.pad("refused"),
            Self::Reset => f.pad("reset"),
            Self::Unreachable => f.pad("unreachable"),
            Self::Status(code) => write!(f, "status {code}"),
        }
    }
}
