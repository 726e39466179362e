//! Asks the members of an election how they are, each inside its node, all at the same time. What they say is judged
//! elsewhere.

use std::process::{Child, Stdio};

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
        let testimony = asked.unwrap_or_else(listen);
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
    let args = ["exec", "--lab", lab.name().as_str(), node.as_str(), "--", SELF, "__ask", "vrrpd"];
    let mut spawn = Spawn::own(&args);
    (spawn.stdout, spawn.stderr) = (Stdio::piped(), Stdio::piped());
    match spawn.start() {
        Ok(child) => Err(child),
        Err(error) => Ok(Testimony::Silent(error.to_string())),
    }
}

fn listen(child: Child) -> Testimony {
    match hear_out(child).map(|said| serde_json::from_slice(&said)) {
        Ok(Ok(account)) => Testimony::Said(Box::new(account)),
        Ok(Err(error)) => Testimony::Silent(format!("its answer makes no sense: {error}")),
        Err(because) => Testimony::Silent(because),
    }
}

/// All that a process of ours on a node says, or in a line why it says nothing.
pub(super) fn hear_out(child: Child) -> Result<Vec<u8>, String> {
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // Diagnostics have a mark before their first line, and a hint below it.
    let first =
        said.lines().map(|line| line.trim_start_matches([' ', '×', '│'])).find(|line| !line.is_empty());
    Err(first.unwrap_or("it said nothing").to_owned())
}
