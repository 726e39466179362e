//! What the role makes of a site. What it does to packets is tested in dataplane/, its judgement in balancer/.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde_json::json;

use super::layout::Own;
use super::*;
use crate::balancer::Method;
use crate::topology::Forward;

/// A proxy on three networks, with the virtual address on one and the real servers on another.
pub(super) fn site() -> Site {
    let interval = json!({ "secs": 0, "nanos": 100_000_000 });
    let check = json!({ "probe": "tcp", "interval": interval, "timeout": interval, "rise": 2, "fall": 3 });
    let real =
        |node: &str, address: &str| json!({ "node": node, "address": address, "port": 80, "weight": 1 });
    let topology = json!({
        "name": "test",
        "networks": {
            "back": "10.10.1.0/24", "data": "10.10.2.0/24", "front": "203.0.113.0/24", "street": "198.51.100.0/24",
        },
        "networks6": {},
        "nodes": [{
            "name": "proxy1",
            "role": "proxy",
            "interfaces": [
                { "network": "front", "addresses": [], "addresses6": [] },
                { "network": "back", "addresses": ["10.10.1.11"], "addresses6": [] },
                { "network": "data", "addresses": ["10.10.2.11"], "addresses6": [] },
            ],
            "gateway": null,
            "gateway6": null,
            "services": [],
        }],
        "failover": null,
        "balancer": {
            "forward": "nat",
            "engine": "labctl",
            "backend": "auto",
            "sync": false,
            "services": [{
                "name": "site",
                "address": "203.0.113.10",
                "port": 80,
                "protocol": "tcp",
                "scheduler": "sh",
                "reals": [real("web1", "10.10.1.21"), real("web2", "10.10.1.22")],
                "check": check,
                "slow_start": { "secs": 0, "nanos": 0 },
                "fail_open": true,
                "layer7": { "sticky": null, "rules": [] },
            }],
        },
        "conversation": { "memory": "none", "web_port": 80, "db_port": 7000 },
    });
    let topology = serde_json::from_value(topology).expect("a site");
    Site { topology, me: "proxy1".parse().expect("a name"), disk: "/nowhere".into() }
}

#[test]
fn interfaces_follow_from_addresses() {
    let layout = Layout::of(&site()).expect("a layout");
    assert_eq!(layout.front.as_str(), "front");
    assert_eq!(layout.back.as_str(), "back");
    assert_eq!(layout.inside, ["10.10.1.0/24".parse::<IpNet>().expect("a prefix")]);
    assert_eq!(layout.own, Own { v4: Some(Ipv4Addr::new(10, 10, 1, 11)), v6: None });
    assert_eq!(layout.others, None, "nobody is to be told of flows");
}

#[test]
fn a_site_without_anything_to_balance_is_refused() {
    let mut without_services = site();
    without_services.topology.balancer = None;
    let mut without_reals = site();
    without_reals.topology.balancer.as_mut().expect("a balancer").services[0].reals.clear();
    for site in [without_services, without_reals] {
        let error = Layout::of(&site).expect_err("nothing to balance");
        assert_eq!(error.to_string(), "the site has no virtual service with a real server to balance");
    }
}

#[test]
fn a_virtual_address_on_no_network_of_this_node_is_named() {
    let mut site = site();
    site.topology.balancer.as_mut().expect("a balancer").services[0].address = [198, 51, 100, 99].into();
    let error = Layout::of(&site).expect_err("no interface");
    assert_eq!(error.to_string(), "proxy1 has no single interface whose network has all virtual services");
}

#[test]
fn real_servers_on_two_networks_are_refused() {
    let mut site = site();
    let services = &mut site.topology.balancer.as_mut().expect("a balancer").services;
    services[0].reals[1].address = [10, 10, 2, 22].into();
    let error = Layout::of(&site).expect_err("two networks");
    assert_eq!(error.to_string(), "proxy1 has no single interface whose network has all real servers");
}

#[test]
fn a_proxy_without_an_address_on_the_back_cannot_check() {
    let mut site = site();
    site.topology.nodes[0].interfaces[1].addresses.clear();
    let error = Layout::of(&site).expect_err("no address");
    assert_eq!(
        error.to_string(),
        "proxy1 has no address of its own on back, from which it could check real servers"
    );
}

#[test]
fn real_servers_behind_a_tunnel_may_be_anywhere() {
    let mut site = site();
    let balancer = site.topology.balancer.as_mut().expect("a balancer");
    balancer.forward = Forward::Tun;
    balancer.services[0].reals[1].address = [192, 0, 2, 22].into();
    let layout = Layout::of(&site).expect("a layout");
    assert_eq!((layout.method, layout.back.as_str()), (Method::Tun, "back"));
    assert_eq!(layout.own.towards([192, 0, 2, 22].into()), Some([10, 10, 1, 11].into()));
    assert!(layout.within().is_empty());
}

#[test]
fn directors_tell_each_other_on_the_network_that_they_share() {
    let mut site = site();
    site.topology.balancer.as_mut().expect("a balancer").sync = true;
    assert_eq!(Layout::of(&site).expect("a layout").others, None, "there is nobody else");
    let mut other = site.topology.nodes[0].clone();
    other.name = "proxy2".parse().expect("a name");
    other.interfaces[1].addresses = vec![[10, 10, 1, 12].into()];
    site.topology.nodes.push(other.clone());
    let others = Layout::of(&site).expect("a layout").others.expect("another director");
    assert_eq!(others.from, IpAddr::from([10, 10, 1, 11]));
    assert_eq!(others.to, BTreeMap::from([([10, 10, 1, 12].into(), other.name)]));
}

#[test]
fn a_layer_7_proxy_has_its_real_servers_where_nat_has_them() {
    let mut site = site();
    site.topology.balancer.as_mut().expect("a balancer").forward = Forward::Proxy;
    assert_eq!(Layout::of(&site).expect("a layout").method, Method::Nat);
}
