//! The virtual routers of an election, the first and the further ones alike, and every address that moves with them: those
//! of the file, and the link-local ones that IPv6 needs and that hardly any file gives.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::names::{NetworkName, NodeName, ServiceName, Vrid};
use super::site::{Failover, FloatingAddress, FloatingAddress6};
use crate::vrrp;

/// One virtual router of an election.
#[derive(Clone, Copy, Debug)]
pub struct Elected<'a> {
    /// Its name; the first one has none.
    pub name: Option<&'a ServiceName>,
    /// Its identifier.
    pub vrid: Vrid,
    /// Its IPv4 addresses.
    pub addresses: &'a [FloatingAddress],
    /// Those of its IPv6 addresses that the file gives.
    pub addresses6: &'a [FloatingAddress6],
    /// Priority of each proxy.
    pub priorities: &'a BTreeMap<NodeName, u8>,
    /// The holder's default route.
    pub gateway: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub gateway6: Option<Ipv6Addr>,
    network: &'a NetworkName,
}

impl Elected<'_> {
    /// Its IPv6 addresses in the order of the advertisement: a link-local one comes first (RFC 9568 section 5.2.9). That
    /// is the first one of the file, else the one of the virtual hardware address, on the network of the election.
    pub fn advertised6(&self) -> Vec<FloatingAddress6> {
        let mut all = self.addresses6.to_vec();
        match all.iter().position(|given| given.address.is_unicast_link_local()) {
            Some(at) => all[..=at].rotate_right(1),
            None if all.is_empty() => {}
            None => {
                let address = vrrp::virtual_link_local(self.vrid.into());
                all.insert(0, FloatingAddress6 { network: self.network.clone(), address });
            }
        }
        all
    }

    /// Every address that moves with it, and the network of each: IPv4 before IPv6, each in the order of its
    /// advertisement.
    pub fn floating(&self) -> Vec<(NetworkName, IpAddr)> {
        let v4 = self.addresses.iter().map(|one| (one.network.clone(), one.address.into()));
        v4.chain(self.advertised6().into_iter().map(|one| (one.network, one.address.into()))).collect()
    }
}

impl Failover {
    /// Every virtual router, the first one first.
    pub fn routers(&self) -> impl Iterator<Item = Elected<'_>> {
        let first = Elected {
            name: None,
            vrid: self.vrid,
            addresses: &self.addresses,
            addresses6: &self.addresses6,
            priorities: &self.priorities,
            gateway: self.holder_gateway,
            gateway6: self.holder_gateway6,
            network: &self.network,
        };
        let more = self.more.iter().map(|router| Elected {
            name: Some(&router.name),
            vrid: router.vrid,
            addresses: &router.addresses,
            addresses6: &router.addresses6,
            priorities: &router.priorities,
            // The routes of the site go with its first virtual router.
            gateway: None,
            gateway6: None,
            network: &self.network,
        });
        std::iter::once(first).chain(more)
    }

    /// Every floating address of every virtual router.
    pub fn floating(&self) -> impl Iterator<Item = IpAddr> {
        self.routers().flat_map(|router| router.floating()).map(|(_, address)| address)
    }

    /// The address that clients know.
    pub fn public(&self) -> Option<IpAddr> {
        let local = |address: &IpAddr| matches!(address, IpAddr::V6(it) if it.is_unicast_link_local());
        self.floating().find(|address| !local(address))
    }

    /// Does it move an IPv6 address?
    pub fn has_ipv6(&self) -> bool {
        self.routers().any(|router| !router.addresses6.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(addresses6: &[&str]) -> Failover {
        let network = |name: &str| name.parse::<NetworkName>().unwrap();
        let v6 = |address: &&str| FloatingAddress6 {
            network: network("front"),
            address: address.parse().unwrap(),
        };
        Failover {
            addresses6: addresses6.iter().map(v6).collect(),
            ..Failover::new(Vrid::try_from(51).unwrap(), network("back"))
        }
    }

    fn advertised(addresses6: &[&str]) -> Vec<String> {
        let failover = election(addresses6);
        let all = failover.routers().flat_map(|router| router.advertised6());
        all.map(|one| format!("{} {}", one.network, one.address)).collect()
    }

    #[test]
    fn a_link_local_address_comes_first_and_is_derived_where_none_is_given() {
        assert_eq!(advertised(&[]), Vec::<String>::new(), "IPv4 needs none");
        assert_eq!(advertised(&["2001:db8::10"]), ["back fe80::200:5eff:fe00:233", "front 2001:db8::10"]);
        assert_eq!(
            advertised(&["2001:db8::10", "2001:db8::11", "fe80::10", "fe80::11"]),
            ["front fe80::10", "front 2001:db8::10", "front 2001:db8::11", "front fe80::11"]
        );
    }

    #[test]
    fn clients_know_no_link_local_address() {
        assert_eq!(election(&["2001:db8::10"]).public(), Some("2001:db8::10".parse().unwrap()));
        assert_eq!(election(&[]).public(), None);
        assert_eq!(election(&["2001:db8::10"]).floating().count(), 2);
    }
}
