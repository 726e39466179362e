//! Where the site ends on a proxy, as far as its topology decides that: what leaves in whose name, and which connections are
//! the data plane's alone. How netfilter is told is not its business.

use std::net::IpAddr;

use super::Error;
use crate::balancer::Endpoint;
use crate::kernel::macvlan;
use crate::kernel::netlink::Netlink;
use crate::kernel::nft::{Border, Outside};
use crate::kernel::packet::Port;
use crate::topology::{
    Balancer, BalancerEngine, Builtin, Elected, Failover, Forward, MacMode, NetworkName, Node, Protocol,
    Role, Run, Topology, VirtualService,
};

/// The border of a node, in the network namespace of the calling thread. A node that holds no floating address has none.
pub(super) fn of(topology: &Topology, node: &Node) -> Result<Border, Error> {
    let Some(failover) = topology.failover.as_ref().filter(|_| node.role == Role::Proxy) else {
        return Ok(Border::default());
    };
    let mut found = Border::default();
    if let Some(public) = failover.addresses.first() {
        let first = failover.routers().next();
        for interface in interfaces(failover, first.as_ref(), &public.network, false)? {
            let own = node.on(&public.network).map(|it| it.addresses.clone()).unwrap_or_default();
            found.outside.push(Outside { interface, address: public.address, own });
        }
    }
    let Some(balancer) = topology.balancer.as_ref().filter(|balancer| balances(balancer, node)) else {
        return Ok(found);
    };
    for service in &balancer.services {
        let mut routers = failover.routers();
        let Some((router, network)) =
            routers.find_map(|router| Some((router, network_of(&router, service)?)))
        else {
            continue;
        };
        for interface in interfaces(failover, Some(&router), &network, service.address.is_ipv6())? {
            let on = |port: Endpoint| (interface.clone(), port);
            found.services.push(on(endpoint(service, service.address, service.port)));
            // In tun and dr, answers do not pass; and what a real server says of its own accord is its own.
            if balancer.forward == Forward::Nat {
                let reals = service.reals.iter();
                found.answers.extend(reals.map(|real| on(endpoint(service, real.address, real.port))));
            }
        }
    }
    Ok(found)
}

/// Only our own balancer takes packets before netfilter sees them. Whatever a topology runs instead may well listen, and a
/// proxy does.
fn balances(balancer: &Balancer, node: &Node) -> bool {
    let runs = node.services.iter().any(|service| service.run == Run::Builtin(Builtin::Balancer));
    runs && balancer.engine == BalancerEngine::Labctl && balancer.forward != Forward::Proxy
}

fn network_of(router: &Elected<'_>, service: &VirtualService) -> Option<NetworkName> {
    let mut floating = router.floating().into_iter();
    floating.find(|(_, address)| *address == service.address).map(|(network, _)| network)
}

fn endpoint(service: &VirtualService, address: IpAddr, port: u16) -> Endpoint {
    match service.protocol {
        Protocol::Tcp => Endpoint::tcp(address, port),
        Protocol::Udp => Endpoint::udp(address, port),
    }
}

/// The interfaces by which the other side of a floating address is reached: that of the network, and the macvlan that the
/// daemon of the election puts on it where the address has the virtual hardware address. Which of them the holder's route
/// takes depends on whether the proxy has an address of its own there.
fn interfaces(
    failover: &Failover,
    router: Option<&Elected<'_>>,
    network: &NetworkName,
    v6: bool,
) -> Result<Vec<String>, Error> {
    let mut interfaces = vec![network.to_string()];
    if let Some(router) = router.filter(|_| failover.mac == MacMode::Virtual) {
        let link = Port::find(&mut Netlink::open()?, network.as_str())?;
        interfaces.push(macvlan::name(router.vrid.get(), v6, &link));
    }
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::parse;

    const NAT: &str = include_str!("../../../topologies/vs-nat.yaml");
    const DR: &str = include_str!("../../../topologies/vs-dr.yaml");

    /// The border of proxy1 as words.
    fn written(site: &str, changes: &[(&str, &str)]) -> String {
        let text = changes.iter().fold(site.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "no `{from}` to change");
            text.replace(from, to)
        });
        let topology = parse("site.yaml", &text).unwrap_or_else(|invalid| panic!("{invalid}"));
        let node = topology.node(&"proxy1".parse().unwrap()).unwrap();
        let border = of(&topology, node).unwrap();
        let outside = border.outside.iter().map(|it| {
            let own: Vec<String> = it.own.iter().map(ToString::to_string).collect();
            format!("out by {} as {}, but for [{}]\n", it.interface, it.address, own.join(", "))
        });
        let to = border.services.iter().map(|(interface, port)| format!("no {port} by {interface}\n"));
        let from =
            border.answers.iter().map(|(interface, port)| format!("nothing of {port} out by {interface}\n"));
        outside.chain(to).chain(from).collect()
    }

    #[test]
    fn in_nat_both_ways_are_the_data_planes() {
        insta::assert_snapshot!(written(NAT, &[]), @"
        out by front as 203.0.113.10, but for []
        no 203.0.113.10:80 by front
        nothing of 10.10.1.21:8080 out by front
        nothing of 10.10.1.22:8080 out by front
        ");
    }

    #[test]
    fn where_answers_do_not_pass_there_is_one_way() {
        insta::assert_snapshot!(written(DR, &[]), @"
        out by front as 203.0.113.10, but for [203.0.113.11]
        no 203.0.113.10:80 by front
        ");
    }

    #[test]
    fn every_service_has_its_protocol() {
        let two =
            "web: { port: 80, scheduler: mh }\n    names: { port: 53, protocol: udp, check: {} }\n    # ";
        insta::assert_snapshot!(written(NAT, &[("web: {", two)]), @"
        out by front as 203.0.113.10, but for []
        no 203.0.113.10:80 by front
        no udp 203.0.113.10:53 by front
        nothing of 10.10.1.21:8080 out by front
        nothing of 10.10.1.22:8080 out by front
        nothing of udp 10.10.1.21:53 out by front
        nothing of udp 10.10.1.22:53 out by front
        ");
    }

    #[test]
    fn who_listens_is_not_kept_from_it() {
        for other in ["forward: proxy", "engine: haproxy", "engine: nft"] {
            let border = written(NAT, &[("forward: nat", other), ("scheduler: mh", "scheduler: sh")]);
            assert_eq!(border, "out by front as 203.0.113.10, but for []\n", "{other}");
        }
    }
}
