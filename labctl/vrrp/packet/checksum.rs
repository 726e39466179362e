//! The Internet checksum of an advertisement, and the quarrel about what it covers. It knows no layout but the place of
//! the checksum itself.

use std::fmt;
use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

use super::{Envelope, HEADER_BYTES, PROTOCOL, Rejection};

/// The checksum's own octets.
const FIELD: std::ops::Range<usize> = 6..HEADER_BYTES;

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
    pub(super) fn other(self) -> Self {
        match self {
            Self::MessageOnly => Self::PseudoHeader,
            Self::PseudoHeader => Self::MessageOnly,
        }
    }
}

/// Holds a whole message against its checksum. One that follows the other rule is told from one that is damaged.
pub(super) fn verify(message: &[u8], rule: ChecksumRule, envelope: &Envelope<'_>) -> Result<(), Rejection> {
    let found = message[FIELD].iter().fold(0, |sum, &octet| sum << 8 | u16::from(octet));
    let by = |rule| compute(message, rule, envelope.source, envelope.destination);
    if found == by(rule) {
        return Ok(());
    }
    Err(match found == by(rule.other()) {
        true => Rejection::ChecksumRule(rule.other()),
        false => Rejection::Checksum { found, computed: by(rule) },
    })
}

/// The checksum as it belongs into the message, whatever its own field holds now (RFC 9568 section 5.2.8).
pub(super) fn compute(message: &[u8], rule: ChecksumRule, source: IpAddr, destination: IpAddr) -> u16 {
    let mut sum = Sum16BitWords::new().add_slice(&message[..FIELD.start]).add_slice(&message[FIELD.end..]);
    if rule == ChecksumRule::PseudoHeader {
        for address in [source, destination] {
            sum = match address {
                IpAddr::V4(address) => sum.add_4bytes(address.octets()),
                IpAddr::V6(address) => sum.add_16bytes(address.octets()),
            };
        }
        // IPv6 has both fields in 32 bits (RFC 8200 section 8.1), of which the upper 16 are 0 here: a message has at
        // most 8 + 255 * 16 bytes.
        sum = sum.add_2bytes([0, PROTOCOL]).add_2bytes((message.len() as u16).to_be_bytes());
    }
    // The library sums words in memory order and hands the result back as a number.
    sum.ones_complement().to_be()
}

impl fmt::Display for ChecksumRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MessageOnly => "the message alone",
            Self::PseudoHeader => "message and pseudo-header",
        })
    }
}
