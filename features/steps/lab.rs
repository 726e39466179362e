//! A lab: built, shown, compared with its file.

use std::collections::BTreeMap;

use cucumber::{given, then, when};
use labctl::holder::protocol::NodeState;
use labctl::topology::{NodeName, Topology, parse};

use crate::cast::{Address, Node};
use crate::world::{World, labctl, root, with_input};

fn topology(file: &str) -> Result<Topology, String> {
    let text = std::fs::read_to_string(root().join(file)).map_err(|error| format!("read {file}: {error}"))?;
    parse(file, &text).map_err(|invalid| invalid.to_string())
}

#[given(regex = r"^the site (\S+) is up$")]
fn site_is_up(world: &mut World, file: String) -> Result<(), String> {
    world.up(&file, "site")
}

/// A topology on file with other words in one place.
pub fn changed(file: &str, new: &str, old: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(root().join(file)).map_err(|error| format!("read {file}: {error}"))?;
    if !text.contains(old) {
        return Err(format!("{file} has no {old:?}"));
    }
    Ok(text.replace(old, new))
}

#[given(regex = r#"^the site (\S+) is up with "(.*)" instead of "(.*)"$"#)]
fn site_is_up_changed(world: &mut World, file: String, new: String, old: String) -> Result<(), String> {
    world.up_text(&changed(&file, &new, &old)?, "site")
}

/// Only for lines of the balancer, which say how far they stand in.
#[given(regex = r#"^the site (\S+) is up with the line "(.*)" after "(.*)"$"#)]
fn site_is_up_with_line(world: &mut World, file: String, new: String, line: String) -> Result<(), String> {
    world.up_text(&changed(&file, &format!("{line}\n  {new}"), &line)?, "site")
}

#[given(regex = r#"^the site (\S+) is up by force with "(.*)" instead of "(.*)"$"#)]
fn site_is_up_by_force(world: &mut World, file: String, new: String, old: String) -> Result<(), String> {
    world.up_text(&changed(&file, &format!("{new}\n  force: true"), &old)?, "site")
}

#[when(regex = r#"^I validate (\S+) with "(.*)" instead of "(.*)"$"#)]
fn validate_changed(world: &mut World, file: String, new: String, old: String) -> Result<(), String> {
    let mut validate = labctl();
    validate.args(["validate", "-"]);
    world.said = Some(with_input(validate, &changed(&file, &new, &old)?)?.into());
    Ok(())
}

#[given(regex = r"^the site (\S+) is up under the name (\S+)$")]
#[when(regex = r"^the site (\S+) is up under the name (\S+)$")]
fn site_is_up_named(world: &mut World, file: String, nickname: String) -> Result<(), String> {
    world.up(&file, &nickname)
}

#[when(regex = r"^I run up once more with the same name and the file (\S+)$")]
fn up_again(world: &mut World, file: String) -> Result<(), String> {
    let lab = world.lab()?;
    world.status_before = Some(world.status()?);
    world.run(&["up", &file, "--name", lab.name().as_str()]).map(drop)
}

#[then("every node still has its process")]
fn same_processes(world: &mut World) -> Result<(), String> {
    let before = world.status_before.take().ok_or("nothing was noted before")?;
    let pids = |status: &labctl::holder::protocol::Status| -> BTreeMap<NodeName, Option<i32>> {
        status.nodes.iter().map(|node| (node.name.clone(), node.pid)).collect()
    };
    let now = world.status()?;
    if pids(&before) == pids(&now) && now.nodes.iter().all(|node| node.pid.is_some()) {
        Ok(())
    } else {
        Err(format!("before {:?}, now {:?}", pids(&before), pids(&now)))
    }
}

#[then(regex = r"^every node has the addresses that (\S+) gives it, and none besides but floating ones$")]
fn addresses_of_the_file(world: &mut World, file: String) -> Result<(), String> {
    let topology = topology(&file)?;
    let floating: Vec<_> = topology.failover.iter().flat_map(|failover| failover.floating()).collect();
    let status = world.status()?;
    for node in &topology.nodes {
        let seen = status.node(&node.name).ok_or_else(|| format!("status has no {}", node.name))?;
        for interface in &node.interfaces {
            let mut wanted: Vec<_> = interface.all().collect();
            let mut found = seen.addresses.get(&interface.network).cloned().unwrap_or_default();
            found.retain(|address| wanted.contains(address) || !floating.contains(address));
            wanted.sort();
            found.sort();
            if wanted != found {
                return Err(format!(
                    "{} on {}: wanted {wanted:?}, found {found:?}",
                    node.name, interface.network
                ));
            }
        }
        if seen.addresses.len() != node.interfaces.len() {
            return Err(format!("{} has interfaces {:?}", node.name, seen.addresses.keys()));
        }
    }
    Ok(())
}

#[then(regex = r"^there are (\d+) (proxy|web|db|client|router|remote) nodes?, all up$")]
fn count_nodes(world: &mut World, count: usize, role: String) -> Result<(), String> {
    let status = world.status()?;
    let up: Vec<_> = status
        .nodes
        .iter()
        .filter(|node| node.role.to_string() == role && node.state == NodeState::Up)
        .map(|node| node.name.to_string())
        .collect();
    if up.len() == count { Ok(()) } else { Err(format!("{role} nodes up: {up:?}")) }
}

#[then("nothing differs from the plan")]
fn no_drift(world: &mut World) -> Result<(), String> {
    let drift = world.status()?.drift;
    if drift.is_empty() { Ok(()) } else { Err(format!("would {}", drift.join(", "))) }
}

#[then("the lab is ready")]
fn is_ready(world: &mut World) -> Result<(), String> {
    world.eventually("the lab is ready", |world| {
        let status = world.status()?;
        if status.is_ready() { Ok(()) } else { Err(status.waiting_for.join(", ")) }
    })
}

#[then(regex = r"^the lab (\S+) is ready$")]
fn named_is_ready(world: &mut World, nickname: String) -> Result<(), String> {
    let status = world.lab_called(&nickname)?.status().map_err(|error| error.to_string())?;
    if status.is_ready() { Ok(()) } else { Err(status.waiting_for.join(", ")) }
}

#[when(regex = r"^the lab (\S+) goes down$")]
fn named_goes_down(world: &mut World, nickname: String) -> Result<(), String> {
    world.lab_called(&nickname)?.down().map_err(|error| error.to_string())
}

#[then(expr = "{node} has no address of its own on {word}")]
fn no_address(world: &mut World, node: Node, network: String) -> Result<(), String> {
    let status = world.status()?;
    let node = status.node(&node.0).ok_or("no such node")?;
    match node.addresses.get(network.as_str()) {
        None => Err(format!("{} is not on {network}", node.name)),
        Some(addresses) if addresses.is_empty() => Ok(()),
        Some(addresses) => Err(format!("{} has {addresses:?}", node.name)),
    }
}

#[then(expr = "the default route of {node} goes by {address}")]
fn default_route(world: &mut World, node: Node, gateway: Address) -> Result<(), String> {
    world.eventually("the default route is that", |world| {
        let status = world.status()?;
        let routes = &status.node(&node.0).ok_or("no such node")?.default_routes;
        match routes.first() {
            Some((first, _)) if *first == gateway.0 => Ok(()),
            _ => Err(format!("{routes:?}")),
        }
    })
}
