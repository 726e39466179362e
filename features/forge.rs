//! Adverts that no router would send, as whole frames from a node of the lab.

use std::net::Ipv4Addr;
use std::num::NonZeroU8;
use std::os::fd::AsFd;

use labctl::holder::client::Lab;
use labctl::kernel::namespace;
use labctl::kernel::packet::{FrameSocket, Port};
use labctl::topology::NodeName;
use labctl::vrrp::{Advert, ChecksumRule, GROUP_V4, Interval, PROTOCOL, TTL, Version, encode};

/// How many are sent, so that a count can be told from chance.
pub const COUNT: usize = 5;
/// The Ethernet address of the group (RFC 1112 section 6.4).
const GROUP_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// VRRP's place in the message.
const TYPE_AT: usize = 0;
const VRID_AT: usize = 1;
const COUNT_AT: usize = 3;
const INTERVAL_AT: std::ops::Range<usize> = 4..6;
const CHECKSUM_AT: std::ops::Range<usize> = 6..8;

/// Sends adverts of VRID 51 from a node's interface, right but for one flaw.
pub fn send(lab: &Lab, node: &NodeName, interface: &str, own: Ipv4Addr, flaw: &str) -> Result<(), String> {
    let init = lab.enter(node).map_err(|error| error.to_string())?;
    let port = Port::inside(init.as_fd(), interface).map_err(|error| error.to_string())?;
    let socket = namespace::inside(init.as_fd(), || FrameSocket::open(&port));
    let socket =
        socket.map_err(|error| format!("enter {node}: {error}"))?.map_err(|error| error.to_string())?;
    let frame = frame(&port, own, flaw)?;
    (0..COUNT).try_for_each(|_| socket.send(&frame).map_err(|error| format!("send: {error}")))
}

fn frame(port: &Port, own: Ipv4Addr, flaw: &str) -> Result<Vec<u8>, String> {
    let (mut ttl, mut source, mut rule) = (TTL, own, ChecksumRule::MessageOnly);
    // Priority 1 would lose against anybody, if it were heard.
    let mut advert = Advert {
        version: Version::V3,
        vrid: NonZeroU8::new(51).ok_or("0 is no VRID")?,
        priority: 1,
        interval: Interval::from_centiseconds(10).ok_or("0 is no interval")?,
        addresses: vec![[203, 0, 113, 10].into(), [10, 10, 1, 1].into()],
    };
    match flaw {
        "TTL 254" => ttl = 254,
        "proxy1's address" => source = [10, 10, 1, 11].into(),
        "a pseudo-header" => rule = ChecksumRule::PseudoHeader,
        "priority 255" => advert.priority = 255,
        _ => {}
    }
    let mut message = encode(&advert, rule, source.into(), GROUP_V4.into());
    match flaw {
        "version 2" => message[TYPE_AT] = 0x21,
        "type 2" => message[TYPE_AT] = 0x32,
        "VRID 0" => message[VRID_AT] = 0,
        "VRID 52" => message[VRID_AT] = 52,
        "no address" => message[COUNT_AT] = 0,
        "an address less" => message.truncate(12),
        "interval 0" => message[INTERVAL_AT].fill(0),
        "TTL 254" | "proxy1's address" | "a pseudo-header" | "a wrong checksum" | "priority 255" => {}
        other => return Err(format!("nobody knows how to forge {other:?}")),
    }
    match flaw {
        "a pseudo-header" => {}
        "a wrong checksum" => message[CHECKSUM_AT.start] ^= 0xff,
        _ => mend(&mut message),
    }
    let len = message.len() as u16;
    let header = etherparse::Ipv4Header::new(
        len,
        ttl,
        etherparse::IpNumber(PROTOCOL),
        source.octets(),
        GROUP_V4.octets(),
    );
    let mut header = header.map_err(|error| error.to_string())?;
    header.header_checksum = header.calc_header_checksum();
    Ok([&GROUP_MAC[..], &port.mac, &ETHERTYPE_IPV4, &header.to_bytes(), &message].concat())
}

/// Makes the checksum right again, so that the flaw is the only one.
fn mend(message: &mut [u8]) {
    message[CHECKSUM_AT].fill(0);
    let mut sum: u32 = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[CHECKSUM_AT].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
