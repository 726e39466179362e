//! Default routes: what the file says, what it leaves to us, and that no packet can go round in a circle.

use std::collections::HashMap;
use std::net::IpAddr;

use super::addresses::{Family, Gateway};
use super::failover::Election;
use super::file::File;
use super::methods::forward_of;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::site::{Forward, Role};

/// The gateway of each node in one family, in the order of the nodes.
pub(super) fn gateways(
    family: Family,
    file: &File,
    machines: &Machines<'_>,
    election: Option<&Election>,
    problems: &mut Problems,
) -> Vec<Option<IpAddr>> {
    let site = Routes {
        family,
        answers_directly: forward_of(file).is_some_and(Forward::answers_directly),
        machines,
        election,
        owners: owners(machines, election),
        routers: machines.of(Role::Router).collect(),
        proxies: machines.of(Role::Proxy).collect(),
    };
    let gateways: Vec<_> = machines.nodes.iter().map(|node| site.gateway(node, problems)).collect();
    site.check_cycles(&gateways, problems);
    gateways
}

/// Where a route leads: to a node by its index, or to whichever proxy holds the floating addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    Node(usize),
    Holder,
}

struct Routes<'a, 'f> {
    family: Family,
    /// Webs answer clients themselves, and not by a director.
    answers_directly: bool,
    machines: &'a Machines<'f>,
    election: Option<&'a Election>,
    owners: HashMap<IpAddr, Hop>,
    routers: Vec<&'a Draft<'f>>,
    proxies: Vec<&'a Draft<'f>>,
}

fn owners(machines: &Machines<'_>, election: Option<&Election>) -> HashMap<IpAddr, Hop> {
    let mut owners = HashMap::new();
    for (index, node) in machines.nodes.iter().enumerate() {
        owners.extend(node.addresses().map(|address| (address, Hop::Node(index))));
    }
    let floating = election.into_iter().flat_map(Election::all);
    owners.extend(floating.map(|floating| (floating.address, Hop::Holder)));
    owners
}

impl Routes<'_, '_> {
    fn gateway(&self, node: &Draft<'_>, problems: &mut Problems) -> Option<IpAddr> {
        match node.file.map(|file| &file.gateway) {
            Some(Slot::Given(given)) => {
                let hops = || given.value.0.iter().filter_map(|at| Some((at.value.0?, &at.span)));
                let mut ours = hops().filter(|(hop, _)| Family::of(*hop) == self.family);
                let Some((hop, span)) = ours.next() else {
                    // Written for the other family alone, which leaves this one its default unless it says `none`.
                    let none = given.value.0.iter().any(|at| at.value.0.is_none());
                    return self.default_of(node).filter(|_| !none);
                };
                self.check(node, hop, span, problems);
                if let Some((_, second)) = ours.next() {
                    let kind = ProblemKind::TwiceInFamily("the gateway", self.family);
                    problems.push(Problem::new(kind, second).help("remove one of them"));
                }
                Some(hop)
            }
            Some(Slot::Absent) => self.default_of(node),
            Some(Slot::Broken) | None => None,
        }
    }

    fn default_of(&self, node: &Draft<'_>) -> Option<IpAddr> {
        self.usual(node).filter(|hop| self.is_on_link(node, *hop))
    }

    /// IPv6 is not everywhere: a node without an address beside the next hop has no use for it.
    fn is_on_link(&self, node: &Draft<'_>, hop: IpAddr) -> bool {
        let networks = &self.machines.networks;
        let holds =
            |network| networks.prefix(network, self.family).is_some_and(|prefix| prefix.contains(&hop));
        let speaks = |network| self.family == Family::V4 || node.first_on(network, self.family).is_some();
        node.interfaces.iter().any(|it| holds(&it.network) && speaks(&it.network))
    }

    fn usual(&self, node: &Draft<'_>) -> Option<IpAddr> {
        match node.role? {
            Role::Router | Role::Db => None,
            Role::Client | Role::Remote => self.router(node),
            Role::Proxy => match self.election {
                // Static: it serves while the proxy is not the holder. The holder's better route comes with the role.
                Some(election) => self.router_beside(node).or_else(|| {
                    let mut own = election.of(self.family);
                    own.find(|it| Some(&it.network) == election.network.as_ref()).map(|it| it.address)
                }),
                None => self.router(node),
            },
            Role::Web if self.answers_directly => self.router(node),
            Role::Web => self.floating(node).or_else(|| self.proxy(node)).or_else(|| self.router(node)),
        }
    }

    fn router(&self, node: &Draft<'_>) -> Option<IpAddr> {
        self.routers.iter().find_map(|router| node.reaches_in(self.family, router))
    }

    /// A router on a network on which the node has an address of its own.
    fn router_beside(&self, node: &Draft<'_>) -> Option<IpAddr> {
        let networks = node.interfaces.iter().map(|interface| &interface.network);
        let mut own = networks.filter(|network| node.first_on(network, self.family).is_some());
        own.find_map(|network| self.routers.iter().find_map(|router| router.first_on(network, self.family)))
    }

    fn proxy(&self, node: &Draft<'_>) -> Option<IpAddr> {
        self.proxies.iter().find_map(|proxy| node.reaches_in(self.family, proxy))
    }

    /// The floating address on one of the node's networks.
    fn floating(&self, node: &Draft<'_>) -> Option<IpAddr> {
        let mut floating = self.election?.of(self.family);
        floating.find(|floating| node.is_on(&floating.network)).map(|floating| floating.address)
    }

    fn check(&self, node: &Draft<'_>, hop: IpAddr, span: &Span, problems: &mut Problems) {
        let networks = &self.machines.networks;
        let on = || node.interfaces.iter().map(|interface| &interface.network);
        let unsure = !node.whole || !on().all(|network| networks.is_certain(network));
        if !self.is_on_link(node, hop) && !unsure {
            let kind = ProblemKind::GatewayOffLink(hop, node.name.value.clone());
            let problem = Problem::new(kind, span).help("leave `gateway` out to have the usual one");
            problems.push(problem.maybe(self.suggestion(node)));
        } else if self.owner(hop).is_none() && self.certain() {
            let problem = Problem::new(ProblemKind::GatewayUnheld(hop), span);
            problems.push(problem.maybe(self.suggestion(node)));
        }
    }

    fn suggestion(&self, node: &Draft<'_>) -> Option<String> {
        self.default_of(node).map(|usual| format!("the usual one is {usual}; leave `gateway` out to have it"))
    }

    /// Every address of the file could be read.
    fn certain(&self) -> bool {
        self.machines.whole
            && self.machines.nodes.iter().all(|node| node.whole)
            && self.election.is_none_or(|election| election.whole)
    }

    fn owner(&self, address: IpAddr) -> Option<Hop> {
        self.owners.get(&address).copied()
    }

    fn check_cycles(&self, gateways: &[Option<IpAddr>], problems: &mut Problems) {
        let way_out = self.election.and_then(|election| election.holder_gateway(self.family));
        let holder_next = way_out.and_then(|hop| self.owner(hop));
        let next: Vec<Option<Hop>> =
            gateways.iter().map(|gateway| gateway.and_then(|hop| self.owner(hop))).collect();
        let follow = |hop: Hop| match hop {
            Hop::Node(index) => next[index],
            Hop::Holder => holder_next,
        };
        let mut done = vec![false; next.len()];
        for start in 0..next.len() {
            let mut path: Vec<Hop> = Vec::new();
            let mut at = Some(Hop::Node(start));
            while let Some(hop) = at {
                if let Some(begin) = path.iter().position(|before| *before == hop) {
                    self.report_cycle(&path[begin..], problems);
                    break;
                }
                if matches!(hop, Hop::Node(index) if std::mem::replace(&mut done[index], true)) {
                    break;
                }
                path.push(hop);
                at = follow(hop);
            }
        }
    }

    fn report_cycle(&self, cycle: &[Hop], problems: &mut Problems) {
        let name = |hop: &Hop| match hop {
            Hop::Node(index) => self.machines.nodes[*index].name.value.to_string(),
            Hop::Holder => "the active proxy".to_owned(),
        };
        let mut words: Vec<String> = cycle.iter().map(name).collect();
        words.extend(words.first().cloned());
        let nodes = || {
            cycle.iter().filter_map(|hop| match hop {
                Hop::Node(index) => Some(&self.machines.nodes[*index]),
                Hop::Holder => None,
            })
        };
        // A route that somebody wrote is a better place to look at than one that followed from it.
        let written = nodes().find_map(|node| {
            let hops = &node.file?.gateway.value()?.0;
            let ours = |at: &&At<Gateway>| at.value.0.is_some_and(|hop| Family::of(hop) == self.family);
            hops.iter().find(ours).map(|at| at.span.clone())
        });
        let Some(span) = written.or_else(|| nodes().next().map(|node| node.name.span.clone())) else {
            return;
        };
        let kind = ProblemKind::GatewayCycle(words.join(" -> "));
        problems
            .push(Problem::new(kind, &span).help("one of them needs another gateway, or `gateway: none`"));
    }
}
