//! What the kernels of three nodes say: when an interface of a proxy got and lost the VIP, and which hardware address the
//! router has for it. They are told, not asked: a question would hold the lock that an election needs.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use labctl::kernel::netlink::Netlink;
use labctl::kernel::packet::Mac;
use labctl::kernel::process::PidFd;
use labctl::kernel::{clock, link, namespace, realtime, wait};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};

/// How long a wait may last before the wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Whose kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Primary,
    Backup,
    Router,
}

/// What it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The node has the VIP.
    Has,
    /// The node has it no more.
    HasNot,
    /// Who has the VIP, as far as the router knows.
    Entry(Option<Mac>),
}

#[derive(Clone, Copy, Debug)]
pub struct Notice {
    pub at_ns: u64,
    pub place: Place,
    pub said: Said,
}

/// Who has the VIP now, for whoever waits for that: a bit for each proxy.
#[derive(Debug, Default)]
pub struct Holders(AtomicU8);

impl Holders {
    fn set(&self, place: Place, has: bool) {
        let bit = 1 << place as u8;
        match has {
            true => self.0.fetch_or(bit, Ordering::Relaxed),
            false => self.0.fetch_and(!bit, Ordering::Relaxed),
        };
    }

    pub fn are(&self, primary: bool, backup: bool) -> bool {
        let bits = u8::from(primary) << Place::Primary as u8 | u8::from(backup) << Place::Backup as u8;
        self.0.load(Ordering::Relaxed) == bits
    }
}

/// Somebody who listens to one kernel.
pub type Listener = JoinHandle<io::Result<Vec<Notice>>>;

/// Listens to the kernel of the node whose PID 1 this is, until told to stop.
pub fn listen(
    init: PidFd,
    place: Place,
    vip: Ipv4Addr,
    holders: Arc<Holders>,
    stop: Arc<AtomicBool>,
) -> Listener {
    std::thread::spawn(move || {
        namespace::move_thread(init.as_fd()).map_err(io::Error::other)?;
        realtime::observe_first()?;
        let group = match place {
            Place::Primary | Place::Backup => libc::RTNLGRP_IPV4_IFADDR,
            Place::Router => libc::RTNLGRP_NEIGH,
        };
        let mut netlink = Netlink::open_groups(&[group]).map_err(io::Error::other)?;
        let mut notices = Vec::new();
        let mut note = |said| {
            match said {
                Said::Has => holders.set(place, true),
                Said::HasNot => holders.set(place, false),
                Said::Entry(_) => {}
            }
            notices.push(Notice { at_ns: clock::monotonic_ns(), place, said });
        };
        if let Some(said) = at_first(&mut Netlink::open().map_err(io::Error::other)?, place, vip)? {
            note(said);
        }
        while !stop.load(Ordering::Relaxed) {
            if wait::readable(netlink.as_fd(), LOOK)? {
                netlink
                    .notices()
                    .map_err(io::Error::other)?
                    .iter()
                    .filter_map(|notice| said(notice, vip))
                    .for_each(&mut note);
            }
        }
        Ok(notices)
    })
}

fn at_first(netlink: &mut Netlink, place: Place, vip: Ipv4Addr) -> io::Result<Option<Said>> {
    if place == Place::Router {
        let table = netlink.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()));
        return Ok(table.map_err(io::Error::other)?.iter().find_map(|entry| said(entry, vip)));
    }
    let addresses = link::addresses(netlink).map_err(io::Error::other)?;
    Ok(addresses.iter().any(|held| held.address == vip).then_some(Said::Has))
}

fn said(notice: &RouteNetlinkMessage, vip: Ipv4Addr) -> Option<Said> {
    match notice {
        RouteNetlinkMessage::NewAddress(message) => is(message, vip).then_some(Said::Has),
        RouteNetlinkMessage::DelAddress(message) => is(message, vip).then_some(Said::HasNot),
        RouteNetlinkMessage::NewNeighbour(message) => entry(message, vip).map(Said::Entry),
        RouteNetlinkMessage::DelNeighbour(message) => entry(message, vip).map(|_| Said::Entry(None)),
        _ => None,
    }
}

fn is(message: &AddressMessage, vip: Ipv4Addr) -> bool {
    message.attributes.contains(&AddressAttribute::Local(IpAddr::V4(vip)))
}

/// The entry for the VIP, if this is it: its hardware address, where it has one.
fn entry(message: &NeighbourMessage, vip: Ipv4Addr) -> Option<Option<Mac>> {
    let of_vip = NeighbourAttribute::Destination(NeighbourAddress::Inet(vip));
    message.attributes.contains(&of_vip).then(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(mac) => Mac::try_from(mac.as_slice()).ok(),
            _ => None,
        })
    })
}
