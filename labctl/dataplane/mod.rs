//! The balancer's data plane: what a [`Plane`] does for the daemon, whichever backend it has. [`ebpf`] programs the
//! kernel's tcx hooks, [`tunnel`] opens tunnels on real servers, [`gate`] holds leases on floating addresses. All of them
//! do as they are told and know nothing of health, sites or elections. Nothing is pinned: the kernel forgets it all when
//! the process ends, so a daemon that was killed does not leave a balancer behind.

pub mod ebpf;
pub mod gate;
mod layout;
pub mod nft;
mod plane;
mod registry;
pub mod tunnel;

use std::fmt;
use std::io;
use std::net::IpAddr;

use aya::maps::{Array, Map, MapData, MapError};
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfError};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use crate::balancer::Conflict;
pub use plane::{Backend, FLOWS_MAX, MTU, Plane, Settings, Stats};

/// Why the data plane cannot do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This process may not.
    #[error("run eBPF programs: needs CAP_BPF and CAP_NET_ADMIN in the initial user namespace")]
    NotPermitted,
    /// The kernel cannot.
    #[error("run eBPF programs: this kernel has no bpf system call")]
    NoEbpf,
    /// The kernel is too old.
    #[error("attach to {interface}: this kernel has no tcx, which came with Linux 6.6")]
    NoTcx {
        /// The interface.
        interface: String,
    },
    /// There is no such interface here.
    #[error("find the interface {name}")]
    Interface {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// The kernel did not take the programs or maps.
    #[error("load an eBPF object")]
    Load(#[source] Box<EbpfError>),
    /// The object is not the one this code was written for.
    #[error("find {0} in the eBPF object")]
    Missing(&'static str),
    /// The kernel did not attach a program.
    #[error("attach {program} to {interface}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        interface: String,
        /// Why not.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map cannot be handed on.
    #[error("hold on to a map")]
    Descriptor(#[source] io::Error),
    /// The gate knows nothing of this address.
    #[error("lease {0}: the gate was not told of it")]
    NotGated(IpAddr),
    /// The services exclude each other.
    #[error("install the services")]
    Conflict(#[from] Conflict),
    /// Something else than packets of the kernel is directed, and that failed.
    #[error("direct connections by {backend}")]
    Director {
        /// How.
        backend: plane::Backend,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A packet of the least size that IPv6 knows must get through, in a tunnel as well.
    #[error("forward by {interface}: its MTU of {mtu} is below {least}")]
    SmallMtu {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u16,
        /// What it must be at least.
        least: u16,
    },
    /// The programs compare with so many networks, and not with more.
    #[error("share {found} networks with the real servers, where at most {max} fit")]
    TooManyNetworks {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// A map was not read or written.
    #[error("{act} in the map of {map}")]
    Map {
        /// What was tried.
        act: &'static str,
        /// The map.
        map: &'static str,
        /// Why not.
        #[source]
        source: Box<MapError>,
    },
}

impl Error {
    /// Is it eBPF that is not to be had here, so that another backend may be tried?
    pub fn lacks_ebpf(&self) -> bool {
        self.lack().is_some()
    }

    /// Why eBPF is not to be had here, if that is it.
    pub fn lack(&self) -> Option<&'static str> {
        match self {
            Self::NotPermitted => Some("this process may not load one"),
            Self::NoEbpf => Some("this kernel has no bpf system call"),
            Self::NoTcx { .. } => Some("this kernel has no tcx, which came with Linux 6.6"),
            _ => None,
        }
    }
}

/// Turns a data plane on and off. Apart from it, because this is a matter of microseconds that a change of services must
/// not hold up.
pub struct Switch {
    active: Array<MapData, u32>,
}

impl Switch {
    /// Balances from now on, or leaves every packet to the kernel.
    pub fn set(&mut self, active: bool) -> Result<(), Error> {
        self.active.set(0, u32::from(active), 0).map_err(map_error("set the flag", "the active node"))
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").finish_non_exhaustive()
    }
}

fn index_of(name: &str) -> Result<u32, Error> {
    if_nametoindex(name).map_err(|source| Error::Interface { name: name.to_owned(), source })
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, Error> {
    let program = ebpf.program_mut(name).ok_or(Error::Missing(name))?;
    program.try_into().map_err(|_| Error::Missing(name))
}

fn attach_program(
    ebpf: &mut Ebpf,
    name: &'static str,
    interface: &str,
    way: TcAttachType,
    order: LinkOrder,
) -> Result<(), Error> {
    let options = TcAttachOptions::TcxOrder(order);
    let attached = program(ebpf, name)?.attach_with_options(interface, way, options);
    attached.map(drop).map_err(|error| match errno(&error) {
        // A kernel that does not know the attach type says that the argument is invalid.
        Some(Errno::EINVAL) => Error::NoTcx { interface: interface.to_owned() },
        Some(Errno::EPERM) => Error::NotPermitted,
        _ => Error::Attach { program: name, interface: interface.to_owned(), source: Box::new(error) },
    })
}

fn map<M: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, Error> {
    let map = ebpf.take_map(name).ok_or(Error::Missing(name))?;
    M::try_from(map).map_err(|_| Error::Missing(name))
}

fn map_error(act: &'static str, map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |source| Error::Map { act, map, source: Box::new(source) }
}

fn load_error(error: EbpfError) -> Error {
    match errno(&error) {
        Some(Errno::EPERM | Errno::EACCES) => Error::NotPermitted,
        Some(Errno::ENOSYS) => Error::NoEbpf,
        _ => Error::Load(Box::new(error)),
    }
}

/// The kernel's own word at the bottom of an error.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(Errno::from_raw(code));
        }
        cause = error.source();
    }
    None
}
