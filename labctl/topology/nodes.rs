//! The nodes as far as the file describes them: role, interfaces, addresses. Gateways and services come later, since
//! they depend on what other nodes are for.

use std::net::{IpAddr, Ipv4Addr};

use super::addresses::{Addresses, Family};
use super::file::{File, FileNode};
use super::names::{NetworkName, NodeName};
use super::networks::{Book, Networks};
use super::problem::{Problem, ProblemKind, Problems, did_you_mean};
use super::read::{At, Several};
use super::site::{Interface, Role};

/// A node of the file.
#[derive(Debug)]
pub(super) struct Draft<'f> {
    pub(super) name: &'f At<NodeName>,
    /// Nothing where the file has no keys and values under the name.
    pub(super) file: Option<&'f FileNode>,
    pub(super) role: Option<Role>,
    pub(super) interfaces: Vec<Interface>,
    /// Every interface could be read: what is not there is not in the file.
    pub(super) whole: bool,
}

impl Draft<'_> {
    pub(super) fn is_on(&self, network: &NetworkName) -> bool {
        self.interfaces.iter().any(|interface| &interface.network == network)
    }

    pub(super) fn addresses_on(&self, network: &NetworkName) -> &[Ipv4Addr] {
        let on = self.interfaces.iter().find(|interface| &interface.network == network);
        on.map_or(&[], |interface| &interface.addresses)
    }

    /// Its first address on a network in one family.
    pub(super) fn first_on(&self, network: &NetworkName, family: Family) -> Option<IpAddr> {
        let on = self.interfaces.iter().find(|interface| &interface.network == network)?;
        match family {
            Family::V4 => on.addresses.first().copied().map(IpAddr::V4),
            Family::V6 => on.addresses6.first().copied().map(IpAddr::V6),
        }
    }

    /// All of its addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.interfaces.iter().flat_map(Interface::all)
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.addresses().any(|own| own == address)
    }

    /// The first of this node's networks on which the other has an address, and that address.
    pub(super) fn reaches(&self, other: &Draft<'_>) -> Option<Ipv4Addr> {
        let networks = self.interfaces.iter().map(|interface| &interface.network);
        networks.filter_map(|network| other.addresses_on(network).first()).next().copied()
    }

    /// The same in one family.
    pub(super) fn reaches_in(&self, family: Family, other: &Draft<'_>) -> Option<IpAddr> {
        self.interfaces.iter().find_map(|interface| other.first_on(&interface.network, family))
    }
}

/// All that the file says about machines.
#[derive(Debug)]
pub(super) struct Machines<'f> {
    pub(super) networks: Networks,
    pub(super) nodes: Vec<Draft<'f>>,
    /// Every node and its role could be read: a role that is not there is not in the file.
    pub(super) whole: bool,
}

impl<'f> Machines<'f> {
    /// Takes the nodes of the file, and enters their addresses.
    pub(super) fn new(file: &'f File, networks: Networks, book: &mut Book, problems: &mut Problems) -> Self {
        let Some(map) = file.nodes.value() else { return Self { networks, nodes: Vec::new(), whole: false } };
        let mut machines = Self { networks, nodes: Vec::with_capacity(map.entries.len()), whole: true };
        for (name, slot) in &map.entries {
            let draft = draft(name, slot.value(), &machines.networks, book, problems);
            machines.whole &= draft.role.is_some();
            machines.nodes.push(draft);
        }
        machines.whole &= !map.incomplete;
        machines
    }

    pub(super) fn of(&self, role: Role) -> impl Iterator<Item = &Draft<'f>> {
        self.nodes.iter().filter(move |node| node.role == Some(role))
    }

    /// There is certainly no node of this role.
    pub(super) fn lacks(&self, role: Role) -> bool {
        self.whole && self.of(role).next().is_none()
    }

    /// The node of this name. If there is none, that is reported.
    pub(super) fn find(&self, name: &At<NodeName>, problems: &mut Problems) -> Option<&Draft<'f>> {
        let found = self.nodes.iter().find(|node| node.name.value == name.value);
        if found.is_none() && self.whole {
            let help =
                did_you_mean(name.value.as_str(), self.nodes.iter().map(|node| node.name.value.as_str()));
            problems.push(Problem::new(ProblemKind::UnknownNode(name.value.clone()), &name.span).maybe(help));
        }
        found
    }
}

fn draft<'f>(
    name: &'f At<NodeName>,
    file: Option<&'f FileNode>,
    networks: &Networks,
    book: &mut Book,
    problems: &mut Problems,
) -> Draft<'f> {
    let role = file.and_then(|node| node.role.value()).map(|role| role.0);
    let mut draft = Draft { name, file, role, interfaces: Vec::new(), whole: true };
    let Some(on) = file.and_then(|node| node.on.given()) else {
        draft.whole = false;
        return draft;
    };
    for (network, slot) in &on.value.entries {
        let known = networks.check(network, problems);
        draft.whole &= known && slot.given().is_some();
        let mut interface =
            Interface { network: network.value.clone(), addresses: Vec::new(), addresses6: Vec::new() };
        if let Some(given) = slot.value() {
            check_none(given, problems);
            let who = format!("node {}", name.value);
            for At { value: addresses, span } in &given.0 {
                let addresses = addresses.list();
                book.claim(networks, &network.value, &addresses, (&who, span), problems);
                addresses.into_iter().for_each(|address| match address {
                    IpAddr::V4(address) => interface.addresses.push(address),
                    IpAddr::V6(address) => interface.addresses6.push(address),
                });
            }
        }
        draft.interfaces.push(interface);
    }
    draft.whole &= !on.value.incomplete;
    if draft.whole && draft.interfaces.is_empty() {
        let help = "plug it in: `on: { NETWORK: ADDRESS }`";
        problems.push(Problem::new(ProblemKind::NodeWithoutNetwork(name.value.clone()), &on.span).help(help));
    }
    check_priority(&draft, problems);
    draft
}

/// `none` beside an address.
fn check_none(given: &Several<Addresses>, problems: &mut Problems) {
    if given.0.len() > 1 {
        for at in given.0.iter().filter(|at| matches!(at.value, Addresses::None)) {
            let kind = ProblemKind::WrongType("an address", "`none`".to_owned());
            problems.push(Problem::new(kind, &at.span).help("remove it: `none` stands alone"));
        }
    }
}

fn check_priority(draft: &Draft<'_>, problems: &mut Problems) {
    let priority = draft.file.and_then(|node| node.priority.given());
    if let (Some(priority), Some(role)) = (priority, draft.role)
        && role != Role::Proxy
    {
        let kind = ProblemKind::PriorityWithoutElection(draft.name.value.clone(), role);
        problems.push(Problem::new(kind, &priority.span).help("remove it, or make the node a proxy"));
    }
}
