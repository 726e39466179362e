//! Tests of the whole way from text to topology. What a mistake looks like is in `tests/mistakes.rs`.

mod elections;
mod mistakes;
mod properties;

use std::path::{Path, PathBuf};

use super::*;
use crate::generated::assert_current;

/// Small, and with one of everything that a mistake can be made in.
const SITE: &str = "\
name: site
networks: { street: 198.51.100.0/24, front: 203.0.113.0/24, back: 10.10.1.0/24, data: 10.10.2.0/24 }
nodes:
  client: { role: client, on: { street: 198.51.100.10-29 } }
  remote: { role: remote, on: { street: 198.51.100.80 } }
  router: { role: router, on: { street: 198.51.100.1, front: 203.0.113.1 } }
  proxy1: { role: proxy, priority: 150, on: { front: none, back: 10.10.1.11 } }
  proxy2: { role: proxy, on: { front: none, back: 10.10.1.12 } }
  web1: { role: web, on: { back: 10.10.1.21, data: 10.10.2.21 } }
  web2: { role: web, on: { back: 10.10.1.22, data: 10.10.2.22 } }
  db1: { role: db, on: { data: 10.10.2.31 } }
failover: { network: back, vip: { front: 203.0.113.10, back: 10.10.1.1 } }
balancer: { services: { web: { port: 80 } } }
conversation: { memory: database }
";

/// [`SITE`] with IPv6 on `front` and `back`.
fn dual() -> String {
    SITE.replace("front: 203.0.113.0/24", "front: [203.0.113.0/24, 2001:db8:f::/64]")
        .replace("back: 10.10.1.0/24", "back: [10.10.1.0/24, fd00:10:1::/64]")
        .replace("front: 203.0.113.1 ", "front: [203.0.113.1, 2001:db8:f::1] ")
        .replace("back: 10.10.1.21", "back: [10.10.1.21, fd00:10:1::21]")
        .replace("front: 203.0.113.10,", "front: [203.0.113.10, 2001:db8:f::10],")
        .replace("back: 10.10.1.1 }", "back: [10.10.1.1, fd00:10:1::1] }")
}

/// [`SITE`] with one text put for another, which must be there.
fn changed(from: &str, to: &str) -> String {
    assert!(SITE.contains(from), "the site has no `{from}` to change");
    SITE.replacen(from, to, 1)
}

fn site_with(from: &str, to: &str) -> Topology {
    parse("site.yaml", &changed(from, to)).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn node<'t>(topology: &'t Topology, name: &str) -> &'t Node {
    topology.node(&name.parse().unwrap()).unwrap()
}

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// Every YAML file of a folder of the repository, by name.
fn yaml_files(folder: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_committed_topology_is_one() {
    let files = yaml_files("topologies");
    assert!(files.iter().any(|(name, _)| name == "ha.yaml"));
    for (name, text) in files {
        let topology = parse(&name, &text).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert_eq!(format!("{}.yaml", topology.name), name, "a topology is called like its file");
    }
}

#[test]
fn no_faulty_fixture_is_a_topology() {
    let files = yaml_files("fixtures/topologies");
    assert!(files.len() >= 5);
    for (name, text) in files {
        assert!(name.starts_with("bad-"), "{name}");
        // The first line of a fixture says which mistakes it is about.
        let (first, _) = text.split_once('\n').unwrap();
        let announced: Vec<&str> = first.trim_start_matches("# ").split(", ").collect();
        let invalid = parse(&name, &text).expect_err(&name);
        let found: Vec<&str> = invalid.problems.iter().map(|problem| problem.kind.code()).collect();
        assert_eq!(announced, found, "{name}\n{invalid}");
    }
}

#[test]
fn schema_is_current() {
    assert_current("topologies/schema.json", &schema());
}

#[test]
fn the_schema_knows_the_words_of_the_site() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let role = &schema["$defs"]["FileNode"]["properties"]["role"]["enum"];
    assert_eq!(role, &serde_json::json!(["client", "remote", "router", "proxy", "web", "db"]));
    assert_eq!(schema["$defs"]["FileNode"]["required"], serde_json::json!(["role", "on"]));
    assert_eq!(schema["$defs"]["FileNode"]["additionalProperties"], serde_json::json!(false));
}

#[test]
fn a_topology_survives_json() {
    for (name, text) in yaml_files("topologies") {
        let topology = parse(&name, &text).unwrap();
        let json = serde_json::to_string(&topology).unwrap();
        assert_eq!(serde_json::from_str::<Topology>(&json).unwrap(), topology, "{name}");
    }
}

#[test]
fn the_whole_site_with_its_defaults() {
    let topology = parse("site.yaml", SITE).unwrap();
    let lines: Vec<String> = topology
        .nodes
        .iter()
        .map(|node| {
            let gateway = node.gateway.map_or("none".to_owned(), |hop| hop.to_string());
            let service =
                |service: &Service| format!("{} {:?} {:?}", service.name, service.listen, service.restart);
            let services: Vec<String> = node.services.iter().map(service).collect();
            format!("{} via {gateway} runs [{}]", node.name, services.join(", "))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    client via 198.51.100.1 runs []
    remote via 198.51.100.1 runs [whoami [80] Always]
    router via none runs []
    proxy1 via 10.10.1.1 runs [vrrpd [] Always, balancer [] Always]
    proxy2 via 10.10.1.1 runs [vrrpd [] Always, balancer [] Always]
    web1 via 10.10.1.1 runs [web [8080] Always]
    web2 via 10.10.1.1 runs [web [8080] Always]
    db1 via none runs [db [7000] Always]
    ");
    insta::assert_snapshot!(serde_json::to_string_pretty(&topology.failover).unwrap(), @r#"
    {
      "vrid": 51,
      "network": "back",
      "advert_interval": {
        "secs": 1,
        "nanos": 0
      },
      "preempt": true,
      "preempt_delay": {
        "secs": 0,
        "nanos": 0
      },
      "addresses": [
        {
          "network": "front",
          "address": "203.0.113.10"
        },
        {
          "network": "back",
          "address": "10.10.1.1"
        }
      ],
      "addresses6": [],
      "holder_gateway": "203.0.113.1",
      "holder_gateway6": null,
      "priorities": {
        "proxy1": 150,
        "proxy2": 100
      },
      "more": [],
      "sync": false,
      "engines": {
        "proxy1": "labctl",
        "proxy2": "labctl"
      },
      "profile": "lab",
      "version": "3",
      "checksum": "message",
      "mac": "physical",
      "accept": true,
      "lease": true,
      "unicast": false,
      "checks": []
    }
    "#);
    insta::assert_snapshot!(serde_json::to_string_pretty(&topology.balancer).unwrap(), @r#"
    {
      "forward": "nat",
      "engine": "labctl",
      "backend": "auto",
      "sync": true,
      "services": [
        {
          "name": "web",
          "address": "203.0.113.10",
          "port": 80,
          "protocol": "tcp",
          "scheduler": "wrr",
          "reals": [
            {
              "node": "web1",
              "address": "10.10.1.21",
              "port": 8080,
              "weight": 1
            },
            {
              "node": "web2",
              "address": "10.10.1.22",
              "port": 8080,
              "weight": 1
            }
          ],
          "check": {
            "probe": "tcp",
            "interval": {
              "secs": 1,
              "nanos": 0
            },
            "timeout": {
              "secs": 0,
              "nanos": 500000000
            },
            "rise": 2,
            "fall": 2
          },
          "slow_start": {
            "secs": 0,
            "nanos": 0
          },
          "fail_open": true,
          "layer7": {
            "sticky": null,
            "rules": []
          }
        }
      ]
    }
    "#);
    insta::assert_snapshot!(serde_json::to_string(&topology.conversation).unwrap(), @r#"{"memory":"database","engine":"embedded","web_port":8080,"db_port":7000,"peers":null}"#);
}

#[test]
fn services_of_the_databases_follow_from_the_engine() {
    let runs = |engine: &str| {
        let more =
            "  db2: { role: db, on: { data: 10.10.2.32 } }\n  db3: { role: db, on: { data: 10.10.2.33 } }\n";
        let text = SITE
            .replace("memory: database", &format!("engine: {engine}"))
            .replace("failover:", &format!("{more}failover:"));
        let topology = parse("site.yaml", &text).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert_eq!(topology.conversation.memory, Memory::Database, "there are database nodes");
        let services = node(&topology, "db2").services.iter();
        let words: Vec<String> =
            services.map(|service| format!("{} {:?}", service.name, service.listen)).collect();
        words.join(", ")
    };
    assert_eq!(runs("embedded"), "db [7000]");
    assert_eq!(runs("etcd"), "etcd [2379, 2380]");
    assert_eq!(runs("redis"), "redis [6379], sentinel [26379]");
}

#[test]
fn a_range_is_all_its_addresses() {
    let topology = parse("site.yaml", SITE).unwrap();
    let addresses = &node(&topology, "client").interfaces[0].addresses;
    assert_eq!(addresses.len(), 20);
    assert_eq!(addresses.first().unwrap().to_string(), "198.51.100.10");
    assert_eq!(addresses.last().unwrap().to_string(), "198.51.100.29");
}

#[test]
fn a_node_changes_adds_and_leaves_out_services() {
    let services = "restart: never, services: { web: { restart: on-failure }, \
                    echo: { run: [/usr/bin/python3, -m, http.server, 9000], listen: [9000] } }";
    let topology = site_with("web1: { role: web", &format!("web1: {{ role: web, {services}"));
    let web1 = &node(&topology, "web1").services;
    assert_eq!(web1.len(), 2);
    assert_eq!((&web1[0].run, web1[0].restart), (&Run::Builtin(Builtin::Web), Restart::OnFailure));
    let argv = ["/usr/bin/python3", "-m", "http.server", "9000"].map(str::to_owned).to_vec();
    assert_eq!((&web1[1].run, web1[1].restart), (&Run::Command(argv), Restart::Never));
    assert_eq!(web1[1].listen, [9000]);

    let topology = site_with("web1: { role: web", "web1: { role: web, services: { web: off }");
    assert_eq!(node(&topology, "web1").services, []);
    assert_eq!(node(&topology, "web2").services.len(), 1);
}

#[test]
fn a_balancer_of_others_is_ready_when_it_accepts_connections() {
    let services = "services: { web: { port: 80 } } }";
    for (told, expected) in [
        ("", vec![]),
        ("engine: nft, ", vec![]),
        ("engine: haproxy, ", vec![80, 443]),
        ("engine: nginx, forward: nat, ", vec![80, 443]),
    ] {
        let more = "web: { port: 80 }, tls: { port: 443, real_port: 8443 }";
        let with = format!("{told}{}", services.replace("web: { port: 80 }", more));
        let topology = site_with(services, &with);
        let director = node(&topology, "proxy2").services.last().expect("a director");
        assert_eq!(director.listen, expected, "{told}");
    }
}

#[test]
fn a_machine_is_given_what_its_line_says() {
    let topology = site_with("web1: { role: web", "web1: { role: web, cpu: 0.5, memory: 64MiB, disk: 2 GB");
    let limits = node(&topology, "web1").limits;
    assert_eq!(limits.cpu_hundredths, Some(50));
    assert_eq!((limits.memory_bytes, limits.disk_bytes), (Some(64 << 20), Some(2_000_000_000)));
    assert_eq!(node(&topology, "web2").limits, Limits::default());
    for (text, hundredths) in [("2", 200), ("0.01", 1), ("1.5", 150), ("1024", 102_400)] {
        let topology = site_with("web1: { role: web", &format!("web1: {{ role: web, cpu: {text}"));
        assert_eq!(node(&topology, "web1").limits.cpu_hundredths, Some(hundredths));
    }
}

#[test]
fn a_web_that_shares_its_machine_runs_a_database() {
    let names = |topology: &Topology, of: &str| {
        node(topology, of)
            .services
            .iter()
            .map(|service| service.name.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let colocated = format!("{SITE}placement: colocated\n");
    let topology = parse("site.yaml", &colocated).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(["web1", "web2", "db1"].map(|of| names(&topology, of)), ["web db", "web db", "db"]);
    assert_eq!(node(&topology, "web1").services[1].listen, [7000]);
    let separate = parse("site.yaml", &format!("{SITE}placement: separate\n")).unwrap();
    assert_eq!(separate, parse("site.yaml", SITE).unwrap());
    // Then no node needs to be a database alone.
    let without = colocated.replace("  db1: { role: db, on: { data: 10.10.2.31 } }\n", "");
    let topology = parse("site.yaml", &without).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(topology.conversation.memory, Memory::Database);
}

#[test]
fn gateways_can_be_said_and_refused() {
    let topology = site_with("remote: { role: remote", "remote: { role: remote, gateway: none");
    assert_eq!(node(&topology, "remote").gateway, None);
    let topology = site_with("remote: { role: remote", "remote: { role: remote, gateway: 198.51.100.10");
    assert_eq!(node(&topology, "remote").gateway, Some("198.51.100.10".parse().unwrap()));
}

#[test]
fn without_failover_a_lone_proxy_serves_on_its_own_address() {
    let text = SITE
        .replace("front: none", "front: 203.0.113.11")
        .replace("  proxy2: { role: proxy, on: { front: 203.0.113.11, back: 10.10.1.12 } }\n", "")
        .replace("failover: { network: back, vip: { front: 203.0.113.10, back: 10.10.1.1 } }\n", "");
    let topology = parse("site.yaml", &text).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(topology.failover, None);
    assert_eq!(topology.balancer.as_ref().unwrap().services[0].address.to_string(), "203.0.113.11");
    assert_eq!(node(&topology, "proxy1").gateway.unwrap().to_string(), "203.0.113.1");
    assert_eq!(node(&topology, "web1").gateway.unwrap().to_string(), "10.10.1.11");
}

#[test]
fn real_servers_can_be_chosen_and_weighed() {
    let topology = site_with("port: 80", "port: 80, real: { web2: 3, web1: 0 }, real_port: 8081");
    let reals = &topology.balancer.as_ref().unwrap().services[0].reals;
    let reals: Vec<_> = reals.iter().map(|real| (real.node.as_str(), real.port, real.weight)).collect();
    assert_eq!(reals, [("web1", 8081, 0), ("web2", 8081, 3)]);
}

#[test]
fn aliases_and_merges_are_plain_yaml() {
    let text = changed("web1: { role: web, on:", "web1: { <<: &web { role: web, restart: never }, on:")
        .replace("web2: { role: web, on:", "web2: { <<: *web, on:");
    let topology = parse("site.yaml", &text).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(node(&topology, "web2").services[0].restart, Restart::Never);
}

#[test]
fn the_order_of_the_file_is_kept() {
    let topology = parse("site.yaml", SITE).unwrap();
    let names: Vec<&str> = topology.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["client", "remote", "router", "proxy1", "proxy2", "web1", "web2", "db1"]);
    let floating = topology.failover.unwrap().addresses;
    assert_eq!(floating[0].network.as_str(), "front");
}

#[test]
fn two_webs_remember_for_each_other_where_a_witness_hears_them() {
    let peers = |conversation: &str| site_with("{ memory: database }", conversation);
    let defaults = peers("{ memory: peer }");
    insta::assert_snapshot!(serde_json::to_string(&defaults.conversation.peers).unwrap(), @r#"{"webs":["web1","web2"],"network":"data","port":7100,"degrade":"witness","witness":"db1","witness_port":7101}"#);
    // The webs share `back`, too, which the witness is not on.
    let services = |topology: &Topology, name| {
        let of: Vec<_> =
            node(topology, name).services.iter().map(|it| (it.name.to_string(), it.listen.clone())).collect();
        format!("{of:?}")
    };
    insta::assert_snapshot!(services(&defaults, "web1"), @r#"[("web", [8080, 7100])]"#);
    insta::assert_snapshot!(services(&defaults, "db1"), @r#"[("db", [7000]), ("witness", [7101])]"#);

    let elsewhere = peers("{ memory: peer, witness: proxy1, peer_port: 71, witness_port: 72 }");
    insta::assert_snapshot!(serde_json::to_string(&elsewhere.conversation.peers).unwrap(), @r#"{"webs":["web1","web2"],"network":"back","port":71,"degrade":"witness","witness":"proxy1","witness_port":72}"#);
    insta::assert_snapshot!(services(&elsewhere, "proxy1"), @r#"[("vrrpd", []), ("balancer", []), ("witness", [72])]"#);
    let alone = peers("{ memory: peer, degrade: always }");
    insta::assert_snapshot!(serde_json::to_string(&alone.conversation.peers).unwrap(), @r#"{"webs":["web1","web2"],"network":"data","port":7100,"degrade":"always","witness":"web1","witness_port":7101}"#);
    assert_eq!(peers("{ memory: database }").conversation.peers, None);
}
