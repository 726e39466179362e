//! One virtual service as all workers see it: who answers its requests now, and what each real server had to do. It knows no
//! connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

use super::line::Meter;
use crate::balancer::layer7::{Asked, Choice, Guide, Layer7, Rule, Unusable};
use crate::balancer::{Endpoint, Method, Scheduler, Service, Usage};
use crate::topology::{self, VirtualService};

/// One virtual service.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) name: String,
    pub(super) address: Endpoint,
    layer7: Layer7,
    /// Whose turn it is, by rule.
    turns: Box<[AtomicU32]>,
    table: RwLock<Arc<Table>>,
}

/// Who answers until something about the real servers changes.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) guide: Guide,
    /// In the order of the guide.
    pub(super) reals: Vec<Arc<Real>>,
}

/// A real server, for as long as the service has it.
#[derive(Debug)]
pub(super) struct Real {
    pub(super) endpoint: Endpoint,
    /// Requests that wait for an answer or the rest of one.
    load: AtomicU64,
    requests: AtomicU64,
    pub(super) meter: Arc<Meter>,
    /// Tells those who wait for an answer that it is no longer available.
    pub(super) gone: Notify,
}

/// A request that a real server is busy with, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Real>);

impl Desk {
    /// The desk of a virtual service, at which nobody answers yet.
    pub(super) fn new(wanted: &VirtualService) -> Result<Self, Unusable> {
        let layer7 = layer7(wanted)?;
        let closed = Service {
            address: Endpoint::tcp(wanted.address, wanted.port),
            method: Method::Nat,
            scheduler: Scheduler::RoundRobin,
            reals: vec![],
        };
        let guide = Guide::new(&closed, &layer7)?;
        Ok(Self {
            name: wanted.name.to_string(),
            address: closed.address,
            turns: (0..guide.turns()).map(|_| AtomicU32::default()).collect(),
            table: RwLock::new(Arc::new(Table { guide, reals: vec![] })),
            layer7,
        })
    }

    /// Changes who answers. Requests that wait for somebody who is no longer available are told.
    pub(super) fn install(&self, service: &Service) -> Result<(), Unusable> {
        let guide = Guide::new(service, &self.layer7)?;
        let before = self.table();
        let known: BTreeMap<Endpoint, &Arc<Real>> =
            before.reals.iter().map(|real| (real.endpoint, real)).collect();
        let same = |endpoint| known.get(&endpoint).map(|real| Arc::clone(real));
        let reals =
            guide.reals().iter().map(|real| same(real.endpoint).unwrap_or_else(|| Real::new(real.endpoint)));
        let reals: Vec<Arc<Real>> = reals.collect();
        let stays = |endpoint| guide.reals().iter().any(|real| real.endpoint == endpoint && real.available);
        let gone: Vec<Arc<Real>> =
            before.reals.iter().filter(|real| !stays(real.endpoint)).cloned().collect();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Table { guide, reals });
        gone.iter().for_each(|real| real.gone.notify_waiters());
        Ok(())
    }

    /// Who answers now.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who is to answer a request.
    pub(super) fn choose(&self, table: &Table, asked: &Asked, tried: &[usize]) -> Option<Choice> {
        // A second attempt takes nobody's turn: it goes on from the first.
        let turn = |of: usize| match tried.is_empty() {
            true => self.turns[of].fetch_add(1, Ordering::Relaxed),
            false => self.turns[of].load(Ordering::Relaxed).wrapping_sub(1),
        };
        table.guide.choose(asked, turn, |at| table.reals[at].load.load(Ordering::Relaxed), tried)
    }

    /// What each real server had to do: requests for connections, bytes of TCP's payload, and no packets, which the kernel
    /// makes of them.
    pub(super) fn usage(&self) -> BTreeMap<(Endpoint, Endpoint), Usage> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let table = self.table();
        let of = |real: &Arc<Real>| Usage {
            connections: count(&real.requests),
            active: count(&real.load),
            bytes_in: count(&real.meter.written),
            bytes_out: count(&real.meter.read),
            ..Usage::default()
        };
        table.reals.iter().map(|real| ((self.address, real.endpoint), of(real))).collect()
    }
}

impl Real {
    fn new(endpoint: Endpoint) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            load: AtomicU64::default(),
            requests: AtomicU64::default(),
            meter: Arc::default(),
            gone: Notify::new(),
        })
    }

    /// Counts a request.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Busy {
    /// Whose connections are used for it.
    pub(super) fn to(&self) -> SocketAddr {
        self.0.endpoint.into()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the topology says of a service's requests.
fn layer7(wanted: &VirtualService) -> Result<Layer7, Unusable> {
    let rule = |rule: &topology::Rule| {
        let header = rule.header.as_ref().map(|(name, value)| Rule::header(name, value)).transpose()?;
        let (host, path, cookie) = (rule.host.clone(), rule.path.clone(), rule.cookie.clone());
        Ok(Rule { host, path, header, cookie, reals: rule.reals.iter().map(ToString::to_string).collect() })
    };
    let rules = wanted.layer7.rules.iter().map(rule).collect::<Result<_, _>>()?;
    Ok(Layer7 { sticky: wanted.layer7.sticky.clone(), rules })
}
