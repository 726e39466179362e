//! Where services, real servers and other directors are, as seen from one node: which interfaces, which networks, and from
//! which address of its own it speaks to whom. It asks the site, not the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Error;
use crate::balancer::Method;
use crate::roles::Site;
use crate::topology::{Forward, NetworkName, NodeName, Role, VirtualService};

/// Where everything is.
#[derive(Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) method: Method,
    /// The interface that clients come in by.
    pub(super) front: NetworkName,
    /// The interface on the side of the real servers. In tun they may be far behind it, in dr it may be the front.
    pub(super) back: NetworkName,
    /// The networks of the back, one of each family.
    pub(super) inside: Vec<IpNet>,
    pub(super) own: Own,
    /// What this director speaks to others from, and where they are.
    pub(super) others: Option<Others>,
    pub(super) services: Vec<VirtualService>,
}

/// This node's own addresses on the back. Whatever is sent to real servers comes from them: a floating address may be
/// another node's tomorrow, and in tun and dr it is an address of the real server itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Own {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

/// The other directors of the site.
#[derive(Debug, PartialEq)]
pub(super) struct Others {
    pub(super) from: IpAddr,
    pub(super) to: BTreeMap<IpAddr, NodeName>,
}

impl Layout {
    pub(super) fn of(site: &Site) -> Result<Self, Error> {
        let balancer = match &site.topology.balancer {
            Some(balancer) if balancer.services.iter().any(|service| !service.reals.is_empty()) => balancer,
            _ => return Err(Error::NothingToBalance),
        };
        let method = match balancer.forward {
            // A proxy has real servers where NAT has them: on a network that is its own.
            Forward::Nat | Forward::Proxy => Method::Nat,
            Forward::Tun => Method::Tun,
            Forward::Dr => Method::Dr,
        };
        let services = &balancer.services;
        let virtuals: Vec<IpAddr> = services.iter().map(|service| service.address).collect();
        let reals: Vec<IpAddr> =
            services.iter().flat_map(|service| &service.reals).map(|real| real.address).collect();
        let front = network_with(site, &virtuals, "all virtual services")?;
        let back = match method {
            Method::Nat => network_with(site, &reals, "all real servers")?,
            // In dr, a real server behind a router is a mistake that `force` in the topology lets people see.
            Method::Tun | Method::Dr => network_with(site, &reals, "").or_else(|_| own_network(site))?,
        };
        let own = Own { v4: site.node().address_on(&back), v6: site.node().address6_on(&back) };
        if reals.iter().any(|&real| own.towards(real).is_none()) {
            return Err(Error::NoAddress { node: site.me.to_string(), network: back });
        }
        Ok(Self {
            method,
            inside: prefixes(site, &back),
            others: balancer.sync.then(|| others(site, &back)).flatten(),
            front,
            back,
            own,
            services: services.clone(),
        })
    }

    /// The networks in which a real server must be; everywhere, if there are none.
    pub(super) fn within(&self) -> Vec<IpNet> {
        match self.method {
            Method::Tun => Vec::new(),
            Method::Nat | Method::Dr => self.inside.clone(),
        }
    }
}

impl Own {
    /// The one that speaks to somebody.
    pub(super) fn towards(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// The network that has all these addresses and an interface of this node.
fn network_with(site: &Site, addresses: &[IpAddr], whose: &'static str) -> Result<NetworkName, Error> {
    let has = |name: &&NetworkName| {
        let prefixes = prefixes(site, name);
        addresses.iter().all(|address| prefixes.iter().any(|prefix| prefix.contains(address)))
    };
    let mut mine = site.topology.networks.keys().filter(|name| site.node().on(name).is_some());
    mine.find(has).cloned().ok_or_else(|| Error::NoInterface { node: site.me.to_string(), whose })
}

/// The prefixes of a network, at most one of each family.
fn prefixes(site: &Site, network: &NetworkName) -> Vec<IpNet> {
    let v4 = site.topology.networks.get(network).copied().map(IpNet::V4);
    let v6 = site.topology.networks6.get(network).copied().map(IpNet::V6);
    v4.into_iter().chain(v6).collect()
}

/// The network that this node has an address of its own on, before others that of the election.
fn own_network(site: &Site) -> Result<NetworkName, Error> {
    let elected = site.topology.failover.iter().map(|failover| &failover.network);
    let others = site.node().interfaces.iter().map(|interface| &interface.network);
    let has_address = |name: &&NetworkName| site.node().on(name).is_some_and(|it| it.all().next().is_some());
    let found = elected.chain(others).find(has_address).cloned();
    found.ok_or_else(|| Error::NoInterface { node: site.me.to_string(), whose: "an address of its own" })
}

/// The other proxies on the network of the election, or else on the back, if there are any.
fn others(site: &Site, back: &NetworkName) -> Option<Others> {
    let network = site.topology.failover.as_ref().map_or(back, |failover| &failover.network);
    let on = |node: &crate::topology::Node| {
        let v4 = node.address_on(network).map(IpAddr::V4);
        v4.or_else(|| node.address6_on(network).map(IpAddr::V6))
    };
    let from = on(site.node())?;
    let proxies = site.topology.nodes_of(Role::Proxy).filter(|node| node.name != site.me);
    let to: BTreeMap<IpAddr, NodeName> =
        proxies.filter_map(|node| Some((on(node)?, node.name.clone()))).collect();
    // One without an address of the same family cannot be spoken to.
    let to: BTreeMap<_, _> =
        to.into_iter().filter(|(address, _)| address.is_ipv4() == from.is_ipv4()).collect();
    (!to.is_empty()).then_some(Others { from, to })
}
