//! One virtual router in one address family, ready to run: what it says, what it expects to hear, what it holds.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use crate::topology::NetworkName;
use crate::vrrp::{
    Advert, ChecksumRule, Config, Expected, Family, Interval, Profile, SkewRule, Version, Versions,
};

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Router {
    /// Which virtual router.
    pub(in super::super) vrid: NonZeroU8,
    /// In which family.
    pub(in super::super) family: Family,
    /// Its priority.
    pub(in super::super) priority: NonZeroU8,
    /// Its interval.
    pub(in super::super) interval: Interval,
    /// Whether it preempts.
    pub(in super::super) preempt: bool,
    /// How long it waits first.
    pub(in super::super) preempt_delay: Duration,
    /// What it speaks.
    pub(in super::super) versions: Versions,
    /// What the checksums of VRRPv3 over IPv4 cover.
    pub(in super::super) checksum: ChecksumRule,
    /// What is added to the RFC.
    pub(in super::super) profile: Profile,
    /// The other routers, where each is told by itself; empty where all are told by multicast.
    pub(in super::super) peers: Vec<IpAddr>,
    /// Whose adverts count; anybody's, if nobody is named. VRRPv3 proves nothing of a sender (RFC 9568 section 8), so a stranger
    /// with priority 255 would win.
    pub(in super::super) members: Option<Vec<IpAddr>>,
    /// Its addresses answer with the virtual hardware address (RFC 9568 section 7.3), not with the interface's.
    pub(in super::super) virtual_mac: bool,
    /// What the holder holds, in the order of the advertisement.
    pub(in super::super) floating: Vec<Floating>,
    /// The holder's default route, and the interface that it goes out of.
    pub(in super::super) gateway: Option<Gateway>,
}

/// One floating address, ready to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Floating {
    pub(in super::super) interface: NetworkName,
    pub(in super::super) address: IpAddr,
    pub(in super::super) prefix_len: u8,
}

/// The next hop of the holder's default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Gateway {
    pub(in super::super) interface: NetworkName,
    pub(in super::super) address: IpAddr,
}

impl Router {
    /// The state machine's part, for the address that this router sends from.
    pub(in super::super) fn config(&self, own: IpAddr) -> Config {
        Config {
            priority: self.priority,
            interval: self.interval,
            preempt: self.preempt,
            preempt_delay: self.preempt_delay,
            // A router of both versions has version 3's times, and tells version 2's routers of its rate.
            skew: match self.versions {
                Versions::V2 => SkewRule::OfSecond,
                _ => SkewRule::OfInterval,
            },
            address: own,
            profile: self.profile,
        }
    }

    /// What it advertises with a priority.
    pub(in super::super) fn advert(&self, version: Version, priority: u8) -> Advert {
        Advert {
            version,
            vrid: self.vrid,
            priority,
            interval: self.interval,
            addresses: self.addresses().collect(),
        }
    }

    /// What it holds others' adverts against.
    pub(in super::super) fn expected(&self, own: IpAddr) -> Expected {
        Expected {
            vrid: self.vrid,
            family: self.family,
            versions: self.versions,
            checksum: self.checksum,
            own,
            interval: self.interval,
            addresses: self.addresses().collect(),
        }
    }

    /// Its addresses, in the order of the advertisement.
    pub(in super::super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.floating.iter().map(|floating| floating.address)
    }

    /// Do its addresses live by a lease?
    pub(in super::super) fn leases(&self) -> bool {
        matches!(self.profile, Profile::Lab(rules) if rules.lease)
    }

    /// Lets them live without.
    pub(in super::super) fn do_without_lease(&mut self) {
        if let Profile::Lab(rules) = &mut self.profile {
            rules.lease = false;
        }
    }
}

impl fmt::Display for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VRID {} {}", self.vrid, self.family)
    }
}
