//! Frames with what must become of them, one line each, for the specification and for the data plane in the kernel; and the
//! small world that they belong to: one director, clients on a street, services of every method, family and protocol.

mod answers;
mod errors;
pub(crate) mod packet;
mod requests;
mod sizes;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::{Endpoint, Method, Protocol, Real, Scheduler, Service};
use super::{Director, Interface, Mac, Settings, Verdict};

/// The hardware address of the loopback device, on which the kernel tries programs out.
pub(crate) const OWN: Mac = [0; 6];
/// Hardware addresses of virtual router 51 (RFC 9568 section 7.3).
const VIRTUAL_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];
const VIRTUAL_MAC_V6: Mac = [0x00, 0x00, 0x5e, 0x00, 0x02, 0x33];
/// Frames come from here.
const NEIGHBOUR: Mac = [2, 0, 0, 0, 0, 1];

/// What fits through both interfaces.
pub(crate) const MTU: u16 = 1500;
/// The networks that the director shares with the real servers of `nat` and `dr`.
pub(crate) const INSIDE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 10, 1, 0), 24);
pub(crate) const INSIDE_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x10, 1, 0, 0, 0, 0), 64);
/// Where tunnels come from.
pub(crate) const TUNNEL: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 11);
pub(crate) const TUNNEL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x10, 1, 0, 0, 0, 0x11);

/// The virtual addresses.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10);
/// The real servers of `nat` and `dr`.
pub(crate) const WEB1: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 21);
pub(crate) const WEB2: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 22);
const WEB1_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x10, 1, 0, 0, 0, 0x21);
const WEB2_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x10, 1, 0, 0, 0, 0x22);
/// The real servers of `tun`, behind other routers.
const FAR1: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 21);
const FAR2: Ipv4Addr = Ipv4Addr::new(10, 20, 2, 22);
const FAR1_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x20, 1, 0, 0, 0, 0x21);
const FAR2_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x20, 2, 0, 0, 0, 0x22);

/// Ports of services, the same for both families; what is `nat` by source is on port 8080 of the webs.
pub(crate) const NAT_BY_SOURCE: u16 = 80;
pub(crate) const NAT_IN_TURN: u16 = 443;
pub(crate) const NAT_UDP: u16 = 53;
pub(crate) const TUN_TCP: u16 = 8000;
pub(crate) const TUN_UDP: u16 = 8053;
pub(crate) const DR_TCP: u16 = 8100;
pub(crate) const DR_UDP: u16 = 8153;

/// Which interface a frame comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Front,
    Back,
}

/// One frame and its fate.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    pub(crate) what: &'static str,
    /// What came before it.
    pub(crate) before: Vec<(Side, Vec<u8>)>,
    pub(crate) by: Side,
    pub(crate) frame: Vec<u8>,
    pub(crate) fate: Verdict,
}

/// All fixtures, by the name of their group.
pub(crate) fn groups() -> Vec<(&'static str, Vec<Fixture>)> {
    vec![
        ("requests", requests::well_formed()),
        ("strangers", requests::strangers()),
        ("answers", answers::answers()),
        ("errors-to-reals", errors::to_reals()),
        ("errors-to-clients", errors::to_clients()),
        ("sizes", sizes::sizes()),
    ]
}

/// All fixtures.
pub(crate) fn fixtures() -> impl Iterator<Item = Fixture> {
    groups().into_iter().flat_map(|(_, fixtures)| fixtures)
}

/// What the director of this world is told.
pub(crate) fn settings() -> Settings {
    let interface = Interface { mac: OWN, mtu: MTU };
    Settings {
        front: interface,
        back: interface,
        inside: vec![IpNet::V4(INSIDE), IpNet::V6(INSIDE_V6)],
        tunnel_v4: Some(TUNNEL),
        tunnel_v6: Some(TUNNEL_V6),
    }
}

/// The director of this world, active. That of everybody available is made once: each of its tables has 65,537 slots.
pub(crate) fn director(available: [bool; 2]) -> Director {
    static EVERYBODY: LazyLock<Director> = LazyLock::new(|| made([true, true]));
    if available == [true, true] { EVERYBODY.clone() } else { made(available) }
}

fn made(available: [bool; 2]) -> Director {
    let mut director = Director::new(settings());
    director.install(&services(available)).expect("services that go together");
    director.set_active(true);
    director
}

/// What a director does to a frame.
pub(crate) fn run(director: &mut Director, by: Side, frame: &[u8]) -> (Vec<u8>, Verdict) {
    match by {
        Side::Front => director.from_street(frame),
        Side::Back => director.from_reals(frame),
    }
}

/// The services of this world. Each has two real servers, and whether the first and the second of them are available is the
/// same for all.
pub(crate) fn services(available: [bool; 2]) -> Vec<Service> {
    let families: [[IpAddr; 5]; 2] = [
        [VIP, WEB1, WEB2, FAR1, FAR2].map(IpAddr::V4),
        [VIP_V6, WEB1_V6, WEB2_V6, FAR1_V6, FAR2_V6].map(IpAddr::V6),
    ];
    let mut services = Vec::new();
    for [address, web1, web2, far1, far2] in families {
        let (webs, fars) = ([("web1", web1), ("web2", web2)], [("far1", far1), ("far2", far2)]);
        let mut add = |port, protocol, method, scheduler, real_port, reals: [(&str, IpAddr); 2]| {
            let reals = reals.into_iter().zip(available).map(|((name, address), available)| Real {
                name: name.to_owned(),
                endpoint: Endpoint { address, port: real_port, protocol },
                weight: 1,
                available,
            });
            let address = Endpoint { address, port, protocol };
            services.push(Service { address, method, scheduler, reals: reals.collect() });
        };
        use {Method::*, Protocol::*, Scheduler::*};
        add(NAT_BY_SOURCE, Tcp, Nat, SourceHash, 8080, webs);
        add(NAT_IN_TURN, Tcp, Nat, RoundRobin, 443, webs);
        add(NAT_UDP, Udp, Nat, WeightedRoundRobin, 5353, webs);
        add(TUN_TCP, Tcp, Tun, Scheduler::Maglev, TUN_TCP, fars);
        add(TUN_UDP, Udp, Tun, SourceHash, TUN_UDP, fars);
        add(DR_TCP, Tcp, Dr, WeightedLeastConnections, DR_TCP, webs);
        add(DR_UDP, Udp, Dr, NeverQueue, DR_UDP, webs);
    }
    services
}

fn fixture(what: &'static str, by: Side, frame: Vec<u8>, fate: Verdict) -> Fixture {
    Fixture { what, before: Vec::new(), by, frame, fate }
}

/// A frame with bytes replaced.
fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend([0xa5; 6]);
    frame
}
