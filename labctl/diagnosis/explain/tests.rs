//! What people read about nodes of each kind.

use super::*;
use crate::diagnosis::account::CheckAccount;
use crate::diagnosis::fixtures::{NOW_NS, account, complaint, ms, topology, witness};

fn service(running: bool, says: Option<&str>) -> ServiceFacts {
    ServiceFacts { running, ready: running, starts: 1, last_exit: None, says: says.map(str::to_owned) }
}

fn words(
    witness: Option<&Witness>,
    down: Option<&str>,
    services: &[(&str, ServiceFacts)],
    events: &[Event],
) -> String {
    let topology = topology();
    let name = witness.map_or_else(|| "web1".parse().unwrap(), |witness| witness.node.clone());
    let services = services.iter().map(|(name, facts)| ((*name).to_owned(), facts.clone())).collect();
    let role = Role::Proxy;
    let facts =
        Facts { topology: &topology, node: &name, role, down, services, witness, events, now_ns: NOW_NS };
    explain(&facts).join("\n")
}

fn event(before_ms: u64, source: &str, what: What) -> Event {
    Event { at_ns: NOW_NS - ms(before_ms), node: Some("web1".into()), source: source.into(), what }
}

#[test]
fn an_active_router_says_why_it_is() {
    let mut account = account(1);
    let before = TransitionAccount {
        at_ns: NOW_NS - ms(65_000),
        from: "active".into(),
        to: "backup".into(),
        because: "10.10.1.12 is active with priority 200".into(),
    };
    account.routers[0].history.insert(0, before);
    let witness = witness("proxy1", Testimony::Said(account.into()));
    insta::assert_snapshot!(words(Some(&witness), None, &[("vrrpd", service(true, Some("active")))], &[]), @r"
    proxy1 has been active for 3.2 s, because 3 adverts missed (VRID 51 over IPv4).
      Its priority is 150; it takes over from a router of lower priority.
      It says VRRPv3 every 100 ms from 10.10.1.11, checksum over the message alone, for 203.0.113.10, 10.10.1.1.
      Its lease runs for another 210 ms unless it is renewed.
      It has heard no other router.
      Before: active -> backup 1 min 5 s ago, because proxy2 (10.10.1.12) is active with priority 200.
    Links: back up, front up.
    vrrpd runs (active).
    ");
}

#[test]
fn a_backup_says_whom_it_hears_and_what_is_wrong() {
    let mut account = account(2);
    account.routers[0].degraded = Some("adverts are missing, but somebody answers for the addresses".into());
    account.routers[0].effective_priority = 80;
    account.links.insert("front".into(), false);
    for (name, passes, weight) in [("balancer", false, Some(20)), ("disk", true, None)] {
        account.checks.push(CheckAccount { name: name.into(), passes, weight, detail: "as it said".into() });
    }
    account.lacks.push("a lease (no CAP_BPF)".into());
    account.latest_wake_us = 450_000;
    account.longest_turn_us = 210_000;
    account
        .complaints
        .insert("ttl".into(), complaint(1, ms(1_500), "packet from 10.10.1.66 dropped: TTL 254"));
    let witness = witness("proxy2", Testimony::Said(account.into()));
    insta::assert_snapshot!(words(Some(&witness), None, &[], &[]), @r"
    proxy2 has been a backup for 3.2 s, because it started (VRID 51 over IPv4).
      It is degraded: adverts are missing, but somebody answers for the addresses.
      Its priority is 80 instead of 100: balancer costs 20; it takes over from a router of lower priority.
      It says VRRPv3 every 100 ms from 10.10.1.12, checksum over the message alone, for 203.0.113.10, 10.10.1.1.
      It heard proxy1 (10.10.1.11) 40 ms ago: VRRPv3, priority 150, every 100 ms, for 203.0.113.10, 10.10.1.1 (1234 adverts so far).
    Links: back up, front down.
    Check balancer fails: as it said.
    Check disk passes: as it said.
    It must do without a lease (no CAP_BPF).
    Its loop once woke 450 ms late: the machine was too busy for its interval.
    Its loop once was busy for 210 ms without a pause, which is too long for its interval.
    ttl, 1 time, last 1.5 s ago: packet from 10.10.1.66 dropped: TTL 254
    ");
}

#[test]
fn who_cannot_be_asked_is_told_of_by_what_it_did() {
    let events = [
        event(9_000, "init", What::NodeUp),
        event(8_000, "keepalived", What::AddressAdded { address: "203.0.113.10".parse().unwrap() }),
        event(500, "keepalived", What::AddressRemoved { address: "203.0.113.10".parse().unwrap() }),
    ];
    let mute = Witness { engine: Engine::Keepalived, ..witness("proxy1", Testimony::Mute) };
    insta::assert_snapshot!(words(Some(&mute), None, &[], &events), @r"
    keepalived takes part in the election on proxy1, and cannot be asked how it is; what follows is what it did.
    9.0 s ago: the node started.
    8.0 s ago: it got 203.0.113.10.
    500 ms ago: it lost 203.0.113.10.
    ");
    let silent = witness("proxy1", Testimony::Silent("ask vrrpd: no answer".into()));
    insta::assert_snapshot!(words(Some(&silent), None, &[], &[]), @"The VRRP daemon of proxy1 does not say how it is: ask vrrpd: no answer.");
}

#[test]
fn other_nodes_are_told_of_by_their_services() {
    let events = [
        event(60_000, "web", What::ServiceStarted { pid: 2 }),
        event(3_400, "web", What::ServiceExited { how: "signal SIGKILL".into() }),
        event(3_200, "web", What::ServiceStarted { pid: 9 }),
    ];
    let web = ServiceFacts { starts: 2, last_exit: Some("signal SIGKILL".into()), ..service(true, None) };
    let db = ServiceFacts { ready: false, ..service(true, Some("follows db2, term 3")) };
    let services = [("db", db), ("web", web), ("whoami", service(false, None))];
    insta::assert_snapshot!(words(None, None, &services, &events), @r"
    db runs, but does not work yet (follows db2, term 3).
    web has been running for 3.2 s; it was started 2 times; it last ended 3.4 s ago: signal SIGKILL.
    whoami does not run.
    ");
    insta::assert_snapshot!(words(None, Some("powered off"), &[], &[]), @"web1 is down: powered off.");
}
