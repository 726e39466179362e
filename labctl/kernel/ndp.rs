//! Neighbour discovery of IPv6 (RFC 4861) as far as a floating address needs it: saying that it lives here now, asking
//! who has it, and reading what others say. It knows the layout only; [`super::packet`] sends it.

use std::net::Ipv6Addr;

use etherparse::icmpv6::NeighborAdvertisementHeader;
use etherparse::{Icmpv6Header, Icmpv6Type, IpNumber, Ipv6Header, PacketBuilder};

use super::packet::Mac;

/// Nothing from beyond a router has it (RFC 4861 section 7.1).
const HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ETHERNET_BYTES: usize = 14;
/// ICMPv6 header and target address.
const MESSAGE_BYTES_MIN: usize = 8 + 16;
/// Options count their length in units of this.
const OPTION_UNIT_BYTES: usize = 8;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// The Ethernet frame of an unsolicited neighbour advertisement to all nodes: the sender is a router, and what neighbours
/// knew before is overridden (RFC 9568 section 6.4.2).
pub fn unsolicited(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let flags = NeighborAdvertisementHeader { router: true, solicited: false, r#override: true };
    let kind = Icmpv6Type::NeighborAdvertisement(flags);
    frame(mac, address, ALL_NODES, kind, address, Some((TARGET_LINK_LAYER, mac)))
}

/// The Ethernet frame that asks who has an address, from nobody: who has it answers to all nodes, and nobody learns
/// anything of the asker (RFC 4862 section 5.4.2).
pub fn probe(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let group = solicited_node(address);
    frame(mac, Ipv6Addr::UNSPECIFIED, group, Icmpv6Type::NeighborSolicitation, address, None)
}

/// The group that everybody with this address listens to (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c))
}

/// The address that a frame's sender claims as its own, and its hardware address: by an advertisement of it, or by a
/// solicitation that comes from it. `None` for a probe, which claims nothing, and for anything malformed.
pub fn claim(frame: &[u8]) -> Option<(Ipv6Addr, Mac)> {
    let (sender, ip, message) = read(frame)?;
    let (address, option) = match message[0] {
        ADVERTISEMENT => (target(message)?, TARGET_LINK_LAYER),
        SOLICITATION => (Ipv6Addr::from(ip.source), SOURCE_LINK_LAYER),
        _ => return None,
    };
    let mac = link_layer(&message[MESSAGE_BYTES_MIN..], option)?;
    (!address.is_unspecified() && !address.is_multicast()).then_some((address, mac.unwrap_or(sender)))
}

/// The address that a frame probes for, and the hardware address of who asks. `None` for anything else.
pub fn asked(frame: &[u8]) -> Option<(Ipv6Addr, Mac)> {
    let (sender, ip, message) = read(frame)?;
    let asks = message[0] == SOLICITATION && Ipv6Addr::from(ip.source).is_unspecified();
    asks.then_some((target(message)?, sender))
}

/// The sender of a frame, and the sound ICMPv6 message in it with its IPv6 header; it has room for a target address.
fn read(frame: &[u8]) -> Option<(Mac, Ipv6Header, &[u8])> {
    let sender = Mac::try_from(frame.get(6..12)?).ok()?;
    let packet = frame.get(ETHERNET_BYTES..)?;
    if frame.get(12..14)? != ETHERTYPE_IPV6 {
        return None;
    }
    let (ip, rest) = Ipv6Header::from_slice(packet).ok()?;
    let message = rest.get(..usize::from(ip.payload_length))?;
    if ip.hop_limit != HOP_LIMIT || ip.next_header != IpNumber::IPV6_ICMP || message.len() < MESSAGE_BYTES_MIN
    {
        return None;
    }
    let (header, body) = Icmpv6Header::from_slice(message).ok()?;
    let checksum = header.icmp_type.calc_checksum(ip.source, ip.destination, body).ok()?;
    (checksum == header.checksum && message[1] == 0).then_some((sender, ip, message))
}

fn target(message: &[u8]) -> Option<Ipv6Addr> {
    message.get(8..MESSAGE_BYTES_MIN)?.first_chunk::<16>().copied().map(Ipv6Addr::from)
}

/// The hardware address among the options, if there is one; `None` if they are malformed.
fn link_layer(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while !options.is_empty() {
        let bytes = usize::from(*options.get(1)?) * OPTION_UNIT_BYTES;
        let (option, rest) = options.split_at_checked(bytes).filter(|_| bytes > 0)?;
        if option[0] == wanted && bytes == OPTION_UNIT_BYTES {
            found = Mac::try_from(&option[2..]).ok();
        }
        options = rest;
    }
    Some(found)
}

fn frame(
    mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: Icmpv6Type,
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
) -> Vec<u8> {
    let mut body = target.octets().to_vec();
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac);
    }
    let [.., a, b, c, d] = destination.octets();
    let builder = PacketBuilder::ethernet2(mac, [0x33, 0x33, a, b, c, d])
        .ipv6(source.octets(), destination.octets(), HOP_LIMIT)
        .icmpv6(kind);
    let mut frame = Vec::with_capacity(builder.size(body.len()));
    builder.write(&mut frame, &body).expect("a vector takes every byte");
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x02, 0x33];
    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);

    #[test]
    fn an_unsolicited_advertisement_is_laid_out_as_rfc_4861_has_it() {
        let mut golden = vec![0x33, 0x33, 0, 0, 0, 1, 0x00, 0x00, 0x5e, 0x00, 0x02, 0x33, 0x86, 0xdd];
        golden.extend([0x60, 0, 0, 0, 0, 32, 58, 255]); // 32 bytes of ICMPv6, hop limit 255
        golden.extend(ADDRESS.octets());
        golden.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        golden.extend([136, 0, 0x1a, 0xda, 0xa0, 0, 0, 0]); // router and override, not solicited
        golden.extend(ADDRESS.octets());
        golden.extend([2, 1, 0x00, 0x00, 0x5e, 0x00, 0x02, 0x33]); // target link-layer address
        assert_eq!(unsolicited(ADDRESS, MAC), golden);
    }

    #[test]
    fn a_probe_comes_from_nobody_and_goes_to_the_solicited_node_group() {
        let mut golden = vec![0x33, 0x33, 0xff, 0, 0, 0x10, 2, 0, 0, 0, 0, 7, 0x86, 0xdd];
        golden.extend([0x60, 0, 0, 0, 0, 24, 58, 255]);
        golden.extend([0; 16]);
        golden.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x10]);
        golden.extend([135, 0, 0x4c, 0xcf, 0, 0, 0, 0]);
        golden.extend(ADDRESS.octets());
        assert_eq!(probe(ADDRESS, [2, 0, 0, 0, 0, 7]), golden);
        assert_eq!(claim(&probe(ADDRESS, MAC)), None);
        assert_eq!(asked(&probe(ADDRESS, MAC)), Some((ADDRESS, MAC)));
        assert_eq!(asked(&unsolicited(ADDRESS, MAC)), None);
    }

    #[test]
    fn a_claim_is_an_advertisement_or_a_solicitation_that_comes_from_the_address() {
        assert_eq!(claim(&unsolicited(ADDRESS, MAC)), Some((ADDRESS, MAC)));
        let asks = |source: Ipv6Addr, option| {
            let target = Ipv6Addr::LOCALHOST;
            frame(MAC, source, solicited_node(target), Icmpv6Type::NeighborSolicitation, target, option)
        };
        let other = [2, 0, 0, 0, 0, 9];
        assert_eq!(claim(&asks(ADDRESS, Some((SOURCE_LINK_LAYER, other)))), Some((ADDRESS, other)));
        assert_eq!(claim(&asks(ADDRESS, None)), Some((ADDRESS, MAC)), "then the frame's sender counts");
        assert_eq!(claim(&asks(Ipv6Addr::UNSPECIFIED, None)), None);
    }

    #[test]
    fn whatever_is_wrong_with_a_frame_it_claims_nothing() {
        let whole = unsolicited(ADDRESS, MAC);
        for len in 0..whole.len() {
            assert_eq!(claim(&whole[..len]), None, "cut off at {len}");
        }
        // Each one of these alone: EtherType, version, hop limit, next header, type, code, checksum, target, option length.
        for at in [12, 14, 21, 20, 54, 55, 56, 65, 79] {
            let mut frame = whole.clone();
            frame[at] ^= 0x10;
            assert_eq!(claim(&frame), None, "damaged at {at}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_is_too_strange_to_be_read(tail in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..90) {
            let mut frame = unsolicited(ADDRESS, MAC);
            frame.truncate(at);
            frame.extend(tail);
            let _ = claim(&frame);
            let _ = super::super::arp::claim(&frame);
        }
    }
}
