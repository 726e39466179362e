//! Gratuitous ARP: the frame that tells everybody on a link where an address lives now. It knows the layout only;
//! [`super::packet`] sends it.

use std::net::Ipv4Addr;

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder};

use super::packet::Mac;

/// The Ethernet frame of a gratuitous ARP request for an address at a hardware address: sender and target address are
/// the same (RFC 5227 section 3, RFC 9568 section 6.4.1).
pub fn gratuitous(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &mac,
        &address.octets(),
        &[0; 6],
        &address.octets(),
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
    fn the_frame_is_laid_out_as_rfc_826_has_it() {
        let frame = gratuitous(Ipv4Addr::new(203, 0, 113, 10), [2, 0, 0, 0, 0, 7]);
        let golden = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x08, 0x06, // to all, from us, ARP
            0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01, // Ethernet, IPv4, lengths, request
            2, 0, 0, 0, 0, 7, 203, 0, 113, 10, // sender
            0, 0, 0, 0, 0, 0, 203, 0, 113, 10, // target
        ];
        assert_eq!(frame, golden);
    }
}
