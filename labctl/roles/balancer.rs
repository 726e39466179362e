//! The balancer of a proxy: asks the real servers whether they are well, keeps the data plane's tables, and balances
//! exactly while this node has the virtual address. It knows nothing of the election: it watches the kernel's
//! addresses, so any VRRP daemon will do.
#![expect(clippy::disallowed_methods, reason = "owns the clock of the health checks")]

pub mod account;
mod check;
mod tables;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::inquiry::{self, Desk};
use super::{Reporter, Site, described, stop};
use crate::balancer::{
    self, Check, Endpoint, Health, Method, Real, Service, Standing, Thresholds, Transition, availability,
};
use crate::dataplane::ebpf::EbpfPlane;
use crate::dataplane::{self, Switch};
use crate::report::What;
use crate::topology::{self, NetworkName, Probe, Scheduler, VirtualService};
use account::{Account, RealAccount, ServiceAccount};
use check::Prober;
use tables::{Failed, Tables};
use watch::Addresses;

/// Outcomes that wait for the loop. Each real server has at most one check in flight, so a full channel only makes
/// checks wait for their turn.
const OUTCOMES_MAX: usize = 256;
/// The loop wakes at least this often, so that a lost wake-up is a delay and not an end.
const NAP_MAX: Duration = Duration::from_secs(60);

/// Where the balancer says how it is: an [`Account`].
pub const SOCKET_PATH: &str = "/run/labctl/balancer.sock";

/// Why this node cannot balance.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The site has no virtual services, or nobody to serve them.
    #[error("the site has no virtual service with a real server to balance")]
    NothingToBalance,
    /// The services need more than one interface on one side.
    #[error("{node} has no single interface whose network has {whose}")]
    NoInterface {
        /// This node.
        node: String,
        /// `all virtual services` or `all real servers`.
        whose: &'static str,
    },
    /// There is no address to ask real servers from.
    #[error("{node} has no address of its own on {network}, from which it could check real servers")]
    NoAddress {
        /// This node.
        node: String,
        /// The network of the real servers.
        network: NetworkName,
    },
    /// The event loop cannot start.
    #[error("start the balancer's event loop")]
    Runtime(#[source] io::Error),
    /// HTTP checks cannot be made.
    #[error("prepare HTTP health checks")]
    Http(#[source] reqwest::Error),
    /// The kernel's addresses cannot be watched.
    #[error("watch the addresses of this node")]
    Watch(#[from] watch::Error),
    /// Nobody can ask it how it is.
    #[error("listen on {SOCKET_PATH}")]
    Listen(#[source] io::Error),
    /// The kernel does not balance.
    #[error("balance in the kernel")]
    Dataplane(#[from] dataplane::Error),
}

/// Balances until it is asked to stop. Returns an error only if it cannot work at all.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(async {
        let stop = stop::asked().map_err(Error::Runtime)?;
        Balancer::new(site, reporter)?.run(stop).await
    })
}

/// Where the services are, as seen from this node.
#[derive(Debug, PartialEq)]
struct Layout {
    front: NetworkName,
    back: NetworkName,
    inside: Ipv4Net,
    own: Ipv4Addr,
    services: Vec<VirtualService>,
}

impl Layout {
    fn of(site: &Site) -> Result<Self, Error> {
        let services = match &site.topology.balancer {
            Some(balancer) if balancer.services.iter().any(|service| !service.reals.is_empty()) => {
                balancer.services.clone()
            }
            _ => return Err(Error::NothingToBalance),
        };
        let virtuals: Vec<IpAddr> = services.iter().map(|service| service.address).collect();
        let reals: Vec<IpAddr> =
            services.iter().flat_map(|service| &service.reals).map(|real| real.address).collect();
        let (front, _) = network_with(site, &virtuals, "all virtual services")?;
        let (back, inside) = network_with(site, &reals, "all real servers")?;
        let own = site
            .node()
            .address_on(&back)
            .ok_or_else(|| Error::NoAddress { node: site.me.to_string(), network: back.clone() })?;
        Ok(Self { front, back, inside, own, services })
    }
}

/// The network that has all these addresses and an interface of this node.
fn network_with(
    site: &Site,
    addresses: &[IpAddr],
    whose: &'static str,
) -> Result<(NetworkName, Ipv4Net), Error> {
    site.topology
        .networks
        .iter()
        .filter(|(name, _)| site.node().on(name).is_some())
        .find(|(_, prefix)| addresses.iter().all(|address| IpNet::V4(**prefix).contains(address)))
        .map(|(name, prefix)| (name.clone(), *prefix))
        .ok_or_else(|| Error::NoInterface { node: site.me.to_string(), whose })
}

/// One real server of one service, under observation.
#[derive(Debug)]
struct Patient {
    service: usize,
    real: usize,
    health: Health,
    in_flight: bool,
}

/// What a check found out about a patient; the error is for people.
type Outcome = (usize, Result<(), String>);

/// How far the balancer is with its start.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    /// Some real server has not answered its first check yet, nor failed to.
    FirstRound,
    /// The first tables are on their way into the kernel.
    Installing,
    /// New connections are balanced.
    Ready,
}

struct Balancer {
    layout: Layout,
    reporter: Reporter,
    tables: Tables,
    switch: Switch,
    addresses: Addresses,
    prober: Prober,
    patients: Vec<Patient>,
    /// Which services have no healthy real server that has a weight.
    open: Vec<bool>,
    active: Option<bool>,
    progress: Progress,
    outcomes: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    desk: UnixListener,
}

impl Balancer {
    fn new(site: &Site, reporter: Reporter) -> Result<Self, Error> {
        let layout = Layout::of(site)?;
        let mut settings = dataplane::Settings::between(layout.front.as_str(), layout.back.as_str());
        settings.inside.push(layout.inside.into());
        let (plane, switch) = EbpfPlane::attach(settings)?;
        let prober = Prober::new(layout.own).map_err(Error::Http)?;
        let now = Instant::now();
        let mut patients = Vec::new();
        for (service, wanted) in layout.services.iter().enumerate() {
            let thresholds = Thresholds {
                rise: wanted.check.rise,
                fall: wanted.check.fall,
                interval: wanted.check.interval,
            };
            patients.extend((0..wanted.reals.len()).map(|real| Patient {
                service,
                real,
                health: Health::new(thresholds, now),
                in_flight: false,
            }));
        }
        Ok(Self {
            open: vec![false; layout.services.len()],
            addresses: Addresses::watch()?,
            active: None,
            progress: Progress::FirstRound,
            outcomes: mpsc::channel(OUTCOMES_MAX),
            desk: Desk::open(Path::new(SOCKET_PATH))
                .and_then(|desk| UnixListener::from_std(desk.into_listener()))
                .map_err(Error::Listen)?,
            layout,
            reporter,
            tables: Tables::of(Box::new(plane)),
            switch,
            prober,
            patients,
        })
    }

    async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::pin!(stop);
        self.follow_address()?;
        loop {
            self.start_due_checks(Instant::now());
            let nap = tokio::time::sleep_until(self.next_due().into());
            tokio::select! {
                // In this order: whether this node balances at all matters more than to whom.
                biased;
                () = &mut stop => {
                    tracing::info!("stop balancing, because of a signal");
                    return Ok(());
                }
                changed = self.addresses.changed() => {
                    changed?;
                    self.follow_address()?;
                }
                installed = self.tables.installed() => self.note(installed),
                Some((patient, outcome)) = self.outcomes.1.recv() => self.judge(patient, outcome),
                Ok((asker, _)) = self.desk.accept() => self.answer(asker),
                () = nap => {}
            }
        }
    }

    /// Balances exactly while a virtual address is on this node.
    fn follow_address(&mut self) -> Result<(), Error> {
        let here = self.addresses.here()?;
        let active = self.layout.services.iter().any(|service| here.iter().any(|it| service.address == *it));
        if self.active != Some(active) {
            self.switch.set(active)?;
            self.active = Some(active);
            self.reporter.emit(What::Balancing { active });
            let (now, has) = if active { ("balancing", "has") } else { ("idle", "has not") };
            tracing::info!("{now}, because this node {has} the virtual address");
        }
        Ok(())
    }

    fn next_due(&self) -> Instant {
        let waiting = self.patients.iter().filter(|patient| !patient.in_flight);
        let due = waiting.map(|patient| patient.health.deadline()).min();
        due.unwrap_or_else(|| Instant::now() + NAP_MAX)
    }

    fn start_due_checks(&mut self, now: Instant) {
        for (index, patient) in self.patients.iter_mut().enumerate() {
            if patient.in_flight || patient.health.deadline() > now {
                continue;
            }
            patient.in_flight = true;
            let service = &self.layout.services[patient.service];
            let real = &service.reals[patient.real];
            let endpoint = Endpoint::tcp(real.address, real.port);
            let (probe, timeout): (Probe, Duration) = (service.check.probe.clone(), service.check.timeout);
            let (prober, outcomes) = (self.prober.clone(), self.outcomes.0.clone());
            tokio::spawn(async move {
                let outcome = prober.check(&probe, endpoint, timeout).await;
                // The loop has ended if nobody listens any more.
                let _ = outcomes.send((index, outcome)).await;
            });
        }
    }

    /// Takes the outcome of a check, and rebuilds the tables if it changes anything.
    fn judge(&mut self, index: usize, outcome: Result<(), String>) {
        let patient = &mut self.patients[index];
        patient.in_flight = false;
        let check = if outcome.is_ok() { Check::Passed } else { Check::Failed };
        let transition = patient.health.handle(check, Instant::now());
        let wanted = &self.layout.services[patient.service];
        let (service, real) = (wanted.name.to_string(), wanted.reals[patient.real].node.to_string());
        match (transition, outcome.err().unwrap_or_default()) {
            (None, _) => {}
            (Some(Transition::Up), _) => {
                tracing::info!("{service}: {real} is up");
                self.reporter.emit(What::RealUp { service, real });
            }
            (Some(Transition::Down), because) => {
                tracing::info!("{service}: {real} is down, because {because}");
                self.reporter.emit(What::RealDown { service, real, because });
            }
        }
        match self.progress {
            Progress::FirstRound if self.patients.iter().all(|patient| patient.health.is_known()) => {
                self.progress = Progress::Installing;
                self.install();
            }
            Progress::FirstRound => {}
            Progress::Installing | Progress::Ready if transition.is_some() => self.install(),
            Progress::Installing | Progress::Ready => {}
        }
    }

    /// Takes note of how a change of the tables went. One that failed is no end: the tables that are there go on.
    fn note(&mut self, installed: Result<(), Failed>) {
        match installed {
            Ok(()) if self.progress == Progress::Installing => {
                self.progress = Progress::Ready;
                self.reporter.emit(What::Ready);
            }
            Ok(()) => {}
            Err(Failed { source, again_in }) => {
                let because = described(&source);
                tracing::error!("the tables stay as they are, and again in {again_in:?}, because {because}");
            }
        }
    }

    /// Says how it is to somebody who asked.
    fn answer(&self, asker: UnixStream) {
        let (Ok(asker), Ok(mut line)) = (asker.into_std(), serde_json::to_vec(&self.account())) else {
            return;
        };
        line.push(b'\n');
        inquiry::tell(asker, &line);
    }

    fn account(&self) -> Account {
        let mut services = BTreeMap::new();
        for (wanted, &fail_open) in self.layout.services.iter().zip(&self.open) {
            let service = ServiceAccount { fail_open, reals: BTreeMap::new() };
            services.insert(wanted.name.to_string(), service);
        }
        for patient in &self.patients {
            let wanted = &self.layout.services[patient.service];
            let real = &wanted.reals[patient.real];
            if let Some(service) = services.get_mut(wanted.name.as_str()) {
                let account = RealAccount { up: patient.health.is_up(), weight: real.weight };
                service.reals.insert(real.node.to_string(), account);
            }
        }
        Account { active: self.active == Some(true), ready: self.progress == Progress::Ready, services }
    }

    fn install(&mut self) {
        let mut services = Vec::with_capacity(self.layout.services.len());
        for (index, wanted) in self.layout.services.iter().enumerate() {
            let patients = self.patients.iter().filter(|patient| patient.service == index);
            let standings: Vec<Standing> = patients.map(|patient| standing(wanted, patient)).collect();
            let (available, fail_open) = availability(&standings, wanted.fail_open);
            if fail_open && !self.open[index] {
                tracing::warn!(
                    "{}: every real server with a weight is down, so all of them get connections",
                    wanted.name
                );
                self.reporter.emit(What::FailOpen { service: wanted.name.to_string() });
            }
            self.open[index] = fail_open;
            services.push(service(wanted, &available));
        }
        self.tables.install(services);
    }
}

/// What counts about a real server when it comes to who is available.
fn standing(wanted: &VirtualService, patient: &Patient) -> Standing {
    Standing { weight: wanted.reals[patient.real].weight, up: patient.health.is_up() }
}

/// A service of the site in the balancer's own terms.
fn service(wanted: &VirtualService, available: &[bool]) -> Service {
    let protocol = match wanted.protocol {
        topology::Protocol::Tcp => balancer::Protocol::Tcp,
        topology::Protocol::Udp => balancer::Protocol::Udp,
    };
    let real = |(real, available): (&crate::topology::RealServer, &bool)| Real {
        name: real.node.to_string(),
        endpoint: Endpoint { address: real.address, port: real.port, protocol },
        weight: real.weight,
        available: *available,
    };
    Service {
        address: Endpoint { address: wanted.address, port: wanted.port, protocol },
        method: Method::Nat,
        scheduler: match wanted.scheduler {
            Scheduler::Rr => balancer::Scheduler::RoundRobin,
            Scheduler::Wrr => balancer::Scheduler::WeightedRoundRobin,
            Scheduler::Lc => balancer::Scheduler::LeastConnections,
            Scheduler::Wlc => balancer::Scheduler::WeightedLeastConnections,
            Scheduler::Sed => balancer::Scheduler::ShortestExpectedDelay,
            Scheduler::Nq => balancer::Scheduler::NeverQueue,
            Scheduler::Sh => balancer::Scheduler::SourceHash,
            Scheduler::Mh => balancer::Scheduler::Maglev,
        },
        reals: wanted.reals.iter().zip(available).map(real).collect(),
    }
}

#[cfg(test)]
mod tests;
