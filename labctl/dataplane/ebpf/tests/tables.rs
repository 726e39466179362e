//! What the kernel's tables do that the specification's do not: they fill up, and user space counts in them and clears them.
//! And super-packets of segmentation offload, which the specification does not have either.

use std::net::{Ipv4Addr, SocketAddr};

use super::super::super::registry::POSTS_MAX;
use super::*;
use crate::balancer::forward::fixtures::packet::Content;
use crate::balancer::forward::fixtures::{DR_TCP, NAT_BY_SOURCE, NAT_IN_TURN, TUN_TCP, VIP};

/// Room for connections, of each kind; connections that carry data, and openings of a flood, a multiple of the room.
const ROOM: u32 = 4096;
const CARRIERS: u32 = 1000;
const FLOOD: u32 = 4 * ROOM;
/// Longer than any connection may be silent and still count, in the units of the programs.
const LONG: u32 = 1000;
/// Where in a `struct __sk_buff` the size of segments stands, and how long that is.
const GSO_SIZE_AT: usize = 176;
const SK_BUFF_BYTES: usize = 192;

/// A plane with room for so many, active, with all services.
fn small(flows_max: u32) -> Option<EbpfPlane> {
    let loaded = EbpfPlane::load(Settings { flows_max, ..settings() }, LOOPBACK, LOOPBACK);
    let (mut plane, mut switch) = match loaded {
        Ok(pair) => pair,
        Err(error) => {
            assert!(error.lacks_ebpf(), "{error:?}");
            let _ = writeln!(std::io::stderr(), "skipped: no eBPF ({error})");
            return None;
        }
    };
    plane.install(&services([true, true])).expect("install");
    switch.set(true).expect("switch");
    Some(plane)
}

/// What a client says to a service, by its number and the service's port.
fn says(plane: &mut EbpfPlane, client: u32, port: u16, flags: &str) {
    let from =
        SocketAddr::from((Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + client), 40_000));
    let sent = Sent::new(from, (VIP, port).into(), Content::Tcp(flags.to_owned()));
    let (_, sent_on) = run(plane, Side::Front, &sent.frame());
    assert!(sent_on, "a director passes on what is for its services");
}

fn sorted_flows(plane: &EbpfPlane) -> Vec<Flow> {
    let mut flows = plane.flows().expect("flows");
    flows.sort();
    flows
}

/// The active connections of the services on a port.
fn active(plane: &EbpfPlane, port: u16) -> u64 {
    let usage = plane.usage().expect("usage");
    usage.iter().filter(|((service, _), _)| service.port == port).map(|(_, usage)| usage.active).sum()
}

/// Of nat, tun and dr: one that chooses by a hash and two that remember whom they chose.
const PORTS: [u16; 3] = [NAT_IN_TURN, TUN_TCP, DR_TCP];

#[test]
fn a_flood_of_openings_evicts_no_connection_that_carries_data() {
    let Some(mut plane) = small(ROOM) else { return };
    for client in 0..CARRIERS {
        for port in PORTS {
            says(&mut plane, client, port, "S");
            says(&mut plane, client, port, "A");
        }
    }
    let (carriers, before) = (sorted_flows(&plane), plane.stats().expect("stats"));
    assert_eq!(carriers.len(), CARRIERS as usize * PORTS.len());
    for client in CARRIERS..CARRIERS + FLOOD {
        for port in PORTS {
            says(&mut plane, client, port, "S");
        }
    }
    assert_eq!(sorted_flows(&plane), carriers, "all have their entries, and nobody else has one");
    for client in 0..CARRIERS {
        for port in PORTS {
            says(&mut plane, client, port, "AP");
        }
    }
    let after = plane.stats().expect("stats");
    assert_eq!(after.kept - before.kept, u64::from(CARRIERS) * PORTS.len() as u64);
    assert_eq!(after.missed, before.missed, "nobody was chosen anew who carries data");
    assert_eq!(after.opened - before.opened, u64::from(FLOOD) * PORTS.len() as u64);
}

#[test]
fn a_handshake_ends_well_in_a_flood_that_is_smaller_than_the_table_of_openings() {
    let Some(mut plane) = small(ROOM) else { return };
    says(&mut plane, 0, NAT_IN_TURN, "S");
    for client in 1..ROOM / 2 {
        says(&mut plane, client, NAT_IN_TURN, "S");
    }
    says(&mut plane, 0, NAT_IN_TURN, "A");
    let stats = plane.stats().expect("stats");
    assert_eq!((stats.kept, stats.missed), (1, 0));
}

#[test]
fn only_connections_that_live_are_counted_anew() {
    let Some(mut plane) = small(ROOM) else { return };
    for client in 0..4 {
        says(&mut plane, client, NAT_IN_TURN, "S");
    }
    // One carries data, one has ended, one was given up; the fourth stays an opening.
    says(&mut plane, 0, NAT_IN_TURN, "A");
    says(&mut plane, 1, NAT_IN_TURN, "FA");
    says(&mut plane, 2, NAT_IN_TURN, "R");
    assert_eq!(active(&plane, NAT_IN_TURN), 2);
    // What was counted wrongly is put right, and a connection that is in both tables counts once.
    for number in plane.posts.keys().filter_map(|post| plane.registry.post(*post)).collect::<Vec<_>>() {
        plane.loads.set(number, 77, 0).expect("a load");
    }
    assert_eq!(plane.recount().expect("a count"), 2);
    assert_eq!(active(&plane, NAT_IN_TURN), 2);
    // Openings are given up sooner than connections.
    assert_eq!(plane.recount_at(now() + ticks(OPENING_SILENCE_MAX_S) + 2).expect("a count"), 1);
    assert_eq!(plane.recount_at(now() + LONG).expect("a count"), 0);
    assert_eq!(active(&plane, NAT_IN_TURN), 0);
    assert_eq!(plane.flows().expect("flows").len(), 2, "nobody is forgotten because he is silent");
}

#[test]
fn numbers_that_are_given_out_again_bring_nobody_the_connections_of_others() {
    let Some(mut plane) = small(ROOM) else { return };
    says(&mut plane, 0, NAT_IN_TURN, "S");
    says(&mut plane, 0, NAT_IN_TURN, "A");
    says(&mut plane, 1, DR_TCP, "S");
    // Of all that are gone, one still has a connection and an opening.
    let gone = |number: u32| (Endpoint::tcp(VIP, 4000), Endpoint::tcp(Ipv4Addr::from_bits(number), 4000));
    let numbers: Vec<u32> =
        (plane.posts.len()..POSTS_MAX).map(|at| plane.registry.enter_post(gone(at as u32))).collect();
    let (first, service) = (numbers[0], plane.registry.enter_service(gone(0).0));
    let stale = |port: u16| WireFlowKey::new((Ipv4Addr::new(198, 18, 9, 9), port).into(), service);
    plane.flows.insert(stale(1), WireFlow::new(first, now()), 0).expect("a flow");
    plane.openings.insert(stale(2), WireFlow::new(first, now()), 0).expect("an opening");
    assert_eq!(plane.flows().expect("flows").len(), 2);

    let mut wanted = services([true, true]);
    let newcomer = Endpoint::tcp(Ipv4Addr::new(10, 10, 1, 23), wanted[0].reals[0].endpoint.port);
    let like = wanted[0].reals[0].clone();
    wanted[0].reals.push(crate::balancer::Real { name: "web3".to_owned(), endpoint: newcomer, ..like });
    plane.install(&wanted).expect("install");
    assert_eq!(plane.registry.post((wanted[0].address, newcomer)), Some(first), "its number is free again");
    let clients: Vec<SocketAddr> = plane.flows().expect("flows").iter().map(|flow| flow.client).collect();
    assert_eq!(clients, [SocketAddr::from((Ipv4Addr::new(198, 18, 0, 0), 40_000))]);
    assert_eq!(entries(&plane.openings).expect("openings").len(), 2, "those of services that stay");
}

/// Whether a director passes a super-packet on that leaves in segments with so many bytes of data each.
fn passes(plane: &mut EbpfPlane, port: u16, segment: u32) -> bool {
    let mut sent = Sent::tcp("198.51.100.10:40000", "203.0.113.10:80", "A");
    sent.to.set_port(port);
    sent.payload = vec![0; 2800];
    sent.dont_fragment = true;
    let (frame, mut out) = (sent.frame(), vec![0; FRAME_BYTES_MAX + 100]);
    let mut context = vec![0; SK_BUFF_BYTES];
    context[GSO_SIZE_AT..GSO_SIZE_AT + 4].copy_from_slice(&segment.to_ne_bytes());
    let options = TestRunOptions {
        data_in: Some(&frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..Default::default()
    };
    let before = plane.stats().expect("stats");
    // What became of it in the end is not looked at: a test run cannot say that it is a super-packet of TCP, and without that
    // the kernel puts none into a tunnel.
    program(&mut plane.ebpf, FROM_STREET).expect("the program").test_run(options).expect("a test run");
    let after = plane.stats().expect("stats");
    let passed = after.to_real - before.to_real == 1;
    assert_eq!(after.answered - before.answered, u64::from(!passed));
    passed
}

#[test]
fn a_super_packet_is_judged_by_its_segments() {
    let Some(mut plane) = small(ROOM) else { return };
    // 1500 bytes, of which the IP and TCP headers take 40, and a tunnel 20 more.
    for (port, segment) in [(NAT_BY_SOURCE, 1460), (DR_TCP, 1460), (TUN_TCP, 1440)] {
        assert!(passes(&mut plane, port, segment), "port {port}");
        assert!(!passes(&mut plane, port, segment + 1), "port {port}");
    }
    assert!(!passes(&mut plane, NAT_BY_SOURCE, 0), "no segments: it is too long as it is");
}
