//! Frames that the suite sends: advertisements, right or wrong in one thing, and questions about addresses. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::setup::Setup;
use crate::kernel::packet::Mac;
use crate::topology::Checksum;

/// IP protocol number (RFC 9568 section 5.1.1.4).
pub(super) const PROTOCOL: u8 = 112;
pub(super) const GROUP4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
pub(super) const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const ICMPV6: u8 = 58;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const BROADCAST: Mac = [0xff; 6];
/// Of all packets that are no advertisements.
const TTL: u8 = 64;

/// One advertisement, to be sent as it is, however wrong.
#[derive(Clone, Debug)]
pub(super) struct Advertisement {
    pub(super) mac: Mac,
    pub(super) source: IpAddr,
    pub(super) ttl: u8,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) vrid: u8,
    pub(super) priority: u8,
    pub(super) interval: Duration,
    pub(super) reserved: u8,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) missing: u8,
    pub(super) authentication: u8,
    pub(super) checksum: Checksum,
    pub(super) damaged: bool,
}

impl Advertisement {
    /// Wrong or unusual in what the words of a scenario say.
    pub(super) fn with(mut self, words: &str) -> Result<Self, String> {
        let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
        let number = || rest.parse::<u8>().map_err(|_| format!("{rest:?} is no number"));
        match (first, rest) {
            ("TTL", _) => self.ttl = number()?,
            ("version", _) => self.version = number()?,
            ("type", _) => self.kind = number()?,
            ("VRID", _) => self.vrid = number()?,
            ("interval", _) => self.interval = super::setup::duration(rest)?,
            ("source", _) => self.speaks_as(rest.parse().map_err(|_| format!("{rest:?} is no address"))?),
            ("authentication", _) => self.authentication = number()?,
            ("an", "address missing") => self.missing = 1,
            ("no", "address") => self.addresses.clear(),
            ("a", "wrong checksum") => self.damaged = true,
            ("reserved", "bits set") => self.reserved = 0xf,
            ("other", "addresses") => self.addresses.iter_mut().for_each(|one| *one = next(*one)),
            ("the", "link-local address last") => self.addresses.reverse(),
            _ => return Err(format!("nobody knows what an advert with {words:?} is")),
        }
        Ok(self)
    }

    /// What is said in another family lists the addresses of that family; all else would be malformed.
    fn speaks_as(&mut self, source: IpAddr) {
        if source.is_ipv4() != self.source.is_ipv4() {
            self.addresses = Setup::addresses_of(source.is_ipv4());
        }
        self.source = source;
    }

    /// The whole Ethernet frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        let (group, group_mac): (IpAddr, Mac) = match self.source {
            IpAddr::V4(_) => (GROUP4.into(), [1, 0, 0x5e, 0, 0, 0x12]),
            IpAddr::V6(_) => (GROUP6.into(), [0x33, 0x33, 0, 0, 0, 0x12]),
        };
        let message = self.message(group);
        packet(self.mac, group_mac, self.source, group, self.ttl, PROTOCOL, &message)
    }

    fn message(&self, group: IpAddr) -> Vec<u8> {
        let centiseconds = (self.interval.as_millis() / 10) as u16;
        let count = self.addresses.len() as u8 + self.missing;
        let mut message = vec![self.version << 4 | self.kind, self.vrid, self.priority, count];
        match self.version {
            2 => message.extend([self.authentication, self.interval.as_secs() as u8]),
            _ => {
                let [high, low] = centiseconds.to_be_bytes();
                message.extend([high & 0xf | self.reserved << 4, low]);
            }
        }
        message.extend([0, 0]);
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => message.extend(address.octets()),
                IpAddr::V6(address) => message.extend(address.octets()),
            }
        }
        if self.version == 2 {
            message.extend([0; 8]);
        }
        let pseudo = self.source.is_ipv6() || self.version != 2 && self.checksum == Checksum::PseudoHeader;
        let mut covered = if pseudo { pseudo_header(self.source, group, message.len()) } else { vec![] };
        covered.extend(&message);
        let sum = checksum(&covered) ^ u16::from(self.damaged);
        message[6..8].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(u32::from(address) + 64).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(u128::from(address) + 64).into(),
    }
}

/// RFC 1071.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What goes before the message in its checksum: RFC 8200 section 8.1 for IPv6, and the same fields in the sizes of RFC 793
/// for IPv4.
pub(super) fn pseudo_header(source: IpAddr, destination: IpAddr, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    match source {
        IpAddr::V4(_) => bytes.extend([0, PROTOCOL]),
        IpAddr::V6(_) => bytes.extend([0, 0]),
    }
    bytes.extend((len as u16).to_be_bytes());
    if source.is_ipv6() {
        bytes.extend([0, 0, 0, PROTOCOL]);
    }
    bytes
}

fn ethernet(source: Mac, destination: Mac, kind: u16) -> Vec<u8> {
    let mut frame = Vec::from(destination);
    frame.extend(source);
    frame.extend(kind.to_be_bytes());
    frame
}

fn packet(
    from: Mac,
    to: Mac,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let len = payload.len() as u16;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut frame = ethernet(from, to, 0x0800);
            let mut header = vec![0x45, 0xc0];
            header.extend((20 + len).to_be_bytes());
            header.extend([0, 1, 0, 0, ttl, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(header);
            frame.extend(payload);
            frame
        }
        (source, destination) => {
            let mut frame = ethernet(from, to, 0x86dd);
            frame.extend([0x6c, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([protocol, ttl]);
            for address in [source, destination] {
                if let IpAddr::V6(address) = address {
                    frame.extend(address.octets());
                }
            }
            frame.extend(payload);
            frame
        }
    }
}

/// Who has that address? By ARP or by neighbour solicitation.
pub(super) fn question(mac: Mac, from: IpAddr, about: IpAddr) -> Vec<u8> {
    match (from, about) {
        (IpAddr::V4(from), IpAddr::V4(about)) => {
            let mut frame = ethernet(mac, BROADCAST, 0x0806);
            frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
            frame.extend(mac);
            frame.extend(from.octets());
            frame.extend([0; 6]);
            frame.extend(about.octets());
            frame
        }
        (from, IpAddr::V6(about)) => {
            let tail = about.octets();
            let group = Ipv6Addr::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(tail[13]),
                u16::from_be_bytes([tail[14], tail[15]]),
            );
            let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
            message.extend(tail);
            message.extend([1, 1]);
            message.extend(mac);
            let to = [0x33, 0x33, 0xff, tail[13], tail[14], tail[15]];
            packet(mac, to, from, group.into(), 255, ICMPV6, &icmpv6(from, group.into(), message))
        }
        (from, _) => packet(mac, BROADCAST, from, from, TTL, UDP, &[]),
    }
}

/// The answer to such a question by ARP: that address is here.
pub(super) fn answer(mac: Mac, about: Ipv4Addr, to: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(mac, to.0, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(mac);
    frame.extend(about.octets());
    frame.extend(to.0);
    frame.extend(to.1.octets());
    frame
}

/// An echo request.
pub(super) fn echo(mac: Mac, to: Mac, from: IpAddr, about: IpAddr, number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    if about.is_ipv6() {
        let message = icmpv6(from, about, vec![128, 0, 0, 0, 0x56, 0x52, high, low]);
        return packet(mac, to, from, about, TTL, ICMPV6, &message);
    }
    let mut message = vec![8, 0, 0, 0, 0x56, 0x52, high, low];
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(mac, to, from, about, TTL, ICMP, &message)
}

fn icmpv6(source: IpAddr, destination: IpAddr, mut message: Vec<u8>) -> Vec<u8> {
    let mut covered = pseudo_header(source, destination, message.len());
    if let Some(next_header) = covered.last_mut() {
        *next_header = ICMPV6;
    }
    covered.extend(&message);
    let sum = checksum(&covered);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}
