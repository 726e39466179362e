//! What one director says to another, as bytes: a version, a number by which losses show, and flows. It decides nothing.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::super::{Endpoint, Flow, Protocol};

/// What both sides must speak.
const VERSION: u8 = 1;
/// Fits every Ethernet in one piece, with the headers of IPv6 and UDP and a tunnel around it.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// Version, life, number and what the body begins with, at their longest.
const HEAD_BYTES_MAX: usize = 1 + 10 + 5 + 1 + 1 + 2;
/// A flow has one byte of protocol, and three sockets of a byte of family, an address, and a port of at most three bytes.
const SOCKETS: usize = 3;
const SOCKET_BYTES_MAX: usize = 1 + 3;

/// Why bytes are not a datagram of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A director of another version.
    #[error("version {0} instead of {VERSION}")]
    Version(u8),
    /// Anything else.
    #[error("no datagram of a director")]
    Shape,
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Datagram {
    /// Another one after each start of the sender.
    pub(super) life: u64,
    /// Counted by the sender, for each receiver by itself.
    pub(super) number: u32,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    /// Tell me all that you have.
    Ask,
    /// Connections; a beat if there are none.
    Flows(Vec<WireFlow>, Part),
}

/// Why flows are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// They are new.
    Fresh,
    /// Somebody asked for everything, and there is more.
    Bulk,
    /// Somebody asked for everything, and this is the end of it.
    BulkEnd,
}

/// A flow as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireFlow {
    is_udp: bool,
    client: SocketAddr,
    service: SocketAddr,
    real: SocketAddr,
}

impl From<Flow> for WireFlow {
    fn from(flow: Flow) -> Self {
        Self {
            is_udp: flow.service.protocol == Protocol::Udp,
            client: flow.client,
            service: flow.service.into(),
            real: flow.real.into(),
        }
    }
}

impl From<WireFlow> for Flow {
    fn from(wire: WireFlow) -> Self {
        let protocol = if wire.is_udp { Protocol::Udp } else { Protocol::Tcp };
        let endpoint = |at: SocketAddr| Endpoint { address: at.ip(), port: at.port(), protocol };
        Self { client: wire.client, service: endpoint(wire.service), real: endpoint(wire.real) }
    }
}

impl Datagram {
    /// At most [`DATAGRAM_BYTES_MAX`] bytes, if its flows are no more than [`batches`] puts together.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Into memory, of plain values: nothing here can fail.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
                Ok((datagram, [])) => Ok(datagram),
                Ok(_) | Err(_) => Err(Malformed::Shape),
            },
            Some((&other, _)) => Err(Malformed::Version(other)),
            None => Err(Malformed::Shape),
        }
    }
}

/// Flows in lots that fit a datagram each.
pub fn batches(mut flows: &[Flow]) -> impl Iterator<Item = &[Flow]> {
    std::iter::from_fn(move || {
        let (batch, rest) = flows.split_at(fitting(flows));
        flows = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

/// How many of these, from the first on, fit one datagram.
pub fn fitting(flows: &[Flow]) -> usize {
    let mut room = DATAGRAM_BYTES_MAX - HEAD_BYTES_MAX;
    let fits = |flow: &&Flow| {
        let addresses = [flow.client.ip(), flow.service.address, flow.real.address];
        let address_bytes: usize = addresses.iter().map(|it| if it.is_ipv4() { 4 } else { 16 }).sum();
        let bytes = 1 + SOCKETS * SOCKET_BYTES_MAX + address_bytes;
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    flows.iter().take_while(fits).count()
}
