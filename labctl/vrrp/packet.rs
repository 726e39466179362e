//! The VRRPv3 advertisement for IPv4 on the wire (RFC 9568 section 5) and the checks on receipt (section 7.1). It
//! turns bytes into values and back; what an advertisement means is the machine's business.
//!
//! VRRPv2 and IPv6 are other layouts under the same version nibble and would be siblings of [`decode`].

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU8;

use etherparse::Ipv4HeaderSlice;
use etherparse::checksum::Sum16BitWords;

use super::Interval;

/// The multicast group of all VRRP routers (section 5.1.1.2).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The IP protocol number (section 5.1.1.4).
pub const PROTOCOL: u8 = 112;
/// The only TTL that is sent and accepted: nothing from beyond a router has it (section 5.1.1.3).
pub const TTL: u8 = 255;
/// Room for any datagram that can be an advertisement: the longest IP header and 255 addresses.
pub const DATAGRAM_BYTES_MAX: usize = 60 + HEADER_BYTES + 255 * ADDRESS_BYTES;

/// Version 3 and type 1, in one octet (sections 5.2.1 and 5.2.2).
const VERSION_AND_TYPE: u8 = VERSION << 4 | TYPE_ADVERTISEMENT;
const VERSION: u8 = 3;
const TYPE_ADVERTISEMENT: u8 = 1;
/// Everything before the addresses.
const HEADER_BYTES: usize = 8;
const ADDRESS_BYTES: usize = 4;
/// The upper nibble of the interval's octets is reserved: sent as 0, ignored on receipt (section 5.2.6).
const INTERVAL_MASK: u16 = 0x0fff;

/// What one advertisement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Virtual router identifier, 1-255 (section 5.2.3).
    pub vrid: NonZeroU8,
    /// 255 owns the addresses, 1-254 would back them up, 0 gives up the Active role (section 5.2.4).
    pub priority: u8,
    /// Max Advertise Interval (section 5.2.7).
    pub interval: Interval,
    /// The addresses of the virtual router, 1 to 255 of them (section 5.2.9).
    pub addresses: Vec<Ipv4Addr>,
}

/// What the checksum of an IPv4 advertisement covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumRule {
    /// The VRRP message only (RFC 9568 section 5.2.8).
    #[default]
    MessageOnly,
    /// A pseudo-header of source, destination, protocol and length too, as some older VRRPv3 implementations have it
    /// (keepalived and FRR by default).
    PseudoHeader,
}

impl ChecksumRule {
    fn other(self) -> Self {
        match self {
            Self::MessageOnly => Self::PseudoHeader,
            Self::PseudoHeader => Self::MessageOnly,
        }
    }
}

/// What a receiver holds an advertisement against.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The virtual router that is configured on the interface.
    pub vrid: NonZeroU8,
    /// What checksums cover on this link.
    pub checksum: ChecksumRule,
    /// The receiver's own address: what comes from there is its own packet, looped back.
    pub own: Ipv4Addr,
}

/// An advertisement that passed every check, and who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Source address of the packet: the sender's primary address on the link.
    pub from: Ipv4Addr,
    /// What it says.
    pub advert: Advert,
}

/// Why a packet is dropped (section 7.1). It then changes nothing but a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The IP header cannot be read.
    #[error("not an IPv4 packet")]
    NotIpv4,
    /// Another protocol altogether.
    #[error("IP protocol {0} instead of 112")]
    Protocol(u8),
    /// It may have come through a router (section 5.1.1.3).
    #[error("TTL {0} instead of 255")]
    Ttl(u8),
    /// The receiver's own packet came back.
    #[error("our own packet, looped back")]
    Ours,
    /// It ends before its header, or before the addresses that it counts.
    #[error("truncated: {has} bytes of {needs}")]
    Truncated {
        /// Length that the message must have.
        needs: usize,
        /// Length that it has.
        has: usize,
    },
    /// Not VRRPv3 (section 5.2.1).
    #[error("version {0} instead of 3")]
    Version(u8),
    /// Not an advertisement (section 5.2.2).
    #[error("type {0} instead of 1")]
    Type(u8),
    /// It lists no address (section 5.2.5).
    #[error("no address in it")]
    NoAddresses,
    /// Sound, but the sender follows the other rule. Both ends then take each other for silent, and both hold the
    /// addresses, so this deserves a word of its own.
    #[error("checksum over {0} instead of {ours}", ours = .0.other())]
    ChecksumRule(ChecksumRule),
    /// It was damaged.
    #[error("checksum {found:#06x} instead of {computed:#06x}")]
    Checksum {
        /// What the packet has.
        found: u16,
        /// What it should have by the receiver's rule.
        computed: u16,
    },
    /// A virtual router that is not configured here; 0 never is one (section 5.2.3).
    #[error("VRID {0} is not configured here")]
    Vrid(u8),
    /// An interval of 0 (section 5.2.7).
    #[error("advertisement interval 0")]
    IntervalZero,
}

impl fmt::Display for ChecksumRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MessageOnly => "the message alone",
            Self::PseudoHeader => "message and pseudo-header",
        })
    }
}

impl fmt::Display for Advert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vrid, priority, interval, addresses } = self;
        write!(f, "VRID {vrid}, priority {priority}, every {interval}, for {addresses:?}")
    }
}

impl Rejection {
    /// One word for counters and logs; the details of the single packet are left out.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NotIpv4 => "not-ipv4",
            Self::Protocol(_) => "protocol",
            Self::Ttl(_) => "ttl",
            Self::Ours => "ours",
            Self::Truncated { .. } => "truncated",
            Self::Version(_) => "version",
            Self::Type(_) => "type",
            Self::NoAddresses => "no-addresses",
            Self::ChecksumRule(_) => "checksum-rule",
            Self::Checksum { .. } => "checksum",
            Self::Vrid(_) => "vrid",
            Self::IntervalZero => "interval-zero",
        }
    }
}

/// Reads a whole IPv4 packet as a raw socket hands it over. The checks are in the order of section 7.1.
///
/// Bytes beyond the counted addresses are ignored, and the checksum does not cover them: the RFC asks for the complete
/// message, not for nothing else.
pub fn decode(packet: &[u8], expected: &Expected) -> Result<Received, Rejection> {
    let ip = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Rejection::NotIpv4)?;
    if ip.protocol().0 != PROTOCOL {
        return Err(Rejection::Protocol(ip.protocol().0));
    }
    if ip.ttl() != TTL {
        return Err(Rejection::Ttl(ip.ttl()));
    }
    let from = ip.source_addr();
    if from == expected.own {
        return Err(Rejection::Ours);
    }
    // Link-layer padding may follow the packet, and a short read may have cut it.
    let end = usize::from(ip.total_len()).min(packet.len());
    let payload = packet.get(ip.slice().len()..end).unwrap_or_default();
    let (header, count) = read_header(payload)?;

    let needs = HEADER_BYTES + usize::from(count) * ADDRESS_BYTES;
    let Some(message) = payload.get(..needs) else {
        return Err(Rejection::Truncated { needs, has: payload.len() });
    };
    let found = u16::from_be_bytes([header[6], header[7]]);
    let by = |rule| checksum(message, rule, from, ip.destination_addr());
    if found != by(expected.checksum) {
        let other = expected.checksum.other();
        return Err(match found == by(other) {
            true => Rejection::ChecksumRule(other),
            false => Rejection::Checksum { found, computed: by(expected.checksum) },
        });
    }
    let vrid = match NonZeroU8::new(header[1]) {
        Some(vrid) if vrid == expected.vrid => vrid,
        _ => return Err(Rejection::Vrid(header[1])),
    };
    let interval = u16::from_be_bytes([header[4], header[5]]) & INTERVAL_MASK;
    let interval = Interval::from_centiseconds(interval).ok_or(Rejection::IntervalZero)?;
    let addresses = message[HEADER_BYTES..]
        .chunks_exact(ADDRESS_BYTES)
        .map(|a| Ipv4Addr::new(a[0], a[1], a[2], a[3]))
        .collect();
    Ok(Received { from, advert: Advert { vrid, priority: header[2], interval, addresses } })
}

/// The fixed header and its count of addresses, if this is a VRRPv3 advertisement at all.
fn read_header(payload: &[u8]) -> Result<([u8; HEADER_BYTES], u8), Rejection> {
    let Some(header) = payload.first_chunk::<HEADER_BYTES>() else {
        return Err(Rejection::Truncated { needs: HEADER_BYTES, has: payload.len() });
    };
    match (header[0] >> 4, header[0] & 0x0f) {
        (VERSION, TYPE_ADVERTISEMENT) => {}
        (VERSION, other) => return Err(Rejection::Type(other)),
        (other, _) => return Err(Rejection::Version(other)),
    }
    match header[3] {
        0 => Err(Rejection::NoAddresses),
        count => Ok((*header, count)),
    }
}

/// Writes the VRRP message; the kernel adds the IP header. Source and destination count for
/// [`ChecksumRule::PseudoHeader`] only.
///
/// # Panics
/// If there are more addresses than the count's octet can say, which no configuration may have.
pub fn encode(advert: &Advert, rule: ChecksumRule, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let count = u8::try_from(advert.addresses.len()).expect("an advertisement has at most 255 addresses");
    let mut message = Vec::with_capacity(HEADER_BYTES + advert.addresses.len() * ADDRESS_BYTES);
    message.extend([VERSION_AND_TYPE, advert.vrid.get(), advert.priority, count]);
    message.extend(advert.interval.centiseconds().to_be_bytes());
    message.extend([0, 0]);
    for address in &advert.addresses {
        message.extend(address.octets());
    }
    let sum = checksum(&message, rule, source, destination);
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The checksum as it belongs into the message, whatever its own field holds now (section 5.2.8).
fn checksum(message: &[u8], rule: ChecksumRule, source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    let mut sum = Sum16BitWords::new().add_slice(&message[..6]).add_slice(&message[HEADER_BYTES..]);
    if rule == ChecksumRule::PseudoHeader {
        sum = sum
            .add_4bytes(source.octets())
            .add_4bytes(destination.octets())
            .add_2bytes([0, PROTOCOL])
            // At most 8 + 255 * 4 bytes, which fits.
            .add_2bytes((message.len() as u16).to_be_bytes());
    }
    // The library sums words in memory order and hands the result back as a number.
    sum.ones_complement().to_be()
}

#[cfg(test)]
mod tests;
