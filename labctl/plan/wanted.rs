//! What a topology wants of the kernel, spelled out: every address, route and setting of every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Route;
use crate::topology::{Failover, Forward, NetworkName, Node, NodeName, Role, Topology};

/// Metric of a node's static default route. A daemon that has a better one for a while uses a lower metric, so that
/// the static one is there again by itself when the better one goes.
pub const STATIC_METRIC: u32 = 200;

/// What every cable takes.
const LINK_MTU: u32 = 1500;
/// Headers without options: RFC 791, RFC 8200, RFC 9293.
const IPV4_BYTES: u32 = 20;
const IPV6_BYTES: u32 = 40;
const TCP_BYTES: u32 = 20;

/// The largest TCP segment that gets through a tunnel in one packet: that is what a real server must ask clients for, since
/// they know nothing of the tunnel.
pub const fn tunnel_mss(v6: bool) -> u32 {
    let header = if v6 { IPV6_BYTES } else { IPV4_BYTES };
    LINK_MTU - 2 * header - TCP_BYTES
}

/// What must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Bridges in the fabric, one a network.
    pub bridges: BTreeSet<NetworkName>,
    /// The nodes in the order of the file.
    pub nodes: Vec<WantedNode>,
    /// Addresses that move between nodes: whoever has them, it is none of the plan's business.
    pub floating: BTreeSet<IpAddr>,
}

/// What must exist of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedNode {
    /// Its name.
    pub name: NodeName,
    /// `net.*` settings of its network namespace; `?` before a key means "where this kernel has it".
    pub settings: Vec<(String, String)>,
    /// Its cables, each with its own addresses and their prefix length.
    pub interfaces: BTreeMap<NetworkName, BTreeSet<(IpAddr, u8)>>,
    /// Addresses that it serves and does not answer ARP for, on its loopback: those of services whose real servers answer
    /// clients themselves.
    pub loopback: BTreeSet<(IpAddr, u8)>,
    /// Its static default routes, at most one a family.
    pub gateways: BTreeSet<Route>,
}

impl Wanted {
    /// What a topology wants when all of its nodes run.
    pub fn of(topology: &Topology) -> Self {
        Self::with(topology, |_| true)
    }

    /// What a topology wants when those nodes run that `on` names.
    pub fn with(topology: &Topology, on: impl Fn(&NodeName) -> bool) -> Self {
        Self {
            bridges: topology.networks.keys().cloned().collect(),
            nodes: topology
                .nodes
                .iter()
                .filter(|node| on(&node.name))
                .map(|node| WantedNode::of(topology, node))
                .collect(),
            floating: topology.failover.iter().flat_map(Failover::floating).collect(),
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
            let prefix_len = |address| topology.prefix_len_of(&interface.network, address);
            let addresses = interface.all().map(|address| (address, prefix_len(address))).collect();
            (interface.network.clone(), addresses)
        });
        let v6 = topology.has_ipv6(node);
        let served = topology.served_directly(&node.name);
        let tunnels = topology.balancer.as_ref().is_some_and(|balancer| balancer.forward == Forward::Tun);
        let gateways = node.gateway.map(IpAddr::V4).into_iter().chain(node.gateway6.map(IpAddr::V6));
        let route = |gateway: IpAddr| {
            let through_tunnel =
                tunnels && served.iter().any(|address| address.is_ipv6() == gateway.is_ipv6());
            Route { gateway, mss: through_tunnel.then(|| tunnel_mss(gateway.is_ipv6())) }
        };
        Self {
            name: node.name.clone(),
            settings: settings(node.role, v6),
            interfaces: interfaces.collect(),
            loopback: served.iter().map(|address| (*address, host_prefix(*address))).collect(),
            gateways: gateways.map(route).collect(),
        }
    }
}

/// The prefix length of an address that stands for itself alone.
fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// What a node with IPv6 needs. No `?`: a kernel without IPv6 cannot run such a topology, and should say so.
const SETTINGS_OF_IPV6: [(&str, &str); 10] = [
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    // Addresses are unique by the topology; to look for duplicates would keep each one tentative for a second.
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    // Routes are the topology's, and the daemons'.
    ("net.ipv6.conf.all.accept_ra", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.all.accept_redirects", "0"),
    ("net.ipv6.conf.default.accept_redirects", "0"),
    // A cable that was cut comes back with its addresses, as it does with those of IPv4.
    ("net.ipv6.conf.all.keep_addr_on_down", "1"),
    ("net.ipv6.conf.default.keep_addr_on_down", "1"),
];
const FORWARDING_OF_IPV6: [(&str, &str); 2] =
    [("net.ipv6.conf.all.forwarding", "1"), ("net.ipv6.conf.default.forwarding", "1")];

/// What every node needs, and what its role and IPv6 add. They are set before the node has a cable, so those of
/// `default` are what its cables begin with.
fn settings(role: Role, v6: bool) -> Vec<(String, String)> {
    let forwards = matches!(role, Role::Router | Role::Proxy);
    let mut all = vec![
        // Routes of a proxy are asymmetric by design while roles swap.
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
        // An address is answered for on its own interface only: the VIP never on `back`, a back address never on `front`,
        // and what a real server has on its loopback nowhere. (In IPv6 that is so without a setting.)
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
    if v6 {
        all.extend(SETTINGS_OF_IPV6);
        all.extend(FORWARDING_OF_IPV6.into_iter().filter(|_| forwards));
    } else {
        // Without any use for it, link-local addresses and their chatter are only noise.
        all.extend([("?net.ipv6.conf.all.disable_ipv6", "1"), ("?net.ipv6.conf.default.disable_ipv6", "1")]);
    }
    if forwards {
        all.extend([
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.default.send_redirects", "0"),
        ]);
    }
    all.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
