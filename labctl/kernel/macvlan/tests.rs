//! Macvlans on a real cable, as the machine at its other end sees them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;

use super::*;
use crate::kernel::fixtures::{Cable, Machine, WAIT_MAX};
use crate::kernel::neighbour::{NeighbourWatch, Sighting};
use crate::kernel::protocol::{Destination, ProtocolSocket, Wire};
use crate::kernel::wait;

const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const OWN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
const VIRTUAL_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];

fn port(name: &str, index: u32) -> Port {
    Port { name: name.to_owned(), index, mac: [2, 0, 0, 0, 0, 1] }
}

#[test]
fn names_are_short_enough_and_different() {
    assert_eq!(name(51, false, &port("front", 2)), "vr51-front");
    assert_eq!(name(51, true, &port("front", 2)), "vr51v6-front");
    assert_eq!(name(255, true, &port("abcdefg", 2)), "vr255v6-abcdefg");
    assert_eq!(name(255, true, &port("abcdefgh", 7)), "vr255v6-if7");
}

/// Whether a macvlan of this name is up, if there is one.
fn is_up(netlink: &mut Netlink, name: &str) -> Option<bool> {
    let links = link::links(netlink).unwrap();
    links.into_iter().find(|link| link.name == name).map(|link| link.admin_up)
}

#[test]
fn a_macvlan_answers_at_once_with_its_own_hardware_address_and_only_while_it_is_up() {
    let Some(mut cable) = Cable::new() else { return };
    cable.left.add(OWN.into());
    let port = cable.left.port.clone();
    let netlink = &mut cable.left.netns.netlink;
    let made = create(netlink, &port, "vr51-front", VIRTUAL_MAC).unwrap();
    assert_eq!((made.name.as_str(), made.mac), ("vr51-front", VIRTUAL_MAC));
    assert_eq!(is_up(netlink, "vr51-front"), Some(false));
    cable.left.ask(link::add_address(made.index, VIP, 32));

    let watched = [VIP.into(), OWN.into()];
    let watch = cable.right.on(|| NeighbourWatch::open(&cable.right.port, &watched)).unwrap();
    // The link itself, asked later, answers later: a macvlan that took its time would be too late.
    let own = (IpAddr::from(OWN), port.mac);
    let answers = || {
        watch.probe(VIP.into()).unwrap();
        watch.probe(OWN.into()).unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&own) {
            assert!(wait::readable(watch.as_fd(), WAIT_MAX).unwrap(), "an answer within {WAIT_MAX:?}");
            seen.extend(watch.hear().unwrap().map(|Sighting { address, mac }| (address, mac)));
        }
        seen
    };
    assert_eq!(answers(), [own]);
    cable.left.ask(link::up(made.index));
    assert_eq!(answers(), [(VIP.into(), VIRTUAL_MAC), own]);
    cable.left.ask(link::down(made.index));
    assert_eq!(answers(), [own]);
}

/// Every router of a group advertises with the same hardware address, which one of them has on a macvlan.
#[test]
fn the_link_hears_another_machine_with_the_hardware_address_of_its_macvlan() {
    let Some(mut cable) = Cable::new() else { return };
    let port = cable.left.port.clone();
    let made = create(&mut cable.left.netns.netlink, &port, "vr51-front", VIRTUAL_MAC).unwrap();
    cable.left.ask(link::up(made.index));
    cable.left.add(OWN.into());
    cable.right.add(VIP.into());
    let group = IpAddr::from(Ipv4Addr::new(224, 0, 0, 18));
    let open = |machine: &Machine, own: Ipv4Addr| {
        let destination = Destination::Group(group);
        let source_mac = Some(VIRTUAL_MAC);
        let wire = Wire { protocol: 112, own: own.into(), destination, ttl: 255, source_mac };
        machine.on(|| ProtocolSocket::open(&machine.port, wire)).unwrap()
    };
    let (left, right) = (open(&cable.left, OWN), open(&cable.right, VIP));
    right.send(group, b"word").unwrap();
    assert!(wait::readable(left.as_fd(), WAIT_MAX).unwrap(), "it is heard within {WAIT_MAX:?}");
    assert_eq!(left.receive(&mut [0; 64]).unwrap().source, IpAddr::from(VIP));
    left.send(group, b"word").unwrap();
    assert!(wait::readable(right.as_fd(), WAIT_MAX).unwrap(), "it is heard within {WAIT_MAX:?}");
}

#[test]
fn what_a_killed_run_left_behind_is_replaced() {
    let Some(mut cable) = Cable::new() else { return };
    let link_port = cable.left.port.clone();
    let netlink = &mut cable.left.netns.netlink;
    let first = create(netlink, &link_port, "vr51-front", VIRTUAL_MAC).unwrap();
    let requests = [link::up(first.index), link::add_address(first.index, VIP, 24)];
    assert_eq!(netlink.run(&requests).unwrap(), [Ok(()), Ok(())]);
    let second = create(netlink, &link_port, "vr51-front", VIRTUAL_MAC).unwrap();
    assert_eq!(is_up(netlink, "vr51-front"), Some(false));
    assert!(link::addresses(netlink).unwrap().iter().all(|address| address.index != second.index));
    remove(netlink, "vr51-front").unwrap();
    assert_eq!(is_up(netlink, "vr51-front"), None);
    remove(netlink, "vr51-front").unwrap();
}

#[test]
fn a_macvlan_without_a_link_is_refused_by_name() {
    let Some(mut cable) = Cable::new() else { return };
    let error = create(&mut cable.left.netns.netlink, &port("nowhere", 99), "vr51-nowhere", VIRTUAL_MAC);
    assert_eq!(error.expect_err("no such link").to_string(), "create the macvlan vr51-nowhere");
}
