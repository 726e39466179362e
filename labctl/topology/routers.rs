//! Virtual routers: which addresses each moves, that every proxy can hold them, and that their identifiers differ.

use std::collections::{BTreeMap, BTreeSet};

use super::addresses::{self, AnyAddress, Family};
use super::failover::Floating;
use super::file::{FileFailover, FileRouter};
use super::names::{NetworkName, NodeName, ServiceName, Vrid};
use super::networks::Book;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Map, Several, Slot};
use super::site::{FloatingAddress, FloatingAddress6, Role, VirtualRouter, VrrpVersion};

/// The most addresses of one family in a virtual router: keepalived takes no longer list from a peer, and an advertisement
/// of so many still fits the smallest packet that IPv6 carries.
const ADDRESSES_MAX: usize = 20;

/// VRID of a file that names none. Any would do; this is the one that most examples in the world use.
const VRID_DEFAULT: i64 = 51;

/// Reads virtual routers one after the other, and remembers what the earlier ones have.
pub(super) struct Routers<'a, 'f> {
    given: &'a FileFailover,
    machines: &'a Machines<'f>,
    book: &'a mut Book,
    /// Every address so far, in the order of the file.
    pub(super) floating: Vec<Floating>,
    /// Every one could be read.
    pub(super) whole: bool,
    /// Networks whose proxies were looked at.
    homes: BTreeSet<NetworkName>,
    /// Identifiers, who has them and where.
    vrids: BTreeMap<Vrid, (String, Span)>,
}

impl<'a, 'f> Routers<'a, 'f> {
    pub(super) fn new(given: &'a FileFailover, machines: &'a Machines<'f>, book: &'a mut Book) -> Self {
        // A proxy off the election's own network is told so once, not once more for the address there.
        let homes = given.network.value().cloned().into_iter().collect();
        Self { given, machines, book, floating: Vec::new(), whole: true, homes, vrids: BTreeMap::new() }
    }

    /// Enters the identifier of the first virtual router.
    pub(super) fn vrid(&mut self, failover: &Span, problems: &mut Problems) -> Option<Vrid> {
        let (vrid, span) = match &self.given.vrid {
            Slot::Broken => return None,
            Slot::Given(at) => (at.value, &at.span),
            Slot::Absent => (Vrid::try_from(VRID_DEFAULT).ok()?, failover),
        };
        self.claim(vrid, "failover", span, problems);
        Some(vrid)
    }

    fn claim(&mut self, vrid: Vrid, who: &str, span: &Span, problems: &mut Problems) {
        if let Some((other, first)) = self.vrids.get(&vrid) {
            let kind = ProblemKind::DuplicateVrid(vrid, other.clone());
            let problem = Problem::new(kind, span).help("give each virtual router a VRID of its own");
            problems.push(problem.also(first, other.clone()));
        } else {
            self.vrids.insert(vrid, (who.to_owned(), span.clone()));
        }
    }

    /// Enters the floating addresses of one virtual router, and reports what is wrong with them.
    pub(super) fn vips(
        &mut self,
        who: &str,
        vip: &Slot<Map<NetworkName, Several<AnyAddress>>>,
        problems: &mut Problems,
    ) -> Vec<Floating> {
        let Some(vip) = vip.given() else {
            self.whole = false;
            return Vec::new();
        };
        self.whole &= !vip.value.incomplete;
        let mut floating = Vec::new();
        for (network, slot) in &vip.value.entries {
            let known = self.machines.networks.check(network, problems);
            let Some(given) = slot.value() else {
                self.whole = false;
                continue;
            };
            self.whole &= known;
            for at in &given.0 {
                if known {
                    self.enter(who, network, at, problems);
                }
                let (network, span) = (network.value.clone(), at.span.clone());
                floating.push(Floating { network, address: at.value.0, span });
            }
        }
        if vip.value.entries.is_empty() && !vip.value.incomplete {
            let problem = Problem::new(ProblemKind::NoFloatingAddress(who.to_owned()), &vip.span);
            problems.push(problem.help("give at least one: `vip: { NETWORK: ADDRESS }`"));
        }
        check_number(&floating, problems);
        self.floating.extend(floating.iter().cloned());
        floating
    }

    fn enter(&mut self, who: &str, network: &At<NetworkName>, at: &At<AnyAddress>, problems: &mut Problems) {
        let (AnyAddress(address), span) = (at.value, &at.span);
        let who = format!("{who} (a floating address)");
        self.book.claim_floating(&self.machines.networks, &network.value, address, (&who, span), problems);
        if address.is_ipv6() && self.given.version.value().is_some_and(|version| version.0 == VrrpVersion::V2)
        {
            let problem = Problem::new(ProblemKind::Ipv6WithV2(address), span);
            problems.push(problem.help("take `version: 3`, or `2+3` for IPv4 in both and IPv6 in version 3"));
        }
        if self.homes.insert(network.value.clone()) {
            let proxies = self.machines.of(Role::Proxy);
            proxies.for_each(|proxy| check_home(proxy, network, at, problems));
        }
    }

    /// The further virtual routers, with their addresses.
    pub(super) fn more(
        &mut self,
        priorities: &BTreeMap<NodeName, u8>,
        problems: &mut Problems,
    ) -> Vec<VirtualRouter> {
        let Some(more) = self.given.more.value() else {
            self.whole &= self.given.more.is_absent();
            return Vec::new();
        };
        self.whole &= !more.incomplete;
        let mut routers = Vec::with_capacity(more.entries.len());
        for (name, slot) in &more.entries {
            match slot.value() {
                Some(router) => routers.extend(self.router(name, router, priorities.clone(), problems)),
                None => self.whole = false,
            }
        }
        routers
    }

    fn router(
        &mut self,
        name: &At<ServiceName>,
        given: &FileRouter,
        mut priorities: BTreeMap<NodeName, u8>,
        problems: &mut Problems,
    ) -> Option<VirtualRouter> {
        let who = format!("virtual router {}", name.value);
        for (node, priority) in given.priority.value().into_iter().flat_map(|map| &map.entries) {
            let Some(draft) = self.machines.find(node, problems) else { continue };
            if let Some(role) = draft.role.filter(|role| *role != Role::Proxy) {
                let kind = ProblemKind::PriorityWithoutElection(node.value.clone(), role);
                problems.push(Problem::new(kind, &node.span).help("remove it, or make the node a proxy"));
            }
            priorities.extend(priority.value().map(|priority| (node.value.clone(), priority.0)));
        }
        if let Some(vrid) = given.vrid.given() {
            self.claim(vrid.value, &who, &vrid.span, problems);
        }
        let floating = self.vips(&who, &given.vip, problems);
        Some(VirtualRouter {
            name: name.value.clone(),
            vrid: *given.vrid.value()?,
            addresses: v4(&floating),
            addresses6: v6(&floating),
            priorities,
        })
    }
}

/// Those of IPv4.
pub(super) fn v4(floating: &[Floating]) -> Vec<FloatingAddress> {
    let of = |it: &Floating| {
        let address = addresses::v4(it.address)?;
        Some(FloatingAddress { network: it.network.clone(), address })
    };
    floating.iter().filter_map(of).collect()
}

/// Those of IPv6.
pub(super) fn v6(floating: &[Floating]) -> Vec<FloatingAddress6> {
    let of = |it: &Floating| {
        let address = addresses::v6(it.address)?;
        Some(FloatingAddress6 { network: it.network.clone(), address })
    };
    floating.iter().filter_map(of).collect()
}

fn check_number(floating: &[Floating], problems: &mut Problems) {
    for family in Family::BOTH {
        let ours = || floating.iter().filter(|it| Family::of(it.address) == family);
        if let Some(one_too_many) = ours().nth(ADDRESSES_MAX) {
            let kind = ProblemKind::TooManyAddresses(ours().count(), family, ADDRESSES_MAX);
            let help = "give some of them to a virtual router of `more`";
            problems.push(Problem::new(kind, &one_too_many.span).help(help));
        }
    }
}

/// Can the proxy hold this floating address?
fn check_home(proxy: &Draft<'_>, network: &At<NetworkName>, at: &At<AnyAddress>, problems: &mut Problems) {
    if proxy.whole && !proxy.is_on(&network.value) {
        let (name, on) = (proxy.name.value.clone(), network.value.clone());
        let kind = ProblemKind::ProxyOffFloating(name, on, at.value.0);
        let help = format!(
            "add `{}: none` to its `on`: up, and without an address until it holds the floating one",
            network.value
        );
        let problem = Problem::new(kind, &proxy.name.span).help(help);
        problems.push(problem.also(&at.span, "the floating address"));
    }
}
