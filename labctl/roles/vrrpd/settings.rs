//! What one node needs to know of the site to take part in its elections. Pure: names become numbers here, and every
//! mistake that would only show on the wire is found here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::time::Duration;

use crate::roles::Site;
use crate::topology::{
    self, Elected, Failover, MacMode, NetworkName, Node, NodeName, TrackCheck, VrrpVersion,
};
use crate::vrrp::{ChecksumRule, Family, Interval, IntervalError, LabRules, Profile, Versions};

mod router;

pub(super) use router::{Floating, Gateway, Router};

/// Most addresses that an advertisement can count (RFC 9568 section 5.2.5).
const ADDRESSES_MAX: usize = 255;
/// VRRPv2 counts in whole seconds (RFC 3768 section 5.3.7).
const SECOND: Duration = Duration::from_secs(1);

/// Why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nothing floats.
    #[error("the site has no failover")]
    NoFailover,
    /// The node is not in the election.
    #[error("{node} has no priority for VRID {vrid}")]
    NoPriority {
        /// The node.
        node: NodeName,
        /// The virtual router.
        vrid: u8,
    },
    /// The priority 0 says that a router gives up; nobody has it.
    #[error("{0} cannot have priority 0")]
    PriorityZero(NodeName),
    /// The interval does not fit the wire.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// The interval does not fit the older wire.
    #[error("{0:?} is no advertisement interval of VRRPv2, which has whole seconds")]
    NoWholeSeconds(Duration),
    /// There is no such protocol.
    #[error("VRRPv2 has no IPv6, and VRID {0} has IPv6 addresses")]
    Version2WithIpv6(u8),
    /// Adverts have nowhere to come from.
    #[error("{node} has no address of its own on {network}, which carries the adverts")]
    NoAddress {
        /// The node.
        node: NodeName,
        /// The network of the election.
        network: NetworkName,
    },
    /// Adverts would go to addresses that nobody knows.
    #[error(
        "VRID {0} has IPv6 addresses, and unicast is for IPv4: no file says where a peer's adverts come from"
    )]
    UnicastWithIpv6(u8),
    /// Adverts have nowhere to go.
    #[error("{peer} has no address of its own on {network} that adverts could be sent to")]
    NoPeerAddress {
        /// The other router.
        peer: NodeName,
        /// The network of the election.
        network: NetworkName,
    },
    /// A floating address would have no interface.
    #[error("{node} is not on {network}, where {address} belongs")]
    NotOnNetwork {
        /// The node.
        node: NodeName,
        /// The network of the address.
        network: NetworkName,
        /// The floating address.
        address: IpAddr,
    },
    /// A floating address would have no prefix length.
    #[error("{network} has no IPv6 prefix, so {address} does not belong there")]
    NoPrefix {
        /// The network of the address.
        network: NetworkName,
        /// The floating address.
        address: Ipv6Addr,
    },
    /// The holder could not reach its gateway.
    #[error("{node} is on no network with the gateway {gateway}")]
    NoWayOut {
        /// The node.
        node: NodeName,
        /// The holder's gateway.
        gateway: IpAddr,
    },
    /// An advertisement has 1 to 255 addresses.
    #[error("{0} floating addresses do not fit an advertisement of 1 to {ADDRESSES_MAX}")]
    AddressCount(usize),
}

/// A node's part in the elections of its site.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// The interface that carries the adverts.
    pub(super) interface: NetworkName,
    /// This node's primary IPv4 address there, where a virtual router of IPv4 needs one. The IPv6 one is the kernel's
    /// choice.
    pub(super) own: Option<Ipv4Addr>,
    /// Every instance that runs here, in the order of the site; IPv4 before IPv6.
    pub(super) routers: Vec<Router>,
    /// Do they change their state together?
    pub(super) sync: bool,
    /// What counts against this node.
    pub(super) checks: Vec<TrackCheck>,
}

impl Settings {
    /// Reads this node's part from the site.
    pub(super) fn of(site: &Site) -> Result<Self, SettingsError> {
        let failover = site.topology.failover.as_ref().ok_or(SettingsError::NoFailover)?;
        let reader = Reader { site, failover, interval: interval(failover)? };
        let routers = reader.routers()?;
        let own = site.node().address_on(&failover.network);
        if own.is_none() && routers.iter().any(|router| router.family == Family::V4) {
            return Err(SettingsError::NoAddress {
                node: site.me.clone(),
                network: failover.network.clone(),
            });
        }
        Ok(Self {
            interface: failover.network.clone(),
            own,
            routers,
            sync: failover.sync,
            checks: failover.checks.clone(),
        })
    }

    /// Do addresses live by a lease?
    pub(super) fn leases(&self) -> bool {
        self.routers.iter().any(Router::leases)
    }

    /// Lets all addresses live without one.
    pub(super) fn do_without_leases(&mut self) {
        self.routers.iter_mut().for_each(Router::do_without_lease);
    }

    /// Every interface that an election depends on, each once: that of the adverts first.
    pub(super) fn interfaces(&self) -> Vec<&NetworkName> {
        let mut all = vec![&self.interface];
        let floating = self.routers.iter().flat_map(|router| &router.floating);
        for interface in floating.map(|floating| &floating.interface) {
            if !all.contains(&interface) {
                all.push(interface);
            }
        }
        all
    }
}

fn interval(failover: &Failover) -> Result<Interval, SettingsError> {
    let time = failover.advert_interval;
    let whole = time.subsec_nanos() == 0 && time >= SECOND;
    if failover.version == VrrpVersion::V2 && !whole {
        return Err(SettingsError::NoWholeSeconds(time));
    }
    Ok(Interval::try_from(time)?)
}

struct Reader<'a> {
    site: &'a Site,
    failover: &'a Failover,
    interval: Interval,
}

impl Reader<'_> {
    fn routers(&self) -> Result<Vec<Router>, SettingsError> {
        let failover = self.failover;
        let mut routers = Vec::new();
        for one in failover.routers() {
            if one.addresses.is_empty() && one.addresses6.is_empty() {
                return Err(SettingsError::AddressCount(0));
            }
            if !one.addresses.is_empty() {
                let gateway = one.gateway.map(|gateway| self.way_out(gateway.into())).transpose()?;
                routers.push(self.router(&one, Family::V4, self.floating(&one)?, gateway)?);
            }
            if !one.addresses6.is_empty() {
                if failover.version == VrrpVersion::V2 {
                    return Err(SettingsError::Version2WithIpv6(one.vrid.get()));
                }
                let gateway = one.gateway6.map(|gateway| self.way_out(gateway.into())).transpose()?;
                routers.push(self.router(&one, Family::V6, self.floating6(&one)?, gateway)?);
            }
        }
        Ok(routers)
    }

    fn router(
        &self,
        one: &Elected<'_>,
        family: Family,
        floating: Vec<Floating>,
        gateway: Option<Gateway>,
    ) -> Result<Router, SettingsError> {
        let (failover, me) = (self.failover, &self.site.me);
        if floating.len() > ADDRESSES_MAX {
            return Err(SettingsError::AddressCount(floating.len()));
        }
        let priority = *one
            .priorities
            .get(me)
            .ok_or_else(|| SettingsError::NoPriority { node: me.clone(), vrid: one.vrid.get() })?;
        Ok(Router {
            vrid: one.vrid.into(),
            family,
            priority: NonZeroU8::new(priority).ok_or_else(|| SettingsError::PriorityZero(me.clone()))?,
            interval: self.interval,
            preempt: failover.preempt,
            preempt_delay: failover.preempt_delay,
            versions: versions(failover.version, family),
            checksum: match failover.checksum {
                topology::Checksum::Message => ChecksumRule::MessageOnly,
                topology::Checksum::PseudoHeader => ChecksumRule::PseudoHeader,
            },
            profile: match failover.profile {
                topology::Profile::Rfc9568 => Profile::Rfc9568,
                topology::Profile::Lab => Profile::Lab(LabRules {
                    rank: self.rank(one, priority),
                    // Also where the addresses are on the link of the adverts: whoever misses adverts there, because they get
                    // lost or somebody filters them, may still hear an answer.
                    probes: true,
                    lease: failover.lease,
                }),
            },
            peers: if failover.unicast { self.peers(one, family)? } else { Vec::new() },
            members: self.members(one, family),
            virtual_mac: failover.mac == MacMode::Virtual,
            floating,
            gateway,
        })
    }

    fn floating(&self, one: &Elected<'_>) -> Result<Vec<Floating>, SettingsError> {
        let floating = |given: &topology::FloatingAddress| {
            let prefix_len = self.site.topology.prefix_len(&given.network);
            self.at_home(&given.network, given.address.into(), prefix_len)
        };
        one.addresses.iter().map(floating).collect()
    }

    fn floating6(&self, one: &Elected<'_>) -> Result<Vec<Floating>, SettingsError> {
        let floating = |given: topology::FloatingAddress6| {
            let topology::FloatingAddress6 { network, address } = given;
            if !address.is_unicast_link_local() && !self.site.topology.networks6.contains_key(&network) {
                return Err(SettingsError::NoPrefix { network, address });
            }
            let prefix_len = self.site.topology.prefix_len_of(&network, address.into());
            self.at_home(&network, address.into(), prefix_len)
        };
        one.advertised6().into_iter().map(floating).collect()
    }

    fn at_home(
        &self,
        network: &NetworkName,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<Floating, SettingsError> {
        let (node, network) = (self.site.me.clone(), network.clone());
        let Some(interface) = self.site.node().on(&network) else {
            return Err(SettingsError::NotOnNetwork { node, network, address });
        };
        // On an interface of its own, beside one with an address in the same network, it must not bring a second route
        // to that network along.
        let beside = self.failover.mac == MacMode::Virtual;
        let prefix_len = match address {
            IpAddr::V4(_) if beside && !interface.addresses.is_empty() => 32,
            IpAddr::V6(address) if address.is_unicast_link_local() => prefix_len,
            IpAddr::V6(_) if beside && !interface.addresses6.is_empty() => 128,
            _ => prefix_len,
        };
        Ok(Floating { interface: network, address, prefix_len })
    }

    fn way_out(&self, address: IpAddr) -> Result<Gateway, SettingsError> {
        let topology = &self.site.topology;
        let has = |network: &NetworkName| match address {
            IpAddr::V4(address) => topology.networks[network].contains(&address),
            IpAddr::V6(address) => {
                topology.networks6.get(network).is_some_and(|prefix| prefix.contains(&address))
            }
        };
        let mut networks = self.site.node().interfaces.iter().map(|interface| &interface.network);
        match networks.find(|network| has(network)) {
            Some(network) => Ok(Gateway { interface: network.clone(), address }),
            None => Err(SettingsError::NoWayOut { node: self.site.me.clone(), gateway: address }),
        }
    }

    /// The other routers of this virtual router.
    fn others<'a>(&'a self, one: &'a Elected<'_>) -> impl Iterator<Item = (&'a Node, u8)> {
        let others = one.priorities.iter().filter(|(name, _)| **name != self.site.me);
        others.filter_map(|(name, &priority)| Some((self.site.topology.node(name)?, priority)))
    }

    /// Only over IPv4: a router advertises over IPv6 from its link-local address (RFC 9568 section 5.1.2.1), and no file
    /// says which one another router has.
    fn peers(&self, one: &Elected<'_>, family: Family) -> Result<Vec<IpAddr>, SettingsError> {
        if family == Family::V6 {
            return Err(SettingsError::UnicastWithIpv6(one.vrid.get()));
        }
        let network = &self.failover.network;
        let address = |(peer, _): (&Node, u8)| {
            let none = || SettingsError::NoPeerAddress { peer: peer.name.clone(), network: network.clone() };
            peer.address_on(network).map(IpAddr::from).ok_or_else(none)
        };
        self.others(one).map(address).collect()
    }

    /// Who has a say here. The RFC hears everybody; over IPv6 nobody's address is known beforehand.
    fn members(&self, one: &Elected<'_>, family: Family) -> Option<Vec<IpAddr>> {
        let closed = self.failover.unicast || self.failover.profile == topology::Profile::Lab;
        let address = |(peer, _): (&Node, u8)| peer.address_on(&self.failover.network).map(IpAddr::from);
        (closed && family == Family::V4).then(|| self.others(one).filter_map(address).collect())
    }

    /// How many others would win against this one. Equal priorities are told apart by the order of names, so that no two
    /// heirs have one rank.
    fn rank(&self, one: &Elected<'_>, priority: u8) -> u32 {
        let me = &self.site.me;
        let better = self.others(one).filter(|(node, other)| (*other, &node.name) > (priority, me));
        u32::try_from(better.count()).unwrap_or(u32::MAX)
    }
}

/// VRRPv2 knows IPv4 only, so the IPv6 instance of a site that speaks both speaks the newer one.
fn versions(version: VrrpVersion, family: Family) -> Versions {
    match (version, family) {
        (VrrpVersion::V2, _) => Versions { v2: true, v3: false },
        (VrrpVersion::V3, _) | (VrrpVersion::Both, Family::V6) => Versions { v2: false, v3: true },
        (VrrpVersion::Both, Family::V4) => Versions { v2: true, v3: true },
    }
}

#[cfg(test)]
mod tests;
