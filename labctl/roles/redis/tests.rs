//! What Redis and Sentinel are told.

use insta::assert_snapshot;

use super::*;

/// A node of the site of the repository in which Redis keeps the conversations.
fn place(me: &str) -> Place {
    let text = include_str!("../../../topologies/ha-redis.yaml");
    let topology = crate::topology::parse("ha-redis.yaml", text).unwrap();
    Place::of(&Site { topology, me: me.parse().unwrap(), disk: "/disk".into() }).unwrap()
}

#[test]
fn a_replica_follows_the_primary_and_keeps_its_log_on_the_disk() {
    let place = place("db2");
    assert_snapshot!(place.server(&place.seats[0]), @"
    # Written by labctl for db2.
    bind 10.10.2.32
    port 6379
    protected-mode no
    appendonly yes
    appendfsync everysec
    save \"\"
    maxmemory-policy noeviction
    repl-diskless-sync-delay 0
    repl-ping-replica-period 1
    repl-timeout 5
    shutdown-timeout 1
    dir /disk/redis
    maxmemory 268435456
    replicaof 10.10.2.31 6379
    ");
    assert!(!place.server(&place.seats[1]).contains("replicaof"), "nobody follows itself");
}

/// The control case stays what it is.
#[test]
fn nobody_waits_for_replicas() {
    let place = place("db1");
    assert!(!place.server(&place.seats[0]).contains("min-replicas"));
}

#[test]
fn a_majority_of_sentinels_must_agree() {
    let place = place("db3");
    assert_snapshot!(place.sentinel(&place.seats[0]), @"
    # Written by labctl for db3.
    bind 10.10.2.33
    port 26379
    protected-mode no
    dir /disk/redis
    sentinel monitor site 10.10.2.31 6379 2
    sentinel down-after-milliseconds site 500
    sentinel failover-timeout site 3000
    ");
}
