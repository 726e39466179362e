//! What a drill file may say, and what its author reads when it says something else.

use super::*;

const WHOLE: &str = "\
name: proxy-crash
topology: ../ha.yaml
load: { conversations: 4, turns_per_s: 50, timeout: 800ms, probe_interval: 2ms }
duration: 9s
faults:
  - { at: 2s, do: kill-service, service: vrrpd, target: proxy1 }
  - { at: 6s, do: power-on, target: same }
expect: { outage_max: 250ms, lost_turns: 1, holder_changes_min: 1 }
";

fn complaints(text: &str) -> String {
    parse("d.yaml", text).expect_err("this file is wrong").to_string()
}

#[test]
fn a_file_says_all_that_a_drill_is() {
    let drill = parse("d.yaml", WHOLE).expect("a correct file");
    assert_eq!(drill.name.as_str(), "proxy-crash");
    assert_eq!(drill.topology, PathBuf::from("../ha.yaml"));
    assert_eq!(drill.load.timeout, Duration::from_millis(800));
    assert_eq!(drill.load.probe_interval, Duration::from_millis(2));
    let at: Vec<_> = drill.faults.iter().map(|fault| (fault.at.as_secs(), fault.action.word())).collect();
    assert_eq!(at, [(2, "kill-service"), (6, "power-on")]);
    assert_eq!(drill.expect.outage_max, Duration::from_millis(250));
    assert_eq!(drill.expect.acknowledged_min, Expect::default().acknowledged_min);
}

#[test]
fn only_the_essential_is_required() {
    let drill = parse("d.yaml", "name: quiet\ntopology: ha.yaml\nduration: 1m20s\nfaults: []\n")
        .expect("a correct file");
    assert_eq!(drill.load, Load::default());
    assert_eq!(drill.expect, Expect::default());
    assert_eq!(drill.duration, Duration::from_secs(80));
}

#[test]
fn a_drill_survives_the_way_through_json() {
    let text = WHOLE.replace("target: same", "target: raft-leader").replace("power-on", "kill-node");
    let drill = parse("d.yaml", &text).expect("a correct file");
    let json = serde_json::to_string(&drill).expect("a drill can be written");
    assert_eq!(serde_json::from_str::<Drill>(&json).expect("and read"), drill);
}

#[test]
fn a_slip_of_the_pen_gets_a_suggestion_and_a_place() {
    insta::assert_snapshot!(
        complaints(&WHOLE.replace("duration:", "durration:")),
        @"d.yaml:4:1: there is no key `durration` here (did you mean `duration`?)"
    );
    insta::assert_snapshot!(
        complaints(&WHOLE.replace("duration: 9s\n", "")),
        @"d.yaml:7:1: the key `duration` is missing"
    );
    insta::assert_snapshot!(
        complaints(&WHOLE.replace("conversations: 4", "conversations: many")),
        @"d.yaml:3:24: invalid u32"
    );
    insta::assert_snapshot!(complaints("name: [\n"), @"d.yaml:1:7: expected string scalar");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    insta::assert_snapshot!(
        complaints(
            "\
name: Proxy Crash
topology: ../ha.yaml
load: { conversations: 0, timeout: 0s, probe_interval: 1us }
duration: 9
faults:
  - { at: soon, do: poweroff, target: same }
  - { at: 2s, do: explode, target: holder }
  - { at: 3s, do: stop, target: holder }
  - { at: 4s, do: power-on, target: holder }
  - { at: 5s, do: power-off, service: web, target: Web_1 }
  - { at: 1s, do: kill-node, target: db1 }
"
        ),
        @r"
        d.yaml:1:7: `Proxy Crash` has 'P' in it; a drill name is lower-case letters, digits and inner hyphens, and begins with a letter
        d.yaml:3:24: 0 is not between 1 and 512
        d.yaml:3:36: a duration of nothing
        d.yaml:3:56: probes are at least 100µs apart
        d.yaml:4:11: `9` is not a duration (it has no unit; write 9s or 9ms)
        d.yaml:6:11: `soon` is not a duration (write for instance 2s, 500ms or 1m30s)
        d.yaml:6:21: there is no fault `poweroff` (did you mean `power-off`?)
        d.yaml:6:39: the first fault has none before it to be `same` as (write `holder`, `raft-leader` or a node)
        d.yaml:7:19: there is no fault `explode` (known are `power-off`, `power-on`, `kill-node`, `kill-service`, `stop`, `signal`, `link-down`, `link-up`, `partition`, `heal`, `split`, `cut-link`, `freeze`, `thaw`, `wipe-disk`, `fill-disk`, `free-disk`, `delete-address`)
        d.yaml:8:19: `stop` needs a `service` (write for instance `service: vrrpd`)
        d.yaml:9:37: a node that is off holds and leads nothing (write `same` or a node)
        d.yaml:10:39: `power-off` takes no `service` (it is for `kill-service`, `stop`, `signal`)
        d.yaml:10:52: `Web_1` has 'W' in it; a node name is lower-case letters, digits and inner hyphens, and begins with a letter
        d.yaml:11:11: the fault at 1s stands after a later one (write faults in order of time)
        "
    );
    insta::assert_snapshot!(
        complaints("name: x\ntopology: t\nduration: 2s\nfaults:\n  - { at: 2s, do: kill-node, target: db1 }\n"),
        @"d.yaml:5:11: at 2s the drill is over"
    );
}

#[test]
fn one_mistake_in_the_length_of_a_drill_is_one_problem() {
    let of = |length: &str| complaints(&format!("name: x\ntopology: t\nduration: {length}\nfaults: []\n"));
    insta::assert_snapshot!(
        of("-1s"),
        @"d.yaml:3:11: `-1s` is not a duration (write for instance 2s, 500ms or 1m30s)"
    );
    insta::assert_snapshot!(of("0s"), @"d.yaml:3:11: a drill lasts more than nothing and at most 86400s");
    insta::assert_snapshot!(of("48h"), @"d.yaml:3:11: a drill lasts more than nothing and at most 86400s");
}

#[test]
fn a_load_that_waits_for_no_answer_is_refused() {
    let hasty = "name: x\ntopology: t\nduration: 2s\nfaults: []\nload: { timeout: 1ns }\n";
    insta::assert_snapshot!(
        complaints(hasty),
        @"d.yaml:5:18: a load waits at least 10ms for an answer, or no site gives one (write a longer `timeout`)"
    );
}

const CABLES: &str = "\
name: cut
topology: ../ha.yaml
duration: 9s
faults:
  - { at: 1s, do: link-down, network: front, target: holder }
  - { at: 2s, do: link-up, network: front, target: same }
  - { at: 3s, do: partition, network: back, target: proxy1 }
  - { at: 4s, do: heal, network: back, target: same }
  - { at: 5s, do: delete-address, network: front, target: holder }
  - { at: 6s, do: signal, service: vrrpd, signal: STOP, target: holder }
  - { at: 8s, do: signal, service: vrrpd, signal: CONT, target: same }
expect: { holders_max: 1 }
";

#[test]
fn a_drill_breaks_cables_hangs_services_and_deletes_addresses() {
    let drill = parse("d.yaml", CABLES).expect("a correct file");
    let faults: Vec<_> = drill.faults.iter().map(|fault| fault.action.to_string()).collect();
    insta::assert_snapshot!(faults.join("\n"), @r"
    link-down front
    link-up front
    partition back
    heal back
    delete-address front
    signal vrrpd STOP
    signal vrrpd CONT
    ");
    assert_eq!(drill.expect.holders_max, Some(1));
    let json = serde_json::to_string(&drill).expect("a drill can be written");
    assert_eq!(serde_json::from_str::<Drill>(&json).expect("and read"), drill);
}

const GROUPS: &str = "\
name: groups
topology: ../ha.yaml
load: { reads: 25% }
duration: 9s
faults:
  - { at: 1s, do: split, network: data, target: [raft-leader, serving-web] }
  - { at: 2s, do: heal, target: same }
  - { at: 3s, do: cut-link, target: [web1, web2] }
  - { at: 4s, do: heal, target: same }
  - { at: 5s, do: freeze, target: raft-follower }
  - { at: 6s, do: thaw, target: same }
  - { at: 7s, do: power-off, target: [db1, db2] }
  - { at: 8s, do: wipe-disk, target: db1 }
expect: { lost_turns_min: 1, consistent: false }
";

#[test]
fn a_drill_cuts_groups_off_and_hits_several_nodes_at_once() {
    let drill = parse("d.yaml", GROUPS).expect("a correct file");
    let faults: Vec<_> = drill
        .faults
        .iter()
        .map(|fault| {
            let targets: Vec<_> = fault.targets.iter().map(ToString::to_string).collect();
            format!("{} of {}", fault.action, targets.join(" and "))
        })
        .collect();
    insta::assert_snapshot!(faults.join("\n"), @r"
    split data of raft-leader and serving-web
    heal of same
    cut-link of web1 and web2
    heal of same
    freeze of raft-follower
    thaw of same
    power-off of db1 and db2
    wipe-disk of db1
    ");
    assert_eq!(drill.load.reads_percent, 25);
    // A control that must lose turns may lose as many as it likes.
    let expect = (drill.expect.lost_turns_min, drill.expect.lost_turns, drill.expect.consistent);
    assert_eq!(expect, (Some(1), u64::MAX, false));
    let json = serde_json::to_string(&drill).expect("a drill can be written");
    assert_eq!(serde_json::from_str::<Drill>(&json).expect("and read"), drill);
}

#[test]
fn what_cannot_be_meant_of_groups_and_controls_is_said() {
    let wrong = GROUPS
        .replace("[web1, web2]", "web1")
        .replace("[db1, db2]", "[]")
        .replace("target: db1", "target: serving-web")
        .replace("25%", "25")
        .replace("lost_turns_min: 1", "lost_turns: 1, lost_turns_min: 2");
    insta::assert_snapshot!(complaints(&wrong), @r"
    d.yaml:3:16: `25` is no share of the turns (write for instance 10%)
    d.yaml:8:37: a link has two ends (write for instance `target: [web1, web2]`)
    d.yaml:12:38: nobody is hit (name a node)
    d.yaml:13:38: a node that is off holds and leads nothing (write `same` or a node)
    d.yaml:14:42: at least 2 lost turns and at most 1 cannot both be (leave `lost_turns` out)
    ");
}

#[test]
fn a_cable_that_the_site_does_not_have_is_a_misfit() {
    let site = crate::topology::parse("ha.yaml", include_str!("../../../topologies/ha.yaml"));
    let site = site.expect("the site on file is correct");
    let misfits = |text: &str| {
        let drill = parse("d.yaml", text).expect("a correct file");
        drill.misfits(&site).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(misfits(CABLES), "");
    let wrong = CABLES.replace("network: back, target: proxy1", "network: data, target: proxy1");
    insta::assert_snapshot!(
        misfits(&wrong.replacen("network: front", "network: frnt", 1)),
        @r"
    the fault at 1s is for network frnt, which ha does not have
    the fault at 3s is for network data, which proxy1 is not on
    "
    );
}

#[test]
fn what_a_fault_is_about_is_neither_missing_nor_spare() {
    let wrong = CABLES
        .replace("link-down, network: front", "link-down")
        .replace("partition, network: back", "partition, network: Back, signal: STOP")
        .replace("delete-address, network", "delete-address, service")
        .replace("signal: STOP, target: holder", "signal: SIGSTOP, target: holder")
        .replace("service: vrrpd, signal: CONT", "network: back");
    insta::assert_snapshot!(complaints(&wrong), @r"
    d.yaml:5:19: `link-down` needs a `network` (write for instance `network: front`)
    d.yaml:7:39: `Back` has 'B' in it; a network name is lower-case letters, digits and inner hyphens, and begins with a letter
    d.yaml:7:53: `partition` takes no `signal` (it is for `signal`)
    d.yaml:9:19: `delete-address` needs a `network` (write for instance `network: front`)
    d.yaml:9:44: `delete-address` takes no `service` (it is for `kill-service`, `stop`, `signal`)
    d.yaml:10:51: there is no signal `SIGSTOP` (known are `STOP`, `CONT`, `HUP`, `KILL`, `TERM`, `USR1`, `USR2`)
    d.yaml:11:19: `signal` needs a `service` (write for instance `service: vrrpd`)
    d.yaml:11:19: `signal` needs a `signal` (write for instance `signal: STOP`)
    d.yaml:11:36: `signal` takes no `network` (it is for `link-down`, `link-up`, `partition`, `heal`, `split`, `cut-link`, `delete-address`)
    ");
}

#[test]
fn a_timetable_that_the_application_must_refuse_is_refused() {
    insta::assert_snapshot!(
        complaints(&WHOLE.replace("duration: 9s", "duration: 2m")),
        @"d.yaml:4:11: 6000 turns in 4 conversations are too many: a conversation holds 1024 (write `conversations: 6` or more, or a shorter `duration`)"
    );
    insta::assert_snapshot!(
        complaints(&WHOLE.replace("turns_per_s: 50", "turns_per_s: 5000").replace("duration: 9s", "duration: 10m")),
        @"d.yaml:4:11: 3000000 turns in 4 conversations are too many: a conversation holds 1024 (write fewer `turns_per_s` or a shorter `duration`)"
    );
    // To the brim: 4 conversations of 1,024 turns, and one turn more.
    let brim = WHOLE.replace("turns_per_s: 50", "turns_per_s: 512").replace("duration: 9s", "duration: 8s");
    assert!(parse("d.yaml", &brim).is_ok());
    assert!(parse("d.yaml", &brim.replace("duration: 8s", "duration: 8001ms")).is_err());
}

#[test]
fn a_patience_that_outlasts_the_drain_is_refused() {
    insta::assert_snapshot!(
        complaints(&WHOLE.replace("800ms", "11s")),
        @"d.yaml:3:53: a load waits at most 10s for an answer, or it would outlast its drill (write a shorter `timeout`)"
    );
    assert!(parse("d.yaml", &WHOLE.replace("800ms", "10s")).is_ok());
}

#[test]
fn turns_are_counted_as_the_timetable_has_them() {
    let load = |turns_per_s| Load { turns_per_s, ..Load::default() };
    // At 0 s, 1/3 s, 2/3 s; the one of 1 s is due when the drill is over.
    assert_eq!(load(3).turns_within(Duration::from_secs(1)), 3);
    assert_eq!(load(3).turns_within(Duration::from_millis(1_001)), 4);
    assert_eq!(load(50).turns_within(Duration::from_secs(9)), 450);
    assert_eq!(load(1).turns_within(Duration::from_millis(10)), 1);
}
