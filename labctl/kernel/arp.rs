//! ARP frames about a floating address: the one that tells everybody on a link where it lives now, the one that asks who
//! has it, and what others say. It knows the layout only; [`super::packet`] sends it.

use std::net::Ipv4Addr;

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, ArpPacketSlice, EtherType, PacketBuilder};

use super::packet::Mac;

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERNET_BYTES: usize = 14;

/// The Ethernet frame of a gratuitous ARP request for an address at a hardware address: sender and target address are
/// the same (RFC 5227 section 3, RFC 9568 section 6.4.1).
pub fn gratuitous(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    request(address, address, mac)
}

/// The Ethernet frame that asks who has an address, from nobody: it fills nobody's table (RFC 5227 section 2.1.1).
pub fn probe(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    request(Ipv4Addr::UNSPECIFIED, address, mac)
}

/// The address that a frame's sender claims as its own, and its hardware address, be it in a request or in a reply.
/// `None` for a probe, which claims nothing, and for anything malformed.
pub fn claim(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let packet = read(frame)?;
    let address = address(packet.sender_protocol_addr())?;
    (!address.is_unspecified()).then_some((address, mac(&packet)?))
}

/// The address that a frame probes for, and the hardware address of who asks. `None` for anything else.
pub fn asked(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let packet = read(frame)?;
    let from_nobody = address(packet.sender_protocol_addr())?.is_unspecified();
    let asks = from_nobody && packet.operation() == ArpOperation::REQUEST;
    asks.then_some((address(packet.target_protocol_addr())?, mac(&packet)?))
}

/// A request or reply about an IPv4 address on Ethernet.
fn read(frame: &[u8]) -> Option<ArpPacketSlice<'_>> {
    if frame.get(12..14)? != ETHERTYPE_ARP {
        return None;
    }
    let packet = ArpPacketSlice::from_slice(frame.get(ETHERNET_BYTES..)?).ok()?;
    let sound = packet.hw_addr_type() == ArpHardwareId::ETHERNET
        && packet.proto_addr_type() == EtherType::IPV4
        && matches!(packet.operation(), ArpOperation::REQUEST | ArpOperation::REPLY);
    sound.then_some(packet)
}

fn address(octets: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

fn mac(packet: &ArpPacketSlice<'_>) -> Option<Mac> {
    Mac::try_from(packet.sender_hw_addr()).ok()
}

/// The Ethernet frame by which somebody asks everybody on a link who has an address.
pub fn request(sender: Ipv4Addr, target: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &mac,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    )
    .expect("both kinds of address have equal lengths in sender and target");
    let builder = PacketBuilder::ethernet2(mac, [0xff; 6]).arp(packet);
    let mut frame = Vec::with_capacity(builder.size());
    builder.write(&mut frame).expect("a vector takes every byte");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gratuitous_request_is_laid_out_as_rfc_826_has_it() {
        let frame = gratuitous(Ipv4Addr::new(203, 0, 113, 10), [2, 0, 0, 0, 0, 7]);
        let golden = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x08, 0x06, // to all, from us, ARP
            0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01, // Ethernet, IPv4, lengths, request
            2, 0, 0, 0, 0, 7, 203, 0, 113, 10, // sender
            0, 0, 0, 0, 0, 0, 203, 0, 113, 10, // target
        ];
        assert_eq!(frame, golden);
    }

    #[test]
    fn a_probe_comes_from_nobody_and_claims_nothing() {
        let frame = probe(Ipv4Addr::new(203, 0, 113, 10), [2, 0, 0, 0, 0, 7]);
        assert_eq!(frame[28..32], [0, 0, 0, 0], "sender");
        assert_eq!(frame[38..42], [203, 0, 113, 10], "target");
        assert_eq!(frame[6..12], [2, 0, 0, 0, 0, 7]);
        assert_eq!(claim(&frame), None);
        assert_eq!(asked(&frame), Some((Ipv4Addr::new(203, 0, 113, 10), [2, 0, 0, 0, 0, 7])));
        assert_eq!(asked(&gratuitous(Ipv4Addr::new(203, 0, 113, 10), [2, 0, 0, 0, 0, 7])), None);
    }

    #[test]
    fn requests_and_replies_claim_their_senders_address_and_nothing_else_does() {
        let mac = [2, 0, 0, 0, 0, 7];
        let address = Ipv4Addr::new(203, 0, 113, 10);
        let mut frame = gratuitous(address, mac);
        assert_eq!(claim(&frame), Some((address, mac)));
        frame[21] = 2;
        assert_eq!(claim(&frame), Some((address, mac)));
        for len in 0..frame.len() {
            assert_eq!(claim(&frame[..len]), None, "cut off at {len}");
        }
        // EtherType, kind of hardware, kind of address, their lengths, operation.
        for at in [13, 15, 17, 18, 19, 21] {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x10;
            assert_eq!(claim(&damaged), None, "damaged at {at}");
        }
    }
}
