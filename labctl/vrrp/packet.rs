//! The VRRP advertisement on the wire: VRRPv3 for IPv4 and IPv6 (RFC 9568 section 5), VRRPv2 for IPv4 (RFC 3768 section
//! 5.3), and the checks on receipt (section 7.1 of both). It turns bytes into values and back; what an advertisement
//! means is the machine's business.
//!
//! The two versions share their first four octets, the checksum's place and the addresses; the two octets before the
//! checksum and what follows the addresses are in a file for each. Sections are of RFC 9568 unless another is named.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;

use etherparse::Ipv4HeaderSlice;

use super::Interval;

mod checksum;
mod rejection;
mod version2;
mod version3;

pub use checksum::ChecksumRule;
pub use rejection::Rejection;

/// The IP protocol number and IPv6 next header (sections 5.1.1.4 and 5.1.2.4).
pub const PROTOCOL: u8 = 112;
/// The only TTL, or hop limit, that is sent and accepted: nothing from beyond a router has it (sections 5.1.1.3 and
/// 5.1.2.3).
pub const TTL: u8 = 255;
/// The priority of the router that owns the addresses (section 5.2.4).
pub const OWNER: u8 = 255;
/// The multicast group of all VRRP routers on IPv4 (section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The same on IPv6 (section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Room for any datagram that can be an advertisement: the longest IPv4 header, which an IPv4 raw socket hands over too,
/// and 255 addresses of the longer kind.
pub const DATAGRAM_BYTES_MAX: usize = 60 + HEADER_BYTES + 255 * Family::V6.address_bytes();

const TYPE_ADVERTISEMENT: u8 = 1;
/// Everything before the addresses.
const HEADER_BYTES: usize = 8;

/// The address family of a virtual router: one VRID has an instance for each (section 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// VRRPv2 (RFC 3768): IPv4 only, whole seconds, checksum over the message alone.
    V2,
    /// VRRPv3 (RFC 9568).
    V3,
}

/// Which versions a router accepts and sends; both on a network that is being upgraded (section 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// VRRPv2.
    pub v2: bool,
    /// VRRPv3.
    pub v3: bool,
}

/// What one advertisement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// In which version it says so.
    pub version: Version,
    /// Virtual router identifier, 1-255 (section 5.2.3).
    pub vrid: NonZeroU8,
    /// 255 owns the addresses, 1-254 would back them up, 0 gives up the Active role (section 5.2.4).
    pub priority: u8,
    /// Max Advertise Interval (section 5.2.7); whole seconds in VRRPv2.
    pub interval: Interval,
    /// The addresses of the virtual router, 1 to 255 of one family (section 5.2.9).
    pub addresses: Vec<IpAddr>,
}

/// A VRRP message with what counts of the packet that brought it.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Where it came from: the sender's primary address on the link.
    pub source: IpAddr,
    /// Where it was sent: the group, or this router.
    pub destination: IpAddr,
    /// Its TTL or hop limit on arrival.
    pub ttl: u8,
    /// Everything after the IP header.
    pub message: &'a [u8],
}

/// What a receiver holds an advertisement against.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The virtual router that is configured on the interface.
    pub vrid: NonZeroU8,
    /// Its family.
    pub family: Family,
    /// What is accepted.
    pub versions: Versions,
    /// What checksums of VRRPv3 over IPv4 cover on this link.
    pub checksum: ChecksumRule,
    /// The receiver's own address: what comes from there is its own packet, looped back.
    pub own: IpAddr,
    /// The receiver's interval. A VRRPv2 router drops what has another.
    pub interval: Interval,
    /// The addresses of the virtual router. A VRRPv2 router drops what has others, unless their owner sent it.
    pub addresses: Vec<IpAddr>,
}

/// An advertisement that passed every check, and who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Source address of the packet.
    pub from: IpAddr,
    /// What it says.
    pub advert: Advert,
}

/// The multicast group of all VRRP routers of a family.
pub fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => GROUP_V4.into(),
        Family::V6 => GROUP_V6.into(),
    }
}

/// The hardware address of a virtual router (section 7.3).
pub fn virtual_mac(family: Family, vrid: NonZeroU8) -> [u8; 6] {
    let kind = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [0x00, 0x00, 0x5e, 0x00, kind, vrid.get()]
}

/// The link-local address of a virtual router that is given none: the modified EUI-64 (RFC 4291 appendix A) of its
/// hardware address.
pub fn virtual_link_local(vrid: NonZeroU8) -> Ipv6Addr {
    let [a, b, c, d, e, f] = virtual_mac(Family::V6, vrid);
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
}

impl<'a> Envelope<'a> {
    /// Opens a whole IPv4 packet as a raw socket hands it over.
    pub fn of_ipv4(packet: &'a [u8]) -> Result<Self, Rejection> {
        let ip = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Rejection::NotIpv4)?;
        if ip.protocol().0 != PROTOCOL {
            return Err(Rejection::Protocol(ip.protocol().0));
        }
        // Link-layer padding may follow the packet, and a short read may have cut it.
        let end = usize::from(ip.total_len()).min(packet.len());
        Ok(Self {
            source: ip.source_addr().into(),
            destination: ip.destination_addr().into(),
            ttl: ip.ttl(),
            message: packet.get(ip.slice().len()..end).unwrap_or_default(),
        })
    }

    /// The VRID that the message names, before any check: which of several virtual routers on one link it is for.
    pub fn vrid(&self) -> Option<u8> {
        self.message.get(1).copied()
    }
}

/// Checks and reads a message. The checks are in the order of section 7.1.
///
/// Bytes beyond those that the counted addresses need are ignored, and the checksum does not cover them: the RFC asks
/// for the complete message, not for nothing else.
pub fn decode(envelope: &Envelope<'_>, expected: &Expected) -> Result<Received, Rejection> {
    let &Envelope { source, ttl, message, .. } = envelope;
    let family = Family::of(source);
    if family != expected.family {
        return Err(Rejection::Family(family));
    }
    if ttl != TTL {
        return Err(Rejection::Ttl { family, found: ttl });
    }
    if source == expected.own {
        return Err(Rejection::Ours);
    }
    let accepted = expected.versions.over(family);
    let (header, version) = read_header(message, accepted)?;
    let count = match header[3] {
        0 => return Err(Rejection::NoAddresses),
        count => usize::from(count),
    };
    let body_end = HEADER_BYTES + count * family.address_bytes();
    let needs = body_end + version.trailer_bytes();
    let Some(message) = message.get(..needs) else {
        return Err(Rejection::Truncated { needs, has: message.len() });
    };
    checksum::verify(message, version.checksum_rule(family, expected.checksum), envelope)?;
    let vrid = match NonZeroU8::new(header[1]) {
        Some(vrid) if vrid == expected.vrid => vrid,
        _ => return Err(Rejection::Vrid(header[1])),
    };
    let interval = match version {
        Version::V2 => version2::read_interval(header, expected)?,
        Version::V3 => version3::read_interval(header)?,
    };
    let addresses = family.read_addresses(&message[HEADER_BYTES..body_end]);
    let advert = Advert { version, vrid, priority: header[2], interval, addresses };
    match version {
        Version::V2 => version2::check_addresses(&advert, expected)?,
        Version::V3 => version3::check_addresses(&advert)?,
    }
    Ok(Received { from: source, advert })
}

/// The fixed header, if this is an advertisement of an accepted version at all.
fn read_header(message: &[u8], accepted: Versions) -> Result<(&[u8; HEADER_BYTES], Version), Rejection> {
    let Some(header) = message.first_chunk::<HEADER_BYTES>() else {
        return Err(Rejection::Truncated { needs: HEADER_BYTES, has: message.len() });
    };
    let version = match header[0] >> 4 {
        2 if accepted.v2 => Version::V2,
        3 if accepted.v3 => Version::V3,
        found => return Err(Rejection::Version { found, accepted }),
    };
    match header[0] & 0x0f {
        TYPE_ADVERTISEMENT => Ok((header, version)),
        other => Err(Rejection::Type(other)),
    }
}

/// Writes the VRRP message; the kernel adds the IP header. Source and destination count only where the checksum covers
/// them: always in IPv6, by [`ChecksumRule::PseudoHeader`] in VRRPv3 over IPv4, never in VRRPv2.
///
/// VRRPv2 has whole seconds: a shorter or broken interval is rounded up, as a router of both versions must say something
/// that one of version 2 can live with.
///
/// # Panics
/// If there are more addresses than the count's octet can say, or VRRPv2 shall carry IPv6: no configuration may have
/// that.
pub fn encode(advert: &Advert, rule: ChecksumRule, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let Advert { version, vrid, priority, interval, addresses } = advert;
    let family = Family::of(source);
    assert!(Versions::BOTH.over(family).accept(*version), "VRRPv{version} over {family} does not exist");
    let count = u8::try_from(addresses.len()).expect("an advertisement has at most 255 addresses");
    let room = HEADER_BYTES + addresses.len() * family.address_bytes() + version.trailer_bytes();
    let mut message = Vec::with_capacity(room);
    message.extend([version.number() << 4 | TYPE_ADVERTISEMENT, vrid.get(), *priority, count]);
    message.extend(match version {
        Version::V2 => version2::write_interval(*interval),
        Version::V3 => version3::write_interval(*interval),
    });
    message.extend([0, 0]);
    for address in addresses {
        match address {
            IpAddr::V4(address) => message.extend(address.octets()),
            IpAddr::V6(address) => message.extend(address.octets()),
        }
    }
    // No authentication: zeros on transmission (RFC 3768 section 5.3.10).
    message.resize(message.len() + version.trailer_bytes(), 0);
    let sum = checksum::compute(&message, version.checksum_rule(family, rule), source, destination);
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    message
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn address_bytes(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    fn read_addresses(self, bytes: &[u8]) -> Vec<IpAddr> {
        match self {
            Self::V4 => bytes.as_chunks().0.iter().map(|&octets: &[u8; 4]| octets.into()).collect(),
            Self::V6 => bytes.as_chunks().0.iter().map(|&octets: &[u8; 16]| octets.into()).collect(),
        }
    }
}

impl Version {
    /// As the first nibble of a message has it.
    pub fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// What follows the addresses.
    fn trailer_bytes(self) -> usize {
        match self {
            Self::V2 => version2::AUTHENTICATION_BYTES,
            Self::V3 => 0,
        }
    }

    /// What the checksum covers. Only VRRPv3 over IPv4 leaves a choice: VRRPv2 has never known a pseudo-header (RFC 3768
    /// section 5.3.8), and IPv6 has never been without (section 5.2.8).
    fn checksum_rule(self, family: Family, configured: ChecksumRule) -> ChecksumRule {
        match (self, family) {
            (Self::V2, _) => ChecksumRule::MessageOnly,
            (Self::V3, Family::V4) => configured,
            (Self::V3, Family::V6) => ChecksumRule::PseudoHeader,
        }
    }
}

impl Advert {
    /// Does it list exactly these addresses, in whatever order? The RFCs compare lists and leave their order open.
    pub fn lists(&self, addresses: &[IpAddr]) -> bool {
        let sorted = |addresses: &[IpAddr]| {
            let mut addresses = addresses.to_vec();
            addresses.sort_unstable();
            addresses
        };
        sorted(&self.addresses) == sorted(addresses)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number(), f)
    }
}

impl fmt::Display for Advert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, vrid, priority, interval, addresses } = self;
        write!(f, "VRRPv{version}, VRID {vrid}, priority {priority}, every {interval}, for {addresses:?}")
    }
}

#[cfg(test)]
mod tests;
