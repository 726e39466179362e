//! The kernel's verbs: one small method each, typed, with an error that names the act and the object. It knows
//! system calls and netlink; it does not know what a site is.

pub mod arp;
pub mod capability;
pub mod cgroup;
pub mod clock;
pub mod feature;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod link;
pub mod listeners;
pub mod macvlan;
pub mod mount;
pub mod namespace;
pub mod ndp;
pub mod neighbour;
pub mod netlink;
pub mod nft;
pub mod packet;
pub mod prober;
pub mod process;
pub mod protocol;
pub mod realtime;
pub mod socket;
pub mod survey;
pub mod sysctl;
pub mod tap;
pub mod traffic;
pub mod usage;
pub mod user;
pub mod wait;
