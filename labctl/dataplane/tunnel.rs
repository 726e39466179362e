//! Opens tunnels on a real server of VS/TUN: what comes in IPv4-in-IPv4 or IPv6-in-IPv6 goes on as if it had come without,
//! where the kernel has no tunnel device for it. It knows nothing of who balances.

use std::fmt;
use std::net::IpAddr;

use aya::maps::{HashMap, MapData};
use aya::programs::TcAttachType;
use aya::programs::links::LinkOrder;
use aya::{Ebpf, EbpfLoader};

use super::layout::{WireAddress, wire_address};
use super::{Error, attach_program, load_error, map, map_error, program};

/// Built from `bpf/tunnel.bpf.c` by `bpf/build.sh`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("bpf/tunnel.bpf.o");

const DECAPSULATE: &str = "decapsulate";
const VIRTUALS: &str = "virtuals";

/// The program on its interface. It leaves it when this is dropped.
pub struct Decapsulation {
    ebpf: Ebpf,
}

impl Decapsulation {
    /// Takes packets to these virtual addresses out of tunnels that end at this machine, on the way in by this interface.
    /// Whatever else is in a tunnel is left to the kernel.
    pub fn attach(interface: &str, virtual_addresses: &[IpAddr]) -> Result<Self, Error> {
        let mut tunnel = Self::load(virtual_addresses)?;
        attach_program(
            &mut tunnel.ebpf,
            DECAPSULATE,
            interface,
            TcAttachType::Ingress,
            LinkOrder::default(),
        )?;
        Ok(tunnel)
    }

    /// Loads program and map without attaching them anywhere.
    fn load(virtual_addresses: &[IpAddr]) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(load_error)?;
        program(&mut ebpf, DECAPSULATE)?.load().map_err(|error| load_error(error.into()))?;
        let mut virtuals: HashMap<MapData, WireAddress, u32> = map(&mut ebpf, VIRTUALS)?;
        for address in virtual_addresses {
            virtuals
                .insert(wire_address(*address), 1, 0)
                .map_err(map_error("put a virtual address", "virtual addresses"))?;
        }
        Ok(Self { ebpf: ebpf })
    }
}

impl fmt::Debug for Decapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decapsulation").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
