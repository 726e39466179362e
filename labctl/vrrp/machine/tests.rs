//! The whole transition table as text, a few stories that one step cannot tell, and elections on a bad network.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU8;
use std::time::Duration;

use super::*;
use crate::vrrp::SkewRule;

mod election;
mod lab;
mod site;

const SELF: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 12));
const LESSER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 11));
const GREATER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 13));
/// When the one input of a table's line happens.
const NOW: Time = Duration::from_secs(60);

fn cs(centiseconds: u16) -> Interval {
    Interval::from_centiseconds(centiseconds).unwrap()
}

fn config(priority: u8, preempt: bool) -> Config {
    Config {
        priority: NonZeroU8::new(priority).unwrap(),
        interval: cs(100),
        preempt,
        preempt_delay: Duration::ZERO,
        skew: SkewRule::OfInterval,
        address: SELF,
        profile: Profile::Rfc9568,
    }
}

/// From a peer whose interval, 0.5 s, is not ours.
fn advert(from: IpAddr, priority: u8) -> Input {
    Input::Advert { from, priority, interval: cs(50) }
}

fn backup(config: Config) -> Machine {
    let mut machine = Machine::new(config);
    machine.watch(config.interval, None, NOW - Duration::from_secs(1));
    machine
}

fn active(config: Config) -> Machine {
    let mut machine = Machine::new(config);
    machine.become_active(State::Backup, Cause::AdvertsMissed, NOW - Duration::from_millis(300));
    machine
}

fn words(actions: &[Action]) -> String {
    let words = actions.iter().map(|action| match action {
        Action::SendAdvert { priority } => format!("advert({priority})"),
        Action::TakeAddresses => "take".to_owned(),
        Action::ReleaseAddresses => "release".to_owned(),
        Action::Announce => "announce".to_owned(),
        Action::Probe => "probe".to_owned(),
        Action::Lease { until } => format!("lease until {until:?}"),
        Action::Hush => "hush".to_owned(),
        Action::Transition { from, to, because } => format!("{from} -> {to}, because {because}"),
    });
    match words.collect::<Vec<_>>().join("; ") {
        nothing if nothing.is_empty() => "nothing".to_owned(),
        something => something,
    }
}

/// One line for each input that a machine can get: what it does, and how long it then waits.
fn table(machine: &Machine) -> String {
    let due = machine.deadline().unwrap_or(NOW);
    let own = machine.config.priority.get();
    let rows = [
        ("startup", Input::Startup, NOW),
        ("shutdown", Input::Shutdown, NOW),
        ("timer, stale", Input::TimerExpired, due - Duration::from_nanos(1)),
        ("timer", Input::TimerExpired, due),
        ("advert 0", advert(GREATER, 0), NOW),
        ("advert lower", advert(GREATER, own - 1), NOW),
        ("advert equal, lesser address", advert(LESSER, own), NOW),
        ("advert equal, greater address", advert(GREATER, own), NOW),
        ("advert higher", advert(LESSER, own.saturating_add(1)), NOW),
    ];
    let mut text = String::new();
    for (name, input, now) in rows {
        let mut machine = machine.clone();
        let done = words(&machine.handle(input, now));
        let wait = match machine.deadline() {
            None => "no timer".to_owned(),
            Some(at) => format!("{:?}", at - now),
        };
        writeln!(text, "{name:29} | {:10} {wait:12} | {done}", machine.state()).unwrap();
    }
    text
}

#[test]
fn initialize() {
    insta::assert_snapshot!(table(&Machine::new(config(100, true))), @r"
    startup                       | backup     3.609375s    | initialize -> backup, because it started
    shutdown                      | initialize no timer     | nothing
    timer, stale                  | initialize no timer     | nothing
    timer                         | initialize no timer     | nothing
    advert 0                      | initialize no timer     | nothing
    advert lower                  | initialize no timer     | nothing
    advert equal, lesser address  | initialize no timer     | nothing
    advert equal, greater address | initialize no timer     | nothing
    advert higher                 | initialize no timer     | nothing
    ");
}

#[test]
fn initialize_as_owner() {
    insta::assert_snapshot!(table(&Machine::new(config(255, true))), @r"
    startup                       | active     1s           | advert(255); take; initialize -> active, because it started and owns the addresses
    shutdown                      | initialize no timer     | nothing
    timer, stale                  | initialize no timer     | nothing
    timer                         | initialize no timer     | nothing
    advert 0                      | initialize no timer     | nothing
    advert lower                  | initialize no timer     | nothing
    advert equal, lesser address  | initialize no timer     | nothing
    advert equal, greater address | initialize no timer     | nothing
    advert higher                 | initialize no timer     | nothing
    ");
}

#[test]
fn backup_that_preempts() {
    insta::assert_snapshot!(table(&backup(config(100, true))), @r"
    startup                       | backup     2.609375s    | nothing
    shutdown                      | initialize no timer     | backup -> initialize, because it was told to stop
    timer, stale                  | backup     1ns          | nothing
    timer                         | active     1s           | advert(100); take; backup -> active, because 3 adverts missed
    advert 0                      | backup     609.375ms    | nothing
    advert lower                  | backup     2.609375s    | nothing
    advert equal, lesser address  | backup     1.8046875s   | nothing
    advert equal, greater address | backup     1.8046875s   | nothing
    advert higher                 | backup     1.8046875s   | nothing
    ");
}

#[test]
fn backup_that_does_not_preempt() {
    insta::assert_snapshot!(table(&backup(config(100, false))), @r"
    startup                       | backup     2.609375s    | nothing
    shutdown                      | initialize no timer     | backup -> initialize, because it was told to stop
    timer, stale                  | backup     1ns          | nothing
    timer                         | active     1s           | advert(100); take; backup -> active, because 3 adverts missed
    advert 0                      | backup     609.375ms    | nothing
    advert lower                  | backup     1.8046875s   | nothing
    advert equal, lesser address  | backup     1.8046875s   | nothing
    advert equal, greater address | backup     1.8046875s   | nothing
    advert higher                 | backup     1.8046875s   | nothing
    ");
}

/// An owner is a backup only after it lost a tie against another owner. It preempts whatever is configured.
#[test]
fn backup_that_owns_the_addresses() {
    insta::assert_snapshot!(table(&backup(config(255, false))), @r"
    startup                       | backup     2.00390625s  | nothing
    shutdown                      | initialize no timer     | backup -> initialize, because it was told to stop
    timer, stale                  | backup     1ns          | nothing
    timer                         | active     1s           | advert(255); take; backup -> active, because 3 adverts missed
    advert 0                      | backup     3.90625ms    | nothing
    advert lower                  | backup     2.00390625s  | nothing
    advert equal, lesser address  | backup     1.501953125s | nothing
    advert equal, greater address | backup     1.501953125s | nothing
    advert higher                 | backup     1.501953125s | nothing
    ");
}

#[test]
fn active_router() {
    insta::assert_snapshot!(table(&active(config(100, true))), @r"
    startup                       | active     700ms        | nothing
    shutdown                      | initialize no timer     | advert(0); release; active -> initialize, because it was told to stop
    timer, stale                  | active     1ns          | nothing
    timer                         | active     1s           | advert(100)
    advert 0                      | active     1s           | advert(100)
    advert lower                  | active     700ms        | advert(100); announce
    advert equal, lesser address  | active     700ms        | advert(100); announce
    advert equal, greater address | backup     1.8046875s   | release; active -> backup, because 10.10.1.13 is active with priority 100
    advert higher                 | backup     1.8046875s   | release; active -> backup, because 10.10.1.11 is active with priority 101
    ");
}

/// Runs a story and writes one line for each input that did something.
fn story(config: Config, inputs: &[(u64, Input)]) -> String {
    let mut machine = Machine::new(config);
    let mut text = String::new();
    for &(ms, input) in inputs {
        let now = Duration::from_millis(ms);
        let done = words(&machine.handle(input, now));
        writeln!(text, "{ms:5} ms: {done}; then until {:?}", machine.deadline()).unwrap();
    }
    text
}

/// The active's own interval counts for its silence, and for the skew after it gave up (V44).
#[test]
fn a_backup_adopts_the_interval_of_the_active() {
    let give_up = Input::Advert { from: GREATER, priority: 0, interval: cs(100) };
    let inputs =
        [(0, Input::Startup), (1000, advert(GREATER, 200)), (1200, give_up), (1505, Input::TimerExpired)];
    insta::assert_snapshot!(story(config(100, true), &inputs), @r"
       0 ms: initialize -> backup, because it started; then until Some(3.609375s)
    1000 ms: nothing; then until Some(2.8046875s)
    1200 ms: nothing; then until Some(1.5046875s)
    1505 ms: advert(100); take; backup -> active, because 10.10.1.13 gave up; then until Some(2.505s)
    ");
}

/// A silence that lower adverts only interrupt ends when it would have ended anyway (V45).
#[test]
fn lower_adverts_do_not_put_off_a_preemption() {
    let low = advert(LESSER, 50);
    let inputs = [(0, Input::Startup), (1000, low), (2000, low), (3000, low), (3610, Input::TimerExpired)];
    insta::assert_snapshot!(story(config(100, true), &inputs), @r"
       0 ms: initialize -> backup, because it started; then until Some(3.609375s)
    1000 ms: nothing; then until Some(3.609375s)
    2000 ms: nothing; then until Some(3.609375s)
    3000 ms: nothing; then until Some(3.609375s)
    3610 ms: advert(100); take; backup -> active, because 10.10.1.11 is active with priority 50 only; then until Some(4.61s)
    ");
}

/// Adverts go out at fixed times however late each wake is, but a long sleep is not made good for in a burst (V53).
#[test]
fn a_late_active_keeps_its_beat() {
    let inputs = [
        (0, Input::Startup),
        (1010, Input::TimerExpired),
        (2020, Input::TimerExpired),
        (9500, Input::TimerExpired),
        (9501, Input::TimerExpired),
    ];
    insta::assert_snapshot!(story(config(255, true), &inputs), @r"
       0 ms: advert(255); take; initialize -> active, because it started and owns the addresses; then until Some(1s)
    1010 ms: advert(255); then until Some(2s)
    2020 ms: advert(255); then until Some(3s)
    9500 ms: advert(255); then until Some(10.5s)
    9501 ms: nothing; then until Some(10.5s)
    ");
}

/// A stubborn loser gets an answer each time, and the hosts a fresh announcement once a second.
#[test]
fn conflicts_are_answered_always_and_announced_seldom() {
    let low = advert(LESSER, 50);
    let inputs = [(0, Input::Startup), (100, low), (200, low), (1099, low), (1100, low)];
    insta::assert_snapshot!(story(config(255, true), &inputs), @r"
       0 ms: advert(255); take; initialize -> active, because it started and owns the addresses; then until Some(1s)
     100 ms: advert(255); announce; then until Some(1s)
     200 ms: advert(255); then until Some(1s)
    1099 ms: advert(255); then until Some(1s)
    1100 ms: advert(255); announce; then until Some(1s)
    ");
}
