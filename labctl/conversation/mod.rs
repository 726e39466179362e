//! The conversation: transcript, idempotency, commands of the replicated store. Pure.
//!
//! A conversation is an ordered list of turns. Each turn carries the digest of everything before it, so a memory that
//! lost or swapped a turn shows at once, and the key under which its author sent it, so that sending it again is safe.

pub mod checker;
pub mod history;
mod names;
pub mod peer;
mod store;
mod transcript;

pub use names::*;
pub use store::*;
pub use transcript::*;

#[cfg(test)]
mod tests;
