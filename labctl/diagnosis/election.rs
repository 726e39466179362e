//! What is wrong with an election: members that differ in what they must agree on, packets that were dropped for it,
//! addresses that two machines have or none, and members that cannot do their duty.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::account::{Account, ComplaintAccount, RouterAccount};
use super::words::{ago, count, list, span, who};
use super::{Finding, Testimony, Witness};
use crate::topology::{Engine, NodeName, Topology};
use crate::vrrp::OWNER;

/// What happened longer ago may be mended already. An advert comes at least every 41 s, but hardly anybody has more than
/// some seconds.
const RECENT_NS: u64 = 10_000_000_000;
/// After so many intervals without an advert a backup would have taken over: the longest Active_Down_Interval (RFC 9568
/// section 6.1).
const SILENT_INTERVALS: u64 = 4;
const NS_IN_MS: u64 = 1_000_000;

/// An election as it was found.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The site.
    pub topology: &'a Topology,
    /// Every member.
    pub witnesses: &'a [Witness],
    /// Who has each floating address, by the kernel's word.
    pub holders: BTreeMap<IpAddr, Vec<NodeName>>,
}

/// Something that the members of an election must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Setting {
    Vrid,
    Interval,
    Version,
    Checksum,
    Addresses,
    Owner,
    Priority,
}

/// Everything that is wrong.
pub fn findings(scene: &Scene<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = scene.witnesses.iter().filter_map(silence).collect();
    let mut named = BTreeSet::new();
    for (at, a) in scene.witnesses.iter().enumerate() {
        for b in &scene.witnesses[at + 1..] {
            found.extend(differences(a, b, &mut named));
        }
    }
    for witness in scene.witnesses {
        let Some(account) = witness.testimony.account() else { continue };
        found.extend(complaints(scene, witness, account, &mut named));
        found.extend(account.routers.iter().filter_map(|router| deafness(&witness.node, account, router)));
        found.extend(duties(scene, witness, account));
    }
    found.extend(holders(scene));
    found.extend(states(scene));
    found
}

fn silence(witness: &Witness) -> Option<Finding> {
    let node = &witness.node;
    match &witness.testimony {
        Testimony::Said(_) | Testimony::Mute => None,
        Testimony::Off(how) => Some(Finding::new(
            "off",
            format!("{node} takes no part in the election: it is down"),
            format!("{node}: {how}"),
            format!("`labctl power on {node}`"),
        )),
        Testimony::Silent(why) => Some(Finding::new(
            "silent",
            format!("the VRRP daemon of {node} does not say how it is"),
            format!("{node}: {why}"),
            format!("`labctl logs {node}` shows how it ended, or it hangs"),
        )),
    }
}

/// Two members and a setting; named once, whoever else says so too.
type Named = BTreeSet<(Setting, BTreeSet<String>)>;

fn is_news(named: &mut Named, setting: Setting, a: &str, b: &str) -> bool {
    named.insert((setting, BTreeSet::from([a.to_owned(), b.to_owned()])))
}

/// What two members say of themselves and do not agree on.
fn differences(a: &Witness, b: &Witness, named: &mut Named) -> Vec<Finding> {
    let (Some(ours), Some(theirs)) = (a.testimony.account(), b.testimony.account()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for mine in &ours.routers {
        let alike = |other: &&RouterAccount| other.family == mine.family;
        let same = theirs.routers.iter().filter(alike).find(|other| other.vrid == mine.vrid);
        let shares = |other: &RouterAccount| other.addresses.iter().any(|one| mine.addresses.contains(one));
        let pair = match same {
            Some(other) => compare(mine, other),
            None => match theirs.routers.iter().filter(alike).find(|other| shares(other)) {
                Some(other) => vec![(Setting::Vrid, mine.vrid.to_string(), other.vrid.to_string())],
                None => vec![],
            },
        };
        for (setting, of_a, of_b) in pair {
            if !is_news(named, setting, a.node.as_str(), b.node.as_str()) {
                continue;
            }
            found.push(Finding::new(
                setting.kind(),
                format!("{} and {} {}", a.node, b.node, setting.quarrel()),
                format!("{}: {} says {of_a}, {} says {of_b}", instance(mine), a.node, b.node),
                format!("make them {}: {}", setting.goal(), lines(setting, &[a.engine, b.engine])),
            ));
        }
    }
    found
}

/// The settings in which two instances of one virtual router differ, and wrongly.
fn compare(a: &RouterAccount, b: &RouterAccount) -> Vec<(Setting, String, String)> {
    let set = |router: &RouterAccount| router.addresses.iter().copied().collect::<BTreeSet<IpAddr>>();
    let interval = |router: &RouterAccount| format!("every {} ms", router.interval_ms);
    let checks = [
        (a.interval_ms != b.interval_ms, Setting::Interval, interval(a), interval(b)),
        (a.version != b.version, Setting::Version, a.version.clone(), b.version.clone()),
        (a.checksum != b.checksum, Setting::Checksum, a.checksum.clone(), b.checksum.clone()),
        (set(a) != set(b), Setting::Addresses, list(&a.addresses), list(&b.addresses)),
        (a.priority == b.priority && a.priority == OWNER, Setting::Owner, "255".into(), "255".into()),
        (
            a.priority == b.priority && a.priority != OWNER,
            Setting::Priority,
            a.priority.to_string(),
            b.priority.to_string(),
        ),
    ];
    checks.into_iter().filter(|check| check.0).map(|(_, setting, a, b)| (setting, a, b)).collect()
}

/// What a member dropped or wondered about lately.
fn complaints(scene: &Scene<'_>, witness: &Witness, account: &Account, named: &mut Named) -> Vec<Finding> {
    let node = &witness.node;
    let slowest = account.routers.iter().map(|router| router.interval_ms * NS_IN_MS).max().unwrap_or(0);
    let recent_ns = RECENT_NS.max(slowest * SILENT_INTERVALS);
    let mut found = Vec::new();
    for (kind, complaint) in &account.complaints {
        if account.at_ns.saturating_sub(complaint.at_ns) > recent_ns {
            continue;
        }
        let sender = sender(complaint).map_or("somebody".to_owned(), |from| who(from, scene.topology));
        let ComplaintAccount { count: times, at_ns, last } = complaint;
        let at =
            format!("{node}: {}, the last {}: {last}", count(*times, "time"), ago(*at_ns, account.at_ns));
        if let Some(setting) = Setting::of_complaint(kind) {
            let name = sender.split(' ').next().unwrap_or_default();
            if is_news(named, setting, node.as_str(), name) {
                let what = format!("{node} and {sender} {}", setting.quarrel());
                let next = format!("make them {}: {}", setting.goal(), lines(setting, &[witness.engine]));
                found.push(Finding::new(setting.kind(), what, at, next));
            }
            continue;
        }
        let (what, next) = match kind.as_str() {
            "authentication" => (
                format!("{sender} sends VRRPv2 with a password, which {node} drops"),
                "remove it there (keepalived: the block `authentication`): RFC 3768 has withdrawn it"
                    .to_owned(),
            ),
            "ttl" | "hop-limit" => (
                format!("{node} is sent adverts that may have come through a router, and drops them"),
                format!("find out whether {sender} is who it claims to be: a forger, or a network between"),
            ),
            "stranger" => (
                format!("{sender} sends adverts to {node}, which does not have it among its peers"),
                "name it among the peers, or keep it off this network".to_owned(),
            ),
            "checksum" | "truncated" | "type" | "no-addresses" | "interval-zero" | "link-local-first"
            | "malformed" | "family" => (
                format!("{sender} sends {node} what is no valid advert"),
                "its VRRP is faulty, or somebody forges packets; nothing of it changes the election"
                    .to_owned(),
            ),
            "ours" => continue,
            _ => (
                format!("{node} cannot do all that it should ({kind})"),
                format!("`labctl logs {node}` has the whole story"),
            ),
        };
        found.push(Finding::new(kind, what, at, next));
    }
    found
}

/// Whom a complaint is about: the first address in its words.
fn sender(complaint: &ComplaintAccount) -> Option<IpAddr> {
    let trim = |word: &str| {
        word.trim_matches(|c: char| !c.is_ascii_hexdigit() && c != ':').trim_end_matches(':').parse().ok()
    };
    complaint.last.split_whitespace().find_map(trim)
}

/// A backup that waits for adverts which do not come.
fn deafness(node: &NodeName, account: &Account, router: &RouterAccount) -> Option<Finding> {
    if router.state != "backup" {
        return None;
    }
    let newest = router.peers.iter().max_by_key(|(_, peer)| peer.at_ns);
    let silent_for = |at_ns: u64| account.at_ns.saturating_sub(at_ns);
    let at = match newest {
        Some((_, peer)) if silent_for(peer.at_ns) <= SILENT_INTERVALS * peer.interval_ms * NS_IN_MS => {
            return None;
        }
        Some((from, peer)) => {
            format!("{node}: the last advert came from {from}, {}", ago(peer.at_ns, account.at_ns))
        }
        None => format!("{node}: no advert since it started"),
    };
    let state_since = router.history.last().map_or(0, |last| last.at_ns);
    if newest.is_none() && silent_for(state_since) <= SILENT_INTERVALS * router.interval_ms * NS_IN_MS {
        return None;
    }
    Some(Finding::new(
        "hears-nobody",
        format!("{node} is a backup for {} and hears nobody", instance(router)),
        at,
        format!(
            "`labctl explain {node}` shows what it drops; if that is nothing, the network between is cut"
        ),
    ))
}

/// What keeps a member from its duty.
fn duties(scene: &Scene<'_>, witness: &Witness, account: &Account) -> Vec<Finding> {
    let node = &witness.node;
    let explain = || format!("`labctl explain {node}` says more");
    let mut found = Vec::new();
    for (link, _) in account.links.iter().filter(|(_, up)| !**up) {
        found.push(Finding::new(
            "link",
            format!("the link {link} of {node} is down"),
            node.as_str(),
            format!("`labctl exec {node} -- ip link set {link} up`, or whatever took it down"),
        ));
    }
    for check in account.checks.iter().filter(|check| !check.passes) {
        let cost = match check.weight {
            Some(weight) => format!("its priority is lower by {weight}"),
            None => "it is out of the election".to_owned(),
        };
        found.push(Finding::new(
            "check",
            format!("the check {} of {node} fails, so {cost}", check.name),
            format!("{node}: {}", check.detail),
            "mend what it checks",
        ));
    }
    for lack in &account.lacks {
        let next =
            format!("give {node} what it needs: root of the machine, or less load; `labctl logs {node}`");
        found.push(Finding::new("lacks", format!("{node} must do without {lack}"), node.as_str(), next));
    }
    for router in &account.routers {
        if let Some(degraded) = &router.degraded {
            let what = format!("{node} is {} for {}, but {degraded}", router.state, instance(router));
            found.push(Finding::new("degraded", what, node.as_str(), explain()));
        }
        found.extend(lease(scene, witness, account, router));
    }
    found
}

/// An Active without the permit that its site wants.
fn lease(scene: &Scene<'_>, witness: &Witness, account: &Account, router: &RouterAccount) -> Option<Finding> {
    let wanted = scene.topology.failover.as_ref().is_some_and(|failover| failover.lease);
    if !wanted || router.state != "active" {
        return None;
    }
    let node = &witness.node;
    let next =
        format!("eBPF needs root of the machine: `labctl doctor` without a lab, and `labctl logs {node}`");
    let (what, at) = match router.lease_until_ns {
        // What it must do without, it has told.
        None if account.lacks.iter().any(|lack| lack.contains("lease")) => return None,
        None => (format!("{node} holds {} without a lease", instance(router)), "it has none".to_owned()),
        Some(until) if until < account.at_ns => (
            format!("the lease of {node} has lapsed, so its addresses of {} are dark", instance(router)),
            format!("it ran out {}", ago(until, account.at_ns)),
        ),
        Some(_) => return None,
    };
    Some(Finding::new("lease", what, format!("{node}: {at}"), next))
}

/// Floating addresses that are on two machines or on none.
fn holders(scene: &Scene<'_>) -> Vec<Finding> {
    let leased = scene.topology.failover.as_ref().is_some_and(|failover| failover.lease);
    let finding = |(address, nodes): (&IpAddr, &Vec<NodeName>)| match nodes.as_slice() {
        [_] => None,
        [] => Some(Finding::new(
            "no-holder",
            format!("nobody has {address}"),
            "the kernels of all nodes",
            "the findings about members of the election say why; `labctl explain PROXY` of each",
        )),
        several => Some(Finding::new(
            "two-holders",
            format!(
                "{} have {address}",
                several.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" and ")
            ),
            "the kernels of these nodes",
            if leased {
                "the lease keeps those dark whose daemon is not active; see which hears nobody"
            } else {
                "neighbours meet one or the other; see which of them hears nobody"
            },
        )),
    };
    scene.holders.iter().filter_map(finding).collect()
}

/// Instances that two members are active for, or none of those that could be asked.
fn states(scene: &Scene<'_>) -> Vec<Finding> {
    let mut active: BTreeMap<(u8, &str), Vec<&NodeName>> = BTreeMap::new();
    let mut members: BTreeMap<(u8, &str), usize> = BTreeMap::new();
    for witness in scene.witnesses {
        for router in witness.testimony.account().iter().flat_map(|account| &account.routers) {
            let nodes = active.entry((router.vrid, &router.family)).or_default();
            *members.entry((router.vrid, &router.family)).or_default() += 1;
            if router.state == "active" {
                nodes.push(&witness.node);
            }
        }
    }
    let mute = scene.witnesses.iter().any(|witness| witness.testimony.account().is_none());
    let finding = |((vrid, family), nodes): ((u8, &str), Vec<&NodeName>)| match nodes.as_slice() {
        // Where only some have the instance, that they differ is the finding.
        [] if !mute && members[&(vrid, family)] == scene.witnesses.len() => Some(Finding::new(
            "none-active",
            format!("nobody is active for VRID {vrid} over {family}"),
            "all members of the election",
            "`labctl explain PROXY` of each says what it waits for",
        )),
        [] | [_] => None,
        several => Some(Finding::new(
            "two-active",
            format!(
                "{} are active for VRID {vrid} over {family}",
                several.iter().map(|node| node.as_str()).collect::<Vec<_>>().join(" and ")
            ),
            "these members of the election",
            "they do not hear one another: a cut network, or settings in which they differ",
        )),
    };
    active.into_iter().filter_map(finding).collect()
}

/// An instance in words.
pub(super) fn instance(router: &RouterAccount) -> String {
    format!("VRID {} over {}", router.vrid, router.family)
}

/// Where a setting is made, in the language of each engine.
fn lines(setting: Setting, engines: &[Engine]) -> String {
    let engines: BTreeSet<Engine> = engines.iter().copied().collect();
    list(engines.into_iter().map(|engine| match engine {
        Engine::Labctl => format!("`{}` in the topology", setting.line(engine)),
        Engine::Keepalived => format!("`{}` in keepalived.conf", setting.line(engine)),
        Engine::Frr => format!("`{}` in frr.conf", setting.line(engine)),
    }))
}

impl Setting {
    fn of_complaint(kind: &str) -> Option<Self> {
        Some(match kind {
            "vrid" => Self::Vrid,
            "interval-differs" | "v2-interval" => Self::Interval,
            "version" => Self::Version,
            "checksum-rule" => Self::Checksum,
            "addresses-differ" | "v2-addresses" => Self::Addresses,
            "two-owners" => Self::Owner,
            _ => return None,
        })
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Vrid => "vrid",
            Self::Interval => "interval",
            Self::Version => "version",
            Self::Checksum => "checksum-rule",
            Self::Addresses => "addresses",
            Self::Owner => "two-owners",
            Self::Priority => "same-priority",
        }
    }

    /// What two who differ do, and what follows from it.
    fn quarrel(self) -> &'static str {
        match self {
            Self::Vrid => "use different VRIDs, so neither takes the other for a member of its election",
            Self::Interval => {
                "advertise at different intervals, so they judge one another's silence differently"
            }
            Self::Version => "speak different versions of VRRP, so they take each other for silent",
            Self::Checksum => "disagree on what the checksum covers, so they take each other for silent",
            Self::Addresses => "advertise different addresses, so a takeover leaves some of them behind",
            Self::Owner => {
                "both claim to own the addresses (priority 255), so neither gives way but by its address"
            }
            Self::Priority => "have the same priority, so the greater address decides who is active",
        }
    }

    fn goal(self) -> &'static str {
        match self {
            Self::Owner | Self::Priority => "differ",
            _ => "agree",
        }
    }

    fn line(self, engine: Engine) -> &'static str {
        match (self, engine) {
            (Self::Vrid, Engine::Labctl) => "failover: { vrid: }",
            (Self::Vrid, Engine::Keepalived) => "virtual_router_id",
            (Self::Vrid, Engine::Frr) => "vrrp VRID",
            (Self::Interval, Engine::Labctl) => "failover: { advert: }",
            (Self::Interval, Engine::Keepalived) => "advert_int",
            (Self::Interval, Engine::Frr) => "vrrp VRID advertisement-interval",
            (Self::Version, Engine::Labctl) => "failover: { version: }",
            (Self::Version, Engine::Keepalived) => "version",
            (Self::Version, Engine::Frr) => "vrrp VRID version",
            (Self::Checksum, Engine::Labctl) => "failover: { checksum: }",
            (Self::Checksum, Engine::Keepalived) => "v3_checksum_as_v2",
            (Self::Checksum, Engine::Frr) => "vrrp VRID checksum-with-ipv4-pseudoheader",
            (Self::Addresses, Engine::Labctl) => "failover: { vip: }",
            (Self::Addresses, Engine::Keepalived) => "virtual_ipaddress",
            (Self::Addresses, Engine::Frr) => "vrrp VRID ip",
            (Self::Owner | Self::Priority, Engine::Labctl) => "nodes: { PROXY: { priority: } }",
            (Self::Owner | Self::Priority, Engine::Keepalived) => "priority",
            (Self::Owner | Self::Priority, Engine::Frr) => "vrrp VRID priority",
        }
    }
}

/// How late a loop may wake before that is worth a word: the machine's own rule is two intervals.
pub(super) fn is_late(account: &Account) -> Option<String> {
    is_worth_a_word(account, account.latest_wake_us)
}

/// How long a loop may be busy before that is worth a word, by the same rule.
pub(super) fn is_slow(account: &Account) -> Option<String> {
    is_worth_a_word(account, account.longest_turn_us)
}

fn is_worth_a_word(account: &Account, us: u64) -> Option<String> {
    let fastest_ms = account.routers.iter().map(|router| router.interval_ms).min()?;
    let ns = us * 1_000;
    (ns > 2 * fastest_ms * NS_IN_MS).then(|| span(ns))
}

#[cfg(test)]
mod tests;
