//! The walk of one request through a site: from frames that were captured on every interface of every node to packets,
//! the hops of each, and what changed on the way. Pure: it neither captures nor sends, and asks no clock. All that is
//! shown of a walk is rendered from its record.

mod change;
mod conversation;
mod json;
mod mermaid;
mod packet;
mod pcap;
mod record;
mod text;

pub use change::Change;
pub use conversation::{Conversation, End, Hop, Kind, Side, Step, Walk};
pub use json::{SCHEMA, Unreadable, json, parse, schema};
pub use mermaid::mermaid;
pub use packet::{Checksum, IpHeader, Packet, TcpHeader, Transport};
pub use pcap::pcap;
pub use record::{Frame, Interface, Outcome, Record, Way};
pub use text::{Show, text};

#[cfg(test)]
mod tests;
