//! Macvlans on a real cable, as the machine at its other end sees them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;

use super::*;
use crate::kernel::fixtures::{Cable, WAIT_MAX};
use crate::kernel::neighbour::{NeighbourWatch, Sighting};
use crate::kernel::wait;

const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
const VIRTUAL_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];
const SECOND_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x34];

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
fn a_macvlan_answers_with_its_own_hardware_address_and_only_while_it_is_up() {
    let Some(mut cable) = Cable::new() else { return };
    let port = cable.left.port.clone();
    let netlink = &mut cable.left.netns.netlink;
    let made = create(netlink, &port, "vr51-front", VIRTUAL_MAC).unwrap();
    assert_eq!((made.name.as_str(), made.mac), ("vr51-front", VIRTUAL_MAC));
    assert_eq!(is_up(netlink, "vr51-front"), Some(false));
    // Frames to all reach macvlans later than the link, but each in its turn: a second one shows that the first had its.
    let second = create(netlink, &port, "vr52-front", SECOND_MAC).unwrap();
    cable.left.ask(link::add_address(made.index, VIP, 32));
    cable.left.ask(link::add_address(second.index, SECOND, 32));
    cable.left.ask(link::up(second.index));

    let watched = [VIP.into(), SECOND.into()];
    let watch = cable.right.on(|| NeighbourWatch::open(&cable.right.port, &watched)).unwrap();
    let answers = || {
        watch.probe(VIP.into()).unwrap();
        watch.probe(SECOND.into()).unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&(SECOND.into(), SECOND_MAC)) {
            assert!(wait::readable(watch.as_fd(), WAIT_MAX).unwrap(), "an answer within {WAIT_MAX:?}");
            seen.extend(watch.hear().unwrap().map(|Sighting { address, mac }| (address, mac)));
        }
        seen
    };
    let second = (IpAddr::from(SECOND), SECOND_MAC);
    assert_eq!(answers(), [second]);
    cable.left.ask(link::up(made.index));
    assert_eq!(answers(), [(VIP.into(), VIRTUAL_MAC), second]);
    cable.left.ask(link::down(made.index));
    assert_eq!(answers(), [second]);
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
