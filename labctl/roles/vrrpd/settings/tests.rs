//! From a site to settings, and every mistake with its own answer.

use std::time::Duration;

use super::*;
use crate::topology::{
    Conversation, Failover, FloatingAddress, FloatingAddress6, Interface, Memory, Node, Role, StoreEngine,
    Topology, VirtualRouter, Vrid,
};
use crate::vrrp::Version;

fn network(name: &str) -> NetworkName {
    name.parse().unwrap()
}

fn site() -> Site {
    let interface = |name: &str, addresses: &[&str]| Interface {
        network: network(name),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        addresses6: vec![],
    };
    let proxy = |name: &str, back: &str| Node {
        name: name.parse().unwrap(),
        role: Role::Proxy,
        interfaces: vec![interface("front", &[]), interface("back", &[back])],
        gateway: Some("10.10.1.1".parse().unwrap()),
        gateway6: None,
        services: vec![],
        limits: Default::default(),
    };
    let floating = |name: &str, address: &str| FloatingAddress {
        network: network(name),
        address: address.parse().unwrap(),
    };
    let nets = [("front", "203.0.113.0/24"), ("back", "10.10.1.0/25"), ("data", "10.10.2.0/24")];
    let nets6 = [("front", "2001:db8::/64"), ("back", "fd00:1::/56")];
    let priority = |name: &str, priority| (name.parse().unwrap(), priority);
    let topology = Topology {
        name: "ha".parse().unwrap(),
        networks: nets.iter().map(|(name, net)| (network(name), net.parse().unwrap())).collect(),
        networks6: nets6.iter().map(|(name, net)| (network(name), net.parse().unwrap())).collect(),
        nodes: vec![
            proxy("proxy1", "10.10.1.11"),
            proxy("proxy2", "10.10.1.12"),
            proxy("proxy3", "10.10.1.13"),
        ],
        failover: Some(Failover {
            advert_interval: Duration::from_millis(20),
            addresses: vec![floating("front", "203.0.113.10"), floating("back", "10.10.1.1")],
            holder_gateway: Some("203.0.113.1".parse().unwrap()),
            priorities: [priority("proxy1", 150), priority("proxy2", 100), priority("proxy3", 100)].into(),
            ..Failover::new(Vrid::try_from(51).unwrap(), network("back"))
        }),
        balancer: None,
        conversation: Conversation {
            memory: Memory::None,
            engine: StoreEngine::default(),
            web_port: 8080,
            db_port: 5432,
            peers: None,
        },
    };
    Site { topology, me: "proxy1".parse().unwrap(), disk: "/nowhere".into() }
}

/// The settings of a node after a change of the failover part.
fn settings(me: &str, change: impl FnOnce(&mut Failover)) -> Result<Settings, SettingsError> {
    let mut site = Site { me: me.parse().unwrap(), ..site() };
    change(site.topology.failover.as_mut().unwrap());
    Settings::of(&site)
}

/// What is wrong with the site after a change of its failover part.
fn mistake(change: impl FnOnce(&mut Failover)) -> String {
    settings("proxy1", change).unwrap_err().to_string()
}

fn floating6(name: &str, address: &str) -> FloatingAddress6 {
    FloatingAddress6 { network: network(name), address: address.parse().unwrap() }
}

fn floats(router: &Router) -> Vec<String> {
    let words = |f: &Floating| format!("{} {}/{}", f.interface, f.address, f.prefix_len);
    router.floating.iter().map(words).collect()
}

#[test]
fn each_address_gets_the_interface_and_prefix_of_its_network() {
    let settings = Settings::of(&site()).unwrap();
    let [router] = settings.routers.as_slice() else { panic!("one instance: {settings:?}") };
    assert_eq!(floats(router), ["front 203.0.113.10/24", "back 10.10.1.1/25"]);
    assert_eq!(
        router.gateway,
        Some(Gateway { interface: network("front"), address: "203.0.113.1".parse().unwrap() })
    );
    assert_eq!(settings.own, Some("10.10.1.11".parse().unwrap()));
    assert_eq!(router.interval.centiseconds(), 2);
    assert_eq!(router.advert(Version::V3, 0).addresses.len(), 2);
    assert_eq!(settings.interfaces(), [&network("back"), &network("front")]);
}

#[test]
fn an_address_on_a_macvlan_brings_no_second_route_along() {
    let settings = settings("proxy1", |f| f.mac = MacMode::Virtual).unwrap();
    assert_eq!(floats(&settings.routers[0]), ["front 203.0.113.10/24", "back 10.10.1.1/32"]);
}

#[test]
fn every_virtual_router_has_an_instance_for_each_family() {
    let settings = settings("proxy1", |f| {
        f.addresses6 = vec![floating6("front", "2001:db8::10"), floating6("back", "fd00:1::1")];
        f.holder_gateway6 = Some("2001:db8::1".parse().unwrap());
        f.version = VrrpVersion::Both;
        f.more = vec![VirtualRouter {
            name: "other".parse().unwrap(),
            vrid: Vrid::try_from(7).unwrap(),
            addresses: vec![],
            addresses6: vec![floating6("front", "2001:db8::20"), floating6("back", "fe80::7")],
            priorities: [("proxy1".parse().unwrap(), 10)].into(),
        }];
    })
    .unwrap();
    let words = |router: &Router| {
        let gateway = router.gateway.as_ref().map(|gateway| gateway.address.to_string()).unwrap_or_default();
        format!("{router} v{} {} {gateway}", router.versions, floats(router).join(" "))
    };
    let all: Vec<_> = settings.routers.iter().map(words).collect();
    insta::assert_snapshot!(all.join("\n"), @"
    VRID 51 IPv4 v2+3 front 203.0.113.10/24 back 10.10.1.1/25 203.0.113.1
    VRID 51 IPv6 v3 back fe80::200:5eff:fe00:233/64 front 2001:db8::10/64 back fd00:1::1/56 2001:db8::1
    VRID 7 IPv6 v3 back fe80::7/64 front 2001:db8::20/64
    ");
}

#[test]
fn ranks_count_who_would_win_and_no_two_are_equal() {
    let rank = |me| match settings(me, |_| {}).unwrap().routers[0].profile {
        Profile::Lab(rules) => rules,
        Profile::Rfc9568 => panic!("the lab's rules are the default"),
    };
    assert_eq!(rank("proxy1"), LabRules { rank: 0, probes: true, lease: true });
    assert_eq!((rank("proxy3").rank, rank("proxy2").rank), (1, 2), "equal priorities go by name");
}

#[test]
fn what_is_configured_reaches_the_machine() {
    let settings = settings("proxy2", |f| {
        f.addresses.truncate(2);
        f.addresses.remove(0);
        f.lease = false;
    })
    .unwrap();
    let rules = LabRules { rank: 2, probes: true, lease: false };
    assert_eq!(
        settings.routers[0].profile,
        Profile::Lab(rules),
        "two silences also where only the link of the election has an address"
    );
    let strict = super::tests::settings("proxy1", |f| f.profile = topology::Profile::Rfc9568).unwrap();
    assert_eq!(strict.routers[0].profile, Profile::Rfc9568);
    assert!(!strict.leases());
}

#[test]
fn peers_are_the_other_proxies_where_each_is_told_by_itself() {
    assert!(settings("proxy2", |_| {}).unwrap().routers[0].peers.is_empty());
    let settings = settings("proxy2", |f| f.unicast = true).unwrap();
    let peers: Vec<_> = settings.routers[0].peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["10.10.1.11", "10.10.1.13"]);
}

#[test]
fn a_stranger_has_a_say_by_the_rfc_only() {
    let members = |change: fn(&mut Failover)| settings("proxy2", change).unwrap().routers[0].members.clone();
    let others: Vec<IpAddr> = ["10.10.1.11", "10.10.1.13"].map(|one| one.parse().unwrap()).into();
    assert_eq!(members(|_| {}), Some(others.clone()));
    assert_eq!(members(|f| f.profile = topology::Profile::Rfc9568), None);
    let told = |f: &mut Failover| (f.profile, f.unicast) = (topology::Profile::Rfc9568, true);
    assert_eq!(members(told), Some(others));
}

#[test]
fn every_mistake_is_named() {
    let mut site = site();
    site.topology.failover = None;
    assert_eq!(Settings::of(&site).unwrap_err().to_string(), "the site has no failover");
    assert_eq!(mistake(|f| f.priorities.clear()), "proxy1 has no priority for VRID 51");
    assert_eq!(mistake(|f| *f.priorities.values_mut().next().unwrap() = 0), "proxy1 cannot have priority 0");
    assert_eq!(
        mistake(|f| f.addresses6 = vec![floating6("data", "2001:db8:2::1")]),
        "data has no IPv6 prefix, so 2001:db8:2::1 does not belong there"
    );
    assert_eq!(
        mistake(|f| {
            f.version = VrrpVersion::V2;
            f.advert_interval = Duration::from_secs(1);
            f.addresses6 = vec![floating6("front", "2001:db8::10")];
        }),
        "VRRPv2 has no IPv6, and VRID 51 has IPv6 addresses"
    );
    assert_eq!(
        mistake(|f| f.version = VrrpVersion::V2),
        "20ms is no advertisement interval of VRRPv2, which has whole seconds"
    );
    assert_eq!(
        mistake(|f| {
            f.unicast = true;
            f.addresses6 = vec![floating6("front", "2001:db8::10")];
        }),
        "VRID 51 has IPv6 addresses, and unicast is for IPv4: no file says where a peer's adverts come from"
    );
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
