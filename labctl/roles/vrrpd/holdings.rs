//! What the holder holds in the kernel: the floating addresses and the default route by the provider's router. The
//! requests are built once, so that a takeover only sends them. It does not know who decides.

use std::net::Ipv4Addr;

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use super::settings::{Floating, Gateway};
use crate::kernel::netlink::{self, Netlink, Request};
use crate::kernel::packet::Port;

/// Metric of the holder's default route: better than the static one by the inner gateway, which stays as it is.
const HOLDER_METRIC: u32 = 10;

/// The requests of a takeover and of its end, and the socket for them.
#[derive(Debug)]
pub(super) struct Holdings {
    netlink: Netlink,
    addresses: Vec<Ipv4Addr>,
    add_addresses: Vec<Request>,
    add_routes: Vec<Request>,
    /// Adds only what is not there.
    put_back: Vec<Request>,
    /// Routes first: with its last address an interface loses its routes, and then there is nothing left to remove.
    remove: Vec<Request>,
}

/// One thing that was asked of the kernel, and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The floating address; `None` for the default route.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) result: Result<(), Errno>,
}

impl Holdings {
    /// Builds the requests; `ports` are the interfaces of the addresses, in the same order.
    pub(super) fn new(
        netlink: Netlink,
        floating: &[Floating],
        ports: &[Port],
        gateway: Option<(&Gateway, &Port)>,
    ) -> Self {
        let addresses: Vec<_> =
            floating.iter().zip(ports).map(|(floating, port)| address_message(floating, port)).collect();
        let routes: Vec<_> = gateway.iter().map(|(gateway, port)| route_message(gateway, port)).collect();
        let replace = |message| Request { message, flags: NLM_F_CREATE | NLM_F_REPLACE };
        let plain = |message| Request { message, flags: 0 };
        // Without NLM_F_REPLACE: what is there stays untouched, the kernel tells nobody, and the answer says which it was.
        let put = |message| Request { message, flags: NLM_F_CREATE | NLM_F_EXCL };
        let put_addresses = addresses.iter().cloned().map(RouteNetlinkMessage::NewAddress).map(put);
        let put_routes = routes.iter().cloned().map(RouteNetlinkMessage::NewRoute).map(put);
        let put_back = put_addresses.chain(put_routes).collect();
        let remove_routes = routes.iter().cloned().map(RouteNetlinkMessage::DelRoute).map(plain);
        let remove_addresses = addresses.iter().cloned().map(RouteNetlinkMessage::DelAddress).map(plain);
        Self {
            netlink,
            put_back,
            addresses: floating.iter().map(|floating| floating.address).collect(),
            remove: remove_routes.chain(remove_addresses).collect(),
            add_addresses: addresses.into_iter().map(RouteNetlinkMessage::NewAddress).map(replace).collect(),
            add_routes: routes.into_iter().map(RouteNetlinkMessage::NewRoute).map(replace).collect(),
        }
    }

    /// Adds every floating address.
    pub(super) fn add_addresses(&mut self) -> Result<Vec<Change>, netlink::Error> {
        let results = self.netlink.run(&self.add_addresses)?;
        Ok(self
            .addresses
            .iter()
            .zip(results)
            .map(|(&address, result)| Change { address: Some(address), result })
            .collect())
    }

    /// Adds the holder's default route, if there is one.
    pub(super) fn add_routes(&mut self) -> Result<Vec<Change>, netlink::Error> {
        let results = self.netlink.run(&self.add_routes)?;
        Ok(results.into_iter().map(|result| Change { address: None, result }).collect())
    }

    /// Puts back whatever of addresses and route is gone. What is still there is refused with `EEXIST`.
    pub(super) fn put_back(&mut self) -> Result<Vec<Change>, netlink::Error> {
        let results = self.netlink.run(&self.put_back)?;
        let routes = self.add_routes.iter().map(|_| None);
        let objects = self.addresses.iter().copied().map(Some).chain(routes);
        Ok(objects.zip(results).map(|(address, result)| Change { address, result }).collect())
    }

    /// Removes route and addresses. What is not there any more counts as refused with one of [`is_absence`].
    pub(super) fn remove(&mut self) -> Result<Vec<Change>, netlink::Error> {
        let results = self.netlink.run(&self.remove)?;
        let routes = self.add_routes.iter().map(|_| None);
        let objects = routes.chain(self.addresses.iter().copied().map(Some));
        Ok(objects.zip(results).map(|(address, result)| Change { address, result }).collect())
    }
}

/// Does this answer to a removal say that there was nothing to remove?
pub(super) fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT | Errno::ENODEV)
}

fn address_message(floating: &Floating, port: &Port) -> AddressMessage {
    AddressMessageBuilder::<Ipv4Addr>::new()
        .index(port.index)
        .address(floating.address, floating.prefix_len)
        .build()
}

fn route_message(gateway: &Gateway, port: &Port) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(gateway.address)
        .output_interface(port.index)
        .priority(HOLDER_METRIC)
        .build()
}

#[cfg(test)]
mod tests;
