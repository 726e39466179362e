//! What takes more than one step, told in one line an event.

use std::fmt::Write;

use super::*;

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

/// Before the delay is over a lower priority is good enough, and after that it is not (V45). Silence never is.
#[test]
fn a_preemption_is_put_off() {
    let config = Config { preempt_delay: Duration::from_secs(5), ..config(100, true) };
    let low = |ms| (ms, advert(LESSER, 50));
    let inputs = [(0, Input::Startup), low(1000), low(2500), low(4000), low(5000), low(5700)];
    insta::assert_snapshot!(story(config, &inputs), @r"
       0 ms: initialize -> backup, because it started; then until Some(3.609375s)
    1000 ms: nothing; then until Some(2.8046875s)
    2500 ms: nothing; then until Some(4.3046875s)
    4000 ms: nothing; then until Some(5.8046875s)
    5000 ms: nothing; then until Some(5.8046875s)
    5700 ms: nothing; then until Some(5.8046875s)
    ");
}

/// RFC 3768 section 6.1.
#[test]
fn the_skew_of_version_2_does_not_shrink_with_the_interval() {
    let config = Config { skew: SkewRule::OfSecond, ..config(100, true) };
    let give_up = Input::Advert { from: GREATER, priority: 0, interval: cs(50) };
    let inputs = [(0, Input::Startup), (1000, advert(GREATER, 200)), (1200, give_up)];
    insta::assert_snapshot!(story(config, &inputs), @r"
       0 ms: initialize -> backup, because it started; then until Some(3.609375s)
    1000 ms: nothing; then until Some(3.109375s)
    1200 ms: nothing; then until Some(1.809375s)
    ");
}

/// What the checks leave of the priority is what is advertised and compared, and never 0; an owner keeps all of it.
#[test]
fn a_lowered_priority_counts_everywhere() {
    let lowered = |by| Input::Health(Health { lowered_by: by, fault: false });
    let inputs = [
        (0, Input::Startup),
        (3610, Input::TimerExpired),
        (3700, lowered(30)),
        (3800, advert(LESSER, 60)),
        (3900, lowered(200)),
        (4000, advert(GREATER, 1)),
    ];
    insta::assert_snapshot!(story(config(100, true), &inputs), @r"
       0 ms: initialize -> backup, because it started; then until Some(3.609375s)
    3610 ms: advert(100); take; backup -> active, because 3 adverts missed; then until Some(4.61s)
    3700 ms: nothing; then until Some(4.61s)
    3800 ms: advert(70); announce; then until Some(4.61s)
    3900 ms: nothing; then until Some(4.61s)
    4000 ms: release; active -> backup, because 10.10.1.13 is active with priority 1; then until Some(5.998046875s)
    ");

    let mut owner = Machine::new(config(255, true));
    owner.handle(lowered(200), NOW);
    assert_eq!(owner.effective_priority(), 255);
    owner.handle(Input::Health(Health { lowered_by: 0, fault: true }), NOW);
    assert_eq!(owner.effective_priority(), 0);
}

/// Each reason not to take part is told, and ends with what caused it.
#[test]
fn whatever_keeps_it_out_is_told() {
    let mut machine = Machine::new(config(100, true));
    let mut told = |input| {
        machine.handle(input, NOW);
        (machine.state(), machine.degraded())
    };
    let up = Links { election: true, service: true };
    assert_eq!(told(Input::Links(Links { service: false, ..up })), (State::Initialize, None));
    assert_eq!(told(Input::Startup), (State::Initialize, Some(Degraded::LinkDown)));
    assert_eq!(
        told(Input::Links(Links { election: false, ..up })),
        (State::Initialize, Some(Degraded::LinkDown))
    );
    let fault = Health { lowered_by: 0, fault: true };
    assert_eq!(told(Input::Health(fault)), (State::Initialize, Some(Degraded::CheckFailed)));
    assert_eq!(told(Input::Health(Health::default())), (State::Initialize, Some(Degraded::LinkDown)));
    assert_eq!(told(Input::Links(up)), (State::Backup, None));
}

/// An Active that neither yields nor falls silent keeps the addresses; the claim is repeated only after another whole
/// Active_Down_Interval.
#[test]
fn a_claim_that_is_not_heeded_is_given_up() {
    let low = advert(LESSER, 50);
    let inputs = [
        (0, Input::Startup),
        (3000, low),
        (3610, Input::TimerExpired),
        (3611, Input::Answered),
        (3616, Input::TimerExpired),
        (3617, Input::Answered),
        (4300, Input::TimerExpired),
        (4595, Input::Answered),
        (4700, low),
    ];
    let config = lab(config(100, true));
    insta::assert_snapshot!(story(config, &inputs), @r"
       0 ms: initialize -> backup, because it started; then until Some(3.602375s)
    3000 ms: nothing; then until Some(3.609375s)
    3610 ms: advert(100); probe; then until Some(3.611s)
    3611 ms: nothing; then until Some(3.616s)
    3616 ms: probe; then until Some(3.617s)
    3617 ms: nothing; then until Some(3.627s)
    4300 ms: probe; then until Some(4.301s)
    4595 ms: nothing; then until Some(8.197375s)
    4700 ms: nothing; then until Some(8.204375s)
    ");

    let mut machine = Machine::new(config);
    for (ms, input) in inputs {
        machine.handle(input, Duration::from_millis(ms));
    }
    assert_eq!(machine.degraded(), Some(Degraded::NotYielded));
    machine.handle(advert(GREATER, 200), Duration::from_secs(5));
    assert_eq!(machine.degraded(), None);
}

/// Without the second silence the first is enough, and an heir waits for its turn only (V43 but for the skew).
#[test]
fn without_probes_one_silence_is_enough() {
    let rules = LabRules { rank: 2, probes: false, lease: false };
    let config = Config { profile: Profile::Lab(rules), ..config(100, true) };
    let give_up = advert(GREATER, 0);
    let inputs = [
        (0, Input::Startup),
        (1000, advert(GREATER, 200)),
        (1200, give_up),
        (1220, Input::TimerExpired),
        (1300, Input::Shutdown),
        (1310, advert(GREATER, 200)),
        (1320, Input::TimerExpired),
    ];
    insta::assert_snapshot!(story(config, &inputs), @r"
       0 ms: initialize -> backup, because it started; then until Some(3.609375s)
    1000 ms: nothing; then until Some(2.8046875s)
    1200 ms: nothing; then until Some(1.22s)
    1220 ms: advert(100); take; backup -> active, because 10.10.1.13 gave up; then until Some(2.22s)
    1300 ms: hush; advert(0); then until Some(2.4s)
    1310 ms: nothing; then until Some(1.32s)
    1320 ms: release; active -> initialize, because it was told to stop; then until None
    ");
}
