//! Which events prove a fault, who is down in the end, and whose word on the leader counts.

use super::*;

const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

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
fn a_cut_cable_a_signal_and_a_deleted_address_have_proofs_of_their_own() {
    let proxy1 = |source, what| event(2, Some("proxy1"), source, what);
    let cable =
        |network: &str, becomes| proxy1("holder", What::Cable { network: network.to_owned(), becomes });
    let proof = |action: &str, event: Event| seen(&[fault(1, action, "proxy1"), event]);
    assert_eq!(proof("link-down front", cable("front", Cable::Down)), [true]);
    assert_eq!(proof("link-up front", cable("front", Cable::Up)), [true]);
    assert_eq!(proof("partition back", cable("back", Cable::Partition)), [true]);
    assert_eq!(proof("heal back", cable("back", Cable::Heal)), [true]);
    assert_eq!(proof("partition back", cable("front", Cable::Partition)), [false]);
    assert_eq!(proof("partition back", cable("back", Cable::Down)), [false]);

    let sent = |service, signal: &str| proxy1(service, What::Signalled { signal: signal.to_owned() });
    assert_eq!(proof("signal vrrpd STOP", sent("vrrpd", "STOP")), [true]);
    assert_eq!(proof("signal vrrpd STOP", sent("vrrpd", "CONT")), [false]);
    assert_eq!(proof("signal vrrpd STOP", sent("balancer", "STOP")), [false]);

    let deleted = |network: &str| {
        proxy1("holder", What::AddressDeleted { network: network.to_owned(), address: VIP.into() })
    };
    assert_eq!(proof("delete-address front", deleted("front")), [true]);
    assert_eq!(proof("delete-address front", deleted("back")), [false]);
}

#[test]
fn new_faults_have_proofs_of_their_own() {
    let proof = |action: &str, source: &str, what: What| {
        seen(&[fault(1, action, "db1"), event(2, Some("db1"), source, what)])
    };
    assert_eq!(proof("wipe-disk", "holder", What::DiskWiped { entries: 3 }), [true]);
    assert_eq!(proof("fill-disk", "holder", What::DiskFull { full: true }), [true]);
    assert_eq!(proof("free-disk", "holder", What::DiskFull { full: true }), [false]);
    assert_eq!(proof("freeze", "holder", What::Hung { hangs: true }), [true]);
    assert_eq!(proof("thaw", "holder", What::Hung { hangs: true }), [false]);
    let healed = What::Cable { network: "data".to_owned(), becomes: Cable::Heal };
    assert_eq!(proof("heal", "holder", healed), [true]);
}

#[test]
fn a_fault_of_several_nodes_is_seen_on_each_of_them() {
    let off = fault(1, "power-off", &targets(&["db1", "db2"]));
    assert_eq!(seen(&[off.clone(), down(2, "db1")]), [false]);
    assert_eq!(seen(&[off.clone(), down(2, "db1"), down(3, "db1")]), [false]);
    assert_eq!(seen(&[off, down(2, "db1"), down(3, "db2")]), [true]);
}

#[test]
fn a_group_that_was_cut_off_is_that_group_from_those_others() {
    let apart = |nodes: &[&str], from, network: &str| {
        let nodes = nodes.iter().map(|&node| node.to_owned()).collect();
        event(2, None, "holder", What::Apart { nodes, from, networks: [network.to_owned()].into() })
    };
    let proof = |action: &str, event: Event| seen(&[fault(1, action, "web1, db1"), event]);
    assert_eq!(proof("split data", apart(&["db1", "web1"], ApartFrom::TheRest, "data")), [true]);
    assert_eq!(proof("split", apart(&["db1", "web1"], ApartFrom::TheRest, "data")), [true]);
    assert_eq!(proof("split data", apart(&["db1", "web1"], ApartFrom::TheRest, "back")), [false]);
    assert_eq!(proof("split data", apart(&["db1"], ApartFrom::TheRest, "data")), [false]);
    assert_eq!(proof("split data", apart(&["db1", "web1"], ApartFrom::EachOther, "data")), [false]);
    assert_eq!(proof("cut-link", apart(&["db1", "web1"], ApartFrom::EachOther, "data")), [true]);
}

fn most(events: &[Event]) -> String {
    most_holders(events, VIP, Some("proxy1")).into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn two_that_have_the_vip_at_one_time_are_seen_and_two_in_turn_are_not() {
    let vrrpd = |at_ns, node, what| event(at_ns, Some(node), "vrrpd", what);
    let added = |at_ns, node| vrrpd(at_ns, node, What::AddressAdded { address: VIP.into() });
    let removed = |at_ns, node| vrrpd(at_ns, node, What::AddressRemoved { address: VIP.into() });
    assert_eq!(most(&[]), "proxy1");
    assert_eq!(most(&[added(1, "proxy2"), removed(2, "proxy2")]), "proxy1 proxy2");
    assert_eq!(most(&[removed(1, "proxy1"), added(2, "proxy2")]), "proxy1");
    let inner = What::AddressAdded { address: Ipv4Addr::new(10, 10, 1, 1).into() };
    assert_eq!(most(&[vrrpd(1, "proxy2", inner)]), "proxy1");
    assert_eq!(most(&[down(1, "proxy1"), added(2, "proxy2")]), "proxy1");
    // The lab tells of the end of a dead machine when the other may have taken over already.
    let off = fault(1, "power-off", "proxy1");
    assert_eq!(most(&[off, added(2, "proxy2"), down(3, "proxy1")]), "proxy1");
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
