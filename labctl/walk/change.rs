//! What changed in a packet from one hop to the next.

use schemars::JsonSchema;
use serde::Serialize;

use super::packet::{IpHeader, TcpHeader};

/// A header that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The hardware address of the sender.
    SourceMac,
    /// The hardware address of the receiver.
    DestinationMac,
    /// It was put into another packet, taken out of one, or the header of that one changed.
    Encapsulation,
    /// The IP address of the sender.
    Source,
    /// The IP address of the receiver.
    Destination,
    /// The port of the sender.
    SourcePort,
    /// The port of the receiver.
    DestinationPort,
    /// TTL or hop limit.
    Ttl,
    /// The checksum of the IP header.
    IpChecksum,
    /// The checksum of the TCP header.
    TcpChecksum,
}

impl Change {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::SourceMac => "source MAC",
            Self::DestinationMac => "destination MAC",
            Self::Encapsulation => "encapsulation",
            Self::Source => "source address",
            Self::Destination => "destination address",
            Self::SourcePort => "source port",
            Self::DestinationPort => "destination port",
            Self::Ttl => "TTL",
            Self::IpChecksum => "IP checksum",
            Self::TcpChecksum => "TCP checksum",
        }
    }
}

/// The headers of a packet at one place.
#[derive(Clone, Debug)]
pub(super) struct Headers<'a> {
    pub(super) mac: [[u8; 6]; 2],
    pub(super) tunnel: Option<&'a IpHeader>,
    pub(super) ip: &'a IpHeader,
    pub(super) tcp: Option<&'a TcpHeader>,
}

/// What is different in the second.
pub(super) fn between(before: &Headers, after: &Headers) -> Vec<Change> {
    let (ip, tcp) = ((before.ip, after.ip), before.tcp.zip(after.tcp));
    let in_tcp = |differs: fn(&TcpHeader, &TcpHeader) -> bool| tcp.is_some_and(|(a, b)| differs(a, b));
    let found = [
        (Change::SourceMac, before.mac[0] != after.mac[0]),
        (Change::DestinationMac, before.mac[1] != after.mac[1]),
        (Change::Encapsulation, before.tunnel != after.tunnel),
        (Change::Source, ip.0.source != ip.1.source),
        (Change::Destination, ip.0.destination != ip.1.destination),
        (Change::SourcePort, in_tcp(|a, b| a.source != b.source)),
        (Change::DestinationPort, in_tcp(|a, b| a.destination != b.destination)),
        (Change::Ttl, ip.0.ttl != ip.1.ttl),
        (Change::IpChecksum, ip.0.checksum != ip.1.checksum),
        (Change::TcpChecksum, in_tcp(|a, b| a.checksum != b.checksum)),
    ];
    found.into_iter().filter_map(|(change, is)| is.then_some(change)).collect()
}
