//! Connections between nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cucumber::{given, then, when};
use labctl::topology::Role;
use serde_json::Value;

use crate::cast::{Address, Node, Target};
use crate::visit::Visitor;
use crate::world::World;

fn outcomes(world: &mut World, node: &Node, targets: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let mut args = vec!["--from", node.0.as_str(), "--format", "json"];
    args.extend(targets);
    let said = world.run_in_lab("reach", &args)?;
    serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))
}

#[then(expr = "{node} reaches {target}")]
fn reaches(world: &mut World, node: Node, target: Target) -> Result<(), String> {
    let outcomes = outcomes(world, &node, &[&target.0])?;
    if outcomes[&target.0] == "open" { Ok(()) } else { Err(format!("{outcomes:?}")) }
}

#[then(expr = "nothing answers {node} at {target}")]
fn does_not_reach(world: &mut World, node: Node, target: Target) -> Result<(), String> {
    let outcomes = outcomes(world, &node, &[&target.0])?;
    match outcomes[&target.0].as_str() {
        "silent" | "unreachable" => Ok(()),
        // Refused means that the machine was reached after all.
        _ => Err(format!("{outcomes:?}")),
    }
}

#[then(expr = "of all addresses of the site only {address} answers {node} at port {int} or {int}")]
fn only_one_answers(
    world: &mut World,
    public: Address,
    node: Node,
    one: u16,
    other: u16,
) -> Result<(), String> {
    let status = world.status()?;
    let inside = [Role::Proxy, Role::Web, Role::Db];
    let site = status.nodes.iter().filter(|node| inside.contains(&node.role));
    let addresses: BTreeSet<IpAddr> =
        site.flat_map(|node| node.addresses.values().flatten()).copied().collect();
    let targets: Vec<String> = addresses
        .iter()
        .flat_map(|address| [one, other].map(|port| SocketAddr::new(*address, port).to_string()))
        .collect();
    let outcomes = outcomes(world, &node, &targets.iter().map(String::as_str).collect::<Vec<_>>())?;
    let answered = |(target, outcome): &(&String, &String)| {
        let of = target.parse().map(|target: SocketAddr| target.ip());
        !matches!(outcome.as_str(), "silent" | "unreachable") && of != Ok(IpAddr::V4(public.0))
    };
    let odd: Vec<_> = outcomes.iter().filter(answered).collect();
    if odd.is_empty() && addresses.len() > 1 { Ok(()) } else { Err(format!("{odd:?} of {targets:?}")) }
}

/// One request from a node; the answer as `labctl fetch --format json` prints it.
pub fn fetch(world: &mut World, node: &str, url: &str, more: &[&str]) -> Result<Value, String> {
    let mut args = vec!["--from", node, "--format", "json", "--timeout", "3s"];
    args.extend(more);
    args.push(url);
    let said = world.run_in_lab("fetch", &args)?;
    serde_json::from_str(&said.stdout).map_err(|_| format!("no answer: {}", said.stderr.trim()))
}

#[then(expr = "{node} gets an answer from http:\\/\\/{word}")]
fn gets_answer(world: &mut World, node: Node, rest: String) -> Result<(), String> {
    let url = format!("http://{rest}");
    world.eventually("an answer", |world| {
        let answer = fetch(world, node.0.as_str(), &url, &[])?;
        if answer["status"] == 200 { Ok(()) } else { Err(answer.to_string()) }
    })
}

#[then(expr = "the street sees {node} as {address}")]
fn seen_as(world: &mut World, node: Node, address: Address) -> Result<(), String> {
    world.eventually("the street sees that address", |world| {
        let answer = fetch(world, node.0.as_str(), "http://remote/", &[])?;
        let body = answer["body"].as_str().unwrap_or_default().trim().to_owned();
        if body == address.0.to_string() { Ok(()) } else { Err(format!("seen as {body:?}")) }
    })
}

/// Asks the VIP for its health from each of these addresses of the client, and counts who answered.
pub fn ask_from(
    world: &mut World,
    sources: impl Iterator<Item = String>,
) -> Result<BTreeMap<String, u64>, String> {
    let mut answered = BTreeMap::new();
    for source in sources {
        let answer = fetch(world, "client", "http://203.0.113.10/healthz", &["--source", &source])?;
        let by = answer["headers"]["x-served-by"].as_str().ok_or_else(|| answer.to_string())?.to_owned();
        *answered.entry(by).or_default() += 1;
    }
    Ok(answered)
}

#[when(regex = r"^the client makes (\d+) connections to the VIP$")]
fn connections(world: &mut World, count: usize) -> Result<(), String> {
    world.counted = ask_from(world, std::iter::repeat_n("198.51.100.10".to_owned(), count))?;
    Ok(())
}

#[when(regex = r"^the client connects to the VIP once from each of 20 addresses, twice over$")]
fn from_all(world: &mut World) -> Result<(), String> {
    for host in 10..30 {
        let twice = std::iter::repeat_n(format!("198.51.100.{host}"), 2);
        let answered = ask_from(world, twice)?;
        if answered.len() != 1 {
            return Err(format!("198.51.100.{host} was answered by {answered:?}"));
        }
        for (web, count) in answered {
            *world.counted.entry(web).or_default() += count;
        }
    }
    Ok(())
}

#[then("both webs answered equally often")]
fn equally(world: &mut World) -> Result<(), String> {
    let counts: Vec<u64> = world.counted.values().copied().collect();
    match counts.as_slice() {
        [one, other] if one == other => Ok(()),
        _ => Err(format!("{:?}", world.counted)),
    }
}

#[then("both webs answered")]
fn both(world: &mut World) -> Result<(), String> {
    if world.counted.len() == 2 { Ok(()) } else { Err(format!("{:?}", world.counted)) }
}

#[then(regex = r"^all of (\d+) new connections to the VIP are answered by (\S+)$")]
fn all_by(world: &mut World, count: usize, web: String) -> Result<(), String> {
    let sources = (0..count).map(|at| format!("198.51.100.{}", 10 + at % 20));
    let answered = ask_from(world, sources)?;
    if answered.keys().eq([&web]) { Ok(()) } else { Err(format!("{answered:?}")) }
}

#[given(expr = "{node} has an open connection to {target}")]
fn has_connection(world: &mut World, node: Node, target: Target) -> Result<(), String> {
    let mut visitor = Visitor::send(&world.lab()?, &node.0, &["stay", &target.0])?;
    let by = visitor.hears()?;
    let webs = world.status()?;
    if !webs.nodes.iter().any(|node| node.name.as_str() == by) {
        return Err(format!("nobody answered: {by}"));
    }
    world.visitor = Some((visitor, by));
    Ok(())
}

#[then("that connection is answered as before")]
fn connection_goes_on(world: &mut World) -> Result<(), String> {
    let (visitor, by) = world.visitor.as_mut().ok_or("nobody has a connection")?;
    visitor.goes_on()?;
    let now = visitor.hears()?;
    if now == *by { Ok(()) } else { Err(format!("it was answered by {by}, and now: {now}")) }
}
