//! The lease gate: an eBPF program on every link with a floating address, both ways, without whose permit the node neither
//! answers for the address nor passes its traffic. PID 1 of the node attaches it, and the daemon of the election renews the
//! permits; so a daemon that was killed, stopped or starved cannot leave a live address behind. It does not know who
//! ought to hold what.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use aya::programs::TcAttachType;
use aya::programs::links::LinkOrder;
use aya::{Ebpf, EbpfLoader, Pod};

use super::{Error, attach_program, load_error, map_error, program};
use crate::kernel::namespace::NetNs;

/// Built from `bpf/gate.bpf.c` by `bpf/build.sh`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("bpf/gate.bpf.o");

/// The environment variable that holds the number of the inherited map of leases.
pub const LEASES_FD: &str = "LABCTL_LEASES_FD";

const INGRESS: &str = "gate_ingress";
const EGRESS: &str = "gate_egress";
const LEASES: &str = "leases";

/// Until when the kernel lets an address live, by the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Until then the node answers for the address and announces it.
    pub answers_until: Duration,
    /// Until then it takes and sends the packets of the address.
    pub passes_until: Duration,
}

impl Lease {
    /// Dark.
    pub const NONE: Self = Self { answers_until: Duration::ZERO, passes_until: Duration::ZERO };
    /// Without an end.
    pub const FOR_EVER: Self =
        Self { answers_until: Duration::from_nanos(u64::MAX), passes_until: Duration::from_nanos(u64::MAX) };
}

/// A floating address behind the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// The address.
    pub address: IpAddr,
    /// Are packets to it accepted at all (Accept_Mode of RFC 9568 section 6.1)? Neighbour discovery always is.
    pub accept: bool,
    /// What it starts with.
    pub lease: Lease,
}

/// The programs on their links. They leave them when this is dropped.
pub struct Gate {
    ebpf: Ebpf,
    leases: OwnedFd,
}

impl Gate {
    /// Attaches to these links, both ways and before all other programs, with these addresses behind the gate.
    pub fn attach<'a>(links: impl IntoIterator<Item = &'a str>, gated: &[Gated]) -> Result<Self, Error> {
        let mut gate = Self::load(gated)?;
        for link in links {
            for (name, way) in [(INGRESS, TcAttachType::Ingress), (EGRESS, TcAttachType::Egress)] {
                attach_program(&mut gate.ebpf, name, link, way, LinkOrder::first())?;
            }
        }
        Ok(gate)
    }

    /// Tries one out on a link that nobody else has, and says why eBPF is not to be had here.
    pub fn lacks() -> Option<&'static str> {
        // Without a network namespace there is no lab at all, and others say so.
        let namespace = NetNs::create(&[]).ok()?;
        let tried = namespace.enter(|| Self::attach(["lo"], &[])).ok()?;
        tried.err().and_then(|error| error.lack())
    }

    /// The map of leases, for whoever hands it on to a child.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.leases.as_fd()
    }

    /// Loads programs and map without attaching them anywhere.
    fn load(gated: &[Gated]) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(load_error)?;
        for name in [INGRESS, EGRESS] {
            program(&mut ebpf, name)?.load().map_err(|error| load_error(error.into()))?;
        }
        let mut leases = ebpf.take_map(LEASES).ok_or(Error::Missing(LEASES))?;
        let mut entries: HashMap<&mut MapData, Key, WireLease> =
            HashMap::try_from(&mut leases).map_err(map_error("open it", LEASES))?;
        for gated in gated {
            let value = WireLease::new(gated.lease, gated.accept);
            entries
                .insert(key(gated.address), value, 0)
                .map_err(map_error("put a floating address", LEASES))?;
        }
        let Map::HashMap(leases) = leases else { return Err(Error::Missing(LEASES)) };
        let leases = leases.fd().as_fd().try_clone_to_owned().map_err(Error::Descriptor)?;
        Ok(Self { ebpf, leases })
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// The map of leases in the hands of the daemon that renews them.
pub struct Leases {
    entries: HashMap<MapData, Key, WireLease>,
    /// Accept_Mode is for PID 1 to decide; each renewal repeats what it said.
    accepts: BTreeMap<IpAddr, bool>,
}

impl Leases {
    /// The map that PID 1 of the node left this process; none where the addresses are not leased, or in a role run by hand.
    pub fn from_env() -> Result<Option<Self>, Error> {
        let fd = std::env::var(LEASES_FD).ok().and_then(|text| text.parse::<RawFd>().ok());
        // SAFETY: PID 1 of the node sets the variable to a descriptor that it left open for this process alone.
        fd.map(|fd| Self::open(unsafe { OwnedFd::from_raw_fd(fd) })).transpose()
    }

    /// The map behind a descriptor.
    pub fn open(fd: OwnedFd) -> Result<Self, Error> {
        let data = MapData::from_fd(fd).map_err(map_error("open it", LEASES))?;
        let data = Map::from_map_data(data).map_err(map_error("open it", LEASES))?;
        let entries: HashMap<MapData, Key, WireLease> =
            HashMap::try_from(data).map_err(map_error("open it", LEASES))?;
        let mut accepts = BTreeMap::new();
        for entry in entries.iter() {
            let (key, value) = entry.map_err(map_error("read", LEASES))?;
            accepts.insert(std::net::Ipv6Addr::from(key).to_canonical(), value.accept != 0);
        }
        Ok(Self { entries, accepts })
    }

    /// Lets an address live until then, from now on.
    pub fn set(&mut self, address: IpAddr, lease: Lease) -> Result<(), Error> {
        let accept = *self.accepts.get(&address).ok_or(Error::NotGated(address))?;
        self.entries
            .insert(key(address), WireLease::new(lease, accept), 0)
            .map_err(map_error("renew a lease", LEASES))
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("accepts", &self.accepts).finish_non_exhaustive()
    }
}

/// `struct address`.
type Key = [u8; 16];

/// `struct lease`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct WireLease {
    answers_until: u64,
    passes_until: u64,
    accept: u32,
    unused: u32,
}

impl WireLease {
    fn new(lease: Lease, accept: bool) -> Self {
        let nanoseconds = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        Self {
            answers_until: nanoseconds(lease.answers_until),
            passes_until: nanoseconds(lease.passes_until),
            accept: accept.into(),
            unused: 0,
        }
    }
}

// SAFETY: plain integers in C layout, without padding that has no name, valid for any bytes.
unsafe impl Pod for WireLease {}

fn key(address: IpAddr) -> Key {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests;
