//! VS/TUN: the packet travels inside another one to a real server that may be anywhere (RFC 2003 for IPv4, RFC 2473 for
//! IPv6), and comes out there as it was sent, one hop older.

use std::net::IpAddr;

use etherparse::{IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6Header};

use super::dr::passed_on;
use super::frame::{ETHERNET_BYTES, Ip};

/// What the outer header of IPv4 takes of the way's MTU.
pub const OVERHEAD_V4: u16 = 20;
/// What the outer header of IPv6 takes of it.
pub const OVERHEAD_V6: u16 = 40;

/// Hops that a tunnelled packet has on its way.
const TTL: u8 = 64;

/// The packet in a tunnel. The outer header has its class of service and its congestion marks (RFC 6040); it says "do not
/// fragment", because what does not fit is answered before it gets here, and so needs no identification (RFC 6864).
pub(super) fn encapsulated(frame: &[u8], ip: &Ip, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let inner = passed_on(frame, ip);
    let class = class_of_service(frame, ip);
    let outer = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut outer = Ipv4Header {
                dscp: IpDscp::try_new(class >> 2).expect("six bits"),
                ecn: IpEcn::try_new(class & 0b11).expect("two bits"),
                total_len: OVERHEAD_V4 + ip.length as u16,
                identification: 0,
                dont_fragment: true,
                time_to_live: TTL,
                protocol: IpNumber::IPV4,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            };
            outer.header_checksum = outer.calc_header_checksum();
            outer.to_bytes().to_vec()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => Ipv6Header {
            traffic_class: class,
            flow_label: Default::default(),
            payload_length: ip.length as u16,
            next_header: IpNumber::IPV6,
            hop_limit: TTL,
            source: from.octets(),
            destination: to.octets(),
        }
        .to_bytes()
        .to_vec(),
        _ => unreachable!("a service and its real servers are of one family"),
    };
    let (ethernet, packet) = inner.split_at(ETHERNET_BYTES);
    [ethernet, &outer, packet].concat()
}

/// DSCP and ECN: a byte of an IPv4 header, two halves of two bytes of an IPv6 one.
fn class_of_service(frame: &[u8], ip: &Ip) -> u8 {
    match ip.source.is_ipv4() {
        true => frame[ip.at + 1],
        false => frame[ip.at] << 4 | frame[ip.at + 1] >> 4,
    }
}
