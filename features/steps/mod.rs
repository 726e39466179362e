//! Glue from sentences to the library: one line of logic a step where possible, shared checks as functions.

pub mod command;
pub mod conversation;
pub mod coupling;
pub mod databases;
pub mod diagnosis;
pub mod drill;
pub mod engines;
pub mod faults;
pub mod floating;
pub mod forwarding;
pub mod kernel;
pub mod lab;
pub mod peers;
pub mod receptionist;
pub mod safety;
pub mod services;
pub mod takeover;
pub mod trace;
pub mod traffic;
