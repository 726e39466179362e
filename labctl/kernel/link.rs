//! Links, addresses and routes as netlink messages, one small function a verb, and what a dump says of them. Indices
//! are the caller's: in a namespace of our own nobody else hands any out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoPortData, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder,
};

use super::netlink::{Error, Netlink, Request};

/// Index of the loopback interface in every network namespace.
pub const LOOPBACK: u32 = 1;
/// One queue is enough for a cable inside one machine, and each further one costs memory and time at creation.
const QUEUES: u32 = 1;
const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A hardware address.
pub type Mac = [u8; 6];

/// One end of a veth pair to be made.
#[derive(Clone, Debug)]
pub struct End<'a> {
    /// Interface name.
    pub name: &'a str,
    /// Interface index.
    pub index: u32,
    /// Hardware address, or the kernel's choice.
    pub mac: Option<Mac>,
}

/// Makes a bridge, up, that forwards at once: no spanning tree, no delay, no multicast snooping (VRRP must pass).
pub fn add_bridge(index: u32, alias: &str) -> Request {
    let message = LinkBridge::new(&format!("bridge{index}"))
        .index(index)
        .alias(alias)
        .set_info_data(InfoData::Bridge(vec![
            InfoBridge::ForwardDelay(0),
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::MulticastSnooping(false),
        ]))
        .build();
    Request { message: RouteNetlinkMessage::NewLink(message), flags: CREATE }
}

/// Makes a veth pair: the near end up and a port of `bridge`, the far end down in the namespace `far_ns`. Creating it
/// there is what makes this fast: moving a link costs an RCU grace period.
pub fn add_veth(near: &End, alias: &str, bridge: u32, far: &End, far_ns: BorrowedFd) -> Request {
    let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(far.name)
        .index(far.index)
        .setns_by_fd(far_ns.as_raw_fd())
        .append_extra_attribute(LinkAttribute::NumTxQueues(QUEUES))
        .append_extra_attribute(LinkAttribute::NumRxQueues(QUEUES));
    if let Some(mac) = far.mac {
        peer = peer.address(mac.to_vec());
    }
    let message = LinkVeth::new(near.name, far.name)
        .index(near.index)
        .alias(alias)
        .controller(bridge)
        .append_extra_attribute(LinkAttribute::NumTxQueues(QUEUES))
        .append_extra_attribute(LinkAttribute::NumRxQueues(QUEUES))
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
        .up()
        .build();
    Request { message: RouteNetlinkMessage::NewLink(message), flags: CREATE }
}

/// Removes a link; of a veth pair, both ends.
pub fn delete(index: u32) -> Request {
    let message = LinkUnspec::new_with_index(index).build();
    Request { message: RouteNetlinkMessage::DelLink(message), flags: 0 }
}

/// Brings a link up.
pub fn up(index: u32) -> Request {
    let message = LinkUnspec::new_with_index(index).up().build();
    Request { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
}

/// Takes a link down.
pub fn down(index: u32) -> Request {
    let message = LinkUnspec::new_with_index(index).down().build();
    Request { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
}

/// Makes a link a port of a bridge.
pub fn join(index: u32, bridge: u32) -> Request {
    let message = LinkUnspec::new_with_index(index).controller(bridge).build();
    Request { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
}

/// Lets nothing through between a port of a bridge and the other ports that this was done to, or lets it through again.
pub fn isolate(index: u32, isolated: bool) -> Request {
    let isolated = InfoBridgePort::Isolated(isolated);
    let message = LinkBridgePort::new(index).append_info_data(isolated).build();
    // What a port is like is a matter of its bridge, which the kernel asks only in a message that could make a link.
    Request { message: RouteNetlinkMessage::NewLink(message), flags: 0 }
}

/// Takes a link out of its bridge, and leaves it up: its other end still has a carrier, and nobody hears what it sends. (The
/// state of a port would say the same, but without spanning tree the kernel sets it back at once.)
pub fn leave(index: u32) -> Request {
    let message = LinkUnspec::new_with_index(index).controller(0).build();
    Request { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
}

/// Gives a link an address; refused with `EEXIST` if it has it.
pub fn add_address(index: u32, address: Ipv4Addr, prefix_len: u8) -> Request {
    let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix_len).build();
    Request { message: RouteNetlinkMessage::NewAddress(message), flags: CREATE }
}

/// The same in IPv6. It is good at once: nobody is asked first whether it is a duplicate.
pub fn add_address6(index: u32, address: Ipv6Addr, prefix_len: u8) -> Request {
    let mut message = address6(index, address, prefix_len);
    message.header.flags |= AddressHeaderFlags::Nodad;
    Request { message: RouteNetlinkMessage::NewAddress(message), flags: CREATE }
}

fn address6(index: u32, address: Ipv6Addr, prefix_len: u8) -> AddressMessage {
    AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, prefix_len).build()
}

/// The same as [`delete_address`] in IPv6.
pub fn delete_address6(index: u32, address: Ipv6Addr, prefix_len: u8) -> Request {
    let message = address6(index, address, prefix_len);
    Request { message: RouteNetlinkMessage::DelAddress(message), flags: 0 }
}

/// Takes an address from a link; refused with `EADDRNOTAVAIL` if it does not have it.
pub fn delete_address(index: u32, address: Ipv4Addr, prefix_len: u8) -> Request {
    let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix_len).build();
    Request { message: RouteNetlinkMessage::DelAddress(message), flags: 0 }
}

/// The IPv6 link-local addresses of a link that may be sent from: their check for duplicates is over.
pub fn link_locals(netlink: &mut Netlink, index: u32) -> Result<Vec<Ipv6Addr>, Error> {
    let all = AddressMessageBuilder::<Ipv6Addr>::new().build();
    let found = netlink.dump(RouteNetlinkMessage::GetAddress(all))?;
    let unusable = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message)
                if message.header.index == index && !message.header.flags.intersects(unusable) =>
            {
                message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Address(IpAddr::V6(address)) => Some(*address),
                    _ => None,
                })
            }
            _ => None,
        })
        .filter(Ipv6Addr::is_unicast_link_local)
        .collect())
}

fn default_route(gateway: Ipv4Addr, metric: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).priority(metric).build()
}

fn default_route6(gateway: Ipv6Addr, metric: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).priority(metric).build()
}

/// Adds an IPv6 default route.
pub fn add_default_route6(gateway: Ipv6Addr, metric: u32, mss: Option<u32>) -> Request {
    let route = asking(mss, default_route6(gateway, metric));
    Request { message: RouteNetlinkMessage::NewRoute(route), flags: CREATE }
}

/// Has whoever connects by a route asked for TCP segments of that size at most (`advmss`).
fn asking(mss: Option<u32>, mut route: RouteMessage) -> RouteMessage {
    route.attributes.extend(mss.map(|mss| RouteAttribute::Metrics(vec![RouteMetric::Advmss(mss)])));
    route
}

/// Removes an IPv6 default route.
pub fn delete_default_route6(gateway: Ipv6Addr, metric: u32) -> Request {
    Request { message: RouteNetlinkMessage::DelRoute(default_route6(gateway, metric)), flags: 0 }
}

/// Adds a default route; of several, that with the lowest metric counts.
pub fn add_default_route(gateway: Ipv4Addr, metric: u32, mss: Option<u32>) -> Request {
    let route = asking(mss, default_route(gateway, metric));
    Request { message: RouteNetlinkMessage::NewRoute(route), flags: CREATE }
}

/// Removes a default route.
pub fn delete_default_route(gateway: Ipv4Addr, metric: u32) -> Request {
    Request { message: RouteNetlinkMessage::DelRoute(default_route(gateway, metric)), flags: 0 }
}

/// What a dump says of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// The administrator's switch (`IFF_UP`).
    pub admin_up: bool,
    /// Packets pass (`IF_OPER_UP`; loopback never says more than "unknown").
    pub operational: bool,
    /// The bridge that it is a port of.
    pub controller: Option<u32>,
    /// As a port of a bridge, it reaches no other port of which the same is true.
    pub isolated: bool,
    /// The link of the same namespace that it sits on, as a macvlan does.
    pub lower: Option<u32>,
    /// The longest packet that it takes.
    pub mtu: u32,
}

/// What a dump says of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of its interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
}

/// What a dump says of one default route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Next hop.
    pub gateway: IpAddr,
    /// Lower wins.
    pub metric: u32,
    /// The largest TCP segment to ask for, if the route says one.
    pub mss: Option<u32>,
    /// Index of the interface it leaves by.
    pub index: u32,
}

/// All links of a namespace.
pub fn links(netlink: &mut Netlink) -> Result<Vec<Link>, Error> {
    let found = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(read_link(link)),
            _ => None,
        })
        .collect())
}

fn read_link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        admin_up: message.header.flags.contains(LinkFlags::Up),
        operational: false,
        controller: None,
        isolated: false,
        lower: None,
        mtu: 0,
    };
    // The other end of a veth pair is another namespace's, and so is the number that it is known by.
    let mut elsewhere = false;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::OperState(state) => link.operational = state == State::Up,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::LinkInfo(infos) => link.isolated = infos.iter().any(is_isolated),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Link(index) => link.lower = Some(index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            _ => {}
        }
    }
    link.lower = link.lower.filter(|_| !elsewhere);
    link
}

fn is_isolated(info: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return false };
    port.contains(&InfoBridgePort::Isolated(true))
}

/// All IPv4 addresses of a namespace but those of loopback.
pub fn addresses(netlink: &mut Netlink) -> Result<Vec<Address>, Error> {
    let mut found = addresses_and_loopback(netlink)?;
    found.retain(|held| held.index != LOOPBACK);
    Ok(found)
}

/// All IPv6 addresses of a namespace but those of loopback and those that mean something on one link only.
pub fn addresses6(netlink: &mut Netlink) -> Result<Vec<Address>, Error> {
    let mut found = addresses_and_loopback6(netlink)?;
    found.retain(|held| held.index != LOOPBACK);
    Ok(found)
}

/// The same with what somebody put on loopback, and without what every machine has there.
pub fn addresses_and_loopback(netlink: &mut Netlink) -> Result<Vec<Address>, Error> {
    let mut found = dump_addresses(netlink, AddressMessageBuilder::<Ipv4Addr>::new().build())?;
    found.retain(|held| !held.address.is_loopback());
    Ok(found)
}

/// The same in IPv6.
pub fn addresses_and_loopback6(netlink: &mut Netlink) -> Result<Vec<Address>, Error> {
    let mut found = dump_addresses(netlink, AddressMessageBuilder::<Ipv6Addr>::new().build())?;
    let is_local = |address| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    found.retain(|held| !held.address.is_loopback() && !is_local(held.address));
    Ok(found)
}

fn dump_addresses(netlink: &mut Netlink, all: AddressMessage) -> Result<Vec<Address>, Error> {
    let found = netlink.dump(RouteNetlinkMessage::GetAddress(all))?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => {
                let address = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(address @ IpAddr::V4(_)) => Some(*address),
                    AddressAttribute::Address(address @ IpAddr::V6(_)) => Some(*address),
                    _ => None,
                })?;
                Some(Address { index: message.header.index, address, prefix_len: message.header.prefix_len })
            }
            _ => None,
        })
        .collect())
}

/// All IPv4 default routes of a namespace.
pub fn default_routes(netlink: &mut Netlink) -> Result<Vec<DefaultRoute>, Error> {
    dump_default_routes(netlink, RouteMessageBuilder::<Ipv4Addr>::new().build())
}

/// All IPv6 default routes of a namespace.
pub fn default_routes6(netlink: &mut Netlink) -> Result<Vec<DefaultRoute>, Error> {
    dump_default_routes(netlink, RouteMessageBuilder::<Ipv6Addr>::new().build())
}

fn dump_default_routes(netlink: &mut Netlink, all: RouteMessage) -> Result<Vec<DefaultRoute>, Error> {
    let found = netlink.dump(RouteNetlinkMessage::GetRoute(all))?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(route) if route.header.destination_prefix_length == 0 => {
                read_default_route(&route)
            }
            _ => None,
        })
        .collect())
}

fn read_default_route(route: &RouteMessage) -> Option<DefaultRoute> {
    let mut gateway = None;
    let mut metric = 0;
    let mut mss = None;
    let mut index = 0;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Metrics(metrics) => {
                mss = metrics.iter().find_map(|one| match one {
                    RouteMetric::Advmss(mss) => Some(*mss),
                    _ => None,
                });
            }
            RouteAttribute::Oif(oif) => index = *oif,
            _ => {}
        }
    }
    Some(DefaultRoute { gateway: gateway?, metric, mss, index })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::kernel::fixtures::eventually;
    use crate::kernel::namespace::NetNs;

    const BRIDGE: u32 = 1000;
    const PORT: u32 = 2000;
    const CABLE: u32 = 1000;

    fn port(fabric: &mut NetNs) -> Link {
        links(&mut fabric.netlink).unwrap().into_iter().find(|link| link.index == PORT).unwrap()
    }

    #[test]
    fn a_link_that_left_its_bridge_keeps_its_carrier() {
        let (Ok(mut fabric), Ok(mut node)) = (NetNs::create(&[]), NetNs::create(&[])) else {
            return eprintln!("skipped: no right to make network namespaces");
        };
        let near = End { name: "near", index: PORT, mac: None };
        let far = End { name: "far", index: CABLE, mac: None };
        let made = [add_bridge(BRIDGE, "back"), add_veth(&near, "", BRIDGE, &far, node.as_fd())];
        let mut done = fabric.netlink.run(&made).unwrap();
        done.extend(node.netlink.run(&[up(CABLE)]).unwrap());
        done.extend(fabric.netlink.run(&[leave(PORT)]).unwrap());
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        assert_eq!(port(&mut fabric).controller, None);
        assert!(port(&mut fabric).admin_up);
        // The kernel tells of a carrier when it finds the time; a link that lost it would never be told of.
        eventually("there is a carrier", || {
            links(&mut node.netlink).unwrap().iter().any(|link| link.index == CABLE && link.operational)
        });
        fabric.netlink.run(&[join(PORT, BRIDGE)]).unwrap()[0].unwrap();
        assert_eq!(port(&mut fabric).controller, Some(BRIDGE));
    }
}
