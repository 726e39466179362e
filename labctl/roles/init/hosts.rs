//! The text of a node's hosts file: how it knows the other nodes and the floating addresses by name. It writes nothing.

use std::net::IpAddr;

use crate::topology::{Failover, NetworkName, Node, Topology};

/// Every node by name: at its address on a network shared with this node where there is one, else at its first; and the
/// floating addresses. A node with IPv6 knows the addresses of both families.
pub(super) fn text(topology: &Topology, me: &Node) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    let v6 = topology.has_ipv6(me);
    if v6 {
        text += "::1 localhost\n";
    }
    for node in &topology.nodes {
        let v4 = nearest(me, node, |network| node.address_on(network).map(IpAddr::V4));
        let v6 = nearest(me, node, |network| node.address6_on(network).map(IpAddr::V6)).filter(|_| v6);
        for address in v4.into_iter().chain(v6) {
            text += &format!("{address} {}\n", node.name);
        }
    }
    for (name, address) in topology.failover.iter().flat_map(floating_names) {
        let local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        if address.is_ipv4() || v6 && !local {
            text += &format!("{address} {name}\n");
        }
    }
    text
}

/// A node's address on one of my networks, else on one of its own.
fn nearest(me: &Node, node: &Node, on: impl Fn(&NetworkName) -> Option<IpAddr>) -> Option<IpAddr> {
    me.interfaces.iter().chain(&node.interfaces).find_map(|interface| on(&interface.network))
}

/// `vip-front` is the first address of each family on front; that of a further virtual router bears its name too.
fn floating_names(failover: &Failover) -> Vec<(String, IpAddr)> {
    let mut names: Vec<(String, IpAddr)> = Vec::new();
    for router in failover.routers() {
        let prefix = router.name.map_or("vip".to_owned(), |name| format!("vip-{name}"));
        let v4 = router.addresses.iter().map(|it| (&it.network, IpAddr::V4(it.address)));
        let v6 = router.addresses6.iter().map(|it| (&it.network, IpAddr::V6(it.address)));
        for (network, address) in v4.chain(v6) {
            let name = format!("{prefix}-{network}");
            if !names.iter().any(|(known, it)| *known == name && it.is_ipv4() == address.is_ipv4()) {
                names.push((name, address));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::parse;

    const SITE: &str = "\
name: site
networks: { street: 198.51.100.0/24, front: [203.0.113.0/24, 2001:db8:f::/64], back: [10.10.1.0/24, fd00:10:1::/64] }
nodes:
  client: { role: client, on: { street: 198.51.100.10 } }
  router: { role: router, on: { street: 198.51.100.1, front: [203.0.113.1, 2001:db8:f::1] } }
  proxy1: { role: proxy, on: { front: none, back: [10.10.1.11, fd00:10:1::11] } }
failover:
  network: back
  vip: { front: [203.0.113.10, 203.0.113.20, 2001:db8:f::10, fe80::10], back: 10.10.1.1 }
  more: { second: { vrid: 52, vip: { front: 203.0.113.30 } } }
";

    fn of(name: &str) -> String {
        let topology = parse("site.yaml", SITE).expect("a topology");
        let me = topology.nodes.iter().find(|node| node.name.as_str() == name).expect("a node");
        text(&topology, me)
    }

    #[test]
    fn a_node_with_ipv6_knows_both_families() {
        insta::assert_snapshot!(of("proxy1"), @"
        127.0.0.1 localhost
        ::1 localhost
        198.51.100.10 client
        203.0.113.1 router
        2001:db8:f::1 router
        10.10.1.11 proxy1
        fd00:10:1::11 proxy1
        203.0.113.10 vip-front
        10.10.1.1 vip-back
        2001:db8:f::10 vip-front
        203.0.113.30 vip-second-front
        ");
    }

    #[test]
    fn a_node_without_ipv6_is_not_sent_where_it_cannot_go() {
        insta::assert_snapshot!(of("client"), @"
        127.0.0.1 localhost
        198.51.100.10 client
        198.51.100.1 router
        10.10.1.11 proxy1
        203.0.113.10 vip-front
        10.10.1.1 vip-back
        203.0.113.30 vip-second-front
        ");
    }
}
