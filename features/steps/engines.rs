//! Databases that others wrote: the leader and a web that still hears it, cut off from everybody else.

use cucumber::{then, when};
use labctl::report::{ApartFrom, Cable};
use labctl::topology::NetworkName;

use super::conversation::{Talk, VIP, talk, try_to_say};
use super::traffic::fetch;
use crate::world::World;

/// Where webs and databases hear each other.
fn data() -> Result<NetworkName, String> {
    "data".parse().map_err(|error| format!("{error}"))
}

#[when("the database leader and the web that answered are cut off together")]
fn cut_off_together(world: &mut World) -> Result<(), String> {
    let leader = world.status()?.raft_leader.ok_or("there is no leader")?;
    let web = talk(world)?.served_by.clone().ok_or("nobody answered yet")?;
    world.victim = Some(leader.clone());
    world.cut = vec![leader, web];
    world.lab()?.set_apart(&world.cut, ApartFrom::TheRest, Some(&data()?)).map_err(|error| error.to_string())
}

#[when("both are joined to the others again")]
fn joined_again(world: &mut World) -> Result<(), String> {
    let (lab, data) = (world.lab()?, data()?);
    let both = std::mem::take(&mut world.cut);
    both.iter().try_for_each(|node| lab.cable(node, &data, Cable::Heal)).map_err(|error| error.to_string())
}

/// The next turn as it will be said again when the site takes it, so that it counts once.
#[then("the site takes nothing more from the client")]
fn takes_nothing(world: &mut World) -> Result<(), String> {
    let key = Talk::key(talk(world)?.acknowledged());
    match try_to_say(world, &key) {
        Err(answer) if answer.contains("databases-unavailable") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// What it was may count later, under the same key: nobody promised anything.
#[then("the site neither reads nor takes the next thing that the client will say")]
fn refuses_the_next(world: &mut World) -> Result<(), String> {
    let key = Talk::key(talk(world)?.acknowledged());
    match try_to_say(world, &key) {
        Err(answer) if answer.contains("databases-unavailable") => {}
        other => return Err(format!("{other:?}")),
    }
    let answer = fetch(world, "client", &format!("{VIP}/conversations/{}", talk(world)?.id()), &[])?;
    let to_come = !answer["headers"]["retry-after"].is_null();
    if answer["status"] == 503 && to_come { Ok(()) } else { Err(answer.to_string()) }
}
