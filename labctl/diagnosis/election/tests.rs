//! Two members of one election that agree, and everything that can be wrong with them, one at a time.

use super::*;
use crate::diagnosis::account::{CheckAccount, PeerAccount, TransitionAccount};
use crate::diagnosis::fixtures::{account, complaint, ms, topology, witness};

/// What is found after a change of either member's account.
fn found(change: impl FnOnce(&mut Account, &mut Account)) -> String {
    let (mut first, mut second) = (account(1), account(2));
    change(&mut first, &mut second);
    found_by(&[
        witness("proxy1", Testimony::Said(first.into())),
        witness("proxy2", Testimony::Said(second.into())),
    ])
}

fn found_by(witnesses: &[Witness]) -> String {
    let topology = topology();
    let scene = Scene { topology: &topology, witnesses, holders: BTreeMap::new() };
    findings(&scene).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn two_who_agree_give_no_reason_to_complain() {
    assert_eq!(found(|_, _| ()), "");
}

#[test]
fn each_setting_in_which_two_members_differ_is_named() {
    insta::assert_snapshot!(found(|_, b| b.routers[0].vrid = 52), @r"
    vrid: proxy1 and proxy2 use different VRIDs, so neither takes the other for a member of its election
      where: VRID 51 over IPv4: proxy1 says 51, proxy2 says 52
      next:  make them agree: `failover: { vrid: }` in the topology
    ");
    insta::assert_snapshot!(found(|_, b| b.routers[0].interval_ms = 200), @r"
    interval: proxy1 and proxy2 advertise at different intervals, so they judge one another's silence differently
      where: VRID 51 over IPv4: proxy1 says every 100 ms, proxy2 says every 200 ms
      next:  make them agree: `failover: { advert: }` in the topology
    ");
    insta::assert_snapshot!(found(|_, b| b.routers[0].version = "2".into()), @r"
    version: proxy1 and proxy2 speak different versions of VRRP, so they take each other for silent
      where: VRID 51 over IPv4: proxy1 says 3, proxy2 says 2
      next:  make them agree: `failover: { version: }` in the topology
    ");
    insta::assert_snapshot!(found(|_, b| b.routers[0].checksum = "pseudo-header".into()), @r"
    checksum-rule: proxy1 and proxy2 disagree on what the checksum covers, so they take each other for silent
      where: VRID 51 over IPv4: proxy1 says message, proxy2 says pseudo-header
      next:  make them agree: `failover: { checksum: }` in the topology
    ");
    insta::assert_snapshot!(found(|_, b| b.routers[0].addresses.truncate(1)), @r"
    addresses: proxy1 and proxy2 advertise different addresses, so a takeover leaves some of them behind
      where: VRID 51 over IPv4: proxy1 says 203.0.113.10, 10.10.1.1, proxy2 says 203.0.113.10
      next:  make them agree: `failover: { vip: }` in the topology
    ");
    insta::assert_snapshot!(found(|a, b| (a.routers[0].priority, b.routers[0].priority) = (255, 255)), @r"
    two-owners: proxy1 and proxy2 both claim to own the addresses (priority 255), so neither gives way but by its address
      where: VRID 51 over IPv4: proxy1 says 255, proxy2 says 255
      next:  make them differ: `nodes: { PROXY: { priority: } }` in the topology
    ");
    insta::assert_snapshot!(found(|a, b| (a.routers[0].priority, b.routers[0].priority) = (7, 7)), @r"
    same-priority: proxy1 and proxy2 have the same priority, so the greater address decides who is active
      where: VRID 51 over IPv4: proxy1 says 7, proxy2 says 7
      next:  make them differ: `nodes: { PROXY: { priority: } }` in the topology
    ");
}

#[test]
fn addresses_in_another_order_are_the_same() {
    assert_eq!(found(|_, b| b.routers[0].addresses.reverse()), "");
}

#[test]
fn each_kind_of_packet_that_is_dropped_is_named_with_its_sender() {
    let mut lines = Vec::new();
    let kinds = [
        "vrid",
        "version",
        "checksum-rule",
        "interval-differs",
        "v2-interval",
        "addresses-differ",
        "v2-addresses",
        "two-owners",
        "authentication",
        "ttl",
        "stranger",
        "checksum",
        "interval-zero",
        "send",
        "ours",
    ];
    for kind in kinds {
        let words = "VRID 51 over IPv4: packet from 10.10.1.66 dropped: because";
        lines.push(found(|a, _| drop(a.complaints.insert(kind.into(), complaint(3, ms(100), words)))));
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    vrid: proxy1 and stranger (10.10.1.66) use different VRIDs, so neither takes the other for a member of its election
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them agree: `failover: { vrid: }` in the topology
    version: proxy1 and stranger (10.10.1.66) speak different versions of VRRP, so they take each other for silent
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them agree: `failover: { version: }` in the topology
    checksum-rule: proxy1 and stranger (10.10.1.66) disagree on what the checksum covers, so they take each other for silent
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them agree: `failover: { checksum: }` in the topology
    interval: proxy1 and stranger (10.10.1.66) advertise at different intervals, so they judge one another's silence differently
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them agree: `failover: { advert: }` in the topology
    interval: proxy1 and stranger (10.10.1.66) advertise at different intervals, so they judge one another's silence differently
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them agree: `failover: { advert: }` in the topology
    addresses: proxy1 and stranger (10.10.1.66) advertise different addresses, so a takeover leaves some of them behind
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them agree: `failover: { vip: }` in the topology
    addresses: proxy1 and stranger (10.10.1.66) advertise different addresses, so a takeover leaves some of them behind
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them agree: `failover: { vip: }` in the topology
    two-owners: proxy1 and stranger (10.10.1.66) both claim to own the addresses (priority 255), so neither gives way but by its address
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  make them differ: `nodes: { PROXY: { priority: } }` in the topology
    authentication: stranger (10.10.1.66) sends VRRPv2 with a password, which proxy1 drops
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  remove it there (keepalived: the block `authentication`): RFC 3768 has withdrawn it
    ttl: proxy1 is sent adverts that may have come through a router, and drops them
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  find out whether stranger (10.10.1.66) is who it claims to be: a forger, or a network between
    stranger: stranger (10.10.1.66) sends adverts to proxy1, which does not have it among its peers
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  name it among the peers, or keep it off this network
    checksum: stranger (10.10.1.66) sends proxy1 what is no valid advert
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  its VRRP is faulty, or somebody forges packets; nothing of it changes the election
    interval-zero: stranger (10.10.1.66) sends proxy1 what is no valid advert
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  its VRRP is faulty, or somebody forges packets; nothing of it changes the election
    send: proxy1 cannot do all that it should (send)
      where: proxy1: 3 times, the last 100 ms ago: VRID 51 over IPv4: packet from 10.10.1.66 dropped: because
      next:  `labctl logs proxy1` has the whole story
    ");
}

#[test]
fn what_both_say_and_what_one_dropped_is_one_finding() {
    let both = found(|a, b| {
        b.routers[0].vrid = 52;
        a.complaints.insert("vrid".into(), complaint(3, ms(100), "packet from 10.10.1.12 dropped: VRID 52"));
        b.complaints.insert("vrid".into(), complaint(3, ms(100), "packet from 10.10.1.11 dropped: VRID 51"));
    });
    assert_eq!(both, found(|_, b| b.routers[0].vrid = 52));
}

#[test]
fn what_was_mended_long_ago_is_not_named() {
    let old = complaint(3, ms(60_000), "packet from 10.10.1.12 dropped: VRID 52");
    assert_eq!(found(|a, _| drop(a.complaints.insert("vrid".into(), old))), "");
}

#[test]
fn a_backup_that_hears_nobody_is_named() {
    insta::assert_snapshot!(found(|_, b| b.routers[0].peers.clear()), @r"
    hears-nobody: proxy2 is a backup for VRID 51 over IPv4 and hears nobody
      where: proxy2: no advert since it started
      next:  `labctl explain proxy2` shows what it drops; if that is nothing, the network between is cut
    ");
    let late = found(|_, b| {
        let PeerAccount { at_ns, .. } = b.routers[0].peers.values_mut().next().unwrap();
        *at_ns -= ms(500);
    });
    insta::assert_snapshot!(late, @r"
    hears-nobody: proxy2 is a backup for VRID 51 over IPv4 and hears nobody
      where: proxy2: the last advert came from 10.10.1.11, 540 ms ago
      next:  `labctl explain proxy2` shows what it drops; if that is nothing, the network between is cut
    ");
    let young = found(|_, b| {
        b.routers[0].peers.clear();
        let TransitionAccount { at_ns, .. } = b.routers[0].history.last_mut().unwrap();
        *at_ns = b.at_ns - ms(100);
    });
    assert_eq!(young, "", "it has only just begun to listen");
}

#[test]
fn what_keeps_a_member_from_its_duty_is_named() {
    let duties = found(|a, _| {
        a.links.insert("front".into(), false);
        a.lacks.push("real-time priority (SCHED_FIFO: EPERM)".into());
        a.routers[0].degraded = Some("the link of the election is down".into());
        for (name, weight) in [("balancer", Some(20)), ("disk", None)] {
            let detail = "nobody answers".into();
            a.checks.push(CheckAccount { name: name.into(), passes: false, weight, detail });
        }
    });
    insta::assert_snapshot!(duties, @r"
    link: the link front of proxy1 is down
      where: proxy1
      next:  `labctl exec proxy1 -- ip link set front up`, or whatever took it down
    check: the check balancer of proxy1 fails, so its priority is lower by 20
      where: proxy1: nobody answers
      next:  mend what it checks
    check: the check disk of proxy1 fails, so it is out of the election
      where: proxy1: nobody answers
      next:  mend what it checks
    lacks: proxy1 must do without real-time priority (SCHED_FIFO: EPERM)
      where: proxy1
      next:  give proxy1 what it needs: root of the machine, or less load; `labctl logs proxy1`
    degraded: proxy1 is active for VRID 51 over IPv4, but the link of the election is down
      where: proxy1
      next:  `labctl explain proxy1` says more
    ");
}

#[test]
fn an_active_router_without_its_lease_is_named() {
    insta::assert_snapshot!(found(|a, _| a.routers[0].lease_until_ns = None), @r"
    lease: proxy1 holds VRID 51 over IPv4 without a lease
      where: proxy1: it has none
      next:  eBPF needs root of the machine: `labctl doctor` without a lab, and `labctl logs proxy1`
    ");
    insta::assert_snapshot!(found(|a, _| a.routers[0].lease_until_ns = Some(a.at_ns - ms(30))), @r"
    lease: the lease of proxy1 has lapsed, so its addresses of VRID 51 over IPv4 are dark
      where: proxy1: it ran out 30 ms ago
      next:  eBPF needs root of the machine: `labctl doctor` without a lab, and `labctl logs proxy1`
    ");
    assert_eq!(found(|_, b| b.routers[0].lease_until_ns = None), "", "a backup needs none");
}

#[test]
fn two_active_routers_or_none_are_named() {
    insta::assert_snapshot!(found(|_, b| b.routers[0].state = "active".into()), @r"
    lease: the lease of proxy2 has lapsed, so its addresses of VRID 51 over IPv4 are dark
      where: proxy2: it ran out 16 min 40 s ago
      next:  eBPF needs root of the machine: `labctl doctor` without a lab, and `labctl logs proxy2`
    two-active: proxy1 and proxy2 are active for VRID 51 over IPv4
      where: these members of the election
      next:  they do not hear one another: a cut network, or settings in which they differ
    ");
    insta::assert_snapshot!(found(|a, _| a.routers[0].state = "initialize".into()), @r"
    none-active: nobody is active for VRID 51 over IPv4
      where: all members of the election
      next:  `labctl explain PROXY` of each says what it waits for
    ");
}

#[test]
fn members_that_say_nothing_are_named_if_they_should_speak() {
    let silent = found_by(&[
        witness("proxy1", Testimony::Off("powered off".into())),
        witness("proxy2", Testimony::Silent("ask vrrpd: no answer".into())),
        witness("proxy3", Testimony::Mute),
    ]);
    insta::assert_snapshot!(silent, @r"
    off: proxy1 takes no part in the election: it is down
      where: proxy1: powered off
      next:  `labctl power on proxy1`
    silent: the VRRP daemon of proxy2 does not say how it is
      where: proxy2: ask vrrpd: no answer
      next:  `labctl logs proxy2` shows how it ended, or it hangs
    ");
}

#[test]
fn addresses_on_two_machines_or_on_none_are_named() {
    let (a, b): (NodeName, NodeName) = ("proxy1".parse().unwrap(), "proxy2".parse().unwrap());
    let holders = [
        ("203.0.113.10".parse().unwrap(), vec![a.clone(), b]),
        ("10.10.1.1".parse().unwrap(), vec![]),
        ("10.10.1.2".parse().unwrap(), vec![a]),
    ];
    let mut topology = topology();
    let mut words = |lease| {
        topology.failover.as_mut().unwrap().lease = lease;
        let scene = Scene { topology: &topology, witnesses: &[], holders: holders.clone().into() };
        findings(&scene).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(words(true), @r"
    no-holder: nobody has 10.10.1.1
      where: the kernels of all nodes
      next:  the findings about members of the election say why; `labctl explain PROXY` of each
    two-holders: proxy1 and proxy2 have 203.0.113.10
      where: the kernels of these nodes
      next:  the lease keeps those dark whose daemon is not active; see which hears nobody
    ");
    assert_ne!(words(true), words(false), "without a lease it is worse");
}

#[test]
fn the_line_to_change_is_named_in_the_language_of_the_engine() {
    let line = |engine| {
        let mut a = account(1);
        a.complaints.insert("checksum-rule".into(), complaint(3, ms(100), "packet from 10.10.1.12 dropped"));
        found_by(&[Witness { engine, ..witness("proxy1", Testimony::Said(a.into())) }])
    };
    for (engine, word) in [
        (Engine::Labctl, "failover: { checksum: }"),
        (Engine::Keepalived, "v3_checksum_as_v2"),
        (Engine::Frr, "checksum-with-ipv4-pseudoheader"),
    ] {
        assert!(line(engine).contains(word), "{}", line(engine));
    }
}
