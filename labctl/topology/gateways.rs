//! Default routes: what the file says, what it leaves to us, and that no packet can go round in a circle.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::failover::Election;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::Slot;
use super::site::Role;

/// The gateway of each node, in the order of the nodes.
pub(super) fn gateways(
    machines: &Machines<'_>,
    election: Option<&Election>,
    problems: &mut Problems,
) -> Vec<Option<Ipv4Addr>> {
    let site = Routes {
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
    machines: &'a Machines<'f>,
    election: Option<&'a Election>,
    owners: HashMap<Ipv4Addr, Hop>,
    routers: Vec<&'a Draft<'f>>,
    proxies: Vec<&'a Draft<'f>>,
}

fn owners(machines: &Machines<'_>, election: Option<&Election>) -> HashMap<Ipv4Addr, Hop> {
    let mut owners = HashMap::new();
    for (index, node) in machines.nodes.iter().enumerate() {
        let addresses = node.interfaces.iter().flat_map(|interface| &interface.addresses);
        owners.extend(addresses.map(|address| (*address, Hop::Node(index))));
    }
    let floating = election.into_iter().flat_map(|election| &election.addresses);
    owners.extend(floating.map(|floating| (floating.address, Hop::Holder)));
    owners
}

impl Routes<'_, '_> {
    fn gateway(&self, node: &Draft<'_>, problems: &mut Problems) -> Option<Ipv4Addr> {
        match node.file.map(|file| &file.gateway) {
            Some(Slot::Given(given)) => {
                if let Some(hop) = given.value.0 {
                    self.check(node, hop, &given.span, problems);
                }
                given.value.0
            }
            Some(Slot::Absent) => self.default_of(node),
            Some(Slot::Broken) | None => None,
        }
    }

    fn default_of(&self, node: &Draft<'_>) -> Option<Ipv4Addr> {
        match node.role? {
            Role::Router | Role::Db => None,
            Role::Client | Role::Remote => self.router(node),
            Role::Proxy => match self.election {
                // Static: it serves while the proxy is not the holder. The holder's better route comes with the role.
                Some(election) => {
                    let inner = |network| election.addresses.iter().find(|it| Some(&it.network) == network);
                    inner(election.network.as_ref()).map(|floating| floating.address)
                }
                None => self.router(node),
            },
            Role::Web => self.floating(node).or_else(|| self.proxy(node)).or_else(|| self.router(node)),
        }
    }

    fn router(&self, node: &Draft<'_>) -> Option<Ipv4Addr> {
        self.routers.iter().find_map(|router| node.reaches(router))
    }

    fn proxy(&self, node: &Draft<'_>) -> Option<Ipv4Addr> {
        self.proxies.iter().find_map(|proxy| node.reaches(proxy))
    }

    /// The floating address on one of the node's networks.
    fn floating(&self, node: &Draft<'_>) -> Option<Ipv4Addr> {
        let addresses = &self.election?.addresses;
        addresses.iter().find(|floating| node.is_on(&floating.network)).map(|floating| floating.address)
    }

    fn check(&self, node: &Draft<'_>, hop: Ipv4Addr, span: &Span, problems: &mut Problems) {
        let networks = &self.machines.networks;
        let prefixes: Vec<_> = node.interfaces.iter().map(|on| networks.prefix(&on.network)).collect();
        let unsure = !node.whole || prefixes.contains(&None);
        let on_link = prefixes.iter().flatten().any(|prefix| prefix.contains(&hop));
        if !on_link && !unsure {
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

    fn owner(&self, address: Ipv4Addr) -> Option<Hop> {
        self.owners.get(&address).copied()
    }

    fn check_cycles(&self, gateways: &[Option<Ipv4Addr>], problems: &mut Problems) {
        let holder_next =
            self.election.and_then(|election| election.holder_gateway).and_then(|hop| self.owner(hop));
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
        let written = nodes().find_map(|node| Some(node.file?.gateway.given()?.span.clone()));
        let Some(span) = written.or_else(|| nodes().next().map(|node| node.name.span.clone())) else {
            return;
        };
        let kind = ProblemKind::GatewayCycle(words.join(" -> "));
        problems
            .push(Problem::new(kind, &span).help("one of them needs another gateway, or `gateway: none`"));
    }
}
