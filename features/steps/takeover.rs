//! Connections that were open before one director took over from the other, and what became of them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use cucumber::{given, then, when};
use serde_json::Value;

use super::forwarding::{VIP, inside, source};
use crate::cast::Node;
use crate::visit::Visitor;
use crate::visit::connection::BROKEN;
use crate::world::World;

/// Long enough to be drawn slowly for 20 seconds: a takeover takes a fraction of one.
const FILE_BYTES: &str = "33554432";
/// More addresses than it takes until both webs have somebody.
const ADDRESSES_MAX: usize = 20;

/// Somebody with one connection to the site that is to last.
#[derive(Debug)]
pub struct Regular {
    visitor: Visitor,
    /// What is done over it, by whom and with whom, for people.
    what: String,
    by: String,
    /// The client's end of the connection.
    end: SocketAddr,
}

impl Regular {
    fn begins(world: &World, does: &str, source: Ipv4Addr) -> Result<Self, String> {
        let client = "client".parse().map_err(|error| format!("{error}"))?;
        let (source, vip) = (source.to_string(), VIP.to_string());
        let work = match does {
            "draws" => vec!["draw", &source, &vip, FILE_BYTES],
            _ => vec!["converse", &source, &vip],
        };
        let mut visitor = Visitor::send(&world.lab()?, &client, &work)?;
        let said = visitor.hears()?;
        let introduced = said.split_once(' ').and_then(|(by, end)| Some((by.to_owned(), end.parse().ok()?)));
        let (by, end) = introduced.ok_or_else(|| format!("{source} {does}: {said}"))?;
        Ok(Self { visitor, what: format!("{end} {does} with {by}"), by, end })
    }

    /// How it ended, after it was let go on.
    fn ends(&mut self) -> Result<String, String> {
        let end = self.visitor.hears()?;
        Ok(format!("{}: {end}", self.what))
    }
}

#[when(regex = r"^the client draws files and converses from (\d+) addresses$")]
fn regulars(world: &mut World, addresses: usize) -> Result<(), String> {
    (0..addresses).try_for_each(|at| one_address(world, at))
}

#[given(regex = r"^the client draws files and converses from (\d+) addresses, and meets both webs$")]
fn regulars_of_both(world: &mut World, addresses: usize) -> Result<(), String> {
    for at in 0..ADDRESSES_MAX {
        let webs: BTreeSet<&str> = world.regulars.iter().map(|regular| regular.by.as_str()).collect();
        if at >= addresses && webs.len() > 1 {
            return Ok(());
        }
        one_address(world, at)?;
    }
    Err(format!("{ADDRESSES_MAX} addresses were served by one web"))
}

fn one_address(world: &mut World, at: usize) -> Result<(), String> {
    for does in ["draws", "converses"] {
        let regular = Regular::begins(world, does, source(at))?;
        world.regulars.push(regular);
    }
    Ok(())
}

#[when(expr = "{node} is drained")]
fn drained(world: &mut World, web: Node) -> Result<(), String> {
    balancer(world, &["drain", "web", web.0.as_str()]).map(drop)
}

#[when(expr = "the weight of {node} is set to {word}")]
fn weighted(world: &mut World, web: Node, weight: String) -> Result<(), String> {
    balancer(world, &["weight", "web", web.0.as_str(), &weight]).map(drop)
}

/// Runs `labctl balancer`; gives back what it prints.
fn balancer(world: &mut World, words: &[&str]) -> Result<String, String> {
    let lab = world.lab()?;
    let said = world.run(&[&["balancer"], words, &["--lab", lab.name().as_str()]].concat())?;
    if said.code == 0 { Ok(said.stdout) } else { Err(format!("{}{}", said.stdout, said.stderr)) }
}

#[when(expr = "{node} has been told of these connections")]
fn told(world: &mut World, director: Node) -> Result<(), String> {
    let name = director.0.as_str();
    world.eventually("it was told of all of them", |world| {
        let all = balancer(world, &["list", "--connections", "--format", "json", "--node", name])?;
        let all: Value = serde_json::from_str(&all).map_err(|error| format!("{error}: {all}"))?;
        let known = &all["directors"][name]["listing"]["connections"]["shown"];
        let known = known.as_array().ok_or_else(|| all.to_string())?;
        let known: BTreeSet<SocketAddr> =
            known.iter().filter_map(|one| one["client"].as_str()?.parse().ok()).collect();
        let not_told: Vec<_> =
            world.regulars.iter().filter(|regular| !known.contains(&regular.end)).collect();
        if not_told.is_empty() { Ok(()) } else { Err(format!("it knows {known:?}, and not {not_told:?}")) }
    })
}

/// How all of them end, in words, and with whom.
fn ends(world: &mut World) -> Result<Vec<(String, String)>, String> {
    let mut regulars = std::mem::take(&mut world.regulars);
    if regulars.is_empty() {
        return Err("there are no such connections".to_owned());
    }
    // Those that ended already cannot be told any more.
    regulars.iter_mut().for_each(|regular| drop(regular.visitor.goes_on()));
    regulars.iter_mut().map(|regular| Ok((regular.by.clone(), regular.ends()?))).collect()
}

fn is_broken(end: &str) -> bool {
    end.contains(BROKEN)
}

fn is_whole(end: &str) -> bool {
    end.ends_with(": whole")
}

/// What is not as it should be, if anything.
fn odd(ends: &[(String, String)], as_it_should: impl Fn(&str, &str) -> bool) -> Result<(), String> {
    let odd: Vec<_> = ends.iter().filter(|(by, end)| !as_it_should(by, end)).map(|(_, end)| end).collect();
    if odd.is_empty() { Ok(()) } else { Err(format!("of {}: {odd:?}", ends.len())) }
}

#[then("each of these connections goes on to its end")]
fn go_on(world: &mut World) -> Result<(), String> {
    odd(&ends(world)?, |_, end| is_whole(end))
}

#[then("each of these connections breaks")]
fn break_all(world: &mut World) -> Result<(), String> {
    odd(&ends(world)?, |_, end| is_broken(end))
}

#[then(expr = "each of these connections to {node} breaks, and each of the others goes on to its end")]
fn break_some(world: &mut World, node: Node) -> Result<(), String> {
    odd(&ends(world)?, |by, end| if by == node.0.as_str() { is_broken(end) } else { is_whole(end) })
}

/// The kernel counts every connection of its own that was reset, whoever noticed (RFC 4022, `tcpEstabResets`).
#[then("no connection of the client was reset")]
fn no_reset(world: &mut World) -> Result<(), String> {
    let client = "client".parse().map_err(|error| format!("{error}"))?;
    let counts = inside(&world.lab()?, &client, || {
        fs::read_to_string("/proc/thread-self/net/snmp").map_err(|error| error.to_string())
    })?;
    let mut lines = counts.lines().filter_map(|line| line.strip_prefix("Tcp: ")).map(str::split_whitespace);
    let (names, values) = (lines.next().ok_or("no names")?, lines.next().ok_or("no counts")?);
    let resets = names.zip(values).find(|(name, _)| *name == "EstabResets").ok_or("no such count")?.1;
    if resets == "0" { Ok(()) } else { Err(format!("{resets} were")) }
}
