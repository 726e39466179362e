//! Asks the members of an election and the kernels of real servers how they are, each inside its node, all at the same time.
//! What they say is judged elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Stdio};

use serde::de::DeserializeOwned;

use crate::diagnosis::reals::{Survey, to_be_asked};
use crate::diagnosis::{Testimony, Witness};
use crate::holder::client::Lab;
use crate::holder::protocol::{NodeState, Status};
use crate::kernel::process::{SELF, Spawn};
use crate::topology::{Engine, NodeName, Topology};

/// Asks these members; a node that takes no part is passed over.
pub(super) fn hear(lab: &Lab, topology: &Topology, status: &Status, nodes: &[NodeName]) -> Vec<Witness> {
    let asked: Vec<_> = nodes
        .iter()
        .filter_map(|node| Some((node.clone(), engine(topology, node)?)))
        .map(|(node, engine)| (ask(lab, status, &node, engine), node, engine))
        .collect();
    let heard = asked.into_iter().map(|(asked, node, engine)| {
        let testimony = asked.unwrap_or_else(|child| match answer(child) {
            Ok(account) => Testimony::Said(Box::new(account)),
            Err(why) => Testimony::Silent(why),
        });
        Witness { node, engine, testimony }
    });
    heard.collect()
}

/// The program that takes part in the election on a node.
fn engine(topology: &Topology, node: &NodeName) -> Option<Engine> {
    let failover = topology.failover.as_ref()?;
    failover.priorities.contains_key(node).then(|| failover.engines.get(node).copied().unwrap_or_default())
}

/// What is known without an answer, or the process that waits for one.
fn ask(lab: &Lab, status: &Status, node: &NodeName, engine: Engine) -> Result<Testimony, Child> {
    if let Some(NodeState::Down { how }) = status.node(node).map(|node| &node.state) {
        return Ok(Testimony::Off(how.clone()));
    }
    if engine != Engine::Labctl {
        return Ok(Testimony::Mute);
    }
    match question(lab, node, &["vrrpd"]) {
        Ok(child) => Err(child),
        Err(error) => Ok(Testimony::Silent(error.to_string())),
    }
}

/// Asks the kernels of the real servers that run, where how they are set matters.
pub(super) fn survey(
    lab: &Lab,
    topology: &Topology,
    status: &Status,
) -> BTreeMap<NodeName, Result<Survey, String>> {
    let runs = |node: &NodeName| status.node(node).is_some_and(|node| node.state == NodeState::Up);
    let asked: Vec<_> = to_be_asked(topology)
        .into_iter()
        .filter(runs)
        .map(|node| (question(lab, &node, &["kernel"]), node))
        .collect();
    let heard = asked.into_iter().map(|(asked, node)| {
        let survey = asked.map_err(|error| error.to_string()).and_then(answer);
        (node, survey)
    });
    heard.collect()
}

/// The process that waits for an answer to these words: whom to ask, and for what if not how it is.
pub(super) fn question(lab: &Lab, node: &NodeName, words: &[&str]) -> io::Result<Child> {
    let mut args = vec!["exec", "--lab", lab.name().as_str(), node.as_str(), "--", SELF, "__ask"];
    args.extend(words);
    let mut spawn = Spawn::own(&args);
    (spawn.stdout, spawn.stderr) = (Stdio::piped(), Stdio::piped());
    spawn.start()
}

/// What it was told, or why nothing.
pub(super) fn answer<T: DeserializeOwned>(child: Child) -> Result<T, String> {
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // Diagnostics have a mark before their first line, and a hint below it.
        let first =
            said.lines().map(|line| line.trim_start_matches([' ', '×', '│'])).find(|line| !line.is_empty());
        return Err(first.unwrap_or("it said nothing").to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("its answer makes no sense: {error}"))
}
