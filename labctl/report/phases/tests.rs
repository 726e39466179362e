//! Which events prove a fault, who is down in the end, and whose word on the leader counts.

use super::*;

fn event(at_ns: MonotonicNs, node: Option<&str>, source: &str, what: What) -> Event {
    Event { at_ns, node: node.map(str::to_owned), source: source.to_owned(), what }
}

fn fault(at_ns: MonotonicNs, action: &str, target: &str) -> Event {
    event(at_ns, None, "drill", What::Fault { action: action.to_owned(), target: target.to_owned() })
}

fn exited(at_ns: MonotonicNs, node: &str, service: &str) -> Event {
    event(at_ns, Some(node), service, What::ServiceExited { how: "signal SIGKILL".to_owned() })
}

fn down(at_ns: MonotonicNs, node: &str) -> Event {
    event(at_ns, Some(node), "holder", What::NodeDown { how: "killed".to_owned() })
}

fn seen(events: &[Event]) -> Vec<bool> {
    windows(events, 100).iter().map(|window| window.seen).collect()
}

#[test]
fn the_end_of_another_service_proves_no_kill() {
    let kill = fault(1, "kill-service vrrpd", "proxy1");
    assert_eq!(seen(&[kill.clone(), exited(2, "proxy1", "balancer")]), [false]);
    assert_eq!(seen(&[kill.clone(), exited(2, "proxy2", "vrrpd")]), [false]);
    assert_eq!(seen(&[exited(0, "proxy1", "vrrpd"), kill.clone()]), [false]);
    assert_eq!(seen(&[kill, exited(2, "proxy1", "vrrpd")]), [true]);
}

#[test]
fn one_event_proves_one_fault() {
    let faults = [fault(1, "power-off", "db1"), fault(2, "kill-node", "db1")];
    let once = [&faults[..], &[down(3, "db1")]].concat();
    assert_eq!(seen(&once), [true, false]);
    assert_eq!(seen(&[&once[..], &[down(4, "db1")]].concat()), [true, true]);
}

#[test]
fn a_web_is_down_until_its_application_is_back() {
    let webs: BTreeSet<String> = ["web1", "web2"].map(str::to_owned).into();
    let left = |events: &[Event]| webs_down(events, &webs).into_iter().collect::<Vec<_>>();
    let back = |source| event(9, Some("web1"), source, What::Ready);
    assert_eq!(left(&[down(1, "web1"), down(1, "db1")]), ["web1"]);
    assert_eq!(left(&[exited(1, "web2", "web"), exited(1, "web1", "other")]), ["web2"]);
    assert_eq!(left(&[down(1, "web1"), event(2, Some("web1"), "init", What::NodeUp)]), ["web1"]);
    assert_eq!(left(&[down(1, "web1"), back("other")]), ["web1"]);
    assert_eq!(left(&[down(1, "web1"), back("web")]), [""; 0]);
}

#[test]
fn a_leader_of_an_older_term_is_no_change() {
    let leads = |at_ns, leader: &str, term| {
        event(at_ns, Some("db3"), "db", What::RaftLeader { leader: Some(leader.to_owned()), term })
    };
    let told = [leads(1, "db1", 1), leads(2, "db2", 2), leads(3, "db1", 1), leads(4, "db2", 2)];
    assert_eq!(leader_changes(&told), [2]);
    assert_eq!(leader_changes(&[&told[..], &[leads(5, "db1", 3)]].concat()), [2, 5]);
}
