//! The balancer's data plane in the kernel: loads `bpf/lb.bpf.o`, attaches it to two interfaces and keeps its maps. It
//! does as it is told and knows nothing of health, sites or elections. Nothing is pinned: the kernel forgets it all
//! when this process ends, so a daemon that was killed does not leave a balancer behind. [`gate`] does the same for
//! leases on floating addresses.

pub mod gate;
mod layout;
pub mod plane;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;

use aya::maps::{Array, HashMap, HashOfMaps, Map, MapData, MapError, PerCpuArray};
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfError, EbpfLoader};
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use crate::balancer::{Conflict, Endpoint, Service, check_together};
use layout::{WireEndpoint, WireReal, WireService};

/// Built from `bpf/lb.bpf.c` by `bpf/build.sh`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("bpf/lb.bpf.o");

const TO_REAL: &str = "to_real";
const TO_CLIENT: &str = "to_client";

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

/// What the programs counted since they were attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets rewritten on their way to a real server.
    pub to_real: u64,
    /// Packets rewritten on their way back.
    pub to_client: u64,
    /// Connections that began.
    pub new_flows: u64,
    /// Packets of connections that the flow table knew.
    pub kept_flows: u64,
    /// Packets of connections that it did not know and that were not new: begun with another director, or forgotten.
    pub missed_flows: u64,
    /// Packets that found no real server, and went to the kernel.
    pub no_real: u64,
    /// Packets on their last hop, left to the kernel.
    pub ttl_ended: u64,
}

/// The programs on their interfaces. They leave them when this is dropped.
pub struct Dataplane {
    ebpf: Ebpf,
    services: HashOfMaps<MapData, WireEndpoint, Array<MapData, WireService>>,
    reals: HashMap<MapData, WireEndpoint, WireReal>,
    counters: PerCpuArray<MapData, u64>,
    installed: BTreeMap<Endpoint, Service>,
    /// Services whose last change did not come to its end: the maps may hold some of it.
    in_doubt: BTreeSet<Endpoint>,
}

impl Dataplane {
    /// Attaches to the interface that clients come in by and the one that real servers answer on. `inside` is the
    /// network of the latter: what stays in it is never rewritten. Switched off, and without services.
    pub fn attach(front: &str, back: &str, inside: Ipv4Net) -> Result<(Self, Switch), Error> {
        let (mut plane, switch) = Self::load(index_of(front)?, index_of(back)?, inside)?;
        for (name, interface) in [(TO_REAL, front), (TO_CLIENT, back)] {
            let way = TcAttachType::Ingress;
            attach_program(&mut plane.ebpf, name, interface, way, LinkOrder::default())?;
        }
        Ok((plane, switch))
    }

    /// Balances these services from now on, and no others. Each service changes at once as a whole; connections keep
    /// their real servers. It returns when no packet sees the old services any more, which takes the kernel some
    /// 10 ms for each service that changed. After an error the old services go on, but for what was changed before it; the
    /// next call puts that right.
    pub fn install(&mut self, services: &[Service]) -> Result<(), Error> {
        check_together(services)?;
        let wanted: BTreeMap<Endpoint, Service> =
            services.iter().map(|service| (service.address, service.clone())).collect();
        // Reals before the services that name them, and the other way round at the end: no slot is ever without.
        let changed: Vec<&Service> = wanted
            .values()
            .filter(|service| {
                let address = &service.address;
                self.in_doubt.contains(address) || self.installed.get(address) != Some(*service)
            })
            .collect();
        self.in_doubt.extend(changed.iter().map(|service| service.address));
        for service in &changed {
            for real in &service.reals {
                let claim = WireReal::new(service.address, real);
                self.reals
                    .insert(WireEndpoint::from(real.endpoint), claim, 0)
                    .map_err(map_error("put a real server", "real servers"))?;
            }
        }
        for service in &changed {
            let mut value = Array::<_, WireService>::create(1, 0)
                .map_err(map_error("make room for a service", "services"))?;
            value.set(0, *WireService::new(service), 0).map_err(map_error("fill a service", "services"))?;
            self.services
                .insert(WireEndpoint::from(service.address), &value, 0)
                .map_err(map_error("put a service", "services"))?;
        }
        self.forget_all_but(&wanted)?;
        self.installed = wanted;
        self.in_doubt.clear();
        Ok(())
    }

    /// What was counted so far.
    pub fn stats(&self) -> Result<Stats, Error> {
        let count = |index: u32| -> Result<u64, Error> {
            let values = self.counters.get(&index, 0).map_err(map_error("read a counter", "counters"))?;
            Ok(values.iter().sum())
        };
        Ok(Stats {
            to_real: count(0)?,
            to_client: count(1)?,
            new_flows: count(2)?,
            kept_flows: count(3)?,
            missed_flows: count(4)?,
            no_real: count(5)?,
            ttl_ended: count(6)?,
        })
    }

    /// Loads programs and maps without attaching them anywhere.
    fn load(front: u32, back: u32, inside: Ipv4Net) -> Result<(Self, Switch), Error> {
        let (network, mask) = (inside.network().octets(), inside.netmask().octets());
        let mut ebpf = EbpfLoader::new()
            .override_global("front_index", &front, true)
            .override_global("back_index", &back, true)
            .override_global("inside_network", &network, true)
            .override_global("inside_mask", &mask, true)
            .load(OBJECT)
            .map_err(load_error)?;
        for name in [TO_REAL, TO_CLIENT] {
            let program = program(&mut ebpf, name)?;
            program.load().map_err(|error| load_error(error.into()))?;
        }
        let switch = Switch { active: map(&mut ebpf, "active")? };
        let plane = Self {
            services: map(&mut ebpf, "services")?,
            reals: map(&mut ebpf, "reals")?,
            counters: map(&mut ebpf, "counters")?,
            installed: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
            ebpf,
        };
        Ok((plane, switch))
    }

    fn forget_all_but(&mut self, wanted: &BTreeMap<Endpoint, Service>) -> Result<(), Error> {
        let in_use: Vec<Endpoint> =
            wanted.values().flat_map(|service| &service.reals).map(|real| real.endpoint).collect();
        for (address, service) in &self.installed {
            if !wanted.contains_key(address) {
                self.services
                    .remove(&WireEndpoint::from(*address))
                    .map_err(map_error("remove a service", "services"))?;
            }
            for real in service.reals.iter().filter(|real| !in_use.contains(&real.endpoint)) {
                self.reals
                    .remove(&WireEndpoint::from(real.endpoint))
                    .map_err(map_error("remove a real server", "real servers"))?;
            }
        }
        Ok(())
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

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane").field("installed", &self.installed).finish_non_exhaustive()
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

#[cfg(test)]
mod tests;
