//! Which program takes part in the election on each proxy, and that it is told nothing that it cannot do. What the
//! programs are told in their own words is another room's business.

use std::str::FromStr;

use super::addresses::Family;
use super::failover::Election;
use super::file::File;
use super::names::NodeName;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::scalars::Switch;
use super::site::{Builtin, Checksum, Engine, MacMode, Role, Run, Topology, VrrpVersion};

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Labctl, Self::Keepalived, Self::Frr];

    /// Its word in a topology.
    pub fn word(self) -> &'static str {
        match self {
            Self::Labctl => "labctl",
            Self::Keepalived => "keepalived",
            Self::Frr => "frr",
        }
    }

    /// The service that it is on a proxy.
    pub fn service(self) -> Builtin {
        match self {
            Self::Labctl => Builtin::Vrrpd,
            Self::Keepalived => Builtin::Keepalived,
            Self::Frr => Builtin::Frr,
        }
    }
}

impl FromStr for Engine {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::word).join(", ");
        let engine = Self::ALL.into_iter().find(|engine| engine.word() == text);
        engine.ok_or_else(|| format!("`{text}` is no engine; known are: {known}"))
    }
}

impl Run {
    /// Does it take part in an election?
    pub fn elects(&self) -> bool {
        Engine::ALL.iter().any(|engine| *self == Self::Builtin(engine.service()))
    }
}

impl Topology {
    /// Puts this engine in the place of whichever takes part in an election.
    pub fn elect_with(&mut self, engine: Engine) {
        let services = self.nodes.iter_mut().flat_map(|node| &mut node.services);
        for service in services.filter(|service| service.run.elects()) {
            (service.run, service.name) = (Run::Builtin(engine.service()), engine.service().into());
        }
        if let Some(failover) = &mut self.failover {
            failover.engines.values_mut().for_each(|one| *one = engine);
        }
    }
}

/// The program of one proxy.
pub(super) fn engine_of(file: &File, proxy: &Draft<'_>) -> Engine {
    let own = proxy.file.and_then(|node| node.engine.value());
    let all = file.failover.value().and_then(|failover| failover.engine.value());
    own.or(all).map(|choice| choice.0).unwrap_or_default()
}

/// Reports engines where there is no election, and settings that an engine does not have.
pub(super) fn check_engines(
    file: &File,
    machines: &Machines<'_>,
    election: Option<&Election>,
    problems: &mut Problems,
) {
    for node in &machines.nodes {
        let Some(engine) = node.file.and_then(|file| file.engine.given()) else { continue };
        if election.is_none() || node.role.is_some_and(|role| role != Role::Proxy) {
            let kind = ProblemKind::EngineWithoutElection(node.name.value.clone());
            let help = "remove it; only a proxy in a file with `failover` has an engine";
            problems.push(Problem::new(kind, &engine.span).help(help));
        }
    }
    let Some(election) = election else { return };
    for engine in [Engine::Keepalived, Engine::Frr] {
        let mut proxies = machines.of(Role::Proxy);
        // One proxy is enough to say it.
        if let Some(proxy) = proxies.find(|proxy| engine_of(file, proxy) == engine) {
            let limits = Limits { file, election, engine, proxy: &proxy.name.value };
            limits.check(machines, problems);
        }
    }
}

struct Limits<'a> {
    file: &'a File,
    election: &'a Election,
    engine: Engine,
    proxy: &'a NodeName,
}

impl Limits<'_> {
    fn check(&self, machines: &Machines<'_>, problems: &mut Problems) {
        let Some(given) = self.file.failover.value() else { return };
        let mut refuse = |setting, span: Option<&Span>, why, help: &str| {
            let Some(span) = span else { return };
            let kind = ProblemKind::EngineCannot(setting, self.engine.word(), self.proxy.clone(), why);
            problems.push(Problem::new(kind, span).help(help));
        };
        let both = given.version.given().filter(|at| at.value.0 == VrrpVersion::Both);
        refuse("version 2+3", span(both), "it speaks one version", "choose 2 or 3, or our own engine");
        let version = given.version.value().map(|choice| choice.0).unwrap_or_default();
        let over_ipv4 = self.election.of(Family::V4).next().is_some();
        let message = given.checksum.given().filter(|at| at.value.0 == Checksum::Message);
        if let Some(message) = message.filter(|_| version == VrrpVersion::V3 && over_ipv4) {
            let why = "its checksums cover a pseudo-header too, and who differs is not heard";
            let help = "remove it: beside this engine, `pseudo-header` is the default";
            refuse("checksum: message", Some(&message.span), why, help);
        }
        let proxies = || machines.of(Role::Proxy);
        let first = proxies().next().is_some_and(|first| &first.name.value == self.proxy);
        if first && !proxies().any(|proxy| engine_of(self.file, proxy) == Engine::Labctl) {
            let help = "remove it, or give a proxy `engine: labctl`";
            refuse("a lease", switched(&given.lease, true), "only our own daemon renews one", help);
        }
        if self.engine != Engine::Frr {
            return;
        }
        let ours = "remove it, or take another engine";
        refuse("unicast", switched(&given.unicast, true), "it advertises to the group", ours);
        refuse("accept: false", switched(&given.accept, false), "it always accepts", ours);
        refuse("sync", switched(&given.sync, true), "its virtual routers go each their own way", ours);
        refuse("a delay", span(given.preempt_delay.given()), "it preempts at once or never", ours);
        refuse("a check", span(given.checks.given()), "it watches links only", ours);
        let physical = given.mac.given().filter(|at| at.value.0 == MacMode::Physical);
        refuse("mac: physical", span(physical), "it answers with the virtual one", ours);
        let elsewhere = self.election.all().find(|it| Some(&it.network) != self.election.network.as_ref());
        if let Some(floating) = elsewhere.filter(|_| self.election.network.is_some()) {
            let help = "elect it on its own network (`network`), or take another engine";
            let why = "it holds addresses only where it advertises";
            refuse("an address on another network than the election's", Some(&floating.span), why, help);
        }
    }
}

fn span<T>(at: Option<&At<T>>) -> Option<&Span> {
    at.map(|at| &at.span)
}

/// Where a switch is put to a value.
fn switched(slot: &Slot<Switch>, to: bool) -> Option<&Span> {
    span(slot.given().filter(|at| at.value.0 == to))
}
