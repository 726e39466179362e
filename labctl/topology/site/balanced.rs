//! What is balanced, by what and to whom, as the rest of the program sees it: part of the site. It knows nothing of files,
//! packets or the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Builtin, Topology};
use crate::topology::names::{NodeName, ServiceName};

/// What the proxies balance, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balancer {
    /// The forwarding method.
    pub forward: Forward,
    /// The program that balances.
    pub engine: BalancerEngine,
    /// What our own engine forwards packets with.
    pub backend: Backend,
    /// Do directors tell each other of their connections?
    pub sync: bool,
    /// Virtual services, each an address and port that clients use.
    pub services: Vec<VirtualService>,
}

impl Balancer {
    /// Must it run eBPF programs, so that who may not can only refuse?
    pub fn needs_ebpf(&self) -> bool {
        let ours = self.engine == BalancerEngine::Labctl && self.forward != Forward::Proxy;
        let forwards = match self.backend {
            Backend::Ebpf => true,
            Backend::Auto => self.beyond_nft().is_some(),
            Backend::Nft => false,
        };
        // Real servers open their tunnels by eBPF, whoever sent the packets.
        ours && forwards || self.forward == Forward::Tun
    }

    /// What of this the backend of nftables cannot do, in the words of the file; nothing if it can do it all.
    pub fn beyond_nft(&self) -> Option<String> {
        if self.forward != Forward::Nat {
            return Some(format!("`forward: {}`", self.forward.word()));
        }
        let counts =
            |it: &Scheduler| matches!(it, Scheduler::Lc | Scheduler::Wlc | Scheduler::Sed | Scheduler::Nq);
        let beyond = self.services.iter().map(|service| service.scheduler).find(counts)?;
        Some(format!("`scheduler: {}`", beyond.word()))
    }
}

/// Forwarding methods: three of LVS, and a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// VS/NAT: the destination is rewritten, answers return through the director.
    Nat,
    /// VS/TUN: packets travel in a tunnel, real servers may be anywhere and answer the client directly.
    Tun,
    /// VS/DR: real servers on the same switch, which answer the client directly.
    Dr,
    /// Layer 7: the director answers clients itself, and asks a real server for each request.
    Proxy,
}

/// The program that balances on the proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BalancerEngine {
    /// Ours.
    #[default]
    Labctl,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// Destination NAT with connection tracking, by `nft`.
    Nft,
    /// IPVS, by keepalived.
    Ipvs,
}

/// What our own engine forwards packets with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// eBPF where the kernel lets us, else nftables.
    #[default]
    Auto,
    /// eBPF on tcx.
    Ebpf,
    /// nftables.
    Nft,
}

/// What runs over IP between clients and a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// An address and port that clients use, and the real servers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualService {
    /// Unique in the file.
    pub name: ServiceName,
    /// The floating address that clients connect to.
    pub address: IpAddr,
    /// The port that clients connect to.
    pub port: u16,
    /// Whose port.
    pub protocol: Protocol,
    /// Who gets the next new connection.
    pub scheduler: Scheduler,
    /// In order of node name.
    pub reals: Vec<RealServer>,
    /// Who is available.
    pub check: HealthCheck,
    /// How long a real server that comes back takes to get its whole share; zero for at once.
    pub slow_start: Duration,
    /// Does everybody get connections when nobody is available?
    pub fail_open: bool,
    /// What a layer-7 director goes by before the scheduler; empty for the other methods.
    pub layer7: Layer7,
}

/// What a layer-7 director looks at in a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer7 {
    /// The cookie that keeps a visitor with a real server.
    pub sticky: Option<String>,
    /// The first rule that a request meets says who may answer it.
    pub rules: Vec<Rule>,
}

/// Requests that belong to some of the real servers. All that is given must be met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The host that is asked for, without a port, in lower case.
    pub host: Option<String>,
    /// What the path begins with, by whole segments.
    pub path: Option<String>,
    /// A header and its value.
    pub header: Option<(String, String)>,
    /// A cookie and its value.
    pub cookie: Option<(String, String)>,
    /// Who may answer, in order of node name.
    pub reals: Vec<NodeName>,
}

/// One machine that serves a virtual service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RealServer {
    /// The node.
    pub node: NodeName,
    /// Its own address, by which a director reaches it: on a network that it shares with the proxies, but for `tun`.
    pub address: IpAddr,
    /// The port it listens on.
    pub port: u16,
    /// Relative share of new connections; 0 drains.
    pub weight: u32,
}

/// Who gets the next new connection. Names are those of `ipvsadm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin, in turn; a weight only says whether a server takes part.
    Rr,
    /// Weighted round robin, in turn by weight.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Source hashing: one client address always meets the same real server while that is up.
    Sh,
    /// Maglev hashing of the client's address and port.
    Mh,
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
    /// A program on the proxy, given the real server in LABCTL_REAL_NODE, LABCTL_REAL_ADDRESS and LABCTL_REAL_PORT: exit
    /// status 0 is a success.
    Command(Vec<String>),
}

impl Topology {
    /// The addresses of services that a node answers for itself, past the director: it must have them, and must not answer
    /// ARP for them.
    pub fn served_directly(&self, node: &NodeName) -> BTreeSet<IpAddr> {
        let balancer = self.balancer.iter().filter(|balancer| balancer.forward.answers_directly());
        let services = balancer.flat_map(|balancer| &balancer.services);
        let behind = |service: &&VirtualService| service.reals.iter().any(|real| &real.node == node);
        services.filter(behind).map(|service| service.address).collect()
    }
}

impl Forward {
    /// Its word in a topology.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Tun => "tun",
            Self::Dr => "dr",
            Self::Proxy => "proxy",
        }
    }

    /// Do real servers answer clients themselves, from the address of the service, without the director?
    pub fn answers_directly(self) -> bool {
        matches!(self, Self::Tun | Self::Dr)
    }
}

impl Scheduler {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Rr, Self::Wrr, Self::Lc, Self::Wlc, Self::Sed, Self::Nq, Self::Sh, Self::Mh];

    /// Its word in a topology, which is that of IPVS too.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Sh => "sh",
            Self::Mh => "mh",
        }
    }
}

impl BalancerEngine {
    /// The service that runs it. Destination NAT by `nft` has our own health checks.
    pub fn service(self) -> Builtin {
        match self {
            Self::Labctl | Self::Nft => Builtin::Balancer,
            Self::Haproxy => Builtin::Haproxy,
            Self::Nginx => Builtin::Nginx,
            Self::Ipvs => Builtin::Ipvs,
        }
    }

    /// Its word in a topology.
    pub fn word(self) -> &'static str {
        match self {
            Self::Labctl => "labctl",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Nft => "nft",
            Self::Ipvs => "ipvs",
        }
    }
}
