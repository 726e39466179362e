//! Redis and Sentinel on the database nodes.

use super::foreign::Error;
use super::{Reporter, Site};
use crate::kernel::process;

const PROGRAM: &str = "redis-server";
const PACKAGE: &str = "redis-server";

/// Its name and package, if it is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    process::find_program(PROGRAM).is_none().then_some((PROGRAM, PACKAGE))
}

/// Runs a Redis until SIGTERM.
pub fn run(_: &Site, _: Reporter) -> Result<(), Error> {
    Err(Error::Missing { program: PROGRAM, package: PACKAGE })
}

/// Runs a Sentinel until SIGTERM.
pub fn watch(_: &Site, _: Reporter) -> Result<(), Error> {
    Err(Error::Missing { program: PROGRAM, package: PACKAGE })
}
