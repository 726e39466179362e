//! What people and commands ask of a balancer, and what it answers: one line of JSON each way. It does not know how a line
//! travels.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::balancer::Usage;
use crate::topology::{Forward, Protocol, Scheduler, ServiceName};

/// Most connections in one answer.
pub const CONNECTIONS_MAX: usize = 4096;

/// A line to the balancer. Whoever says nothing and hangs up is told its [`Account`](super::account::Account).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// All services and what became of them so far.
    Listing {
        /// Name connections, too.
        connections: bool,
    },
    /// Do something else from now on.
    Change(Change),
}

/// A change of one real server of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The service.
    pub service: ServiceName,
    /// Where the real server listens.
    pub real: SocketAddr,
    /// What is to become of it.
    pub becomes: Becomes,
}

/// What is to become of a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Becomes {
    /// Another share of new connections; 0 drains.
    Weight(u32),
    /// One that was not there before.
    Added {
        /// Its name: the same on every director, since tables are made from it.
        name: String,
        /// Its share of new connections.
        weight: u32,
    },
    /// None any more: its connections break.
    Removed,
}

/// A line from the balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What was asked for.
    Listing(Box<Listing>),
    /// It is done, and in force.
    Changed(Changed),
    /// It makes no sense here; nothing changed.
    Refused(String),
    /// The data plane did not do it.
    Failed(String),
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The name of the real server.
    pub real: String,
    /// Its share of new connections before; `None` if it was not there.
    pub was: Option<u32>,
    /// Its share of new connections now; `None` if it is there no more.
    pub now: Option<u32>,
    /// The connections that it had at the moment of the change, as far as a director knows that balances; others do not see
    /// connections end.
    pub connections: Option<u64>,
}

/// All services of one balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// When this was said, by the monotonic clock.
    pub at_ns: u64,
    /// Its node has the virtual address, so it balances.
    pub active: bool,
    /// What forwards the packets.
    pub backend: String,
    /// Why that.
    pub because: String,
    /// How packets get to the real servers.
    pub forward: Forward,
    /// In the order of the topology.
    pub services: Vec<ListedService>,
    /// What the data plane counted since it was started, by name.
    pub counters: BTreeMap<String, u64>,
    /// What went between this director and others; empty without flow sync.
    pub sync: BTreeMap<String, ListedPeer>,
    /// The connections that it remembers, if they were asked for.
    pub connections: Option<ListedConnections>,
}

/// One virtual service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedService {
    /// Its name.
    pub name: ServiceName,
    /// Where clients connect to.
    pub address: SocketAddr,
    /// Whose port that is.
    pub protocol: Protocol,
    /// Who gets the next new connection.
    pub scheduler: Scheduler,
    /// Nobody who has a weight is well, so everybody who has one gets connections.
    pub fail_open: bool,
    /// In order of name.
    pub reals: Vec<ListedReal>,
}

/// One real server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedReal {
    /// Its name: that of its node, unless nobody knows it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of new connections.
    pub weight: u32,
    /// Its checks say that it is well.
    pub up: bool,
    /// It came back a short while ago and does not get its whole share yet.
    pub warming: bool,
    /// Connections that it has now.
    pub active: u64,
    /// Connections that are over, or silent for long, and not forgotten yet.
    pub inactive: u64,
    /// Connections given to it.
    pub connections: u64,
    /// Packets to it.
    pub packets_in: u64,
    /// Packets from it; in tun and dr they pass elsewhere.
    pub packets_out: u64,
    /// Bytes to it.
    pub bytes_in: u64,
    /// Bytes from it; in tun and dr they pass elsewhere.
    pub bytes_out: u64,
}

impl ListedReal {
    /// Takes the data plane's numbers over; `remembered` counts its connections in the flow table.
    pub(super) fn count(&mut self, usage: Usage, remembered: u64) {
        self.active = usage.active;
        self.inactive = remembered.saturating_sub(usage.active);
        self.connections = usage.connections;
        (self.packets_in, self.packets_out) = (usage.packets_in, usage.packets_out);
        (self.bytes_in, self.bytes_out) = (usage.bytes_in, usage.bytes_out);
    }
}

/// What went between two directors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPeer {
    /// The other one's address.
    pub address: IpAddr,
    /// When it was last heard, in milliseconds before the listing; `None` if never.
    pub heard_ms_ago: Option<u64>,
    /// It told everything that it had, and nothing was lost since.
    pub complete: bool,
    /// Flows told to it.
    pub told: u64,
    /// Flows that it told.
    pub heard: u64,
    /// Of these, those that the data plane took over.
    pub adopted: u64,
    /// Datagrams of it that never came.
    pub lost: u64,
    /// Datagrams of it that came too late to count.
    pub late: u64,
    /// Datagrams of it that made no sense.
    pub malformed: u64,
}

/// Connections of the flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedConnections {
    /// How many there are.
    pub total: usize,
    /// At most [`CONNECTIONS_MAX`] of them.
    pub shown: Vec<ListedConnection>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedConnection {
    /// Whose ports these are.
    pub protocol: Protocol,
    /// Who connected.
    pub client: SocketAddr,
    /// To what.
    pub service: SocketAddr,
    /// Who serves it.
    pub real: SocketAddr,
}
