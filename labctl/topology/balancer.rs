//! The virtual services: where clients reach each, how it is checked, and that every answer can be told apart.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::addresses::{Family, is_link_local};
use super::checks::{Timing, check_program, timing};
use super::failover::Election;
use super::file::{File, FileCheck, FileVirtual};
use super::layer7::layer7;
use super::methods::Method;
use super::names::{NodeName, ServiceName};
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::reals::Entrance;
use super::site::{
    Balancer, Conversation, Forward, HealthCheck, Probe, Protocol, RealServer, Role, Scheduler,
    VirtualService,
};

/// Default routes of all nodes, in the order of the nodes: those of IPv4, those of IPv6.
pub(super) type Gateways = [Vec<Option<IpAddr>>; 2];

/// What the balancer stands on.
pub(super) struct Site<'a, 'f> {
    pub(super) machines: &'a Machines<'f>,
    pub(super) election: Option<&'a Election>,
    pub(super) conversation: &'a Conversation,
    pub(super) gateways: &'a Gateways,
}

/// Reads the balancer. `None` if the file has none, or only a broken one.
pub(super) fn balancer(file: &File, site: &Site<'_, '_>, problems: &mut Problems) -> Option<Balancer> {
    let given = file.balancer.given()?;
    let Site { machines, election, conversation, gateways } = *site;
    if machines.lacks(Role::Proxy) {
        let problem = Problem::new(ProblemKind::NoProxy("the balancer"), &given.span);
        problems.push(problem.help("give a node `role: proxy`, or remove `balancer`"));
    }
    let method = Method::of(&given.value, machines, problems);
    let directors = Directors { machines, election, conversation, gateways, method: &method };
    let mut seen = Seen::default();
    let mut services = Vec::new();
    for (name, slot) in &given.value.services.value()?.entries {
        let Some(virtual_service) = slot.value() else { continue };
        let service = directors.service(name, virtual_service, problems);
        if let Some(service) = service {
            seen.enter(&service, method.forward, (name, virtual_service), problems);
            services.push(service);
        }
    }
    directors.check_families(&services, problems);
    directors.check_web_port(file, &services, problems);
    let Method { forward, engine, backend, sync, .. } = method;
    Some(Balancer { forward, engine, backend, sync, services })
}

/// What is known of the proxies when a service is read.
pub(super) struct Directors<'a, 'f> {
    pub(super) machines: &'a Machines<'f>,
    pub(super) election: Option<&'a Election>,
    pub(super) conversation: &'a Conversation,
    pub(super) gateways: &'a Gateways,
    pub(super) method: &'a Method<'f>,
}

impl Directors<'_, '_> {
    fn service(
        &self,
        name: &At<ServiceName>,
        given: &FileVirtual,
        problems: &mut Problems,
    ) -> Option<VirtualService> {
        let address = self.entrance(name, given, problems);
        self.check_accepted(name, address, problems);
        let protocol = self.protocol(given, problems);
        let family = address.map_or(Family::V4, Family::of);
        let reals = self.reals(&Entrance { name, given, family, protocol }, problems);
        let check = check(name, given, protocol, problems);
        self.method.check_service(given, problems);
        let layer7 = layer7(self.method, self.machines, name, given, problems);
        Some(VirtualService {
            name: name.value.clone(),
            address: address?,
            port: given.port.value()?.0,
            protocol,
            scheduler: given.scheduler.value().map_or(Scheduler::Wrr, |choice| choice.0),
            reals,
            check,
            slow_start: given.slow_start.value().map(|time| time.0).unwrap_or_default(),
            fail_open: given.fail_open.value().is_none_or(|open| open.0),
            layer7,
        })
    }

    fn protocol(&self, given: &FileVirtual, problems: &mut Problems) -> Protocol {
        let Some(At { value, span }) = given.protocol.given() else { return Protocol::default() };
        if value.0 == Protocol::Udp && self.method.forward == Forward::Proxy {
            let help = "take nat, tun or dr for it; a file has one method for all of its services";
            self.method.refuse("`protocol: udp`", "requests come over TCP", span, help, problems);
        }
        value.0
    }

    fn entrance(
        &self,
        name: &At<ServiceName>,
        given: &FileVirtual,
        problems: &mut Problems,
    ) -> Option<IpAddr> {
        let (address, span) = match &given.address {
            Slot::Broken => return None,
            Slot::Given(at) => (at.value.0, &at.span),
            Slot::Absent => {
                let usual = self.usual_entrance();
                if usual.is_none() && self.certain() {
                    let kind = ProblemKind::NoEntrance(name.value.clone());
                    let help = "add `failover` with a `vip`, or `address: ADDRESS` of a proxy";
                    problems.push(Problem::new(kind, &name.span).help(help));
                }
                return usual;
            }
        };
        let help = self
            .usual_entrance()
            .map(|usual| format!("the usual one is {usual}; leave `address` out to have it"));
        let kind = match self.election {
            _ if is_link_local(address) => Some(ProblemKind::LinkLocalEntrance(address)),
            Some(election) if election.floats(address) => None,
            Some(_) => Some(ProblemKind::NotFloating(address)),
            None if self.machines.of(Role::Proxy).any(|proxy| proxy.holds(address)) => None,
            None => Some(ProblemKind::NotOnProxy(address)),
        };
        if let Some(kind) = kind.filter(|_| self.certain()) {
            problems.push(Problem::new(kind, span).maybe(help));
        }
        Some(address)
    }

    /// An address that accepts nothing is no entrance.
    fn check_accepted(&self, name: &At<ServiceName>, address: Option<IpAddr>, problems: &mut Problems) {
        let refuses = self.election.and_then(|election| election.refuses.as_ref());
        if let (Some(span), Some(address)) = (refuses, address) {
            let kind = ProblemKind::NotAccepted(address, name.value.clone());
            let problem =
                Problem::new(kind, span).help("remove it: `accept` is true unless the file says otherwise");
            problems.push(problem.also(&name.span, "the virtual service"));
        }
    }

    /// The public floating address; without an election, a proxy's own address where the router is.
    fn usual_entrance(&self) -> Option<IpAddr> {
        if let Some(election) = self.election {
            return election.public();
        }
        let mut routers = self.machines.of(Role::Router);
        let beside = |family| {
            routers.find_map(|router| {
                self.machines.of(Role::Proxy).find_map(|proxy| router.reaches_in(family, proxy))
            })
        };
        Family::BOTH.into_iter().find_map(beside)
    }

    /// Every address that an entrance could be is known.
    pub(super) fn certain(&self) -> bool {
        self.proxies_known()
            && self.election.is_none_or(|election| election.whole && election.public().is_some())
    }

    /// There are proxies, and everything that they are on is known.
    pub(super) fn proxies_known(&self) -> bool {
        self.machines.whole
            && !self.machines.lacks(Role::Proxy)
            && self.machines.of(Role::Proxy).all(|proxy| proxy.whole)
    }

    /// Directors ask real servers how they are, and send tunnels to them, from an address of their own. (In IPv4 each has one
    /// for the election.)
    fn check_families(&self, services: &[VirtualService], problems: &mut Problems) {
        let Some(service) = services.iter().find(|service| service.address.is_ipv6()) else { return };
        let lacks = |proxy: &&Draft<'_>| !proxy.addresses().any(|address| address.is_ipv6());
        for proxy in self.machines.of(Role::Proxy).filter(|proxy| proxy.whole).filter(lacks) {
            let name = proxy.name.value.clone();
            let kind = ProblemKind::DirectorOtherFamily(name, Family::V6, service.name.clone());
            problems.push(Problem::new(kind, &proxy.name.span).help("give it one on a network with them"));
        }
    }

    /// A web that is told to listen where no packet of a client ever comes to.
    fn check_web_port(&self, file: &File, services: &[VirtualService], problems: &mut Problems) {
        let given = file.conversation.value().and_then(|conversation| conversation.web_port.given());
        let Some(given) = given.filter(|_| self.method.certain && self.method.forward.answers_directly())
        else {
            return;
        };
        // A node that changes its services may have something else to listen.
        let is_plain = |real: &RealServer| {
            let mut webs = self.machines.of(Role::Web).filter(|web| web.name.value == real.node);
            webs.any(|web| web.file.is_some_and(|file| file.services.is_absent()))
        };
        let tcp = || services.iter().filter(|service| service.protocol == Protocol::Tcp);
        let served = tcp().any(|service| service.port == given.value.0);
        if !served && tcp().any(|service| service.reals.iter().any(is_plain)) {
            let kind = ProblemKind::WebPortUnreached(given.value.0, self.method.forward.word());
            let help = "leave `web_port` out: it is then the port of the first virtual service of TCP";
            problems.push(Problem::new(kind, &given.span).help(help));
        }
    }
}

fn check(
    name: &At<ServiceName>,
    given: &FileVirtual,
    protocol: Protocol,
    problems: &mut Problems,
) -> HealthCheck {
    if protocol == Protocol::Udp && given.check.is_absent() {
        let problem = Problem::new(ProblemKind::UdpWithoutCheck(name.value.clone()), &name.span);
        let help = "add a program that asks: `check: { run: [PROGRAM, ...] }`, or `check: {}` to connect to the port of \
                    the same number by TCP";
        problems.push(problem.help(help));
    }
    let given = given.check.value();
    let timing = given.map_or_else(Timing::default, |given| {
        timing(&given.interval, &given.timeout, (&given.rise, &given.fall), problems)
    });
    HealthCheck {
        probe: given.map_or(Probe::Tcp, |given| probe(given, problems)),
        interval: timing.interval,
        timeout: timing.timeout,
        rise: timing.rise,
        fall: timing.fall,
    }
}

fn probe(given: &FileCheck, problems: &mut Problems) -> Probe {
    if let (Some(http), Some(run)) = (given.http.given(), given.run.given()) {
        let problem = Problem::new(ProblemKind::TwoProbes, &run.span).help("remove one of them");
        problems.push(problem.also(&http.span, "the first one"));
    }
    match (given.http.value(), given.run.given()) {
        (_, Some(run)) => {
            let argv: Vec<String> = run.value.iter().map(|argument| argument.value.0.clone()).collect();
            check_program(&argv, run, problems);
            Probe::Command(argv)
        }
        (Some(path), None) => Probe::Http(path.0.clone()),
        (None, None) => Probe::Tcp,
    }
}

/// What clients connect to, and what a real server listens on.
type Port = (IpAddr, u16, Protocol);

/// What the virtual services so far use.
#[derive(Default)]
struct Seen {
    entrances: BTreeMap<Port, (ServiceName, Span)>,
    reals: BTreeMap<Port, (ServiceName, Span)>,
}

impl Seen {
    /// Enters a service, and reports what another one uses already.
    fn enter(
        &mut self,
        service: &VirtualService,
        forward: Forward,
        (name, given): (&At<ServiceName>, &FileVirtual),
        problems: &mut Problems,
    ) {
        let owner = || (service.name.clone(), name.span.clone());
        let entrance = (service.address, service.port, service.protocol);
        if let Some((other, span)) = self.entrances.get(&entrance) {
            let address = SocketAddr::new(service.address, service.port);
            let kind = ProblemKind::SharedEntrance(address, other.clone());
            let place = given.port.given().map_or(&name.span, |port| &port.span);
            let problem = Problem::new(kind, place).help("give one of them another port");
            problems.push(problem.also(span, format!("virtual service {other}")));
        } else {
            self.entrances.insert(entrance, owner());
        }
        // Only in nat, an answer says no more than who sent it.
        let mut reported: Option<NodeName> = None;
        for real in service.reals.iter().filter(|_| forward == Forward::Nat) {
            let place = (real.address, real.port, service.protocol);
            let taken = self.reals.get(&place);
            if let Some((other, span)) = taken.filter(|_| reported.is_none()) {
                let kind = ProblemKind::SharedReal(real.node.clone(), real.port, other.clone());
                let help = "give one of them another `real_port`: stateless NAT tells answers apart by it";
                let problem = Problem::new(kind, &name.span).help(help);
                problems.push(problem.also(span, format!("virtual service {other}")));
                reported = Some(real.node.clone());
            }
            self.reals.entry(place).or_insert_with(owner);
        }
    }
}
