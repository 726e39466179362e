//! A frame as bytes, and the few fields of it that a director reads and rewrites. It knows no services.

use std::net::{IpAddr, Ipv4Addr};

use super::super::Endpoint;

/// A hardware address.
pub type Mac = [u8; 6];

/// Hardware addresses of virtual routers for IPv4 begin with this (RFC 9568 section 7.3).
const VIRTUAL_ROUTER: [u8; 5] = [0x00, 0x00, 0x5e, 0x00, 0x01];
const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const IPV4_BYTES_MIN: usize = 20;
const TCP_BYTES_MIN: usize = 20;
const PROTOCOL_TCP: u8 = 6;
/// "More fragments" and the fragment offset (RFC 791 section 3.1).
const FRAGMENT_BITS: u16 = 0x3fff;
const FLAG_SYN: u8 = 0x02;
const FLAG_ACK: u8 = 0x10;

const TTL_AT: usize = ETHERNET_BYTES + 8;
const IP_CHECKSUM_AT: usize = ETHERNET_BYTES + 10;
const IP_SOURCE_AT: usize = ETHERNET_BYTES + 12;
const IP_DESTINATION_AT: usize = ETHERNET_BYTES + 16;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;

/// Which end of a connection is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// What a director reads of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who sent it.
    pub source: Endpoint,
    /// Whom it is for.
    pub destination: Endpoint,
    /// Hops that it has left, this one included.
    pub ttl: u8,
    /// SYN without ACK: it opens a connection.
    pub opens: bool,
    tcp_at: usize,
}

impl Segment {
    /// Reads a whole TCP segment over IPv4 in a frame for `own`, or for the hardware address of a virtual router, which
    /// the active director answers to; `None` for anything else, be it a fragment, another protocol, a tagged, overheard
    /// or malformed frame.
    pub fn read(frame: &[u8], own: Mac) -> Option<Self> {
        let to = frame.get(..6)?;
        if !(to == own || to.starts_with(&VIRTUAL_ROUTER)) || u16_at(frame, 12)? != ETHERTYPE_IPV4 {
            return None;
        }
        let first = *frame.get(ETHERNET_BYTES)?;
        let header = usize::from(first & 0x0f) * 4;
        let total = usize::from(u16_at(frame, ETHERNET_BYTES + 2)?);
        let is_whole_tcp = first >> 4 == 4
            && header >= IPV4_BYTES_MIN
            && *frame.get(ETHERNET_BYTES + 9)? == PROTOCOL_TCP
            && u16_at(frame, ETHERNET_BYTES + 6)? & FRAGMENT_BITS == 0
            && total >= header + TCP_BYTES_MIN
            && ETHERNET_BYTES + total <= frame.len();
        if !is_whole_tcp {
            return None;
        }
        let tcp_at = ETHERNET_BYTES + header;
        let endpoint = |address, port| Some(Endpoint::tcp(address_at(frame, address)?, u16_at(frame, port)?));
        Some(Self {
            source: endpoint(IP_SOURCE_AT, tcp_at)?,
            destination: endpoint(IP_DESTINATION_AT, tcp_at + 2)?,
            ttl: *frame.get(TTL_AT)?,
            opens: *frame.get(tcp_at + TCP_FLAGS)? & (FLAG_SYN | FLAG_ACK) == FLAG_SYN,
            tcp_at,
        })
    }

    /// The frame with `to` in the place of one side, one hop further. Both checksums are updated, never computed anew:
    /// a segment that was damaged on the way must still look damaged to its receiver.
    pub(super) fn rewritten(&self, frame: &[u8], side: Side, to: Endpoint) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let (from, address_at, port_at) = match side {
            Side::Source => (self.source, IP_SOURCE_AT, self.tcp_at),
            Side::Destination => (self.destination, IP_DESTINATION_AT, self.tcp_at + 2),
        };
        let (IpAddr::V4(old), IpAddr::V4(new)) = (from.address, to.address) else {
            unreachable!("only IPv4 is read, and services of one family only are installed")
        };
        let (before, after) = (u32::from(old), u32::from(new));
        let hop =
            [u32::from(self.ttl), u32::from(self.ttl) - 1].map(|ttl| ttl << 8 | u32::from(PROTOCOL_TCP));
        update(&mut frame, IP_CHECKSUM_AT, hop[0], hop[1]);
        update(&mut frame, IP_CHECKSUM_AT, before, after);
        update(&mut frame, self.tcp_at + TCP_CHECKSUM, before, after);
        if from.port != to.port {
            update(&mut frame, self.tcp_at + TCP_CHECKSUM, from.port.into(), to.port.into());
        }
        frame[TTL_AT] -= 1;
        frame[address_at..address_at + 4].copy_from_slice(&new.octets());
        frame[port_at..port_at + 2].copy_from_slice(&to.port.to_be_bytes());
        frame
    }
}

/// Puts a checksum right after a field has changed (RFC 1624, equation 3).
fn update(frame: &mut [u8], checksum_at: usize, before: u32, after: u32) {
    let words = |value: u32| [value >> 16, value & 0xffff];
    let mut sum = 0xffff ^ (u32::from(frame[checksum_at]) << 8 | u32::from(frame[checksum_at + 1]));
    sum += words(before).map(|word| 0xffff ^ word).iter().sum::<u32>() + words(after).iter().sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[checksum_at..checksum_at + 2].copy_from_slice(&(0xffff ^ sum as u16).to_be_bytes());
}

fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

fn address_at(frame: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = frame.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}
