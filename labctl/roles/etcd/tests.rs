//! What etcd is told.

use insta::assert_snapshot;

use super::*;

/// The site of the repository in which etcd keeps the conversations.
fn site() -> Site {
    let text = include_str!("../../../topologies/ha-etcd.yaml");
    let topology = crate::topology::parse("ha-etcd.yaml", text).unwrap();
    Site { topology, me: "db2".parse().unwrap(), disk: "/disk".into() }
}

#[test]
fn it_listens_on_the_data_network_and_keeps_its_data_on_the_disk() {
    let site = site();
    let directory = Directory::of(&site.topology);
    let args =
        arguments(&site, directory.seats(), &directory.seats()[1], Path::new("/disk/etcd"), Beginning::New);
    assert_snapshot!(args.join("\n"), @"
    --name=db2
    --data-dir=/disk/etcd
    --listen-peer-urls=http://10.10.2.32:2380
    --initial-advertise-peer-urls=http://10.10.2.32:2380
    --listen-client-urls=http://10.10.2.32:2379
    --advertise-client-urls=http://10.10.2.32:2379
    --initial-cluster=db1=http://10.10.2.31:2380,db2=http://10.10.2.32:2380,db3=http://10.10.2.33:2380
    --initial-cluster-state=new
    --initial-cluster-token=ha-etcd
    --heartbeat-interval=50
    --election-timeout=500
    --pre-vote=true
    --quota-backend-bytes=268435456
    --auto-compaction-mode=revision
    --auto-compaction-retention=10000
    --max-wals=1
    --max-snapshots=1
    --logger=zap
    --log-outputs=stderr
    --log-level=error
    ");
}
