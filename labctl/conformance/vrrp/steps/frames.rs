//! What another router says to the router under test, and when it stops saying it.

use cucumber::{then, when};

use crate::conformance::vrrp::rival::Rival;
use crate::conformance::vrrp::setup::{BACK, FRONT};
use crate::conformance::vrrp::wire::What;
use crate::conformance::vrrp::world::{LATE_MAX, WAIT_MAX, World};
use crate::kernel::clock;

fn frame(world: &mut World, priority: u8, words: &str) -> Result<Vec<u8>, String> {
    let mut advertisement = world.advertisement(priority)?;
    for phrase in words.split(" and ").filter(|phrase| !phrase.is_empty()) {
        advertisement = advertisement.with(phrase)?;
    }
    Ok(advertisement.frame())
}

/// Those that must be dropped come less often than a router speaks, and still often enough to hold off one that took them
/// for good: what else they do to a router that drops them is a question of its own (L14).
#[when(regex = r"^adverts of priority (\d+)(?: with (.+))? (keep arriving|arrive every third interval)$")]
fn keep_arriving(world: &mut World, priority: u8, words: String, how: String) -> Result<(), String> {
    let frame = frame(world, priority, &words)?;
    let times = if how == "keep arriving" { 1 } else { 3 };
    let (socket, every) = (world.wire()?.sender(BACK)?, world.rival_interval * times);
    // Whoever spoke before has nothing more to say.
    drop(world.rival.take());
    world.mark = clock::calendar();
    world.rival = Some(Rival::start(socket, frame, every)?);
    Ok(())
}

#[when(regex = r"^one advert of priority (\d+)(?: with (.+))? arrives$")]
fn arrives(world: &mut World, priority: u8, words: String) -> Result<(), String> {
    let frame = frame(world, priority, &words)?;
    world.send(BACK, &frame)
}

#[when(
    regex = r"^one advert of priority (\d+)(?: with (.+))? arrives (right|half an interval) after its own$"
)]
fn arrives_after(world: &mut World, priority: u8, words: String, when: String) -> Result<(), String> {
    let frame = frame(world, priority, &words)?;
    let now = clock::calendar();
    let (at, ..) = world.next_advert(now, WAIT_MAX)?.ok_or("it says nothing")?;
    if when != "right" {
        // The next of its own is then half an interval away, unless this one moves it.
        let then = at + world.setup()?.interval / 2;
        world.listen(then.saturating_sub(clock::calendar()))?;
    }
    world.send(BACK, &frame)
}

#[when("the other router falls silent")]
fn silent(world: &mut World) -> Result<(), String> {
    world.rival.take().ok_or("there is no other router")?;
    world.mark = world.last_said()?;
    Ok(())
}

#[when("the other router gives up")]
fn gives_up(world: &mut World) -> Result<(), String> {
    world.rival.take().ok_or("there is no other router")?;
    let farewell = world.advertisement(0)?.frame();
    world.send(BACK, &farewell)?;
    world.mark = world.last_said()?;
    Ok(())
}

#[when(regex = r"^the priority of the other router becomes (\d+)$")]
fn becomes(world: &mut World, priority: u8) -> Result<(), String> {
    let frame = world.advertisement(priority)?.frame();
    world.mark = clock::calendar();
    world.rival.as_ref().ok_or("there is no other router")?.says(frame)
}

#[then("nothing of it reaches the other side")]
fn not_forwarded(world: &mut World) -> Result<(), String> {
    let mark = world.mark;
    world.listen(LATE_MAX)?;
    let wire = world.wire()?;
    let there = wire.seen.iter().find(|seen| {
        seen.at > mark && seen.link == FRONT && !seen.ours && matches!(seen.what, What::Advert(_))
    });
    there.map_or(Ok(()), |seen| Err(format!("{:?} came out of front", seen.what)))
}
