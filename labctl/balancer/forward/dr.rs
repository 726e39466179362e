//! VS/DR: the packet goes to a real server on the same network as it is. Only its hardware addresses change, which the
//! kernel sees to, and the hop is counted, as in every method: two directors that take each other for a real server must not
//! send a packet round for ever.

use std::net::IpAddr;

use super::checksum::{Sum, replace};
use super::frame::Ip;

/// The packet, one hop further.
pub(super) fn passed_on(frame: &[u8], ip: &Ip) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match ip.source {
        // TTL and protocol share a word; the checksum is two bytes behind it.
        IpAddr::V4(_) => {
            let word = [ip.ttl - 1, frame[ip.at + 9]];
            replace(&mut frame, ip.at + 8, &word, &[Sum::new(ip.at + 10)]);
        }
        IpAddr::V6(_) => frame[ip.at + 7] = ip.ttl - 1,
    }
    frame
}
