//! Proof that namespaces are gone: a cable from each of them into a namespace of the watcher. The kernel removes a
//! cable only when one of its ends is destroyed, so when the watcher's namespace is empty again, so is the lab's.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::os::fd::{AsFd, AsRawFd};

use crate::kernel::link::{self, LOOPBACK};
use crate::kernel::namespace::{self, NetNs};
use crate::kernel::netlink::{self, Netlink, Request};

/// How a watcher's ends of tripwires are called, before their number.
const END: &str = "end";

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No namespace or socket of our own.
    #[error("watch for the end of the lab's namespaces")]
    Watch(#[from] namespace::Error),
    /// The kernel did not answer.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The kernel refused a cable.
    #[error("tie a tripwire to the namespace of {of}")]
    Tie {
        /// The node, or `the fabric`.
        of: String,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// Something lives on.
    #[error("still there after {after:?}: the network namespaces of {}", .left.join(", "))]
    Leftover {
        /// Whose.
        left: Vec<String>,
        /// How long they were waited for.
        after: Duration,
    },
}

/// Ties a cable from the namespace of `netlink` into `watcher`.
pub fn tie(netlink: &mut Netlink, number: usize, of: &str, watcher: BorrowedFd) -> Result<(), Error> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(format!("{END}{number}"))
        .setns_by_fd(watcher.as_raw_fd())
        .build();
    let message =
        // A name that no network can have, and the kernel's choice of the number: there may be several watchers.
        LinkVeth::new("trip.%d", "end").set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build();
    let request =
        Request { message: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL };
    let result = netlink.run(&[request])?.pop().unwrap_or(Ok(()));
    result.map_err(|source| Error::Tie { of: of.to_owned(), source })
}

/// The watcher's side.
#[derive(Debug)]
pub struct Watcher {
    netns: NetNs,
    notices: Netlink,
    names: Vec<String>,
}

impl Watcher {
    /// A namespace for cables to end in.
    pub fn create() -> Result<Self, Error> {
        let netns = NetNs::create(&[])?;
        let notices = netns.enter(|| Netlink::open_groups(&[netlink::LINK_GROUP]))??;
        Ok(Self { netns, notices, names: Vec::new() })
    }

    /// The namespace, to be sent to the holder.
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// From whose namespaces cables were tied, in order.
    pub fn tied(&mut self, names: Vec<String>) {
        self.names = names;
    }

    /// Waits until every cable is gone; returns how many there were.
    #[expect(clippy::disallowed_methods, reason = "owns the clock of this wait")]
    pub fn wait(&mut self, within: Duration) -> Result<usize, Error> {
        let deadline = Instant::now() + within;
        loop {
            let links = link::links(&mut self.netns.netlink)?;
            let left: Vec<_> = links.iter().filter(|link| link.index != LOOPBACK).collect();
            if left.is_empty() {
                return Ok(self.names.len());
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                let name = |link: &&link::Link| {
                    let number: Option<usize> = link.name.strip_prefix(END)?.parse().ok();
                    self.names.get(number?).cloned()
                };
                let left = left.iter().map(|link| name(link).unwrap_or_else(|| link.name.clone())).collect();
                return Err(Error::Leftover { left, after: within });
            }
            self.notices.wait_for_notice(remaining);
        }
    }
}
