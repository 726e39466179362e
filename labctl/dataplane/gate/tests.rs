//! The gate by `BPF_PROG_TEST_RUN`, frame by frame, and on a real cable between two machines. Where eBPF is not to be had
//! these tests say so on the terminal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use etherparse::PacketBuilder;

use super::*;
use crate::dataplane::Settings;
use crate::dataplane::ebpf::EbpfPlane;
use crate::kernel::fixtures::{ANSWER_MAX, Cable, FRONT, Machine, WAIT_MAX, eventually};
use crate::kernel::neighbour::NeighbourWatch;
use crate::kernel::packet::Mac;
use crate::kernel::{arp, clock, ndp, wait};

const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const OWN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 12);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x12);
/// An address of the machine that nobody has anything to do with.
const IDLE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 13);
const IDLE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x13);
const MAC: Mac = [2, 0, 0, 0, 0, 1];
/// `TCX_NEXT` and `TCX_DROP`.
const NEXT: i32 = -1;
const DROP: i32 = 2;
/// The answers have ended, the traffic goes on.
const HUSHED: Lease = Lease { passes_until: Lease::FOR_EVER.passes_until, ..Lease::NONE };

/// Both floating addresses behind the gate, attached nowhere; `None`, and a line on the terminal, where there is no eBPF.
fn gate(lease: Lease, accept: bool) -> Option<Gate> {
    match Gate::load(&gated(lease, accept)) {
        Ok(gate) => Some(gate),
        Err(error @ (Error::NotPermitted | Error::NoEbpf)) => {
            // Not `println!`, which the test harness swallows when a test passes.
            let _ = writeln!(std::io::stderr(), "skipped: no eBPF ({error})");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn gated(lease: Lease, accept: bool) -> [Gated; 2] {
    [VIP.into(), VIP6.into()].map(|address| Gated { address, accept, lease })
}

fn leases(gate: &Gate) -> Leases {
    Leases::open(gate.descriptor().try_clone_to_owned().unwrap()).unwrap()
}

fn passes(gate: &mut Gate, name: &'static str, frame: &[u8]) -> bool {
    let options = TestRunOptions { data_in: Some(frame), ..Default::default() };
    let result = program(&mut gate.ebpf, name).unwrap().test_run(options);
    let result = result.unwrap_or_else(|error| panic!("a test run of {frame:02x?}: {error:?}"));
    match result.return_value as i32 {
        NEXT => true,
        DROP => false,
        other => panic!("an unexpected verdict: {other}"),
    }
}

fn udp(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MAC, MAC).ipv4(from.octets(), to.octets(), 64).udp(1, 2);
    builder.write(&mut frame, b"knock").unwrap();
    frame
}

fn udp6(from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MAC, MAC).ipv6(from.octets(), to.octets(), 64).udp(1, 2);
    builder.write(&mut frame, b"knock").unwrap();
    frame
}

/// The same with another byte at one place.
fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

/// The same with an 802.1Q tag.
fn tagged(mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
    frame
}

/// What a frame is, and its bytes.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let solicits = |from: Ipv6Addr, to: Ipv6Addr| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(MAC, MAC).ipv6(from.octets(), to.octets(), 255);
        let kind = etherparse::Icmpv6Type::NeighborSolicitation;
        builder.icmpv6(kind).write(&mut frame, &PEER6.octets()).unwrap();
        frame
    };
    vec![
        ("ARP request from the VIP", arp::gratuitous(VIP, MAC)),
        ("ARP reply from the VIP", with(arp::gratuitous(VIP, MAC), 21, 2)),
        ("ARP request from the own address", arp::gratuitous(OWN, MAC)),
        ("ARP probe for the VIP", arp::probe(VIP, MAC)),
        ("ARP of another kind", with(arp::gratuitous(VIP, MAC), 18, 8)),
        ("ARP in a VLAN", tagged(arp::gratuitous(VIP, MAC))),
        ("ARP cut off", arp::gratuitous(VIP, MAC)[..34].to_vec()),
        ("NA for the VIP", ndp::unsolicited(VIP6, MAC)),
        ("NA for the own address", ndp::unsolicited(OWN6, MAC)),
        ("NS from the VIP", solicits(VIP6, ndp::solicited_node(PEER6))),
        ("NS to the VIP", solicits(PEER6, VIP6)),
        ("NS probe for the VIP", ndp::probe(VIP6, MAC)),
        ("IPv4 from the VIP", udp(VIP, PEER)),
        ("IPv4 to the VIP", udp(PEER, VIP)),
        ("IPv4 between others", udp(OWN, PEER)),
        ("IPv4 advertisement from the VIP", with(udp(VIP, [224, 0, 0, 18].into()), 23, 112)),
        ("IPv4 to the VIP in a VLAN", tagged(udp(PEER, VIP))),
        ("IPv4 to the VIP, version 5", with(udp(PEER, VIP), 14, 0x55)),
        ("IPv6 from the VIP", udp6(VIP6, PEER6)),
        ("IPv6 to the VIP", udp6(PEER6, VIP6)),
        ("IPv6 between others", udp6(OWN6, PEER6)),
        ("IPv6 advertisement from the VIP", with(udp6(VIP6, PEER6), 20, 112)),
        ("IPv6 to the VIP, version 4", with(udp6(PEER6, VIP6), 14, 0x40)),
    ]
}

#[test]
fn a_lease_decides_about_its_address_and_nothing_else() {
    let mut table = format!("{:33}| dark     | hushed   | live     | no accept\n", "");
    let states = [(Lease::NONE, true), (HUSHED, true), (Lease::FOR_EVER, true), (Lease::FOR_EVER, false)];
    let mut gates = Vec::new();
    for (lease, accept) in states {
        let Some(gate) = gate(lease, accept) else { return };
        gates.push(gate);
    }
    for (what, frame) in frames() {
        write!(table, "{what:33}").unwrap();
        for gate in &mut gates {
            let (comes, goes) = (passes(gate, INGRESS, &frame), passes(gate, EGRESS, &frame));
            let words = match (comes, goes) {
                (true, true) => "in out",
                (true, false) => "in",
                (false, true) => "   out",
                (false, false) => "",
            };
            write!(table, "| {words:9}").unwrap();
        }
        table = table.trim_end().to_owned() + "\n";
    }
    insta::assert_snapshot!(table, @r#"
                                     | dark     | hushed   | live     | no accept
    ARP request from the VIP         | in       | in       | in out   | in out
    ARP reply from the VIP           | in       | in       | in out   | in out
    ARP request from the own address | in out   | in out   | in out   | in out
    ARP probe for the VIP            | in out   | in out   | in out   | in out
    ARP of another kind              | in out   | in out   | in out   | in out
    ARP in a VLAN                    | in out   | in out   | in out   | in out
    ARP cut off                      | in out   | in out   | in out   | in out
    NA for the VIP                   | in       | in       | in out   | in out
    NA for the own address           | in out   | in out   | in out   | in out
    NS from the VIP                  | in       | in       | in out   | in out
    NS to the VIP                    | in out   | in out   | in out   | in out
    NS probe for the VIP             | in out   | in out   | in out   | in out
    IPv4 from the VIP                | in       | in out   | in out   | in out
    IPv4 to the VIP                  |    out   | in out   | in out   |    out
    IPv4 between others              | in out   | in out   | in out   | in out
    IPv4 advertisement from the VIP  | in out   | in out   | in out   | in out
    IPv4 to the VIP in a VLAN        | in out   | in out   | in out   | in out
    IPv4 to the VIP, version 5       | in out   | in out   | in out   | in out
    IPv6 from the VIP                | in       | in out   | in out   | in out
    IPv6 to the VIP                  |    out   | in out   | in out   |    out
    IPv6 between others              | in out   | in out   | in out   | in out
    IPv6 advertisement from the VIP  | in out   | in out   | in out   | in out
    IPv6 to the VIP, version 4       | in out   | in out   | in out   | in out
    "#);
}

#[test]
fn a_lease_runs_out_by_itself() {
    let Some(mut gate) = gate(Lease::NONE, true) else { return };
    let mut leases = leases(&gate);
    let until = Duration::from_nanos(clock::monotonic_ns()) + Duration::from_millis(20);
    let lease = Lease { answers_until: until, passes_until: until };
    leases.set(VIP.into(), lease).unwrap();
    let now = || Duration::from_nanos(clock::monotonic_ns());
    let (mut before, mut after) = (0, 0);
    eventually("the lease runs out", || {
        let asked = now();
        let passed = passes(&mut gate, EGRESS, &arp::gratuitous(VIP, MAC));
        assert!(!passed || asked < until, "it answers past the end");
        assert!(passed || now() >= until, "it is silent before the end");
        if passed {
            before += 1
        } else {
            after += 1
        }
        after > 0
    });
    assert_eq!((before > 0, after), (true, 1), "a lease of 20 ms was seen");
    assert!(!passes(&mut gate, EGRESS, &ndp::unsolicited(VIP6, MAC)), "the other address has its own");
}

#[test]
fn only_an_address_that_the_gate_knows_can_be_leased() {
    let Some(gate) = gate(Lease::NONE, true) else { return };
    let error = leases(&gate).set(OWN.into(), Lease::FOR_EVER).expect_err("it is not behind the gate");
    assert_eq!(error.to_string(), "lease 203.0.113.11: the gate was not told of it");
}

#[test]
fn a_renewal_leaves_accept_mode_alone() {
    let Some(mut gate) = gate(Lease::NONE, false) else { return };
    leases(&gate).set(VIP.into(), Lease::FOR_EVER).unwrap();
    assert!(!passes(&mut gate, INGRESS, &udp(PEER, VIP)));
    assert!(passes(&mut gate, EGRESS, &udp(VIP, PEER)));
}

/// A machine that others look at.
struct Watched {
    cable: Cable,
    watch: NeighbourWatch,
    server: UdpSocket,
    visitor: UdpSocket,
}

impl Watched {
    fn new(mut cable: Cable) -> Self {
        for address in [VIP.into(), OWN.into(), IDLE.into(), VIP6.into(), OWN6.into(), IDLE6.into()] {
            cable.left.add(address);
        }
        for address in [PEER.into(), PEER6.into()] {
            cable.right.add(address);
        }
        // The neighbour knows the way for ever, so that packets come although nobody answers.
        for address in [VIP.into(), VIP6.into()] {
            let mac = cable.left.port.mac;
            cable.right.know(address, mac);
        }
        let watched = [VIP.into(), IDLE.into(), VIP6.into(), IDLE6.into()];
        let watch = cable.right.on(|| NeighbourWatch::open(&cable.right.port, &watched)).unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        let server = cable.left.on(|| UdpSocket::bind(any)).unwrap();
        server.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let visitor = cable.right.on(|| UdpSocket::bind(any)).unwrap();
        Self { cable, watch, server, visitor }
    }

    /// Does the machine answer for an address? An answer for another one, asked later, shows that it does not. A kernel
    /// listens for questions about a new IPv6 address a little later than it has it, so both are asked again.
    fn answers(&self, address: IpAddr) -> bool {
        let other = if address.is_ipv4() { IDLE.into() } else { IDLE6.into() };
        let mut answered = None;
        eventually("one of two answers", || {
            answered = self.answers_now(address, other);
            answered.is_some()
        });
        answered.unwrap_or_default()
    }

    fn answers_now(&self, address: IpAddr, other: IpAddr) -> Option<bool> {
        while self.watch.hear().unwrap().is_some() {}
        self.watch.probe(address).unwrap();
        self.watch.probe(other).unwrap();
        let mut seen = Vec::new();
        while !seen.contains(&other) {
            if !wait::readable(self.watch.as_fd(), ANSWER_MAX).unwrap() {
                return None;
            }
            seen.extend(self.watch.hear().unwrap().map(|sighting| sighting.address));
        }
        Some(seen.contains(&address))
    }

    /// Does a datagram to an address arrive? One to another address, sent later, shows that it does not.
    fn takes(&self, address: IpAddr, other: IpAddr) -> bool {
        let port = self.server.local_addr().unwrap().port();
        let mapped = |address| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        self.visitor.send_to(b"to it", (mapped(address), port)).unwrap();
        self.visitor.send_to(b"other", (mapped(other), port)).unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(b"other") {
            let mut buffer = [0; 5];
            self.server.recv_from(&mut buffer).expect("the later datagram arrives");
            seen.push(buffer);
        }
        seen.contains(b"to it")
    }
}

fn attached(machine: &Machine, lease: Lease) -> Option<Gate> {
    gate(lease, true)?;
    let gate = machine.on(|| Gate::attach([FRONT], &gated(lease, true)));
    Some(gate.expect("it can be attached"))
}

#[test]
fn without_a_lease_a_machine_is_silent_although_it_has_the_address() {
    let Some(cable) = Cable::new() else { return };
    let Some(gate) = attached(&cable.left, Lease::NONE) else { return };
    let mut leases = leases(&gate);
    let watched = Watched::new(cable);
    for (vip, own) in [(IpAddr::from(VIP), IpAddr::from(OWN)), (VIP6.into(), OWN6.into())] {
        assert!(!watched.answers(vip), "dark from the start");
        assert!(!watched.takes(vip, own));
        leases.set(vip, Lease::FOR_EVER).unwrap();
        assert!(watched.answers(vip), "a lease lets {vip} answer");
        assert!(watched.takes(vip, own), "and lets its traffic pass");

        let end = Duration::from_nanos(clock::monotonic_ns()) + Duration::from_millis(1);
        leases.set(vip, Lease { answers_until: end, passes_until: Lease::FOR_EVER.passes_until }).unwrap();
        eventually("the answers end", || !watched.answers(vip));
        assert!(watched.takes(vip, own), "a hushed holder goes on serving");
        leases.set(vip, Lease { answers_until: end, passes_until: end }).unwrap();
        eventually("the traffic ends", || !watched.takes(vip, own));
        assert!(!watched.answers(vip));

        leases.set(vip, Lease::FOR_EVER).unwrap();
        assert!(watched.answers(vip) && watched.takes(vip, own), "a lease that is renewed");
    }
    // Without the gate nothing is in the way.
    leases.set(VIP.into(), Lease::NONE).unwrap();
    assert!(!watched.answers(VIP.into()));
    drop(gate);
    assert!(watched.answers(VIP.into()));
    drop(watched.cable);
}

#[test]
fn the_gate_comes_before_the_balancer() {
    let Some(cable) = Cable::new() else { return };
    cable.left.on(|| {
        if gate(Lease::NONE, true).is_none() {
            return;
        }
        let _balancer = EbpfPlane::attach(Settings::between(FRONT, "lo")).expect("a balancer");
        let _gate = Gate::attach([FRONT], &gated(Lease::NONE, true)).expect("a gate");
        let (_, programs) = SchedClassifier::query_tcx(FRONT, TcAttachType::Ingress).unwrap();
        let names: Vec<_> = programs.iter().map(|program| program.name_as_str().unwrap_or("?")).collect();
        assert_eq!(names, [INGRESS, "from_street"]);
    });
}

#[test]
fn a_link_that_is_not_there_is_named() {
    let Some(cable) = Cable::new() else { return };
    if gate(Lease::NONE, true).is_none() {
        return;
    }
    let error = cable.left.on(|| Gate::attach(["no-such-if"], &[])).expect_err("no such link");
    assert_eq!(error.to_string(), "attach gate_ingress to no-such-if");
}
