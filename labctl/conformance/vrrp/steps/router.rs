//! The router under test: made, started, stopped, and brought into a state.

use std::time::Duration;

use cucumber::{given, then, when};

use crate::conformance::vrrp::rival::Rival;
use crate::conformance::vrrp::setup::{BACK, Setup, duration};
use crate::conformance::vrrp::world::{LATE_MAX, WAIT_MAX, World};
use crate::kernel::clock;

/// Silence of this many intervals is a state, and not an advert that is late.
const SILENT_INTERVALS: u32 = 2;

#[given(regex = r"^a router under test(?: with (.+))?$")]
fn router(world: &mut World, words: String) -> Result<(), String> {
    let mut setup = Setup::of(world.engine);
    if !words.is_empty() {
        setup = setup.with(&words)?;
    }
    world.up_small(setup)
}

#[given("it is active")]
#[then("it becomes active")]
fn active(world: &mut World) -> Result<(), String> {
    let (mark, priority) = (world.mark, world.setup()?.priority);
    match world.next_advert(mark, WAIT_MAX)? {
        Some((_, _, advert)) if advert.priority() == priority => Ok(()),
        Some((_, _, advert)) => Err(format!("it says priority {}", advert.priority())),
        None => Err(format!("no advert in {WAIT_MAX:?}")),
    }
}

#[given(regex = r"^it is in backup behind a router of priority (\d+)(?: that advertises every (.+))?$")]
fn backup(world: &mut World, priority: u8, every: String) -> Result<(), String> {
    active(world)?;
    if !every.is_empty() {
        world.rival_interval = duration(&every)?;
    }
    let frame = world.advertisement(priority)?.frame();
    let (socket, every) = (world.wire()?.sender(BACK)?, world.rival_interval);
    world.rival = Some(Rival::start(socket, frame, every)?);
    let silence = world.setup()?.interval * SILENT_INTERVALS;
    falls_silent(world, silence)
}

/// Waits until the router under test has said nothing for that long.
pub(super) fn falls_silent(world: &mut World, silence: Duration) -> Result<(), String> {
    let give_up = clock::calendar() + WAIT_MAX.min(silence * 4 + LATE_MAX * 2);
    let mut since = clock::calendar();
    loop {
        match world.next_advert(since, silence)? {
            None => return Ok(()),
            Some((at, ..)) if at > give_up => return Err("it does not fall silent".to_owned()),
            Some((at, ..)) => since = at,
        }
    }
}

#[given("it is stopped")]
#[when("it is stopped")]
fn stop(world: &mut World) -> Result<(), String> {
    world.order(false)
}

#[when("it starts")]
fn start(world: &mut World) -> Result<(), String> {
    world.order(true)
}

#[when("some time passes")]
fn time(world: &mut World) -> Result<(), String> {
    let interval = world.setup()?.interval;
    world.listen(interval * SILENT_INTERVALS)
}
