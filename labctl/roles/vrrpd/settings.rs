//! What one router needs to know of the site to take part in the election. Pure: names become numbers here, and every
//! mistake that would only show on the wire is found here.

use std::net::Ipv4Addr;
use std::num::NonZeroU8;

use crate::roles::Site;
use crate::topology::{NetworkName, NodeName};
use crate::vrrp::{Advert, Config, Interval, IntervalError, Profile, Version};

/// Most addresses that an advertisement can count (RFC 9568 section 5.2.5).
const ADDRESSES_MAX: usize = 255;

/// Why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nothing floats.
    #[error("the site has no failover")]
    NoFailover,
    /// The node is not in the election.
    #[error("{0} has no priority")]
    NoPriority(NodeName),
    /// The priority 0 says that a router gives up; nobody has it.
    #[error("{0} cannot have priority 0")]
    PriorityZero(NodeName),
    /// The interval does not fit the wire.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// Adverts have nowhere to come from.
    #[error("{node} has no address of its own on {network}, which carries the adverts")]
    NoAddress {
        /// The node.
        node: NodeName,
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
        /// The floating address, or the holder's gateway.
        address: Ipv4Addr,
    },
    /// The holder could not reach its gateway.
    #[error("{node} is on no network with the gateway {gateway}")]
    NoWayOut {
        /// The node.
        node: NodeName,
        /// The holder's gateway.
        gateway: Ipv4Addr,
    },
    /// An advertisement has 1 to 255 addresses.
    #[error("{0} floating addresses do not fit an advertisement of 1 to {ADDRESSES_MAX}")]
    AddressCount(usize),
}

/// A router's part in the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Which virtual router.
    pub(super) vrid: NonZeroU8,
    /// The interface of the election.
    pub(super) interface: NetworkName,
    /// This router's own address there.
    pub(super) own: Ipv4Addr,
    /// Its priority.
    pub(super) priority: NonZeroU8,
    /// Its interval.
    pub(super) interval: Interval,
    /// Whether it preempts.
    pub(super) preempt: bool,
    /// What the holder holds, in the order of the advertisement.
    pub(super) floating: Vec<Floating>,
    /// The holder's default route, and the interface that it goes out of.
    pub(super) gateway: Option<Gateway>,
}

/// One floating address, ready to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Floating {
    pub(super) interface: NetworkName,
    pub(super) address: Ipv4Addr,
    pub(super) prefix_len: u8,
}

/// The next hop of the holder's default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) interface: NetworkName,
    pub(super) address: Ipv4Addr,
}

impl Settings {
    /// Reads this node's part from the site.
    pub(super) fn of(site: &Site) -> Result<Self, SettingsError> {
        let (topology, me, node) = (&site.topology, &site.me, site.node());
        let failover = topology.failover.as_ref().ok_or(SettingsError::NoFailover)?;
        let priority = *failover.priorities.get(me).ok_or_else(|| SettingsError::NoPriority(me.clone()))?;
        let priority = NonZeroU8::new(priority).ok_or_else(|| SettingsError::PriorityZero(me.clone()))?;
        let interface = failover.network.clone();
        let own = node
            .address_on(&interface)
            .ok_or_else(|| SettingsError::NoAddress { node: me.clone(), network: interface.clone() })?;
        if !(1..=ADDRESSES_MAX).contains(&failover.addresses.len()) {
            return Err(SettingsError::AddressCount(failover.addresses.len()));
        }
        let floating = failover.addresses.iter().map(|floating| match node.on(&floating.network) {
            Some(_) => Ok(Floating {
                interface: floating.network.clone(),
                address: floating.address,
                prefix_len: topology.prefix_len(&floating.network),
            }),
            None => Err(SettingsError::NotOnNetwork {
                node: me.clone(),
                network: floating.network.clone(),
                address: floating.address,
            }),
        });
        let floating = floating.collect::<Result<_, _>>()?;
        let way_out = |address: Ipv4Addr| {
            let mut networks = node.interfaces.iter().map(|interface| &interface.network);
            match networks.find(|network| topology.networks[*network].contains(&address)) {
                Some(network) => Ok(Gateway { interface: network.clone(), address }),
                None => Err(SettingsError::NoWayOut { node: me.clone(), gateway: address }),
            }
        };
        Ok(Self {
            vrid: NonZeroU8::new(failover.vrid.get()).expect("a Vrid is never 0"),
            interface,
            own,
            priority,
            interval: Interval::try_from(failover.advert_interval)?,
            preempt: failover.preempt,
            floating,
            gateway: failover.holder_gateway.map(way_out).transpose()?,
        })
    }

    /// The state machine's part.
    pub(super) fn config(&self) -> Config {
        Config {
            priority: self.priority,
            interval: self.interval,
            preempt: self.preempt,
            preempt_delay: std::time::Duration::ZERO,
            address: self.own.into(),
            profile: Profile::Rfc9568,
        }
    }

    /// What this router advertises with a priority.
    pub(super) fn advert(&self, priority: u8) -> Advert {
        let addresses = self.floating.iter().map(|floating| floating.address.into()).collect();
        Advert { version: Version::V3, vrid: self.vrid, priority, interval: self.interval, addresses }
    }
}

#[cfg(test)]
mod tests;
