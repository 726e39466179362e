//! What a data plane does for the daemon, whichever backend it has, and what it must be told to begin.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use ipnet::IpNet;

use super::Error;
pub use crate::balancer::forward::Counters as Stats;
use crate::balancer::{Endpoint, Flow, Service, Usage};

/// Connections that a director remembers unless it is told otherwise.
pub const FLOWS_MAX: u32 = 65_536;
/// The MTU of Ethernet.
pub const MTU: u16 = 1500;

/// Forwards packets to real servers, as the specification in `balancer/forward/` says. It starts without services and
/// does nothing until its [`super::Switch`] is on.
pub trait Plane: fmt::Debug + Send {
    /// Balances these services from now on, and no others. Each service changes at once as a whole; connections keep their real
    /// servers. After an error the old services go on, but for what was changed before it; the next call puts that right.
    fn install(&mut self, services: &[Service]) -> Result<(), Error>;

    /// What was counted so far.
    fn stats(&self) -> Result<Stats, Error>;

    /// What each real server (second) of each service (first) had to do.
    fn usage(&self) -> Result<BTreeMap<(Endpoint, Endpoint), Usage>, Error>;

    /// The connections that carry data, and who has them.
    fn flows(&self) -> Result<Vec<Flow>, Error>;

    /// Takes over connections that another director told of: those of services and real servers that it has. While it is
    /// active, what it has seen itself is newer than what it is told. Says how many those were.
    fn adopt(&mut self, flows: &[Flow]) -> Result<usize, Error>;

    /// Readable as soon as there are [fresh flows](Plane::fresh_flows); `None` if it was not set up to tell.
    fn fresh(&self) -> Option<BorrowedFd<'_>>;

    /// Connections that began to carry data since the last call.
    fn fresh_flows(&mut self) -> Result<Vec<Flow>, Error>;

    /// Counts the active connections anew, because some end out of sight: in silence, or by what the real server says, which
    /// in `tun` and `dr` passes elsewhere. Says how many there are. To be called every few seconds.
    fn recount(&mut self) -> Result<u64, Error>;

    /// What it works with.
    fn backend(&self) -> Backend;
}

/// What a plane works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// eBPF programs on tcx.
    Ebpf,
    /// Rules of nftables that track connections.
    Conntrack,
    /// None of them: requests are read and passed on.
    Http,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ebpf => "eBPF on tcx",
            Self::Conntrack => "nftables with connection tracking",
            Self::Http => "HTTP",
        })
    }
}

/// Where a plane works, and how much it may remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The interface that clients come in by.
    pub front: String,
    /// The interface that real servers are reached by. In `tun` and `dr` it may be the front.
    pub back: String,
    /// The networks that the director shares with the real servers, at most four: what stays in them is never rewritten.
    pub inside: Vec<IpNet>,
    /// The director's own address, from which tunnels over IPv4 come; without one, `tun` over IPv4 is left to the kernel.
    pub tunnel_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub tunnel_v6: Option<Ipv6Addr>,
    /// Bytes of the longest packet that may leave by the front.
    pub front_mtu: u16,
    /// Bytes of the longest packet that may leave by the back.
    pub back_mtu: u16,
    /// Connections to remember.
    pub flows_max: u32,
    /// Does it tell of [fresh flows](Plane::fresh_flows)?
    pub sync: bool,
}

impl Settings {
    /// Between these interfaces, with the usual MTUs and tables, without tunnels and without telling.
    pub fn between(front: impl Into<String>, back: impl Into<String>) -> Self {
        Self {
            front: front.into(),
            back: back.into(),
            inside: Vec::new(),
            tunnel_v4: None,
            tunnel_v6: None,
            front_mtu: MTU,
            back_mtu: MTU,
            flows_max: FLOWS_MAX,
            sync: false,
        }
    }
}
