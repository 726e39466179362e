//! The conformance of VRRP daemons: scenarios in plain words, played on a small lab in which one node runs the daemon
//! under test and the suite itself is everybody else on the wire.
//!
//! Nothing here uses our own codec or state machine: what is judged must not be the judge.

pub mod checklist;
mod frames;
mod play;
mod rival;
mod sentry;
mod setup;
mod steps;
pub mod suite;
mod version;
mod wire;
mod world;

pub use play::play;
pub use version::version;
