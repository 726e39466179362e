//! Frames byte by byte, and sockets on a real cable.

use super::*;
use crate::kernel::fixtures::{Cable, Machine, WAIT_MAX};
use crate::kernel::wait;

const PROTOCOL: u8 = 112;
const VIRTUAL_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];
const MESSAGE: [u8; 4] = [0x31, 0x33, 0x96, 0x01];
const LEFT: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 11);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 12);
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18));
const GROUP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12));

fn wire(own: impl Into<IpAddr>, destination: Destination, source_mac: Option<Mac>) -> Wire {
    Wire { protocol: PROTOCOL, own: own.into(), destination, ttl: 255, source_mac }
}

fn open(machine: &Machine, wire: Wire) -> ProtocolSocket {
    machine.on(|| ProtocolSocket::open(&machine.port, wire)).expect("a socket")
}

/// The next datagram, and its message.
fn heard(socket: &ProtocolSocket) -> (Datagram, Vec<u8>) {
    assert!(wait::readable(socket.as_fd(), WAIT_MAX).expect("poll"), "a datagram within {WAIT_MAX:?}");
    let mut buffer = [0; 1500];
    let datagram = socket.receive(&mut buffer).expect("a datagram");
    let message = buffer[datagram.message.clone()].to_vec();
    (datagram, message)
}

fn hears_nothing(socket: &ProtocolSocket) -> bool {
    let error = socket.receive(&mut [0; 1500]);
    error.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn a_frame_to_the_ipv4_group_is_laid_out_as_rfc_9568_has_it() {
    let wire = wire(LEFT, Destination::Group(GROUP), Some(VIRTUAL_MAC));
    let golden = [
        0x01, 0x00, 0x5e, 0x00, 0x00, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x01, 0x33, 0x08, 0x00, // Ethernet
        0x45, 0x00, 0x00, 0x18, 0x00, 0x00, 0x40, 0x00, 0xff, 0x70, // 24 bytes, whole, TTL 255, VRRP
        0x90, 0x4e, 10, 10, 1, 11, 224, 0, 0, 18, // checksum, from, to
        0x31, 0x33, 0x96, 0x01, // the message
    ];
    assert_eq!(frame(&wire, VIRTUAL_MAC, GROUP, &MESSAGE).unwrap(), golden);
}

#[test]
fn a_frame_to_the_ipv6_group_is_laid_out_as_rfc_9568_has_it() {
    let own: Ipv6Addr = "fe80::11".parse().unwrap();
    let mac = [0x00, 0x00, 0x5e, 0x00, 0x02, 0x33];
    let wire = wire(own, Destination::Group(GROUP6), Some(mac));
    let mut golden = vec![0x33, 0x33, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x02, 0x33, 0x86, 0xdd];
    golden.extend([0x60, 0, 0, 0, 0x00, 0x04, 112, 255]);
    golden.extend(own.octets());
    golden.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12]);
    golden.extend(MESSAGE);
    assert_eq!(frame(&wire, mac, GROUP6, &MESSAGE).unwrap(), golden);
}

#[test]
fn a_frame_needs_one_family_and_a_message_that_fits() {
    let wire = wire(LEFT, Destination::Group(GROUP6), Some(VIRTUAL_MAC));
    assert_eq!(frame(&wire, VIRTUAL_MAC, GROUP6, &MESSAGE), None);
    assert_eq!(frame(&wire, VIRTUAL_MAC, GROUP, &[0; 65_536]), None);
}

#[test]
fn a_packet_that_was_cut_off_or_padded_has_the_message_that_is_there() {
    let wire = wire(LEFT, Destination::Group(GROUP), None);
    let mut packet = frame(&wire, VIRTUAL_MAC, GROUP, &MESSAGE).unwrap().split_off(14);
    assert_eq!(datagram_of_ipv4(&packet[..22]).unwrap().message, 20..22);
    packet.extend([0; 8]);
    assert_eq!(datagram_of_ipv4(&packet).unwrap().message, 20..24);
    assert_eq!(datagram_of_ipv4(&packet[..19]).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn what_goes_to_the_ipv4_group_comes_from_the_own_address_and_not_back() {
    let Some(mut cable) = Cable::new() else { return };
    // The floating address first: it must not become the source.
    cable.left.add(Ipv4Addr::new(10, 10, 1, 1).into());
    cable.left.add(LEFT.into());
    cable.right.add(RIGHT.into());
    for source_mac in [None, Some(VIRTUAL_MAC)] {
        let left = open(&cable.left, wire(LEFT, Destination::Group(GROUP), source_mac));
        let right = open(&cable.right, wire(RIGHT, Destination::Group(GROUP), source_mac));
        left.send(GROUP, &MESSAGE).unwrap();
        let (datagram, message) = heard(&right);
        assert_eq!(datagram, Datagram { source: LEFT.into(), destination: GROUP, ttl: 255, message: 20..24 });
        assert_eq!(message, MESSAGE);
        right.send(GROUP, &MESSAGE[..2]).unwrap();
        assert_eq!(
            heard(&left),
            (
                Datagram { source: RIGHT.into(), destination: GROUP, ttl: 255, message: 20..22 },
                MESSAGE[..2].to_vec(),
            )
        );
        assert!(hears_nothing(&left) && hears_nothing(&right));
    }
}

#[test]
fn what_goes_to_the_ipv6_group_comes_from_the_link_local_address_and_not_back() {
    let Some(mut cable) = Cable::new() else { return };
    cable.left.add("2001:db8::1".parse().unwrap());
    let (own, other) = (cable.left.link_local(), cable.right.link_local());
    let mac = Some([0x00, 0x00, 0x5e, 0x00, 0x02, 0x33]);
    for source_mac in [None, mac] {
        let left = open(&cable.left, wire(own, Destination::Group(GROUP6), source_mac));
        let right = open(&cable.right, wire(other, Destination::Group(GROUP6), source_mac));
        left.send(GROUP6, &MESSAGE).unwrap();
        let (datagram, message) = heard(&right);
        assert_eq!(datagram, Datagram { source: own.into(), destination: GROUP6, ttl: 255, message: 0..4 });
        assert_eq!(message, MESSAGE);
        right.send(GROUP6, &MESSAGE).unwrap();
        assert_eq!(heard(&left).0.source, IpAddr::from(other));
        assert!(hears_nothing(&left) && hears_nothing(&right));
    }
}

#[test]
fn what_goes_to_peers_goes_to_each_by_itself() {
    let Some(mut cable) = Cable::new() else { return };
    cable.left.add(LEFT.into());
    cable.right.add(RIGHT.into());
    let (left6, right6) = (cable.left.link_local(), cable.right.link_local());
    let pairs: [(IpAddr, IpAddr); 2] = [(LEFT.into(), RIGHT.into()), (left6.into(), right6.into())];
    for (own, peer) in pairs {
        let left = open(&cable.left, wire(own, Destination::Peers(vec![peer]), Some(VIRTUAL_MAC)));
        let right = open(&cable.right, wire(peer, Destination::Peers(vec![own]), None));
        assert_eq!(left.destinations(), [peer]);
        left.send(peer, &MESSAGE).unwrap();
        let (datagram, message) = heard(&right);
        assert_eq!((datagram.source, datagram.destination, datagram.ttl), (own, peer, 255));
        assert_eq!(message, MESSAGE);
    }
}

#[test]
fn a_socket_needs_its_own_address() {
    let Some(cable) = Cable::new() else { return };
    let wire = wire(LEFT, Destination::Peers(vec![RIGHT.into()]), None);
    let error = cable.left.on(|| ProtocolSocket::open(&cable.left.port, wire)).expect_err("no such address");
    assert_eq!(error.to_string(), "prepare a raw socket on front");
}
