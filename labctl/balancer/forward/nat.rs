//! VS/NAT: what clients send to a virtual service gets a real server as its destination, and what that answers gets the
//! virtual service back as its source. An ICMP error quotes a packet from the other side of the translation, so the quotation is
//! translated as well: its reader must recognize what it sent (RFC 5508 section 4).

use std::net::IpAddr;

use super::super::{Endpoint, Protocol};
use super::checksum::{Sum, replace};
use super::dr::passed_on;
use super::frame::{Error, ICMP_CHECKSUM, Ip, Segment};

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

impl Side {
    fn opposite(self) -> Self {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }
}

/// The segment with `to` in the place of one end.
pub(super) fn rewritten(frame: &[u8], segment: &Segment, side: Side, to: Endpoint) -> Vec<u8> {
    let mut frame = passed_on(frame, &segment.ip);
    let ip = &segment.ip;
    let payload = payload_sum(ip, to.protocol, None);
    let sums: Vec<Sum> = header_sum(ip, None).into_iter().chain([payload]).collect();
    replace(&mut frame, address_at(ip, side), &octets(to.address), &sums);
    replace(&mut frame, port_at(ip, side), &to.port.to_be_bytes(), &[payload]);
    frame
}

/// The error with `to` in the place of one end of the packet that it is about. An error travels against that packet, so
/// the address is put in the place of the other end of the error itself.
pub(super) fn rewritten_error(frame: &[u8], error: &Error, side: Side, to: Endpoint) -> Vec<u8> {
    let mut frame = passed_on(frame, &error.ip);
    let (ip, about) = (&error.ip, &error.about);
    let icmp_at = ip.payload_at + ICMP_CHECKSUM;
    let icmp = Sum::new(icmp_at);
    // The pseudo header of ICMPv6 covers the addresses; ICMP has none, but an IPv4 header has a checksum.
    let outer = header_sum(ip, None).unwrap_or(icmp);
    replace(&mut frame, address_at(ip, side.opposite()), &octets(to.address), &[outer]);

    let quoted = payload_sum(about, to.protocol, Some(icmp_at));
    // Of TCP the quotation may end before the checksum.
    let payload = (quoted.at + 2 <= ip.at + ip.length).then_some(quoted);
    let sums: Vec<Sum> = header_sum(about, Some(icmp_at)).into_iter().chain(payload).chain([icmp]).collect();
    replace(&mut frame, address_at(about, side), &octets(to.address), &sums);
    let sums: Vec<Sum> = payload.into_iter().chain([icmp]).collect();
    replace(&mut frame, port_at(about, side), &to.port.to_be_bytes(), &sums);
    frame
}

/// The checksum of an IPv4 header.
pub(super) fn header_sum(ip: &Ip, quoted_by: Option<usize>) -> Option<Sum> {
    ip.source.is_ipv4().then_some(Sum { quoted_by, ..Sum::new(ip.at + 10) })
}

/// The checksum of TCP or UDP, which covers ports and, by the pseudo header, addresses.
fn payload_sum(ip: &Ip, protocol: Protocol, quoted_by: Option<usize>) -> Sum {
    match protocol {
        Protocol::Tcp => Sum { at: ip.payload_at + 16, optional: false, quoted_by },
        Protocol::Udp => Sum { at: ip.payload_at + 6, optional: true, quoted_by },
    }
}

fn address_at(ip: &Ip, side: Side) -> usize {
    let (source, bytes) = if ip.source.is_ipv4() { (12, 4) } else { (8, 16) };
    match side {
        Side::Source => ip.at + source,
        Side::Destination => ip.at + source + bytes,
    }
}

fn port_at(ip: &Ip, side: Side) -> usize {
    match side {
        Side::Source => ip.payload_at,
        Side::Destination => ip.payload_at + 2,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
