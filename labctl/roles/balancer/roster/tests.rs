//! The roster, told what checks say and what people want, with a clock that the tests turn.
#![expect(clippy::disallowed_methods, reason = "any point in time will do as the origin")]

use super::super::tests::site;
use super::*;

const INTERVAL: Duration = Duration::from_millis(100);

fn layout(adapt: impl FnOnce(&mut VirtualService)) -> Layout {
    let mut site = site();
    adapt(&mut site.topology.balancer.as_mut().expect("a balancer").services[0]);
    Layout::of(&site).expect("a layout")
}

/// A roster of web1 and web2, of whom both are well.
fn well(now: Instant, adapt: impl FnOnce(&mut VirtualService)) -> Roster {
    let mut roster = Roster::of(&layout(adapt), now);
    outcomes(&mut roster, now, |_| Check::Passed);
    roster
}

/// Makes every check that is due, and says what turned.
fn outcomes(roster: &mut Roster, now: Instant, judge: impl Fn(&str) -> Check) -> Vec<(String, Transition)> {
    let due = roster.due(now);
    let turned = due.into_iter().filter_map(|due| roster.judge(due.member, judge(&due.name), now));
    turned.map(|turned| (turned.real, turned.transition)).collect()
}

/// Who gets how much: name, weight, and `-` behind it if it gets nothing.
fn shares(roster: &Roster) -> String {
    let share =
        |real: &Real| format!("{} {}{}", real.name, real.weight, if real.takes_new() { "" } else { "-" });
    let services = roster.services();
    services[0].reals.iter().map(share).collect::<Vec<_>>().join(", ")
}

fn change(real: &str, becomes: Becomes) -> Change {
    let service = "site".parse().expect("a name");
    Change { service, real: real.parse().expect("an address"), becomes }
}

fn added(name: &str) -> Becomes {
    Becomes::Added { name: name.to_owned(), weight: 1 }
}

#[test]
fn checks_are_due_at_once_and_one_at_a_time() {
    let now = Instant::now();
    let mut roster = Roster::of(&layout(|_| {}), now);
    assert_eq!(roster.deadline(), Some(now));
    let due = roster.due(now);
    assert_eq!(due.iter().map(|due| due.name.as_str()).collect::<Vec<_>>(), ["web1", "web2"]);
    assert!(roster.due(now + INTERVAL).is_empty(), "both are under way");
    assert_eq!(roster.deadline(), None);
    assert!(!roster.is_known());
    for due in due {
        roster.judge(due.member, Check::Passed, now);
    }
    assert!(roster.is_known());
    assert_eq!(roster.deadline(), Some(now + INTERVAL));
}

#[test]
fn whoever_fails_three_times_gets_nothing_until_it_passes_twice() {
    let mut now = Instant::now();
    let mut roster = well(now, |_| {});
    let mut story = String::new();
    for web1 in "---++".chars() {
        now += INTERVAL;
        let verdict = |name: &str| match (name, web1) {
            ("web1", '-') => Check::Failed,
            _ => Check::Passed,
        };
        let turned = outcomes(&mut roster, now, verdict);
        story += &format!("{web1} {turned:?} {}\n", shares(&roster));
    }
    insta::assert_snapshot!(story, @r#"
    - [] web1 1, web2 1
    - [] web1 1, web2 1
    - [("web1", Down)] web1 1-, web2 1
    + [] web1 1-, web2 1
    + [("web1", Up)] web1 1, web2 1
    "#);
}

#[test]
fn with_nobody_well_everybody_gets_connections_unless_the_topology_says_otherwise() {
    let now = Instant::now();
    for (fail_open, expected, opened) in [(true, "web1 1, web2 1", 1), (false, "web1 1-, web2 1-", 0)] {
        let mut roster = Roster::of(&layout(|service| service.fail_open = fail_open), now);
        outcomes(&mut roster, now, |_| Check::Failed);
        assert_eq!(shares(&roster), expected);
        assert_eq!(roster.newly_open().len(), opened);
        assert!(roster.newly_open().is_empty(), "it is said once");
        assert_eq!(roster.account()["site"].fail_open, fail_open);
    }
}

#[test]
fn whoever_comes_back_gets_its_share_by_and_by() {
    let mut now = Instant::now();
    let mut roster = well(now, |service| service.slow_start = INTERVAL * 10);
    assert_eq!(shares(&roster), "web1 1, web2 1", "at the beginning nobody has been away");
    for passes in [false, false, false, true, true] {
        now += INTERVAL;
        let verdict = |name: &str| if name == "web1" && !passes { Check::Failed } else { Check::Passed };
        outcomes(&mut roster, now, verdict);
    }
    let mut story = format!("{}\n", shares(&roster));
    let back = now;
    while now < back + INTERVAL * 10 {
        now = roster.deadline().expect("a step or a check").max(now);
        outcomes(&mut roster, now, |_| Check::Passed);
        if roster.warm_up(now) {
            story += &format!("{:?} {}\n", now - back, shares(&roster));
        }
    }
    insta::assert_snapshot!(story, @"
    web1 1, web2 10
    100ms web1 2, web2 10
    200ms web1 3, web2 10
    300ms web1 4, web2 10
    400ms web1 5, web2 10
    500ms web1 6, web2 10
    600ms web1 7, web2 10
    700ms web1 8, web2 10
    800ms web1 9, web2 10
    900ms web1 1, web2 1
    ");
}

#[test]
fn changes_say_what_was_and_is() {
    let now = Instant::now();
    let mut roster = well(now, |_| {});
    let mut make = |real, becomes| {
        let made = roster.change(&change(real, becomes), now).expect("a change");
        (made.name, made.was, made.now, shares(&roster))
    };
    assert_eq!(
        make("10.10.1.21:80", Becomes::Weight(0)),
        ("web1".to_owned(), Some(1), Some(0), "web1 0-, web2 1".to_owned())
    );
    assert_eq!(
        make("10.10.1.22:8080", added("a-new-one")),
        ("a-new-one".to_owned(), None, Some(1), "a-new-one 1-, web1 0-, web2 1".to_owned())
    );
    assert_eq!(
        make("10.10.1.21:80", Becomes::Removed),
        ("web1".to_owned(), Some(0), None, "a-new-one 1-, web2 1".to_owned())
    );
    // Nobody gets a connection before a check has said that it is well.
    outcomes(&mut roster, now, |_| Check::Passed);
    assert_eq!(shares(&roster), "a-new-one 1, web2 1");
}

#[test]
fn an_outcome_of_somebody_who_was_removed_is_nobodys() {
    let now = Instant::now();
    let mut roster = Roster::of(&layout(|_| {}), now);
    let due = roster.due(now);
    roster.change(&change("10.10.1.21:80", Becomes::Removed), now).expect("removed");
    roster.change(&change("10.10.1.21:80", added("web1")), now).expect("added");
    assert_eq!(roster.judge(due[0].member, Check::Passed, now), None);
    assert!(!roster.is_known(), "the new one was not checked yet");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let now = Instant::now();
    let mut roster = well(now, |_| {});
    let before = roster.kept();
    let mut refused =
        |real, becomes| roster.change(&change(real, becomes), now).expect_err("refused").to_string();
    insta::assert_snapshot!([
        refused("10.10.1.23:80", Becomes::Weight(1)),
        refused("10.10.1.23:80", Becomes::Removed),
        refused("10.10.1.21:80", added("another")),
        refused("10.10.1.23:80", added("web1")),
        refused("10.10.2.23:80", added("web3")),
        refused("[2001:db8::1]:80", added("web3")),
    ].join("\n"), @"
    site has no real server 10.10.1.23:80 here
    site has no real server 10.10.1.23:80 here
    site has the real server 10.10.1.21:80 already; `labctl balancer weight` changes its weight
    site has a real server named web1 already
    10.10.2.23:80 is not on the network of the real servers of site
    site is IPv4, and [2001:db8::1]:80 is not
    ");
    let elsewhere =
        Change { service: "other".parse().expect("a name"), ..change("10.10.1.21:80", Becomes::Removed) };
    let refused = roster.change(&elsewhere, now).expect_err("no such service");
    assert_eq!(refused.to_string(), "there is no virtual service other here");
    assert_eq!(roster.kept(), before);
}

#[test]
fn a_real_server_of_another_service_is_refused_by_nat() {
    let now = Instant::now();
    let mut site = site();
    let services = &mut site.topology.balancer.as_mut().expect("a balancer").services;
    let mut other = services[0].clone();
    other.name = "other".parse().expect("a name");
    other.port = 81;
    for real in &mut other.reals {
        real.port = 81;
    }
    services.push(other);
    let mut roster = Roster::of(&Layout::of(&site).expect("a layout"), now);
    let refused = roster.change(&change("10.10.1.21:81", added("web3")), now).expect_err("taken");
    assert_eq!(
        refused.to_string(),
        "10.10.1.21:81 serves both 203.0.113.10:80 and 203.0.113.10:81; a real server's port can have one virtual service"
    );
    assert_eq!(roster.account()["site"].reals.len(), 2, "and it is not there");
}

#[test]
fn changes_outlive_the_daemon() {
    let now = Instant::now();
    let mut roster = well(now, |_| {});
    roster.change(&change("10.10.1.21:80", Becomes::Weight(7)), now).expect("a weight");
    roster.change(&change("10.10.1.22:80", Becomes::Removed), now).expect("removed");
    roster.change(&change("10.10.1.23:80", added("web3")), now).expect("added");
    let text = serde_json::to_string(&roster.kept()).expect("JSON");
    let mut next = Roster::of(&layout(|_| {}), now);
    next.restore(serde_json::from_str(&text).expect("as it was"), now).expect("services");
    outcomes(&mut next, now, |_| Check::Passed);
    assert_eq!(shares(&next), "web1 7, web3 1");
}

#[test]
fn names_decide_the_order_whoever_came_when() {
    let now = Instant::now();
    let mut one = well(now, |_| {});
    let mut other = well(now, |service| {
        service.reals.reverse();
        service.reals.iter_mut().for_each(|real| real.weight = 1);
    });
    for (roster, names) in [(&mut one, ["m", "z"]), (&mut other, ["z", "m"])] {
        for name in names {
            let at = if name == "m" { "10.10.1.31:80" } else { "10.10.1.32:80" };
            roster.change(&change(at, added(name)), now).expect("added");
        }
    }
    assert_eq!(one.services(), other.services());
}
