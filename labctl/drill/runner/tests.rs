//! The course of a drill, one line a step.

use super::*;
use crate::drill::parse;

const MS: u64 = 1_000_000;
/// When the load's timetable begins in these tests.
const BEGINS: u64 = 5_000 * MS;

fn drill() -> Drill {
    parse(
        "proxy-crash.yaml",
        "name: proxy-crash\ntopology: ../ha.yaml\nduration: 9s\nfaults:\n  \
         - { at: 2s, do: power-off, target: holder }\n  - { at: 6s, do: power-on, target: same }\n",
    )
    .expect("the drill of these tests is well formed")
}

fn node(name: &str) -> NodeName {
    name.parse().expect("a well-formed name")
}

fn seen(holder: Option<&str>) -> Seen {
    Seen { holder: holder.map(node), ..Seen::default() }
}

fn running() -> Runner {
    let (mut runner, todo) = Runner::start(&drill(), 0);
    assert_eq!(todo, [Do::StartLoad]);
    assert_eq!(runner.handle(Input::LoadReady { begins_ns: BEGINS }, BEGINS - 20 * MS), []);
    runner
}

fn aborted(todo: &[Do]) -> &str {
    match todo.last() {
        Some(Do::Finish(Ending::Aborted { because })) => because,
        other => panic!("expected the drill to be given up, found {other:?}"),
    }
}

#[test]
fn a_drill_from_start_to_end() {
    let mut runner = running();
    assert_eq!(runner.deadline_ns(), Some(BEGINS + 2_000 * MS));
    assert_eq!(
        runner.handle(Input::Due(seen(Some("proxy1"))), BEGINS + 2_000 * MS),
        [Do::Inject { action: Action::PowerOff, nodes: vec![node("proxy1")] }]
    );
    assert_eq!(runner.deadline_ns(), Some(BEGINS + 6_000 * MS));
    // By now the other one holds the VIP; `same` is still the node that was hit.
    assert_eq!(
        runner.handle(Input::Due(seen(Some("proxy2"))), BEGINS + 6_001 * MS),
        [Do::Inject { action: Action::PowerOn, nodes: vec![node("proxy1")] }]
    );
    assert_eq!(runner.deadline_ns(), Some(BEGINS + 9_000 * MS));
    assert_eq!(runner.handle(Input::Due(seen(None)), BEGINS + 9_000 * MS), []);
    assert_eq!(
        runner.handle(Input::LoadEnded { well: true }, BEGINS + 10_500 * MS),
        [Do::Finish(Ending::Complete)]
    );
    assert_eq!(runner.deadline_ns(), None);
    assert_eq!(runner.handle(Input::Interrupted, BEGINS + 10_501 * MS), []);
}

#[test]
fn a_fault_may_hit_several_nodes_each_once() {
    let drill = parse(
        "split.yaml",
        "name: split\ntopology: ../ha.yaml\nduration: 9s\nfaults:\n  \
         - { at: 1s, do: split, network: data, target: [raft-leader, serving-web, db1] }\n  \
         - { at: 7s, do: heal, network: data, target: same }\n",
    );
    let (mut runner, _) = Runner::start(&drill.expect("a well-formed drill"), 0);
    runner.handle(Input::LoadReady { begins_ns: BEGINS }, BEGINS);
    let data = || Some("data".parse().expect("a well-formed name"));
    let seen = Seen { leader: Some(node("db1")), serving: Some(node("web2")), ..Seen::default() };
    let nodes = vec![node("db1"), node("web2")];
    assert_eq!(
        runner.handle(Input::Due(seen), BEGINS + 1_000 * MS),
        [Do::Inject { action: Action::Split(data()), nodes: nodes.clone() }]
    );
    assert_eq!(
        runner.handle(Input::Due(Seen::default()), BEGINS + 7_000 * MS),
        [Do::Inject { action: Action::Heal(data()), nodes }]
    );
}

#[test]
fn a_link_from_a_node_to_itself_is_none() {
    let drill = parse(
        "link.yaml",
        "name: link\ntopology: ../ha.yaml\nduration: 9s\nfaults:\n  \
         - { at: 1s, do: cut-link, target: [serving-web, web1] }\n",
    );
    let (mut runner, _) = Runner::start(&drill.expect("a well-formed drill"), 0);
    runner.handle(Input::LoadReady { begins_ns: BEGINS }, BEGINS);
    let seen = Seen { serving: Some(node("web1")), ..Seen::default() };
    let todo = runner.handle(Input::Due(seen), BEGINS + 1_000 * MS);
    assert_eq!(aborted(&todo), "cut-link of serving-web at 1s: both ends are one node");
}

#[test]
fn a_cable_that_was_cut_is_mended_on_the_node_that_had_it() {
    let drill = parse(
        "front-cut.yaml",
        "name: front-cut\ntopology: ../ha.yaml\nduration: 9s\nfaults:\n  \
         - { at: 2s, do: link-down, network: front, target: holder }\n  \
         - { at: 6s, do: link-up, network: front, target: same }\n",
    )
    .expect("the drill of this test is well formed");
    let front = || "front".parse().expect("a well-formed name");
    let (mut runner, _) = Runner::start(&drill, 0);
    runner.handle(Input::LoadReady { begins_ns: BEGINS }, BEGINS);
    assert_eq!(
        runner.handle(Input::Due(seen(Some("proxy1"))), BEGINS + 2_000 * MS),
        [Do::Inject { action: Action::LinkDown(front()), nodes: vec![node("proxy1")] }]
    );
    assert_eq!(
        runner.handle(Input::Due(seen(Some("proxy2"))), BEGINS + 6_000 * MS),
        [Do::Inject { action: Action::LinkUp(front()), nodes: vec![node("proxy1")] }]
    );
}

#[test]
fn a_driver_that_wakes_early_breaks_nothing() {
    let mut runner = running();
    assert_eq!(runner.handle(Input::Due(seen(Some("proxy1"))), BEGINS - MS), []);
    assert_eq!(runner.handle(Input::Due(seen(Some("proxy1"))), BEGINS + 1_999 * MS), []);
    assert_eq!(runner.deadline_ns(), Some(BEGINS + 2_000 * MS));
}

#[test]
fn a_fault_without_a_victim_ends_the_drill() {
    let mut runner = running();
    let todo = runner.handle(Input::Due(seen(None)), BEGINS + 2_000 * MS);
    assert_eq!(todo.first(), Some(&Do::StopLoad));
    assert_eq!(aborted(&todo), "power-off of holder at 2s: no node holds the VIP");
}

#[test]
fn a_fault_that_cannot_be_done_ends_the_drill() {
    let mut runner = running();
    runner.handle(Input::Due(seen(Some("proxy1"))), BEGINS + 2_000 * MS);
    let todo = runner.handle(Input::FaultFailed { because: "no such node".to_owned() }, BEGINS + 2_001 * MS);
    assert_eq!(aborted(&todo), "no such node");
}

#[test]
fn a_load_that_never_begins_never_ends_or_ends_early_is_no_drill() {
    let (mut runner, _) = Runner::start(&drill(), 0);
    let deadline = runner.deadline_ns().expect("the wait for the load is bounded");
    assert_eq!(runner.handle(Input::Due(seen(None)), deadline - 1), []);
    assert!(aborted(&runner.handle(Input::Due(seen(None)), deadline)).contains("open its conversations"));

    let mut runner = running();
    assert!(
        aborted(&runner.handle(Input::LoadEnded { well: true }, BEGINS + MS)).contains("before its time")
    );

    let mut runner = running();
    runner.handle(Input::Due(seen(Some("proxy1"))), BEGINS + 9_000 * MS);
    let deadline = runner.deadline_ns().expect("the wait for the drain is bounded");
    assert!(aborted(&runner.handle(Input::Due(seen(None)), deadline)).contains("did not finish"));
}

#[test]
fn a_load_that_failed_in_its_drain_is_no_complete_drill() {
    let mut runner = running();
    runner.handle(Input::Due(seen(Some("proxy1"))), BEGINS + 9_000 * MS);
    aborted(&runner.handle(Input::LoadEnded { well: false }, BEGINS + 9_500 * MS));
}

#[test]
fn a_drill_of_which_not_everything_is_heard_ends() {
    let mut runner = running();
    let because = "the events of the lab ended before the drill did".to_owned();
    let todo = runner.handle(Input::RecordBroken { because }, BEGINS + MS);
    assert_eq!(todo.first(), Some(&Do::StopLoad));
    assert!(aborted(&todo).contains("events"));
}

#[test]
fn an_interrupt_stops_the_load_in_every_state() {
    let (mut opening, _) = Runner::start(&drill(), 0);
    let mut draining = running();
    draining.handle(Input::Due(seen(Some("proxy1"))), BEGINS + 9_000 * MS);
    for runner in [&mut opening, &mut running(), &mut draining] {
        let todo = runner.handle(Input::Interrupted, BEGINS + 9_100 * MS);
        assert_eq!(todo.first(), Some(&Do::StopLoad));
        assert_eq!(aborted(&todo), "interrupted");
    }
}

#[test]
fn a_load_that_ends_when_the_timetable_does_has_not_ended_early() {
    let drill = parse("short.yaml", "name: short\ntopology: ../ha.yaml\nduration: 100ms\nfaults: []\n");
    let drill = drill.expect("the drill of this test is well formed");
    let (mut runner, _) = Runner::start(&drill, 0);
    runner.handle(Input::LoadReady { begins_ns: BEGINS }, BEGINS);
    let mut early = runner.clone();
    let ended = Input::LoadEnded { well: true };
    assert_eq!(runner.handle(ended.clone(), BEGINS + 101 * MS), [Do::Finish(Ending::Complete)]);
    assert!(aborted(&early.handle(ended, BEGINS + 99 * MS)).contains("before its time"));
}
