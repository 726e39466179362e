//! What must exist, what exists, and the steps from one to the other. Pure: [`between`] is the one function behind
//! `up` (apply it), `status` (print it), `--dry-run` and the return of a node; everything that a [`Step`] can change,
//! an [`Observed`] can show.

mod between;
mod step;
mod wanted;

pub use between::{apply, between};
pub use step::Step;
pub use wanted::{STATIC_METRIC, Wanted, WantedNode};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::topology::{NetworkName, NodeName};

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
    /// Its cables.
    pub interfaces: BTreeMap<NetworkName, ObservedInterface>,
    /// Default routes: next hop and metric. Those with another metric than ours are a daemon's business.
    pub routes: BTreeSet<(IpAddr, u32)>,
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
