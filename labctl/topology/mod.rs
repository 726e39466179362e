//! The topology: from a file that a person wrote to a [`Topology`] in which nothing can be wrong any more.
//! Pure: it reads text that it is given, never a file or the kernel.

mod names;
mod site;

pub use names::*;
pub use site::*;
