//! The walk of a request, as `labctl trace --format json` prints it.

use cucumber::{then, when};
use serde_json::Value;

use crate::cast::{Address, Node, Target};
use crate::world::{World, labctl, with_input};

#[when(expr = "I trace {node} to {target}")]
fn trace(world: &mut World, node: Node, target: Target) -> Result<(), String> {
    world.run_in_lab("trace", &[node.0.as_str(), &target.0, "--format", "json"]).map(drop)
}

#[when(regex = r"^I run in the lab (\S+) (.*)$")]
fn run_in_lab(world: &mut World, verb: String, words: String) -> Result<(), String> {
    world.run_in_lab(&verb, &words.split_whitespace().collect::<Vec<_>>()).map(drop)
}

fn connections(world: &World) -> Result<Vec<Value>, String> {
    let said = world.said.as_ref().ok_or("nothing was run")?;
    let walk: Value = serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))?;
    walk["conversations"].as_array().cloned().ok_or_else(|| format!("no conversations: {said:?}"))
}

/// Packets of all connections.
fn steps(world: &World) -> Result<Vec<Value>, String> {
    let all = connections(world)?.into_iter().map(|it| list(&it["steps"]));
    Ok(all.flatten().collect())
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn syn(world: &World) -> Result<Vec<Value>, String> {
    let all = steps(world)?;
    let syn = all.iter().find(|step| step["kind"] == "syn").ok_or("there is no SYN")?;
    Ok(list(&syn["hops"]))
}

/// The nodes of some hops, each once in a row.
fn nodes(hops: &[Value]) -> Vec<String> {
    let mut nodes: Vec<String> =
        hops.iter().map(|hop| hop["node"].as_str().unwrap_or_default().to_owned()).collect();
    nodes.dedup();
    nodes
}

/// Where a node sends the SYN on.
fn leaving(world: &World, node: &Node) -> Result<Value, String> {
    let hops = syn(world)?;
    let leaves = |hop: &&Value| hop["node"] == node.0.as_str() && hop["way"] == "out";
    hops.iter().find(leaves).cloned().ok_or_else(|| format!("it never left {}: {hops:?}", node.0))
}

#[then(expr = "the SYN goes from {node} by {node} and {node} to a web")]
fn way_there(world: &mut World, from: Node, first: Node, second: Node) -> Result<(), String> {
    let path = nodes(&syn(world)?);
    let begins = [from, first, second].map(|node| node.0.to_string());
    let rest = path.strip_prefix(begins.as_slice()).ok_or_else(|| format!("it went {path:?}"))?;
    // In tun, the webs' own router lies between.
    match rest.last() {
        Some(last) if last.starts_with("web") => Ok(()),
        _ => Err(format!("it went {path:?}")),
    }
}

#[then(regex = r"^(\S+) changes ([a-z_, ]+) in it$")]
fn changes(world: &mut World, node: Node, wanted: String) -> Result<(), String> {
    let hop = leaving(world, &node)?;
    let mut found: Vec<String> =
        list(&hop["changed"]).iter().map(|it| it.as_str().unwrap_or_default().to_owned()).collect();
    let mut wanted: Vec<String> = wanted.split(", ").map(str::to_owned).collect();
    found.sort();
    wanted.sort();
    if found == wanted { Ok(()) } else { Err(format!("it changes {found:?}")) }
}

#[then(regex = r"^answers (pass|pass by) (\S+)$")]
fn answers(world: &mut World, how: String, node: Node) -> Result<(), String> {
    let all = steps(world)?;
    let of_server: Vec<&Value> = all.iter().filter(|step| step["side"] == "server").collect();
    if of_server.is_empty() {
        return Err("nobody answered".to_owned());
    }
    for step in of_server {
        let path = nodes(&list(&step["hops"]));
        if path.contains(&node.0.to_string()) != (how == "pass") {
            return Err(format!("{} went {path:?}", step["what"]));
        }
    }
    Ok(())
}

#[then(expr = "all that {node} sees is between it and {address}")]
fn sees_only(world: &mut World, node: Node, address: Address) -> Result<(), String> {
    let connections = connections(world)?;
    let own = connections.first().and_then(|it| it["from"].as_str()).ok_or("no connection")?;
    let own = own.rsplit_once(':').map_or(own, |(own, _)| own).to_owned();
    let known = [own, address.0.to_string()];
    let mut seen = 0;
    for hop in
        steps(world)?.iter().flat_map(|step| list(&step["hops"])).filter(|hop| hop["node"] == node.0.as_str())
    {
        seen += 1;
        let ends = [&hop["ip"]["source"], &hop["ip"]["destination"]];
        if !hop["tunnel"].is_null() || ends.iter().any(|end| !known.iter().any(|it| *end == it)) {
            return Err(format!("it sees {hop}"));
        }
    }
    if seen > 0 { Ok(()) } else { Err("it sees nothing at all".to_owned()) }
}

#[then("no packet was lost")]
fn none_lost(world: &mut World) -> Result<(), String> {
    let all = steps(world)?;
    match all.iter().find(|step| step["end"] != "arrived") {
        None => Ok(()),
        Some(step) => Err(format!("{step}")),
    }
}

#[then(expr = "{node} puts the SYN into a packet from {address} to the address of a web")]
fn tunnelled(world: &mut World, node: Node, from: Address) -> Result<(), String> {
    let hop = leaving(world, &node)?;
    let outer = &hop["tunnel"];
    let status = world.status()?;
    let webs = status.nodes.iter().filter(|node| node.name.as_str().starts_with("web"));
    let addresses: Vec<String> =
        webs.flat_map(|web| web.addresses.values().flatten()).map(ToString::to_string).collect();
    let to = outer["destination"].as_str().unwrap_or_default();
    let right = outer["source"] == from.0.to_string() && addresses.iter().any(|it| it == to);
    if right { Ok(()) } else { Err(format!("it travels in {outer}")) }
}

#[then(expr = "there are {int} connections, the second of {node}")]
fn two_connections(world: &mut World, count: usize, node: Node) -> Result<(), String> {
    let all = connections(world)?;
    match all.get(1) {
        Some(second) if all.len() == count && second["client"] == node.0.as_str() => Ok(()),
        _ => Err(format!(
            "{} connections: {:?}",
            all.len(),
            all.iter().map(|it| &it["client"]).collect::<Vec<_>>()
        )),
    }
}

#[then("its replay begins with what it was about")]
fn replays(world: &mut World) -> Result<(), String> {
    let said = world.said.as_ref().ok_or("nothing was run")?.stdout.clone();
    let mut replay = labctl();
    replay.args(["trace", "--replay", "/dev/stdin"]);
    let text = String::from_utf8_lossy(&with_input(replay, &said)?.stdout).into_owned();
    if text.starts_with("client -> ") { Ok(()) } else { Err(text) }
}

#[then(regex = r"^no lab whose name begins with (\S+) is up$")]
fn no_such_lab(_: &mut World, prefix: String) -> Result<(), String> {
    let up = labctl::holder::client::labs().map_err(|error| error.to_string())?;
    match up.iter().find(|name| name.as_str().starts_with(&prefix)) {
        None => Ok(()),
        Some(name) => Err(format!("{name} is up")),
    }
}
