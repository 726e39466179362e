//! The one thing that a director says itself: a packet does not fit, and how long it may be (RFC 1191, RFC 4443 section
//! 3.2). Without that word a sender repeats the packet until it gives up. An answer is shorter than what it answers, so it
//! needs no limit of its own against being used to amplify a flood.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpNumber, Ipv4Header, Ipv6Header, icmpv4,
};

use super::frame::{ETHERNET_BYTES, Ip};

/// Bytes of the packet in the answer over IPv4: the whole is 576 bytes, which every host takes (RFC 1812 section 4.3.2.3).
pub const QUOTED_V4_MAX: usize = 576 - 20 - 8;
/// Bytes of the packet in the answer over IPv6: the whole is 1280 bytes, the least MTU there is (RFC 4443 section 2.4).
pub const QUOTED_V6_MAX: usize = 1280 - 40 - 8;

/// Hops of an answer.
const TTL: u8 = 64;
/// "Internetwork control", the class of service of ICMP errors (RFC 1812 section 4.3.2.5).
const DSCP: u8 = 48;

/// The answer that the packet is too big for a way of this MTU. It comes from the virtual address, and goes to the hardware
/// address that the frame came from. The packet is longer than any quotation, since no MTU is less than
/// [`super::MTU_MIN`].
pub(super) fn too_big(frame: &[u8], ip: &Ip, virtual_address: IpAddr, mtu: u16) -> Vec<u8> {
    let quoted = |bytes| &frame[ip.at..ip.at + bytes];
    let headers_and_quoted = match (virtual_address, ip.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let reason = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            let quoted = quoted(QUOTED_V4_MAX);
            let icmp = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(reason), quoted);
            let mut header = Ipv4Header {
                dscp: IpDscp::try_new(DSCP).expect("six bits"),
                total_len: (20 + 8 + QUOTED_V4_MAX) as u16,
                identification: 0,
                dont_fragment: true,
                time_to_live: TTL,
                protocol: IpNumber::ICMP,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            };
            header.header_checksum = header.calc_header_checksum();
            [&header.to_bytes()[..], &icmp.to_bytes(), quoted].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let quoted = quoted(QUOTED_V6_MAX);
            let kind = Icmpv6Type::PacketTooBig { mtu: mtu.into() };
            let icmp = Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), quoted)
                .expect("a message of ordinary size");
            let header = Ipv6Header {
                traffic_class: DSCP << 2,
                flow_label: Default::default(),
                payload_length: (8 + QUOTED_V6_MAX) as u16,
                next_header: IpNumber::IPV6_ICMP,
                hop_limit: TTL,
                source: from.octets(),
                destination: to.octets(),
            };
            [&header.to_bytes()[..], &icmp.to_bytes(), quoted].concat()
        }
        _ => unreachable!("a packet and the service that it is for are of one family"),
    };
    let (to, from, ethertype) = (&frame[..6], &frame[6..12], &frame[12..ETHERNET_BYTES]);
    [from, to, ethertype, &headers_and_quoted].concat()
}
