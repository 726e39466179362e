//! From what exists to what is wanted. The order of steps is the order in which the kernel takes them, and steps for
//! one namespace stand together, so that they can be sent to it in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Observed, ObservedInterface, ObservedNode, Route, STATIC_METRIC, Step, Wanted, WantedNode};
use crate::topology::NetworkName;

/// The steps that lead from what exists to what is wanted. Empty if it is there already.
pub fn between(wanted: &Wanted, observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    remove_unwanted(wanted, observed, &mut steps);
    for network in wanted.bridges.difference(&observed.bridges) {
        steps.push(Step::AddBridge { network: network.clone() });
    }
    let new = wanted.nodes.iter().filter(|node| !observed.nodes.contains_key(&node.name));
    steps.extend(new.map(|node| Step::AddNamespace { node: node.name.clone() }));
    let nothing = ObservedNode::default();
    let seen = |node: &WantedNode| observed.nodes.get(&node.name).unwrap_or(&nothing);
    for node in &wanted.nodes {
        for network in node.interfaces.keys().filter(|network| !seen(node).interfaces.contains_key(*network))
        {
            steps.push(Step::AddLink { node: node.name.clone(), network: network.clone() });
        }
    }
    for node in &wanted.nodes {
        configure(node, seen(node), &wanted.floating, &mut steps);
    }
    let asleep = wanted.nodes.iter().filter(|node| !seen(node).running);
    steps.extend(asleep.map(|node| Step::StartNode { node: node.name.clone() }));
    steps
}

/// A machine that goes is stopped first, then unplugged, then forgotten.
fn remove_unwanted(wanted: &Wanted, observed: &Observed, steps: &mut Vec<Step>) {
    let gone = || observed.nodes.iter().filter(|(name, _)| wanted.node(name).is_none());
    steps.extend(
        gone().filter(|(_, seen)| seen.running).map(|(name, _)| Step::StopNode { node: name.clone() }),
    );
    for (name, seen) in &observed.nodes {
        let keep = wanted.node(name).map(|node| &node.interfaces);
        for network in
            seen.interfaces.keys().filter(|network| !keep.is_some_and(|keep| keep.contains_key(*network)))
        {
            steps.push(Step::RemoveLink { node: name.clone(), network: network.clone() });
        }
    }
    steps.extend(gone().map(|(name, _)| Step::RemoveNamespace { node: name.clone() }));
    for network in observed.bridges.difference(&wanted.bridges) {
        steps.push(Step::RemoveBridge { network: network.clone() });
    }
}

fn configure(node: &WantedNode, seen: &ObservedNode, floating: &BTreeSet<IpAddr>, steps: &mut Vec<Step>) {
    let unplugged = ObservedInterface::default();
    let name = || node.name.clone();
    if !seen.loopback_up {
        steps.push(Step::LoopbackUp { node: name() });
    }
    for &(address, prefix_len) in seen.loopback.difference(&node.loopback) {
        steps.push(Step::RemoveLoopbackAddress { node: name(), address, prefix_len });
    }
    for &(address, prefix_len) in node.loopback.difference(&seen.loopback) {
        steps.push(Step::AddLoopbackAddress { node: name(), address, prefix_len });
    }
    let is_ours = |&(_, metric): &(Route, u32)| metric == STATIC_METRIC;
    let routes: BTreeSet<Route> =
        seen.routes.iter().copied().filter(is_ours).map(|(route, _)| route).collect();
    for &route in routes.difference(&node.gateways) {
        steps.push(Step::RemoveRoute { node: name(), route });
    }
    for (network, addresses) in &node.interfaces {
        let interface = seen.interfaces.get(network).unwrap_or(&unplugged);
        let spare =
            interface.addresses.difference(addresses).filter(|(address, _)| !floating.contains(address));
        for &(address, prefix_len) in spare {
            steps.push(Step::RemoveAddress { node: name(), network: network.clone(), address, prefix_len });
        }
        if !interface.up {
            steps.push(Step::LinkUp { node: name(), network: network.clone() });
        }
        if interface.cut {
            steps.push(Step::Join { node: name(), network: network.clone() });
        }
        for &(address, prefix_len) in addresses.difference(&interface.addresses) {
            steps.push(Step::AddAddress { node: name(), network: network.clone(), address, prefix_len });
        }
    }
    for &route in node.gateways.difference(&routes) {
        steps.push(Step::AddRoute { node: name(), route });
    }
}

/// What exists once a step is done: the model that tests hold [`between`] against, and that `--dry-run` believes in.
pub fn apply(step: &Step, observed: &mut Observed) {
    fn interfaces<'a>(
        observed: &'a mut Observed,
        node: &crate::topology::NodeName,
    ) -> &'a mut BTreeMap<NetworkName, ObservedInterface> {
        &mut observed.nodes.entry(node.clone()).or_default().interfaces
    }
    match step {
        Step::AddBridge { network } => {
            observed.bridges.insert(network.clone());
        }
        Step::RemoveBridge { network } => {
            observed.bridges.remove(network);
        }
        Step::AddNamespace { node } => {
            observed.nodes.insert(node.clone(), ObservedNode::default());
        }
        Step::RemoveNamespace { node } => {
            observed.nodes.remove(node);
        }
        Step::AddLink { node, network } => {
            interfaces(observed, node).insert(network.clone(), ObservedInterface::default());
        }
        Step::RemoveLink { node, network } => {
            interfaces(observed, node).remove(network);
        }
        Step::LoopbackUp { node } => observed.nodes.entry(node.clone()).or_default().loopback_up = true,
        Step::LinkUp { node, network } => {
            interfaces(observed, node).entry(network.clone()).or_default().up = true
        }
        Step::Join { node, network } => {
            interfaces(observed, node).entry(network.clone()).or_default().cut = false
        }
        Step::AddAddress { node, network, address, prefix_len } => {
            let interface = interfaces(observed, node).entry(network.clone()).or_default();
            interface.addresses.insert((*address, *prefix_len));
        }
        Step::RemoveAddress { node, network, address, prefix_len } => {
            let interface = interfaces(observed, node).entry(network.clone()).or_default();
            interface.addresses.remove(&(*address, *prefix_len));
        }
        Step::AddLoopbackAddress { node, address, prefix_len } => {
            observed.nodes.entry(node.clone()).or_default().loopback.insert((*address, *prefix_len));
        }
        Step::RemoveLoopbackAddress { node, address, prefix_len } => {
            observed.nodes.entry(node.clone()).or_default().loopback.remove(&(*address, *prefix_len));
        }
        Step::AddRoute { node, route } => {
            observed.nodes.entry(node.clone()).or_default().routes.insert((*route, STATIC_METRIC));
        }
        Step::RemoveRoute { node, route } => {
            observed.nodes.entry(node.clone()).or_default().routes.remove(&(*route, STATIC_METRIC));
        }
        Step::StartNode { node } => observed.nodes.entry(node.clone()).or_default().running = true,
        Step::StopNode { node } => observed.nodes.entry(node.clone()).or_default().running = false,
    }
}
