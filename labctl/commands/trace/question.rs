//! Who asks whom, in the words of a command line, found in a topology.

use std::net::{IpAddr, SocketAddr};

use super::super::Failure;
use crate::topology::{NetworkName, Node, NodeName, Topology, nearest};

/// The word for the address that clients know.
const VIP: &str = "vip";
/// What may stand between who asks and whom.
const ARROWS: [&str; 2] = ["->", "\u{2192}"];

/// Who, and whom: `client vip:80`, `client '->' vip:80` or `'client -> vip:80'`.
pub(super) fn words<'a>(given: impl Iterator<Item = &'a str>) -> Result<(String, String), Failure> {
    let mut text = given.collect::<Vec<_>>().join(" ");
    for arrow in ARROWS {
        text = text.replace(arrow, " ");
    }
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        // What is left of an arrow whose end the shell took.
        [_, "-"] => Err(Failure::usage(
            "the shell took the `>` of `->` for itself, and what came after it for a file",
            "write `labctl trace NODE HOST:PORT`, or quote it: 'NODE -> HOST:PORT'; and remove that file",
        )),
        [from, target] => Ok(((*from).to_owned(), (*target).to_owned())),
        _ => Err(Failure::usage(
            format!("`{}` does not say who asks whom", text.trim()),
            "for example: `labctl trace client vip:80`",
        )),
    }
}

/// A node of the lab.
pub(super) fn node(topology: &Topology, name: &str) -> Result<NodeName, Failure> {
    let found = topology.nodes.iter().find(|node| node.name.as_str() == name);
    found.map(|node| node.name.clone()).ok_or_else(|| {
        let known: Vec<&str> = topology.nodes.iter().map(|node| node.name.as_str()).collect();
        unknown("node", name, &known)
    })
}

/// An address and a port: of the floating address, a virtual service, a node, or as they are.
pub(super) fn target(topology: &Topology, from: &NodeName, text: &str) -> Result<SocketAddr, Failure> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            (host, Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(malformed(text))?))
        }
        None => (text, None),
    };
    let services = topology.balancer.iter().flat_map(|balancer| &balancer.services);
    let mut candidates = services.clone().filter(|service| port.is_none_or(|port| service.port == port));
    if host == VIP {
        if let Some(service) = candidates.next() {
            return Ok(SocketAddr::new(service.address, service.port));
        }
        let public = topology.failover.as_ref().and_then(|failover| failover.public());
        let public = public.ok_or_else(|| {
            Failure::usage("this lab has no floating address", "name a node or an address instead of `vip`")
        })?;
        return Ok(SocketAddr::new(public, port.ok_or_else(malformed(text))?));
    }
    if let Some(service) = services.clone().find(|service| service.name.as_str() == host) {
        return Ok(SocketAddr::new(service.address, port.unwrap_or(service.port)));
    }
    let address = topology.nodes.iter().find(|node| node.name.as_str() == host).and_then(|node| {
        let me = topology.node(from)?;
        address_of(me, node)
    });
    let Some(address) = address else {
        let nodes = topology.nodes.iter().map(|node| node.name.as_str());
        let known: Vec<&str> =
            [VIP].into_iter().chain(services.map(|it| it.name.as_str())).chain(nodes).collect();
        return Err(unknown("address, virtual service or node", host, &known));
    };
    Ok(SocketAddr::new(address, port.ok_or_else(malformed(text))?))
}

/// A node's address on a network that both are on, else its first.
fn address_of(me: &Node, node: &Node) -> Option<IpAddr> {
    let networks: Vec<&NetworkName> =
        me.interfaces.iter().chain(&node.interfaces).map(|interface| &interface.network).collect();
    networks.into_iter().find_map(|network| node.on(network)?.all().next())
}

fn malformed(text: &str) -> impl Fn() -> Failure {
    move || {
        Failure::usage(
            format!("`{text}` is not HOST:PORT"),
            "for example: `vip:80`, `203.0.113.10:80`, `[2001:db8::10]:80`",
        )
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Failure {
    let help = match nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? There are {}", known.join(", ")),
        None => format!("there are {}", known.join(", ")),
    };
    Failure::usage(format!("the lab has no {what} `{name}`"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HA: &str = include_str!("../../../topologies/ha.yaml");

    fn ha() -> Topology {
        crate::topology::parse("ha.yaml", HA).expect("a topology")
    }

    fn says(failure: Failure) -> String {
        format!("{failure:?}")
    }

    #[test]
    fn who_asks_whom_can_be_written_in_several_ways() {
        let both = Some(("client".to_owned(), "vip:80".to_owned()));
        for given in [
            &["client", "vip:80"][..],
            &["client", "->", "vip:80"],
            &["client -> vip:80"],
            &["client->vip:80"],
        ] {
            assert_eq!(words(given.iter().copied()).ok(), both, "{given:?}");
        }
        assert!(
            says(words(["client", "-"].into_iter()).expect_err("half an arrow")).contains("the shell took")
        );
        assert!(words(["client"].into_iter()).is_err());
        assert!(words(["client", "to", "vip:80"].into_iter()).is_err());
    }

    #[test]
    fn a_target_is_found_by_whatever_it_is_called() {
        let site = ha();
        let client = node(&site, "client").expect("a node");
        let found = |text: &str| target(&site, &client, text).map(|to| to.to_string()).map_err(says);
        for (text, address) in [
            ("vip:80", "203.0.113.10:80"),
            ("vip", "203.0.113.10:80"),
            ("vip:81", "203.0.113.10:81"),
            ("web", "203.0.113.10:80"),
            ("remote:80", "198.51.100.80:80"),
            ("web1:8080", "10.10.1.21:8080"),
            ("192.0.2.1:9", "192.0.2.1:9"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
        ] {
            assert_eq!(found(text).as_deref(), Ok(address), "{text}");
        }
        for text in ["web1", "web1:0", "vip:http", "web1:70000"] {
            assert!(found(text).expect_err(text).contains("not HOST:PORT"), "{text}");
        }
        assert!(found("remot:80").expect_err("a typing error").contains("did you mean `remote`?"));
    }

    #[test]
    fn a_node_that_is_misspelt_is_suggested() {
        assert!(says(node(&ha(), "cleint").expect_err("a typing error")).contains("did you mean `client`?"));
    }
}
