//! A frame as bytes, and the few fields of it that a director goes by. It knows no services: whatever it cannot surely read
//! is [`Read::Other`], and the kernel's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::{Endpoint, Protocol};

/// A hardware address.
pub type Mac = [u8; 6];

/// Destination, source, ethertype. A frame with a VLAN tag has another ethertype, so it is none of ours.
pub const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Hardware addresses of virtual routers begin with these (RFC 9568 section 7.3). A frame to one of its family is for us:
/// the kernel takes it for somebody else's until its macvlan has it.
const VIRTUAL_ROUTER_V4: [u8; 5] = [0x00, 0x00, 0x5e, 0x00, 0x01];
const VIRTUAL_ROUTER_V6: [u8; 5] = [0x00, 0x00, 0x5e, 0x00, 0x02];

const IPV4_BYTES_MIN: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES_MIN: usize = 20;
const UDP_BYTES: usize = 8;
const ICMP_BYTES: usize = 8;
pub(super) const ICMP_CHECKSUM: usize = 2;
/// What an ICMP error quotes at least of the packet after its IP header (RFC 792): enough for the ports.
const QUOTED_BYTES_MIN: usize = 8;

/// "More fragments" and the fragment offset (RFC 791 section 3.1).
const FRAGMENT_BITS: u16 = 0x3fff;
const DONT_FRAGMENT: u16 = 0x4000;
/// The offset alone.
const OFFSET_BITS: u16 = 0x1fff;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;
/// Extension headers of IPv6 (RFC 8200 section 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Most extension headers, and most bytes of them: a program in the kernel must know when it is done.
const EXTENSIONS_MAX: usize = 8;
const EXTENSION_BYTES_MAX: usize = 256;

const FLAG_FIN: u8 = 0x01;
const FLAG_SYN: u8 = 0x02;
const FLAG_RST: u8 = 0x04;
const FLAG_ACK: u8 = 0x10;

/// What a frame is to a director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A packet of TCP or UDP with its whole header.
    Segment(Segment),
    /// An ICMP error about such a packet.
    Error(Error),
    /// A piece of a packet.
    Fragment,
    /// Anything else, be it of another protocol, tagged, overheard or malformed.
    Other,
}

/// An IP header: where it is, and what a director goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ip {
    pub(super) at: usize,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Hops that it has left, this one included.
    pub(super) ttl: u8,
    /// The whole packet's length, by its own word. Frames may be longer.
    pub(super) length: usize,
    /// What it carries, after extension headers.
    pub(super) protocol: u8,
    /// Where that begins.
    pub(super) payload_at: usize,
    /// Whether nobody on the way may cut it into fragments.
    pub(super) dont_fragment: bool,
    pub(super) fragment: Option<FirstOrLater>,
}

/// Which piece of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstOrLater {
    First,
    Later,
}

/// A packet of TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) ip: Ip,
    /// Who sent it.
    pub(super) source: Endpoint,
    /// Whom it is for.
    pub(super) destination: Endpoint,
    /// Where in the life of a connection it is; a datagram has no such place.
    pub(super) stage: Stage,
}

/// What a segment says of its connection. One that says several things says the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// SYN without ACK.
    Opens,
    /// RST.
    Resets,
    /// FIN.
    Closes,
    /// None of these, and every datagram.
    GoesOn,
}

/// An ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) ip: Ip,
    /// The packet that it is about, as far as it is quoted: at least its IP header and its ports.
    pub(super) about: Ip,
    pub(super) about_source: Endpoint,
    pub(super) about_destination: Endpoint,
}

/// Reads a frame that came in by an interface with this hardware address.
pub(super) fn read(frame: &[u8], own: Mac) -> Read {
    match packet(frame, own) {
        None => Read::Other,
        Some(ip) if ip.fragment.is_some() => Read::Fragment,
        Some(ip) => segment(frame, ip).or_else(|| error(frame, ip)).unwrap_or(Read::Other),
    }
}

/// The IP packet in a frame for us. It is all there: what its header says is in the frame.
fn packet(frame: &[u8], own: Mac) -> Option<Ip> {
    let (to, end) = (frame.get(..6)?, frame.len());
    let (ip, virtual_router) = match u16_at(frame, 12)? {
        ETHERTYPE_IPV4 => (ipv4(frame, ETHERNET_BYTES, end)?, VIRTUAL_ROUTER_V4),
        ETHERTYPE_IPV6 => (ipv6(frame, ETHERNET_BYTES, end)?, VIRTUAL_ROUTER_V6),
        _ => return None,
    };
    let is_for_us = to == own || to.starts_with(&virtual_router);
    let is_whole = ip.at + ip.length <= end && ip.payload_at <= ip.at + ip.length;
    (is_for_us && is_whole).then_some(ip)
}

/// The IPv4 header at `at`, of which nothing may lie beyond `end`.
fn ipv4(frame: &[u8], at: usize, end: usize) -> Option<Ip> {
    let first = *frame.get(at)?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < IPV4_BYTES_MIN || at + header > end {
        return None;
    }
    let fragment = match u16_at(frame, at + 6)? {
        bits if bits & FRAGMENT_BITS == 0 => None,
        bits if bits & OFFSET_BITS == 0 => Some(FirstOrLater::First),
        _ => Some(FirstOrLater::Later),
    };
    let address = |at| Some(Ipv4Addr::from(bytes_at::<4>(frame, at)?).into());
    Some(Ip {
        at,
        source: address(at + 12)?,
        destination: address(at + 16)?,
        ttl: *frame.get(at + 8)?,
        length: u16_at(frame, at + 2)?.into(),
        protocol: *frame.get(at + 9)?,
        payload_at: at + header,
        dont_fragment: u16_at(frame, at + 6)? & DONT_FRAGMENT != 0,
        fragment,
    })
}

/// The IPv6 header at `at` with its extension headers, of which nothing may lie beyond `end`.
fn ipv6(frame: &[u8], at: usize, end: usize) -> Option<Ip> {
    if *frame.get(at)? >> 4 != 6 || at + IPV6_BYTES > end {
        return None;
    }
    let address = |at| Some(Ipv6Addr::from(bytes_at::<16>(frame, at)?).into());
    let length = IPV6_BYTES + usize::from(u16_at(frame, at + 4)?);
    let mut ip = Ip {
        at,
        source: address(at + 8)?,
        destination: address(at + 24)?,
        ttl: *frame.get(at + 7)?,
        length,
        protocol: *frame.get(at + 6)?,
        payload_at: at + IPV6_BYTES,
        dont_fragment: true,
        fragment: None,
    };
    for _ in 0..EXTENSIONS_MAX {
        if !matches!(ip.protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
            break;
        }
        let [next, words, _, segments_left] = bytes_at::<4>(frame, ip.payload_at)?;
        // A packet that is to be routed on from here has another destination still.
        if ip.protocol == ROUTING && segments_left != 0 {
            return None;
        }
        ip.protocol = next;
        ip.payload_at += 8 * (usize::from(words) + 1);
        if ip.payload_at > end.min(at + length) || ip.payload_at - at - IPV6_BYTES > EXTENSION_BYTES_MAX {
            return None;
        }
    }
    if ip.protocol == FRAGMENT {
        ip.fragment = Some(FirstOrLater::Later);
    }
    Some(ip)
}

fn segment(frame: &[u8], ip: Ip) -> Option<Read> {
    let (source, destination) = ends(frame, &ip)?;
    let (header, stage) = match source.protocol {
        Protocol::Tcp => (TCP_BYTES_MIN, stage(*frame.get(ip.payload_at + 13)?)),
        Protocol::Udp => (UDP_BYTES, Stage::GoesOn),
    };
    let is_whole = ip.payload_at + header <= ip.at + ip.length;
    is_whole.then_some(Read::Segment(Segment { ip, source, destination, stage }))
}

fn stage(flags: u8) -> Stage {
    if flags & (FLAG_SYN | FLAG_ACK) == FLAG_SYN {
        Stage::Opens
    } else if flags & FLAG_RST != 0 {
        Stage::Resets
    } else if flags & FLAG_FIN != 0 {
        Stage::Closes
    } else {
        Stage::GoesOn
    }
}

/// An error that says why a packet did not arrive, with the beginning of that packet. Nothing comes between the two headers
/// of a quoted IPv6 packet: real servers send no extension headers. It goes to whom the quoted packet came from.
fn error(frame: &[u8], ip: Ip) -> Option<Read> {
    let (kind, end) = (*frame.get(ip.payload_at)?, ip.at + ip.length);
    let at = ip.payload_at + ICMP_BYTES;
    let about = match (ip.source, ip.protocol, kind) {
        // Unreachable, time exceeded, parameter problem (RFC 792).
        (IpAddr::V4(_), PROTOCOL_ICMP, 3 | 11 | 12) => ipv4(frame, at, end)?,
        // Unreachable, too big, time exceeded, parameter problem (RFC 4443).
        (IpAddr::V6(_), PROTOCOL_ICMPV6, 1..=4) => ipv6(frame, at, end)?,
        _ => return None,
    };
    let is_plain = about.source.is_ipv4() || about.payload_at == at + IPV6_BYTES;
    let is_enough = about.payload_at + QUOTED_BYTES_MIN <= end && about.fragment != Some(FirstOrLater::Later);
    if !is_plain || !is_enough || about.source != ip.destination {
        return None;
    }
    let (about_source, about_destination) = ends(frame, &about)?;
    Some(Read::Error(Error { ip, about, about_source, about_destination }))
}

/// Both ends of a packet of TCP or UDP.
fn ends(frame: &[u8], ip: &Ip) -> Option<(Endpoint, Endpoint)> {
    let protocol = match ip.protocol {
        PROTOCOL_TCP => Protocol::Tcp,
        PROTOCOL_UDP => Protocol::Udp,
        _ => return None,
    };
    let [source, destination] = [(ip.source, ip.payload_at), (ip.destination, ip.payload_at + 2)]
        .map(|(address, at)| u16_at(frame, at).map(|port| Endpoint { address, port, protocol }));
    Some((source?, destination?))
}

/// Two bytes in network order.
fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    bytes_at(frame, at).map(u16::from_be_bytes)
}

fn bytes_at<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}
