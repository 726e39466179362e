//! Real servers of the four methods in good health, and what is said when one setting is another.

use super::*;
use crate::topology::parse;

const NAT: &str = include_str!("../../../topologies/vs-nat.yaml");
const TUN: &str = include_str!("../../../topologies/vs-tun.yaml");
const DR: &str = include_str!("../../../topologies/vs-dr.yaml");
const PROXY: &str = include_str!("../../../topologies/vs-proxy.yaml");

fn topology(site: &str) -> Topology {
    parse("site.yaml", site).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// What the kernel of a node says when it is as the lab has set it.
fn healthy(topology: &Topology, node: &str) -> Survey {
    let name: NodeName = node.parse().unwrap();
    let node = topology.node(&name).unwrap();
    let link = |addresses| LinkSurvey { addresses, arp_ignore: 1, arp_announce: 2, rp_filter: 0, mtu: 1500 };
    let cables = node.interfaces.iter().map(|it| (it.network.to_string(), link(it.all().collect())));
    let lo = (LOOPBACK.to_owned(), LinkSurvey { mtu: 65536, ..link(topology.served_directly(&name)) });
    let plan = crate::plan::Wanted::of(topology);
    let route = |route: &crate::plan::Route| RouteSurvey {
        gateway: route.gateway,
        metric: 200,
        mss: route.mss,
        link: node.interfaces[0].network.to_string(),
    };
    let routes = plan.node(&name).unwrap().gateways.iter().map(route).collect();
    Survey { links: cables.chain([lo]).collect(), routes }
}

/// What is said when web1 is changed like that.
fn said(site: &str, change: impl FnOnce(&mut Survey)) -> String {
    let topology = topology(site);
    let mut survey = healthy(&topology, "web1");
    change(&mut survey);
    let surveys =
        [("web1".parse().unwrap(), Ok(survey)), ("web2".parse().unwrap(), Ok(healthy(&topology, "web2")))];
    let found = findings(&topology, &surveys.into());
    found.iter().map(|finding| format!("{finding}\n")).collect()
}

fn link<'a>(survey: &'a mut Survey, name: &str) -> &'a mut LinkSurvey {
    survey.links.get_mut(name).unwrap()
}

#[test]
fn as_the_lab_sets_them_there_is_nothing_to_say() {
    for site in [NAT, TUN, DR, PROXY] {
        assert_eq!(said(site, |_| ()), "");
    }
}

#[test]
fn only_those_who_get_packets_are_asked() {
    let asked = |site| to_be_asked(&topology(site)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(asked(DR), ["web1", "web2"]);
    assert_eq!(asked(PROXY), [""; 0]);
}

#[test]
fn the_address_is_missing() {
    insta::assert_snapshot!(said(TUN, |survey| link(survey, "lo").addresses.clear()), @"
    vip-missing: web1 does not have 203.0.113.10, so it drops what the director hands it
      where: `labctl exec web1 -- ip address show lo`
      next:  `labctl exec web1 -- ip address add 203.0.113.10/32 dev lo`
    ");
}

#[test]
fn the_address_is_on_a_cable() {
    insta::assert_snapshot!(said(DR, |survey| {
        link(survey, "lo").addresses.clear();
        link(survey, "front").addresses.insert("203.0.113.10".parse().unwrap());
    }), @"
    arp: web1 has 203.0.113.10 on front, and tells everybody there: clients come past the director
      where: `labctl exec web1 -- ip address show`
      next:  `labctl exec web1 -- ip address del 203.0.113.10/24 dev front`
    ");
}

#[test]
fn it_answers_arp() {
    insta::assert_snapshot!(said(DR, |survey| link(survey, "front").arp_ignore = 0), @"
    arp: web1 answers ARP for 203.0.113.10 on front: clients come past the director
      where: `labctl exec web1 -- sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.front.arp_ignore`
      next:  `labctl exec web1 -- sysctl -w net.ipv4.conf.all.arp_ignore=1`
    ");
    insta::assert_snapshot!(said(DR, |survey| link(survey, "front").arp_announce = 0), @"
    arp: web1 may ask for others on front in the name of 203.0.113.10: they then take it for its holder
      where: `labctl exec web1 -- sysctl net.ipv4.conf.all.arp_announce net.ipv4.conf.front.arp_announce`
      next:  `labctl exec web1 -- sysctl -w net.ipv4.conf.all.arp_announce=2`
    ");
    // The network of the service's address is another.
    assert_eq!(said(TUN, |survey| link(survey, "far").arp_ignore = 0), "");
}

#[test]
fn it_filters_strictly() {
    insta::assert_snapshot!(said(DR, |survey| link(survey, "front").rp_filter = 1), @"
    rp-filter: web1 drops requests that come by front unless their answers leave by it too (rp_filter 1), and in this method the two ways have nothing to do with each other
      where: `labctl exec web1 -- sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.front.rp_filter`
      next:  `labctl exec web1 -- sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.front.rp_filter=0`
    ");
    assert_eq!(said(DR, |survey| link(survey, "front").rp_filter = 2), "");
}

#[test]
fn its_segments_are_too_large_for_the_tunnel() {
    insta::assert_snapshot!(said(TUN, |survey| survey.routes[0].mss = None), @"
    mss: web1 asks clients for TCP segments of 1460 bytes, and the tunnel takes 1440: large uploads stall
      where: `labctl exec web1 -- ip route show default`
      next:  `labctl exec web1 -- ip route change default via 192.0.2.1 metric 200 advmss 1440`
    ");
    insta::assert_snapshot!(said(TUN, |survey| survey.routes[0].mss = Some(1460)), @"
    mss: web1 asks clients for TCP segments of 1460 bytes, and the tunnel takes 1440: large uploads stall
      where: `labctl exec web1 -- ip route show default`
      next:  `labctl exec web1 -- ip route change default via 192.0.2.1 metric 200 advmss 1440`
    ");
    assert_eq!(said(TUN, |survey| (survey.routes[0].mss, link(survey, "far").mtu) = (None, 1480)), "");
    assert_eq!(said(DR, |survey| survey.routes[0].mss = None), "", "there is no tunnel");
}

#[test]
fn its_answers_do_not_pass_the_director() {
    let route = |gateway: &str, metric| RouteSurvey {
        gateway: gateway.parse().unwrap(),
        metric,
        mss: None,
        link: "back".to_owned(),
    };
    insta::assert_snapshot!(said(NAT, |survey| survey.routes.push(route("10.10.1.22", 0))), @"
    gateway: web1 answers by 10.10.1.22 instead of 10.10.1.1: its answers do not pass the director, which alone can put the service's address into them
      where: `labctl exec web1 -- ip route show default`
      next:  `labctl exec web1 -- ip route replace default via 10.10.1.1 metric 0`
    ");
    insta::assert_snapshot!(said(NAT, |survey| survey.routes.clear()), @"
    gateway: web1 answers by no default route: its answers do not pass the director, which alone can put the service's address into them
      where: `labctl exec web1 -- ip route show default`
      next:  `labctl exec web1 -- ip route add default via 10.10.1.1 metric 200`
    ");
    assert_eq!(said(NAT, |survey| survey.routes.push(route("10.10.1.22", 300))), "", "a lower metric counts");
}

#[test]
fn nobody_answers() {
    let surveys = [("web1".parse().unwrap(), Err("no such process".to_owned()))];
    let found = findings(&topology(DR), &surveys.into());
    insta::assert_snapshot!(found[0], @"
    silent: the kernel of web1 cannot be asked how it is set: no such process
      where: `labctl exec web1`
      next:  `labctl status` shows whether it runs
    ");
}
