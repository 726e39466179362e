//! The values in the maps, as bpf/maps.h lays them out. Addresses and ports are in network order, and an IPv4 address is
//! the IPv6 address ::ffff:a.b.c.d. It knows how things look to the kernel, not how they get there.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aya::Pod;
use ipnet::IpNet;

use super::registry::POSTS_MAX;
use crate::balancer::{Endpoint, Method, Protocol, REALS_MAX, SLOTS, Schedule, Scheduler, Service};

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

const _: () = assert!(POSTS_MAX < 1 << 16, "the state of a flow has two bytes for a real server");

/// `struct address`.
pub(super) type WireAddress = [u8; 16];

pub(super) fn wire_address(address: IpAddr) -> WireAddress {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// `struct network`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WireNetwork {
    address: WireAddress,
    mask: WireAddress,
}

impl From<IpNet> for WireNetwork {
    fn from(network: IpNet) -> Self {
        // The prefix of an IPv4 network begins behind the 96 bits that say so.
        let bits = match network {
            IpNet::V4(network) => 96 + u32::from(network.prefix_len()),
            IpNet::V6(network) => network.prefix_len().into(),
        };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Self { address: wire_address(network.network()), mask: mask.to_be_bytes() }
    }
}

/// `struct endpoint`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WireEndpoint {
    address: WireAddress,
    port: [u8; 2],
    protocol: u8,
    unused: u8,
}

impl From<Endpoint> for WireEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            address: wire_address(endpoint.address),
            port: endpoint.port.to_be_bytes(),
            protocol: match endpoint.protocol {
                Protocol::Tcp => PROTOCOL_TCP,
                Protocol::Udp => PROTOCOL_UDP,
            },
            unused: 0,
        }
    }
}

/// `struct candidate`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct WireCandidate {
    real: u32,
    weight: u32,
}

/// `struct service`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct WireService {
    id: u32,
    method: u32,
    scheduler: u32,
    slot_count: u32,
    candidate_count: u32,
    unused: [u32; 11],
    turn: u32,
    unused_too: [u32; 15],
    candidates: [WireCandidate; REALS_MAX],
    reals: [u32; REALS_MAX],
    slots: [u8; SLOTS],
    // The compiler's own padding would be bytes without a value.
    padding: [u8; 3],
}

const _: () = assert!(size_of::<WireService>() == 128 + (8 + 4) * REALS_MAX + SLOTS + 3);

impl WireService {
    /// A service with the numbers of itself and of its real servers.
    ///
    /// # Panics
    /// If the service has more than [`REALS_MAX`] real servers.
    pub(super) fn new(service: &Service, id: u16, reals: &[u32]) -> Box<Self> {
        let schedule = Schedule::new(service.scheduler, &service.reals);
        let mut wire = Box::new(Self {
            id: id.into(),
            method: match service.method {
                Method::Nat => 0,
                Method::Tun => 1,
                Method::Dr => 2,
            },
            scheduler: match service.scheduler {
                Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => 0,
                Scheduler::LeastConnections | Scheduler::WeightedLeastConnections => 1,
                Scheduler::ShortestExpectedDelay => 2,
                Scheduler::NeverQueue => 3,
                Scheduler::SourceHash => 4,
                Scheduler::Maglev => 5,
            },
            slot_count: schedule.slots().len() as u32,
            candidate_count: schedule.candidates().len() as u32,
            unused: [0; 11],
            turn: 0,
            unused_too: [0; 15],
            candidates: [WireCandidate::default(); REALS_MAX],
            reals: [0; REALS_MAX],
            slots: [0; SLOTS],
            padding: [0; 3],
        });
        wire.reals[..reals.len()].copy_from_slice(reals);
        wire.slots[..schedule.slots().len()].copy_from_slice(schedule.slots());
        for (place, candidate) in wire.candidates.iter_mut().zip(schedule.candidates()) {
            *place = WireCandidate { real: reals[usize::from(candidate.index)], weight: candidate.weight };
        }
        wire
    }
}

/// `struct real`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct WireReal {
    endpoint: WireEndpoint,
    flags: u32,
}

/// What a real server may do; `INSTALLED` and so on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) installed: bool,
    pub(super) takes_new: bool,
    pub(super) on_link: bool,
}

impl WireReal {
    pub(super) fn new(endpoint: Endpoint, standing: Standing) -> Self {
        let Standing { installed, takes_new, on_link } = standing;
        let flags = u32::from(installed) | u32::from(takes_new) << 1 | u32::from(on_link) << 2;
        Self { endpoint: endpoint.into(), flags }
    }
}

/// `struct answer`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct WireAnswer {
    service: WireEndpoint,
    real: u32,
}

impl WireAnswer {
    pub(super) fn new(service: Endpoint, real: u32) -> Self {
        Self { service: service.into(), real }
    }
}

/// `struct flow_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WireFlowKey {
    client: WireAddress,
    port: [u8; 2],
    service: u16,
}

impl WireFlowKey {
    pub(super) fn new(client: SocketAddr, service: u16) -> Self {
        Self { client: wire_address(client.ip()), port: client.port().to_be_bytes(), service }
    }

    pub(super) fn client(&self) -> SocketAddr {
        let address = Ipv6Addr::from(self.client).to_canonical();
        SocketAddr::new(address, u16::from_be_bytes(self.port))
    }
}

/// `struct flow`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct WireFlow {
    state: u32,
    seen: u32,
}

impl WireFlow {
    const CLOSED: u32 = 1 << 16;
    const SETTLED: u32 = 1 << 17;

    pub(super) fn new(real: u32, seen: u32) -> Self {
        Self { state: real, seen }
    }

    pub(super) fn real(&self) -> u32 {
        self.state & 0xffff
    }

    /// The client has said goodbye.
    pub(super) fn is_closed(&self) -> bool {
        self.state & Self::CLOSED != 0
    }

    /// It is an opening that has become a flow.
    pub(super) fn is_settled(&self) -> bool {
        self.state & Self::SETTLED != 0
    }

    /// When its last packet passed, in units of 2^30 nanoseconds of the monotonic clock.
    pub(super) fn seen(&self) -> u32 {
        self.seen
    }
}

/// `struct fresh_flow`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct WireFreshFlow {
    pub(super) key: WireFlowKey,
    pub(super) real: u32,
}

impl WireFreshFlow {
    /// What the ring buffer has, if it is one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<Self>()] = bytes.try_into().ok()?;
        // SAFETY: any bytes are a value of this type, and there are as many as it has.
        Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
    }
}

/// `struct counters`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct WireCounters {
    pub(super) to_real: u64,
    pub(super) to_client: u64,
    pub(super) answered: u64,
    pub(super) opened: u64,
    pub(super) kept: u64,
    pub(super) missed: u64,
    pub(super) errors: u64,
    pub(super) no_real: u64,
    pub(super) no_tunnel: u64,
    pub(super) ttl_ended: u64,
    pub(super) fragments: u64,
    pub(super) too_long: u64,
}

/// `struct usage`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WireUsage {
    pub(super) connections: u64,
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

// SAFETY: plain integers and arrays of them in C layout, without padding that has no name, valid for any bytes.
unsafe impl Pod for WireNetwork {}
// SAFETY: as above.
unsafe impl Pod for WireEndpoint {}
// SAFETY: as above.
unsafe impl Pod for WireService {}
// SAFETY: as above.
unsafe impl Pod for WireReal {}
// SAFETY: as above.
unsafe impl Pod for WireAnswer {}
// SAFETY: as above.
unsafe impl Pod for WireFlowKey {}
// SAFETY: as above.
unsafe impl Pod for WireFlow {}
// SAFETY: as above.
unsafe impl Pod for WireCounters {}
// SAFETY: as above.
unsafe impl Pod for WireUsage {}
