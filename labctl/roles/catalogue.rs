//! Every program that can be put in the place of one of ours, and ours: what each promises, what is lost when, and where it
//! comes from. It starts nothing.

use super::{etcd, frr, haproxy, ipvs, keepalived, nginx, patroni, redis, web};
use crate::kernel::process::find_program;
use crate::topology::{BalancerEngine, Engine, Forward, StoreEngine};

/// The balancers, in the order of their words in a topology.
const BALANCERS: [BalancerEngine; 5] = [
    BalancerEngine::Labctl,
    BalancerEngine::Haproxy,
    BalancerEngine::Nginx,
    BalancerEngine::Nft,
    BalancerEngine::Ipvs,
];

/// What an engine is for: the section of a topology that has its `engine:` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Who holds the floating addresses.
    Failover,
    /// Who gets a connection.
    Balancer,
    /// Who remembers the conversations.
    Conversation,
}

/// One engine.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where it can be put.
    pub section: Section,
    /// Its word there.
    pub word: &'static str,
    /// What it keeps, as long as it works.
    pub promises: &'static str,
    /// What happens when the one that works is gone.
    pub fails_over: &'static str,
    /// What is lost, and when.
    pub loses: &'static str,
    /// Debian packages; none if it is part of this program.
    pub packages: &'static [&'static str],
    /// The first of its programs that is not here, and the package of that.
    pub missing: fn() -> Option<(&'static str, &'static str)>,
    /// The program that knows its version, and how it is asked.
    pub version: Option<(&'static str, &'static str)>,
    /// Whether this build can speak to it.
    pub built: bool,
}

/// All of them.
pub fn all() -> Vec<Entry> {
    let failover = Engine::ALL.map(failover);
    let balancers = BALANCERS.map(balancer);
    failover.into_iter().chain(balancers).chain(StoreEngine::ALL.map(store)).collect()
}

/// The engine that needs this package, and as little else as possible.
pub fn of_package(package: &str) -> Option<&'static str> {
    let with = all().into_iter().filter(|entry| entry.packages.contains(&package));
    with.min_by_key(|entry| entry.packages.len()).map(|entry| entry.word)
}

fn nothing() -> Option<(&'static str, &'static str)> {
    None
}

fn nft() -> Option<(&'static str, &'static str)> {
    find_program("nft").is_none().then_some(("nft", "nftables"))
}

/// Either mode of nginx.
fn nginx_parts() -> Option<(&'static str, &'static str)> {
    nginx::missing(Forward::Nat)
}

fn failover(engine: Engine) -> Entry {
    let entry = Entry {
        section: Section::Failover,
        word: engine.word(),
        promises: "VRRP as the RFC has it",
        fails_over: "after three adverts and a skew of silence",
        loses: "what was sent during the silence; while two nodes answer, whatever the wrong one gets",
        packages: &[],
        missing: nothing,
        version: None,
        built: true,
    };
    match engine {
        Engine::Labctl => Entry {
            promises: "one node at most answers for the address: a lease in the kernel, and two silences before taking",
            fails_over: "after three adverts and a skew of silence; with no gap when it is stopped",
            loses: "what was sent during the silence",
            ..entry
        },
        Engine::Keepalived => Entry {
            promises: "VRRP as the RFC has it; killed, hung or cut off from its peer, two nodes answer",
            packages: &["keepalived"],
            missing: keepalived::missing,
            version: Some(("keepalived", "--version")),
            ..entry
        },
        Engine::Frr => Entry {
            promises: "VRRP with virtual MACs, on the election's own network; killed, hung or cut off, two nodes answer",
            packages: &["frr"],
            missing: frr::missing,
            version: Some((frr::PROGRAM, "--version")),
            ..entry
        },
    }
}

fn balancer(engine: BalancerEngine) -> Entry {
    let entry = Entry {
        section: Section::Balancer,
        word: engine.word(),
        promises: "",
        fails_over: "with the floating address",
        loses: "every connection through the director that is gone",
        packages: &[],
        missing: nothing,
        version: None,
        built: true,
    };
    match engine {
        BalancerEngine::Labctl => Entry {
            promises: "nat, tun, dr and proxy; health checks; directors tell each other of their connections",
            loses: "in nat, tun and dr no connection; in proxy every connection through the director that is gone",
            ..entry
        },
        BalancerEngine::Haproxy => Entry {
            promises: "nat (as TCP) and proxy; health checks; retries where that does no harm",
            packages: &["haproxy"],
            missing: haproxy::missing,
            version: Some(("haproxy", "-v")),
            ..entry
        },
        BalancerEngine::Nginx => Entry {
            promises: "nat (as TCP) and proxy; no health checks: it learns from requests that fail",
            packages: &["nginx-light", "libnginx-mod-stream"],
            missing: nginx_parts,
            version: Some(("nginx", "-v")),
            ..entry
        },
        BalancerEngine::Nft => Entry {
            promises: "nat by connection tracking, whose table each director has for itself",
            packages: &["nftables"],
            missing: nft,
            version: Some(("nft", "--version")),
            ..entry
        },
        BalancerEngine::Ipvs => Entry {
            promises: "nat, tun and dr by the kernel's IPVS, which keepalived looks after",
            packages: &["keepalived"],
            missing: ipvs::missing,
            version: Some(("keepalived", "--version")),
            ..entry
        },
    }
}

fn store(engine: StoreEngine) -> Entry {
    let entry = Entry {
        section: Section::Conversation,
        word: engine.word(),
        promises: "a turn is acknowledged when a majority has flushed it; reads have all that was acknowledged",
        fails_over: "a majority elects another leader; without one, nothing is taken",
        loses: "nothing that was acknowledged, while a majority keeps its disks",
        packages: &[],
        missing: nothing,
        version: None,
        built: web::built(engine),
    };
    match engine {
        StoreEngine::Embedded => entry,
        StoreEngine::Etcd => Entry {
            packages: &["etcd-server"],
            missing: etcd::missing,
            version: Some(("etcd", "--version")),
            ..entry
        },
        StoreEngine::Postgres => Entry {
            promises: "a turn is acknowledged when a standby has flushed it, too (synchronous_mode_strict)",
            fails_over: "Patroni promotes that standby when the leader's key in etcd has run out",
            loses: "nothing that was acknowledged, while the primary or that standby keeps its disk",
            packages: &["postgresql", "patroni", "etcd-server"],
            missing: patroni::missing,
            version: Some((patroni::POSTGRES, "--version")),
            ..entry
        },
        StoreEngine::Redis => Entry {
            promises: "a turn is acknowledged when the primary has it; replicas hear of it later",
            fails_over: "a majority of Sentinels promotes a replica; a primary that is cut off does not notice",
            loses: "all that a primary acknowledged while it was cut off, and the last turns of one that dies with \
                    its machine: the control case, which must fail a partition drill",
            packages: &["redis-server", "redis-sentinel"],
            missing: redis::missing,
            version: Some(("redis-server", "--version")),
            ..entry
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_can_be_missing_is_installed_by_one_of_its_packages() {
        for entry in all() {
            if let Some((program, package)) = (entry.missing)() {
                assert!(entry.packages.contains(&package), "{program} of {}", entry.word);
            }
            assert_eq!(entry.packages.is_empty(), entry.version.is_none(), "{}", entry.word);
        }
    }

    #[test]
    fn a_package_leads_back_to_its_engine() {
        assert_eq!(of_package("etcd-server"), Some("etcd"), "not the one that needs more");
        assert_eq!(of_package("keepalived"), Some("keepalived"));
        assert_eq!(of_package("sl"), None);
    }
}
