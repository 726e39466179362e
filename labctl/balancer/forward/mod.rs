//! Forwarding methods as executable specifications: a frame in, a frame and a verdict out. The data plane in the kernel
//! must do the same to every frame; a test in dataplane/ compares them. Slow on purpose: it is there to be read.

#[cfg(test)]
pub(crate) mod fixtures;
mod frame;
mod nat;

use std::net::IpAddr;

pub use frame::{Mac, Segment};
pub use nat::Director;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None of the balancer's business: the kernel goes on with it, unchanged.
    Kernel,
    /// Out by the back interface, to this real server.
    ToReal(IpAddr),
    /// Out by the front interface, by the route that its new source has.
    ToClient,
}
