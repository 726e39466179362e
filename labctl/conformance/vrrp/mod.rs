//! The conformance of VRRP daemons: scenarios in plain words, played on a small lab in which one node runs the daemon
//! under test and the suite itself is everybody else on the wire.
//!
//! Nothing here uses our own codec or state machine: what is judged must not be the judge.

mod capability;
mod frames;
pub mod matrix;
mod play;
pub mod requirements;
mod rival;
pub mod scenarios;
mod sentry;
mod setup;
mod steps;
pub mod suite;
mod wire;
mod world;

pub use capability::version;
pub use play::{Outcome, play};
pub use scenarios::{Scenario, scenarios};
