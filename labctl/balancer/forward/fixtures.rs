//! Frames with what must become of them, one line each, for the specification and for the data plane in the kernel.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, PacketBuilder, TcpHeader, VlanId,
};
use ipnet::Ipv4Net;

use super::super::{Endpoint, Method, Real, Scheduler, Service};
use super::{Mac, Verdict};

/// The hardware address of the loopback device, on which the kernel tries programs out.
pub(crate) const OWN: Mac = [0; 6];
/// The hardware address of virtual router 51 (RFC 9568 section 7.3).
const VIRTUAL_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x33];
/// The network of the real servers.
pub(crate) const INSIDE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 10, 1, 0), 24);
/// The virtual address.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const WEB1: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 21);
pub(crate) const WEB2: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 22);

/// Which interface a frame comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Front,
    Back,
}

/// One frame and its fate.
pub(crate) struct Fixture {
    pub(crate) what: &'static str,
    pub(crate) by: Side,
    pub(crate) frame: Vec<u8>,
    pub(crate) fate: Verdict,
}

/// Two services: port 80 by source on port 8080 of the webs, port 443 in turn on the same port of them.
pub(crate) fn services(available: [bool; 2]) -> Vec<Service> {
    let service = |port, scheduler, real_port| Service {
        address: Endpoint::tcp(VIP, port),
        method: Method::Nat,
        scheduler,
        reals: [("web1", WEB1), ("web2", WEB2)]
            .into_iter()
            .zip(available)
            .map(|((name, address), available)| Real {
                name: name.to_owned(),
                endpoint: Endpoint::tcp(address, real_port),
                weight: 1,
                available,
            })
            .collect(),
    };
    vec![service(80, Scheduler::SourceHash, 8080), service(443, Scheduler::RoundRobin, 443)]
}

/// A TCP segment, before it is put on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    /// Any of `SAFRP`, as tcpdump writes flags.
    pub(crate) flags: String,
    pub(crate) ttl: u8,
    /// Bytes of IP options, a multiple of four up to 40.
    pub(crate) options: usize,
    pub(crate) payload: Vec<u8>,
}

impl Sent {
    pub(crate) fn new(from: &str, to: &str, flags: &str) -> Self {
        let [from, to] = [from, to].map(|text| text.parse().expect("an address and a port"));
        Self { from, to, flags: flags.to_owned(), ttl: 64, options: 0, payload: Vec::new() }
    }

    fn ip(&self, protocol: IpNumber) -> Ipv4Header {
        let (source, destination) = (self.from.ip().octets(), self.to.ip().octets());
        let mut ip = Ipv4Header::new(0, self.ttl, protocol, source, destination).expect("an empty payload");
        // No operation, option 1 of RFC 791 section 3.1.
        ip.options = Ipv4Options::try_from(&[1; 40][..self.options]).expect("whole words");
        ip
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        self.frame_with(|_| {})
    }

    /// The frame, after a change to its IP header.
    fn frame_with(&self, change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.from.port(), self.to.port(), 1000, 8192);
        for flag in self.flags.chars() {
            match flag {
                'S' => tcp.syn = true,
                'A' => tcp.ack = true,
                'F' => tcp.fin = true,
                'R' => tcp.rst = true,
                _ => tcp.psh = true,
            }
        }
        let mut ip = self.ip(IpNumber::TCP);
        change(&mut ip);
        let headers = IpHeaders::Ipv4(ip, Default::default());
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], OWN).ip(headers).tcp_header(tcp);
        let mut frame = Vec::new();
        builder.write(&mut frame, &self.payload).expect("a frame of ordinary size");
        frame
    }

    fn udp_frame(&self) -> Vec<u8> {
        let headers = IpHeaders::Ipv4(self.ip(IpNumber::UDP), Default::default());
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], OWN)
            .ip(headers)
            .udp(self.from.port(), self.to.port())
            .write(&mut frame, &[0; 4])
            .expect("a frame of ordinary size");
        frame
    }
}

const CLIENT: &str = "198.51.100.10:40000";
const BY_SOURCE: &str = "203.0.113.10:80";
const IN_TURN: &str = "203.0.113.10:443";

fn sent(to: &str, flags: &str) -> Sent {
    Sent::new(CLIENT, to, flags)
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

/// What clients send. The source hash sends the client to web2 and its neighbour to web1; the round begins with web1.
pub(crate) fn by_front() -> Vec<Fixture> {
    let real = Verdict::ToReal(WEB2.into());
    let kernel = Verdict::Kernel;
    let syn = || sent(BY_SOURCE, "S").frame();
    let f = |what, frame, fate| Fixture { what, by: Side::Front, frame, fate };
    let fragment = |more, offset| {
        sent(BY_SOURCE, "A").frame_with(|ip| {
            ip.more_fragments = more;
            ip.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits");
        })
    };
    vec![
        f("a connection opens, by source", syn(), real),
        f("a connection opens, in turn", sent(IN_TURN, "S").frame(), Verdict::ToReal(WEB1.into())),
        f(
            "a neighbour's connection opens",
            Sent::new("198.51.100.11:40000", BY_SOURCE, "S").frame(),
            Verdict::ToReal(WEB1.into()),
        ),
        f("an unknown connection goes on", sent(BY_SOURCE, "A").frame(), real),
        f("data of odd length", Sent { payload: vec![7; 1001], ..sent(BY_SOURCE, "AP") }.frame(), real),
        f("a connection closes", sent(BY_SOURCE, "FA").frame(), real),
        f("a client resets", sent(BY_SOURCE, "R").frame(), real),
        f("SYN and ACK do not open", sent(BY_SOURCE, "SA").frame(), real),
        f("IP options", Sent { options: 12, ..sent(BY_SOURCE, "S") }.frame(), real),
        f("the most IP options", Sent { options: 40, ..sent(BY_SOURCE, "A") }.frame(), real),
        f("do not fragment", sent(BY_SOURCE, "A").frame_with(|ip| ip.dont_fragment = true), real),
        f("TTL 2", Sent { ttl: 2, ..sent(BY_SOURCE, "S") }.frame(), real),
        f("TTL 1", Sent { ttl: 1, ..sent(BY_SOURCE, "S") }.frame(), kernel),
        f("TTL 0", Sent { ttl: 0, ..sent(BY_SOURCE, "S") }.frame(), kernel),
        f("bytes after the packet", padded(syn()), real),
        f("a damaged TCP checksum stays damaged", patched(syn(), 50, &[0xde, 0xad]), real),
        f("a TCP checksum of all ones", patched(syn(), 50, &[0xff, 0xff]), real),
        f("a damaged IP checksum stays damaged", patched(syn(), 24, &[0xbe, 0xef]), real),
        f("UDP to the same port", sent(BY_SOURCE, "").udp_frame(), kernel),
        f("ICMP to the virtual address", patched(syn(), 23, &[1]), kernel),
        f("another port", sent("203.0.113.10:81", "S").frame(), kernel),
        f("another address", sent("203.0.113.11:80", "S").frame(), kernel),
        f("the first fragment", fragment(true, 0), kernel),
        f("a later fragment", fragment(false, 100), kernel),
        f("a TCP header cut short", cut(syn(), 14 + 20 + 10), kernel),
        f("a total length without room for TCP", patched(syn(), 16, &[0, 30]), kernel),
        f("a total length beyond the frame", patched(syn(), 16, &[0, 200]), kernel),
        f("an IP header cut short", cut(syn(), 14 + 10), kernel),
        f("an IP header length of 16", patched(syn(), 14, &[0x44]), kernel),
        f("IP version 5", patched(syn(), 14, &[0x55]), kernel),
        f("IPv6", patched(syn(), 12, &[0x86, 0xdd]), kernel),
        f("ARP", patched(syn(), 12, &[0x08, 0x06]), kernel),
        f("a VLAN tag", tagged(), kernel),
        f("somebody else's frame", patched(syn(), 0, &[2, 0, 0, 0, 0, 9]), kernel),
        f("a broadcast", patched(syn(), 0, &[0xff; 6]), kernel),
        f("a frame to a virtual router", patched(syn(), 0, &VIRTUAL_MAC), real),
        f(
            "a frame to a virtual router for IPv6",
            patched(syn(), 0, &[0x00, 0x00, 0x5e, 0x00, 0x02, 0x33]),
            kernel,
        ),
        f("a frame to a multicast group", patched(syn(), 0, &[0x01, 0x00, 0x5e, 0x00, 0x01, 0x33]), kernel),
    ]
}

/// What real servers answer.
pub(crate) fn by_back() -> Vec<Fixture> {
    let (client, kernel) = (Verdict::ToClient, Verdict::Kernel);
    let answer = |flags| Sent::new("10.10.1.21:8080", CLIENT, flags);
    let f = |what, frame, fate| Fixture { what, by: Side::Back, frame, fate };
    vec![
        f("an answer to SYN", answer("SA").frame(), client),
        f("an answer with data", Sent { payload: vec![9; 1447], ..answer("AP") }.frame(), client),
        f("an answer from a port that stays", Sent::new("10.10.1.22:443", CLIENT, "A").frame(), client),
        f("a real server refuses", answer("RA").frame(), client),
        f("an answer with IP options", Sent { options: 4, ..answer("A") }.frame(), client),
        f("an answer with TTL 1", Sent { ttl: 1, ..answer("A") }.frame(), kernel),
        f(
            "an answer to a health check",
            Sent::new("10.10.1.21:8080", "10.10.1.11:50000", "SA").frame(),
            kernel,
        ),
        f("a web that connects out", Sent::new("10.10.1.21:51000", "198.51.100.80:80", "S").frame(), kernel),
        f("an answer to a virtual router", patched(answer("SA").frame(), 0, &VIRTUAL_MAC), client),
        f("an unknown host", Sent::new("10.10.1.29:8080", CLIENT, "SA").frame(), kernel),
        f("UDP from a real server's port", answer("").udp_frame(), kernel),
        f("a fragment of an answer", answer("A").frame_with(|ip| ip.more_fragments = true), kernel),
    ]
}

fn tagged() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], OWN)
        .single_vlan(VlanId::try_new(5).expect("12 bits"))
        .ip(IpHeaders::Ipv4(sent(BY_SOURCE, "").ip(IpNumber::TCP), Default::default()))
        .tcp(40000, 80, 1, 8192)
        .write(&mut frame, &[])
        .expect("a frame of ordinary size");
    frame
}
