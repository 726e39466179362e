//! The VRRP daemon of a proxy: one loop that owns sockets and clock around a [`crate::vrrp::Machine`] for each virtual
//! router and family, which decides. One thread of it is real-time; tracked checks have threads of their own.

pub use crate::diagnosis::account;
mod announcer;
mod checks;
mod common;
mod complaints;
mod driver;
mod holdings;
mod instance;
mod lookout;
mod opening;
mod punctuality;
mod settings;

use std::io;
use std::path::Path;

use nix::errno::Errno;

use self::driver::Driver;
use self::settings::Settings;
pub use self::settings::SettingsError;
use super::inquiry::Desk;
use super::{Reporter, Site};
use crate::dataplane::{self, gate::Leases};
use crate::kernel::{macvlan, netlink, packet};

/// Where the daemon says how it is: an [`account::Account`].
pub const SOCKET_PATH: &str = "/run/labctl/vrrpd.sock";

/// What the daemon lacks where there is no gate at all.
const NO_LEASES: &str =
    "a lease, so a daemon that hangs leaves its addresses alive: PID 1 of the node has none";

/// Why the daemon ended by itself. Nothing that comes from the wire is a reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The site gives this node no part in an election.
    #[error("take part in the election")]
    Settings(#[from] SettingsError),
    /// Sockets for adverts or announcements cannot be had.
    #[error("prepare for the election")]
    Packet(#[from] packet::Error),
    /// The virtual hardware address cannot be had.
    #[error("prepare the virtual hardware address")]
    Macvlan(#[from] macvlan::Error),
    /// Adverts have nowhere to come from.
    #[error("{0} has no link-local IPv6 address that could be sent from")]
    NoLinkLocal(String),
    /// The kernel's tables can no longer be changed at all. A single refused change is logged, not an end.
    #[error("change addresses and routes")]
    Netlink(#[from] netlink::Error),
    /// PID 1 holds the addresses back until somebody renews their leases, and nobody could.
    #[error("open the leases that PID 1 of the node left")]
    Leases(#[source] dataplane::Error),
    /// Threads cannot be had.
    #[error("start the tracked checks")]
    Checks(#[source] io::Error),
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

/// Takes part in the elections until SIGTERM, then hands over what it holds and returns.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let mut settings = Settings::of(site)?;
    let mut lacks = Vec::new();
    let leases = Leases::from_env().map_err(Error::Leases)?;
    if leases.is_none() {
        if settings.leases() {
            lacks.push(NO_LEASES.to_owned());
        }
        settings.do_without_leases();
    }
    let desk = Desk::open(Path::new(SOCKET_PATH))
        .inspect_err(|error| lacks.push(format!("a socket for questions: {error}")))
        .ok();
    Driver::open(&settings, leases, desk, lacks, reporter)?.run()
}
