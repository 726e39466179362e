//! The process that owns a lab. It is PID 1 of a PID namespace that contains every node, holds the only descriptors of
//! the lab's network namespaces, and keeps everything else in a file system in memory that only it has mounted: so
//! whatever ends it, the kernel removes the whole lab. Nothing of a lab has a name in the machine's own namespaces but
//! the abstract control socket, which ends with it too.

pub mod client;
pub mod lab;
pub mod network;
pub mod node;
pub mod protocol;
pub mod ready;
pub mod record;
mod serve;
pub mod shares;
pub mod sweeper;
pub mod tripwire;

pub use serve::run;
