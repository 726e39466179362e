//! The whole transition table as text: what each state does about each input, and how long it then waits.

use std::fmt::Write;

use super::*;

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

fn tell(mut machine: Machine, inputs: &[(Input, Time)]) -> Machine {
    for &(input, at) in inputs {
        machine.handle(input, at);
    }
    machine
}

/// Heard nothing and asked three times, the last time a millisecond ago.
fn searching() -> Machine {
    let mut machine = Machine::new(lab(config(100, true)));
    let begun = NOW - Duration::from_millis(4);
    machine.look_around(cs(100), begun);
    let ms = Duration::from_millis;
    let steps = [
        (Input::TimerExpired, begun),
        (Input::Probed, begun),
        (Input::TimerExpired, begun + ms(1)),
        (Input::Probed, begun + ms(1)),
        (Input::TimerExpired, begun + ms(3)),
        (Input::Probed, begun + ms(3)),
    ];
    tell(machine, &steps)
}

/// Has asked once since it claimed.
fn claiming() -> Machine {
    let mut machine = Machine::new(lab(config(100, true)));
    machine.watch(cs(100), None, NOW - Duration::from_millis(3700));
    let low = Input::Advert { from: LESSER, priority: 50, interval: cs(100) };
    let steps = [
        (low, NOW - Duration::from_millis(500)),
        (Input::TimerExpired, NOW - Duration::from_millis(1)),
        (Input::Probed, NOW),
    ];
    tell(machine, &steps)
}

/// Has held for longer than its first lease.
fn holding() -> Machine {
    let mut machine = Machine::new(lab(config(100, true)));
    let begun = NOW - Duration::from_millis(3300);
    machine.become_active(State::Backup, Cause::AdvertsMissed, begun);
    let seconds = [1, 2, 3].map(|second| (Input::TimerExpired, begun + Duration::from_secs(second)));
    tell(machine, &seconds)
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
        ("probed", Input::Probed, NOW),
        ("answered", Input::Answered, NOW),
        ("rival, goes first", Input::Rival { first: true }, NOW),
        ("rival, goes second", Input::Rival { first: false }, NOW),
        ("lease refused", Input::LeaseRefused, NOW),
        ("links up", Input::Links(Links { election: true, service: true }), NOW),
        ("election link down", Input::Links(Links { election: false, service: true }), NOW),
        ("service link down", Input::Links(Links { election: true, service: false }), NOW),
        ("check lowers by 20", Input::Health(Health { lowered_by: 20, fault: false }), NOW),
        ("check fails", Input::Health(Health { lowered_by: 0, fault: true }), NOW),
        ("group took", Input::GroupTook, NOW),
        ("group released", Input::GroupReleased, NOW),
    ];
    let mut text = String::new();
    for (name, input, now) in rows {
        let mut machine = machine.clone();
        let done = words(&machine.handle(input, now));
        let wait = match machine.deadline() {
            None => "no timer".to_owned(),
            Some(at) => format!("{:?}", at.saturating_sub(now)),
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
    probed                        | initialize no timer     | nothing
    answered                      | initialize no timer     | nothing
    rival, goes first             | initialize no timer     | nothing
    rival, goes second            | initialize no timer     | nothing
    lease refused                 | initialize no timer     | nothing
    links up                      | initialize no timer     | nothing
    election link down            | initialize no timer     | nothing
    service link down             | initialize no timer     | nothing
    check lowers by 20            | initialize no timer     | nothing
    check fails                   | initialize no timer     | nothing
    group took                    | initialize no timer     | nothing
    group released                | initialize no timer     | nothing
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
    probed                        | initialize no timer     | nothing
    answered                      | initialize no timer     | nothing
    rival, goes first             | initialize no timer     | nothing
    rival, goes second            | initialize no timer     | nothing
    lease refused                 | initialize no timer     | nothing
    links up                      | initialize no timer     | nothing
    election link down            | initialize no timer     | nothing
    service link down             | initialize no timer     | nothing
    check lowers by 20            | initialize no timer     | nothing
    check fails                   | initialize no timer     | nothing
    group took                    | initialize no timer     | nothing
    group released                | initialize no timer     | nothing
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
    probed                        | backup     2.609375s    | nothing
    answered                      | backup     2.609375s    | nothing
    rival, goes first             | backup     2.609375s    | nothing
    rival, goes second            | backup     2.609375s    | nothing
    lease refused                 | backup     2.609375s    | nothing
    links up                      | backup     2.609375s    | nothing
    election link down            | initialize no timer     | backup -> initialize, because a link is down
    service link down             | initialize no timer     | backup -> initialize, because a link is down
    check lowers by 20            | backup     2.6875s      | nothing
    check fails                   | initialize no timer     | backup -> initialize, because a check failed
    group took                    | active     1s           | advert(100); take; backup -> active, because its group did
    group released                | backup     2.609375s    | nothing
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
    probed                        | backup     2.609375s    | nothing
    answered                      | backup     2.609375s    | nothing
    rival, goes first             | backup     2.609375s    | nothing
    rival, goes second            | backup     2.609375s    | nothing
    lease refused                 | backup     2.609375s    | nothing
    links up                      | backup     2.609375s    | nothing
    election link down            | initialize no timer     | backup -> initialize, because a link is down
    service link down             | initialize no timer     | backup -> initialize, because a link is down
    check lowers by 20            | backup     2.6875s      | nothing
    check fails                   | initialize no timer     | backup -> initialize, because a check failed
    group took                    | active     1s           | advert(100); take; backup -> active, because its group did
    group released                | backup     2.609375s    | nothing
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
    probed                        | backup     2.00390625s  | nothing
    answered                      | backup     2.00390625s  | nothing
    rival, goes first             | backup     2.00390625s  | nothing
    rival, goes second            | backup     2.00390625s  | nothing
    lease refused                 | backup     2.00390625s  | nothing
    links up                      | backup     2.00390625s  | nothing
    election link down            | initialize no timer     | backup -> initialize, because a link is down
    service link down             | initialize no timer     | backup -> initialize, because a link is down
    check lowers by 20            | backup     2.00390625s  | nothing
    check fails                   | initialize no timer     | backup -> initialize, because a check failed
    group took                    | active     1s           | advert(255); take; backup -> active, because its group did
    group released                | backup     2.00390625s  | nothing
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
    probed                        | active     700ms        | nothing
    answered                      | active     700ms        | nothing
    rival, goes first             | active     700ms        | nothing
    rival, goes second            | active     700ms        | nothing
    lease refused                 | backup     3.609375s    | release; active -> backup, because the lease lapsed
    links up                      | active     700ms        | nothing
    election link down            | initialize no timer     | advert(0); release; active -> initialize, because a link is down
    service link down             | initialize no timer     | advert(0); release; active -> initialize, because a link is down
    check lowers by 20            | active     700ms        | nothing
    check fails                   | initialize no timer     | advert(0); release; active -> initialize, because a check failed
    group took                    | active     700ms        | nothing
    group released                | backup     3.609375s    | advert(0); release; active -> backup, because its group did
    ");
}

/// The owner claims what is its own; nobody may hold it.
#[test]
fn lab_initialize_as_owner() {
    insta::assert_snapshot!(table(&Machine::new(lab(config(255, true)))), @r"
    startup                       | backup     1ms          | initialize -> backup, because it started; advert(255); probe
    shutdown                      | initialize no timer     | nothing
    timer, stale                  | initialize no timer     | nothing
    timer                         | initialize no timer     | nothing
    advert 0                      | initialize no timer     | nothing
    advert lower                  | initialize no timer     | nothing
    advert equal, lesser address  | initialize no timer     | nothing
    advert equal, greater address | initialize no timer     | nothing
    advert higher                 | initialize no timer     | nothing
    probed                        | initialize no timer     | nothing
    answered                      | initialize no timer     | nothing
    rival, goes first             | initialize no timer     | nothing
    rival, goes second            | initialize no timer     | nothing
    lease refused                 | initialize no timer     | nothing
    links up                      | initialize no timer     | nothing
    election link down            | initialize no timer     | nothing
    service link down             | initialize no timer     | nothing
    check lowers by 20            | initialize no timer     | nothing
    check fails                   | initialize no timer     | nothing
    group took                    | initialize no timer     | nothing
    group released                | initialize no timer     | nothing
    ");
}

#[test]
fn lab_backup_that_hears_adverts() {
    insta::assert_snapshot!(table(&backup(lab(config(100, true)))), @r"
    startup                       | backup     2.602375s    | nothing
    shutdown                      | initialize no timer     | backup -> initialize, because it was told to stop
    timer, stale                  | backup     1ns          | nothing
    timer                         | backup     1ms          | probe
    advert 0                      | backup     20ms         | nothing
    advert lower                  | backup     2.609375s    | nothing
    advert equal, lesser address  | backup     1.7976875s   | nothing
    advert equal, greater address | backup     1.7976875s   | nothing
    advert higher                 | backup     1.7976875s   | nothing
    probed                        | backup     2.602375s    | nothing
    answered                      | backup     2.602375s    | nothing
    rival, goes first             | backup     2.602375s    | nothing
    rival, goes second            | backup     2.602375s    | nothing
    lease refused                 | backup     2.602375s    | nothing
    links up                      | backup     2.602375s    | nothing
    election link down            | backup     no timer     | nothing
    service link down             | initialize no timer     | backup -> initialize, because a link is down
    check lowers by 20            | backup     2.6805s      | nothing
    check fails                   | initialize no timer     | backup -> initialize, because a check failed
    group took                    | backup     1ms          | advert(100); probe
    group released                | backup     2.602375s    | nothing
    ");
}

#[test]
fn lab_backup_that_searches() {
    insta::assert_snapshot!(table(&searching()), @r"
    startup                       | backup     3ms          | nothing
    shutdown                      | initialize no timer     | backup -> initialize, because it was told to stop
    timer, stale                  | backup     1ns          | nothing
    timer                         | active     1s           | grant until 63.003s; advert(100); take; backup -> active, because nobody else has the addresses
    advert 0                      | backup     20ms         | nothing
    advert lower                  | backup     0ns          | nothing
    advert equal, lesser address  | backup     1.7976875s   | nothing
    advert equal, greater address | backup     1.7976875s   | nothing
    advert higher                 | backup     1.7976875s   | nothing
    probed                        | backup     4ms          | nothing
    answered                      | backup     1s           | nothing
    rival, goes first             | backup     20ms         | nothing
    rival, goes second            | backup     3ms          | nothing
    lease refused                 | backup     3ms          | nothing
    links up                      | backup     3ms          | nothing
    election link down            | backup     no timer     | nothing
    service link down             | initialize no timer     | backup -> initialize, because a link is down
    check lowers by 20            | backup     3ms          | nothing
    check fails                   | initialize no timer     | backup -> initialize, because a check failed
    group took                    | backup     1ms          | advert(100); probe
    group released                | backup     3ms          | nothing
    ");
}

#[test]
fn lab_backup_that_claims() {
    insta::assert_snapshot!(table(&claiming()), @r"
    startup                       | backup     0ns          | nothing
    shutdown                      | initialize no timer     | backup -> initialize, because it was told to stop
    timer, stale                  | backup     1ns          | nothing
    timer                         | backup     1ms          | probe
    advert 0                      | backup     100ms        | probe
    advert lower                  | backup     0ns          | nothing
    advert equal, lesser address  | backup     1.7976875s   | nothing
    advert equal, greater address | backup     1.7976875s   | nothing
    advert higher                 | backup     1.7976875s   | nothing
    probed                        | backup     0ns          | nothing
    answered                      | backup     5ms          | nothing
    rival, goes first             | backup     20ms         | nothing
    rival, goes second            | backup     0ns          | nothing
    lease refused                 | backup     0ns          | nothing
    links up                      | backup     0ns          | nothing
    election link down            | backup     no timer     | nothing
    service link down             | initialize no timer     | backup -> initialize, because a link is down
    check lowers by 20            | backup     0ns          | nothing
    check fails                   | initialize no timer     | backup -> initialize, because a check failed
    group took                    | backup     0ns          | nothing
    group released                | backup     0ns          | nothing
    ");
}

/// Three hundred milliseconds after it took: who else takes did so at the same time.
#[test]
fn lab_active_router_that_has_just_taken() {
    insta::assert_snapshot!(table(&active(lab(config(100, true)))), @r"
    startup                       | active     700ms        | nothing
    shutdown                      | active     1.1s         | hush; lease until 61.1s; advert(0)
    timer, stale                  | active     1ns          | nothing
    timer                         | active     1s           | advert(100); lease until 63.7s
    advert 0                      | active     1s           | advert(100); lease until 63s
    advert lower                  | active     700ms        | advert(100); lease until 63s; announce
    advert equal, lesser address  | active     700ms        | advert(100); lease until 63s; announce
    advert equal, greater address | active     1.1s         | hush; lease until 61.1s; advert(0)
    advert higher                 | active     1.1s         | hush; lease until 61.1s; advert(0)
    probed                        | active     700ms        | nothing
    answered                      | backup     0ns          | release; active -> backup, because another machine took the addresses at the same time
    rival, goes first             | active     700ms        | nothing
    rival, goes second            | active     700ms        | nothing
    lease refused                 | backup     0ns          | release; active -> backup, because the lease lapsed
    links up                      | active     700ms        | nothing
    election link down            | active     700ms        | nothing
    service link down             | initialize no timer     | advert(0); release; active -> initialize, because a link is down
    check lowers by 20            | active     700ms        | nothing
    check fails                   | active     1.1s         | hush; lease until 61.1s; advert(0)
    group took                    | active     700ms        | nothing
    group released                | active     1.1s         | hush; lease until 61.1s; advert(0)
    ");
}

#[test]
fn lab_active_router() {
    insta::assert_snapshot!(table(&holding()), @r"
    startup                       | active     700ms        | nothing
    shutdown                      | active     1.1s         | hush; lease until 61.1s; advert(0)
    timer, stale                  | active     1ns          | nothing
    timer                         | active     1s           | advert(100); lease until 63.7s
    advert 0                      | active     1s           | advert(100); lease until 63s
    advert lower                  | active     700ms        | advert(100); lease until 63s; announce
    advert equal, lesser address  | active     700ms        | advert(100); lease until 63s; announce
    advert equal, greater address | active     1.1s         | hush; lease until 61.1s; advert(0)
    advert higher                 | active     1.1s         | hush; lease until 61.1s; advert(0)
    probed                        | active     700ms        | nothing
    answered                      | active     700ms        | announce
    rival, goes first             | active     700ms        | nothing
    rival, goes second            | active     700ms        | nothing
    lease refused                 | backup     0ns          | release; active -> backup, because the lease lapsed
    links up                      | active     700ms        | nothing
    election link down            | active     700ms        | nothing
    service link down             | initialize no timer     | advert(0); release; active -> initialize, because a link is down
    check lowers by 20            | active     700ms        | nothing
    check fails                   | active     1.1s         | hush; lease until 61.1s; advert(0)
    group took                    | active     700ms        | nothing
    group released                | active     1.1s         | hush; lease until 61.1s; advert(0)
    ");
}

#[test]
fn lab_active_router_that_stops() {
    insta::assert_snapshot!(table(&tell(holding(), &[(Input::Shutdown, NOW)])), @r"
    startup                       | active     1.1s         | nothing
    shutdown                      | active     1.1s         | nothing
    timer, stale                  | active     1ns          | nothing
    timer                         | initialize no timer     | release; active -> initialize, because it was told to stop
    advert 0                      | active     1.1s         | nothing
    advert lower                  | active     10ms         | nothing
    advert equal, lesser address  | active     10ms         | nothing
    advert equal, greater address | active     10ms         | nothing
    advert higher                 | active     10ms         | nothing
    probed                        | active     1.1s         | nothing
    answered                      | active     10ms         | nothing
    rival, goes first             | active     1.1s         | nothing
    rival, goes second            | active     1.1s         | nothing
    lease refused                 | initialize no timer     | release; active -> initialize, because it was told to stop
    links up                      | active     1.1s         | nothing
    election link down            | active     1.1s         | nothing
    service link down             | initialize no timer     | release; active -> initialize, because it was told to stop
    check lowers by 20            | active     1.1s         | nothing
    check fails                   | active     1.1s         | nothing
    group took                    | active     1.1s         | nothing
    group released                | active     1.1s         | nothing
    ");
}

#[test]
fn lab_active_router_that_gives_way() {
    insta::assert_snapshot!(table(&tell(holding(), &[(advert(GREATER, 200), NOW)])), @r"
    startup                       | active     1.1s         | nothing
    shutdown                      | active     1.1s         | nothing
    timer, stale                  | active     1ns          | nothing
    timer                         | backup     0ns          | release; active -> backup, because 10.10.1.13 is active with priority 200
    advert 0                      | active     1.1s         | nothing
    advert lower                  | active     1.1s         | nothing
    advert equal, lesser address  | active     1.1s         | nothing
    advert equal, greater address | active     1.1s         | nothing
    advert higher                 | active     1.1s         | nothing
    probed                        | active     1.1s         | nothing
    answered                      | active     10ms         | nothing
    rival, goes first             | active     1.1s         | nothing
    rival, goes second            | active     1.1s         | nothing
    lease refused                 | backup     0ns          | release; active -> backup, because 10.10.1.13 is active with priority 200
    links up                      | active     1.1s         | nothing
    election link down            | active     1.1s         | nothing
    service link down             | initialize no timer     | release; active -> initialize, because a link is down
    check lowers by 20            | active     1.1s         | nothing
    check fails                   | active     1.1s         | nothing
    group took                    | active     1.1s         | nothing
    group released                | active     1.1s         | nothing
    ");
}
