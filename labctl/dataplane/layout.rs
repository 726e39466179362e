//! The values in the maps, as bpf/lb.bpf.c lays them out. Addresses and ports are in network order. It knows how a
//! service looks to the kernel, not how it gets there.

use std::net::IpAddr;

use aya::Pod;

use crate::balancer::{Endpoint, REALS_MAX, Real, SLOTS, Schedule, Scheduler, Service};

const PROTOCOL_TCP: u16 = 6;
const ROUND_ROBIN: u32 = 0;
const SOURCE_HASH: u32 = 1;

/// `struct endpoint`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WireEndpoint {
    address: [u8; 4],
    port: [u8; 2],
    protocol: u16,
}

impl WireEndpoint {
    const NONE: Self = Self { address: [0; 4], port: [0; 2], protocol: 0 };
}

impl From<Endpoint> for WireEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        let IpAddr::V4(address) = endpoint.address else {
            unreachable!("IPv6 is refused before it is laid out")
        };
        Self { address: address.octets(), port: endpoint.port.to_be_bytes(), protocol: PROTOCOL_TCP }
    }
}

/// `struct real`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct WireReal {
    service: WireEndpoint,
    takes_new: u32,
}

impl WireReal {
    pub(super) fn new(service: Endpoint, real: &Real) -> Self {
        Self { service: service.into(), takes_new: real.takes_new().into() }
    }
}

/// `struct service`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct WireService {
    scheduler: u32,
    slot_count: u32,
    turn: u32,
    reals: [WireEndpoint; REALS_MAX],
    slots: [u8; SLOTS],
    // The compiler's own padding would be bytes without a value.
    padding: [u8; 3],
}

const _: () = assert!(size_of::<WireService>() == 12 + 8 * REALS_MAX + SLOTS + 3);

impl WireService {
    /// # Panics
    /// If the service has more than [`REALS_MAX`] real servers.
    pub(super) fn new(service: &Service) -> Box<Self> {
        let schedule = Schedule::new(service.scheduler, &service.reals);
        let mut wire = Box::new(Self {
            scheduler: match service.scheduler {
                Scheduler::SourceHash | Scheduler::Maglev => SOURCE_HASH,
                _ => ROUND_ROBIN,
            },
            slot_count: schedule.slots().len() as u32,
            turn: 0,
            reals: [WireEndpoint::NONE; REALS_MAX],
            slots: [0; SLOTS],
            padding: [0; 3],
        });
        for (place, real) in service.reals.iter().enumerate() {
            wire.reals[place] = real.endpoint.into();
        }
        wire.slots[..schedule.slots().len()].copy_from_slice(schedule.slots());
        wire
    }
}

// SAFETY: plain integers and arrays of them in C layout, without padding that has no name, valid for any bytes.
unsafe impl Pod for WireEndpoint {}
// SAFETY: as above.
unsafe impl Pod for WireReal {}
// SAFETY: as above.
unsafe impl Pod for WireService {}
