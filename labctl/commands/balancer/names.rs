//! What people call services and real servers, and which ones that are. It asks nobody: it looks at what the balancers
//! listed and what the topology says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::directors::Says;
use crate::commands::Failure;
use crate::roles::balancer::request::{ListedReal, ListedService};
use crate::topology::{self, Forward, Node, NodeName, Topology};

/// "Did you mean", or how to find out.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    topology::did_you_mean(word, known)
        .unwrap_or_else(|| "`labctl balancer list` shows what there is".to_owned())
}

/// The service that is called that on any director.
pub(super) fn service<'a>(
    word: &str,
    all: &'a BTreeMap<NodeName, Says>,
) -> Result<&'a ListedService, Failure> {
    let known: Vec<&ListedService> = all
        .values()
        .flat_map(|says| match says {
            Says::Listing(listing) => listing.services.as_slice(),
            Says::Off(_) | Says::Silent(_) => &[],
        })
        .collect();
    if known.is_empty() {
        let silent = all.iter().map(|(node, says)| match says {
            Says::Off(how) => format!("{node} is off ({how})"),
            Says::Silent(because) => format!("{node}: {because}"),
            Says::Listing(_) => format!("{node} has no service"),
        });
        let message = format!("no balancer can be asked: {}", silent.collect::<Vec<_>>().join("; "));
        return Err(Failure::machine(message, "`labctl status` shows what runs"));
    }
    if let Some(named) = known.iter().find(|service| service.name.as_str() == word) {
        return Ok(named);
    }
    let at: Option<SocketAddr> = word.parse().ok();
    let mut there = known.iter().filter(|service| at == Some(service.address));
    match there.next() {
        // The same port of TCP and of UDP are two services.
        Some(first) => match there.find(|other| other.name != first.name) {
            None => Ok(first),
            Some(other) => Err(Failure::usage(
                format!("{word} is {} and {}", first.name, other.name),
                "say the name of the service",
            )),
        },
        None => Err(Failure::usage(
            format!("there is no virtual service {word}"),
            did_you_mean(word, known.iter().map(|it| it.name.as_str()).collect::<BTreeSet<_>>()),
        )),
    }
}

/// The real server that is called that.
pub(super) fn real<'a>(word: &str, service: &'a ListedService) -> Result<&'a ListedReal, Failure> {
    let (at, address): (Option<SocketAddr>, Option<IpAddr>) = (word.parse().ok(), word.parse().ok());
    let is_called = |real: &&ListedReal| {
        real.name == word || at == Some(real.address) || address == Some(real.address.ip())
    };
    let mut called = service.reals.iter().filter(is_called);
    match (called.next(), called.next()) {
        (Some(real), None) => Ok(real),
        (Some(one), Some(other)) => Err(Failure::usage(
            format!("{word} is {} and {}", one.address, other.address),
            "say its ADDRESS:PORT",
        )),
        (None, _) => Err(Failure::usage(
            format!("{} has no real server {word}", service.name),
            did_you_mean(word, service.reals.iter().map(|real| real.name.as_str())),
        )),
    }
}

/// Where a new real server listens, and what it is called.
pub(super) fn newcomer(
    word: &str,
    service: &ListedService,
    topology: &Topology,
) -> Result<(SocketAddr, String), Failure> {
    let at = match word.parse() {
        Ok(at) => at,
        Err(_) => by_node(word, service, topology)?,
    };
    let holds = |node: &&Node| node.interfaces.iter().any(|it| it.all().any(|address| address == at.ip()));
    let node = topology.nodes.iter().find(holds).map(|node| node.name.as_str());
    let is_free = |name: &&str| service.reals.iter().all(|real| real.name != *name);
    // Tables are made from names, so two ports of one node need two.
    let name = node.filter(is_free).map_or_else(|| at.to_string(), str::to_owned);
    Ok((at, name))
}

/// The address of a node by which directors reach it, with the port of the other real servers or the one behind a colon.
fn by_node(word: &str, service: &ListedService, topology: &Topology) -> Result<SocketAddr, Failure> {
    let (name, port) = match word.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().ok()),
        None => (word, service.reals.first().map(|real| real.address.port())),
    };
    let Some(node) = topology.nodes.iter().find(|node| node.name.as_str() == name) else {
        return Err(Failure::usage(
            format!("there is no node {name}, and {word} is no ADDRESS:PORT"),
            did_you_mean(name, topology.nodes.iter().map(|node| node.name.as_str())),
        ));
    };
    let Some(port) = port.filter(|port| *port > 0) else {
        return Err(Failure::usage(format!("{word} says no port"), format!("say `{name}:PORT`")));
    };
    let addresses: Vec<IpAddr> = node
        .interfaces
        .iter()
        .flat_map(|interface| interface.all())
        .filter(|address| address.is_ipv4() == service.address.is_ipv4())
        .collect();
    let near = addresses.iter().find(|&&address| is_near(address, service, topology));
    let forward = topology.balancer.as_ref().map(|balancer| balancer.forward);
    // A tunnel goes anywhere.
    let far = addresses.first().filter(|_| forward == Some(Forward::Tun) || service.reals.is_empty());
    near.or(far).map(|address| SocketAddr::new(*address, port)).ok_or_else(|| {
        let message = format!("{name} has no address on the network of the real servers of {}", service.name);
        Failure::usage(message, "say the ADDRESS:PORT by which the directors reach it")
    })
}

/// Whether an address is on one network with a real server of a service.
fn is_near(address: IpAddr, service: &ListedService, topology: &Topology) -> bool {
    let v4 = topology.networks.values().copied().map(ipnet::IpNet::V4);
    let v6 = topology.networks6.values().copied().map(ipnet::IpNet::V6);
    let mut both = v4.chain(v6).filter(|prefix| prefix.contains(&address));
    both.any(|prefix| service.reals.iter().any(|real| prefix.contains(&real.address.ip())))
}
