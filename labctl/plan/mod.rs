//! What must exist, what exists, and the steps from one to the other. Pure: [`between`] is the one function behind
//! `up` (apply it), `status` (print it), `--dry-run` and the return of a node; everything that a [`Step`] can change,
//! an [`Observed`] can show.

mod between;
mod step;
mod wanted;

pub use between::{apply, between};
pub use step::Step;
pub use wanted::{STATIC_METRIC, Wanted, WantedNode, tunnel_mss};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::topology::{NetworkName, NodeName};

/// A default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Its next hop.
    pub gateway: IpAddr,
    /// The largest TCP segment that the node asks its peers for (`advmss`), where that is less than its own link takes.
    pub mss: Option<u32>,
}

/// In the words of `ip route`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gateway.fmt(f)?;
        self.mss.map_or(Ok(()), |mss| write!(f, " advmss {mss}"))
    }
}

/// What exists, as seen in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Bridges in the fabric.
    pub bridges: BTreeSet<NetworkName>,
    /// Nodes that have a network namespace.
    pub nodes: BTreeMap<NodeName, ObservedNode>,
}

/// What exists of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedNode {
    /// Loopback is up.
    pub loopback_up: bool,
    /// Addresses of loopback and their prefix lengths, but for those that every machine has.
    pub loopback: BTreeSet<(IpAddr, u8)>,
    /// Its cables.
    pub interfaces: BTreeMap<NetworkName, ObservedInterface>,
    /// Default routes and their metrics. Those with another metric than ours are a daemon's business.
    pub routes: BTreeSet<(Route, u32)>,
    /// Its PID 1 runs.
    pub running: bool,
}

/// What exists of one cable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedInterface {
    /// The node's end is up.
    pub up: bool,
    /// Address and prefix length. The link-local ones of IPv6 are the kernel's, and not here.
    pub addresses: BTreeSet<(IpAddr, u8)>,
    /// The network lets nothing through, although there is a carrier.
    pub cut: bool,
}

#[cfg(test)]
mod tests;
