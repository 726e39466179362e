//! From a site to settings, and every mistake with its own answer.

use std::time::Duration;

use super::*;
use crate::topology::{
    Conversation, Failover, FloatingAddress, Interface, Memory, Node, Role, Topology, Vrid,
};

fn network(name: &str) -> NetworkName {
    name.parse().unwrap()
}

fn site() -> Site {
    let interface = |name: &str, addresses: &[&str]| Interface {
        network: network(name),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        addresses6: vec![],
    };
    let proxy = Node {
        name: "proxy1".parse().unwrap(),
        role: Role::Proxy,
        interfaces: vec![interface("front", &[]), interface("back", &["10.10.1.11"])],
        gateway: Some("10.10.1.1".parse().unwrap()),
        gateway6: None,
        services: vec![],
    };
    let floating = |name: &str, address: &str| FloatingAddress {
        network: network(name),
        address: address.parse().unwrap(),
    };
    let nets = [("front", "203.0.113.0/24"), ("back", "10.10.1.0/25"), ("data", "10.10.2.0/24")];
    let topology = Topology {
        networks6: [].into(),
        name: "ha".parse().unwrap(),
        networks: nets.iter().map(|(name, net)| (network(name), net.parse().unwrap())).collect(),
        nodes: vec![proxy],
        failover: Some(Failover {
            advert_interval: Duration::from_millis(20),
            addresses: vec![floating("front", "203.0.113.10"), floating("back", "10.10.1.1")],
            holder_gateway: Some("203.0.113.1".parse().unwrap()),
            priorities: [("proxy1".parse().unwrap(), 150)].into(),
            ..Failover::new(Vrid::try_from(51).unwrap(), network("back"))
        }),
        balancer: None,
        conversation: Conversation { memory: Memory::None, web_port: 8080, db_port: 5432 },
    };
    Site { topology, me: "proxy1".parse().unwrap(), disk: "/nowhere".into() }
}

/// What is wrong with the site after a change of its failover part.
fn mistake(change: impl FnOnce(&mut Failover)) -> String {
    let mut site = site();
    change(site.topology.failover.as_mut().unwrap());
    Settings::of(&site).unwrap_err().to_string()
}

#[test]
fn each_address_gets_the_interface_and_prefix_of_its_network() {
    let settings = Settings::of(&site()).unwrap();
    let floating: Vec<_> =
        settings.floating.iter().map(|f| format!("{} {}/{}", f.interface, f.address, f.prefix_len)).collect();
    assert_eq!(floating, ["front 203.0.113.10/24", "back 10.10.1.1/25"]);
    assert_eq!(
        settings.gateway,
        Some(Gateway { interface: network("front"), address: "203.0.113.1".parse().unwrap() })
    );
    assert_eq!((settings.own.to_string().as_str(), settings.interval.centiseconds()), ("10.10.1.11", 2));
    assert_eq!(settings.advert(0).addresses.len(), 2);
}

#[test]
fn every_mistake_is_named() {
    let mut site = site();
    site.topology.failover = None;
    assert_eq!(Settings::of(&site).unwrap_err().to_string(), "the site has no failover");
    assert_eq!(mistake(|f| f.priorities.clear()), "proxy1 has no priority");
    assert_eq!(mistake(|f| *f.priorities.values_mut().next().unwrap() = 0), "proxy1 cannot have priority 0");
    assert_eq!(
        mistake(|f| f.network = network("front")),
        "proxy1 has no address of its own on front, which carries the adverts"
    );
    assert_eq!(
        mistake(|f| f.addresses[0].network = network("data")),
        "proxy1 is not on data, where 203.0.113.10 belongs"
    );
    assert_eq!(
        mistake(|f| f.holder_gateway = Some("10.10.2.1".parse().unwrap())),
        "proxy1 is on no network with the gateway 10.10.2.1"
    );
    assert_eq!(
        mistake(|f| f.addresses.clear()),
        "0 floating addresses do not fit an advertisement of 1 to 255"
    );
    assert_eq!(
        mistake(|f| f.advert_interval = Duration::from_millis(15)),
        "15ms is not an advertisement interval: those are 10 ms to 40.95 s in steps of 10 ms"
    );
}
