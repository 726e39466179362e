//! The virtual routers of a node, one entry an address family, as daemons want them told. Pure.

use std::net::IpAddr;
use std::num::NonZeroU8;

use super::{Error, failover};
use crate::roles::Site;
use crate::topology::{NetworkName, ServiceName};

/// A virtual router in one address family, and this node's part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::roles) struct Instance {
    /// The virtual router's name, if it is not the site's first.
    pub(in crate::roles) name: Option<ServiceName>,
    /// Virtual router identifier.
    pub(in crate::roles) vrid: NonZeroU8,
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
    let mut found = Vec::new();
    for router in failover(&site.topology)?.routers() {
        let Some(&priority) = router.priorities.get(&site.me) else { continue };
        for ipv6 in [false, true] {
            let ours = router.floating().into_iter().filter(|(_, address)| address.is_ipv6() == ipv6);
            let addresses: Vec<_> = ours.map(|one| floating(site, one)).collect::<Result<_, _>>()?;
            if !addresses.is_empty() {
                let (name, vrid) = (router.name.cloned(), router.vrid.into());
                found.push(Instance { name, vrid, ipv6, priority, addresses });
            }
        }
    }
    if found.is_empty() { Err(Error::NoPriority(site.me.clone())) } else { Ok(found) }
}

fn floating(site: &Site, (network, address): (NetworkName, IpAddr)) -> Result<Floating, Error> {
    if site.node().on(&network).is_none() {
        return Err(Error::NotOnNetwork { node: site.me.clone(), network });
    }
    let prefix_len = site.topology.prefix_len_of(&network, address);
    Ok(Floating { interface: network, address, prefix_len })
}
