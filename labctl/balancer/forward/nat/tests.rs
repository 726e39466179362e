//! The specification against its fixtures, and against what a connection expects over its life.

use etherparse::{LaxPacketHeaders, NetHeaders, TransportHeader};

use super::super::fixtures::{INSIDE, OWN, Sent, Side, VIP, WEB1, WEB2, by_back, by_front, services};
use super::*;

const BOTH_UP: [bool; 2] = [true, true];
/// The source hash sends it to web1.
const CLIENT: &str = "198.51.100.11:40000";

fn director(available: [bool; 2]) -> Director {
    let mut director = Director::new(OWN, INSIDE);
    director.install(&services(available)).expect("services that go together");
    director.set_active(true);
    director
}

fn run(director: &mut Director, by: Side, frame: &[u8]) -> (Vec<u8>, Verdict) {
    match by {
        Side::Front => director.to_real(frame),
        Side::Back => director.to_client(frame),
    }
}

/// Whether both checksums are what a fresh computation over the packet gives.
fn checksums_are_right(frame: &[u8]) -> bool {
    let packet = LaxPacketHeaders::from_ethernet(frame).expect("an Ethernet frame");
    let (Some(NetHeaders::Ipv4(ip, _)), Some(TransportHeader::Tcp(tcp))) = (packet.net, packet.transport)
    else {
        panic!("not TCP over IPv4: {frame:02x?}");
    };
    let fresh = tcp.calc_checksum_ipv4(&ip, packet.payload.slice()).expect("a packet of ordinary size");
    ip.header_checksum == ip.calc_header_checksum() && tcp.checksum == fresh
}

#[test]
fn every_fixture_meets_its_fate() {
    for fixture in by_front().into_iter().chain(by_back()) {
        let (frame, fate) = run(&mut director(BOTH_UP), fixture.by, &fixture.frame);
        assert_eq!(fate, fixture.fate, "{}", fixture.what);
        match fate {
            Verdict::Kernel => assert_eq!(frame, fixture.frame, "{}", fixture.what),
            Verdict::ToReal(_) | Verdict::ToClient if fixture.what.contains("checksum") => {}
            Verdict::ToReal(_) | Verdict::ToClient => {
                assert!(checksums_are_right(&frame), "{}: {frame:02x?}", fixture.what);
                assert_eq!(frame[22], fixture.frame[22] - 1, "{}: one hop less", fixture.what);
            }
        }
    }
}

#[test]
fn damage_is_not_repaired() {
    for fixture in by_front().into_iter().filter(|fixture| fixture.what.contains("damaged")) {
        let (frame, _) = run(&mut director(BOTH_UP), fixture.by, &fixture.frame);
        assert!(!checksums_are_right(&frame), "{}", fixture.what);
    }
}

#[test]
fn a_director_that_is_not_active_does_nothing() {
    let mut director = director(BOTH_UP);
    director.set_active(false);
    for fixture in by_front().into_iter().chain(by_back()) {
        let outcome = run(&mut director, fixture.by, &fixture.frame);
        assert_eq!(outcome, (fixture.frame, Verdict::Kernel), "{}", fixture.what);
    }
}

#[test]
fn a_client_never_sees_a_real_server() {
    let mut director = director(BOTH_UP);
    let (request, _) = director.to_real(&Sent::new(CLIENT, "203.0.113.10:80", "S").frame());
    let request = Segment::read(&request, OWN).expect("a segment");
    assert_eq!(request.destination, Endpoint::tcp(WEB1, 8080));
    let answer = Sent::new("10.10.1.21:8080", CLIENT, "SA").frame();
    let (answer, _) = director.to_client(&answer);
    let answer = Segment::read(&answer, OWN).expect("a segment");
    assert_eq!(answer.source, Endpoint::tcp(VIP, 80));
    assert_eq!(answer.destination, request.source);
}

#[test]
fn a_connection_stays_while_new_ones_go_elsewhere() {
    let mut director = director(BOTH_UP);
    let segment = |flags| Sent::new(CLIENT, "203.0.113.10:80", flags).frame();
    assert_eq!(director.to_real(&segment("S")).1, Verdict::ToReal(WEB1.into()));
    director.install(&services([false, true])).expect("services that go together");
    assert_eq!(director.to_real(&segment("A")).1, Verdict::ToReal(WEB1.into()), "it has its real server");
    assert_eq!(director.to_real(&segment("S")).1, Verdict::ToReal(WEB2.into()), "it chooses afresh");
    director.install(&services(BOTH_UP)).expect("services that go together");
    assert_eq!(director.to_real(&segment("A")).1, Verdict::ToReal(WEB2.into()), "and keeps that");
}

#[test]
fn a_repeated_syn_does_not_move_on_in_the_round() {
    let mut director = director(BOTH_UP);
    let syn = |port: u16| Sent::new(&format!("198.51.100.10:{port}"), "203.0.113.10:443", "S").frame();
    let chosen = [1, 1, 2, 3].map(|port| director.to_real(&syn(port)).1);
    assert_eq!(chosen, [WEB1, WEB1, WEB2, WEB1].map(|web| Verdict::ToReal(web.into())));
}

#[test]
fn connections_by_source_survive_a_takeover() {
    let (mut one, mut other) = (director(BOTH_UP), director(BOTH_UP));
    for host in 1..=254 {
        let from = format!("198.51.100.{host}:40000");
        let (_, before) = one.to_real(&Sent::new(&from, "203.0.113.10:80", "S").frame());
        let (_, after) = other.to_real(&Sent::new(&from, "203.0.113.10:80", "A").frame());
        assert_eq!(before, after, "{from}");
    }
}

#[test]
fn a_real_server_that_left_loses_its_connections() {
    let mut director = director(BOTH_UP);
    let segment = |flags| Sent::new(CLIENT, "203.0.113.10:80", flags).frame();
    assert_eq!(director.to_real(&segment("S")).1, Verdict::ToReal(WEB1.into()));
    let mut without = services(BOTH_UP);
    without.iter_mut().for_each(|service| drop(service.reals.remove(0)));
    director.install(&without).expect("services that go together");
    assert_eq!(director.to_real(&segment("A")).1, Verdict::ToReal(WEB2.into()));
}

#[test]
fn nobody_to_serve_is_the_kernels_to_refuse() {
    let mut director = director([false, false]);
    let syn = Sent::new(CLIENT, "203.0.113.10:80", "S").frame();
    assert_eq!(director.to_real(&syn), (syn, Verdict::Kernel));
}

#[test]
fn one_port_of_a_real_server_cannot_have_two_services() {
    let mut services = services(BOTH_UP);
    services[1].reals = services[0].reals.clone();
    let conflict = Director::new(OWN, INSIDE).install(&services).expect_err("a conflict");
    assert_eq!(
        conflict.to_string(),
        "10.10.1.21:8080 serves both 203.0.113.10:80 and 203.0.113.10:443; \
         a real server's port can have one virtual service"
    );
}
