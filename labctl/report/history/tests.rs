//! Which lines a record gives, and when a fault is over.

use super::super::phases::windows;
use super::*;

const ID: &str = "ab120000000000000000000000000001";

fn event(at_ns: u64, node: Option<&str>, source: &str, what: What) -> Event {
    Event { at_ns, node: node.map(str::to_owned), source: source.to_owned(), what }
}

fn turn(at_ns: u64, key: &str, outcome: Outcome, position: Option<u64>) -> Event {
    let what = What::Request {
        intended_ns: 0,
        started_ns: at_ns - 5,
        outcome,
        conversation: Some(ID.to_owned()),
        key: Some(key.to_owned()),
        served_by: Some("web1".to_owned()),
        position,
        epoch: Some(3),
        durability: Some("pair".to_owned()),
    };
    event(at_ns, Some("client"), "load", what)
}

fn fault(at_ns: u64, action: &str, target: &str) -> Event {
    event(at_ns, None, "drill", What::Fault { action: action.to_owned(), target: target.to_owned() })
}

/// The file that a record gives.
fn file(events: &[Event]) -> String {
    recorded(events, &windows(events, 1_000), 20).text
}

#[test]
fn attempts_reads_and_transcripts_are_lines() {
    let read = |outcome, keys| What::Read {
        started_ns: 40,
        outcome,
        conversation: ID.to_owned(),
        served_by: Some("web2".to_owned()),
        epoch: None,
        durability: None,
        keys,
    };
    let transcript = What::Transcript {
        conversation: ID.to_owned(),
        served_by: "web1".to_owned(),
        asked_ns: Some(90),
        keys: vec!["a".to_owned()],
    };
    let events = [
        turn(10, "a", Outcome::Timeout, None),
        turn(20, "a", Outcome::Ok, Some(0)),
        event(50, Some("client"), "load", read(Outcome::Ok, Some(vec!["a".to_owned()]))),
        event(60, Some("client"), "load", read(Outcome::Status(503), None)),
        event(95, Some("client"), "load", transcript),
    ];
    insta::assert_snapshot!(file(&events), @r#"
    {"kind":"append","who":"client","conversation":"ab120000000000000000000000000001","key":"a","attempt":1,"invoked_ns":5,"completed_ns":10,"result":"info","served_by":"web1","epoch":3,"durability":"pair"}
    {"kind":"append","who":"client","conversation":"ab120000000000000000000000000001","key":"a","attempt":2,"invoked_ns":15,"completed_ns":20,"result":"ok","position":0,"served_by":"web1","epoch":3,"durability":"pair"}
    {"kind":"read","who":"client","conversation":"ab120000000000000000000000000001","invoked_ns":40,"completed_ns":50,"result":"ok","keys":["a"],"served_by":"web2"}
    {"kind":"read","who":"client","conversation":"ab120000000000000000000000000001","invoked_ns":40,"completed_ns":60,"result":"info","served_by":"web2"}
    {"kind":"transcript","conversation":"ab120000000000000000000000000001","web":"web1","invoked_ns":90,"completed_ns":95,"keys":["a"]}
    "#);
}

#[test]
fn only_a_clear_no_is_a_no() {
    let replies = [
        Outcome::Ok,
        Outcome::Refused,
        Outcome::Timeout,
        Outcome::Reset,
        Outcome::Unreachable,
        Outcome::Status(404),
        Outcome::Status(422),
        Outcome::Status(408),
        Outcome::Status(409),
        Outcome::Status(500),
        Outcome::Status(503),
    ]
    .map(|outcome| format!("{outcome}: {:?}", reply(&outcome)));
    insta::assert_snapshot!(replies.join("\n"), @r"
    ok: Ok
    refused: Fail
    timeout: Info
    reset: Info
    unreachable: Info
    status 404: Fail
    status 422: Fail
    status 408: Info
    status 409: Info
    status 500: Info
    status 503: Info
    ");
}

#[test]
fn a_fault_lasts_until_the_drill_mends_it_on_all_of_its_nodes() {
    let lasts = |events: &[Event]| {
        let recorded = recorded(events, &windows(events, 1_000), 20);
        let faults = recorded.history.expect("the lines are well formed").faults;
        let lasts = faults.iter().map(|it| format!("{}: {}..{:?}", it.what, it.began_ns, it.ended_ns));
        lasts.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(lasts(&[
        fault(10, "power-off", "web1"),
        fault(20, "power-off", "db1, db2"),
        fault(30, "power-on", "db1"),
        fault(40, "power-on", "web1"),
        fault(50, "power-on", "db2"),
        fault(60, "power-off", "web1"),
        fault(70, "kill-service db", "db1"),
        fault(80, "power-on", "web1"),
    ]), @r"
    power-off of web1: 10..Some(40)
    power-off of db1, db2: 20..Some(50)
    power-off of web1: 60..Some(80)
    kill-service db of db1: 70..None
    ");
    insta::assert_snapshot!(lasts(&[
        fault(10, "partition back", "web1"),
        fault(20, "split data", "db1, web1"),
        fault(30, "heal data", "db1, web1"),
        fault(40, "heal", "web1"),
        fault(50, "signal web STOP", "web1"),
        fault(60, "signal db CONT", "web1"),
        fault(70, "signal web CONT", "web1"),
        fault(80, "freeze", "web2"),
        fault(90, "thaw", "web2"),
        fault(95, "link-down back", "web2"),
    ]), @r"
    partition back of web1: 10..Some(40)
    split data of db1, web1: 20..Some(30)
    signal web STOP of web1: 50..Some(70)
    freeze of web2: 80..Some(90)
    link-down back of web2: 95..None
    ");
}

#[test]
fn a_fault_is_seen_where_its_beginning_and_its_end_were() {
    let off = fault(10, "power-off", "web1");
    let on = fault(50, "power-on", "web1");
    let down = event(11, Some("web1"), "holder", What::NodeDown { how: String::new() });
    let up = event(51, Some("web1"), "init", What::NodeUp);
    let seen = |events: &[Event]| {
        let recorded = recorded(events, &windows(events, 1_000), 20);
        recorded.history.expect("the lines are well formed").faults[0].seen
    };
    assert!(seen(&[off.clone(), down.clone(), on.clone(), up]));
    assert!(!seen(&[off.clone(), down, on.clone()]));
    assert!(!seen(&[off, on]));
}

#[test]
fn a_drill_that_demands_no_traffic_demands_none_of_its_history() {
    let events = [fault(10, "power-off", "db1")];
    let demand = |acknowledged_min| {
        let recorded = recorded(&events, &windows(&events, 1_000), acknowledged_min);
        recorded.history.expect("the lines are well formed").faults[0].acknowledged_min
    };
    assert_eq!((demand(0), demand(20)), (Some(0), None));
}
