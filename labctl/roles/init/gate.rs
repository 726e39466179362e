//! What PID 1 of a proxy puts before its floating addresses: the lease gate, which it holds so that no end of the daemon
//! that renews the leases takes it away. It does not renew any.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::dataplane::Error;
use crate::dataplane::gate::{Gate, Gated, Lease};
use crate::topology::{Builtin, Engine, Failover, NetworkName, Node, NodeName, Run, Topology};
use crate::vrrp::OWNER;

/// A gate on every link of this node that has a floating address.
#[derive(Debug)]
pub(super) struct Guard {
    gate: Gate,
    leased: bool,
}

impl Guard {
    /// The gate that this node needs, attached, in the network namespace of the calling thread; none if it needs none.
    pub(super) fn of(topology: &Topology, node: &Node) -> Result<Option<Self>, Error> {
        let Some(failover) = wanted(topology, node) else { return Ok(None) };
        let doors = doors(failover, &node.name);
        let here = |network: &&NetworkName| node.on(network).is_some();
        let links = doors.iter().map(|door| &door.network).filter(here).collect::<BTreeSet<_>>();
        let gated: Vec<Gated> = doors.iter().map(|door| door.gated(failover)).collect();
        let gate = Gate::attach(links.into_iter().map(NetworkName::as_str), &gated)?;
        Ok(Some(Self { gate, leased: failover.lease }))
    }

    /// The map of leases, for a service that renews them.
    pub(super) fn leases_for(&self, run: &Run) -> Option<BorrowedFd<'_>> {
        (self.leased && *run == Run::Builtin(Builtin::Vrrpd)).then(|| self.gate.descriptor())
    }
}

/// The election, if a gate is part of it on this node. Another engine knows no leases, and would leave the node dark.
pub(super) fn wanted<'a>(topology: &'a Topology, node: &Node) -> Option<&'a Failover> {
    let failover = topology.failover.as_ref()?;
    let engine = failover.engines.get(&node.name).copied().unwrap_or_default();
    let renews = node.services.iter().any(|service| service.run == Run::Builtin(Builtin::Vrrpd));
    let needed = failover.lease || !failover.accept;
    (engine == Engine::Labctl && renews && needed).then_some(failover)
}

/// One floating address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Door {
    address: IpAddr,
    network: NetworkName,
    /// The owner of the addresses accepts packets to them, whatever Accept_Mode says (RFC 9568 section 6.1).
    owned: bool,
}

impl Door {
    fn gated(&self, failover: &Failover) -> Gated {
        let lease = if failover.lease { Lease::NONE } else { Lease::FOR_EVER };
        Gated { address: self.address, accept: failover.accept || self.owned, lease }
    }
}

/// Every floating address of every virtual router.
fn doors(failover: &Failover, me: &NodeName) -> Vec<Door> {
    let doors = failover.routers().flat_map(|router| {
        let owned = router.priorities.get(me) == Some(&OWNER);
        router.floating().into_iter().map(move |(network, address)| Door { address, network, owned })
    });
    doors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{FloatingAddress6, parse};

    fn site() -> Topology {
        let text = include_str!("../../../topologies/ha.yaml");
        parse("ha.yaml", text).expect("a site")
    }

    fn gated(topology: &Topology, node: &str) -> String {
        let node = topology.node(&node.parse().expect("a name")).expect("a node");
        let Some(failover) = wanted(topology, node) else { return "no gate".to_owned() };
        let lines = doors(failover, &node.name).into_iter().map(|door| {
            let Gated { address, accept, lease } = door.gated(failover);
            let lease = if lease == Lease::NONE { "dark" } else { "for ever" };
            format!("{address} on {}: {lease}{}\n", door.network, if accept { "" } else { ", not accepted" })
        });
        lines.collect()
    }

    #[test]
    fn every_floating_address_of_a_proxy_starts_dark() {
        insta::assert_snapshot!(gated(&site(), "proxy1"), @"
        203.0.113.10 on front: dark
        10.10.1.1 on back: dark
        ");
        assert_eq!(gated(&site(), "web1"), "no gate");
    }

    #[test]
    fn only_our_own_engine_renews_leases() {
        let mut site = site();
        let failover = site.failover.as_mut().expect("a failover");
        failover.engines.insert("proxy1".parse().expect("a name"), Engine::Keepalived);
        assert_eq!(gated(&site, "proxy1"), "no gate");
        assert_ne!(gated(&site, "proxy2"), "no gate");
    }

    #[test]
    fn without_a_lease_there_is_a_gate_only_for_what_is_not_accepted() {
        let mut site = site();
        site.failover.as_mut().expect("a failover").lease = false;
        assert_eq!(gated(&site, "proxy1"), "no gate");
        let failover = site.failover.as_mut().expect("a failover");
        failover.accept = false;
        failover.priorities.insert("proxy2".parse().expect("a name"), OWNER);
        insta::assert_snapshot!(gated(&site, "proxy1"), @"
        203.0.113.10 on front: for ever, not accepted
        10.10.1.1 on back: for ever, not accepted
        ");
        insta::assert_snapshot!(gated(&site, "proxy2"), @"
        203.0.113.10 on front: for ever
        10.10.1.1 on back: for ever
        ");
    }

    #[test]
    fn the_link_local_address_of_an_ipv6_router_is_behind_the_gate_too() {
        let mut site = site();
        let failover = site.failover.as_mut().expect("a failover");
        let on = |address: &str| FloatingAddress6 {
            network: "front".parse().expect("a name"),
            address: address.parse().expect("an address"),
        };
        failover.addresses.clear();
        failover.addresses6 = vec![on("2001:db8::10")];
        insta::assert_snapshot!(gated(&site, "proxy1"), @"
        fe80::200:5eff:fe00:233 on back: dark
        2001:db8::10 on front: dark
        ");
        let failover = site.failover.as_mut().expect("a failover");
        failover.addresses6.insert(0, on("fe80::10"));
        insta::assert_snapshot!(gated(&site, "proxy1"), @"
        fe80::10 on front: dark
        2001:db8::10 on front: dark
        ");
    }
}
