//! Walks through a small site that is made of frames here, one fault or method at a time; and in `recorded`, the walks of
//! real requests.

mod recorded;

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader};

use super::*;

const CLIENT: &str = "198.51.100.10:40000";
const VIP: &str = "203.0.113.10:80";
const WEB: &str = "10.10.1.21:8080";
const TOKEN: &str = "1-2a";
/// Interfaces, their hardware addresses by place, and their addresses.
const INTERFACES: [(&str, &str, &[&str]); 7] = [
    ("client", "street", &["198.51.100.10"]),
    ("router", "street", &["198.51.100.1"]),
    ("router", "front", &["203.0.113.1"]),
    ("proxy1", "front", &["203.0.113.10"]),
    ("proxy1", "back", &["10.10.1.11", "10.10.1.1"]),
    ("web1", "back", &["10.10.1.21"]),
    ("web1", "lo", &["127.0.0.1"]),
];
const STREET: [usize; 2] = [0, 1];
const FRONT: [usize; 2] = [2, 3];
const BACK: [usize; 2] = [4, 5];

/// A TCP segment, before it is put on a wire.
#[derive(Clone, Debug)]
struct Segment {
    from: &'static str,
    to: &'static str,
    flags: &'static str,
    seq: u32,
    payload: String,
    tunnel: Option<(&'static str, &'static str)>,
}

fn segment(from: &'static str, to: &'static str, flags: &'static str, seq: u32) -> Segment {
    Segment { from, to, flags, seq, payload: String::new(), tunnel: None }
}

fn mac(interface: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, interface as u8]
}

fn ip(from: IpAddr, to: IpAddr, ttl: u8, protocol: IpNumber, len: usize) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(len as u16, ttl, protocol, from.octets(), to.octets());
            IpHeaders::Ipv4(header.expect("a short packet"), Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                payload_length: len as u16,
                next_header: protocol,
                hop_limit: ttl,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => unreachable!("both are of one family"),
    }
}

impl Segment {
    fn with(self, payload: &str) -> Self {
        Self { payload: payload.to_owned(), ..self }
    }

    fn inside(self, from: &'static str, to: &'static str) -> Self {
        Self { tunnel: Some((from, to)), ..self }
    }

    fn frame(&self, [from_mac, to_mac]: [usize; 2], ttl: u8) -> Vec<u8> {
        let [from, to] = [self.from, self.to].map(|end| end.parse::<SocketAddr>().expect("an address"));
        let mut tcp = TcpHeader::new(from.port(), to.port(), self.seq, 8192);
        let has = |letter| self.flags.contains(letter);
        (tcp.syn, tcp.ack, tcp.fin, tcp.rst) = (has('S'), has('A'), has('F'), has('R'));
        let link = PacketBuilder::ethernet2(mac(from_mac), mac(to_mac));
        let (mut frame, payload) = (Vec::new(), self.payload.as_bytes());
        let Some((near, far)) = self.tunnel else {
            let builder = link.ip(ip(from.ip(), to.ip(), ttl, IpNumber::TCP, 0)).tcp_header(tcp);
            builder.write(&mut frame, payload).expect("a short frame");
            return frame;
        };
        let mut inner = Vec::new();
        PacketBuilder::ip(ip(from.ip(), to.ip(), ttl, IpNumber::TCP, 0))
            .tcp_header(tcp)
            .write(&mut inner, payload)
            .expect("a short packet");
        let [near, far] = [near, far].map(|end| end.parse::<IpAddr>().expect("an address"));
        let protocol = if from.is_ipv4() { IpNumber::IPV4 } else { IpNumber::IPV6 };
        let builder = link.ip(ip(near, far, 64, protocol, inner.len()));
        builder.write(&mut frame, protocol, &inner).expect("a short frame");
        frame
    }
}

/// A record in the making: what passes the next cable passes 10 us later.
struct Wire(Record);

impl Wire {
    fn new() -> Self {
        let interfaces = INTERFACES.iter().enumerate().map(|(at, (node, name, addresses))| Interface {
            node: node.parse().expect("a name"),
            name: (*name).to_owned(),
            mac: (*name != "lo").then(|| mac(at)),
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        });
        Self(Record {
            lab: "small".to_owned(),
            forward: Some("nat".to_owned()),
            client: "client".parse().expect("a name"),
            from: CLIENT.parse().expect("an address"),
            to: VIP.parse().expect("an address"),
            token: TOKEN.to_owned(),
            outcome: Outcome::Answered(200),
            interfaces: interfaces.collect(),
            frames: Vec::new(),
            lost_frames: 0,
        })
    }

    fn see(&mut self, interface: usize, way: Way, bytes: Vec<u8>) {
        let at_ns = 1_000_000 + 5_000 * self.0.frames.len() as u64;
        self.0.frames.push(Frame { at_ns, interface, way, bytes });
    }

    /// From one end of a cable to the other.
    fn cable(&mut self, ends: [usize; 2], segment: &Segment, ttl: u8) {
        let frame = segment.frame(ends, ttl);
        self.see(ends[0], Way::Out, frame.clone());
        self.see(ends[1], Way::In, frame);
    }

    /// From the client to the web, rewritten by the proxy.
    fn there(&mut self, flags: &'static str, seq: u32, payload: &str) {
        self.reach_the_proxy(flags, seq, payload);
        self.cable(BACK, &segment(CLIENT, WEB, flags, seq).with(payload), 62);
    }

    fn reach_the_proxy(&mut self, flags: &'static str, seq: u32, payload: &str) {
        let sent = segment(CLIENT, VIP, flags, seq).with(payload);
        self.cable(STREET, &sent, 64);
        self.cable(FRONT, &sent, 63);
    }

    /// From the web to the client.
    fn back(&mut self, flags: &'static str, seq: u32, payload: &str) {
        let turned = |[from, to]: [usize; 2]| [to, from];
        self.cable(turned(BACK), &segment(WEB, CLIENT, flags, seq).with(payload), 64);
        let sent = segment(VIP, CLIENT, flags, seq).with(payload);
        self.cable(turned(FRONT), &sent, 63);
        self.cable(turned(STREET), &sent, 62);
    }

    fn text(&self) -> String {
        text(&Walk::of(&self.0), Show::default())
    }
}

/// What was found, one line a packet.
fn story(record: &Record) -> String {
    let walk = Walk::of(record);
    let mut lines = Vec::new();
    for (number, conversation) in (1..).zip(&walk.conversations) {
        lines.extend(conversation.steps.iter().map(|step| {
            let hops = step.hops.iter().map(|hop| format!("{}:{}", hop.node, hop.interface));
            let again = if step.again { " again" } else { "" };
            let hops = hops.collect::<Vec<_>>().join(" ");
            format!("{number} {:?} {}{again}: {hops}: {:?}", step.side, step.what, step.end)
        }));
    }
    lines.join("\n")
}

fn changed(record: &Record, step: usize) -> String {
    let walk = Walk::of(record);
    let hops = walk.conversations[0].steps[step].hops.iter();
    let lines = hops.map(|hop| format!("{}:{} {:?}", hop.node, hop.interface, hop.changed));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn nat_a_rewritten_packet_is_one_packet() {
    let mut wire = Wire::new();
    wire.there("S", 100, "");
    wire.back("SA", 900, "");
    wire.there("A", 101, &format!("GET / HTTP/1.1\r\nX-Labctl-Trace: {TOKEN}\r\n\r\n"));
    wire.back("A", 901, "HTTP/1.1 200 OK\r\n\r\n");
    wire.there("FA", 150, "");
    insta::assert_snapshot!(wire.text());
    insta::assert_snapshot!(changed(&wire.0, 0), @r"
    client:street []
    router:street []
    router:front [SourceMac, DestinationMac, Ttl, IpChecksum]
    proxy1:front []
    proxy1:back [SourceMac, DestinationMac, Destination, DestinationPort, Ttl, IpChecksum, TcpChecksum]
    web1:back []
    ");
    insta::assert_snapshot!(mermaid(&Walk::of(&wire.0), Show::default()));
}

#[test]
fn tun_a_packet_in_a_packet_is_that_packet() {
    let mut wire = Wire::new();
    wire.reach_the_proxy("S", 100, "");
    let sent = segment(CLIENT, VIP, "S", 100).inside("10.10.1.11", "10.10.1.21");
    wire.0.interfaces[6].addresses.push("203.0.113.10".parse().expect("an address"));
    wire.cable(BACK, &sent, 62);
    wire.cable([5, 2], &segment(VIP, CLIENT, "SA", 900), 64);
    insta::assert_snapshot!(wire.text());
}

#[test]
fn a_packet_that_comes_back_changed_was_not_sent_again() {
    let mut wire = Wire::new();
    let inside = || segment(CLIENT, VIP, "S", 100).inside("203.0.113.11", "192.0.2.21");
    wire.reach_the_proxy("S", 100, "");
    // The way to the real server is by the router from which the packet came, and out by the same interface again.
    wire.cable([3, 2], &inside(), 62);
    wire.see(2, Way::Out, inside().frame(FRONT, 61));
    insta::assert_snapshot!(story(&wire.0), @"1 Client SYN: client:street router:street router:front proxy1:front proxy1:front router:front router:front: Lost");
}

#[test]
fn tun_in_ipv6_too() {
    let mut wire = Wire::new();
    let (client, vip) = ("[2001:db8::10]:40000", "[2001:db8:f::10]:80");
    (wire.0.from, wire.0.to) = (client.parse().expect("an address"), vip.parse().expect("an address"));
    wire.0.interfaces[6].addresses.push("2001:db8:f::10".parse().expect("an address"));
    wire.cable(FRONT, &segment(client, vip, "S", 100), 63);
    wire.cable(BACK, &segment(client, vip, "S", 100).inside("fd00::11", "fd00::21"), 62);
    insta::assert_snapshot!(changed(&wire.0, 0), @r"
    router:front []
    proxy1:front []
    proxy1:back [SourceMac, DestinationMac, Encapsulation, Ttl]
    web1:back []
    ");
}

#[test]
fn a_proxy_reads_the_request_and_asks_by_another_connection() {
    let mut wire = Wire::new();
    let request = format!("GET / HTTP/1.1\r\nX-Labctl-Trace: {TOKEN}\r\n\r\n");
    let own = "10.10.1.11:50000";
    wire.reach_the_proxy("S", 100, "");
    wire.cable([3, 2], &segment(VIP, CLIENT, "SA", 700), 64);
    wire.reach_the_proxy("A", 101, &request);
    wire.cable(BACK, &segment(own, WEB, "S", 5), 64);
    wire.cable([5, 4], &segment(WEB, own, "SA", 6), 64);
    wire.cable(BACK, &segment(own, WEB, "A", 6).with(&request), 64);
    wire.cable([5, 4], &segment(WEB, own, "A", 7).with("HTTP/1.1 200 OK\r\n\r\n"), 64);
    insta::assert_snapshot!(story(&wire.0), @r"
    1 Client SYN: client:street router:street router:front proxy1:front: Arrived
    1 Server SYN ACK: proxy1:front router:front: Lost
    1 Client GET / HTTP/1.1, 40 octets: client:street router:street router:front proxy1:front: Arrived
    2 Client SYN: proxy1:back web1:back: Arrived
    2 Server SYN ACK: web1:back proxy1:back: Arrived
    2 Client GET / HTTP/1.1, 40 octets: proxy1:back web1:back: Arrived
    2 Server HTTP/1.1 200 OK, 19 octets: web1:back proxy1:back: Arrived
    ");
}

#[test]
fn a_lost_packet_is_shown_where_it_was_last_seen_and_its_repetition_is_another() {
    let mut wire = Wire::new();
    wire.0.outcome = Outcome::Failed("timed out".to_owned());
    let sent = segment(CLIENT, VIP, "S", 100);
    wire.cable(STREET, &sent, 64);
    wire.see(2, Way::Out, sent.frame(FRONT, 63));
    wire.there("S", 100, "");
    insta::assert_snapshot!(story(&wire.0), @r"
    1 Client SYN: client:street router:street router:front: Lost
    1 Client SYN again: client:street router:street router:front proxy1:front proxy1:back web1:back: Unanswered
    ");
}

#[test]
fn a_node_that_has_the_address_and_does_nothing_is_named() {
    let mut wire = Wire::new();
    wire.0.outcome = Outcome::Failed("timed out".to_owned());
    wire.reach_the_proxy("S", 100, "");
    insta::assert_snapshot!(wire.text());
}

#[test]
fn what_a_bridge_told_everybody_is_no_hop() {
    let mut wire = Wire::new();
    let sent = segment(CLIENT, VIP, "S", 100);
    wire.cable(STREET, &sent, 64);
    wire.see(4, Way::Overheard, sent.frame(STREET, 64));
    insta::assert_snapshot!(story(&wire.0), @"1 Client SYN: client:street router:street: Lost");
}

#[test]
fn an_error_about_a_packet_belongs_to_its_conversation() {
    let mut wire = Wire::new();
    let sent = segment(CLIENT, VIP, "S", 100);
    wire.cable(STREET, &sent, 64);
    let quoted = sent.frame(STREET, 63)[14..].to_vec();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac(1), mac(0))
        .ipv4([198, 51, 100, 1], [198, 51, 100, 10], 64)
        .icmpv4_raw(3, 1, [0; 4])
        .write(&mut frame, &quoted)
        .expect("a short frame");
    wire.see(1, Way::Out, frame.clone());
    wire.see(0, Way::In, frame);
    insta::assert_snapshot!(story(&wire.0), @r"
    1 Client SYN: client:street router:street: Lost
    1 Server ICMP error of type 3, code 1: router:street client:street: Arrived
    ");
}

#[test]
fn other_connections_are_left_out() {
    let mut wire = Wire::new();
    wire.there("S", 100, "");
    let before = story(&wire.0);
    wire.cable(STREET, &segment("198.51.100.10:40001", VIP, "S", 200), 64);
    wire.cable(BACK, &segment("10.10.1.11:39999", WEB, "S", 300), 64);
    assert_eq!(story(&wire.0), before);
}

#[test]
fn a_request_that_never_left_leaves_nothing() {
    let mut wire = Wire::new();
    wire.0.outcome = Outcome::Failed("Network is unreachable".to_owned());
    insta::assert_snapshot!(wire.text());
}

#[test]
fn a_file_gives_the_same_walk_again() {
    let mut wire = Wire::new();
    wire.there("S", 100, "");
    wire.see(4, Way::Out, segment("10.10.1.11:39999", WEB, "S", 300).frame(BACK, 64));
    wire.back("SA", 900, "");
    let written = json(&Walk::of(&wire.0));
    let read = parse(&written).expect("what was written can be read");
    assert_eq!(read.frames.len(), wire.0.frames.len() - 1, "a stranger's frame is left out");
    assert_eq!(text(&Walk::of(&read), Show::default()), wire.text());
    assert_eq!(json(&Walk::of(&read)), written);
}

#[test]
fn files_that_are_none_are_refused() {
    let written = json(&Walk::of(&Wire::new().0));
    assert!(matches!(parse("{}"), Err(Unreadable::Shape(_))));
    assert!(matches!(parse(&written.replace(SCHEMA, "labctl.walk/0")), Err(Unreadable::Version(_))));
    let mut record = Wire::new();
    record.there("S", 100, "");
    let written = json(&Walk::of(&record.0)).replacen("\"interface\": 5", "\"interface\": 99", 1);
    assert!(matches!(parse(&written), Err(Unreadable::Interface(_) | Unreadable::Shape(_))));
}

#[test]
fn a_capture_file_has_every_frame_with_its_interface_and_its_time() {
    use pcap_file::pcapng::{Block, PcapNgReader};
    let mut wire = Wire::new();
    wire.there("S", 100, "");
    let file = pcap(&Walk::of(&wire.0), false);
    let mut reader = PcapNgReader::new(file.as_slice()).expect("a capture file");
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a block") {
            Block::InterfaceDescription(interface) => names.push(format!("{:?}", interface.options[0])),
            Block::EnhancedPacket(packet) => {
                frames.push((packet.interface_id, packet.timestamp.as_nanos() as u64, packet.data.to_vec()))
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names[0], "IfName(\"client:street\")");
    assert_eq!(names.len(), 6);
    let seen: Vec<_> = (0..).zip(&wire.0.frames).map(|(at, it)| (at, it.at_ns, it.bytes.clone())).collect();
    assert_eq!(frames, seen);
}

#[test]
fn colours_are_for_terminals() {
    let mut wire = Wire::new();
    wire.there("S", 100, "");
    let walk = Walk::of(&wire.0);
    let coloured = text(&walk, Show { colour: true, ..Show::default() });
    assert!(coloured.contains('\u{1b}') && !wire.text().contains('\u{1b}'));
}

#[test]
fn damaged_frames_are_passed_over() {
    let mut wire = Wire::new();
    let whole = segment(CLIENT, VIP, "S", 100).frame(STREET, 64);
    for len in 0..whole.len() {
        wire.see(0, Way::Out, whole[..len].to_vec());
    }
    assert_eq!(story(&wire.0), "");
}
