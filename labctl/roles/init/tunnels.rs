//! What PID 1 of a real server of VS/TUN takes out of tunnels, as far as the topology decides that: PID 1 does it, so that it
//! lasts as long as the machine, whatever becomes of its services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::dataplane::Error;
use crate::dataplane::tunnel::Decapsulation;
use crate::topology::{Forward, NetworkName, Node, Topology};

/// The ends of the tunnels of this node. They are open until this is dropped.
#[derive(Debug)]
pub(super) struct Tunnels {
    #[expect(dead_code, reason = "held, so that they stay where they are")]
    ends: Vec<Decapsulation>,
}

impl Tunnels {
    /// Opens them in the network namespace of the calling thread; none, if no director sends this node tunnels.
    pub(super) fn open(topology: &Topology, node: &Node) -> Result<Self, Error> {
        let open = |(network, addresses): (NetworkName, BTreeSet<IpAddr>)| {
            let addresses: Vec<IpAddr> = addresses.into_iter().collect();
            Decapsulation::attach(network.as_str(), &addresses)
        };
        Ok(Self { ends: wanted(topology, node).into_iter().map(open).collect::<Result<_, _>>()? })
    }
}

/// By which interface tunnels come to this node, and the addresses of services that are in them.
fn wanted(topology: &Topology, node: &Node) -> BTreeMap<NetworkName, BTreeSet<IpAddr>> {
    let balancer = topology.balancer.iter().filter(|balancer| balancer.forward == Forward::Tun);
    let mut wanted: BTreeMap<NetworkName, BTreeSet<IpAddr>> = BTreeMap::new();
    for service in balancer.flat_map(|balancer| &balancer.services) {
        let mine = service.reals.iter().filter(|real| real.node == node.name);
        for real in mine {
            let mut cables = node.interfaces.iter();
            if let Some(cable) = cables.find(|cable| cable.all().any(|own| own == real.address)) {
                wanted.entry(cable.network.clone()).or_default().insert(service.address);
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::parse;

    fn written(site: &str, node: &str) -> String {
        let topology = parse("site.yaml", site).unwrap_or_else(|invalid| panic!("{invalid}"));
        let node = topology.node(&node.parse().unwrap()).unwrap();
        format!("{:?}", wanted(&topology, node))
    }

    #[test]
    fn only_real_servers_behind_a_tunnel_open_any() {
        let tun = include_str!("../../../topologies/vs-tun.yaml");
        assert_eq!(written(tun, "web1"), r#"{NetworkName("far"): {203.0.113.10}}"#);
        assert_eq!(written(tun, "proxy1"), "{}");
        assert_eq!(written(include_str!("../../../topologies/vs-dr.yaml"), "web1"), "{}");
    }
}
