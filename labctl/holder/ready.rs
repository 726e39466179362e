//! Ready means ready: what a lab still waits for, decided from facts that others gathered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::record::Record;
use crate::plan::Observed;
use crate::topology::{Builtin, Failover, Node, NodeName, Run, Service, Topology};

/// The state in which both webs keep everything.
const PAIRED: &str = "paired";

/// What the decision rests on.
pub struct Facts<'a> {
    /// What should be there.
    pub topology: &'a Topology,
    /// What the kernel says.
    pub observed: &'a Observed,
    /// What the daemons say.
    pub record: &'a Record,
    /// TCP ports that somebody listens on, as the kernel says.
    pub listening: &'a BTreeMap<NodeName, BTreeSet<u16>>,
    /// How nodes went down.
    pub down: &'a BTreeMap<NodeName, String>,
}

/// Everything that is not as it should be, a short line each; nothing if the lab is ready.
pub fn waiting_for(facts: &Facts) -> Vec<String> {
    let mut missing = Vec::new();
    for node in &facts.topology.nodes {
        if facts.observed.nodes.get(&node.name).is_some_and(|seen| seen.running) {
            services(facts, node, &mut missing);
        } else {
            let how = facts.down.get(&node.name).map_or("not started", String::as_str);
            missing.push(format!("{} ({how})", node.name));
        }
    }
    database(facts, &mut missing);
    peers(facts, &mut missing);
    floating(facts, &mut missing);
    missing
}

fn services(facts: &Facts, node: &Node, missing: &mut Vec<String>) {
    let listening = facts.listening.get(&node.name);
    for service in &node.services {
        let status = facts.record.service(&node.name, &service.name);
        if !status.running {
            let why = status.last_exit.map(|how| format!(" ({how})")).unwrap_or_default();
            missing.push(format!("{} of {}{why}", service.name, node.name));
        } else if matches!(service.run, Run::Builtin(_)) && !status.ready {
            missing.push(format!("{} of {} to be ready", service.name, node.name));
        }
        for port in service.listen.iter().filter(|port| !listening.is_some_and(|open| open.contains(port))) {
            missing.push(format!("{} of {} to listen on port {port}", service.name, node.name));
        }
    }
}

fn runs(node: &Node, builtin: Builtin) -> bool {
    node.services.iter().any(|service| service.run == Run::Builtin(builtin))
}

fn database(facts: &Facts, missing: &mut Vec<String>) {
    let member = facts.topology.conversation.engine.member();
    let members = facts.topology.nodes.iter().filter(|node| runs(node, member)).count();
    if members == 0 {
        return;
    }
    match facts.record.leader() {
        None => missing.push("a database leader".to_owned()),
        Some(leader) => {
            let behind = members - facts.record.followers_of(&leader).min(members);
            if behind > 0 {
                missing.push(format!("{behind} of {members} databases to follow {leader}"));
            }
        }
    }
}

/// Two webs that remember for each other do so once both say it.
fn peers(facts: &Facts, missing: &mut Vec<String>) {
    if facts.topology.conversation.peers.is_none() {
        return;
    }
    for web in facts.topology.nodes.iter().filter(|node| runs(node, Builtin::Web)) {
        match facts.record.memory(&web.name) {
            Some(PAIRED) => {}
            Some(state) => missing.push(format!("{} ({state}) to be paired", web.name)),
            None => missing.push(format!("{} to be paired", web.name)),
        }
    }
}

fn floating(facts: &Facts, missing: &mut Vec<String>) {
    let Some(failover) = &facts.topology.failover else { return };
    // A link-local address is not observed; it moves with the others of its virtual router.
    let local = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    for address in failover.floating().filter(|address| !local(address)) {
        match with_address(facts.observed, address).as_slice() {
            [_] => {}
            [] => missing.push(format!("a holder of {address}")),
            several => {
                let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
                missing.push(format!("one holder of {address} instead of {}", names.join(" and ")));
            }
        }
    }
    unsettled(facts, failover, missing);
    if facts.topology.balancer.is_none() {
        return;
    }
    // Who else balances says nothing about its real servers.
    let says = |name: &NodeName| facts.topology.node(name).is_some_and(|node| runs(node, Builtin::Balancer));
    for holder in holders(facts.topology, facts.observed).into_iter().filter(says) {
        let out = facts.record.reals_out(&holder, facts.topology);
        missing.extend(out.iter().map(|real| format!("real server {real} to pass its health check")));
    }
}

/// A holder that a better one is about to take over from is not the holder yet.
fn unsettled(facts: &Facts, failover: &Failover, missing: &mut Vec<String>) {
    let holders = holders(facts.topology, facts.observed);
    let ([holder], true) = (holders.as_slice(), failover.preempt) else { return };
    let takes_part = |name: &NodeName| {
        let node = facts.topology.node(name).filter(|_| facts.observed.nodes.contains_key(name));
        let services = node.into_iter().flat_map(|node| &node.services);
        let elects = |service: &&Service| service.run.elects();
        services.filter(elects).any(|service| facts.record.service(name, &service.name).running)
    };
    let priority = |name: &NodeName| failover.priorities.get(name).copied().unwrap_or_default();
    let best = failover.priorities.keys().filter(|name| takes_part(name)).max_by_key(|name| priority(name));
    if let Some(best) = best.filter(|best| priority(best) > priority(holder)) {
        missing.push(format!("{best} to take over from {holder}"));
    }
}

fn with_address(observed: &Observed, address: IpAddr) -> Vec<NodeName> {
    let has = |node: &crate::plan::ObservedNode| {
        node.interfaces.values().flat_map(|interface| &interface.addresses).any(|(held, _)| *held == address)
    };
    observed.nodes.iter().filter(|(_, node)| has(node)).map(|(name, _)| name.clone()).collect()
}

/// Who has the public floating address in the kernel.
pub fn holders(topology: &Topology, observed: &Observed) -> Vec<NodeName> {
    let public = topology.failover.as_ref().and_then(Failover::public);
    public.map(|public| with_address(observed, public)).unwrap_or_default()
}
