//! The balancer of a proxy: asks the real servers whether they are well, keeps the data plane's tables, tells other
//! directors of connections, does what people ask it to, and balances exactly while this node has the virtual address. It
//! knows nothing of the election: it watches the kernel's addresses, so any VRRP daemon will do.
#![expect(clippy::disallowed_methods, reason = "owns the clock of the health checks")]

pub mod account;
mod backend;
mod check;
mod desk;
mod exchange;
mod keeping;
mod layout;
pub mod request;
mod roster;
mod tables;
mod waiting;
mod watch;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Reporter, Site, described, proxy, random, stop};
use crate::balancer::{Check, Flow, Transition};
use crate::dataplane::{self, Settings};
use crate::report::What;
use crate::topology::NetworkName;
use account::Account;
use backend::Switch;
use check::Prober;
use desk::Question;
use exchange::{Exchange, Said};
use layout::Layout;
use roster::{MemberId, Roster, Turned};
use tables::{Event, Failed, Survey, Tables};
use waiting::Waiting;
use watch::Addresses;

/// Outcomes that wait for the loop. Each real server has at most one check in flight, so a full channel only makes
/// checks wait for their turn.
const OUTCOMES_MAX: usize = 256;
/// How long a director that starts waits for others to tell it of connections. Who lives does so within milliseconds, unless
/// it has hundreds of thousands.
const JOIN_MAX: Duration = Duration::from_millis(500);
/// The loop wakes at least this often, so that a lost wake-up is a delay and not an end.
const NAP_MAX: Duration = Duration::from_secs(60);

/// Where the balancer says how it is (an [`Account`]), and takes a [`request::Request`].
pub const SOCKET_PATH: &str = "/run/labctl/balancer.sock";

/// Why this node cannot balance.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The site has no virtual services, or nobody to serve them.
    #[error("the site has no virtual service with a real server to balance")]
    NothingToBalance,
    /// Requests cannot be passed on.
    #[error("pass requests on")]
    Proxy(#[from] proxy::Error),
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
    /// An interface does not say how long its packets may be.
    #[error("read the MTU of {interface}")]
    Mtu {
        /// The interface.
        interface: NetworkName,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Neither what was asked for can be had nor anything else.
    #[error("forward packets: no backend can be had, because {because}")]
    NoBackend {
        /// Why not.
        because: String,
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
    /// Other directors cannot be told of connections.
    #[error("exchange flows with other directors")]
    Exchange(#[source] io::Error),
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

/// What a check found out about a real server; the error is for people.
type Outcome = (MemberId, Result<(), String>);

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
    roster: Roster,
    tables: Tables,
    switch: Switch,
    /// What forwards packets, and why that.
    backend: String,
    because: String,
    /// What is said of that where there is little room: the reason only if it is not the best that there is.
    says: String,
    addresses: Addresses,
    prober: Prober,
    active: Option<bool>,
    progress: Progress,
    /// It knows what it can know of the connections that there are. Before that it would give them to whoever it likes.
    joined: bool,
    /// When it gives up waiting for other directors to tell it.
    joins_by: Option<Instant>,
    outcomes: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    questions: mpsc::Receiver<Question>,
    waiting: Vec<Waiting>,
    exchange: Option<Exchange>,
}

impl Balancer {
    fn new(site: &Site, reporter: Reporter) -> Result<Self, Error> {
        let layout = Layout::of(site)?;
        let balancer = site.topology.balancer.as_ref().ok_or(Error::NothingToBalance)?;
        let chosen = backend::choose(balancer, settings(&layout)?)?;
        let backend = chosen.plane.backend().to_string();
        tracing::info!("connections are balanced by {backend}, because {}", chosen.because);
        let life = random::bytes().map(u64::from_ne_bytes).map_err(Error::Exchange)?;
        let exchange = layout.others.as_ref().map(|others| Exchange::open(others, life)).transpose();
        Ok(Self {
            roster: keeping::roster(&layout, Instant::now()),
            addresses: Addresses::watch()?,
            prober: Prober::new(layout.own).map_err(Error::Http)?,
            active: None,
            progress: Progress::FirstRound,
            joined: false,
            joins_by: None,
            outcomes: mpsc::channel(OUTCOMES_MAX),
            questions: desk::open(Path::new(SOCKET_PATH)).map_err(Error::Listen)?,
            waiting: Vec::new(),
            exchange: exchange.map_err(Error::Exchange)?,
            tables: Tables::of(chosen.plane).map_err(Error::Runtime)?,
            switch: chosen.switch,
            says: match chosen.second_best {
                true => format!("{backend}, because {}", chosen.because),
                false => backend.clone(),
            },
            backend,
            because: chosen.because,
            layout,
            reporter,
        })
    }

    async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::pin!(stop);
        loop {
            let now = Instant::now();
            if self.roster.warm_up(now) {
                self.install();
            }
            if !self.joined && self.may_join(now) {
                self.joined = true;
                self.follow_address()?;
                self.reporter.emit(What::Ready);
            }
            self.start_due_checks(now);
            let due = self.roster.deadline().into_iter().chain(self.joins_by.filter(|_| !self.joined)).min();
            let nap = tokio::time::sleep_until(due.unwrap_or(now + NAP_MAX).into());
            // Before the first tables there is no service whose connections could be taken over.
            let has_tables = self.tables.is_idle() && self.progress == Progress::Ready;
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
                Some((member, outcome)) = self.outcomes.1.recv() => self.judge(member, outcome),
                event = self.tables.event() => self.note(event),
                Some(question) = self.questions.recv() => self.hear(question),
                // What others say waits in their socket while the data plane is away.
                said = said(&mut self.exchange), if has_tables => self.adopt(said),
                () = nap => {}
            }
        }
    }

    /// It has tables, and every other director has told what it has or has had its time to.
    fn may_join(&self, now: Instant) -> bool {
        let told = self.exchange.as_ref().is_none_or(Exchange::is_told);
        self.progress == Progress::Ready && (told || self.joins_by.is_some_and(|by| by <= now))
    }

    /// Balances exactly while a virtual address is on this node, once it knows the connections that there are. Until then they
    /// pause: what no data plane takes, netfilter drops.
    fn follow_address(&mut self) -> Result<(), Error> {
        if !self.joined {
            return Ok(());
        }
        let here = self.addresses.here()?;
        let active = self.layout.services.iter().any(|service| here.contains(&service.address));
        if self.active != Some(active) {
            self.switch.set(active)?;
            self.active = Some(active);
            self.reporter.emit(What::Balancing { active, backend: self.says.clone() });
            let (now, has) = if active { ("balancing", "has") } else { ("idle", "has not") };
            tracing::info!("{now}, because this node {has} the virtual address");
        }
        Ok(())
    }

    fn start_due_checks(&mut self, now: Instant) {
        for due in self.roster.due(now) {
            let (prober, outcomes) = (self.prober.clone(), self.outcomes.0.clone());
            tokio::spawn(async move {
                let outcome = prober.check(&due.check, &due.name, due.at).await;
                // The loop has ended if nobody listens any more.
                let _ = outcomes.send((due.member, outcome)).await;
            });
        }
    }

    /// Takes the outcome of a check, and rebuilds the tables if it changes anything.
    fn judge(&mut self, member: MemberId, outcome: Result<(), String>) {
        let check = if outcome.is_ok() { Check::Passed } else { Check::Failed };
        let turned = self.roster.judge(member, check, Instant::now());
        let has_turned = turned.is_some();
        if let Some(Turned { service, real, transition }) = turned {
            let service = service.to_string();
            match (transition, outcome.err().unwrap_or_default()) {
                (Transition::Up, _) => {
                    tracing::info!("{service}: {real} is up");
                    self.reporter.emit(What::RealUp { service, real });
                }
                (Transition::Down, because) => {
                    tracing::info!("{service}: {real} is down, because {because}");
                    self.reporter.emit(What::RealDown { service, real, because });
                }
            }
        }
        match self.progress {
            Progress::FirstRound if self.roster.is_known() => {
                self.progress = Progress::Installing;
                self.install();
            }
            Progress::FirstRound => {}
            Progress::Installing | Progress::Ready if has_turned => {
                self.install();
            }
            Progress::Installing | Progress::Ready => {}
        }
    }

    /// Has the data plane balance as the roster is now. Says which wish that is.
    fn install(&mut self) -> u64 {
        for service in self.roster.newly_open() {
            tracing::warn!(
                "{service}: every real server with a weight is down, so all of them get connections"
            );
            self.reporter.emit(What::FailOpen { service: service.to_string() });
        }
        self.tables.install(self.roster.services())
    }

    /// Takes note of what the data plane did. A change that failed is no end: the tables that are there go on.
    fn note(&mut self, event: Event) {
        match event {
            Event::Installed(wish) => {
                if self.progress == Progress::Installing {
                    self.progress = Progress::Ready;
                    self.joins_by = Some(Instant::now() + JOIN_MAX);
                }
                self.in_force(wish);
            }
            Event::Failed(Failed { source, again_in }) => {
                let because = described(&source);
                tracing::error!("the tables stay as they are, and again in {again_in:?}, because {because}");
                self.not_in_force(&because);
            }
            Event::Surveyed(Ok(survey)) => self.surveyed(survey),
            Event::Surveyed(Err(source)) => {
                let because = described(&source);
                tracing::error!("nobody can say what the tables have, because {because}");
                self.not_in_force(&because);
            }
            Event::Uncounted(source) => {
                tracing::error!("the connections were not counted, because {}", described(&source));
            }
            Event::Fresh(flows) => self.tell(flows),
        }
    }

    /// Tells other directors of connections that began here.
    fn tell(&mut self, flows: Result<Vec<Flow>, dataplane::Error>) {
        match (flows, &mut self.exchange) {
            (Ok(flows), Some(exchange)) => exchange.tell(&flows),
            (Ok(_), None) => {}
            (Err(source), _) => {
                tracing::error!("other directors are not told of new flows, because {}", described(&source));
            }
        }
    }

    /// Takes over what another director told, or begins to tell it what it asked for.
    fn adopt(&mut self, said: Said) {
        match said {
            Said::Asked => self.tables.survey(),
            Said::Flows(from, flows) => match self.tables.adopt(&flows) {
                Ok(count) => {
                    let exchange = self.exchange.iter_mut();
                    exchange.for_each(|exchange| exchange.adopted(from, count));
                }
                Err(source) => tracing::error!("flows are not taken over, because {}", described(&source)),
            },
        }
    }

    /// What the data plane has and counted is known now: changes can be made, and whoever asked can be told.
    fn surveyed(&mut self, survey: Survey) {
        self.answer_all(&survey);
        if let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.is_asked()) {
            exchange.tell_everything(survey.flows);
        }
    }

    fn account(&self) -> Account {
        Account {
            active: self.active == Some(true),
            ready: self.joined,
            backend: self.backend.clone(),
            because: self.because.clone(),
            services: self.roster.account(),
        }
    }
}

/// Waits until another director says something; for ever, if there is none.
async fn said(exchange: &mut Option<Exchange>) -> Said {
    match exchange {
        Some(exchange) => exchange.said().await,
        None => std::future::pending().await,
    }
}

/// Where the data plane works.
fn settings(layout: &Layout) -> Result<Settings, Error> {
    let mtu = |interface: &NetworkName| -> Result<u16, Error> {
        let error = |source| Error::Mtu { interface: interface.clone(), source };
        let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).map_err(error)?;
        let mtu: u32 = text.trim().parse().map_err(|_| error(io::ErrorKind::InvalidData.into()))?;
        // No IP packet is longer, whatever a loopback would carry.
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    };
    Ok(Settings {
        inside: layout.inside.clone(),
        tunnel_v4: layout.own.v4,
        tunnel_v6: layout.own.v6,
        front_mtu: mtu(&layout.front)?,
        back_mtu: mtu(&layout.back)?,
        sync: layout.others.is_some(),
        ..Settings::between(layout.front.as_str(), layout.back.as_str())
    })
}

#[cfg(test)]
mod tests;
