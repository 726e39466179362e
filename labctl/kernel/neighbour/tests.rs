//! The watch on a real cable: what the other machine's kernel answers, and what other frames say.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::kernel::fixtures::{ANSWER_MAX, Cable, Machine, WAIT_MAX, eventually};
use crate::kernel::wait;

const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);
const VIRTUAL_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];

fn watch(machine: &Machine) -> NeighbourWatch {
    let watched = [VIP.into(), VIP6.into(), OTHER.into(), OTHER6.into()];
    machine.on(|| NeighbourWatch::open(&machine.port, &watched)).expect("a watch")
}

fn frames(machine: &Machine) -> FrameSocket {
    machine.on(|| FrameSocket::open(&machine.port)).expect("a socket")
}

/// The next sighting, however many frames that are none arrive before it.
fn sighted(watch: &NeighbourWatch) -> Sighting {
    loop {
        assert!(wait::readable(watch.as_fd(), WAIT_MAX).expect("poll"), "a sighting within {WAIT_MAX:?}");
        if let Some(sighting) = watch.hear().expect("the queue can be read") {
            return sighting;
        }
    }
}

#[test]
fn who_has_an_address_answers_a_probe_for_it() {
    let Some(mut cable) = Cable::new() else { return };
    cable.right.add(OTHER.into());
    cable.right.add(OTHER6.into());
    let watch = watch(&cable.left);
    for (absent, present) in [(IpAddr::from(VIP), IpAddr::from(OTHER)), (VIP6.into(), OTHER6.into())] {
        let mut seen = None;
        // A kernel listens for questions about a new IPv6 address a little later than it has it, so they are asked again.
        eventually("an answer", || {
            // Answered in order, so whoever answered for the first would be heard first.
            watch.probe(absent).unwrap();
            watch.probe(present).unwrap();
            wait::readable(watch.as_fd(), ANSWER_MAX).unwrap();
            seen = watch.hear().unwrap();
            seen.is_some()
        });
        assert_eq!(seen, Some(Sighting { address: present, mac: cable.right.port.mac }));
        while let Some(again) = watch.hear().unwrap() {
            assert_eq!(again.address, present);
        }
    }
}

#[test]
fn an_announcement_is_a_sighting_whatever_hardware_address_it_bears() {
    let Some(cable) = Cable::new() else { return };
    let (watch, right) = (watch(&cable.left), frames(&cable.right));
    right.send(&arp::gratuitous(VIP, VIRTUAL_MAC)).unwrap();
    assert_eq!(sighted(&watch), Sighting { address: VIP.into(), mac: VIRTUAL_MAC });
    right.send(&ndp::unsolicited(VIP6, VIRTUAL_MAC)).unwrap();
    assert_eq!(sighted(&watch), Sighting { address: VIP6.into(), mac: VIRTUAL_MAC });
}

#[test]
fn another_machine_that_asks_is_heard_asking() {
    let Some(cable) = Cable::new() else { return };
    let (watch, right) = (watch(&cable.left), watch(&cable.right));
    for address in [IpAddr::from(VIP), VIP6.into()] {
        right.probe(address).unwrap();
        assert!(wait::readable(watch.as_fd(), WAIT_MAX).unwrap());
        let asks = Word::Asks(Sighting { address, mac: right.mac() });
        assert_eq!(watch.next_word(&mut 1).unwrap(), Some(asks));
    }
}

#[test]
fn own_frames_probes_of_others_and_nonsense_are_none() {
    let Some(cable) = Cable::new() else { return };
    let (watch, left, right) = (watch(&cable.left), frames(&cable.left), frames(&cable.right));
    left.send(&arp::gratuitous(VIP, VIRTUAL_MAC)).unwrap();
    left.send(&ndp::unsolicited(VIP6, VIRTUAL_MAC)).unwrap();
    // Another backup asks as we do; a frame of ours comes back by a loop in the network.
    right.send(&arp::probe(VIP, cable.right.port.mac)).unwrap();
    right.send(&ndp::probe(VIP6, cable.right.port.mac)).unwrap();
    right.send(&arp::gratuitous(VIP, cable.left.port.mac)).unwrap();
    right.send(&arp::gratuitous(Ipv4Addr::new(203, 0, 113, 99), VIRTUAL_MAC)).unwrap();
    let mut damaged = ndp::unsolicited(VIP6, VIRTUAL_MAC);
    damaged[70] ^= 1;
    right.send(&damaged).unwrap();
    right.send(&arp::gratuitous(VIP, VIRTUAL_MAC)[..30]).unwrap();
    right.send(&arp::gratuitous(OTHER, VIRTUAL_MAC)).unwrap();
    assert_eq!(sighted(&watch), Sighting { address: OTHER.into(), mac: VIRTUAL_MAC });
    assert_eq!(watch.hear().unwrap(), None);
}

/// The link carries other traffic too, none of which may wake the daemon.
#[test]
fn other_traffic_is_filtered_in_the_kernel() {
    let Some(mut cable) = Cable::new() else { return };
    cable.left.add(OTHER.into());
    cable.right.add(Ipv4Addr::new(203, 0, 113, 12).into());
    let watch = watch(&cable.left);
    let socket = cable.right.on(|| std::net::UdpSocket::bind("0.0.0.0:0")).unwrap();
    let to = cable.left.on(|| std::net::UdpSocket::bind((OTHER, 0))).unwrap();
    socket.send_to(b"knock", to.local_addr().unwrap()).unwrap();
    to.set_read_timeout(Some(WAIT_MAX)).unwrap();
    to.recv_from(&mut [0; 16]).unwrap();
    // The ARP exchange before it was one; the datagram, which has arrived, was not.
    let mut kinds = Vec::new();
    let mut buffer = [0; FRAME_BYTES_MAX];
    while let Ok(len) = (&watch.socket).read(&mut buffer) {
        kinds.push(buffer[..len][12..14].to_vec());
    }
    assert!(kinds.contains(&vec![0x08, 0x06]), "{kinds:?}");
    assert!(!kinds.contains(&vec![0x08, 0x00]), "{kinds:?}");
}
