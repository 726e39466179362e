//! What VRRPv3 (RFC 9568) has of its own: centiseconds beside a reserved nibble, and the link-local address that an IPv6
//! advertisement begins with.

use std::net::IpAddr;

use super::{Advert, HEADER_BYTES, Rejection};
use crate::vrrp::Interval;

/// The upper nibble of the interval's octets is reserved: sent as 0, ignored on receipt (section 5.2.6).
const INTERVAL_MASK: u16 = 0x0fff;

/// Reserved nibble and Max Advertise Interval (sections 5.2.6 and 5.2.7).
pub(super) fn write_interval(interval: Interval) -> [u8; 2] {
    interval.centiseconds().to_be_bytes()
}

/// An interval of 0 is dropped (section 5.2.7, erratum 8301).
pub(super) fn read_interval(header: &[u8; HEADER_BYTES]) -> Result<Interval, Rejection> {
    let &[.., upper, lower, _, _] = header;
    let centiseconds = u16::from_be_bytes([upper, lower]) & INTERVAL_MASK;
    Interval::from_centiseconds(centiseconds).ok_or(Rejection::IntervalZero)
}

/// The first IPv6 address is the link-local one (section 5.2.9, erratum 8300).
pub(super) fn check_addresses(advert: &Advert) -> Result<(), Rejection> {
    match advert.addresses.first() {
        Some(&IpAddr::V6(first)) if !first.is_unicast_link_local() => Err(Rejection::LinkLocalFirst(first)),
        _ => Ok(()),
    }
}
