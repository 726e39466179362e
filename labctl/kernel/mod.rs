//! The kernel's verbs: one small method each, typed, with an error that names the act and the object. It knows
//! system calls and netlink; it does not know what a site is.

pub mod arp;
pub mod clock;
pub mod netlink;
pub mod packet;
pub mod realtime;
