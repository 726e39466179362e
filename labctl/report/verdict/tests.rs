//! A drill that passes, and one change each that makes it something else.

use super::super::event::{Began, Cable, Event, Outcome, What};
use super::super::{markdown, render};
use super::*;
use crate::drill;

const MS: u64 = 1_000_000;
/// The load begins here, away from zero so that a forgotten subtraction shows.
const ZERO_MS: u64 = 70_000;
const FAULT_MS: u64 = 2_000;
const END_MS: u64 = 4_000;
const CONVERSATION: &str = "c1000000000000000000000000000000";

/// A drill as it went, to be changed before it is told.
struct Story {
    outage_ms: std::ops::Range<u64>,
    lateness_us: u64,
    fault_seen: bool,
    turns_ms: std::ops::Range<u64>,
    forgotten: Option<&'static str>,
    reversed: bool,
    /// Who tells the transcripts.
    asked: Vec<&'static str>,
    /// A web that dies with the fault.
    dead_web: Option<&'static str>,
    expect: &'static str,
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
            reversed: false,
            asked: vec!["web1", "web2"],
            dead_web: None,
            expect: "outage_max: 100ms, pause_max: 1s, holder_changes_min: 1",
            ended: Some(What::DrillEnded { aborted: None }),
            moved: true,
        }
    }
}

impl Story {
    fn events(&self) -> Vec<Event> {
        let drill = drill::parse(
            "test.yaml",
            &format!(
                "name: test\ntopology: ha.yaml\nduration: 4s\n\
                 faults: [{{ at: 2s, do: power-off, target: holder }}]\nexpect: {{ {} }}\n",
                self.expect
            ),
        );
        let began = Began {
            drill: drill.expect("a well-formed drill"),
            started_at: "2026-01-01T00:00:00Z".parse().expect("a time"),
            lab: "test".to_owned(),
            machine: "a test".to_owned(),
            version: "0".to_owned(),
            vip: "203.0.113.10".parse().expect("an address"),
            webs: ["web1".to_owned(), "web2".to_owned()].into(),
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
            events.push(at(
                FAULT_MS + 40,
                Some("proxy2"),
                "vrrpd",
                What::AddressAdded { address: vip.into() },
            ));
        }
        events.extend((0..END_MS).map(|ms| self.probe(ms)));
        events.extend(self.turns_ms.clone().step_by(10).map(turn));
        let kept =
            self.turns_ms.clone().step_by(10).map(key).filter(|key| Some(key.as_str()) != self.forgotten);
        let mut keys: Vec<_> = kept.collect();
        if self.reversed {
            keys.reverse();
        }
        events.extend(
            self.dead_web
                .map(|web| at(FAULT_MS + 2, Some(web), "holder", What::NodeDown { how: String::new() })),
        );
        for &web in &self.asked {
            let (conversation, served_by) = (CONVERSATION.to_owned(), web.to_owned());
            let told = What::Transcript { conversation, served_by, asked_ns: None, keys: keys.clone() };
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
            conversation: Some(CONVERSATION.to_owned()),
            key: Some(key(ms)),
            served_by: Some("web1".to_owned()),
            position: None,
            epoch: None,
            durability: Some("db-quorum".to_owned()),
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
fn two_holders_at_one_time_fail_a_drill_that_allows_one() {
    let story = Story { expect: "outage_max: 100ms, holders_max: 1", ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Pass, vec![]));
    // The same, but the first one is cut off and does not lose its power: it keeps the VIP.
    let mut events = story.events();
    for event in &mut events {
        match &mut event.what {
            What::Fault { action, .. } => *action = "partition back".to_owned(),
            What::NodeDown { .. } => {
                event.what = What::Cable { network: "back".to_owned(), becomes: Cable::Partition }
            }
            _ => {}
        }
    }
    let report = render(&events).expect("a drill");
    let holders = report.checks.iter().find(|check| check.claim == Claim::Holders);
    let holders = holders.expect("the drill asks for this check");
    assert_eq!((holders.result, holders.measured.as_str()), (Verdict::Fail, "proxy1, proxy2"));
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
fn a_late_pacer_cannot_tell_where_its_lateness_could_change_the_result() {
    // 39 ms at least and 41 ms at most, far from 100 ms: however the probes left, it is less.
    let far = Story { lateness_us: 20_000, ..Story::default() };
    assert_eq!(far.verdict(), (Verdict::Pass, vec![]));
    // 95 ms to 97 ms: a tenth is 9.7 ms.
    let near = || Story { outage_ms: FAULT_MS..FAULT_MS + 96, ..Story::default() };
    assert_eq!(Story { lateness_us: 9_000, ..near() }.verdict(), (Verdict::Pass, vec![]));
    let blurred = Story { lateness_us: 9_900, ..near() };
    assert_eq!(blurred.verdict(), (Verdict::Unknown, vec![Claim::Outage]));
    let nothing_seen = Story { outage_ms: 0..0, lateness_us: 110_000, ..Story::default() };
    assert_eq!(nothing_seen.verdict(), (Verdict::Unknown, vec![Claim::Outage]));
}

#[test]
fn one_lost_probe_is_no_doubt_about_a_limit_far_above() {
    let story = Story { outage_ms: FAULT_MS..FAULT_MS + 1, lateness_us: 900, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Pass, vec![]));
}

#[test]
fn an_outage_that_fails_is_not_hidden_by_a_later_one_that_is_left_open() {
    let probe = |lost: &dyn Fn(u64) -> bool| {
        let mut events = Story { outage_ms: 0..0, ..Story::default() }.events();
        for event in &mut events {
            let ms = event.at_ns / MS - ZERO_MS;
            if let What::Probe { answered_ns, .. } = &mut event.what
                && lost(ms)
            {
                *answered_ns = None;
            }
        }
        let report = render(&events).expect("a drill");
        (report.checks[0].result, report.checks[0].measured.clone())
    };
    let failed = |ms| (FAULT_MS..FAULT_MS + 300).contains(&ms);
    let open = |ms| ms >= END_MS - 10;
    assert_eq!(probe(&open).0, Verdict::Unknown);
    assert_eq!(probe(&|ms| failed(ms) || open(ms)), (Verdict::Fail, "299.0 ms to 301.0 ms".to_owned()));
}

#[test]
fn without_outage_a_punctual_pacer_passes() {
    let story = Story { outage_ms: 0..0, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Pass, vec![]));
}

#[test]
fn a_forgotten_turn_fails() {
    let story = Story { forgotten: Some("k1990"), ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::LostTurns, Claim::Consistency]));
}

#[test]
fn a_drill_that_broke_nothing_has_shown_nothing() {
    let story = Story { fault_seen: false, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Unknown, vec![Claim::Consistency, Claim::Faults]));
}

#[test]
fn a_drill_without_enough_traffic_has_shown_nothing() {
    let story = Story { expect: "acknowledged_min: 300", ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Unknown, vec![Claim::Traffic]));
}

#[test]
fn a_site_that_ceases_to_acknowledge_for_good_fails() {
    let claims = vec![Claim::Pause, Claim::UnacknowledgedTurns];
    // It answers probes and its turns stop, or do not begin, and there is nothing in between to measure.
    for turns_ms in [0..FAULT_MS + 500, FAULT_MS - 500..END_MS] {
        let story = Story { turns_ms, ..Story::default() };
        assert_eq!(story.verdict(), (Verdict::Fail, claims.clone()));
    }
}

#[test]
fn one_turn_without_an_acknowledgement_fails_unless_the_drill_says_otherwise() {
    let turns_ms = 0..END_MS - 10;
    let story = Story { turns_ms: turns_ms.clone(), ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::UnacknowledgedTurns]));
    let story = Story { turns_ms, expect: "unacknowledged_turns: 1", ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Pass, vec![]));
}

#[test]
fn a_reversed_transcript_fails() {
    let story = Story { reversed: true, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::Agreement, Claim::Consistency]));
}

#[test]
fn what_only_one_web_told_is_no_agreement() {
    let story = Story { asked: vec!["web1"], ..Story::default() };
    let claims = vec![Claim::DuplicateTurns, Claim::Agreement];
    assert_eq!(story.verdict(), (Verdict::Unknown, claims.clone()));
    let unread = vec![Claim::LostTurns, Claim::DuplicateTurns, Claim::Agreement, Claim::Consistency];
    assert_eq!(Story { asked: vec![], ..Story::default() }.verdict(), (Verdict::Unknown, unread));
}

#[test]
fn a_web_that_is_down_need_not_be_asked_and_the_report_says_so() {
    let story = Story { asked: vec!["web1"], dead_web: Some("web2"), ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Pass, vec![]));
    let report = render(&story.events()).expect("a drill");
    let agreement = report.checks.iter().find(|check| check.claim == Claim::Agreement);
    assert!(agreement.is_some_and(|check| check.measured.contains("web2 down")), "{agreement:?}");
}

#[test]
fn a_control_passes_by_losing_and_fails_by_keeping() {
    let expect = "lost_turns_min: 1, consistent: false";
    let story = Story { forgotten: Some("k1990"), expect, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Pass, vec![]));
    let story = Story { expect, ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::LostTurns, Claim::Consistency]));
}

#[test]
fn a_site_that_should_refuse_and_does_not_fails() {
    let story = Story { expect: "refusals_min: 1", ..Story::default() };
    assert_eq!(story.verdict(), (Verdict::Fail, vec![Claim::Refusals]));
    let mut events = story.events();
    // The first attempt at the first turn, a millisecond before the one that was acknowledged.
    let mut first = turn(0);
    first.at_ns -= MS;
    if let What::Request { outcome, durability, .. } = &mut first.what {
        (*outcome, *durability) = (Outcome::Status(503), None);
    }
    events.push(first);
    assert_eq!(render(&events).expect("a drill").verdict, Verdict::Pass);
}

#[test]
fn the_report_tells_the_first_contradiction() {
    let story = Story { forgotten: Some("k1990"), ..Story::default() };
    let report = render(&story.events()).expect("a drill");
    assert_eq!(report.memory.consistent, Some(false));
    assert_eq!(report.turns.durability, [("db-quorum".to_owned(), 400)].into());
    insta::assert_snapshot!(report.memory.story.join("\n"), @r"
    The first contradiction (lost), in conversation c1000000000000000000000000000000:
      line 200: the turn with key k1990 was acknowledged by web1 at 1.992 s (said by client, attempt 1, durability db-quorum)
      line 401: the final transcript of web1, read at 5.000 s, does not have it; it tells 399 turns
      So an acknowledged turn is lost.
    ");
    assert!(markdown(&report).contains(&report.memory.story.join("\n")));
}

#[test]
fn conversations_without_proper_names_are_no_history() {
    let mut events = Story::default().events();
    for event in &mut events {
        if let What::Request { conversation: Some(conversation), .. }
        | What::Transcript { conversation, .. } = &mut event.what
        {
            *conversation = "c1".to_owned();
        }
    }
    let report = render(&events).expect("a drill");
    let check = report.checks.iter().find(|check| check.claim == Claim::Consistency);
    let check = check.expect("every drill has this check");
    assert_eq!(check.result, Verdict::Unknown);
    insta::assert_snapshot!(check.measured, @"the record is no history: a conversation's identifier is 32 hexadecimal digits in lower case");
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
