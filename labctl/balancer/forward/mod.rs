//! Forwarding as an executable specification: a frame in, a frame and a verdict out. The data plane in the kernel must do
//! the same to every frame; a test in dataplane/ compares them to the byte. Slow on purpose: it is there to be read.
//!
//! [`Director::from_street`] and [`Director::from_reals`] have the whole way of a frame; `frame.rs` says which frames are
//! a director's business at all, `flows.rs` what it remembers, and each forwarding method has a file of its own.
//!
//! Three things are not in it, because only a kernel has them. Hardware addresses of what goes to a real server or to a
//! client are left as they came: the neighbour table of the next hop has the new ones. Super-packets of segmentation
//! offload are judged by the size of their segments, which are the frames that this specification speaks of. And tables
//! here are without end, while those of a kernel forget the least recently used entry when they are full.

mod checksum;
mod counters;
mod describe;
mod director;
mod dr;
#[cfg(test)]
pub(crate) mod fixtures;
mod flows;
mod frame;
mod icmp;
mod nat;
mod tun;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

pub use counters::Counters;
pub use describe::described;
pub use director::Director;
pub use frame::{ETHERNET_BYTES, Mac};
pub use icmp::{QUOTED_V4_MAX, QUOTED_V6_MAX};
pub use tun::{OVERHEAD_V4, OVERHEAD_V6};

/// The smallest MTU of an interface that a director forwards by. Every IPv6 packet of 1280 bytes fits through it even in a
/// tunnel, so a packet that is too big can be answered with a size that its sender may use (RFC 8200 section 5).
pub const MTU_MIN: u16 = 1280 + OVERHEAD_V6;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None of the balancer's business: the kernel goes on with it, unchanged.
    Kernel,
    /// To this real server: in `nat` and `dr` out by the back interface with it as the next hop, in `tun` by the route to it.
    ToReal(IpAddr),
    /// To the client that it is addressed to, by the route that its new source has.
    ToClient,
    /// Back to its sender, out by the interface that it came by: an answer in the place of the frame.
    Answer,
}

/// An interface of a director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its hardware address. In the kernel this is `skb->pkt_type`.
    pub mac: Mac,
    /// The longest IP packet that may leave by it, at least [`MTU_MIN`].
    pub mtu: u16,
}

/// What a director is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where clients come in.
    pub front: Interface,
    /// Where the real servers are, or the way to them. May be the front itself.
    pub back: Interface,
    /// The networks that the director shares with the real servers: what stays in them is never rewritten.
    pub inside: Vec<IpNet>,
    /// The director's own address, from which tunnels over IPv4 come; without one, `tun` over IPv4 is left to the kernel.
    pub tunnel_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub tunnel_v6: Option<Ipv6Addr>,
}
