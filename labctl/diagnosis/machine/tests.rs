//! A machine that has all, one that has nothing, and labs that need something of it.

use super::*;
use crate::diagnosis::fixtures::topology;
use crate::topology::MacMode;

fn whole() -> Machine {
    Machine {
        initial_user_namespace: true,
        programs: programs().map(|name| (name.to_owned(), true)).collect(),
        features: features().map(|name| (name.to_owned(), None)).collect(),
        neighbours_max: Some(1024),
        bridge_netfilter: Some(false),
        ..Machine::default()
    }
}

fn bare() -> Machine {
    Machine {
        missing_capabilities: vec!["CAP_NET_ADMIN".into(), "CAP_BPF".into()],
        programs: programs().map(|name| (name.to_owned(), false)).collect(),
        features: features().map(|name| (name.to_owned(), Some("operation not supported".into()))).collect(),
        neighbours_max: Some(8),
        bridge_netfilter: Some(true),
        ..Machine::default()
    }
}

fn words(machine: &Machine, labs: &[&Topology]) -> String {
    let (found, skipped) = judge(machine, labs);
    let skipped = skipped.iter().map(|line| format!("skipped: {line}"));
    found.iter().map(ToString::to_string).chain(skipped).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_machine_that_has_all_gives_no_reason_to_complain() {
    assert_eq!(words(&whole(), &[&topology()]), "");
}

#[test]
fn what_no_lab_needs_is_skipped() {
    insta::assert_snapshot!(words(&bare(), &[]), @"
    privilege: this process does not have CAP_NET_ADMIN, CAP_BPF, which labs need
      where: this process
      next:  run labctl as root, or, for a topology without eBPF, in `unshare -Urnm labctl ...`
    privilege: eBPF programs cannot be loaded in a user namespace: no balancer, and no lease
      where: this process
      next:  run labctl as root of the machine, or leave `balancer:` out and say `lease: off`
    machine: no veth (operation not supported), which is for every cable
      where: this machine
      next:  a kernel with CONFIG_VETH
    machine: no bridge (operation not supported), which is for every network
      where: this machine
      next:  a kernel with CONFIG_BRIDGE
    skipped: no nft (not installed), which is for the address translation of proxies
    skipped: no keepalived (not installed), which is for `engine: keepalived`, and `engine: ipvs` of the balancer
    skipped: no vrrpd (not installed), which is for `engine: frr`
    skipped: no haproxy (not installed), which is for `engine: haproxy`
    skipped: no nginx (not installed), which is for `engine: nginx`
    skipped: no etcd (not installed), which is for `engine: etcd`, and beside Patroni
    skipped: no redis-server (not installed), which is for `engine: redis`
    skipped: no patroni (not installed), which is for `engine: postgres`
    skipped: no clang-19 (not installed), which is for building the eBPF objects anew, which a lab does not need
    skipped: no tcx (operation not supported), which is for the balancer and the lease
    skipped: no macvlan (operation not supported), which is for `mac: virtual`
    skipped: no netem (operation not supported), which is for loss, delay and reordering on purpose
    skipped: no fq (operation not supported), which is for BBR at full rate
    skipped: no ipvs (operation not supported), which is for IPVS in the place of the balancer
    skipped: no vxlan (operation not supported), which is for networks over networks
    skipped: no ipip (operation not supported), which is for forwarding by tunnel in the kernel's own way
    skipped: no dummy (operation not supported), which is for addresses without a cable
    skipped: no vrf (operation not supported), which is for several routing tables on one node
    skipped: bridge-nf-call-iptables is on: bridges of a lab are in a namespace without rules, so it only costs time
    ");
}

#[test]
fn what_a_lab_needs_is_a_finding() {
    let mut topology = topology();
    let failover = topology.failover.as_mut().unwrap();
    failover.mac = MacMode::Virtual;
    failover.engines =
        [("proxy1".parse().unwrap(), Engine::Keepalived), ("proxy2".parse().unwrap(), Engine::Frr)].into();
    let (found, skipped) = judge(&bare(), &[&topology]);
    let names = |lines: Vec<String>| {
        let first = |line: &String| line.split([' ', '(']).take(2).collect::<Vec<_>>().join(" ");
        lines.iter().map(first).collect::<Vec<_>>().join(", ")
    };
    insta::assert_snapshot!(names(found.into_iter().map(|finding| finding.what).collect()), @r"
    this process, eBPF programs, no nft, no keepalived, no vrrpd, no veth, no bridge, no tcx, no macvlan, these labs
    ");
    insta::assert_snapshot!(names(skipped), @"
    no haproxy, no nginx, no etcd, no redis-server, no patroni, no clang-19, no netem, no fq, no ipvs, no vxlan, no ipip, no dummy, no vrf, bridge-nf-call-iptables is
    ");
}

#[test]
fn a_balancer_needs_its_engine_and_its_backend() {
    const SITE: &str = include_str!("../../../topologies/vs-nat.yaml");
    let needed = |told: &str| {
        // A scheduler that everybody has.
        let site = SITE
            .replace("scheduler: mh", "scheduler: sh")
            .replace("failover: {", "failover: { lease: false,");
        let text = site.replace("forward: nat", told);
        let topology = crate::topology::parse("site.yaml", &text).unwrap_or_else(|bad| panic!("{bad}"));
        needs(&[&topology]).into_iter().filter(|name| !["veth", "bridge", "nft"].contains(name)).collect()
    };
    let nothing: [&str; 0] = [];
    let all: Vec<(&str, Vec<&str>)> = vec![
        ("forward: nat", nothing.into()),
        ("forward: proxy", nothing.into()),
        ("backend: ebpf", vec!["tcx"]),
        ("forward: dr, force: true", vec!["tcx"]),
        ("engine: haproxy", vec!["haproxy"]),
        ("engine: nginx", vec!["nginx"]),
        ("engine: ipvs", vec!["ipvs", "keepalived"]),
        ("forward: tun, force: true", vec!["tcx"]),
    ];
    for (told, expected) in all {
        let found: Vec<&str> = needed(&told.replace(", ", "\n  "));
        assert_eq!(found, expected, "{told}");
    }
}
