//! Two members of one election in good health: what tests of this room begin with.

use std::net::IpAddr;

use super::account::{Account, ComplaintAccount, PeerAccount, RouterAccount, TransitionAccount};
use super::{Testimony, Witness};
use crate::topology::{
    Conversation, Engine, Failover, Interface, Memory, Node, Role, StoreEngine, Topology, Vrid,
};

/// When the accounts were given.
pub(super) const NOW_NS: u64 = 1_000_000_000_000;

pub(super) const fn ms(ms: u64) -> u64 {
    ms * 1_000_000
}

pub(super) fn complaint(count: u64, before_ns: u64, last: &str) -> ComplaintAccount {
    ComplaintAccount { count, at_ns: NOW_NS - before_ns, last: last.to_owned() }
}

pub(super) fn witness(node: &str, testimony: Testimony) -> Witness {
    Witness { node: node.parse().unwrap(), engine: Engine::Labctl, testimony }
}

/// What proxy1, which is active, or proxy2, its backup, says.
pub(super) fn account(number: u8) -> Account {
    let is_active = number == 1;
    let own = |number: u8| IpAddr::from([10, 10, 1, 10 + number]);
    let addresses: Vec<IpAddr> = vec!["203.0.113.10".parse().unwrap(), "10.10.1.1".parse().unwrap()];
    let (state, because) = if is_active { ("active", "3 adverts missed") } else { ("backup", "it started") };
    let from = if is_active { "backup" } else { "initialize" };
    let peer = PeerAccount {
        at_ns: NOW_NS - ms(40),
        adverts: 1234,
        version: "3".into(),
        priority: 150,
        interval_ms: 100,
        addresses: addresses.clone(),
    };
    let router = RouterAccount {
        vrid: 51,
        family: "IPv4".into(),
        state: state.into(),
        history: vec![TransitionAccount {
            at_ns: NOW_NS - ms(3_200),
            from: from.into(),
            to: state.into(),
            because: because.into(),
        }],
        degraded: None,
        priority: if is_active { 150 } else { 100 },
        effective_priority: if is_active { 150 } else { 100 },
        interval_ms: 100,
        version: "3".into(),
        checksum: "message".into(),
        preempt: true,
        own: own(number),
        addresses,
        peers: if is_active { [].into() } else { [(own(1), peer)].into() },
        lease_until_ns: Some(if is_active { NOW_NS + ms(210) } else { 0 }),
    };
    Account {
        at_ns: NOW_NS,
        routers: vec![router],
        links: [("back".to_owned(), true), ("front".to_owned(), true)].into(),
        checks: vec![],
        complaints: [].into(),
        latest_wake_us: 90,
        longest_turn_us: 400,
        lacks: vec![],
    }
}

/// The site that they belong to, as far as this room looks at it: who has which address.
pub(super) fn topology() -> Topology {
    let node = |name: &str, role, address: &str| Node {
        name: name.parse().unwrap(),
        role,
        interfaces: vec![Interface {
            network: "back".parse().unwrap(),
            addresses: vec![address.parse().unwrap()],
            addresses6: vec![],
        }],
        gateway: None,
        gateway6: None,
        services: vec![],
        limits: Default::default(),
    };
    Topology {
        name: "ha".parse().unwrap(),
        networks: [("back".parse().unwrap(), "10.10.1.0/24".parse().unwrap())].into(),
        networks6: [].into(),
        nodes: vec![
            node("proxy1", Role::Proxy, "10.10.1.11"),
            node("proxy2", Role::Proxy, "10.10.1.12"),
            node("stranger", Role::Client, "10.10.1.66"),
        ],
        failover: Some(Failover::new(Vrid::try_from(51).unwrap(), "back".parse().unwrap())),
        balancer: None,
        conversation: Conversation {
            memory: Memory::None,
            engine: StoreEngine::default(),
            web_port: 8080,
            db_port: 5432,
            peers: None,
        },
    }
}
