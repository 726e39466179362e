//! Why a node is as it is, in sentences: the role first, then what that rests on, then what it was before.

use std::collections::BTreeMap;

use super::account::{Account, ComplaintAccount, PeerAccount, RouterAccount, TransitionAccount};
use super::election::{instance, is_late, is_slow};
use super::words::{ago, count, list, span, who};
use super::{Testimony, Witness};
use crate::report::{Event, What};
use crate::topology::{Engine, NodeName, Role, Topology};

/// Transitions and events that are shown; what was before explains nothing of now.
const SHOWN_MAX: usize = 8;

/// What is known of a node.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The site.
    pub topology: &'a Topology,
    /// The node.
    pub node: &'a NodeName,
    /// What it is for.
    pub role: Role,
    /// How it went down, if it is.
    pub down: Option<&'a str>,
    /// What runs on it.
    pub services: BTreeMap<String, ServiceFacts>,
    /// Its part in the election, if it has one.
    pub witness: Option<&'a Witness>,
    /// Everything that happened on it, oldest first.
    pub events: &'a [Event],
    /// Now, by the monotonic clock.
    pub now_ns: u64,
}

/// What is known of a service.
#[derive(Clone, Debug)]
pub struct ServiceFacts {
    /// Its process runs.
    pub running: bool,
    /// It says that it works.
    pub ready: bool,
    /// How often it was started.
    pub starts: u32,
    /// How it last ended.
    pub last_exit: Option<String>,
    /// What else it last said.
    pub says: Option<String>,
}

/// The sentences, in the order of what matters most.
pub fn explain(facts: &Facts<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(how) = facts.down {
        lines.push(format!("{} is down: {how}.", facts.node));
    }
    match facts.witness {
        Some(Witness { testimony: Testimony::Said(account), .. }) => {
            for router in &account.routers {
                lines.extend(role(facts, account, router));
            }
            lines.extend(circumstances(account));
        }
        Some(witness) => lines.extend(unheard(facts, witness)),
        None => {}
    }
    lines.extend(facts.services.iter().map(|(name, service)| life(facts, name, service)));
    lines.extend(recently(facts));
    lines
}

/// One virtual router: what it is, why, what it rests on, what it was.
fn role(facts: &Facts<'_>, account: &Account, router: &RouterAccount) -> Vec<String> {
    let now = account.at_ns;
    let state = match router.state.as_str() {
        "backup" => "a backup",
        "initialize" => "out of the election",
        state => state,
    };
    let words = match router.history.last() {
        Some(TransitionAccount { at_ns, because, .. }) => {
            let span = span(now.saturating_sub(*at_ns));
            format!("has been {state} for {span}, because {}", named(because, facts.topology))
        }
        None => format!("is {state}"),
    };
    let mut lines = vec![format!("{} {words} ({}).", facts.node, instance(router))];
    if let Some(degraded) = &router.degraded {
        lines.push(format!("  It is degraded: {degraded}."));
    }
    lines.push(format!("  {}", priority(account, router)));
    lines.push(format!(
        "  It says VRRPv{} every {} ms from {}, checksum over the {}, for {}.",
        router.version,
        router.interval_ms,
        router.own,
        if router.checksum == "message" { "message alone" } else { "message and a pseudo-header" },
        list(&router.addresses),
    ));
    if router.state == "active" {
        lines.extend(lease(account, router).map(|words| format!("  {words}")));
    }
    if router.peers.is_empty() {
        lines.push("  It has heard no other router.".to_owned());
    }
    for (address, peer) in &router.peers {
        let PeerAccount { at_ns, adverts, version, priority, interval_ms, addresses } = peer;
        lines.push(format!(
            "  It heard {} {}: VRRPv{version}, priority {priority}, every {interval_ms} ms, for {} ({} so far).",
            who(*address, facts.topology),
            ago(*at_ns, now),
            list(addresses),
            count(*adverts, "advert"),
        ));
    }
    for TransitionAccount { at_ns, from, to, because } in router.history.iter().rev().skip(1).take(SHOWN_MAX)
    {
        let because = named(because, facts.topology);
        lines.push(format!("  Before: {from} -> {to} {}, because {because}.", ago(*at_ns, now)));
    }
    lines
}

/// The words of a reason with the nodes behind its addresses.
fn named(because: &str, topology: &Topology) -> String {
    let word = |word: &str| match word.trim_end_matches(',').parse() {
        Ok(address) => word.replacen(word.trim_end_matches(','), &who(address, topology), 1),
        Err(_) => word.to_owned(),
    };
    because.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn priority(account: &Account, router: &RouterAccount) -> String {
    let preempts = if router.preempt { "takes over" } else { "does not take over" };
    let mut words = format!("Its priority is {}", router.effective_priority);
    if router.effective_priority != router.priority {
        let failing = account.checks.iter().filter(|check| !check.passes).map(|check| match check.weight {
            Some(weight) => format!("{} costs {weight}", check.name),
            None => format!("{} takes it out of the election", check.name),
        });
        words += &format!(" instead of {}: {}", router.priority, list(failing));
    }
    format!("{words}; it {preempts} from a router of lower priority.")
}

fn lease(account: &Account, router: &RouterAccount) -> Option<String> {
    let until = router.lease_until_ns?;
    Some(match until.checked_sub(account.at_ns) {
        Some(left) => format!("Its lease runs for another {} unless it is renewed.", span(left)),
        None => format!("Its lease ran out {}.", ago(until, account.at_ns)),
    })
}

/// What all virtual routers of a node share.
fn circumstances(account: &Account) -> Vec<String> {
    let mut lines = Vec::new();
    if !account.links.is_empty() {
        let link = |(name, up): (&String, &bool)| format!("{name} {}", if *up { "up" } else { "down" });
        lines.push(format!("Links: {}.", list(account.links.iter().map(link))));
    }
    for check in &account.checks {
        let verdict = if check.passes { "passes" } else { "fails" };
        lines.push(format!("Check {} {verdict}: {}.", check.name, check.detail));
    }
    for lack in &account.lacks {
        lines.push(format!("It must do without {lack}."));
    }
    if let Some(late) = is_late(account) {
        lines.push(format!("Its loop once woke {late} late: the machine was too busy for its interval."));
    }
    if let Some(busy) = is_slow(account) {
        lines.push(format!(
            "Its loop once was busy for {busy} without a pause, which is too long for its interval."
        ));
    }
    for (kind, ComplaintAccount { count: times, at_ns, last }) in &account.complaints {
        lines.push(format!("{kind}, {}, last {}: {last}", count(*times, "time"), ago(*at_ns, account.at_ns)));
    }
    lines
}

/// A member that does not say how it is.
fn unheard(facts: &Facts<'_>, witness: &Witness) -> Vec<String> {
    match &witness.testimony {
        Testimony::Said(_) | Testimony::Off(_) => Vec::new(),
        Testimony::Silent(why) => {
            vec![format!("The VRRP daemon of {} does not say how it is: {why}.", facts.node)]
        }
        Testimony::Mute => {
            let engine = match witness.engine {
                Engine::Labctl => "labctl",
                Engine::Keepalived => "keepalived",
                Engine::Frr => "FRRouting",
            };
            vec![format!(
                "{engine} takes part in the election on {}, and cannot be asked how it is; what follows is what it did.",
                facts.node
            )]
        }
    }
}

fn life(facts: &Facts<'_>, name: &str, service: &ServiceFacts) -> String {
    let last = |is: fn(&What) -> bool| {
        facts
            .events
            .iter()
            .rev()
            .find(|event| event.source == name && is(&event.what))
            .map(|event| event.at_ns)
    };
    let started = last(|what| matches!(what, What::ServiceStarted { .. }));
    let runs = match started {
        Some(at) => format!("has been running for {}", span(facts.now_ns.saturating_sub(at))),
        None => "runs".to_owned(),
    };
    let mut words = match (service.running, service.ready) {
        (true, true) => format!("{name} {runs}"),
        (true, false) => format!("{name} {runs}, but does not work yet"),
        (false, _) => format!("{name} does not run"),
    };
    if let Some(says) = &service.says {
        words += &format!(" ({says})");
    }
    if service.starts > 1 {
        words += &format!("; it was started {}", count(service.starts.into(), "time"));
    }
    if let Some(how) = &service.last_exit {
        let exited = last(|what| matches!(what, What::ServiceExited { .. }));
        let when = exited.map(|at| format!(" {}", ago(at, facts.now_ns))).unwrap_or_default();
        words += &format!("; it last ended{when}: {how}");
    }
    format!("{words}.")
}

/// The last things that happened on a node, but for what the account tells better.
fn recently(facts: &Facts<'_>) -> Vec<String> {
    let has_account = facts.witness.is_some_and(|witness| witness.testimony.account().is_some());
    let told = |event: &&Event| match &event.what {
        What::VrrpState { .. } => !has_account,
        What::NodeUp
        | What::NodeDown { .. }
        | What::AddressAdded { .. }
        | What::AddressRemoved { .. }
        | What::RaftLeader { .. }
        | What::MemoryState { .. }
        | What::WitnessReached { .. }
        | What::RealUp { .. }
        | What::RealDown { .. }
        | What::FailOpen { .. }
        | What::Balancing { .. } => true,
        _ => false,
    };
    let mut last: Vec<&Event> = facts.events.iter().rev().filter(told).take(SHOWN_MAX).collect();
    last.reverse();
    last.into_iter()
        .map(|event| format!("{}: {}.", ago(event.at_ns, facts.now_ns), happened(event)))
        .collect()
}

fn happened(event: &Event) -> String {
    match &event.what {
        What::NodeUp => "the node started".to_owned(),
        What::NodeDown { how } => format!("the node went down ({how})"),
        What::VrrpState { vrid, from, to, because } => {
            format!("VRID {vrid} went from {from} to {to}, because {because}")
        }
        What::AddressAdded { address } => format!("it got {address}"),
        What::AddressRemoved { address } => format!("it lost {address}"),
        What::RaftLeader { leader: Some(leader), term } => {
            format!("{leader} leads the databases in term {term}")
        }
        What::RaftLeader { leader: None, term } => {
            format!("it knows no leader of the databases in term {term}")
        }
        What::MemoryState { state, because } => {
            format!("its memory is {state}, because {because}")
        }
        What::WitnessReached { answers: true } => "the witness answers it again".to_owned(),
        What::WitnessReached { answers: false } => "the witness does not answer it any more".to_owned(),
        What::RealUp { service, real } => format!("{real} gets connections of {service}"),
        What::RealDown { service, real, because } => {
            format!("{real} gets no more connections of {service}: {because}")
        }
        What::FailOpen { service } => format!("no real server of {service} is well, so all get connections"),
        What::Balancing { active: true, .. } => "it balances".to_owned(),
        What::Balancing { active: false, .. } => "it does not balance any more".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests;
