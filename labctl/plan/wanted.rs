//! What a topology wants of the kernel, spelled out: every address, route and setting of every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::topology::{NetworkName, Node, NodeName, Role, Topology};

/// Metric of a node's static default route. A daemon that has a better one for a while uses a lower metric, so that
/// the static one is there again by itself when the better one goes.
pub const STATIC_METRIC: u32 = 200;

/// What must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Bridges in the fabric, one a network.
    pub bridges: BTreeSet<NetworkName>,
    /// The nodes in the order of the file.
    pub nodes: Vec<WantedNode>,
    /// Addresses that move between nodes: whoever has them, it is none of the plan's business.
    pub floating: BTreeSet<Ipv4Addr>,
}

/// What must exist of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedNode {
    /// Its name.
    pub name: NodeName,
    /// `net.*` settings of its network namespace; `?` before a key means "where this kernel has it".
    pub settings: Vec<(String, String)>,
    /// Its cables, each with its own addresses and their prefix length.
    pub interfaces: BTreeMap<NetworkName, BTreeSet<(Ipv4Addr, u8)>>,
    /// Next hop of its static default route.
    pub gateway: Option<Ipv4Addr>,
}

impl Wanted {
    /// What a topology wants when all of its nodes run.
    pub fn of(topology: &Topology) -> Self {
        Self::with(topology, |_| true)
    }

    /// What a topology wants when those nodes run that `on` names.
    pub fn with(topology: &Topology, on: impl Fn(&NodeName) -> bool) -> Self {
        let floating = topology.failover.iter().flat_map(|failover| &failover.addresses);
        Self {
            bridges: topology.networks.keys().cloned().collect(),
            nodes: topology
                .nodes
                .iter()
                .filter(|node| on(&node.name))
                .map(|node| WantedNode::of(topology, node))
                .collect(),
            floating: floating.map(|floating| floating.address).collect(),
        }
    }

    /// One node of it.
    pub fn node(&self, name: &NodeName) -> Option<&WantedNode> {
        self.nodes.iter().find(|node| &node.name == name)
    }
}

impl WantedNode {
    fn of(topology: &Topology, node: &Node) -> Self {
        let interfaces = node.interfaces.iter().map(|interface| {
            let prefix_len = topology.prefix_len(&interface.network);
            let addresses = interface.addresses.iter().map(|&address| (address, prefix_len)).collect();
            (interface.network.clone(), addresses)
        });
        Self {
            name: node.name.clone(),
            settings: settings(node.role),
            interfaces: interfaces.collect(),
            gateway: node.gateway,
        }
    }
}

/// What every node needs, and what its role adds.
fn settings(role: Role) -> Vec<(String, String)> {
    let mut all = vec![
        // Topologies are IPv4 so far; duplicate address detection of link-local addresses would cost a second.
        ("?net.ipv6.conf.all.disable_ipv6", "1"),
        ("?net.ipv6.conf.default.disable_ipv6", "1"),
        // Routes of a proxy are asymmetric by design while roles swap.
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
        // An address is answered for on its own interface only: the VIP never on `back`, a back address never on `front`.
        ("net.ipv4.conf.all.arp_ignore", "1"),
        ("net.ipv4.conf.all.arp_announce", "2"),
        // The machine's default may be BBR, which without the fq queueing discipline halves throughput; of the others only
        // Reno may be chosen in every network namespace.
        ("net.ipv4.tcp_congestion_control", "reno"),
        // A killed process leaves sockets that repeat their last word to peers which are gone, for minutes, and each keeps
        // its network namespace: the lab would outlive its end. The same goes for those that wait a minute for a peer's.
        ("net.ipv4.tcp_orphan_retries", "1"),
        ("net.ipv4.tcp_fin_timeout", "2"),
    ];
    if matches!(role, Role::Router | Role::Proxy) {
        all.extend([
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.default.send_redirects", "0"),
        ]);
    }
    all.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
