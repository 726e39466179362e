//! What an election can be told, and what it is when it is not told.

use std::time::Duration;

use super::*;

/// The election of the site when it is told one thing more.
fn told(what: &str) -> Failover {
    site_with("failover: {", &format!("failover: {{ {what},")).failover.unwrap()
}

fn services_of(topology: &Topology, name: &str) -> Vec<String> {
    node(topology, name).services.iter().map(|service| service.name.to_string()).collect()
}

/// Every key there is.
const ALL: &str = "
  network: back
  advert: 100ms
  vrid: 61
  vip: { front: [203.0.113.10, 203.0.113.20], back: 10.10.1.1 }
  preempt: false
  preempt_delay: 5s
  profile: rfc9568
  version: 3
  checksum: pseudo-header
  mac: virtual
  accept: true
  lease: true
  unicast: true
  engine: keepalived
  sync: true
  checks:
    balancer: { weight: 60 }
    uplink: { run: [/usr/bin/ping, -c1, 203.0.113.1], interval: 2s, timeout: 300ms, rise: 3, fall: 4 }
  more:
    second: { vrid: 62, vip: { front: 203.0.113.11 }, priority: { proxy1: 100, proxy2: 255 } }
";

#[test]
fn every_setting_is_read() {
    let text = changed("failover: { network: back, vip: { front: 203.0.113.10, back: 10.10.1.1 } }\n", "")
        .replace("proxy2: { role: proxy,", "proxy2: { role: proxy, engine: labctl,");
    let topology = parse("site.yaml", &format!("{text}failover:{ALL}")).unwrap_or_else(|bad| panic!("{bad}"));
    let failover = topology.failover.as_ref().unwrap();
    let json = serde_json::to_value(failover).unwrap();
    let lines: Vec<String> =
        json.as_object().unwrap().iter().map(|(key, it)| format!("{key}: {it}")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    accept: true
    addresses: [{"address":"203.0.113.10","network":"front"},{"address":"203.0.113.20","network":"front"},{"address":"10.10.1.1","network":"back"}]
    addresses6: []
    advert_interval: {"nanos":100000000,"secs":0}
    checks: [{"fall":2,"interval":{"nanos":0,"secs":1},"name":"balancer","probe":"balancer","rise":2,"timeout":{"nanos":500000000,"secs":0},"weight":60},{"fall":4,"interval":{"nanos":0,"secs":2},"name":"uplink","probe":{"command":["/usr/bin/ping","-c1","203.0.113.1"]},"rise":3,"timeout":{"nanos":300000000,"secs":0},"weight":null}]
    checksum: "pseudo-header"
    engines: {"proxy1":"keepalived","proxy2":"labctl"}
    holder_gateway: "203.0.113.1"
    holder_gateway6: null
    lease: true
    mac: "virtual"
    more: [{"addresses":[{"address":"203.0.113.11","network":"front"}],"addresses6":[],"name":"second","priorities":{"proxy1":100,"proxy2":255},"vrid":62}]
    network: "back"
    preempt: false
    preempt_delay: {"nanos":0,"secs":5}
    priorities: {"proxy1":150,"proxy2":100}
    profile: "rfc9568"
    sync: true
    unicast: true
    version: "3"
    vrid: 61
    "#);
    assert_eq!(services_of(&topology, "proxy1"), ["keepalived", "balancer"]);
    assert_eq!(services_of(&topology, "proxy2"), ["vrrpd", "balancer"]);
}

#[test]
fn an_engine_takes_the_place_of_another_as_if_the_file_had_named_it() {
    for engine in Engine::ALL {
        let mut topology = parse("site.yaml", SITE).unwrap();
        topology.elect_with(engine);
        let services = ["proxy1", "proxy2"].map(|proxy| services_of(&topology, proxy));
        assert_eq!(services, [engine.service(); 2].map(|service| vec![service.word(), "balancer"]));
        let engines: Vec<Engine> = topology.failover.unwrap().engines.into_values().collect();
        assert_eq!(engines, [engine; 2]);
    }
}

#[test]
fn the_words_of_an_election() {
    assert_eq!(told("version: 2").version, VrrpVersion::V2);
    assert_eq!(told("version: '3'").version, VrrpVersion::V3);
    let both = told("version: 2+3, advert: 3s, checksum: pseudo-header");
    assert_eq!((both.version, both.checksum), (VrrpVersion::Both, Checksum::PseudoHeader));
    assert_eq!(both.advert_interval, Duration::from_secs(3));
}

#[test]
fn all_engines_of_an_election_have_one_rule_of_the_checksum() {
    assert_eq!(told("vrid: 9").checksum, Checksum::Message);
    assert_eq!(told("engine: keepalived").checksum, Checksum::PseudoHeader);
    let mixed = |and: &str| {
        let text = changed("priority: 150", "engine: keepalived");
        let text = text.replace("failover: {", &format!("failover: {{ {and}"));
        parse("site.yaml", &text).unwrap_or_else(|bad| panic!("{bad}")).failover.unwrap().checksum
    };
    assert_eq!(mixed(""), Checksum::PseudoHeader);
    assert_eq!(mixed("checksum: pseudo-header,"), Checksum::PseudoHeader);
    assert_eq!(mixed("version: 2,"), Checksum::Message, "VRRPv2 has but one");
    assert_eq!(mixed("version: 2, checksum: message,"), Checksum::Message);
}

#[test]
fn a_lease_belongs_to_our_own_engine_and_profile() {
    assert!(told("profile: lab").lease);
    assert!(!told("lease: false").lease);
    assert!(!told("profile: rfc9568").lease);
    assert!(told("profile: rfc9568, lease: true").lease);
    assert!(!told("engine: keepalived").lease, "nobody would renew it");
    assert!(site_with("priority: 150", "engine: keepalived").failover.unwrap().lease, "proxy2 is ours");
}

#[test]
fn instances_go_together_unless_they_are_meant_to_part() {
    let second =
        |rest: &str| format!("more: {{ second: {{ vrid: 52, vip: {{ front: 203.0.113.11 }}{rest} }} }}");
    assert!(!told("vrid: 9").sync, "there is only one");
    assert!(told(&second("")).sync);
    assert!(!told(&second(", priority: { proxy2: 200 }")).sync, "the second has another favourite");
    assert!(told(&format!("sync: true, {}", second(", priority: { proxy2: 200 }"))).sync);
    assert!(!told(&format!("profile: rfc9568, {}", second(""))).sync);
    let topology = parse("site.yaml", &dual()).unwrap();
    assert!(topology.failover.unwrap().sync, "the families are two");
}

#[test]
fn a_further_router_takes_the_priorities_of_the_nodes() {
    let failover =
        told("more: { second: { vrid: 52, vip: { front: 203.0.113.11 }, priority: { proxy2: 255 } } }");
    let more = &failover.more[0];
    let priorities: Vec<_> =
        more.priorities.iter().map(|(name, priority)| (name.as_str(), *priority)).collect();
    assert_eq!(priorities, [("proxy1", 150), ("proxy2", 255)]);
    assert_eq!((more.name.as_str(), more.vrid.get()), ("second", 52));
}

#[test]
fn an_election_may_be_left_to_something_else() {
    let topology = site_with("priority: 150,", "services: { vrrpd: off, monitor: { run: [/bin/true] } },");
    assert_eq!(services_of(&topology, "proxy1"), ["balancer", "monitor"]);
    assert!(topology.failover.is_some(), "the address floats all the same");
}

#[test]
fn both_families_have_their_defaults() {
    let text = dual()
        .replace("street: 198.51.100.0/24", "street: [198.51.100.0/24, 2001:db8:5::/64]")
        .replace("street: 198.51.100.80", "street: [198.51.100.80, 2001:db8:5::80]")
        .replace("street: 198.51.100.1,", "street: [198.51.100.1, 2001:db8:5::1],")
        .replace("back: 10.10.1.11", "back: [10.10.1.11, fd00:10:1::11]");
    let topology = parse("site.yaml", &text).unwrap_or_else(|bad| panic!("{bad}"));
    let networks: Vec<String> =
        topology.networks6.iter().map(|(name, net)| format!("{name} {net}")).collect();
    assert_eq!(networks, ["back fd00:10:1::/64", "front 2001:db8:f::/64", "street 2001:db8:5::/64"]);
    let lines: Vec<String> = topology
        .nodes
        .iter()
        .map(|node| {
            let own: Vec<String> =
                node.interfaces.iter().flat_map(|it| &it.addresses6).map(ToString::to_string).collect();
            let via = node.gateway6.map_or("none".to_owned(), |hop| hop.to_string());
            format!("{} [{}] via {via}", node.name, own.join(", "))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    client [] via none
    remote [2001:db8:5::80] via 2001:db8:5::1
    router [2001:db8:5::1, 2001:db8:f::1] via none
    proxy1 [fd00:10:1::11] via fd00:10:1::1
    proxy2 [] via none
    web1 [fd00:10:1::21] via fd00:10:1::1
    web2 [] via none
    db1 [] via none
    ");
    let failover = topology.failover.unwrap();
    let floating: Vec<String> =
        failover.addresses6.iter().map(|it| format!("{} {}", it.network, it.address)).collect();
    assert_eq!(floating, ["front 2001:db8:f::10", "back fd00:10:1::1"]);
    assert_eq!(failover.holder_gateway6, Some("2001:db8:f::1".parse().unwrap()));
}

#[test]
fn each_family_has_a_gateway_of_its_own() {
    let with = |gateway: &str| {
        let text = dual().replacen("role: web,", &format!("role: web, gateway: {gateway},"), 1);
        let text = text.replace("balancer: {", "balancer: { force: true,");
        let topology = parse("site.yaml", &text).unwrap_or_else(|bad| panic!("{bad}"));
        let web = node(&topology, "web1");
        (web.gateway.map(|hop| hop.to_string()), web.gateway6.map(|hop| hop.to_string()))
    };
    let some = |hop: &str| Some(hop.to_owned());
    assert_eq!(with("none"), (None, None));
    assert_eq!(with("10.10.1.12"), (some("10.10.1.12"), some("fd00:10:1::1")));
    assert_eq!(with("fd00:10:1::1"), (some("10.10.1.1"), some("fd00:10:1::1")));
    assert_eq!(with("[10.10.1.22, fd00:10:1::1]"), (some("10.10.1.22"), some("fd00:10:1::1")));
    assert_eq!(with("[10.10.1.22, none]"), (some("10.10.1.22"), None));
}
