//! The virtual routers of a node, one entry an address family, as daemons want them told. Pure.

use std::net::IpAddr;

use super::{Error, failover};
use crate::roles::Site;
use crate::topology::{FloatingAddress, FloatingAddress6, NetworkName, NodeName, ServiceName};

/// Prefix length of every link-local address (RFC 4291 section 2.5.6).
const LINK_LOCAL_PREFIX: u8 = 64;

/// A virtual router in one address family, and this node's part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::roles) struct Instance {
    /// The virtual router's name, if it is not the site's first.
    pub(in crate::roles) name: Option<ServiceName>,
    /// Virtual router identifier.
    pub(in crate::roles) vrid: u8,
    /// Is this the IPv6 one?
    pub(in crate::roles) ipv6: bool,
    /// This node's priority.
    pub(in crate::roles) priority: u8,
    /// In the order of the advertisement.
    pub(in crate::roles) addresses: Vec<Floating>,
}

/// One floating address and the interface that gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::roles) struct Floating {
    /// The interface.
    pub(in crate::roles) interface: NetworkName,
    /// The address.
    pub(in crate::roles) address: IpAddr,
    /// Its prefix length.
    pub(in crate::roles) prefix_len: u8,
}

/// Every instance that this node takes part in; of one virtual router the IPv4 one comes first.
pub(in crate::roles) fn instances(site: &Site) -> Result<Vec<Instance>, Error> {
    let failover = failover(&site.topology)?;
    let first = (None, failover.vrid, &failover.addresses, &failover.addresses6, &failover.priorities);
    let more = failover.more.iter().map(|router| {
        (Some(&router.name), router.vrid, &router.addresses, &router.addresses6, &router.priorities)
    });
    let mut found = Vec::new();
    for (name, vrid, addresses, addresses6, priorities) in std::iter::once(first).chain(more) {
        let Some(&priority) = priorities.get(&site.me) else { continue };
        let families =
            [(false, of_ipv4(site, addresses)?), (true, of_ipv6(site, failover, vrid.get(), addresses6)?)];
        for (ipv6, addresses) in families {
            if !addresses.is_empty() {
                found.push(Instance { name: name.cloned(), vrid: vrid.get(), ipv6, priority, addresses });
            }
        }
    }
    if found.is_empty() { Err(Error::NoPriority(site.me.clone())) } else { Ok(found) }
}

fn of_ipv4(site: &Site, addresses: &[FloatingAddress]) -> Result<Vec<Floating>, Error> {
    let one = |floating: &FloatingAddress| {
        Ok(Floating {
            interface: on(site, &floating.network)?,
            address: floating.address.into(),
            prefix_len: site.topology.prefix_len(&floating.network),
        })
    };
    addresses.iter().map(one).collect()
}

/// The link-local address comes first (RFC 9568 section 5.2.9); one that the topology does not give is the modified
/// EUI-64 (RFC 4291 appendix A) of the virtual MAC.
fn of_ipv6(
    site: &Site,
    failover: &crate::topology::Failover,
    vrid: u8,
    addresses: &[FloatingAddress6],
) -> Result<Vec<Floating>, Error> {
    let is_link_local = |floating: &&FloatingAddress6| floating.address.is_unicast_link_local();
    let one = |floating: &FloatingAddress6| {
        let prefix = site.topology.networks6.get(&floating.network).map(ipnet::Ipv6Net::prefix_len);
        let prefix_len = if is_link_local(&floating) { None } else { prefix };
        Ok(Floating {
            interface: on(site, &floating.network)?,
            address: floating.address.into(),
            prefix_len: prefix_len.unwrap_or(LINK_LOCAL_PREFIX),
        })
    };
    let mut all: Vec<Floating> =
        addresses.iter().filter(is_link_local).map(one).collect::<Result<_, Error>>()?;
    if all.is_empty() && !addresses.is_empty() {
        let address =
            std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0x200, 0x5eff, 0xfe00, 0x200 | u16::from(vrid));
        let interface = failover.network.clone();
        all.push(Floating { interface, address: address.into(), prefix_len: LINK_LOCAL_PREFIX });
    }
    for floating in addresses.iter().filter(|floating| !is_link_local(floating)) {
        all.push(one(floating)?);
    }
    Ok(all)
}

fn on(site: &Site, network: &NetworkName) -> Result<NetworkName, Error> {
    let node: &NodeName = &site.me;
    match site.node().on(network) {
        Some(interface) => Ok(interface.network.clone()),
        None => Err(Error::NotOnNetwork { node: node.clone(), network: network.clone() }),
    }
}
