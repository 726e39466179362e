//! Services beside the web: servers that a scenario puts on both webs, and a client who uses them by the VIP.

use cucumber::{given, when};

use super::forwarding::source;
use crate::visit::Visitor;
use crate::world::World;

/// The client's address of the other family.
const SOURCE_V6: &str = "2001:db8:5::10";

/// Puts a server on both webs, whose names are what it answers with.
fn serve(world: &mut World, verb: &str, on: &str) -> Result<(), String> {
    let lab = world.lab()?;
    for web in ["web1", "web2"] {
        let node = web.parse().map_err(|error| format!("{error}"))?;
        let mut server = Visitor::send(&lab, &node, &[verb, on, web])?;
        match server.hears()?.as_str() {
            "ready" => world.servers.push(server),
            other => return Err(format!("{web}: {other}")),
        }
    }
    Ok(())
}

#[given(regex = r"^both webs answer datagrams on port (\d+)$")]
fn answer_datagrams(world: &mut World, port: String) -> Result<(), String> {
    serve(world, "answer-datagrams", &format!("0.0.0.0:{port}"))
}

#[given(regex = r"^both webs take in uploads on port (\d+)$")]
fn take_in(world: &mut World, port: String) -> Result<(), String> {
    serve(world, "take-in", &format!("[::]:{port}"))
}

#[when(regex = r"^the client sends (\d+) datagrams to (\S+), each from a port of its own$")]
fn send_datagrams(world: &mut World, count: usize, target: String) -> Result<(), String> {
    let client = "client".parse().map_err(|error| format!("{error}"))?;
    let work = ["send-datagrams", &source(0).to_string(), &target, &count.to_string()];
    let mut visitor = Visitor::send(&world.lab()?, &client, &work)?;
    world.counted.clear();
    for _ in 0..count {
        match visitor.hears()?.as_str() {
            web @ ("web1" | "web2") => *world.counted.entry(web.to_owned()).or_default() += 1,
            other => return Err(other.to_owned()),
        }
    }
    Ok(())
}

#[when(regex = r"^the client uploads (\d+) bytes to (\S+) over each of (\d+) connections$")]
fn upload(world: &mut World, bytes: String, target: String, count: usize) -> Result<(), String> {
    let client = "client".parse().map_err(|error| format!("{error}"))?;
    world.counted.clear();
    for _ in 0..count {
        let mut visitor = Visitor::send(&world.lab()?, &client, &["upload", SOURCE_V6, &target, &bytes])?;
        let said = visitor.hears()?;
        match said.split_once(' ') {
            Some((web, taken)) if taken == bytes => *world.counted.entry(web.to_owned()).or_default() += 1,
            _ => return Err(said),
        }
    }
    Ok(())
}
