//! Balancing: services, health, schedulers, and forwarding as an executable specification. Pure, and imports nothing
//! of ours.

pub mod forward;
mod health;
mod schedule;
mod slow_start;
pub mod sync;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use health::{Check, Health, Standing, Thresholds, Transition, availability};
pub use schedule::{Candidate, Schedule, TURNS_MAX, client_hash, source_hash};
pub use slow_start::{STEPS, SlowStart};
pub use table::{SLOTS, maglev};

/// Most real servers of one service; a slot of the Maglev table names one in a byte.
pub const REALS_MAX: usize = 256;
/// Most virtual services; far beyond any site, and small enough that every service can have [`REALS_MAX`] reals.
pub const SERVICES_MAX: usize = 64;

/// What runs over IP between clients and a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// A port of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The host.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Whose port.
    pub protocol: Protocol,
}

impl Endpoint {
    /// A TCP port.
    pub fn tcp(address: impl Into<IpAddr>, port: u16) -> Self {
        Self { address: address.into(), port, protocol: Protocol::Tcp }
    }

    /// A UDP port.
    pub fn udp(address: impl Into<IpAddr>, port: u16) -> Self {
        Self { address: address.into(), port, protocol: Protocol::Udp }
    }
}

/// `10.10.1.21:80`, `[2001:db8::1]:80`, and `udp 10.10.1.21:53`, since most ports are of TCP.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol == Protocol::Udp {
            f.write_str("udp ")?;
        }
        SocketAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}

/// How a packet gets from the director to a real server (Zhang, "Linux Virtual Server for Scalable Network Services", 2000,
/// section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// VS/NAT: the destination is rewritten, answers return through the director.
    Nat,
    /// VS/TUN: the packet travels inside another one (RFC 2003, RFC 2473), answers go straight to the client.
    Tun,
    /// VS/DR: only the hardware address changes, answers go straight to the client.
    Dr,
}

/// Who gets the next new connection. The words are those of `ipvsadm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// `rr`: in turn; a weight only says whether a server takes part.
    RoundRobin,
    /// `wrr`: in turn, by weight.
    WeightedRoundRobin,
    /// `lc`: the fewest connections.
    LeastConnections,
    /// `wlc`: the fewest connections for its weight.
    WeightedLeastConnections,
    /// `sed`: the fewest connections for its weight, the new one counted.
    ShortestExpectedDelay,
    /// `nq`: whoever is idle, else as `sed`.
    NeverQueue,
    /// `sh`: by the client's address, so that every director with the same reals chooses alike, and a client stays with its
    /// server.
    SourceHash,
    /// `mh`: by the client's address and port (in IPVS `mh` with `mh-port`), so that every director chooses alike, and the
    /// connections of one client are spread.
    Maglev,
}

/// One real server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Real {
    /// Its name: what the Maglev table is made from, so it must be the same on every director.
    pub name: String,
    /// Where it listens. In `tun` and `dr` its port is that of the service, because nothing rewrites it.
    pub endpoint: Endpoint,
    /// Relative share of new connections; 0 drains.
    pub weight: u32,
    /// Whether its health allows new connections.
    pub available: bool,
}

impl Real {
    /// Whether it gets new connections.
    pub fn takes_new(&self) -> bool {
        self.available && self.weight > 0
    }
}

/// A virtual service and its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What clients connect to.
    pub address: Endpoint,
    /// How packets get to the real servers.
    pub method: Method,
    /// Who gets the next new connection.
    pub scheduler: Scheduler,
    /// Those who serve it, available or not.
    pub reals: Vec<Real>,
}

/// A connection and whom it was given to: what one director tells another, so that it can go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Who connected.
    pub client: SocketAddr,
    /// To what.
    pub service: Endpoint,
    /// Who serves it.
    pub real: Endpoint,
}

/// What one real server of one service had to do, as the director sees it: in `tun` and `dr` no answers pass it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections given to it since it was installed.
    pub connections: u64,
    /// Connections that it has now.
    pub active: u64,
    /// Packets to it.
    pub packets_in: u64,
    /// Packets from it.
    pub packets_out: u64,
    /// Bytes to it, IP headers and what they carry.
    pub bytes_in: u64,
    /// Bytes from it.
    pub bytes_out: u64,
}

/// Why services cannot be balanced together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A real server is in a service once, and answers of its port go back by one virtual address only, where addresses are
    /// translated.
    #[error("{real} serves both {first} and {second}; a real server's port can have one virtual service")]
    SharedReal {
        /// The port that is claimed twice.
        real: Endpoint,
        /// One service.
        first: Endpoint,
        /// The other, or the same one again.
        second: Endpoint,
    },
    /// Two services on one address and port.
    #[error("{0} is two services at once")]
    SharedAddress(Endpoint),
    /// A director passes packets on, it does not translate between families or protocols.
    #[error("{real} cannot serve {service}: both must be of one family and one protocol")]
    NotAlike {
        /// Who cannot.
        real: Endpoint,
        /// What.
        service: Endpoint,
    },
    /// Packets arrive in `tun` and `dr` as clients sent them.
    #[error("{real} cannot serve {service}: without address translation both must have the same port")]
    OtherPort {
        /// Who cannot.
        real: Endpoint,
        /// What.
        service: Endpoint,
    },
    /// More than fit into the data plane.
    #[error("{found} {what}, where at most {max} fit")]
    TooMany {
        /// `services` or `real servers`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
}

/// Checks that services can be balanced together.
pub fn check_together(services: &[Service]) -> Result<(), Conflict> {
    let at_most = |what, found, max| match found > max {
        true => Err(Conflict::TooMany { what, found, max }),
        false => Ok(()),
    };
    at_most("services", services.len(), SERVICES_MAX)?;
    let mut addresses = BTreeSet::new();
    let mut translated = BTreeMap::new();
    for service in services {
        at_most("real servers", service.reals.len(), REALS_MAX)?;
        if !addresses.insert(service.address) {
            return Err(Conflict::SharedAddress(service.address));
        }
        let mut reals = BTreeSet::new();
        for real in service.reals.iter().map(|real| real.endpoint) {
            let service_has = |first| Err(Conflict::SharedReal { real, first, second: service.address });
            if !reals.insert(real) {
                return service_has(service.address);
            }
            if service.method == Method::Nat
                && let Some(first) = translated.insert(real, service.address)
            {
                return service_has(first);
            }
            alike(service, real)?;
        }
    }
    Ok(())
}

fn alike(service: &Service, real: Endpoint) -> Result<(), Conflict> {
    let address = service.address;
    if address.address.is_ipv4() != real.address.is_ipv4() || address.protocol != real.protocol {
        return Err(Conflict::NotAlike { real, service: address });
    }
    match service.method {
        Method::Tun | Method::Dr if real.port != address.port => {
            Err(Conflict::OtherPort { real, service: address })
        }
        Method::Nat | Method::Tun | Method::Dr => Ok(()),
    }
}
