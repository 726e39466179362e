//! `labctl` builds a high-availability site out of Linux namespaces, breaks it on purpose, and proves what survives.
//!
//! The rooms, and the one direction of imports: `main -> commands -> shell -> pure`. ARCHITECTURE.md walks through them.

// Pure rooms: no clock, no I/O, no kernel.
pub mod balancer;
pub mod conversation;
pub mod diagnosis;
pub mod drill;
pub mod plan;
pub mod report;
pub mod topology;
pub mod vrrp;
pub mod walk;

// Shell rooms: they do what the pure rooms decide.
pub mod cli;
pub mod commands;
pub mod conformance;
pub mod dataplane;
pub mod holder;
pub mod kernel;
pub mod roles;

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tidy;
