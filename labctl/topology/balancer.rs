//! The virtual services: where clients reach each, who is behind it, and that every answer can be told apart.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::checks::{Timing, timing};
use super::failover::Election;
use super::file::{File, FileCheck, FileVirtual};
use super::names::{NetworkName, NodeName, ServiceName};
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::scalars::Weight;
use super::site::{
    Backend, Balancer, BalancerEngine, Conversation, Forward, HealthCheck, Layer7, Probe, Protocol,
    RealServer, Role, Scheduler, VirtualService,
};

/// Reads the balancer. `None` if the file has none, or only a broken one.
pub(super) fn balancer(
    file: &File,
    machines: &Machines<'_>,
    election: Option<&Election>,
    conversation: &Conversation,
    problems: &mut Problems,
) -> Option<Balancer> {
    let given = file.balancer.given()?;
    if machines.lacks(Role::Proxy) {
        let problem = Problem::new(ProblemKind::NoProxy("the balancer"), &given.span);
        problems.push(problem.help("give a node `role: proxy`, or remove `balancer`"));
    }
    let site = Directors { machines, election, conversation };
    let mut seen = Seen::default();
    let mut services = Vec::new();
    for (name, slot) in &given.value.services.value()?.entries {
        let Some(virtual_service) = slot.value() else { continue };
        let service = site.service(name, virtual_service, problems);
        if let Some(service) = service {
            seen.enter(&service, name, virtual_service, problems);
            services.push(service);
        }
    }
    Some(Balancer {
        forward: given.value.forward.value().map_or(Forward::Nat, |choice| choice.0),
        engine: BalancerEngine::default(),
        backend: Backend::default(),
        sync: false,
        services,
    })
}

struct Directors<'a, 'f> {
    machines: &'a Machines<'f>,
    election: Option<&'a Election>,
    conversation: &'a Conversation,
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
        let port = given.real_port.value().map_or(self.conversation.web_port, |port| port.0);
        let reals = self.reals(name, given, port, problems);
        let check = check(given.check.value(), problems);
        Some(VirtualService {
            name: name.value.clone(),
            address: address?.into(),
            port: given.port.value()?.0,
            protocol: Protocol::Tcp,
            scheduler: given.scheduler.value().map_or(Scheduler::Wrr, |choice| choice.0),
            reals,
            check,
            slow_start: Duration::ZERO,
            fail_open: true,
            layer7: Layer7::default(),
        })
    }

    fn entrance(
        &self,
        name: &At<ServiceName>,
        given: &FileVirtual,
        problems: &mut Problems,
    ) -> Option<Ipv4Addr> {
        let At { value: address, span } = match &given.address {
            Slot::Broken => return None,
            Slot::Given(address) => address,
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
            Some(election) if election.floats(address.0.into()) => None,
            Some(_) => Some(ProblemKind::NotFloating(address.0)),
            None if self.machines.of(Role::Proxy).any(|proxy| proxy.holds(address.0)) => None,
            None => Some(ProblemKind::NotOnProxy(address.0)),
        };
        if let Some(kind) = kind.filter(|_| self.certain()) {
            problems.push(Problem::new(kind, span).maybe(help));
        }
        Some(address.0)
    }

    /// An address that accepts nothing is no entrance.
    fn check_accepted(&self, name: &At<ServiceName>, address: Option<Ipv4Addr>, problems: &mut Problems) {
        let refuses = self.election.and_then(|election| election.refuses.as_ref());
        if let (Some(span), Some(address)) = (refuses, address) {
            let kind = ProblemKind::NotAccepted(address, name.value.clone());
            let problem =
                Problem::new(kind, span).help("remove it: `accept` is true unless the file says otherwise");
            problems.push(problem.also(&name.span, "the virtual service"));
        }
    }

    /// The public floating address; without an election, a proxy's own address where the router is.
    fn usual_entrance(&self) -> Option<Ipv4Addr> {
        if let Some(election) = self.election {
            return election.public();
        }
        let mut routers = self.machines.of(Role::Router);
        routers.find_map(|router| self.machines.of(Role::Proxy).find_map(|proxy| router.reaches(proxy)))
    }

    /// Every address that an entrance could be is known.
    fn certain(&self) -> bool {
        self.proxies_known()
            && self.election.is_none_or(|election| election.whole && election.public().is_some())
    }

    /// There are proxies, and everything that they are on is known.
    fn proxies_known(&self) -> bool {
        self.machines.whole
            && !self.machines.lacks(Role::Proxy)
            && self.machines.of(Role::Proxy).all(|proxy| proxy.whole)
    }

    fn reals(
        &self,
        name: &At<ServiceName>,
        given: &FileVirtual,
        port: u16,
        problems: &mut Problems,
    ) -> Vec<RealServer> {
        let mut reals = Vec::new();
        let mut enter = |node: &Draft<'_>, weight: u32, span: &Span, problems: &mut Problems| match self
            .inner_address(node)
        {
            Some(address) => reals.push(RealServer {
                node: node.name.value.clone(),
                address: address.into(),
                port,
                weight,
            }),
            None if node.whole && self.proxies_known() => {
                let kind = ProblemKind::RealOffLink(node.name.value.clone(), name.value.clone());
                let help = "give both an address on one network";
                problems.push(Problem::new(kind, span).help(help));
            }
            None => {}
        };
        let nobody = match &given.real {
            Slot::Given(given) => {
                for (node, weight) in &given.value.entries {
                    let weight = weight.or(Weight(1)).0;
                    if let Some(draft) = self.machines.find(node, problems) {
                        enter(draft, weight, &node.span, problems);
                    }
                }
                given.value.entries.is_empty() && !given.value.incomplete
            }
            Slot::Absent => {
                let webs = self.machines.of(Role::Web);
                webs.for_each(|web| enter(web, 1, &web.name.span, problems));
                self.machines.lacks(Role::Web)
            }
            Slot::Broken => false,
        };
        if nobody {
            let kind = ProblemKind::NoRealServer(name.value.clone());
            let help = "give a node `role: web`, or name the nodes: `real: { NODE: WEIGHT }`";
            problems.push(Problem::new(kind, &name.span).help(help));
        }
        reals.sort_by(|a, b| a.node.cmp(&b.node));
        reals
    }

    /// A node's address on a network that a proxy is on too: that of the election if possible.
    fn inner_address(&self, node: &Draft<'_>) -> Option<Ipv4Addr> {
        let shared = |network: &NetworkName| {
            let proxied = self.machines.of(Role::Proxy).any(|proxy| proxy.is_on(network));
            node.addresses_on(network).first().copied().filter(|_| proxied)
        };
        let elected = self.election.and_then(|election| election.network.as_ref());
        let others = node.interfaces.iter().map(|interface| &interface.network);
        elected.into_iter().chain(others).find_map(shared)
    }
}

fn check(given: Option<&FileCheck>, problems: &mut Problems) -> HealthCheck {
    let timing = given.map_or_else(Timing::default, |given| {
        timing(&given.interval, &given.timeout, (&given.rise, &given.fall), problems)
    });
    let path = given.and_then(|given| given.http.value());
    HealthCheck {
        probe: path.map_or(Probe::Tcp, |path| Probe::Http(path.0.clone())),
        interval: timing.interval,
        timeout: timing.timeout,
        rise: timing.rise,
        fall: timing.fall,
    }
}

/// What the virtual services so far use.
#[derive(Default)]
struct Seen {
    entrances: BTreeMap<(IpAddr, u16), (ServiceName, Span)>,
    reals: BTreeMap<(IpAddr, u16), (ServiceName, Span)>,
}

impl Seen {
    /// Enters a service, and reports what another one uses already.
    fn enter(
        &mut self,
        service: &VirtualService,
        name: &At<ServiceName>,
        given: &FileVirtual,
        problems: &mut Problems,
    ) {
        let owner = || (service.name.clone(), name.span.clone());
        let (address, port) = (service.address, service.port);
        if let Some((other, span)) = self.entrances.get(&(address, port)) {
            let kind = ProblemKind::SharedEntrance(SocketAddr::new(address, port), other.clone());
            let place = given.port.given().map_or(&name.span, |port| &port.span);
            let problem = Problem::new(kind, place).help("give one of them another port");
            problems.push(problem.also(span, format!("virtual service {other}")));
        } else {
            self.entrances.insert((address, port), owner());
        }
        let mut reported: Option<NodeName> = None;
        for real in &service.reals {
            let taken = self.reals.get(&(real.address, real.port));
            if let Some((other, span)) = taken.filter(|_| reported.is_none()) {
                let kind = ProblemKind::SharedReal(real.node.clone(), real.port, other.clone());
                let help = "give one of them another `real_port`: stateless NAT tells answers apart by it";
                let problem = Problem::new(kind, &name.span).help(help);
                problems.push(problem.also(span, format!("virtual service {other}")));
                reported = Some(real.node.clone());
            }
            self.reals.entry((real.address, real.port)).or_insert_with(owner);
        }
    }
}
