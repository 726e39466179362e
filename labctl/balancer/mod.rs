//! Balancing: services, health, schedulers, and forwarding as an executable specification. Pure, and imports nothing
//! of ours.

pub mod forward;
mod health;
mod schedule;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

pub use health::{Check, Health, Standing, Thresholds, Transition, availability};
pub use schedule::{Schedule, TURNS_MAX, source_hash};
pub use table::{SLOTS, maglev};

/// Most real servers of one service; a slot of the Maglev table names one in a byte.
pub const REALS_MAX: usize = 256;
/// Most virtual services; far beyond any site, and small enough that every service can have [`REALS_MAX`] reals.
pub const SERVICES_MAX: usize = 64;

/// A TCP port of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The host.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Endpoint> for SocketAddrV4 {
    fn from(endpoint: Endpoint) -> Self {
        SocketAddrV4::new(endpoint.address, endpoint.port)
    }
}

/// Who gets the next new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// In turn, by weight.
    RoundRobin,
    /// By the client's address, so that every director with the same reals chooses alike.
    SourceHash,
}

/// One real server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Real {
    /// Its name: what the Maglev table is made from, so it must be the same on every director.
    pub name: String,
    /// Where it listens.
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
    /// Who gets the next new connection.
    pub scheduler: Scheduler,
    /// Those who serve it, available or not.
    pub reals: Vec<Real>,
}

/// Why services cannot be balanced together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Answers of a real server's port go back by one virtual address only.
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
    let mut addresses = BTreeMap::new();
    let mut owners = BTreeMap::new();
    for service in services {
        at_most("real servers", service.reals.len(), REALS_MAX)?;
        if addresses.insert(service.address, ()).is_some() {
            return Err(Conflict::SharedAddress(service.address));
        }
        for real in &service.reals {
            if let Some(first) = owners.insert(real.endpoint, service.address) {
                return Err(Conflict::SharedReal { real: real.endpoint, first, second: service.address });
            }
        }
    }
    Ok(())
}
