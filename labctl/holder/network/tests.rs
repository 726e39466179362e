//! Networks of sites in the real kernel: what the plan wants can be made, and is then seen.

use std::io::Write;

use rtnetlink::LinkMacVlan;
use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::MacVlanMode;

use super::*;
use crate::plan::between;

const MACVLAN: u32 = 2000;

const DUAL_STACK: &str = include_str!("../../../topologies/dual-stack.yaml");
const VS_TUN: &str = include_str!("../../../topologies/vs-tun.yaml");

/// A site, made as its plan says; or `None` where that may not be done.
fn made(site: &str) -> Option<(Network, Wanted)> {
    let topology = crate::topology::parse("site.yaml", site).unwrap();
    let mut network = match Network::create(&topology) {
        Ok(network) => network,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: no network namespace ({error})");
            return None;
        }
    };
    let wanted = Wanted::of(&topology);
    network.carry_out(&wanted, &between(&wanted, &Observed::default())).unwrap();
    network.wait_for_carrier(None).unwrap();
    Some((network, wanted))
}

fn ask(network: &mut Network, node: &NodeName, requests: &[Request]) {
    let netlink = &mut network.nodes.get_mut(node).unwrap().netlink;
    let done = netlink.run(requests).unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// What the plan would do, a line each.
fn drift(network: &mut Network, wanted: &Wanted) -> Vec<String> {
    let observed = network.observe(|_| true, &wanted.floating).unwrap();
    between(wanted, &observed).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_planned_for_both_families_is_made_and_seen() {
    let Some((mut network, wanted)) = made(DUAL_STACK) else { return };
    assert_eq!(drift(&mut network, &wanted), Vec::<String>::new());

    let web: NodeName = "web1".parse().unwrap();
    let cable = network.numbers.cable(&web, &"back".parse().unwrap());
    let own = "fd00:10:1::21".parse().unwrap();
    ask(&mut network, &web, &[link::delete_address6(cable, own, 64)]);
    let extra = "fd00:10:1::99".parse().unwrap();
    ask(&mut network, &web, &[link::add_address6(cable, extra, 64)]);
    insta::assert_snapshot!(drift(&mut network, &wanted).join("\n"), @"
    remove address fd00:10:1::99/64 from back of web1
    add address fd00:10:1::21/64 to back of web1
    ");

    let steps = between(&wanted, &network.observe(|_| true, &wanted.floating).unwrap());
    network.carry_out(&wanted, &steps).unwrap();
    assert_eq!(drift(&mut network, &wanted), Vec::<String>::new());
}

#[test]
fn an_address_floats_on_a_macvlan_too() {
    let Some((mut network, wanted)) = made(DUAL_STACK) else { return };
    let (proxy, front): (NodeName, NetworkName) = ("proxy1".parse().unwrap(), "front".parse().unwrap());
    let cable = network.numbers.cable(&proxy, &front);
    let macvlan = LinkMacVlan::new("vr51-front", cable, MacVlanMode::Private).index(MACVLAN).up().build();
    let macvlan = Request { message: RouteNetlinkMessage::NewLink(macvlan), flags: NLM_F_CREATE };
    let (vip, vip6) = ("203.0.113.10".parse().unwrap(), "2001:db8:f::10".parse().unwrap());
    let stray = "192.0.2.1".parse().unwrap();
    let addresses = [
        link::add_address(MACVLAN, vip, 24),
        link::add_address6(MACVLAN, vip6, 64),
        link::add_address(MACVLAN, stray, 32),
    ];
    ask(&mut network, &proxy, &[macvlan]);
    ask(&mut network, &proxy, &addresses);
    let observed = network.observe(|_| true, &wanted.floating).unwrap();
    let held = &observed.nodes[&proxy].interfaces[&front].addresses;
    assert_eq!(
        held,
        &[(IpAddr::V4(vip), 24), (IpAddr::V6(vip6), 64)].into(),
        "and nothing of somebody else's"
    );
    assert_eq!(drift(&mut network, &wanted), Vec::<String>::new());
    assert!(network.has_address(&proxy, vip6.into()).unwrap());
}

#[test]
fn what_a_real_server_serves_past_the_director_is_made_and_seen() {
    let Some((mut network, wanted)) = made(VS_TUN) else { return };
    assert_eq!(drift(&mut network, &wanted), Vec::<String>::new());

    let web: NodeName = "web1".parse().unwrap();
    let (vip, hop) = ("203.0.113.10".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let wrong = [
        link::delete_address(LOOPBACK, vip, 32),
        link::delete_default_route(hop, STATIC_METRIC),
        link::add_default_route(hop, STATIC_METRIC, None),
    ];
    ask(&mut network, &web, &wrong);
    insta::assert_snapshot!(drift(&mut network, &wanted).join("\n"), @"
    add address 203.0.113.10/32 to loopback of web1
    remove default route of web1 by 192.0.2.1
    add default route of web1 by 192.0.2.1 advmss 1440
    ");

    let steps = between(&wanted, &network.observe(|_| true, &wanted.floating).unwrap());
    network.carry_out(&wanted, &steps).unwrap();
    assert_eq!(drift(&mut network, &wanted), Vec::<String>::new());
}

#[test]
fn who_is_cut_off_is_seen_and_comes_back() {
    let Some((mut network, wanted)) = made(DUAL_STACK) else { return };
    let [web1, web2]: [NodeName; 2] = ["web1", "web2"].map(|name| name.parse().unwrap());
    let back: NetworkName = "back".parse().unwrap();
    let controller = |network: &mut Network, node: &NodeName| {
        let port = network.numbers.port(node, &back);
        link::links(&mut network.fabric.netlink).unwrap().into_iter().find(|link| link.index == port).unwrap()
    };
    let whole = controller(&mut network, &web1).controller;

    // Twice: the bridge of the first cut lies there still.
    for _ in 0..2 {
        network.split(&[&web1, &web2], &back).unwrap();
        let side = controller(&mut network, &web1).controller;
        assert_ne!(side, whole);
        assert_eq!(controller(&mut network, &web2).controller, side, "they reach each other");
        insta::allow_duplicates! {
            insta::assert_snapshot!(drift(&mut network, &wanted).join("\n"), @"
            let web1 through on back
            let web2 through on back
            ");
        }
        let steps = between(&wanted, &network.observe(|_| true, &wanted.floating).unwrap());
        network.carry_out(&wanted, &steps).unwrap();
        assert_eq!(drift(&mut network, &wanted), Vec::<String>::new());
    }

    network.isolate(&[&web1, &web2], &back).unwrap();
    assert_eq!(network.isolated(&back).unwrap(), [web1.clone(), web2.clone()]);
    assert_eq!(controller(&mut network, &web1).controller, whole, "everybody else reaches them");
    insta::assert_snapshot!(drift(&mut network, &wanted).join("\n"), @"
    let web1 through on back
    let web2 through on back
    ");
    network.associate(&web1, &back).unwrap();
    network.associate(&web2, &back).unwrap();
    assert_eq!(drift(&mut network, &wanted), Vec::<String>::new());
}

#[test]
fn who_waits_for_one_node_does_not_wait_for_a_dead_one() {
    let Some((mut network, _)) = made(DUAL_STACK) else { return };
    let [dead, alive]: [NodeName; 2] = ["web1", "web2"].map(|name| name.parse().unwrap());
    network.silence(&dead, None).unwrap();
    network.wait_for_carrier(Some(&alive)).unwrap();
    let error = network.wait_for_carrier(Some(&dead)).unwrap_err();
    assert!(error.to_string().starts_with("no carrier on web1:"), "{error}");
}
