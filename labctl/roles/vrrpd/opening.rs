//! Opens everything that the elections need of the kernel, before they begin, so that nothing is left to fail in them:
//! sockets, macvlans, watches, prepared requests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::Error;
use super::announcer::Announcer;
use super::common::{Watch, now};
use super::holdings::{Holdings, Place, WayOut};
use super::instance::Instance;
use super::settings::{Router, Settings};
use crate::kernel::link;
use crate::kernel::macvlan;
use crate::kernel::neighbour::NeighbourWatch;
use crate::kernel::netlink::Netlink;
use crate::kernel::packet::Port;
use crate::kernel::protocol::{Destination, ProtocolSocket, Wire};
use crate::topology::NetworkName;
use crate::vrrp::{self, Family, PROTOCOL, TTL};

/// Longest that a link-local address may take to be there: its check for duplicates takes up to two seconds (RFC 4862
/// section 5.4.2), on a busy machine more. Until then the daemon has not begun.
const LINK_LOCAL_WAIT_MAX: Duration = Duration::from_secs(5);

/// What is opened.
pub(super) struct Opened {
    pub(super) instances: Vec<Instance>,
    pub(super) watches: Vec<Watch>,
    /// Every link that matters, that of the adverts first.
    pub(super) ports: Vec<Port>,
}

/// Opens everything in the network namespace of the calling thread.
pub(super) fn open(settings: &Settings) -> Result<Opened, Error> {
    let mut netlink = Netlink::open()?;
    let mut links = Links { by_name: BTreeMap::new() };
    let mut ports = Vec::new();
    for name in settings.interfaces() {
        let port = Port::find(&mut netlink, name.as_str())?;
        links.by_name.insert(name.clone(), port.clone());
        ports.push(port);
    }
    let gateways = settings.routers.iter().filter_map(|router| router.gateway.as_ref());
    for name in gateways.map(|gateway| &gateway.interface) {
        if !links.by_name.contains_key(name) {
            links.by_name.insert(name.clone(), Port::find(&mut netlink, name.as_str())?);
        }
    }
    let own = Own::find(settings, links.of(&settings.interface), &mut netlink)?;
    let mut instances = Vec::with_capacity(settings.routers.len());
    for router in &settings.routers {
        instances.push(links.instance(settings, router, own.of(router.family), &mut netlink)?);
    }
    let mut watches = Vec::new();
    for (name, port) in &links.by_name {
        let floating = settings.routers.iter().flat_map(|router| &router.floating);
        let here = floating.filter(|floating| &floating.interface == name);
        let addresses: Vec<IpAddr> = here.map(|floating| floating.address).collect();
        if !addresses.is_empty() {
            let neighbours = NeighbourWatch::open(port, &addresses)?;
            watches.push(Watch { neighbours, addresses: addresses.into_iter().collect() });
        }
    }
    Ok(Opened { instances, watches, ports })
}

/// The interfaces that were found.
struct Links {
    by_name: BTreeMap<NetworkName, Port>,
}

impl Links {
    /// # Panics
    /// If the settings name an interface in a place that [`open`] does not know of.
    fn of(&self, name: &NetworkName) -> &Port {
        &self.by_name[name]
    }

    fn instance(
        &self,
        settings: &Settings,
        router: &Router,
        own: IpAddr,
        netlink: &mut Netlink,
    ) -> Result<Instance, Error> {
        let mac = vrrp::virtual_mac(router.family, router.vrid);
        let wire = Wire {
            protocol: PROTOCOL,
            own,
            destination: match router.peers.is_empty() {
                true => Destination::Group(vrrp::group(router.family)),
                false => Destination::Peers(router.peers.clone()),
            },
            ttl: TTL,
            source_mac: router.virtual_mac.then_some(mac),
        };
        let socket = ProtocolSocket::open(self.of(&settings.interface), wire)?;
        let places = self.places(router, netlink)?;
        let ways_out: Vec<WayOut> = router
            .gateway
            .iter()
            .map(|gateway| {
                // A macvlan whose floating address brings its network along is the way there, too.
                let brings = |place: &&Place| {
                    place.prefix_len < whole(place.address) && place.link.name == gateway.interface.as_str()
                };
                let home = places.iter().find(brings);
                let device = home.map_or_else(|| self.of(&gateway.interface), Place::device).clone();
                WayOut { gateway: gateway.address, device }
            })
            .collect();
        let announcer = Announcer::open(&places)?;
        let holdings = Holdings::new(Netlink::open()?, &places, &ways_out);
        Ok(Instance::new(router.clone(), own, socket, holdings, announcer))
    }

    /// Where the addresses live. For the virtual hardware address that is a macvlan on each of their links.
    fn places(&self, router: &Router, netlink: &mut Netlink) -> Result<Vec<Place>, Error> {
        let mac = vrrp::virtual_mac(router.family, router.vrid);
        let v6 = router.family == Family::V6;
        let mut macvlans: BTreeMap<&NetworkName, Port> = BTreeMap::new();
        let mut places = Vec::with_capacity(router.floating.len());
        for floating in &router.floating {
            let link = self.of(&floating.interface);
            let name = macvlan::name(router.vrid.get(), v6, link);
            if !router.virtual_mac {
                // An earlier run may have had another mode.
                macvlan::remove(netlink, &name)?;
            } else if !macvlans.contains_key(&floating.interface) {
                let made = macvlan::create(netlink, link, &name, mac)?;
                macvlans.insert(&floating.interface, made);
            }
            places.push(Place {
                address: floating.address,
                prefix_len: floating.prefix_len,
                link: link.clone(),
                macvlan: macvlans.get(&floating.interface).cloned(),
            });
        }
        Ok(places)
    }
}

/// The prefix length of a single address.
fn whole(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The addresses that adverts are sent from.
struct Own {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Own {
    fn find(settings: &Settings, port: &Port, netlink: &mut Netlink) -> Result<Self, Error> {
        let v6 = match settings.routers.iter().any(|router| router.family == Family::V6) {
            true => Some(link_local(settings, port, netlink)?.into()),
            false => None,
        };
        Ok(Self { v4: settings.own.map(IpAddr::from), v6 })
    }

    /// # Panics
    /// If the settings have a router of a family without an address to send from, which their reader refuses.
    fn of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
        .expect("every family that is spoken has an address")
    }
}

/// The link's own address, and not a floating one that a run which was killed left there.
fn link_local(settings: &Settings, port: &Port, netlink: &mut Netlink) -> Result<Ipv6Addr, Error> {
    let mut notices = Netlink::open_groups(&[libc::RTNLGRP_IPV6_IFADDR])?;
    let end = now() + LINK_LOCAL_WAIT_MAX;
    loop {
        let floats = |address: &Ipv6Addr| {
            settings.routers.iter().any(|router| router.addresses().any(|floating| floating == *address))
        };
        let found = link::link_locals(netlink, port.index)?;
        if let Some(own) = found.into_iter().find(|address| !floats(address)) {
            return Ok(own);
        }
        let left = end.saturating_sub(now());
        if left.is_zero() {
            return Err(Error::NoLinkLocal(port.name.clone()));
        }
        notices.wait_for_notice(left);
    }
}
