//! Networks and who has which address on them. It checks numbers only; what a node is for does not matter here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::addresses::{Family, Prefix, is_link_local};
use super::names::NetworkName;
use super::problem::{Problem, ProblemKind, Problems, Span, did_you_mean};
use super::read::{At, Map, Several, Slot};

/// The prefixes of one network.
#[derive(Clone, Copy, Debug, Default)]
struct Prefixes {
    v4: Option<Ipv4Net>,
    v6: Option<Ipv6Net>,
    /// They cannot be read: what is not there may be in the file all the same.
    broken: bool,
}

/// The networks of the file.
#[derive(Debug)]
pub(super) struct Networks {
    known: BTreeMap<NetworkName, Prefixes>,
    /// There may be networks whose names cannot be read.
    incomplete: bool,
}

impl Networks {
    /// Takes the networks of the file and reports those that overlap.
    pub(super) fn new(slot: &Slot<Map<NetworkName, Several<Prefix>>>, problems: &mut Problems) -> Self {
        let Some(map) = slot.value() else { return Self { known: BTreeMap::new(), incomplete: true } };
        let mut placed = Vec::new();
        let mut known = BTreeMap::new();
        for (name, slot) in &map.entries {
            let mut prefixes = Prefixes { broken: slot.given().is_none(), ..Prefixes::default() };
            for At { value: Prefix(net), span } in slot.value().iter().flat_map(|several| &several.0) {
                match prefixes.take(*net) {
                    true => placed.push((*net, name, span)),
                    false => {
                        let kind = ProblemKind::TwiceInFamily("the prefix", Family::of(net.addr()));
                        let help = "a network has one IPv4 prefix, and beside it at most one of IPv6";
                        problems.push(Problem::new(kind, span).help(help));
                    }
                }
            }
            if let (None, Some(v6), Some(at)) = (prefixes.v4, prefixes.v6, slot.given()) {
                let problem = Problem::new(ProblemKind::NoIpv4Prefix(name.value.clone()), &at.span);
                problems.push(problem.help(format!("give both: `{}: [10.10.1.0/24, {v6}]`", name.value)));
                prefixes.broken = true;
            }
            known.insert(name.value.clone(), prefixes);
        }
        check_overlaps(placed, problems);
        Self { known, incomplete: map.incomplete }
    }

    /// Is there such a network? If not, it is reported.
    pub(super) fn check(&self, name: &At<NetworkName>, problems: &mut Problems) -> bool {
        let known = self.known.contains_key(&name.value);
        if !known && !self.incomplete {
            let help = did_you_mean(name.value.as_str(), self.known.keys().map(NetworkName::as_str));
            problems
                .push(Problem::new(ProblemKind::UnknownNetwork(name.value.clone()), &name.span).maybe(help));
        }
        known
    }

    /// The prefix of a network in one family.
    pub(super) fn prefix(&self, name: &NetworkName, family: Family) -> Option<IpNet> {
        let prefixes = self.known.get(name)?;
        match family {
            Family::V4 => prefixes.v4.map(IpNet::V4),
            Family::V6 => prefixes.v6.map(IpNet::V6),
        }
    }

    /// Could every prefix of the network be read?
    pub(super) fn is_certain(&self, name: &NetworkName) -> bool {
        self.known.get(name).is_some_and(|prefixes| !prefixes.broken)
    }

    /// Every network and its IPv4 prefix.
    pub(super) fn prefixes(&self) -> BTreeMap<NetworkName, Ipv4Net> {
        self.known.iter().filter_map(|(name, prefixes)| Some((name.clone(), prefixes.v4?))).collect()
    }

    /// Every network that has an IPv6 prefix.
    pub(super) fn prefixes6(&self) -> BTreeMap<NetworkName, Ipv6Net> {
        self.known.iter().filter_map(|(name, prefixes)| Some((name.clone(), prefixes.v6?))).collect()
    }
}

impl Prefixes {
    /// Enters a prefix, unless the family has one already.
    fn take(&mut self, net: IpNet) -> bool {
        match net {
            IpNet::V4(net) => self.v4.replace(net).is_none(),
            IpNet::V6(net) => self.v6.replace(net).is_none(),
        }
    }
}

fn check_overlaps(mut placed: Vec<(IpNet, &At<NetworkName>, &Span)>, problems: &mut Problems) {
    // Two prefixes are apart or one holds the other; in this order, whoever holds another comes just before it.
    placed.sort_by_key(|(net, _, span)| (net.network(), net.prefix_len(), span.start));
    let mut holder: Option<&(IpNet, &At<NetworkName>, &Span)> = None;
    for this in &placed {
        match holder {
            Some(that) if that.0.contains(&this.0) => {
                let (first, second) = if that.2.start < this.2.start { (that, this) } else { (this, that) };
                let kind = ProblemKind::OverlappingNetworks(second.1.value.clone(), first.1.value.clone());
                problems.push(
                    Problem::new(kind, second.2)
                        .help("give each network addresses of its own")
                        .also(first.2, format!("network {}", first.1.value)),
                );
            }
            _ => holder = Some(this),
        }
    }
}

/// Who has which address.
#[derive(Debug)]
pub(super) struct Book {
    /// Every address that the file mentions, taken already or not: what may not be suggested.
    mentioned: BTreeSet<IpAddr>,
    /// Which of the claims has it. A link-local address is another one on each network.
    holders: BTreeMap<(Option<NetworkName>, IpAddr), usize>,
    /// Who claimed addresses, and where.
    claims: Vec<(String, Span)>,
}

impl Book {
    pub(super) fn new(mentioned: BTreeSet<IpAddr>) -> Self {
        Self { mentioned, holders: BTreeMap::new(), claims: Vec::new() }
    }

    /// Enters addresses on a network, and reports the first of them that cannot be had.
    pub(super) fn claim(
        &mut self,
        networks: &Networks,
        network: &NetworkName,
        addresses: &[IpAddr],
        (who, span): (&str, &Span),
        problems: &mut Problems,
    ) {
        self.claims.push((who.to_owned(), span.clone()));
        for &address in addresses {
            let prefix = networks.prefix(network, Family::of(address));
            if let Some(kind) = misfit(networks, address, network) {
                problems.push(Problem::new(kind, span).maybe(self.help(prefix, network)));
                return;
            }
            if let Some(claim) = self.holders.get(&key(network, address)) {
                let (holder, first) = &self.claims[*claim];
                let kind = ProblemKind::DuplicateAddress(address, holder.clone());
                let problem = Problem::new(kind, span).maybe(self.help(prefix, network));
                problems.push(problem.also(first, format!("{holder} has it here")));
                return;
            }
            self.holders.insert(key(network, address), self.claims.len() - 1);
        }
    }

    /// The same for a floating address, which may be link-local: the others of IPv6 are the kernel's to give.
    pub(super) fn claim_floating(
        &mut self,
        networks: &Networks,
        network: &NetworkName,
        address: IpAddr,
        claim: (&str, &Span),
        problems: &mut Problems,
    ) {
        if !is_link_local(address) {
            return self.claim(networks, network, &[address], claim, problems);
        }
        let (who, span) = claim;
        if let Some(before) = self.holders.get(&key(network, address)) {
            let (holder, first) = &self.claims[*before];
            let kind = ProblemKind::DuplicateAddress(address, holder.clone());
            problems.push(Problem::new(kind, span).also(first, format!("{holder} has it here")));
        } else {
            self.claims.push((who.to_owned(), span.clone()));
            self.holders.insert(key(network, address), self.claims.len() - 1);
        }
    }

    /// The first address of a network that the file does not mention, or the prefix that the network lacks.
    fn help(&self, prefix: Option<IpNet>, network: &NetworkName) -> Option<String> {
        let Some(prefix) = prefix else {
            return Some(format!("give it one: `{network}: [IPv4 prefix, IPv6 prefix]`"));
        };
        let usable = |address: &IpAddr| *address != prefix.network() && !self.mentioned.contains(address);
        Some(format!("{} is free", prefix.hosts().find(usable)?))
    }
}

fn key(network: &NetworkName, address: IpAddr) -> (Option<NetworkName>, IpAddr) {
    (is_link_local(address).then(|| network.clone()), address)
}

fn misfit(networks: &Networks, address: IpAddr, network: &NetworkName) -> Option<ProblemKind> {
    let Some(prefix) = networks.prefix(network, Family::of(address)) else {
        let certain = networks.is_certain(network);
        return certain.then(|| ProblemKind::NoIpv6Prefix(address, network.clone()));
    };
    if !prefix.contains(&address) {
        Some(ProblemKind::OutsideNetwork(address, network.clone(), prefix))
    } else if address == prefix.network() {
        Some(ProblemKind::NetworkAddress(address, network.clone()))
    } else {
        match (address, prefix) {
            (IpAddr::V4(address), IpNet::V4(prefix)) if address == prefix.broadcast() => {
                Some(ProblemKind::BroadcastAddress(address, network.clone()))
            }
            _ => None,
        }
    }
}
