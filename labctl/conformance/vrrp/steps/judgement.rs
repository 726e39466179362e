//! What the adverts of the router under test say, and when they come.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cucumber::then;

use super::neighbours::{ask, nobody_answers};
use super::router::falls_silent;
use crate::conformance::vrrp::frames::{GROUP4, GROUP6, PROTOCOL};
use crate::conformance::vrrp::setup::{DUT_BACK, VRID, duration};
use crate::conformance::vrrp::wire::Advert;
use crate::conformance::vrrp::world::{EARLY_MAX, LATE_MAX, WAIT_MAX, World, link_local};
use crate::kernel::clock;
use crate::kernel::packet::Mac;

/// Adverts that are looked at before something is said of all of them.
const SAMPLE: usize = 3;
/// A router that took a stranger's advert for an Active's would be silent; one that goes on sends five in this time.
const WATCH_INTERVALS: u32 = 5;
/// Of those five, a busy machine may delay some beyond it.
const STILL_MIN: usize = 3;

#[then("it still says that it is active")]
fn still_active(world: &mut World) -> Result<(), String> {
    let (mark, interval) = (world.mark, world.setup()?.interval);
    world.listen((mark + interval * WATCH_INTERVALS).saturating_sub(clock::calendar()))?;
    let said = world.adverts(mark)?.iter().filter(|(_, _, advert)| advert.priority() > 0).count();
    if said >= STILL_MIN { Ok(()) } else { Err(format!("{said} adverts in {WATCH_INTERVALS} intervals")) }
}

#[then(regex = "^its (IPv4|IPv6) router still says that it is active$")]
fn other_still_active(world: &mut World, family: String) -> Result<(), String> {
    in_family(world, &family, still_active)
}

/// A router that gave way says nothing and does not answer either: one that is merely kept from speaking, or is dead with
/// the address in place, does.
#[then("it falls silent")]
fn silent(world: &mut World) -> Result<(), String> {
    let interval = world.setup()?.interval;
    falls_silent(world, interval * 2)?;
    ask(world)?;
    nobody_answers(world).map_err(|error| format!("it says nothing, but has not given way: {error}"))
}

#[then(regex = "^its (IPv4|IPv6) router falls silent$")]
fn other_silent(world: &mut World, family: String) -> Result<(), String> {
    in_family(world, &family, silent)
}

/// The same about the router of the other family, of one that has both.
fn in_family(
    world: &mut World,
    family: &str,
    look: fn(&mut World) -> Result<(), String>,
) -> Result<(), String> {
    let setup = world.setup.as_mut().ok_or("this scenario has no router under test")?;
    let before = std::mem::replace(&mut setup.ipv4, family == "IPv4");
    let found = look(world);
    if let Some(setup) = &mut world.setup {
        setup.ipv4 = before;
    }
    found
}

#[then(regex = r"^it says nothing for (\d+) intervals$")]
fn says_nothing(world: &mut World, intervals: u32) -> Result<(), String> {
    let span = world.setup()?.interval * intervals;
    let now = clock::calendar();
    match world.next_advert(now, span)? {
        None => Ok(()),
        Some((at, ..)) => Err(format!("an advert after {:?}", at.saturating_sub(now))),
    }
}

fn takes_over(world: &mut World, expected: Duration) -> Result<(), String> {
    let mark = world.mark;
    let (at, ..) = world.next_advert(mark, expected + WAIT_MAX)?.ok_or("it never takes over")?;
    let after = at.saturating_sub(mark);
    if after + EARLY_MAX < expected {
        return Err(format!("it took over after {after:?}, before {expected:?}"));
    }
    if after > expected + LATE_MAX {
        return Err(format!("it took over after {after:?} instead of {expected:?}"));
    }
    Ok(())
}

#[then("it takes over after 3 intervals of the other router and its skew")]
fn takes_over_in_time(world: &mut World) -> Result<(), String> {
    let active = world.rival_interval;
    let expected = active * 3 + world.setup()?.skew(active);
    takes_over(world, expected)
}

#[then("it takes over after its skew alone")]
fn takes_over_soon(world: &mut World) -> Result<(), String> {
    let expected = world.setup()?.skew(world.rival_interval);
    takes_over(world, expected)
}

#[then("it becomes active, but not before 3 intervals and its skew")]
fn active_not_before(world: &mut World) -> Result<(), String> {
    let (mark, setup) = (world.mark, world.setup()?);
    let expected = setup.interval * 3 + setup.skew(setup.interval);
    let (at, ..) = world.next_advert(mark, expected + WAIT_MAX)?.ok_or("it never becomes active")?;
    let after = at.saturating_sub(mark);
    if after + EARLY_MAX < expected { Err(format!("after {after:?}, before {expected:?}")) } else { Ok(()) }
}

#[then("it becomes active before an interval has passed")]
fn active_at_once(world: &mut World) -> Result<(), String> {
    let (mark, interval) = (world.mark, world.setup()?.interval);
    match world.next_advert(mark, interval)? {
        Some(_) => Ok(()),
        None => Err(format!("no advert in {interval:?}")),
    }
}

#[then("it answers with an advert at once")]
fn answers(world: &mut World) -> Result<(), String> {
    let mark = world.mark;
    let (at, ..) = world.next_advert(mark, LATE_MAX)?.ok_or(format!("no advert in {LATE_MAX:?}"))?;
    world.noted = Some(at);
    Ok(())
}

#[then("the next one comes an interval after that")]
fn timer_was_reset(world: &mut World) -> Result<(), String> {
    let (noted, interval) = (world.noted.ok_or("nothing was noted")?, world.setup()?.interval);
    let (at, ..) = world.next_advert(noted, WAIT_MAX)?.ok_or("no further advert")?;
    let after = at.saturating_sub(noted);
    if after + EARLY_MAX < interval { Err(format!("after {after:?}, before {interval:?}")) } else { Ok(()) }
}

#[then(regex = r"^it sends (\d+) adverts in as many intervals, give or take one$")]
fn steady(world: &mut World, count: usize) -> Result<(), String> {
    let (now, interval) = (clock::calendar(), world.setup()?.interval);
    world.listen(interval * count as u32)?;
    let said = world.adverts(now)?.len();
    if said.abs_diff(count) <= 1 { Ok(()) } else { Err(format!("{said} adverts in {count} intervals")) }
}

#[then("its last advert has priority 0")]
fn farewell(world: &mut World) -> Result<(), String> {
    world.listen(LATE_MAX)?;
    let last = world.adverts(Duration::ZERO)?.pop().ok_or("it never said anything")?;
    match last.2.priority() {
        0 => Ok(()),
        other => Err(format!("its last advert has priority {other}")),
    }
}

#[then("it sends no advert")]
fn no_advert(world: &mut World) -> Result<(), String> {
    world.listen(LATE_MAX)?;
    let mark = world.mark;
    match world.adverts(mark)?.first() {
        None => Ok(()),
        Some((_, _, advert)) => Err(format!("an advert of priority {}", advert.priority())),
    }
}

#[then("it says so in both versions")]
fn both_versions(world: &mut World) -> Result<(), String> {
    let (mark, interval) = (world.mark, world.setup()?.interval);
    world.listen((mark + interval * WATCH_INTERVALS).saturating_sub(clock::calendar()))?;
    let versions: BTreeSet<u8> = world.adverts(mark)?.iter().map(|(_, _, advert)| advert.version()).collect();
    if versions == BTreeSet::from([2, 3]) { Ok(()) } else { Err(format!("in {versions:?}")) }
}

#[then("its log names the other owner")]
fn log_names_owner(world: &mut World) -> Result<(), String> {
    let deadline = clock::calendar() + WAIT_MAX;
    loop {
        let text = world.log();
        if text.lines().any(|line| line.contains("two-owners")) {
            return Ok(());
        }
        if clock::calendar() > deadline {
            return Err(format!("it says: {text}"));
        }
        world.listen(LATE_MAX)?;
    }
}

#[then(regex = r"^its adverts have (.+)$")]
fn have(world: &mut World, words: String) -> Result<(), String> {
    let mut since = world.mark;
    let mut sample = Vec::new();
    while sample.len() < SAMPLE {
        let one = world.next_advert(since, WAIT_MAX)?.ok_or(format!("no advert in {WAIT_MAX:?}"))?;
        since = one.0;
        sample.push(one);
        // Of one with a long interval, one advert has to do.
        if world.setup()?.interval > LATE_MAX * 2 {
            break;
        }
    }
    sample.iter().try_for_each(|(_, mac, advert)| check(world, &words, *mac, advert))
}

/// One of the things that can be said of an advert.
fn check(world: &World, words: &str, mac: Mac, advert: &Advert) -> Result<(), String> {
    let setup = world.setup()?;
    let number = |text: &str| text.parse::<u8>().map_err(|_| format!("{text:?} is no number"));
    let (holds, found) = match words.split_once(' ').unwrap_or((words, "")) {
        ("TTL", value) => (advert.ttl == number(value)?, advert.ttl.to_string()),
        ("version", value) => (advert.version() == number(value)?, advert.version().to_string()),
        ("type", value) => (advert.kind() == number(value)?, advert.kind().to_string()),
        ("priority", value) => (advert.priority() == number(value)?, advert.priority().to_string()),
        ("interval", value) => (advert.interval() == duration(value)?, format!("{:?}", advert.interval())),
        ("the", "configured VRID") => (advert.vrid() == VRID, advert.vrid().to_string()),
        ("the", "reserved bits clear") => (advert.reserved() == 0, advert.reserved().to_string()),
        ("the", "VRRP group as destination") => {
            let group: IpAddr = if setup.ipv4 { GROUP4.into() } else { GROUP6.into() };
            (advert.destination == group, format!("{} in protocol {PROTOCOL}", advert.destination))
        }
        ("its", "own address as source") => {
            let own: IpAddr = if setup.ipv4 { DUT_BACK.into() } else { link_local(world.dut()?.mac).into() };
            (advert.source == own, advert.source.to_string())
        }
        ("a", "link-local source") => {
            let is = matches!(advert.source, IpAddr::V6(source) if source.is_unicast_link_local());
            (is && !setup.addresses().contains(&advert.source), advert.source.to_string())
        }
        ("the", "virtual MAC as source") => (mac == setup.virtual_mac(), format!("{mac:02x?}")),
        ("every", "address in order") => {
            let whole = usize::from(advert.count()) == setup.addresses().len();
            (whole && advert.addresses() == setup.addresses(), format!("{:?}", advert.addresses()))
        }
        ("a", "checksum of the message alone") => (advert.is_sound(false), "another".to_owned()),
        ("a", "checksum with a pseudo-header") => (advert.is_sound(true), "another".to_owned()),
        ("no", "authentication") => {
            (advert.authentication() == 0 && advert.tail() == [0; 8], format!("{:02x?}", advert.tail()))
        }
        _ => return Err(format!("nobody knows how adverts have {words:?}")),
    };
    if holds { Ok(()) } else { Err(format!("they have {found}")) }
}
