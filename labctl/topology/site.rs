//! The site as the rest of the program sees it: names are types, every reference is resolved, every default is filled
//! in. It knows nothing of YAML, files or the kernel; [`super::file`] makes it, and nobody else can make a wrong one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::names::{LabName, NetworkName, NodeName, ServiceName, Vrid};

/// A whole site: its networks, its nodes and what runs on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// The name that `labctl up` uses unless `--name` gives another.
    pub name: LabName,
    /// Every layer-2 network; each becomes one bridge in the fabric namespace.
    pub networks: BTreeMap<NetworkName, Ipv4Net>,
    /// Every node in the order of the file, so that output follows the author's order.
    pub nodes: Vec<Node>,
    /// The floating addresses and who elects their holder.
    pub failover: Option<Failover>,
    /// The virtual services of the proxies.
    pub balancer: Option<Balancer>,
    /// How the web nodes remember a conversation.
    pub conversation: Conversation,
}

/// One machine: a set of namespaces with a PID 1 of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Also its host name.
    pub name: NodeName,
    /// What it is for; decides its default services, routes and sysctls.
    pub role: Role,
    /// One interface a network, in the order of the file. The interface is named after its network.
    pub interfaces: Vec<Interface>,
    /// Next hop of its static default route, where it has one.
    pub gateway: Option<Ipv4Addr>,
    /// What its PID 1 starts.
    pub services: Vec<Service>,
}

/// A node's end of a veth pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The network it is plugged into, and its own name.
    pub network: NetworkName,
    /// Its own addresses. None at all means "up, but a zombie": it can hold a floating address and nothing else.
    pub addresses: Vec<Ipv4Addr>,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Somebody on the street who visits the site.
    Client,
    /// A server elsewhere on the street, for connections that leave the site.
    Remote,
    /// The provider's router.
    Router,
    /// A director: takes part in the election, holds the VIP when active, balances.
    Proxy,
    /// A real server that runs the conversation application.
    Web,
    /// A member of the replicated database.
    Db,
}

/// One process that a node's PID 1 starts and watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Unique on its node.
    pub name: ServiceName,
    /// What is run.
    pub run: Run,
    /// TCP ports that must be listened on before the node counts as ready.
    pub listen: Vec<u16>,
    /// What PID 1 does when it ends.
    pub restart: Restart,
}

/// The program behind a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Run {
    /// One of our own daemons, run as `labctl __role NAME`.
    Builtin(Builtin),
    /// Any program of the machine: argv, never a shell line.
    Command(Vec<String>),
}

/// Our own daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Builtin {
    /// VRRP: elects the holder of the floating addresses.
    Vrrpd,
    /// Health checks and the data plane's tables.
    Balancer,
    /// The conversation application.
    Web,
    /// A member of the embedded database.
    Db,
    /// Answers over HTTP with the address that it sees: the far end of outgoing connections.
    Whoami,
}

/// What PID 1 does when a service ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Start it again, whatever its exit status.
    #[default]
    Always,
    /// Start it again unless it ended with status 0.
    OnFailure,
    /// Leave it.
    Never,
}

/// The floating addresses, and the election that decides who holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failover {
    /// Virtual router identifier (RFC 9568 section 5.2.3).
    pub vrid: Vrid,
    /// The network that carries the advertisements.
    pub network: NetworkName,
    /// Advertisement interval (RFC 9568 section 6.1), 10 ms to 40.95 s in steps of 10 ms.
    pub advert_interval: Duration,
    /// Does a higher priority take over from a live holder (Preempt_Mode)?
    pub preempt: bool,
    /// The addresses that move with the Active role, in the order of the advertisement. Each belongs to one network.
    pub addresses: Vec<FloatingAddress>,
    /// Default route of the holder, by an interface that only the holder has an address on.
    pub holder_gateway: Option<Ipv4Addr>,
    /// Priority of each proxy, 1-254 (RFC 9568 section 5.2.4).
    pub priorities: BTreeMap<NodeName, u8>,
}

/// One address that moves with the Active role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingAddress {
    /// The interface that gets it.
    pub network: NetworkName,
    /// The address itself; its prefix length is that of the network.
    pub address: Ipv4Addr,
}

/// What the proxies balance, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balancer {
    /// The forwarding method.
    pub forward: Forward,
    /// Virtual services, each an address and port that clients use.
    pub services: Vec<VirtualService>,
}

/// Forwarding methods in the words of LVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// VS/NAT: the destination is rewritten, answers return through the director.
    Nat,
}

/// An address and port that clients use, and the real servers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualService {
    /// Unique in the file.
    pub name: ServiceName,
    /// The floating address that clients connect to.
    pub address: Ipv4Addr,
    /// The port that clients connect to.
    pub port: u16,
    /// Who gets the next new connection.
    pub scheduler: Scheduler,
    /// In order of node name.
    pub reals: Vec<RealServer>,
    /// Who is available.
    pub check: HealthCheck,
}

/// One machine that serves a virtual service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RealServer {
    /// The node.
    pub node: NodeName,
    /// Its address on the network that it shares with the proxies.
    pub address: Ipv4Addr,
    /// The port it listens on.
    pub port: u16,
    /// Relative share of new connections; 0 drains.
    pub weight: u32,
}

/// Who gets the next new connection. Names are those of `ipvsadm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin, in turn by weight.
    Rr,
    /// Source hashing: one client address always meets the same real server while that is up.
    Sh,
}

/// How a real server proves that it is available.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Time from one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Consecutive successes that take a server back.
    pub rise: u32,
    /// Consecutive failures that take it out.
    pub fall: u32,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// The TCP handshake completes.
    Tcp,
    /// `GET` of this path answers 2xx.
    Http(String),
}

/// How the web nodes remember a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Where turns are kept.
    pub memory: Memory,
    /// Port of the web application on the web nodes.
    pub web_port: u16,
    /// Port of the database on the database nodes.
    pub db_port: u16,
}

/// Where turns are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// In the web process only: the control case, which must lose the conversation.
    None,
    /// In the replicated database.
    Database,
}

impl Topology {
    /// The node of this name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| &node.name == name)
    }

    /// The nodes of one role, in the order of the file.
    pub fn nodes_of(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.role == role)
    }

    /// The prefix length of a network.
    ///
    /// # Panics
    /// If the network is unknown: a `Topology` has no unknown names.
    pub fn prefix_len(&self, network: &NetworkName) -> u8 {
        self.networks[network].prefix_len()
    }
}

impl Node {
    /// Its interface on a network.
    pub fn on(&self, network: &NetworkName) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| &interface.network == network)
    }

    /// Its first address on a network.
    pub fn address_on(&self, network: &NetworkName) -> Option<Ipv4Addr> {
        self.on(network)?.addresses.first().copied()
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Remote => "remote",
            Self::Router => "router",
            Self::Proxy => "proxy",
            Self::Web => "web",
            Self::Db => "db",
        })
    }
}

impl Builtin {
    /// The word after `labctl __role`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vrrpd => "vrrpd",
            Self::Balancer => "balancer",
            Self::Web => "web",
            Self::Db => "db",
            Self::Whoami => "whoami",
        }
    }
}
