//! What the machine sets limits to: programs, privileges, kernel features and tables, held against the labs that run on it.
//! What nobody here needs is said as skipped and is nothing wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Finding;
use super::words::list;
use crate::topology::{
    Backend, Balancer, BalancerEngine, Engine, Forward, Memory, Role, StoreEngine, Topology,
};

/// Entries of the kernel's neighbour table that one interface of a node comes to: it meets a handful of others, and the
/// table is one for all network namespaces.
const NEIGHBOURS_OF_INTERFACE: u64 = 4;

/// A machine as it was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Capabilities that labs need and this process does not have.
    pub missing_capabilities: Vec<String>,
    /// eBPF programs can be loaded in the initial user namespace only.
    pub initial_user_namespace: bool,
    /// Programs that labs may need, and whether they are installed.
    pub programs: BTreeMap<String, bool>,
    /// Kernel features that labs may need, and why one cannot be had; `None` if it can.
    pub features: BTreeMap<String, Option<String>>,
    /// Most entries of the neighbour table (`gc_thresh3`).
    pub neighbours_max: Option<u64>,
    /// Whether bridges hand what they forward to netfilter (`bridge-nf-call-iptables`).
    pub bridge_netfilter: Option<bool>,
}

/// What a program or a feature is for, and how it is had.
struct Need {
    name: &'static str,
    purpose: &'static str,
    next: &'static str,
}

const PROGRAMS: [Need; 9] = [
    Need { name: "nft", purpose: "the address translation of proxies", next: "`apt-get install nftables`" },
    Need {
        name: "keepalived",
        purpose: "`engine: keepalived`, and `engine: ipvs` of the balancer",
        next: "`apt-get install keepalived`",
    },
    Need { name: "vrrpd", purpose: "`engine: frr`", next: "`apt-get install frr`" },
    Need { name: "haproxy", purpose: "`engine: haproxy`", next: "`apt-get install haproxy`" },
    Need { name: "nginx", purpose: "`engine: nginx`", next: "`apt-get install nginx`" },
    Need { name: "etcd", purpose: "`engine: etcd`, and beside Patroni", next: "`labctl setup etcd`" },
    Need { name: "redis-server", purpose: "`engine: redis`", next: "`labctl setup redis`" },
    Need { name: "patroni", purpose: "`engine: postgres`", next: "`labctl setup postgres`" },
    Need {
        name: "clang-19",
        purpose: "building the eBPF objects anew, which a lab does not need",
        next: "`apt-get install clang-19 llvm-19 libbpf-dev`",
    },
];

const FEATURES: [Need; 11] = [
    Need { name: "veth", purpose: "every cable", next: "a kernel with CONFIG_VETH" },
    Need { name: "bridge", purpose: "every network", next: "a kernel with CONFIG_BRIDGE" },
    Need { name: "tcx", purpose: "the balancer and the lease", next: "Linux 6.6 or later, with eBPF" },
    Need { name: "macvlan", purpose: "`mac: virtual`", next: "a kernel with CONFIG_MACVLAN" },
    Need {
        name: "netem",
        purpose: "loss, delay and reordering on purpose",
        next: "a kernel with CONFIG_NET_SCH_NETEM",
    },
    Need { name: "fq", purpose: "BBR at full rate", next: "a kernel with CONFIG_NET_SCH_FQ" },
    Need { name: "ipvs", purpose: "IPVS in the place of the balancer", next: "a kernel with CONFIG_IP_VS" },
    Need { name: "vxlan", purpose: "networks over networks", next: "a kernel with CONFIG_VXLAN" },
    Need {
        name: "ipip",
        purpose: "forwarding by tunnel in the kernel's own way",
        next: "a kernel with CONFIG_NET_IPIP",
    },
    Need { name: "dummy", purpose: "addresses without a cable", next: "a kernel with CONFIG_DUMMY" },
    Need { name: "vrf", purpose: "several routing tables on one node", next: "a kernel with CONFIG_NET_VRF" },
];

/// The names of all programs that are looked for.
pub fn programs() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().map(|need| need.name)
}

/// The names of all features that are tried.
pub fn features() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|need| need.name)
}

/// What keeps these labs from working on this machine, and what the machine lacks that none of them needs.
pub fn judge(machine: &Machine, labs: &[&Topology]) -> (Vec<Finding>, Vec<String>) {
    let mut found = privileges(machine, labs);
    let mut skipped = Vec::new();
    let needed = needs(labs);
    for need in &PROGRAMS {
        if machine.programs.get(need.name) == Some(&false) {
            sort_in(need, "not installed", &needed, &mut found, &mut skipped);
        }
    }
    for need in &FEATURES {
        if let Some(Some(why)) = machine.features.get(need.name) {
            sort_in(need, why, &needed, &mut found, &mut skipped);
        }
    }
    found.extend(neighbours(machine, labs));
    if machine.bridge_netfilter == Some(true) {
        skipped.push(
            "bridge-nf-call-iptables is on: bridges of a lab are in a namespace without rules, so it only costs time"
                .to_owned(),
        );
    }
    (found, skipped)
}

fn sort_in(
    need: &Need,
    why: &str,
    needed: &BTreeSet<&str>,
    found: &mut Vec<Finding>,
    skipped: &mut Vec<String>,
) {
    let what = format!("no {} ({why}), which is for {}", need.name, need.purpose);
    if needed.contains(need.name) {
        found.push(Finding::new("machine", what, "this machine", need.next));
    } else {
        skipped.push(what);
    }
}

/// What the topologies of these labs cannot do without.
fn needs(labs: &[&Topology]) -> BTreeSet<&'static str> {
    let mut needed = BTreeSet::from(["veth", "bridge"]);
    for topology in labs {
        needed.extend(topology.balancer.iter().flat_map(needs_of_balancer));
        if topology.conversation.memory == Memory::Database {
            needed.extend(needs_of_store(topology.conversation.engine));
        }
        let Some(failover) = &topology.failover else { continue };
        if topology.nodes_of(Role::Proxy).next().is_some() {
            needed.insert("nft");
        }
        if failover.lease {
            needed.insert("tcx");
        }
        if failover.mac == crate::topology::MacMode::Virtual {
            needed.insert("macvlan");
        }
        for engine in failover.engines.values() {
            match engine {
                Engine::Labctl => {}
                Engine::Keepalived => drop(needed.insert("keepalived")),
                Engine::Frr => drop(needed.insert("vrrpd")),
            }
        }
    }
    needed
}

fn needs_of_store(engine: StoreEngine) -> &'static [&'static str] {
    match engine {
        StoreEngine::Embedded => &[],
        StoreEngine::Postgres => &["patroni", "etcd"],
        StoreEngine::Etcd => &["etcd"],
        StoreEngine::Redis => &["redis-server"],
    }
}

/// What forwards packets, or the program that does it in our place; and what takes them out of their tunnels.
fn needs_of_balancer(balancer: &Balancer) -> impl Iterator<Item = &'static str> {
    let director: &[_] = match (balancer.engine, balancer.backend) {
        // Our own takes whichever of its backends there is, and a proxy none.
        (BalancerEngine::Labctl, Backend::Auto) if balancer.needs_ebpf() => &["tcx"],
        (BalancerEngine::Labctl, Backend::Auto) => &[],
        (BalancerEngine::Labctl, Backend::Ebpf) => &["tcx"],
        (BalancerEngine::Labctl, Backend::Nft) | (BalancerEngine::Nft, _) => &["nft"],
        (BalancerEngine::Haproxy, _) => &["haproxy"],
        (BalancerEngine::Nginx, _) => &["nginx"],
        (BalancerEngine::Ipvs, _) => &["ipvs", "keepalived"],
    };
    let real: &[_] = if balancer.forward == Forward::Tun { &["tcx"] } else { &[] };
    director.iter().chain(real).copied()
}

fn privileges(machine: &Machine, labs: &[&Topology]) -> Vec<Finding> {
    let mut found = Vec::new();
    if !machine.missing_capabilities.is_empty() {
        found.push(Finding::new(
            "privilege",
            format!("this process does not have {}, which labs need", list(&machine.missing_capabilities)),
            "this process",
            "run labctl as root, or, for a topology without eBPF, in `unshare -Urnm labctl ...`",
        ));
    }
    let needs_ebpf = labs.is_empty() || needs(labs).contains("tcx");
    if !machine.initial_user_namespace && needs_ebpf {
        found.push(Finding::new(
            "privilege",
            "eBPF programs cannot be loaded in a user namespace: no balancer, and no lease".to_owned(),
            "this process",
            "run labctl as root of the machine, or leave `balancer:` out and say `lease: off`",
        ));
    }
    found
}

fn neighbours(machine: &Machine, labs: &[&Topology]) -> Option<Finding> {
    let most = machine.neighbours_max?;
    let interfaces: usize = labs.iter().flat_map(|lab| &lab.nodes).map(|node| node.interfaces.len()).sum();
    let needed = interfaces as u64 * NEIGHBOURS_OF_INTERFACE;
    (needed > most).then(|| {
        Finding::new(
            "neighbours",
            format!("these labs may need {needed} entries of the neighbour table, which has {most} for all of them"),
            "net.ipv4.neigh.default.gc_thresh3",
            format!("`sysctl net.ipv4.neigh.default.gc_thresh3={}`, or fewer labs at once", needed.next_power_of_two()),
        )
    })
}

#[cfg(test)]
mod tests;
