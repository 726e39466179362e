//! Two versions on one network while it is being upgraded (RFC 9568 section 8.4): which adverts are sent, and whose
//! VRRPv2 is ignored because the same router speaks VRRPv3. It knows neither sockets nor states.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::machine::Time;
use super::packet::{Family, Received, Version, Versions};

/// So many intervals of its own may pass before a router that spoke VRRPv3 is believed to have stopped: the longest
/// Active_Down_Interval, after which it is not the Active any more (section 6.1).
const SILENT_INTERVALS: u32 = 4;
/// Routers of version 3 that are remembered. A virtual router has a handful; a flood of invented senders must not make
/// the memory grow, and costs no more than the one rule.
const PEERS_MAX: usize = 64;

impl Versions {
    /// VRRPv2 alone.
    pub const V2: Self = Self { v2: true, v3: false };
    /// VRRPv3 alone.
    pub const V3: Self = Self { v2: false, v3: true };
    /// Both.
    pub const BOTH: Self = Self { v2: true, v3: true };

    /// Is this version among them?
    pub fn accept(self, version: Version) -> bool {
        match version {
            Version::V2 => self.v2,
            Version::V3 => self.v3,
        }
    }

    /// What is left of them in a family: VRRPv2 has no IPv6.
    pub fn over(self, family: Family) -> Self {
        Self { v2: self.v2 && family == Family::V4, ..self }
    }

    /// In which versions every advert is sent (section 8.4.2), the newer first: whoever hears both then knows already
    /// that the older one does not count.
    pub fn sent(self, family: Family) -> impl Iterator<Item = Version> {
        [Version::V3, Version::V2].into_iter().filter(move |&version| self.over(family).accept(version))
    }
}

/// Who spoke VRRPv3 lately.
#[derive(Clone, Debug, Default)]
pub struct NewerPeers {
    /// Until when a router's VRRPv2 is ignored.
    until: BTreeMap<IpAddr, Time>,
}

impl NewerPeers {
    /// Does this advert count? VRRPv2 does not while its sender speaks VRRPv3 too: it says the same in a coarser unit, so
    /// that a backup would wait for whole seconds (section 8.4.2).
    pub fn admit(&mut self, received: &Received, now: Time) -> bool {
        let Received { from, advert } = received;
        match advert.version {
            Version::V2 => self.until.get(from).is_none_or(|&until| until <= now),
            Version::V3 => {
                if self.until.len() >= PEERS_MAX && !self.until.contains_key(from) {
                    self.forget_one();
                }
                self.until.insert(*from, now + SILENT_INTERVALS * advert.interval.duration());
                true
            }
        }
    }

    /// Makes room: whoever has been silent for longest goes.
    fn forget_one(&mut self) {
        let first = self.until.iter().min_by_key(|&(_, &until)| until).map(|(&from, _)| from);
        if let Some(first) = first {
            self.until.remove(&first);
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match (self.v2, self.v3) {
            (true, true) => "2+3",
            (true, false) => "2",
            (false, true) => "3",
            (false, false) => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;
    use crate::vrrp::{Advert, Interval};

    const SENDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 10, 1, 11));
    const CENTISECOND: Time = Time::from_millis(10);

    fn heard(from: IpAddr, version: Version, centiseconds: u16) -> Received {
        let interval = Interval::from_centiseconds(centiseconds).unwrap();
        let vrid = NonZeroU8::new(51).unwrap();
        Received { from, advert: Advert { version, vrid, priority: 100, interval, addresses: vec![] } }
    }

    #[test]
    fn both_versions_are_sent_and_the_newer_first() {
        let sent = |versions: Versions, family| {
            let words: Vec<_> = versions.sent(family).map(|version| version.to_string()).collect();
            words.join(" ")
        };
        assert_eq!(sent(Versions::BOTH, Family::V4), "3 2");
        assert_eq!(sent(Versions::BOTH, Family::V6), "3");
        assert_eq!(sent(Versions::V2, Family::V4), "2");
        assert_eq!(sent(Versions::V3, Family::V4), "3");
    }

    #[test]
    fn the_older_version_of_a_router_that_speaks_the_newer_one_is_ignored_until_that_stops() {
        let mut peers = NewerPeers::default();
        let start = Time::from_secs(1);
        let old = heard(SENDER, Version::V2, 100);
        assert!(peers.admit(&old, start), "it speaks nothing else so far");
        assert!(peers.admit(&heard(SENDER, Version::V3, 10), start));
        assert!(!peers.admit(&old, start));
        assert!(!peers.admit(&old, start + 40 * CENTISECOND - Time::from_nanos(1)));
        assert!(peers.admit(&old, start + 40 * CENTISECOND), "four intervals of silence");
        let other = heard([10, 10, 1, 12].into(), Version::V2, 100);
        assert!(peers.admit(&other, start), "another router is judged by itself");
    }

    #[test]
    fn a_flood_of_senders_does_not_make_the_memory_grow() {
        let mut peers = NewerPeers::default();
        for number in 0..10 * PEERS_MAX as u32 {
            let from = IpAddr::from(std::net::Ipv4Addr::from_bits(number));
            peers.admit(&heard(from, Version::V3, 100), CENTISECOND * number);
        }
        assert_eq!(peers.until.len(), PEERS_MAX);
        let last = std::net::Ipv4Addr::from_bits(10 * PEERS_MAX as u32 - 1);
        assert!(!peers.admit(&heard(last.into(), Version::V2, 100), CENTISECOND * 10 * PEERS_MAX as u32));
    }
}
