//! Databases that lose more than their process: power, disk, majority.

use std::thread;

use cucumber::{then, when};
use labctl::holder::client::Lab;
use labctl::topology::{NodeName, Role};

use super::conversation::{Talk, VIP, talk, try_to_say};
use super::traffic::fetch;
use crate::world::World;

/// The header of the raft log, which everything else of it hangs on.
const DAMAGE: [&str; 5] =
    ["dd", "if=/dev/zero", "of=/run/labctl/disk/db/raft.redb", "count=1", "conv=notrunc"];

fn databases(world: &World) -> Result<Vec<NodeName>, String> {
    let status = world.status()?;
    Ok(status.nodes.iter().filter(|node| node.role == Role::Db).map(|node| node.name.clone()).collect())
}

fn power_off(lab: &Lab, nodes: &[NodeName]) -> Result<(), String> {
    nodes.iter().try_for_each(|node| lab.power_off(node).map_err(|error| error.to_string()))
}

/// What was in work when the power went is said again later under the same key.
#[when("all databases lose their power while the client talks")]
fn all_lose_power(world: &mut World) -> Result<(), String> {
    let (lab, nodes) = (world.lab()?, databases(world)?);
    let before = talk(world)?.acknowledged();
    let mut end: Option<thread::JoinHandle<Result<(), String>>> = None;
    let mut lab = Some(lab);
    loop {
        let said = try_to_say(world, &Talk::key(talk(world)?.acknowledged()));
        match (&end, said) {
            (None, Ok(())) if talk(world)?.acknowledged() > before + 3 => {
                let (lab, nodes) = (lab.take().ok_or("the power goes once")?, nodes.clone());
                end = Some(thread::spawn(move || power_off(&lab, &nodes)));
            }
            (None | Some(_), Ok(())) => {}
            (None, Err(error)) => return Err(error),
            (Some(done), Err(_)) if !done.is_finished() => {}
            (Some(_), Err(_)) => break,
        }
    }
    match end {
        Some(end) => end.join().map_err(|_| "the power did not go")?,
        None => Err("the power did not go".to_owned()),
    }
}

#[when("two databases are powered off")]
fn two_lose_power(world: &mut World) -> Result<(), String> {
    power_off(&world.lab()?, &databases(world)?[..2])
}

#[when("every database that is off comes back")]
fn all_come_back(world: &mut World) -> Result<(), String> {
    let (lab, status) = (world.lab()?, world.status()?);
    let mut off = status.nodes.iter().filter(|node| node.role == Role::Db && node.pid.is_none());
    off.try_for_each(|node| lab.power_on(&node.name).map_err(|error| error.to_string()))
}

/// Refused by somebody who says so, and when to ask again; not by silence.
#[then("the site neither reads nor writes, and says when to ask again")]
fn refuses(world: &mut World) -> Result<(), String> {
    let url = format!("{VIP}/conversations/{}", talk(world)?.id());
    let turns = format!("{url}/turns");
    let key = format!("Idempotency-Key: {}", Talk::key(talk(world)?.acknowledged()));
    let write = ["-X", "POST", "-H", &key, "-d", r#"{"text":"refused"}"#];
    for (url, options) in [(&url, [].as_slice()), (&turns, write.as_slice())] {
        let answer = fetch(world, "client", url, options)?;
        if answer["status"] != 503 || answer["headers"]["retry-after"].is_null() {
            return Err(answer.to_string());
        }
    }
    Ok(())
}

#[when("its disk is damaged")]
fn damage(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing was stopped")?;
    world.eventually("its daemon has ended", |world| {
        let status = world.status()?;
        let node = status.node(&victim).ok_or("no such node")?;
        let running = node.services.values().any(|service| service.running);
        if running { Err("it runs".to_owned()) } else { Ok(()) }
    })?;
    let args: Vec<&str> = [victim.as_str(), "--"].into_iter().chain(DAMAGE).collect();
    let said = world.run_in_lab("exec", &args)?;
    if said.code == 0 { Ok(()) } else { Err(said.stderr) }
}

/// The command that the newest complaint of a database recommends.
fn way_out(log: &str) -> Option<&str> {
    let complaint = log.lines().rev().find(|line| line.contains("raft.redb is damaged"))?;
    complaint.split('`').find(|part| part.starts_with("labctl exec "))
}

#[then("its log and the status of the lab name the file and the way out")]
fn names_the_way_out(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing was damaged")?;
    world.eventually("a way out", |world| {
        let log = world.run_in_lab("logs", &[victim.as_str()])?.stdout;
        way_out(&log).ok_or(format!("{} of {log}", log.lines().count()))?;
        let status = world.status()?;
        let waits = status.waiting_for.join("; ");
        if waits.contains("raft.redb is damaged") { Ok(()) } else { Err(waits) }
    })
}

#[when("somebody does what the log says")]
fn do_what_it_says(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing was damaged")?;
    let log = world.run_in_lab("logs", &[victim.as_str()])?.stdout;
    let command = way_out(&log).ok_or(log.clone())?;
    let words: Vec<&str> = command.split_whitespace().skip(2).collect();
    let said = world.run_in_lab("exec", &words)?;
    if said.code == 0 { Ok(()) } else { Err(said.stderr) }
}
