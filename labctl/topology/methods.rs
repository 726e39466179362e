//! How a connection gets to a real server: the forwarding method, the program and what that forwards packets with, and which
//! of them go together. It knows no services.

use super::file::{File, FileBalancer};
use super::nodes::Machines;
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::Slot;
use super::site::{Backend, BalancerEngine, Forward, Protocol, Role};

/// What the file says of the balancer as a whole.
pub(super) struct Method<'f> {
    pub(super) forward: Forward,
    pub(super) engine: BalancerEngine,
    pub(super) backend: Backend,
    pub(super) sync: bool,
    /// Real servers that no answer can come from are taken all the same.
    pub(super) force: bool,
    /// The forwarding method could be read: what does not go with it is a mistake.
    pub(super) certain: bool,
    given: &'f FileBalancer,
}

/// The forwarding method of a file; none if it has no balancer.
pub(super) fn forward_of(file: &File) -> Option<Forward> {
    file.balancer.value().map(forward)
}

/// The port that webs must listen on because nothing rewrites it on the way to them: that of the first service of TCP.
pub(super) fn kept_port(file: &File) -> Option<u16> {
    forward_of(file).filter(|forward| forward.answers_directly())?;
    let services = &file.balancer.value()?.services.value()?.entries;
    let mut tcp = services
        .iter()
        .filter_map(|(_, slot)| slot.value())
        .filter(|service| service.protocol.value().is_none_or(|protocol| protocol.0 == Protocol::Tcp));
    tcp.find_map(|service| service.port.value()).map(|port| port.0)
}

fn engine(given: &FileBalancer) -> BalancerEngine {
    given.engine.value().map(|choice| choice.0).unwrap_or_default()
}

fn forward(given: &FileBalancer) -> Forward {
    let usual = match engine(given) {
        BalancerEngine::Haproxy | BalancerEngine::Nginx => Forward::Proxy,
        BalancerEngine::Labctl | BalancerEngine::Nft | BalancerEngine::Ipvs => Forward::Nat,
    };
    given.forward.value().map_or(usual, |choice| choice.0)
}

impl<'f> Method<'f> {
    /// Reads it, and reports what does not go together.
    pub(super) fn of(given: &'f FileBalancer, machines: &Machines<'_>, problems: &mut Problems) -> Self {
        let (engine, forward) = (engine(given), forward(given));
        let certain = !given.forward.is_broken() && !given.engine.is_broken();
        let forwards = engine == BalancerEngine::Labctl && forward != Forward::Proxy;
        let several = machines.of(Role::Proxy).count() > 1;
        let method = Self {
            forward,
            engine,
            backend: given.backend.value().map(|choice| choice.0).unwrap_or_default(),
            sync: given.sync.value().map_or(forwards && several, |sync| sync.0),
            force: given.force.value().is_some_and(|force| force.0),
            certain,
            given,
        };
        if certain {
            method.check_engine(problems);
            method.check_particulars(problems);
        }
        method
    }

    /// Reports something that the method does not have.
    pub(super) fn refuse(
        &self,
        what: &str,
        why: &'static str,
        span: &Span,
        help: &str,
        problems: &mut Problems,
    ) {
        if self.certain {
            let whom = format!("`forward: {}`", self.forward.word());
            let kind = ProblemKind::BalancerCannot(what.to_owned(), whom, why);
            problems.push(Problem::new(kind, span).help(help));
        }
    }

    fn check_engine(&self, problems: &mut Problems) {
        let (why, help) = match (self.engine, self.forward) {
            (BalancerEngine::Labctl, _)
            | (BalancerEngine::Haproxy | BalancerEngine::Nginx, Forward::Proxy | Forward::Nat)
            | (BalancerEngine::Nft, Forward::Nat)
            | (BalancerEngine::Ipvs, Forward::Nat | Forward::Tun | Forward::Dr) => return,
            (BalancerEngine::Haproxy | BalancerEngine::Nginx, _) => {
                ("it ends every connection, and opens its own", "take `forward: proxy`, or our own engine")
            }
            (BalancerEngine::Nft, _) => {
                ("it rewrites addresses and nothing else", "take `forward: nat`, or our own engine")
            }
            (BalancerEngine::Ipvs, Forward::Proxy) => {
                ("it forwards packets and reads no requests", "take nat, tun or dr, or our own engine")
            }
        };
        if let Slot::Given(forward) = &self.given.forward {
            let what = format!("`forward: {}`", self.forward.word());
            let kind = ProblemKind::BalancerCannot(what, self.engine.word().to_owned(), why);
            let problem = Problem::new(kind, &forward.span).help(help);
            problems.push(match self.given.engine.given() {
                Some(engine) => problem.also(&engine.span, "the engine"),
                None => problem,
            });
        }
    }

    /// What only our own engine has, and only while it forwards packets.
    fn check_particulars(&self, problems: &mut Problems) {
        let backend = self.given.backend.given().filter(|at| at.value.0 != Backend::Auto);
        let sync = self.given.sync.given().filter(|at| at.value.0);
        let given = [("a backend", backend.map(|at| &at.span)), ("`sync: true`", sync.map(|at| &at.span))];
        for (what, span) in given.into_iter().filter_map(|(what, span)| Some((what, span?))) {
            if self.engine != BalancerEngine::Labctl {
                let why = "it is a matter of our own engine";
                let kind = ProblemKind::BalancerCannot(what.to_owned(), self.engine.word().to_owned(), why);
                problems.push(Problem::new(kind, span).help("remove it, or take `engine: labctl`"));
            } else if self.forward == Forward::Proxy {
                let why = "connections end at the director, and no packet is forwarded";
                self.refuse(what, why, span, "remove it, or take another method", problems);
            }
        }
        let by_rules = backend.filter(|at| at.value.0 == Backend::Nft && self.forward.answers_directly());
        if let Some(by_rules) = by_rules.filter(|_| self.engine == BalancerEngine::Labctl) {
            let why = "its rules translate addresses and do nothing else";
            self.refuse("`backend: nft`", why, &by_rules.span, "take `forward: nat`, or remove it", problems);
        }
    }
}
