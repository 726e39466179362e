//! The site as the rest of the program sees it: names are types, every reference is resolved, every default is filled
//! in. It knows nothing of YAML, files or the kernel; [`super::file`] makes it, and nobody else can make a wrong one.

mod balanced;
mod placed;
mod stored;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use balanced::*;
pub use placed::*;
pub use stored::*;

use super::names::{LabName, NetworkName, NodeName, ServiceName, Vrid};

/// A whole site: its networks, its nodes and what runs on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// The name that `labctl up` uses unless `--name` gives another.
    pub name: LabName,
    /// Every layer-2 network; each becomes one bridge in the fabric namespace.
    pub networks: BTreeMap<NetworkName, Ipv4Net>,
    /// The IPv6 prefixes of those networks that have one. Every network has an IPv4 prefix.
    pub networks6: BTreeMap<NetworkName, Ipv6Net>,
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
    /// The same for IPv6.
    pub gateway6: Option<Ipv6Addr>,
    /// What its PID 1 starts.
    pub services: Vec<Service>,
    /// What all that runs on it may use together.
    #[serde(default)]
    pub limits: Limits,
}

/// A node's end of a veth pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The network it is plugged into, and its own name.
    pub network: NetworkName,
    /// Its own addresses. None at all means "up, but a zombie": it can hold a floating address and nothing else.
    pub addresses: Vec<Ipv4Addr>,
    /// Its own IPv6 addresses, beside the link-local one that the kernel gives to every interface with IPv6.
    pub addresses6: Vec<Ipv6Addr>,
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
    /// The same by the machine's keepalived, with a configuration written for the site.
    Keepalived,
    /// The same by FRRouting's zebra and vrrpd.
    Frr,
    /// Health checks, and the data plane's tables or the layer-7 director.
    Balancer,
    /// Balancing by HAProxy, with a configuration written for the site.
    Haproxy,
    /// The same by nginx.
    Nginx,
    /// The same by the kernel's IPVS, which keepalived looks after.
    Ipvs,
    /// The conversation application.
    Web,
    /// A member of the embedded database.
    Db,
    /// The third voter of two webs that remember for each other.
    Witness,
    /// A member of etcd, with a configuration written for the site.
    Etcd,
    /// A Redis, primary or replica.
    Redis,
    /// Who watches it, and chooses another primary.
    Sentinel,
    /// Who runs PostgreSQL, and chooses its primary.
    Patroni,
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
    /// How long a router that could take over from a live holder waits first, counted from when it started.
    pub preempt_delay: Duration,
    /// The IPv4 addresses that move with the Active role, in the order of the advertisement. Each belongs to one network.
    pub addresses: Vec<FloatingAddress>,
    /// The IPv6 addresses of the same virtual router, which is an instance of its own (RFC 9568 section 1.2). The
    /// link-local one that the advertisement begins with is derived from the VRID unless it is given here.
    pub addresses6: Vec<FloatingAddress6>,
    /// Default route of the holder, by an interface that only the holder has an address on.
    pub holder_gateway: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub holder_gateway6: Option<Ipv6Addr>,
    /// Priority of each proxy, 1-255 (RFC 9568 section 5.2.4).
    pub priorities: BTreeMap<NodeName, u8>,
    /// Further virtual routers of the same proxies, each elected by itself unless `sync` says otherwise.
    pub more: Vec<VirtualRouter>,
    /// Do all virtual routers of a proxy change their state together?
    pub sync: bool,
    /// Which program takes part in the election on each proxy.
    pub engines: BTreeMap<NodeName, Engine>,
    /// Nothing but the RFC, or what we add to it.
    pub profile: Profile,
    /// What is spoken on the wire.
    pub version: VrrpVersion,
    /// What the checksum of a VRRPv3 advertisement over IPv4 covers.
    pub checksum: Checksum,
    /// With which hardware address the floating addresses answer.
    pub mac: MacMode,
    /// Does the holder accept packets to the floating addresses although it does not own them (Accept_Mode)?
    pub accept: bool,
    /// Must the holder's daemon renew a permit in the kernel, without which the addresses fall silent?
    pub lease: bool,
    /// Are advertisements sent to each other proxy by itself instead of to the group?
    pub unicast: bool,
    /// What lowers the priority of a proxy, or takes it out of the election.
    pub checks: Vec<TrackCheck>,
}

/// One address that moves with the Active role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingAddress {
    /// The interface that gets it.
    pub network: NetworkName,
    /// The address itself; its prefix length is that of the network.
    pub address: Ipv4Addr,
}

/// One IPv6 address that moves with the Active role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingAddress6 {
    /// The interface that gets it.
    pub network: NetworkName,
    /// The address itself; its prefix length is that of the network, and 64 for a link-local one.
    pub address: Ipv6Addr,
}

/// A further virtual router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualRouter {
    /// Unique among the virtual routers of the file.
    pub name: ServiceName,
    /// Unique too.
    pub vrid: Vrid,
    /// Its IPv4 addresses.
    pub addresses: Vec<FloatingAddress>,
    /// Its IPv6 addresses.
    pub addresses6: Vec<FloatingAddress6>,
    /// Priority of each proxy.
    pub priorities: BTreeMap<NodeName, u8>,
}

/// A program that takes part in an election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Ours.
    #[default]
    Labctl,
    /// keepalived.
    Keepalived,
    /// FRRouting.
    Frr,
}

/// How closely our daemon keeps to the RFC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Two silences before taking, make before break, lateness rule.
    #[default]
    Lab,
    /// RFC 9568 and nothing else.
    Rfc9568,
}

/// The versions of VRRP that are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VrrpVersion {
    /// RFC 3768.
    #[serde(rename = "2")]
    V2,
    /// RFC 9568.
    #[default]
    #[serde(rename = "3")]
    V3,
    /// Both, as RFC 9568 section 8.4 has it for a network that is being upgraded.
    #[serde(rename = "2+3")]
    Both,
}

/// What the checksum of a VRRPv3 advertisement over IPv4 covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The message alone (RFC 9568 section 5.2.8).
    #[default]
    Message,
    /// A pseudo-header too, as keepalived and FRRouting have it by default.
    PseudoHeader,
}

/// The hardware address behind a floating address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacMode {
    /// That of the interface; neighbours learn of a new holder by gratuitous ARP.
    #[default]
    Physical,
    /// 00-00-5E-00-01-VRID or 00-00-5E-00-02-VRID (RFC 9568 section 7.3), on a macvlan.
    Virtual,
}

/// Something whose failure counts against a proxy in the election.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackCheck {
    /// Unique among the checks.
    pub name: ServiceName,
    /// What is asked.
    pub probe: TrackProbe,
    /// By how much the priority is lowered while it fails; `None` takes the proxy out of the election.
    pub weight: Option<u8>,
    /// Time from one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Consecutive successes that end a failure.
    pub rise: u32,
    /// Consecutive failures that begin one.
    pub fall: u32,
}

/// What a tracked check asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackProbe {
    /// Whether the balancer of this proxy has an available real server for every virtual service.
    Balancer,
    /// A program: exit status 0 is a success.
    Command(Vec<String>),
}

/// How the web nodes remember a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Where turns are kept.
    pub memory: Memory,
    /// Which databases keep them, where databases do.
    #[serde(default)]
    pub engine: StoreEngine,
    /// Port of the web application on the web nodes.
    pub web_port: u16,
    /// Port of the embedded database on the database nodes.
    pub db_port: u16,
    /// Which webs remember for each other; with [`Memory::Peer`] alone.
    pub peers: Option<Peers>,
}

/// Where turns are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// In the web process only: the control case, which must lose the conversation.
    None,
    /// In the replicated database.
    Database,
    /// In both web processes, and in no database.
    Peer,
}

/// Two webs that remember for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// The two, in the order of their names.
    pub webs: [NodeName; 2],
    /// The network on which they and the witness talk; all three have an address there.
    pub network: NetworkName,
    /// The port on which the first hears the second.
    pub port: u16,
    /// What one of them may do that has lost the other.
    pub degrade: Degrade,
    /// The node that keeps the record of who has everything; with [`Degrade::Witness`] it has the third vote.
    pub witness: NodeName,
    /// Its port.
    pub witness_port: u16,
}

/// Whether a web may go on that has lost its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Degrade {
    /// No: it refuses until the peer is back.
    Never,
    /// With a lease from the witness, which gives it to one of the two.
    #[default]
    Witness,
    /// Yes. If both live and do not hear each other, both go on, and what one of them took in is lost.
    Always,
}

impl Failover {
    /// RFC 9568 section 6.1.
    pub const ADVERT_DEFAULT: Duration = Duration::from_secs(1);

    /// An election with the default settings, in which nobody takes part yet, about no address yet.
    pub fn new(vrid: Vrid, network: NetworkName) -> Self {
        Self {
            vrid,
            network,
            advert_interval: Self::ADVERT_DEFAULT,
            preempt: true,
            preempt_delay: Duration::ZERO,
            addresses: Vec::new(),
            addresses6: Vec::new(),
            holder_gateway: None,
            holder_gateway6: None,
            priorities: BTreeMap::new(),
            more: Vec::new(),
            sync: false,
            engines: BTreeMap::new(),
            profile: Profile::default(),
            version: VrrpVersion::default(),
            checksum: Checksum::default(),
            mac: MacMode::default(),
            accept: true,
            lease: true,
            unicast: false,
            checks: Vec::new(),
        }
    }
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

    /// The prefix length of an address on a network: that of the network in its family, and 64 for a link-local one.
    pub fn prefix_len_of(&self, network: &NetworkName, address: IpAddr) -> u8 {
        const LINK_LOCAL: u8 = 64;
        let v6 = |address: Ipv6Addr| self.networks6.get(network).filter(|net| net.contains(&address));
        match address {
            IpAddr::V4(_) => self.prefix_len(network),
            IpAddr::V6(address) => v6(address).map_or(LINK_LOCAL, Ipv6Net::prefix_len),
        }
    }

    /// Does this node speak IPv6: because it has an address or a route of it, or may win one?
    pub fn has_ipv6(&self, node: &Node) -> bool {
        let own = node.interfaces.iter().any(|interface| !interface.addresses6.is_empty());
        let elected = || node.role == Role::Proxy && self.failover.as_ref().is_some_and(Failover::has_ipv6);
        own || node.gateway6.is_some() || elected()
    }
}

impl Interface {
    /// Its own addresses of both families.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.addresses.iter().copied().map(IpAddr::V4);
        v4.chain(self.addresses6.iter().copied().map(IpAddr::V6))
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

    /// Its first IPv6 address on a network.
    pub fn address6_on(&self, network: &NetworkName) -> Option<Ipv6Addr> {
        self.on(network)?.addresses6.first().copied()
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
            Self::Keepalived => "keepalived",
            Self::Frr => "frr",
            Self::Balancer => "balancer",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Ipvs => "ipvs",
            Self::Web => "web",
            Self::Db => "db",
            Self::Witness => "witness",
            Self::Etcd => "etcd",
            Self::Redis => "redis",
            Self::Sentinel => "sentinel",
            Self::Patroni => "patroni",
            Self::Whoami => "whoami",
        }
    }
}
