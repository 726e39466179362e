//! Which addresses this network namespace has, and when that changes. It asks the kernel afresh after every
//! notice, so a notice that was lost, or too many of them, do no harm.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::kernel::netlink::{self, Netlink};

/// Most times that a full notice queue is emptied in a row; it fills faster than it is read only if something is
/// badly wrong, and the next wake-up goes on.
const OVERFLOWS_MAX: usize = 16;

/// Why the addresses cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not answer.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The socket cannot be waited for.
    #[error("wait for a netlink socket")]
    Wait(#[source] io::Error),
}

/// The addresses of the network namespace in which [`Addresses::watch`] was called.
#[derive(Debug)]
pub(super) struct Addresses {
    notices: Netlink,
    /// Apart from the notices, which a list would swallow.
    lists: Netlink,
    readiness: AsyncFd<OwnedFd>,
}

impl Addresses {
    /// Watches from now on; what changed before [`Addresses::here`] is first called is in its answer.
    pub(super) fn watch() -> Result<Self, Error> {
        let notices = Netlink::open_groups(&[libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR])?;
        let descriptor = notices.as_fd().try_clone_to_owned().map_err(Error::Wait)?;
        // SAFETY: an `OwnedFd` is open until it is dropped, which the `AsyncFd` does last, and is always the same one.
        let readiness = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
            .map_err(|error| Error::Wait(error.into()))?;
        Ok(Self { notices, lists: Netlink::open()?, readiness })
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&mut self) -> Result<(), Error> {
        // Cleared before the queue is read, so that whatever comes after that wakes us again.
        self.readiness.readable().await.map_err(Error::Wait)?.clear_ready();
        for _ in 0..OVERFLOWS_MAX {
            match self.notices.notices() {
                Ok(_) => break,
                Err(netlink::Error::Receive(error)) if overflowed(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The addresses as they are now.
    pub(super) fn here(&mut self) -> Result<BTreeSet<IpAddr>, Error> {
        let mut every = AddressMessage::default();
        every.header.family = AddressFamily::Unspec;
        let found = self.lists.dump(RouteNetlinkMessage::GetAddress(every))?;
        Ok(found.iter().filter_map(address).collect())
    }
}

/// The kernel dropped notices because nobody read them in time.
fn overflowed(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

fn address(message: &RouteNetlinkMessage) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    // IFA_LOCAL is our own address, where IFA_ADDRESS would be the peer's on a point-to-point link. IPv6 has IFA_ADDRESS only.
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address @ IpAddr::V4(_)) => Some(*address),
        AddressAttribute::Address(address @ IpAddr::V6(_)) => Some(*address),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use nix::sched::{CloneFlags, unshare};
    use rtnetlink::packet_core::NLM_F_CREATE;
    use tokio::time::timeout;

    use super::*;
    use crate::kernel::netlink::Request;

    const PATIENCE: Duration = Duration::from_secs(10);
    const LOOPBACK_INDEX: u32 = 1;
    /// Far more notices than the default receive buffer of 208 KiB holds.
    const FLOOD: u32 = 5000;
    const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
    const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 113, 0, 0, 0, 0, 0x10);

    fn own(address: Ipv4Addr) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.index = LOOPBACK_INDEX;
        message.attributes = vec![AddressAttribute::Local(address.into())];
        message
    }

    fn add(address: Ipv4Addr) -> Request {
        Request { message: RouteNetlinkMessage::NewAddress(own(address)), flags: NLM_F_CREATE }
    }

    fn remove(address: Ipv4Addr) -> Request {
        Request { message: RouteNetlinkMessage::DelAddress(own(address)), flags: 0 }
    }

    /// Runs a test in a network namespace of its own, or says on the terminal why not.
    fn in_own_namespace(test: impl AsyncFnOnce(Addresses, Netlink) + Send + 'static) {
        let thread = std::thread::spawn(move || {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                // Not `println!`, which the test harness swallows when a test passes.
                let _ = writeln!(io::stderr(), "skipped: no network namespace ({error})");
                return;
            }
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let addresses = Addresses::watch().expect("a netlink socket");
                let kernel = Netlink::open().expect("a netlink socket");
                timeout(PATIENCE, test(addresses, kernel)).await.expect("a notice");
            });
        });
        thread.join().expect("the test");
    }

    fn run(kernel: &mut Netlink, requests: &[Request]) {
        let results = kernel.run(requests).expect("answers");
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    #[test]
    fn an_address_that_comes_and_goes_is_noticed() {
        in_own_namespace(async |mut addresses, mut kernel| {
            assert!(addresses.here().expect("a list").is_empty());
            run(&mut kernel, &[add(VIP)]);
            addresses.changed().await.expect("a notice");
            assert_eq!(addresses.here().expect("a list"), BTreeSet::from([IpAddr::V4(VIP)]));
            run(&mut kernel, &[remove(VIP)]);
            addresses.changed().await.expect("a notice");
            assert!(addresses.here().expect("a list").is_empty());
        });
    }

    #[test]
    fn addresses_of_ipv6_are_noticed_too() {
        in_own_namespace(async |mut addresses, mut kernel| {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Inet6;
            message.header.prefix_len = 128;
            message.header.index = LOOPBACK_INDEX;
            message.attributes = vec![AddressAttribute::Local(VIP6.into())];
            let add = RouteNetlinkMessage::NewAddress(message);
            run(&mut kernel, &[Request { message: add, flags: NLM_F_CREATE }]);
            addresses.changed().await.expect("a notice");
            assert_eq!(addresses.here().expect("a list"), BTreeSet::from([IpAddr::V6(VIP6)]));
        });
    }

    #[test]
    fn too_many_notices_do_no_harm() {
        in_own_namespace(async |mut addresses, mut kernel| {
            let mut flood = || (0..FLOOD).for_each(|_| run(&mut kernel, &[add(VIP), remove(VIP)]));
            flood();
            let lost = addresses.notices.notices();
            assert!(
                matches!(&lost, Err(netlink::Error::Receive(error)) if overflowed(error)),
                "the flood should be large enough to lose notices"
            );
            addresses.changed().await.expect("the rest");
            flood();
            run(&mut kernel, &[add(VIP)]);
            addresses.changed().await.expect("a notice, whatever was lost");
            assert_eq!(addresses.here().expect("a list"), BTreeSet::from([IpAddr::V4(VIP)]));
            // And it goes on to notice.
            run(&mut kernel, &[remove(VIP)]);
            addresses.changed().await.expect("a notice");
            assert!(addresses.here().expect("a list").is_empty());
        });
    }
}
