//! What Patroni is told, and what is made of its answers.

use insta::assert_snapshot;

use super::*;

/// The site of the repository in which PostgreSQL keeps the conversations.
fn site() -> Site {
    let text = include_str!("../../../topologies/ha-postgres.yaml");
    let topology = crate::topology::parse("ha-postgres.yaml", text).unwrap();
    Site { topology, me: "db2".parse().unwrap(), disk: "/disk".into() }
}

#[test]
fn nothing_is_acknowledged_without_a_standby_and_only_the_data_network_is_trusted() {
    let site = site();
    let directory = Directory::of(&site.topology);
    let places = Places {
        disk: "/disk/postgres".into(),
        binaries: "/usr/lib/postgresql/15/bin".into(),
        schema: "/run/labctl/schema.sql".into(),
    };
    assert_snapshot!(configuration(&site, &directory, &directory.seats()[1], &places), @"");
}

fn seen(me: &str, members: &str) -> Answer {
    let cluster: Cluster = serde_json::from_str(&format!(r#"{{"members": [{members}]}}"#)).unwrap();
    cluster.seen_by(me)
}

/// As Patroni 3.0.2 says it, but for what is left out here.
const LEADER: &str = r#"{"name": "db1", "role": "leader", "state": "running", "timeline": 2, "port": 5432}"#;

#[test]
fn a_primary_is_ready_when_a_standby_keeps_what_it_keeps() {
    let standby = |role: &str| {
        format!(
            r#"{LEADER}, {{"name": "db2", "role": "{role}", "state": "running", "timeline": 2, "lag": 0}}"#
        )
    };
    let leader = Some((Some("db1".parse().unwrap()), 2));
    for me in ["db1", "db2"] {
        assert_eq!(seen(me, &standby("replica")), Answer { ready: false, leader: leader.clone() });
        assert_eq!(seen(me, &standby("sync_standby")), Answer { ready: true, leader: leader.clone() });
    }
    assert!(!seen("db3", &standby("sync_standby")).ready, "it is not there");
}

#[test]
fn without_a_claim_there_is_no_leader_and_before_the_first_one_nothing_to_say() {
    let standby = r#"{"name": "db2", "role": "replica", "state": "running", "timeline": 2}"#;
    assert_eq!(seen("db2", standby), Answer { ready: false, leader: Some((None, 2)) });
    let nobody_yet = r#"{"name": "db2", "role": "replica", "state": "stopped"}"#;
    assert_eq!(seen("db2", nobody_yet), Answer { ready: false, leader: None });
}
