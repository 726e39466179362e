//! What two proxies of [`Profile::Lab`] with adverts every 10 ms do to one another, told in one line an event. The first has
//! the higher priority; everyday adverts are left out.

use super::lab::site;
use super::site::{Chance, Fault, Site};
use super::*;

const UP: Links = Links { election: true, service: true };

fn ms(ms: u64) -> Time {
    Duration::from_millis(ms)
}

/// Two proxies, and the first has held the addresses for a while. Packets need a tenth of what they may need.
fn proxies() -> Site {
    let chance = Chance { lost: false, twice: false, part: 100, late: 100 };
    let mut site = site(cs(1), &[(150, true), (100, true)], vec![chance]);
    site.run_until(ms(100)).unwrap();
    assert_eq!(site.states(), [State::Active, State::Backup]);
    site
}

/// Strikes at 100 ms, and tells what follows.
fn strike(site: &mut Site, faults: &[(u64, Fault)], until: u64) -> String {
    for &(at, fault) in faults {
        site.plan(ms(at), fault);
    }
    site.record();
    site.run_until(ms(until)).unwrap();
    site.told()
}

/// The heir has the addresses before the other lets go of them, both times (L05).
#[test]
fn a_stop_and_the_failback() {
    let story =
        strike(&mut proxies(), &[(100, Fault::Stop { node: 0 }), (150, Fault::Start { node: 0 })], 300);
    insta::assert_snapshot!(story, @r"
    100.000 ms 0: Shutdown: hush; lease until 210ms; advert(0)
    100.050 ms 1: advert 0: probe
    104.075 ms 1: timer: grant until 144.075ms; advert(100); take; backup -> active, because 10.10.1.11 gave up
    114.325 ms 0: timer: release; active -> initialize, because it was told to stop
    150.000 ms 0: Startup: initialize -> backup, because it started
    184.525 ms 0: timer: advert(150); probe
    184.575 ms 1: advert 150: hush; lease until 294.575ms; advert(0)
    184.625 ms 0: advert 0: probe
    188.850 ms 0: timer: grant until 228.85ms; advert(150); take; backup -> active, because 10.10.1.12 is active with priority 100 only
    199.240 ms 1: timer: release; active -> backup, because 10.10.1.11 is active with priority 150
    ");
}

/// The stopped proxy is silent once its lease has run out, and the other finds that out by asking (L03).
#[test]
fn a_daemon_is_stopped_and_goes_on() {
    let story = strike(&mut proxies(), &[(100, Fault::Pause { node: 0, ms: 100 })], 300);
    insta::assert_snapshot!(story, @r"
    123.684 ms 1: timer: probe
    134.289 ms 1: timer: probe
    144.894 ms 1: timer: probe
    146.094 ms 1: timer: probe
    147.294 ms 1: timer: probe
    151.519 ms 1: timer: grant until 191.519375ms; advert(100); take; backup -> active, because 3 adverts missed
    200.000 ms 0: Rival { first: false }: release; active -> backup, because the lease lapsed
    220.200 ms 0: timer: advert(150); probe
    220.250 ms 1: advert 150: hush; lease until 330.25ms; advert(0)
    220.300 ms 0: advert 0: probe
    224.525 ms 0: timer: grant until 264.525ms; advert(150); take; backup -> active, because 10.10.1.12 is active with priority 100 only
    234.915 ms 1: timer: release; active -> backup, because 10.10.1.11 is active with priority 150
    ");
}

#[test]
fn a_daemon_is_killed_and_comes_back() {
    let story = strike(&mut proxies(), &[(100, Fault::Kill { node: 0, ms: 100 })], 300);
    insta::assert_snapshot!(story, @r"
    123.684 ms 1: timer: probe
    134.289 ms 1: timer: probe
    144.894 ms 1: timer: probe
    146.094 ms 1: timer: probe
    147.294 ms 1: timer: probe
    151.519 ms 1: timer: grant until 191.519375ms; advert(100); take; backup -> active, because 3 adverts missed
    200.000 ms 0: Startup: initialize -> backup, because it started
    234.341 ms 0: timer: advert(150); probe
    234.391 ms 1: advert 150: hush; lease until 344.390625ms; advert(0)
    234.441 ms 0: advert 0: probe
    238.666 ms 0: timer: grant until 278.665625ms; advert(150); take; backup -> active, because 10.10.1.12 is active with priority 100 only
    249.056 ms 1: timer: release; active -> backup, because 10.10.1.11 is active with priority 150
    ");
}

/// Adverts are cut, the addresses are not: nobody takes, and nobody needs to be put right (L03, L04).
#[test]
fn the_network_of_the_election_is_partitioned_and_heals() {
    let mut site = proxies();
    let story = strike(&mut site, &[(100, Fault::Partition { node: 1, part: 1 })], 160);
    insta::assert_snapshot!(story, @r"
    123.684 ms 1: timer: probe
    134.289 ms 1: timer: probe
    144.894 ms 1: timer: probe
    155.499 ms 1: timer: probe
    ");
    assert_eq!(site.degraded(1), Some(Degraded::AdvertsMissing));
    let story = strike(&mut site, &[(160, Fault::Partition { node: 1, part: 0 })], 300);
    insta::assert_snapshot!(story, @"");
    assert_eq!(site.states(), [State::Active, State::Backup]);
    assert_eq!(site.degraded(1), None);
}

/// Whoever cannot serve gives up at once (L07).
#[test]
fn the_front_link_of_the_holder_goes_down() {
    let links = Links { service: false, ..UP };
    let faults = [(100, Fault::Links { node: 0, links }), (150, Fault::Links { node: 0, links: UP })];
    let story = strike(&mut proxies(), &faults, 300);
    insta::assert_snapshot!(story, @r"
    100.000 ms 0: Links(Links { election: true, service: false }): advert(0); release; active -> initialize, because a link is down
    100.050 ms 1: advert 0: probe
    104.075 ms 1: timer: grant until 144.075ms; advert(100); take; backup -> active, because 10.10.1.11 gave up
    150.000 ms 0: Links(Links { election: true, service: true }): initialize -> backup, because it started
    184.525 ms 0: timer: advert(150); probe
    184.575 ms 1: advert 150: hush; lease until 294.575ms; advert(0)
    184.625 ms 0: advert 0: probe
    188.850 ms 0: timer: grant until 228.85ms; advert(150); take; backup -> active, because 10.10.1.12 is active with priority 100 only
    199.240 ms 1: timer: release; active -> backup, because 10.10.1.11 is active with priority 150
    ");
}

/// No takeover, on neither side; but a proxy that is cut off does not keep a lowered priority to itself (L08).
#[test]
fn the_back_link_goes_down() {
    let links = Links { election: false, ..UP };
    let mut site = proxies();
    let story = strike(&mut site, &[(100, Fault::Links { node: 0, links })], 150);
    insta::assert_snapshot!(story, @r"
    123.684 ms 1: timer: probe
    134.289 ms 1: timer: probe
    144.894 ms 1: timer: probe
    ");
    assert_eq!(site.degraded(0), Some(Degraded::ElectionLinkDown));
    assert_eq!(site.degraded(1), Some(Degraded::AdvertsMissing));
    let health = Health { lowered_by: 20, fault: false };
    let story = strike(&mut site, &[(150, Fault::Health { node: 0, health })], 300);
    insta::assert_snapshot!(story, @r"
    150.000 ms 0: Health(Health { lowered_by: 20, fault: false }): hush; lease until 260ms; advert(0)
    155.499 ms 1: timer: probe
    156.699 ms 1: timer: probe
    157.899 ms 1: timer: probe
    162.124 ms 1: timer: grant until 202.124375ms; advert(100); take; backup -> active, because 3 adverts missed
    172.514 ms 0: timer: release; active -> backup, because a check failed
    ");

    // The other way round: the priority was lowered, but not below the other's, before the news could go nowhere.
    let mut site = proxies();
    let faults = [(90, Fault::Health { node: 0, health }), (100, Fault::Links { node: 0, links })];
    strike(&mut site, &faults, 300);
    assert_eq!(site.states(), [State::Backup, State::Active]);

    let mut site = proxies();
    let faults = [(100, Fault::Links { node: 1, links }), (110, Fault::Kill { node: 0, ms: 200 })];
    let story = strike(&mut site, &faults, 300);
    insta::assert_snapshot!(story, @"");
    assert_eq!(site.states()[1], State::Backup, "it could not serve");
    assert_eq!(site.degraded(1), Some(Degraded::ElectionLinkDown));
}

/// A lower priority loses the addresses as gently as a stop does; so does a fault.
#[test]
fn a_check_fails() {
    let lower = Health { lowered_by: 60, fault: false };
    let fault = Health { lowered_by: 0, fault: true };
    let faults = [
        (100, Fault::Health { node: 0, health: lower }),
        (200, Fault::Health { node: 1, health: fault }),
        (300, Fault::Health { node: 1, health: Health::default() }),
    ];
    let story = strike(&mut proxies(), &faults, 400);
    insta::assert_snapshot!(story, @r"
    130.684 ms 1: timer: advert(100); probe
    130.734 ms 0: advert 100: hush; lease until 240.734375ms; advert(0)
    130.784 ms 1: advert 0: probe
    135.009 ms 1: timer: grant until 175.009375ms; advert(100); take; backup -> active, because 10.10.1.11 is active with priority 90 only
    145.399 ms 0: timer: release; active -> backup, because 10.10.1.12 is active with priority 100
    200.000 ms 1: Health(Health { lowered_by: 0, fault: true }): hush; lease until 310ms; advert(0)
    200.050 ms 0: advert 0: probe
    204.275 ms 0: timer: grant until 244.275ms; advert(90); take; backup -> active, because 10.10.1.12 gave up
    214.525 ms 1: timer: release; active -> initialize, because a check failed
    300.000 ms 1: Health(Health { lowered_by: 0, fault: false }): initialize -> backup, because it started
    336.294 ms 1: timer: advert(100); probe
    336.344 ms 0: advert 100: hush; lease until 446.34375ms; advert(0)
    336.394 ms 1: advert 0: probe
    340.619 ms 1: timer: grant until 380.61875ms; advert(100); take; backup -> active, because 10.10.1.11 is active with priority 90 only
    351.009 ms 0: timer: release; active -> backup, because 10.10.1.12 is active with priority 100
    ");
}

/// Somebody probes for the addresses all the time and never takes them: they are not dark for ever.
#[test]
fn a_rival_that_never_takes_is_given_way_for_a_bounded_time() {
    let mut machine = Machine::new(lab(config(100, true)));
    machine.handle(Input::Startup, Time::ZERO);
    let mut now = Time::ZERO;
    while machine.state() != State::Active {
        assert!(now < Duration::from_secs(10), "it never takes");
        now += ms(1);
        machine.handle(Input::Rival { first: true }, now);
        if machine.deadline().is_some_and(|at| at <= now) {
            let probes = machine.handle(Input::TimerExpired, now).contains(&Action::Probe);
            if probes {
                machine.handle(Input::Probed, now);
            }
        }
    }
}

/// Without a second silence, a lease is over before a backup takes (its Active_Down_Timer is that of priority 254 at best).
#[test]
fn a_lease_that_nobody_asks_for_is_no_longer_than_three_intervals() {
    let rules = LabRules { rank: 0, probes: false, lease: true };
    let mut machine =
        Machine::new(Config { interval: cs(1), profile: Profile::Lab(rules), ..config(200, true) });
    let actions = machine.become_active(State::Backup, Cause::AdvertsMissed, NOW);
    let grant = actions.iter().find_map(|action| match action {
        Action::Grant { until, .. } => Some(*until),
        _ => None,
    });
    assert_eq!(grant, Some(NOW + ms(30)));
}
