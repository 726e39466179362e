//! Why a packet is dropped (RFC 9568 section 7.1): a value for each check, a sentence for people, a word for counters.

use std::net::{IpAddr, Ipv6Addr};

use super::{ChecksumRule, Family, Versions};

/// Why a packet is dropped. It then changes nothing but a counter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The IP header cannot be read.
    #[error("not an IPv4 packet")]
    NotIpv4,
    /// Another protocol altogether.
    #[error("IP protocol {0} instead of 112")]
    Protocol(u8),
    /// Meant for an instance of the other family.
    #[error("{0}, which is another instance")]
    Family(Family),
    /// It may have come through a router (sections 5.1.1.3 and 5.1.2.3).
    #[error("{} {found} instead of 255", ttl_word(*.family))]
    Ttl {
        /// Decides whether it is called TTL or hop limit.
        family: Family,
        /// What the packet has.
        found: u8,
    },
    /// The receiver's own packet came back.
    #[error("our own packet, looped back")]
    Ours,
    /// A version that is not spoken here (section 5.2.1).
    #[error("version {found} instead of {accepted}")]
    Version {
        /// What the packet has.
        found: u8,
        /// What is spoken here, in this family.
        accepted: Versions,
    },
    /// Not an advertisement (section 5.2.2).
    #[error("type {0} instead of 1")]
    Type(u8),
    /// It lists no address (section 5.2.5, erratum 8299).
    #[error("no address in it")]
    NoAddresses,
    /// It ends before its header, or before the addresses that it counts.
    #[error("truncated: {has} bytes of {needs}")]
    Truncated {
        /// Length that the message must have.
        needs: usize,
        /// Length that it has.
        has: usize,
    },
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
    /// An interval of 0 (section 5.2.7, erratum 8301).
    #[error("advertisement interval 0")]
    IntervalZero,
    /// VRRPv2 with an authentication that nobody may use any more (RFC 3768 sections 5.3.6 and 7.1).
    #[error("authentication type {0} instead of 0")]
    Authentication(u8),
    /// VRRPv2 with another interval, which VRRPv3 would accept (RFC 3768 section 7.1).
    #[error("VRRPv2 interval {found} s instead of {ours} s")]
    Interval2 {
        /// Seconds that the packet has.
        found: u8,
        /// Seconds that this router would say.
        ours: u8,
    },
    /// VRRPv2 with other addresses, and not from their owner (RFC 3768 section 7.1).
    #[error("VRRPv2 for {found:?} instead of {ours:?}")]
    Addresses2 {
        /// What the packet has.
        found: Vec<IpAddr>,
        /// What is configured here.
        ours: Vec<IpAddr>,
    },
    /// VRRPv3 over IPv6 that does not begin with the link-local address of the virtual router (section 5.2.9, erratum
    /// 8300).
    #[error("first address {0} instead of a link-local one")]
    LinkLocalFirst(Ipv6Addr),
}

impl Rejection {
    /// One word for counters and logs; the details of the single packet are left out.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotIpv4 => "not-ipv4",
            Self::Protocol(_) => "protocol",
            Self::Family(_) => "family",
            Self::Ttl { family: Family::V4, .. } => "ttl",
            Self::Ttl { family: Family::V6, .. } => "hop-limit",
            Self::Ours => "ours",
            Self::Version { .. } => "version",
            Self::Type(_) => "type",
            Self::NoAddresses => "no-addresses",
            Self::Truncated { .. } => "truncated",
            Self::ChecksumRule(_) => "checksum-rule",
            Self::Checksum { .. } => "checksum",
            Self::Vrid(_) => "vrid",
            Self::IntervalZero => "interval-zero",
            Self::Authentication(_) => "authentication",
            Self::Interval2 { .. } => "v2-interval",
            Self::Addresses2 { .. } => "v2-addresses",
            Self::LinkLocalFirst(_) => "link-local-first",
        }
    }
}

fn ttl_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "TTL",
        Family::V6 => "hop limit",
    }
}
