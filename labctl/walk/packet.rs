//! A frame as the headers that a walk is about. What they mean for a connection, and for a site, is not known here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    Icmpv6Slice, IpNumber, Ipv4HeaderSlice, LaxIpSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice,
    TransportSlice,
};
use schemars::JsonSchema;
use serde::Serialize;

/// Neighbour solicitation and advertisement (RFC 4861 sections 4.3 and 4.4).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// ICMP errors by IP version: unreachable, time exceeded, parameter problem; and in ICMPv6 packet too big.
const ERRORS4: [u8; 3] = [3, 11, 12];
const ERRORS6: [u8; 4] = [1, 2, 3, 4];

/// What is in a frame.
#[derive(Clone, Debug)]
pub(super) enum Content<'a> {
    /// An IP packet.
    Packet(Packet<'a>),
    /// A question after a hardware address or its answer, by ARP or neighbour discovery, in words.
    Neighbours(String),
}

/// An IP packet in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Hardware addresses, source and destination.
    pub mac: [[u8; 6]; 2],
    /// The header of the packet that it travels in, if it does (RFC 2003, RFC 2473).
    pub tunnel: Option<IpHeader>,
    /// Its own.
    pub ip: IpHeader,
    /// What it carries.
    pub transport: Transport<'a>,
}

/// What is read of an IP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IpHeader {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// Hops that it has left; in IPv6 the hop limit.
    pub ttl: u8,
    /// Its checksum; null in IPv6, which has none.
    pub checksum: Option<Checksum>,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// A TCP segment.
    Tcp(TcpHeader, &'a [u8]),
    /// An ICMP error about a TCP segment.
    Error {
        /// Type and code.
        kind: (u8, u8),
        /// Who sent the segment, and to whom.
        about: (SocketAddr, SocketAddr),
        /// Its sequence number.
        seq: u32,
    },
    /// Anything else.
    Other,
}

/// What is read of a TCP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TcpHeader {
    /// Port of the sender.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Any of `SFRPA`, in the letters of tcpdump, `A` for ACK.
    pub flags: String,
    /// Its checksum.
    pub checksum: Checksum,
    /// Octets of payload.
    pub payload_bytes: usize,
}

/// A checksum as it stands in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checksum {
    /// The field.
    pub value: u16,
    /// What it is worth.
    pub state: ChecksumState,
}

/// What a checksum is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumState {
    /// It is right.
    Right,
    /// The sum of the pseudo-header only: the sender leaves the rest to the network card, and a cable between namespaces has
    /// none.
    Partial,
    /// It is wrong.
    Wrong,
}

/// `1c46`, with `~` after one that is not filled in, and `!` after one that is wrong.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.state {
            ChecksumState::Right => "",
            ChecksumState::Partial => "~",
            ChecksumState::Wrong => "!",
        };
        write!(f, "{:04x}{mark}", self.value)
    }
}

/// `02:6c:00:01:00:02`.
pub(super) fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

impl Packet<'_> {
    /// Its sender and its receiver, ports included, if it is a TCP segment.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let Transport::Tcp(tcp, _) = &self.transport else { return None };
        Some((
            SocketAddr::new(self.ip.source, tcp.source),
            SocketAddr::new(self.ip.destination, tcp.destination),
        ))
    }
}

/// Reads a frame; `None` for one that is neither IP nor a question after a neighbour, or is damaged.
pub(super) fn read(frame: &[u8]) -> Option<Content<'_>> {
    let layers = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let Some(LinkSlice::Ethernet2(ethernet)) = &layers.link else { return None };
    let mac = [ethernet.source(), ethernet.destination()];
    let net = layers.net.as_ref()?;
    if let LaxNetSlice::Arp(arp) = net {
        return arp_in_words(arp.slice()).map(Content::Neighbours);
    }
    if let Some(TransportSlice::Icmpv6(icmp)) = &layers.transport
        && let Some(words) = discovery_in_words(icmp)
    {
        return Some(Content::Neighbours(words));
    }
    let outer = header(net)?;
    let payload = net.ip_payload_ref()?;
    let packet = match payload.ip_number {
        IpNumber::IPV4 | IpNumber::IPV6 => {
            let layers = LaxSlicedPacket::from_ip(payload.payload).ok()?;
            let ip = header(layers.net.as_ref()?)?;
            let transport = transport(&ip, layers.transport.as_ref());
            Packet { mac, tunnel: Some(outer), ip, transport }
        }
        _ => {
            let transport = transport(&outer, layers.transport.as_ref());
            Packet { mac, tunnel: None, ip: outer, transport }
        }
    };
    Some(Content::Packet(packet))
}

fn header(net: &LaxNetSlice) -> Option<IpHeader> {
    match net {
        LaxNetSlice::Ipv4(ip) => Some(header4(ip.header())),
        LaxNetSlice::Ipv6(ip) => Some(IpHeader {
            source: ip.header().source_addr().into(),
            destination: ip.header().destination_addr().into(),
            ttl: ip.header().hop_limit(),
            checksum: None,
        }),
        LaxNetSlice::Arp(_) => None,
    }
}

fn header4(ip: Ipv4HeaderSlice) -> IpHeader {
    let value = ip.header_checksum();
    let right = ip.to_header().calc_header_checksum() == value;
    let state = if right { ChecksumState::Right } else { ChecksumState::Wrong };
    IpHeader {
        source: ip.source_addr().into(),
        destination: ip.destination_addr().into(),
        ttl: ip.ttl(),
        checksum: Some(Checksum { value, state }),
    }
}

fn transport<'a>(ip: &IpHeader, slice: Option<&TransportSlice<'a>>) -> Transport<'a> {
    match slice {
        Some(TransportSlice::Tcp(tcp)) => {
            let payload = &tcp.slice()[tcp.header_len()..];
            Transport::Tcp(tcp_header(ip, tcp), payload)
        }
        Some(TransportSlice::Icmpv4(icmp)) if ERRORS4.contains(&icmp.type_u8()) => {
            error((icmp.type_u8(), icmp.code_u8()), icmp.payload())
        }
        Some(TransportSlice::Icmpv6(icmp)) if ERRORS6.contains(&icmp.type_u8()) => {
            error((icmp.type_u8(), icmp.code_u8()), icmp.payload())
        }
        _ => Transport::Other,
    }
}

fn tcp_header(ip: &IpHeader, tcp: &TcpSlice) -> TcpHeader {
    let letters = [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), 'A')];
    TcpHeader {
        source: tcp.source_port(),
        destination: tcp.destination_port(),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags: letters.into_iter().filter_map(|(set, letter)| set.then_some(letter)).collect(),
        checksum: tcp_checksum(ip, tcp),
        payload_bytes: tcp.slice().len() - tcp.header_len(),
    }
}

fn tcp_checksum(ip: &IpHeader, tcp: &TcpSlice) -> Checksum {
    let value = tcp.checksum();
    let right = match (ip.source, ip.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4(from.octets(), to.octets()).ok(),
        (IpAddr::V6(from), IpAddr::V6(to)) => tcp.calc_checksum_ipv6(from.octets(), to.octets()).ok(),
        _ => None,
    };
    let state = if right == Some(value) {
        ChecksumState::Right
    } else if value == pseudo_header_sum(ip, tcp.slice().len()) {
        ChecksumState::Partial
    } else {
        ChecksumState::Wrong
    };
    Checksum { value, state }
}

/// The sum of the pseudo-header of RFC 9293 section 3.1, or of RFC 8200 section 8.1, for a segment of that length.
fn pseudo_header_sum(ip: &IpHeader, segment: usize) -> u16 {
    let words = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    let len = segment as u64;
    let mut total =
        words(ip.source) + words(ip.destination) + (len >> 16) + (len & 0xffff) + u64::from(IpNumber::TCP.0);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn sum(octets: &[u8]) -> u64 {
    octets.as_chunks::<2>().0.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum()
}

/// An error quotes the packet that it is about, of TCP perhaps no more than ports and sequence number.
fn error<'a>(kind: (u8, u8), quoted: &[u8]) -> Transport<'a> {
    let read = || {
        let (ip, _) = LaxIpSlice::from_slice(quoted).ok()?;
        let (ports, _) = ip.payload().payload.split_first_chunk::<8>()?;
        let word = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        let from = SocketAddr::new(ip.source_addr(), word(0));
        let to = SocketAddr::new(ip.destination_addr(), word(2));
        let seq = u32::from(word(4)) << 16 | u32::from(word(6));
        (ip.payload_ip_number() == IpNumber::TCP).then_some((from, to, seq))
    };
    match read() {
        Some((from, to, seq)) => Transport::Error { kind, about: (from, to), seq },
        None => Transport::Other,
    }
}

/// ARP for IPv4 over Ethernet (RFC 826).
fn arp_in_words(packet: &[u8]) -> Option<String> {
    let packet = packet.first_chunk::<28>()?;
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let (sender, target) = (address(14), address(24));
    let sender_mac = mac(packet[8..14].try_into().ok()?);
    Some(match packet[7] {
        _ if sender == target => format!("ARP: {sender} is at {sender_mac}, all be told"),
        1 => format!("ARP: who has {target}? tell {sender}"),
        _ => format!("ARP: {sender} is at {sender_mac}"),
    })
}

fn discovery_in_words(icmp: &Icmpv6Slice) -> Option<String> {
    let target = icmp.payload().first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))?;
    match icmp.type_u8() {
        SOLICITATION => Some(format!("ND: who has {target}?")),
        ADVERTISEMENT => Some(format!("ND: {target} is here")),
        _ => None,
    }
}
