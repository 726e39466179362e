//! What the holder holds in the kernel: the floating addresses of one virtual router, the macvlans that they live on if its
//! hardware address is the virtual one, and default routes by the provider's router. The requests are built once, so
//! that a takeover only sends them. It does not know who decides.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use crate::kernel::link;
use crate::kernel::netlink::{self, Netlink, Request};
use crate::kernel::packet::{Mac, Port};
use crate::roles::HOLDER_METRIC;

/// A floating address and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    /// That of its network, or that of the whole address where the link has an address of its own in the same network:
    /// else there would be two routes to it.
    pub(super) prefix_len: u8,
    /// The physical link of its network.
    pub(super) link: Port,
    /// The macvlan on that link, if it answers with the virtual hardware address.
    pub(super) macvlan: Option<Port>,
}

/// The next hop of a default route, and the interface it goes out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WayOut {
    pub(super) gateway: IpAddr,
    pub(super) device: Port,
}

impl Place {
    /// The interface that gets the address.
    pub(super) fn device(&self) -> &Port {
        self.macvlan.as_ref().unwrap_or(&self.link)
    }

    /// The hardware address that it answers with.
    pub(super) fn mac(&self) -> Mac {
        self.device().mac
    }
}

/// The requests of a takeover and of its end, and the socket for them.
#[derive(Debug)]
pub(super) struct Holdings {
    netlink: Netlink,
    macvlans: Vec<Port>,
    /// Macvlans up, then addresses: one batch.
    add_addresses: Vec<Step>,
    add_routes: Vec<Step>,
    /// Adds only what is not there.
    put_back: Vec<Step>,
    /// Routes first: with its last address an interface loses its routes, and then there is nothing left to remove. A
    /// macvlan goes down last.
    remove: Vec<Step>,
}

/// One request, and what it is about.
#[derive(Clone, Debug)]
struct Step {
    object: Object,
    request: Request,
}

/// Something that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A floating address.
    Address(IpAddr),
    /// The default route by this gateway.
    Route(IpAddr),
    /// The macvlan of this name, up.
    Macvlan(String),
}

/// One thing that was asked of the kernel, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) object: Object,
    pub(super) result: Result<(), Errno>,
}

impl Holdings {
    /// Builds the requests.
    pub(super) fn new(netlink: Netlink, places: &[Place], ways_out: &[WayOut]) -> Self {
        let mut macvlans: Vec<Port> = places.iter().filter_map(|place| place.macvlan.clone()).collect();
        macvlans.sort_by_key(|port| port.index);
        macvlans.dedup();
        let replace = NLM_F_CREATE | NLM_F_REPLACE;
        // Without NLM_F_REPLACE: what is there stays untouched, the kernel tells nobody, and the answer says which it was.
        let put = NLM_F_CREATE | NLM_F_EXCL;
        let down = macvlans
            .iter()
            .map(|port| Step { object: Object::Macvlan(port.name.clone()), request: link::down(port.index) });
        let addresses = |make: fn(AddressMessage) -> RouteNetlinkMessage, flags| {
            places.iter().map(move |place| Step {
                object: Object::Address(place.address),
                request: Request { message: make(address_message(place)), flags },
            })
        };
        let routes = |make: fn(RouteMessage) -> RouteNetlinkMessage, flags| {
            ways_out.iter().map(move |way| Step {
                object: Object::Route(way.gateway),
                request: Request { message: make(route_message(way)), flags },
            })
        };
        Self {
            netlink,
            add_addresses: macvlans
                .iter()
                .map(up)
                .chain(addresses(RouteNetlinkMessage::NewAddress, replace))
                .collect(),
            add_routes: routes(RouteNetlinkMessage::NewRoute, replace).collect(),
            put_back: addresses(RouteNetlinkMessage::NewAddress, put)
                .chain(routes(RouteNetlinkMessage::NewRoute, put))
                .collect(),
            remove: routes(RouteNetlinkMessage::DelRoute, 0)
                .chain(addresses(RouteNetlinkMessage::DelAddress, 0))
                .chain(down)
                .collect(),
            macvlans,
        }
    }

    /// Brings macvlans up and adds every floating address.
    pub(super) fn add_addresses(&mut self) -> Result<Vec<Change>, netlink::Error> {
        run(&mut self.netlink, &self.add_addresses)
    }

    /// Adds the holder's default routes, if there are any.
    pub(super) fn add_routes(&mut self) -> Result<Vec<Change>, netlink::Error> {
        run(&mut self.netlink, &self.add_routes)
    }

    /// The macvlans that addresses live on, each once.
    pub(super) fn macvlans(&self) -> &[Port] {
        &self.macvlans
    }

    /// Brings up macvlans that are down, and puts back whatever of addresses and routes is gone. What is still there is
    /// refused with `EEXIST`.
    pub(super) fn put_back(
        &mut self,
        is_down: impl Fn(&Port) -> bool,
    ) -> Result<Vec<Change>, netlink::Error> {
        let fallen = self.macvlans.iter().filter(|port| is_down(port));
        let steps: Vec<Step> = fallen.map(up).chain(self.put_back.iter().cloned()).collect();
        run(&mut self.netlink, &steps)
    }

    /// Removes routes and addresses, and takes macvlans down. What is not there any more counts as refused with one of
    /// [`is_absence`].
    pub(super) fn remove(&mut self) -> Result<Vec<Change>, netlink::Error> {
        run(&mut self.netlink, &self.remove)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Route(gateway) => write!(f, "the default route by {gateway}"),
            Self::Macvlan(name) => write!(f, "the macvlan {name}"),
        }
    }
}

fn up(macvlan: &Port) -> Step {
    Step { object: Object::Macvlan(macvlan.name.clone()), request: link::up(macvlan.index) }
}

fn run(netlink: &mut Netlink, steps: &[Step]) -> Result<Vec<Change>, netlink::Error> {
    let requests: Vec<Request> = steps.iter().map(|step| step.request.clone()).collect();
    let results = netlink.run(&requests)?;
    Ok(steps
        .iter()
        .zip(results)
        .map(|(step, result)| Change { object: step.object.clone(), result })
        .collect())
}

/// Does this answer to a removal say that there was nothing to remove?
pub(super) fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT | Errno::ENODEV)
}

fn address_message(place: &Place) -> AddressMessage {
    let (index, prefix_len) = (place.device().index, place.prefix_len);
    match place.address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix_len).build()
        }
        // The election knows that nobody else has it; a check for duplicates would take a second, and the holder that
        // hands over still answers.
        IpAddr::V6(address) => {
            let mut message =
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, prefix_len).build();
            message.header.flags = AddressHeaderFlags::Nodad;
            message
        }
    }
}

fn route_message(way: &WayOut) -> RouteMessage {
    match way.gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(way.device.index)
            .priority(HOLDER_METRIC)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(gateway)
            .output_interface(way.device.index)
            .priority(HOLDER_METRIC)
            .build(),
    }
}

#[cfg(test)]
mod tests;
