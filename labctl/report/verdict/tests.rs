//! A drill that passes, and one change each that makes it something else.

use super::super::event::{Began, Event, Outcome, What};
use super::super::render;
use super::*;
use crate::drill;

const MS: u64 = 1_000_000;
/// The load begins here, away from zero so that a forgotten subtraction shows.
const ZERO_MS: u64 = 70_000;
const FAULT_MS: u64 = 2_000;
const END_MS: u64 = 4_000;

/// A drill as it went, to be changed before it is told.
struct Story {
    outage_ms: std::ops::Range<u64>,
    lateness_us: u64,
    fault_seen: bool,
    turns_ms: std::ops::Range<u64>,
    forgotten: Option<&'static str>,
    ended: Option<What>,
    moved: bool,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            outage_ms: FAULT_MS + 5..FAULT_MS + 45,
            lateness_us: 20,
            fault_seen: true,
            turns_ms: 0..END_MS,
            forgotten: None,
            ended: Some(What::DrillEnded { aborted: None }),
            moved: true,
        }
    }
}

impl Story {
    fn events(&self) -> Vec<Event> {
        let drill = drill::parse(
            "test.yaml",
            "name: test\ntopology: ha.yaml\nduration: 4s\n\
             faults: [{ at: 2s, do: power-off, target: holder }]\n\
             expect: { outage_max: 100ms, pause_max: 1s, holder_changes_min: 1 }\n",
        );
        let began = Began {
            drill: drill.expect("a well-formed drill"),
            started_at: "2026-01-01T00:00:00Z".parse().expect("a time"),
            lab: "test".to_owned(),
            machine: "a test".to_owned(),
            version: "0".to_owned(),
            vip: "203.0.113.10".parse().expect("an address"),
            holder: Some("proxy1".to_owned()),
            leader: None,
        };
        let vip = began.vip;
        let mut events = vec![
            at(0, None, "drill", What::DrillBegan(Box::new(began))),
            at(0, Some("client"), "load", What::Ready),
            at(
                FAULT_MS,
                None,
                "drill",
                What::Fault { action: "power-off".to_owned(), target: "proxy1".to_owned() },
            ),
        ];
        if self.fault_seen {
            events.push(at(FAULT_MS + 1, Some("proxy1"), "holder", What::NodeDown { how: String::new() }));
        }
        if self.moved {
            events.push(at(FAULT_MS + 40, Some("proxy2"), "vrrpd", What::AddressAdded { address: vip }));
        }
        events.extend((0..END_MS).map(|ms| self.probe(ms)));
        events.extend(self.turns_ms.clone().step_by(10).map(turn));
        let kept =
            self.turns_ms.clone().step_by(10).map(key).filter(|key| Some(key.as_str()) != self.forgotten);
        let keys: Vec<_> = kept.collect();
        for web in ["web1", "web2"] {
            let (conversation, served_by) = ("c1".to_owned(), web.to_owned());
            let told = What::Transcript { conversation, served_by, keys: keys.clone() };
            events.push(at(END_MS + 1_000, Some("client"), "load", told));
        }
        events.extend(self.ended.clone().map(|ended| at(END_MS + 1_100, None, "drill", ended)));
        events
    }

    fn probe(&self, ms: u64) -> Event {
        let intended_ns = (ZERO_MS + ms) * MS;
        let sent_ns = intended_ns + self.lateness_us * 1_000;
        let answered_ns = (!self.outage_ms.contains(&ms)).then_some(sent_ns + 100_000);
        at(ms, Some("client"), "load", What::Probe { intended_ns, sent_ns, answered_ns })
    }

    fn verdict(&self) -> (Verdict, Vec<Claim>) {
        let report = render(&self.events()).expect("the story has a beginning");
        let open = report.checks.iter().filter(|check| check.result != Verdict::Pass);
        (report.verdict, open.map(|check| check.claim).collect())
    }
}

fn at(ms: u64, node: Option<&str>, source: &str, what: What) -> Event {
    Event { at_ns: (ZERO_MS + ms) * MS, node: node.map(str::to_owned), source: source.to_owned(), what }
}

fn key(ms: u64) -> String {
    format!("k{ms}")
}

fn turn(ms: u64) -> Event {
    let begun = (ZERO_MS + ms) * MS;
    at(
        ms + 2,
        Some("client"),
        "load",
        What::Request {
            intended_ns: begun,
            started_ns: begun,
            outcome: Outcome::Ok,
            conversation: Some("c1".to_owned()),
            key: Some(key(ms)),
            served_by: Some("web1".to_owned()),
        },
    )
}

#[test]
fn a_site_that_comes_back_in_time_passes() {
    assert_eq!(Story::default().verdict(), (Verdict::Pass, vec![]));
}

#[test]
fn the_order_of_the_events_does_not_matter() {
    let mut events = Story::default().events();
    let straight = render(&events).expect("a drill");
    events.reverse();
    assert_eq!(render(&events).expect("a drill"), straight);
}

#[test]
fn an_outage_over_the_limit_fails() {
    let story = Story { outage_ms: FAULT_MS..FAULT_MS + 150, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::Outage]));
}

#[test]
fn a_limit_within_the_bracket_is_left_open() {
    // 100 probes lost in 1 ms steps: 99 ms at least, 101 ms at most, and 100 ms allowed.
    let story = Story { outage_ms: FAULT_MS..FAULT_MS + 100, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Unknown, vec![Claim::Outage]));
}

#[test]
fn a_site_that_never_comes_back_fails() {
    let story = Story { outage_ms: FAULT_MS..END_MS, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::Outage]));
}

#[test]
fn a_late_pacer_cannot_tell() {
    // 41 ms of outage: a tenth of it is 4.1 ms.
    let sharp = Story { lateness_us: 4_000, ..Story::default() };
    assert_eq!(sharp.verdict(), (Verdict::Pass, vec![]));
    let blurred = Story { lateness_us: 4_200, ..Story::default() };
    assert_eq!(blurred.verdict(), (Verdict::Unknown, vec![Claim::Outage]));
    let nothing_seen = Story { outage_ms: 0..0, lateness_us: 11_000, ..Story::default() };
    assert_eq!(nothing_seen.verdict(), (Verdict::Unknown, vec![Claim::Outage]));
}

#[test]
fn without_outage_a_punctual_pacer_passes() {
    let story = Story { outage_ms: 0..0, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Pass, vec![]));
}

#[test]
fn a_forgotten_turn_fails() {
    let story = Story { forgotten: Some("k1990"), ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::LostTurns]));
}

#[test]
fn a_drill_that_broke_nothing_has_shown_nothing() {
    let story = Story { fault_seen: false, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Unknown, vec![Claim::Faults]));
}

#[test]
fn a_drill_without_traffic_before_or_after_the_fault_has_shown_nothing() {
    for turns_ms in [0..FAULT_MS, FAULT_MS..END_MS] {
        let story = Story { turns_ms, ..Story::default() };
        assert_eq!(story.verdict(), (Verdict::Unknown, vec![Claim::Traffic]));
    }
}

#[test]
fn a_vip_that_stays_fails_where_it_should_move() {
    let story = Story { moved: false, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::HolderChanges]));
}

#[test]
fn a_drill_without_an_end_is_aborted_whatever_it_shows() {
    let given_up = What::DrillEnded { aborted: Some("interrupted".to_owned()) };
    for ended in [None, Some(given_up)] {
        let story = Story { ended, forgotten: Some("k10"), ..Story::default() };
        assert_eq!(story.verdict().0, Verdict::Aborted);
    }
}

#[test]
fn without_probes_the_outage_is_unknown() {
    let mut events = Story::default().events();
    events.retain(|event| !matches!(event.what, What::Probe { .. }));
    let report = render(&events).expect("a drill");
    assert_eq!((report.verdict, report.checks[0].claim), (Verdict::Unknown, Claim::Outage));
}
