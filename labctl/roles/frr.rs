//! FRRouting in the place of our own VRRP daemon.

use super::foreign::Error;
use super::{Reporter, Site};

/// The daemon that takes part in the election.
pub const PROGRAM: &str = "vrrpd";

/// Its name and package, if it is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    None
}

/// Takes part in the election through FRRouting until SIGTERM.
pub fn run(_site: &Site, _reporter: Reporter) -> Result<(), Error> {
    Err(Error::Cannot { engine: "frr", what: "take part yet".to_owned() })
}
