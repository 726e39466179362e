//! The plan against its model: applying it gives what is wanted, and applying it twice plans nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NETWORKS: [&str; 3] = ["back", "data", "front"];
const NODES: [&str; 4] = ["db1", "proxy1", "router", "web1"];

fn network(at: usize) -> NetworkName {
    NETWORKS[at].parse().expect("a good name")
}

fn address(network: usize, host: u8) -> (IpAddr, u8) {
    // Every other one is of IPv6, so that no step can do without a family.
    match host % 2 {
        0 => (IpAddr::from([0xfd00, 0x10, network as u16, 0, 0, 0, 0, u16::from(host)]), 64),
        _ => (IpAddr::from([10, 10, network as u8, host]), 24),
    }
}

fn route(host: u8) -> Route {
    // One in three asks for small segments.
    Route { gateway: address(0, host).0, mss: host.is_multiple_of(3).then_some(1440) }
}

type Cables = BTreeMap<usize, Vec<u8>>;

fn cables() -> impl Strategy<Value = Cables> {
    prop::collection::btree_map(0..NETWORKS.len(), prop::collection::vec(1..5u8, 0..3), 0..3)
}

fn wanted_node(name: &str, cables: Cables, gateway: Option<Vec<u8>>) -> WantedNode {
    let interfaces = cables
        .into_iter()
        .map(|(at, hosts)| (network(at), hosts.into_iter().map(|host| address(at, host)).collect()));
    WantedNode {
        name: name.parse().expect("a good name"),
        settings: Vec::new(),
        interfaces: interfaces.collect(),
        loopback: [].into(),
        gateways: gateway.into_iter().flatten().map(route).collect(),
    }
}

prop_compose! {
    fn any_wanted()(
        bridges in prop::collection::btree_set(0..NETWORKS.len(), 0..=NETWORKS.len()),
        nodes in prop::collection::btree_map(0..NODES.len(), (cables(), prop::option::of(prop::collection::vec(1..5u8, 1..3))), 0..4),
        served in prop::collection::vec(prop::collection::vec(1..5u8, 0..2), NODES.len()),
    ) -> Wanted {
        let nodes = nodes.into_iter().zip(served).map(|((at, (cables, gateway)), served)| {
            let served = served.into_iter().map(|host| (address(0, host).0, 32));
            WantedNode { loopback: served.collect(), ..wanted_node(NODES[at], cables, gateway) }
        });
        Wanted {
            bridges: bridges.into_iter().map(network).collect(),
            nodes: nodes.collect(),
            floating: [address(0, 250).0].into(),
        }
    }
}

fn observed_node(wanted: WantedNode, up: bool, running: bool, floats: bool, foreign: bool) -> ObservedNode {
    let mut interfaces: BTreeMap<_, _> = wanted
        .interfaces
        .into_iter()
        .map(|(network, addresses)| (network, ObservedInterface { up, addresses, cut: foreign }))
        .collect();
    if floats && let Some(interface) = interfaces.values_mut().next() {
        interface.addresses.insert(address(0, 250));
    }
    let mut routes: std::collections::BTreeSet<_> =
        wanted.gateways.into_iter().map(|route| (route, STATIC_METRIC)).collect();
    if foreign {
        routes.insert((Route { gateway: address(2, 1).0, mss: None }, 10));
    }
    ObservedNode { loopback_up: up, loopback: wanted.loopback, interfaces, routes, running }
}

prop_compose! {
    fn any_observed()(
        like in any_wanted(),
        marks in prop::collection::vec(any::<(bool, bool, bool, bool)>(), NODES.len()),
    ) -> Observed {
        let nodes = like.nodes.into_iter().zip(marks).map(|(node, (up, running, floats, foreign))| {
            (node.name.clone(), observed_node(node, up, running, floats, foreign))
        });
        Observed { bridges: like.bridges, nodes: nodes.collect() }
    }
}

/// What is wanted, with whatever a daemon of the nodes that stay may keep.
fn expected(wanted: &Wanted, before: &Observed) -> Observed {
    let nodes = wanted.nodes.iter().map(|node| {
        let mut seen = observed_node(node.clone(), true, true, false, false);
        if let Some(before) = before.nodes.get(&node.name) {
            seen.routes.extend(before.routes.iter().filter(|(_, metric)| *metric != STATIC_METRIC));
            for (network, interface) in &mut seen.interfaces {
                let floating =
                    before.interfaces.get(network).into_iter().flat_map(|before| &before.addresses);
                interface.addresses.extend(floating.filter(|(address, _)| wanted.floating.contains(address)));
            }
        }
        (node.name.clone(), seen)
    });
    Observed { bridges: wanted.bridges.clone(), nodes: nodes.collect() }
}

proptest! {
    #[test]
    fn applying_the_plan_gives_what_is_wanted_and_a_second_plan_is_empty(
        wanted in any_wanted(),
        before in any_observed(),
    ) {
        let mut observed = before.clone();
        for step in between(&wanted, &before) {
            apply(&step, &mut observed);
        }
        prop_assert_eq!(&observed, &expected(&wanted, &before));
        prop_assert_eq!(between(&wanted, &observed), vec![]);
    }

    #[test]
    fn no_step_touches_what_an_earlier_one_has_not_made(wanted in any_wanted()) {
        let mut observed = Observed::default();
        for step in between(&wanted, &Observed::default()) {
            match &step {
                Step::AddLink { node, .. } | Step::LoopbackUp { node } | Step::StartNode { node } => {
                    prop_assert!(observed.nodes.contains_key(node), "{} before its namespace", step);
                }
                Step::AddAddress { node, network, .. } | Step::LinkUp { node, network } => {
                    prop_assert!(observed.nodes[node].interfaces.contains_key(network), "{} before its cable", step);
                }
                _ => {}
            }
            apply(&step, &mut observed);
        }
    }
}

#[test]
fn steps_of_a_small_site() {
    let wanted = Wanted {
        bridges: [network(0), network(2)].into(),
        nodes: vec![
            wanted_node("proxy1", [(0, vec![11, 12]), (2, vec![])].into(), Some(vec![1, 2])),
            wanted_node("web1", [(0, vec![21])].into(), None),
        ],
        floating: [address(0, 1).0].into(),
    };
    let steps = between(&wanted, &Observed::default());
    let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @"
    add bridge back
    add bridge front
    add network namespace of proxy1
    add network namespace of web1
    plug proxy1 into back
    plug proxy1 into front
    plug web1 into back
    bring up loopback of proxy1
    bring up back of proxy1
    add address 10.10.0.11/24 to back of proxy1
    add address fd00:10::c/64 to back of proxy1
    bring up front of proxy1
    add default route of proxy1 by 10.10.0.1
    add default route of proxy1 by fd00:10::2
    bring up loopback of web1
    bring up back of web1
    add address 10.10.0.21/24 to back of web1
    start proxy1
    start web1
    ");
}

#[test]
fn a_node_that_is_switched_off_is_stopped_unplugged_and_forgotten() {
    let wanted = Wanted { bridges: [network(0)].into(), nodes: vec![], floating: [].into() };
    let web = observed_node(wanted_node("web1", [(0, vec![21])].into(), None), true, true, false, false);
    let observed = Observed {
        bridges: [network(0)].into(),
        nodes: [("web1".parse().expect("a good name"), web)].into(),
    };
    let text: Vec<String> = between(&wanted, &observed).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    stop web1
    unplug web1 from back
    remove network namespace of web1
    ");
}

/// The IPv6 settings of a node of the dual-stack site, and whether the plan asks more than IPv4 of it.
fn ipv6_of(name: &str) -> (Vec<String>, bool) {
    let text = include_str!("../../topologies/dual-stack.yaml");
    let topology = crate::topology::parse("dual-stack.yaml", text).expect("a topology");
    let wanted = Wanted::of(&topology);
    let node = wanted.nodes.iter().find(|node| node.name.as_str() == name).expect("a node");
    let settings = node.settings.iter().filter(|(key, _)| key.contains("ipv6"));
    let own = node.interfaces.values().flatten().map(|(address, _)| address);
    let mut own = own.chain(node.gateways.iter().map(|route| &route.gateway));
    (settings.map(|(key, value)| format!("{key} = {value}")).collect(), own.any(IpAddr::is_ipv6))
}

#[test]
fn ipv6_is_off_where_nobody_uses_it() {
    for without in ["attacker", "db1"] {
        let (settings, asks) = ipv6_of(without);
        assert_eq!(
            settings,
            ["?net.ipv6.conf.all.disable_ipv6 = 1", "?net.ipv6.conf.default.disable_ipv6 = 1"]
        );
        assert!(!asks, "{without} has neither address nor route");
    }
}

#[test]
fn ipv6_is_on_before_there_is_a_cable() {
    let (client, asks) = ipv6_of("client");
    assert!(asks);
    assert!(!client.iter().any(|setting| setting.contains("forwarding")), "a client is no router");
    let (proxy, _) = ipv6_of("proxy1");
    insta::assert_snapshot!(proxy.join("\n"), @"
    net.ipv6.conf.all.disable_ipv6 = 0
    net.ipv6.conf.default.disable_ipv6 = 0
    net.ipv6.conf.all.accept_dad = 0
    net.ipv6.conf.default.accept_dad = 0
    net.ipv6.conf.all.accept_ra = 0
    net.ipv6.conf.default.accept_ra = 0
    net.ipv6.conf.all.accept_redirects = 0
    net.ipv6.conf.default.accept_redirects = 0
    net.ipv6.conf.all.keep_addr_on_down = 1
    net.ipv6.conf.default.keep_addr_on_down = 1
    net.ipv6.conf.all.forwarding = 1
    net.ipv6.conf.default.forwarding = 1
    ");
}

/// What a plan does on one node of a topology.
fn steps_of(file: &str, node: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(file);
    let text = std::fs::read_to_string(path).expect("a file");
    let topology = crate::topology::parse(file, &text).unwrap_or_else(|invalid| panic!("{invalid}"));
    let steps = between(&Wanted::of(&topology), &Observed::default());
    let of_node = |step: &&Step| step.node().is_some_and(|name| name.as_str() == node);
    steps.iter().filter(of_node).map(|step| format!("{step}\n")).collect()
}

#[test]
fn a_real_server_that_answers_clients_itself_has_the_address_and_says_it_to_nobody() {
    insta::assert_snapshot!(steps_of("vs-dr.yaml", "web1"), @"
    add network namespace of web1
    plug web1 into front
    bring up loopback of web1
    add address 203.0.113.10/32 to loopback of web1
    bring up front of web1
    add address 203.0.113.21/24 to front of web1
    add default route of web1 by 203.0.113.1
    start web1
    ");
}

#[test]
fn a_real_server_behind_a_tunnel_asks_for_segments_that_fit_into_it() {
    insta::assert_snapshot!(steps_of("vs-tun.yaml", "web1"), @"
    add network namespace of web1
    plug web1 into far
    bring up loopback of web1
    add address 203.0.113.10/32 to loopback of web1
    bring up far of web1
    add address 192.0.2.21/24 to far of web1
    add default route of web1 by 192.0.2.1 advmss 1440
    start web1
    ");
    assert_eq!((tunnel_mss(false), tunnel_mss(true)), (1440, 1400));
}

#[test]
fn what_a_director_holds_is_not_the_plans() {
    assert!(!steps_of("vs-dr.yaml", "proxy1").contains("203.0.113.10"));
}
