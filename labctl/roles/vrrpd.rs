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
mod settings;

use std::io;
use std::path::Path;

use nix::errno::Errno;

use self::driver::Driver;
use self::settings::Settings;
pub use self::settings::SettingsError;
use super::inquiry::Desk;
use super::{Reporter, Site, described};
use crate::dataplane::gate::Leases;
use crate::kernel::{macvlan, netlink, packet};

/// Where the daemon says how it is: an [`account::Account`].
pub const SOCKET_PATH: &str = "/run/labctl/vrrpd.sock";

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
    let leases = leases(&settings, &mut lacks);
    if leases.is_none() {
        settings.do_without_leases();
    }
    let desk = Desk::open(Path::new(SOCKET_PATH))
        .inspect_err(|error| lacks.push(format!("a socket for questions: {error}")))
        .ok();
    Driver::open(&settings, leases, desk, lacks, reporter)?.run()
}

/// The map of leases that PID 1 left, or a line about why there is none although there should be.
fn leases(settings: &Settings, lacks: &mut Vec<String>) -> Option<Leases> {
    let lack = match Leases::from_env() {
        Ok(Some(leases)) => return Some(leases),
        Ok(None) => "PID 1 of the node has none".to_owned(),
        Err(error) => described(&error),
    };
    if settings.leases() {
        lacks.push(format!("a lease, so a daemon that hangs leaves its addresses alive: {lack}"));
    }
    None
}
