//! The layer-7 director: an HTTP/1.1 reverse proxy that listens on the virtual addresses, and asks a real server for each
//! request. It is told who is available and whether this machine has the addresses; it checks neither.

mod body;
mod desk;
mod exchange;
mod head;
mod line;
mod pool;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::balancer::layer7::Unusable;
use crate::balancer::{Endpoint, Flow, Service, Usage};
use crate::dataplane::{self, Backend, Plane, Stats};
use crate::topology::{Protocol, ServiceName, VirtualService};
use desk::Desk;
use worker::{Duty, VISITORS_MAX};

/// More threads than this only get in each other's way on the machines that labs run on.
const WORKERS_MAX: usize = 8;
/// Descriptors of a visitor: its own connection and that to a real server.
const DESCRIPTORS: usize = 2;
/// Descriptors of everything else.
const SPARE_DESCRIPTORS: usize = 256;

/// Why requests are not passed on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no requests in UDP.
    #[error(
        "{0} is a UDP service, and `forward: proxy` understands HTTP alone: forward it by nat, tun or dr"
    )]
    Udp(ServiceName),
    /// Requests cannot be told apart like that.
    #[error("tell apart the requests of {service}")]
    Unusable {
        /// The virtual service.
        service: String,
        /// Why not.
        #[source]
        source: Unusable,
    },
    /// Somebody else listens there.
    #[error("listen on {address}")]
    Listen {
        /// The virtual address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No more threads.
    #[error("start a worker of the proxy")]
    Start(#[source] io::Error),
}

/// The proxy. It ends, after the exchanges under way, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    desks: Vec<Arc<Desk>>,
    duty: watch::Sender<Duty>,
    workers: Vec<JoinHandle<()>>,
}

/// Lets visitors in, or does not.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<Duty>);

impl Gate {
    /// To be open exactly while this machine has the virtual addresses. Visits end when it closes, without a farewell: there is
    /// no address any more that it could come from.
    pub fn set(&self, open: bool) {
        self.0.send_replace(if open { Duty::Serve } else { Duty::Wait });
    }
}

impl Proxy {
    /// A proxy for these services, at which nobody is let in yet.
    pub fn open(services: &[VirtualService]) -> Result<Self, Error> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        make_room(workers * services.len() * VISITORS_MAX * DESCRIPTORS + SPARE_DESCRIPTORS);
        let mut desks = Vec::with_capacity(services.len());
        for wanted in services {
            if wanted.protocol == Protocol::Udp {
                return Err(Error::Udp(wanted.name.clone()));
            }
            let unusable = |source| Error::Unusable { service: wanted.name.to_string(), source };
            desks.push(Arc::new(Desk::new(wanted).map_err(unusable)?));
        }
        let mut proxy = Self { desks, duty: watch::Sender::new(Duty::Wait), workers: Vec::new() };
        for _ in 0..workers {
            let worker = proxy.hire()?;
            proxy.workers.push(worker);
        }
        Ok(proxy)
    }

    /// One more worker at all desks.
    fn hire(&self) -> Result<JoinHandle<()>, Error> {
        let entrance = |desk: &Arc<Desk>| {
            let address = desk.address.into();
            let listener = worker::listen(address).map_err(|source| Error::Listen { address, source })?;
            Ok((desk.clone(), listener))
        };
        let entrances = self.desks.iter().map(entrance).collect::<Result<Vec<_>, Error>>()?;
        let duty = self.duty.subscribe();
        let work = move || {
            if let Err(error) = worker::run(entrances, &duty) {
                tracing::error!("a worker of the proxy cannot work: {error}");
            }
        };
        std::thread::Builder::new().name("proxy".to_owned()).spawn(work).map_err(Error::Start)
    }

    /// Who answers from now on. Exchanges under way stay with their real servers, but for those that wait for an answer from
    /// one that is no longer available and may be repeated with another.
    pub fn install(&self, services: &[Service]) -> Result<(), Error> {
        for desk in &self.desks {
            if let Some(service) = services.iter().find(|service| service.address == desk.address) {
                let unusable = |source| Error::Unusable { service: desk.name.clone(), source };
                desk.install(service).map_err(unusable)?;
            }
        }
        Ok(())
    }

    /// What lets visitors in.
    pub fn gate(&self) -> Gate {
        Gate(self.duty.clone())
    }

    /// What the real servers of each service had to do. A request counts as a connection.
    pub fn usage(&self) -> BTreeMap<(Endpoint, Endpoint), Usage> {
        self.desks.iter().flat_map(|desk| desk.usage()).collect()
    }
}

/// To the daemon it is one more way to give connections to real servers. A connection ends here, so there is none that another
/// director could go on with.
impl Plane for Proxy {
    fn install(&mut self, services: &[Service]) -> Result<(), dataplane::Error> {
        Self::install(self, services)
            .map_err(|error| dataplane::Error::Director { backend: Backend::Http, source: error.into() })
    }

    fn stats(&self) -> Result<Stats, dataplane::Error> {
        let opened = Self::usage(self).values().map(|usage| usage.connections).sum();
        Ok(Stats { opened, ..Stats::default() })
    }

    fn usage(&self) -> Result<BTreeMap<(Endpoint, Endpoint), Usage>, dataplane::Error> {
        Ok(Self::usage(self))
    }

    fn flows(&self) -> Result<Vec<Flow>, dataplane::Error> {
        Ok(Vec::new())
    }

    fn adopt(&mut self, _: &[Flow]) -> Result<usize, dataplane::Error> {
        Ok(0)
    }

    fn fresh(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn fresh_flows(&mut self) -> Result<Vec<Flow>, dataplane::Error> {
        Ok(Vec::new())
    }

    fn recount(&mut self) -> Result<u64, dataplane::Error> {
        Ok(Self::usage(self).values().map(|usage| usage.active).sum())
    }

    fn backend(&self) -> Backend {
        Backend::Http
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.duty.send_replace(Duty::Stop);
        for worker in self.workers.drain(..) {
            // It has said itself what was wrong, if anything was.
            let _ = worker.join();
        }
    }
}

/// Raises the limit of open descriptors as far as is of use and allowed. With fewer the proxy serves fewer visitors at once.
fn make_room(descriptors: usize) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = (descriptors as u64).min(hard).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(errno) = raised {
        tracing::warn!("the limit of open descriptors stays: {errno}");
    }
}

#[cfg(test)]
mod tests;
