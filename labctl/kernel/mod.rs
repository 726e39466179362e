//! The kernel's verbs: one small method each, typed, with an error that names the act and the object. It knows
//! system calls and netlink; it does not know what a site is.

pub mod arp;
pub mod capability;
pub mod clock;
pub mod link;
pub mod listeners;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod packet;
pub mod prober;
pub mod process;
pub mod realtime;
pub mod socket;
pub mod sysctl;
pub mod wait;
