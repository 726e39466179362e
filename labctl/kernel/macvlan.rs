//! A second hardware address on a link: a macvlan, which is an interface of its own with its own addresses. While it is
//! down, frames to its hardware address are dropped. It knows nothing of who ought to have one.

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoMacVlan, LinkAttribute, MacVlanMode,
};
use rtnetlink::{LinkMacVlan, LinkMessageBuilder, LinkUnspec};

use super::link;
use super::netlink::{self, Netlink, Request};
use super::packet::{self, Mac, Port};

/// The longest interface name (IFNAMSIZ - 1).
const NAME_BYTES_MAX: usize = 15;
/// A macvlan takes frames to all as they come, and not by a worker of the kernel that runs when it runs: on a busy machine
/// that is some milliseconds later, when whoever asked for an address has already concluded that nobody has it. Since
/// Linux 6.4; older kernels ignore it.
const AT_ONCE: i32 = -1;

/// Why there is no macvlan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not answer.
    #[error("{act} the macvlan {name}")]
    Netlink {
        /// What was tried.
        act: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
    /// The kernel refused.
    #[error("{act} the macvlan {name}")]
    Refused {
        /// What was tried.
        act: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// It is not there although the kernel made it.
    #[error(transparent)]
    Find(#[from] packet::Error),
}

/// What the macvlan for a virtual router on a link is called: `vr51-front`, and `vr51v6-front` for its IPv6 addresses,
/// which have a hardware address of their own. Where that is too long for an interface, the link's number takes the place of
/// its name, which is as good within one machine.
pub fn name(vrid: u8, v6: bool, link: &Port) -> String {
    let router = if v6 { format!("vr{vrid}v6") } else { format!("vr{vrid}") };
    let full = format!("{router}-{}", link.name);
    if full.len() <= NAME_BYTES_MAX { full } else { format!("{router}-if{}", link.index) }
}

/// Makes a macvlan on a link, down. One of that name that an earlier run left behind goes, with all it holds.
pub fn create(netlink: &mut Netlink, link: &Port, name: &str, mac: Mac) -> Result<Port, Error> {
    remove(netlink, name)?;
    // In private mode a frame with the macvlan's own hardware address as its source is the macvlan's alone: the link would
    // not hear another router of the group, which has the same address.
    let made = LinkMacVlan::new(name, link.index, MacVlanMode::Bridge)
        .append_info_data(InfoMacVlan::BcCutoff(AT_ONCE))
        .address(mac.to_vec())
        .build();
    let message = RouteNetlinkMessage::NewLink(made);
    ask(netlink, "create", name, Request { message, flags: NLM_F_CREATE | NLM_F_EXCL })?;
    // The kernel would make a link-local address of the hardware address: the same one on every router of the group. It
    // takes this setting for a link that is there, not for one to be made.
    let quiet = LinkMessageBuilder::<LinkUnspec>::new()
        .name(name)
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![
            AfSpecInet6::AddrGenMode(In6AddrGenMode::None),
        ])]))
        .build();
    let message = RouteNetlinkMessage::SetLink(quiet);
    match ask(netlink, "keep link-local addresses from", name, Request { message, flags: 0 }) {
        // A kernel without IPv6 makes none anyway.
        Err(Error::Refused { source: Errno::EAFNOSUPPORT, .. }) | Ok(()) => {}
        Err(error) => return Err(error),
    }
    Ok(Port::find(netlink, name)?)
}

/// Removes a macvlan by name, if there is one.
pub fn remove(netlink: &mut Netlink, name: &str) -> Result<(), Error> {
    match Port::find(netlink, name) {
        Ok(port) => ask(netlink, "remove", name, link::delete(port.index)),
        Err(packet::Error::NoInterface(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn ask(netlink: &mut Netlink, act: &'static str, name: &str, request: Request) -> Result<(), Error> {
    let name = || name.to_owned();
    let results = netlink.run(&[request]).map_err(|source| Error::Netlink { act, name: name(), source })?;
    results.into_iter().collect::<Result<(), Errno>>().map_err(|source| Error::Refused {
        act,
        name: name(),
        source,
    })
}

#[cfg(test)]
mod tests;
