//! The VRRP daemon of a proxy: a loop that owns sockets and clock around [`crate::vrrp::Machine`], which decides. One
//! thread, one wait, and between two waits nothing that blocks but the kernel's own answer to a netlink request.
//!
//! It differs from RFC 9568 in one thing: the floating addresses answer with the interface's own hardware address, not
//! with the virtual one of section 7.3. What section 6.4 says about frames to the virtual one then has no object, and
//! hosts learn of a new holder by gratuitous ARP.

pub mod account;
mod announcer;
mod complaints;
mod driver;
mod holdings;
mod lookout;
mod settings;

use nix::errno::Errno;

use self::driver::Driver;
use self::settings::Settings;
pub use self::settings::SettingsError;
use super::{Reporter, Site};
use crate::kernel::{netlink, packet};

/// Why the daemon ended by itself. Nothing that comes from the wire is a reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The site gives this node no part in an election.
    #[error("take part in the election")]
    Settings(#[from] SettingsError),
    /// Sockets for adverts or announcements cannot be had.
    #[error("prepare for the election")]
    Packet(#[from] packet::Error),
    /// The kernel's tables can no longer be changed at all. A single refused change is logged, not an end.
    #[error("change addresses and routes")]
    Netlink(#[from] netlink::Error),
    /// The map of leases that PID 1 left is not one.
    #[error("renew the leases")]
    Leases(#[from] crate::dataplane::Error),
    /// Something that every Linux process can do failed.
    #[error("{act}")]
    System {
        /// What failed.
        act: &'static str,
        /// Why.
        #[source]
        source: Errno,
    },
}

/// Takes part in the election until SIGTERM, then gives up what it holds and returns.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    Driver::open(Settings::of(site)?, reporter)?.run()
}
