//! What VRRPv2 (RFC 3768) has of its own: whole seconds, an authentication type, and checks that drop a packet where
//! VRRPv3 only tells of it.

use super::{Advert, Expected, HEADER_BYTES, OWNER, Rejection};
use crate::vrrp::Interval;

/// Authentication data after the addresses: zeros, ignored on receipt (RFC 3768 section 5.3.10).
pub(super) const AUTHENTICATION_BYTES: usize = 8;
/// The only authentication type; 1 and 2 were withdrawn with RFC 2338 (section 5.3.6).
const NO_AUTHENTICATION: u8 = 0;
const CENTISECONDS_IN_SECOND: u16 = 100;

/// Auth Type and Adver Int (sections 5.3.6 and 5.3.7).
pub(super) fn write_interval(interval: Interval) -> [u8; 2] {
    [NO_AUTHENTICATION, whole_seconds(interval)]
}

/// Checks authentication type and interval (section 7.1).
///
/// A router of both versions lives by the Active's rate instead (RFC 9568 section 8.4.2). An octet of seconds reaches further
/// than VRRPv3's field: what is longer counts as the longest interval, whose Active_Down_Interval is three times that.
/// So does our own longest one, which goes out as 41 s.
pub(super) fn read_interval(header: &[u8; HEADER_BYTES], expected: &Expected) -> Result<Interval, Rejection> {
    let &[.., authentication, seconds, _, _] = header;
    if authentication != NO_AUTHENTICATION {
        return Err(Rejection::Authentication(authentication));
    }
    if seconds == 0 {
        return Err(Rejection::IntervalZero);
    }
    let ours = whole_seconds(expected.interval);
    if seconds != ours && !expected.versions.v3 {
        return Err(Rejection::Interval2 { found: seconds, ours });
    }
    let centiseconds = u16::from(seconds) * CENTISECONDS_IN_SECOND;
    Ok(Interval::from_centiseconds(centiseconds).unwrap_or(Interval::MAX))
}

/// Holds the addresses against the configured ones, unless their owner speaks (section 7.1).
pub(super) fn check_addresses(advert: &Advert, expected: &Expected) -> Result<(), Rejection> {
    if advert.priority == OWNER || advert.lists(&expected.addresses) {
        return Ok(());
    }
    Err(Rejection::Addresses2 { found: advert.addresses.clone(), ours: expected.addresses.clone() })
}

/// The least number of whole seconds that is no shorter: at most 41, as an interval is at most 40.95 s.
fn whole_seconds(interval: Interval) -> u8 {
    interval.centiseconds().div_ceil(CENTISECONDS_IN_SECOND) as u8
}
