//! What the daemon says when it is asked how it is: the whole of its mind, for `labctl explain` and `labctl doctor`. One
//! JSON document; how it is asked for is another file's business.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One daemon, which runs every virtual router of its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// When this was said, by the monotonic clock.
    pub at_ns: u64,
    /// In the order of the topology, the IPv4 instance of a virtual router before its IPv6 one.
    pub routers: Vec<RouterAccount>,
    /// Every link that an election depends on: its name, and whether it is up with a carrier.
    pub links: BTreeMap<String, bool>,
    /// Every tracked check.
    pub checks: Vec<CheckAccount>,
    /// What went wrong on the wire, by kind.
    pub complaints: BTreeMap<String, ComplaintAccount>,
    /// How late the kernel ever woke the loop, in microseconds: the machine was too busy. What the loop missed because it was
    /// busy itself does not count.
    pub latest_wake_us: u64,
    /// How long the loop ever needed for all that had happened when it woke, in microseconds.
    pub longest_turn_us: u64,
    /// What the daemon would do and cannot: no real-time priority, no lease.
    pub lacks: Vec<String>,
}

/// One instance: a virtual router in one address family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouterAccount {
    /// Virtual router identifier.
    pub vrid: u8,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// `initialize`, `backup` or `active`.
    pub state: String,
    /// The last transitions, oldest first, at most 16.
    pub history: Vec<TransitionAccount>,
    /// What keeps it from its full duty although its state is right, such as adverts that cannot be sent.
    pub degraded: Option<String>,
    /// As configured.
    pub priority: u8,
    /// After the checks; 0 while one takes it out of the election.
    pub effective_priority: u8,
    /// Its own advertisement interval.
    pub interval_ms: u64,
    /// `2`, `3` or `2+3`.
    pub version: String,
    /// What the checksum covers: `message` or `pseudo-header`.
    pub checksum: String,
    /// May it take over from a live Active of lower priority?
    pub preempt: bool,
    /// The address that it sends from.
    pub own: IpAddr,
    /// The addresses of the virtual router, in the order of the advertisement.
    pub addresses: Vec<IpAddr>,
    /// Every other router heard since the start, by address.
    pub peers: BTreeMap<IpAddr, PeerAccount>,
    /// Until when the kernel lets the addresses live; `None` without a lease.
    pub lease_until_ns: Option<u64>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransitionAccount {
    /// When.
    pub at_ns: u64,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why, in words for people.
    pub because: String,
}

/// What another router last said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerAccount {
    /// When.
    pub at_ns: u64,
    /// How often it said something.
    pub adverts: u64,
    /// Its version.
    pub version: String,
    /// Its priority.
    pub priority: u8,
    /// Its interval.
    pub interval_ms: u64,
    /// Its addresses, in its order.
    pub addresses: Vec<IpAddr>,
}

/// A tracked check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckAccount {
    /// Its name.
    pub name: String,
    /// Whether it passes, after rise and fall.
    pub passes: bool,
    /// By how much its failure lowers the priority; `None` for a fault.
    pub weight: Option<u8>,
    /// What it last said.
    pub detail: String,
}

/// Packets of one kind that changed nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComplaintAccount {
    /// How many.
    pub count: u64,
    /// When the last one came.
    pub at_ns: u64,
    /// What the last one was, with its sender where that is known.
    pub last: String,
}
