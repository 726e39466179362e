//! The real servers of a virtual service: who they are, by which address a director reaches each, and that what they answer
//! gets back to the client in the way that the forwarding method has.

use std::net::IpAddr;

use super::addresses::Family;
use super::balancer::Directors;
use super::file::FileVirtual;
use super::names::{NetworkName, ServiceName};
use super::nodes::Draft;
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::scalars::Weight;
use super::site::{Forward, Protocol, RealServer, Role};

/// A virtual service, as far as those behind it must know it.
pub(super) struct Entrance<'a> {
    pub(super) name: &'a At<ServiceName>,
    pub(super) given: &'a FileVirtual,
    pub(super) family: Family,
    pub(super) protocol: Protocol,
}

impl Directors<'_, '_> {
    /// Those behind a service, in order of node name.
    pub(super) fn reals(&self, of: &Entrance<'_>, problems: &mut Problems) -> Vec<RealServer> {
        let port = self.real_port(of, problems);
        let mut reals = Vec::new();
        let nobody = match &of.given.real {
            Slot::Given(given) => {
                for (name, weight) in &given.value.entries {
                    if let Some(node) = self.machines.find(name, problems) {
                        let weight = weight.or(Weight(1)).0;
                        let address = self.checked_address(of, node, &name.span, problems);
                        reals.extend(address.map(|address| real(node, address, port, weight)));
                    }
                }
                given.value.entries.is_empty() && !given.value.incomplete
            }
            Slot::Absent => {
                for web in self.machines.of(Role::Web) {
                    let address = self.checked_address(of, web, &web.name.span, problems);
                    reals.extend(address.map(|address| real(web, address, port, 1)));
                }
                self.machines.lacks(Role::Web)
            }
            Slot::Broken => false,
        };
        if nobody {
            let kind = ProblemKind::NoRealServer(of.name.value.clone());
            let help = "give a node `role: web`, or name the nodes: `real: { NODE: WEIGHT }`";
            problems.push(Problem::new(kind, &of.name.span).help(help));
        }
        reals.sort_by(|a, b| a.node.cmp(&b.node));
        reals
    }

    /// The port on those behind a service. Zero if nobody knows it, which is a mistake already.
    fn real_port(&self, of: &Entrance<'_>, problems: &mut Problems) -> u16 {
        let forward = self.method.forward;
        let service = of.given.port.value().map_or(0, |port| port.0);
        let usual = match of.protocol {
            Protocol::Tcp if !forward.answers_directly() => self.conversation.web_port,
            Protocol::Tcp | Protocol::Udp => service,
        };
        let Some(given) = of.given.real_port.given() else { return usual };
        let port = given.value.0;
        if forward.answers_directly() && self.method.certain && port != service && service != 0 {
            let kind = ProblemKind::PortKept(port, service, forward.word());
            let problem = Problem::new(kind, &given.span).help("leave `real_port` out, or take nat or proxy");
            problems.push(match of.given.port.given() {
                Some(port) => problem.also(&port.span, "the port that clients connect to"),
                None => problem,
            });
        }
        port
    }

    /// The address of a node behind a service. That it has none, or cannot answer, is reported.
    fn checked_address(
        &self,
        of: &Entrance<'_>,
        node: &Draft<'_>,
        span: &Span,
        problems: &mut Problems,
    ) -> Option<IpAddr> {
        if node.role == Some(Role::Proxy) {
            let kind = ProblemKind::RealIsDirector(node.name.value.clone(), of.name.value.clone());
            problems.push(Problem::new(kind, span).help("name nodes of another role"));
            return None;
        }
        let address = self.address_of(node, of.family);
        let known = node.whole && self.proxies_known() && self.method.certain;
        match address {
            _ if !known => {}
            Some(_) => self.check_answers(of, node, span, problems),
            None => problems.push(self.unreachable(of, node, span)),
        }
        address
    }

    /// By which address directors reach a node: on a network that they share, that of the election if possible; where a
    /// router may be between, by the one that it goes out by.
    fn address_of(&self, node: &Draft<'_>, family: Family) -> Option<IpAddr> {
        let elected = self.election.and_then(|election| election.network.as_ref());
        let others = node.interfaces.iter().map(|interface| &interface.network);
        let mut near = elected.into_iter().chain(others).filter(|network| self.is_near(network));
        let far = self.method.forward == Forward::Tun || self.method.force;
        near.find_map(|network| node.first_on(network, family))
            .or_else(|| if far { self.outer_address(node, family) } else { None })
    }

    /// Is a network one of the directors': for the hardware address that `dr` sends to, of every one of them?
    fn is_near(&self, network: &NetworkName) -> bool {
        let mut proxies = self.machines.of(Role::Proxy);
        match self.method.forward {
            Forward::Dr => proxies.all(|proxy| proxy.is_on(network)),
            Forward::Nat | Forward::Tun | Forward::Proxy => proxies.any(|proxy| proxy.is_on(network)),
        }
    }

    fn outer_address(&self, node: &Draft<'_>, family: Family) -> Option<IpAddr> {
        let gateway = self.gateway_of(node, family);
        let prefix = |network| self.machines.networks.prefix(network, family);
        let leads = |network| gateway.is_some_and(|hop| prefix(network).is_some_and(|it| it.contains(&hop)));
        let networks = || node.interfaces.iter().map(|interface| &interface.network);
        let out = networks().find(|network| leads(network));
        out.into_iter().chain(networks()).find_map(|network| node.first_on(network, family))
    }

    fn unreachable(&self, of: &Entrance<'_>, node: &Draft<'_>, span: &Span) -> Problem {
        let (name, service) = (node.name.value.clone(), of.name.value.clone());
        let near = node.interfaces.iter().any(|interface| self.is_near(&interface.network));
        let stranger = || {
            let apart = |proxy: &&Draft<'_>| !node.interfaces.iter().any(|it| proxy.is_on(&it.network));
            self.machines.of(Role::Proxy).find(apart).or_else(|| self.machines.of(Role::Proxy).next())
        };
        match self.method.forward {
            Forward::Dr if !near && let Some(proxy) = stranger() => {
                let kind = ProblemKind::RealBehindRouter(name, proxy.name.value.clone(), service);
                let help =
                    "plug both into one network, take `forward: tun`, or see it fail with `force: true`";
                Problem::new(kind, span).help(help).also(&proxy.name.span, "the proxy")
            }
            Forward::Nat | Forward::Proxy if !near => {
                let kind = ProblemKind::RealOffLink(name, service);
                Problem::new(kind, span).help("give both an address on one network")
            }
            Forward::Nat | Forward::Tun | Forward::Dr | Forward::Proxy => {
                let kind = ProblemKind::RealOtherFamily(name, of.family, service);
                let problem =
                    Problem::new(kind, span).help("give it one, or the service an address of its family");
                problem.also(&of.name.span, "the virtual service")
            }
        }
    }

    /// In nat, answers must pass the director, which puts the service's address back; in tun and dr they must not, since it
    /// takes them for forged.
    fn check_answers(&self, of: &Entrance<'_>, node: &Draft<'_>, span: &Span, problems: &mut Problems) {
        let written = node.file.map(|file| &file.gateway);
        let networks = node.interfaces.iter().map(|interface| &interface.network);
        let unsure = !{ networks }.all(|network| self.machines.networks.is_certain(network));
        if self.method.force || unsure || !self.certain() || written.is_none_or(Slot::is_broken) {
            return;
        }
        let gateway = self.gateway_of(node, of.family);
        let (name, service) = (node.name.value.clone(), of.name.value.clone());
        let (kind, help) = match (self.method.forward, gateway) {
            (Forward::Nat, Some(hop)) if self.takes_answers(hop) || !self.is_held(hop) => return,
            (Forward::Nat, gateway) => {
                let by = gateway.map_or("by no gateway".to_owned(), |hop| format!("by {hop}"));
                let help = "give it a floating address of its network as `gateway`, take tun or dr, or see it fail with `force: true`";
                (ProblemKind::AnswersElsewhere(name, service, by), help)
            }
            (Forward::Tun | Forward::Dr, Some(hop)) if self.is_directors(hop) => {
                let help = "give it a router of its network as `gateway`, take nat, or see it fail with `force: true`";
                (ProblemKind::AnswersByDirector(name, service, hop), help)
            }
            (Forward::Tun | Forward::Dr | Forward::Proxy, _) => return,
        };
        let problem = match written.and_then(Slot::given) {
            Some(gateway) => Problem::new(kind, &gateway.span).also(&of.name.span, "the virtual service"),
            None => Problem::new(kind, span),
        };
        problems.push(problem.help(help));
    }

    /// Is this the address of whichever director a request came by?
    fn takes_answers(&self, hop: IpAddr) -> bool {
        let mut proxies = self.machines.of(Role::Proxy);
        let alone = self.election.is_none() || self.machines.of(Role::Proxy).count() == 1;
        self.election.is_some_and(|election| election.floats(hop))
            || alone && proxies.any(|proxy| proxy.holds(hop))
    }

    fn is_directors(&self, hop: IpAddr) -> bool {
        let mut proxies = self.machines.of(Role::Proxy);
        self.election.is_some_and(|election| election.floats(hop)) || proxies.any(|proxy| proxy.holds(hop))
    }

    /// A gateway that nobody has is a mistake of its own.
    fn is_held(&self, hop: IpAddr) -> bool {
        self.is_directors(hop) || self.machines.nodes.iter().any(|node| node.holds(hop))
    }

    fn gateway_of(&self, node: &Draft<'_>, family: Family) -> Option<IpAddr> {
        let at = self.machines.nodes.iter().position(|it| it.name.value == node.name.value)?;
        let [v4, v6] = self.gateways;
        let of_family = if family == Family::V4 { v4 } else { v6 };
        of_family.get(at).copied().flatten()
    }
}

fn real(node: &Draft<'_>, address: IpAddr, port: u16, weight: u32) -> RealServer {
    RealServer { node: node.name.value.clone(), address, port, weight }
}
