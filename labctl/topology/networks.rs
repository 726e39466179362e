//! Networks and who has which address on them. It checks numbers only; what a node is for does not matter here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::names::NetworkName;
use super::problem::{Problem, ProblemKind, Problems, Span, did_you_mean};
use super::read::{At, Map, Slot};
use super::scalars::Prefix;

/// The networks of the file.
#[derive(Debug)]
pub(super) struct Networks {
    /// No prefix where the file has one that cannot be read.
    known: BTreeMap<NetworkName, Option<Ipv4Net>>,
    /// There may be networks whose names cannot be read.
    incomplete: bool,
}

impl Networks {
    /// Takes the networks of the file and reports those that overlap.
    pub(super) fn new(slot: &Slot<Map<NetworkName, Prefix>>, problems: &mut Problems) -> Self {
        let Some(map) = slot.value() else { return Self { known: BTreeMap::new(), incomplete: true } };
        let mut placed: Vec<(Ipv4Net, &At<NetworkName>, &Span)> = Vec::new();
        let mut known = BTreeMap::new();
        for (name, prefix) in &map.entries {
            known.insert(name.value.clone(), prefix.value().map(|prefix| prefix.0));
            placed.extend(prefix.given().map(|at| (at.value.0, name, &at.span)));
        }
        // Two prefixes are apart or one holds the other; in this order, whoever holds another comes just before it.
        placed.sort_by_key(|(net, _, span)| (net.network(), net.prefix_len(), span.start));
        let mut holder: Option<&(Ipv4Net, &At<NetworkName>, &Span)> = None;
        for this in &placed {
            match holder {
                Some(that) if that.0.contains(&this.0) => {
                    let (first, second) =
                        if that.2.start < this.2.start { (that, this) } else { (this, that) };
                    let kind =
                        ProblemKind::OverlappingNetworks(second.1.value.clone(), first.1.value.clone());
                    problems.push(
                        Problem::new(kind, second.2)
                            .help("give each network addresses of its own")
                            .also(first.2, format!("network {}", first.1.value)),
                    );
                }
                _ => holder = Some(this),
            }
        }
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

    pub(super) fn prefix(&self, name: &NetworkName) -> Option<Ipv4Net> {
        self.known.get(name).copied().flatten()
    }

    /// Every network and its prefix.
    pub(super) fn prefixes(&self) -> BTreeMap<NetworkName, Ipv4Net> {
        self.known.iter().filter_map(|(name, prefix)| Some((name.clone(), (*prefix)?))).collect()
    }
}

/// Who has which address.
#[derive(Debug)]
pub(super) struct Book {
    /// Every address that the file mentions, taken already or not: what may not be suggested.
    mentioned: BTreeSet<Ipv4Addr>,
    /// Which of the claims has it.
    holders: BTreeMap<Ipv4Addr, usize>,
    /// Who claimed addresses, and where.
    claims: Vec<(String, Span)>,
}

impl Book {
    pub(super) fn new(mentioned: BTreeSet<Ipv4Addr>) -> Self {
        Self { mentioned, holders: BTreeMap::new(), claims: Vec::new() }
    }

    /// Enters addresses on a network, and reports the first of them that cannot be had.
    pub(super) fn claim(
        &mut self,
        networks: &Networks,
        network: &NetworkName,
        addresses: &[Ipv4Addr],
        (who, span): (&str, &Span),
        problems: &mut Problems,
    ) {
        let prefix = networks.prefix(network);
        self.claims.push((who.to_owned(), span.clone()));
        for &address in addresses {
            let misfit = prefix.and_then(|prefix| misfit(address, network, prefix));
            if let Some(kind) = misfit {
                problems.push(Problem::new(kind, span).maybe(self.free(prefix)));
                return;
            }
            if let Some(claim) = self.holders.get(&address) {
                let (holder, first) = &self.claims[*claim];
                let kind = ProblemKind::DuplicateAddress(address, holder.clone());
                let problem = Problem::new(kind, span).maybe(self.free(prefix));
                problems.push(problem.also(first, format!("{holder} has it here")));
                return;
            }
            self.holders.insert(address, self.claims.len() - 1);
        }
    }

    /// The first address of a network that the file does not mention.
    fn free(&self, prefix: Option<Ipv4Net>) -> Option<String> {
        let free = prefix?.hosts().find(|address| !self.mentioned.contains(address))?;
        Some(format!("{free} is free"))
    }
}

fn misfit(address: Ipv4Addr, network: &NetworkName, prefix: Ipv4Net) -> Option<ProblemKind> {
    if !prefix.contains(&address) {
        Some(ProblemKind::OutsideNetwork(address, network.clone(), prefix))
    } else if address == prefix.network() {
        Some(ProblemKind::NetworkAddress(address, network.clone()))
    } else if address == prefix.broadcast() {
        Some(ProblemKind::BroadcastAddress(address, network.clone()))
    } else {
        None
    }
}
