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
    assert_snapshot!(configuration(&site, &directory, &directory.seats()[1], &places), @r#"
    # Written by labctl for db2.
    scope: ha-postgres
    name: db2
    restapi: { listen: "10.10.2.32:8008", connect_address: "10.10.2.32:8008" }
    etcd: { hosts: ["10.10.2.31:2379", "10.10.2.32:2379", "10.10.2.33:2379"] }
    bootstrap:
      dcs:
        ttl: 7
        loop_wait: 1
        retry_timeout: 3
        synchronous_mode: true
        synchronous_mode_strict: true
        synchronous_node_count: 1
        postgresql:
          use_pg_rewind: true
          use_slots: false
          parameters:
            synchronous_commit: "on"
            max_connections: "100"
            shared_buffers: "16MB"
            min_wal_size: "32MB"
            max_wal_size: "64MB"
            wal_keep_size: "64MB"
            wal_sender_timeout: "3s"
            wal_receiver_timeout: "3s"
            wal_retrieve_retry_interval: "250ms"
            tcp_keepalives_idle: "5"
            tcp_keepalives_interval: "2"
            tcp_keepalives_count: "3"
            tcp_user_timeout: "10s"
            idle_in_transaction_session_timeout: "2s"
            checkpoint_warning: "0"
            log_checkpoints: "off"
      initdb: [{ encoding: UTF8 }, { locale: C }, data-checksums]
      post_bootstrap: /usr/lib/postgresql/15/bin/psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --file=/run/labctl/schema.sql
    postgresql:
      listen: "10.10.2.32,127.0.0.1:5432"
      connect_address: "10.10.2.32:5432"
      data_dir: /disk/postgres/data
      bin_dir: /usr/lib/postgresql/15/bin
      pgpass: /run/labctl/postgres/pgpass
      use_unix_socket: true
      parameters: { unix_socket_directories: /run/labctl/postgres }
      basebackup: [{ checkpoint: fast }, no-slot]
      pg_hba:
        - local all all trust
        - local replication all trust
        - host all all 127.0.0.1/32 trust
        - host replication all 127.0.0.1/32 trust
        - host all all 10.10.2.0/24 trust
        - host replication all 10.10.2.0/24 trust
      authentication:
        superuser: { username: postgres }
        replication: { username: replicator }
    watchdog: { mode: "off" }
    "#);
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
