//! What each mistake looks like: place, code, the words pointed at, the sentence and the way out. Those of an
//! election and those of a balancer have rooms of their own.

mod balancers;
mod elections;
mod machines;
mod peers;

use insta::assert_snapshot;

use super::*;

/// All problems of a text, as short lines.
fn problems(text: &str) -> String {
    let invalid = parse("site.yaml", text).expect_err("the mistake is found");
    let mut lines = Vec::new();
    for problem in &invalid.problems {
        let pointed = &invalid.source[problem.span.clone()];
        lines.push(format!("{}:{} {} at `{pointed}`", problem.line, problem.column, problem.kind.code()));
        lines.push(format!("  {}", problem.kind));
        if let Some((span, what)) = &problem.also {
            lines.push(format!("  also `{}`: {what}", &invalid.source[span.clone()]));
        }
        if let Some(help) = &problem.help {
            lines.push(format!("  help: {help}"));
        }
    }
    lines.join("\n")
}

/// The problems of the site with one text put for another.
fn wrong(from: &str, to: &str) -> String {
    problems(&changed(from, to))
}

#[test]
fn every_kind_is_shown_here() {
    let parts = [
        include_str!("mistakes.rs"),
        include_str!("mistakes/balancers.rs"),
        include_str!("mistakes/elections.rs"),
        include_str!("mistakes/machines.rs"),
        include_str!("mistakes/peers.rs"),
    ];
    let shown = parts.concat();
    let missing: Vec<_> =
        ProblemKind::CODES.iter().filter(|code| !shown.contains(&format!("{code} at"))).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

#[test]
fn files() {
    let text = "#".repeat(FILE_BYTES_MAX + 1);
    assert_snapshot!(problems(&text), @"
    1:1 labctl::too_large at ``
      the file has more than 1048576 bytes
      help: generate a smaller site, or give the file that was meant
    ");
    assert_snapshot!(problems(""), @"
    1:1 labctl::wrong_type at ``
      expected keys and values, found nothing
      help: a topology has keys and values; known are: name, networks, nodes, failover, balancer, conversation, placement
    ");
    assert_snapshot!(problems("name: a\nname: [b\nnodes: {}\n"), @"
    3:6 labctl::syntax at `:`
      this is not one YAML document: illegal placement of ':' indicator
      help: indent with spaces, close every bracket and quote, and put a space after each colon
    ");
    assert_snapshot!(problems("name: a\nnetworks: {}\nnodes: {}\n---\nname: b\n"), @"
    5:1 labctl::syntax at `n`
      this is not one YAML document: a second document begins here
      help: a file holds one topology; remove the `---`
    ");
    assert_snapshot!(problems("name: é: b\n"), @"
    1:8 labctl::syntax at `:`
      this is not one YAML document: mapping values are not allowed in this context
      help: indent with spaces, close every bracket and quote, and put a space after each colon
    ");
    assert_snapshot!(wrong("  web2: {", "  web1: {"), @"
    10:3 labctl::duplicate_key at `web1`
      `web1` is given twice
      also `web1`: the first one
    ");
}

#[test]
fn keys() {
    assert_snapshot!(wrong("role: remote", "rôle: remote, colour: red"), @"
    5:13 labctl::unknown_key at `rôle`
      a node has no `rôle`
      help: did you mean `role`?
    5:27 labctl::unknown_key at `colour`
      a node has no `colour`
      help: known are: role, gateway, priority, engine, restart, cpu, memory, disk, services
    ");
    assert_snapshot!(wrong("role: remote, ", ""), @"
    5:3 labctl::missing_key at `remote`
      a node needs `role`
      help: add `role: ...`
    ");
    assert_snapshot!(wrong("failover: {", "fail-over: {"), @"
    12:1 labctl::unknown_key at `fail-over`
      a topology has no `fail-over`
      help: did you mean `failover`?
    ");
    assert_snapshot!(wrong("{ port: 80 }", "{}"), @"
    13:25 labctl::missing_key at `web`
      a virtual service needs `port`
      help: add `port: ...`
    ");
    assert_snapshot!(wrong("services: { web: { port: 80 } }", "services: web"), @"
    13:23 labctl::wrong_type at `web`
      expected keys and values, found `web`
      help: write it as { key: value }
    ");
    assert_snapshot!(wrong("{ role: db, on: { data: 10.10.2.31 } }", ""), @"
    11:3 labctl::wrong_type at `db1`
      expected keys and values, found nothing
      help: a node has keys and values; known are: role, on, gateway, priority, engine, restart, cpu, memory, disk, services
    ");
    assert_snapshot!(wrong("port: 80", "port: http"), @"
    13:38 labctl::wrong_type at `http`
      expected a port from 1 to 65535, found `http`
    ");
    assert_snapshot!(wrong("name: site", "name: [site]"), @"
    1:1 labctl::wrong_type at `name`
      expected a lab name, found a list
    ");
}

#[test]
fn names_and_words() {
    assert_snapshot!(wrong("  web1:", "  Web_1:"), @"
    9:3 labctl::bad_name at `Web_1`
      `Web_1` has 'W' in it; a node name is lower-case letters, digits and inner hyphens, and begins with a letter
      help: did you mean `web-1`?
    ");
    assert_snapshot!(wrong("  web1:", "  7:"), @"
    9:3 labctl::bad_name at `7`
      `7` has '7' in it; a node name is lower-case letters, digits and inner hyphens, and begins with a letter
    ");
    assert_snapshot!(wrong("name: site", "name: ''"), @"
    1:7 labctl::bad_name at `''`
      a lab name cannot be empty
    ");
    assert_snapshot!(changed_network("lo"), @"
    2:13 labctl::reserved_name at `lo`
      `lo` is taken: the kernel uses it in every namespace
    ");
    assert_snapshot!(wrong("role: web", "role: wep"), @"
    9:17 labctl::unknown_word at `wep`
      `wep` is not a role
      help: did you mean `web`?
    ");
    assert_snapshot!(wrong("port: 80", "port: 80, scheduler: dh"), @"
    13:53 labctl::unknown_word at `dh`
      `dh` is not a scheduler
      help: known are: rr, wrr, lc, wlc, sed, nq, sh, mh
    ");
    assert_snapshot!(wrong("balancer: {", "balancer: { forward: natt,"), @"
    13:22 labctl::unknown_word at `natt`
      `natt` is not a forwarding method
      help: did you mean `nat`?
    ");
    assert_snapshot!(wrong("memory: database", "memory: databse"), @"
    14:25 labctl::unknown_word at `databse`
      `databse` is not a kind of memory
      help: did you mean `database`?
    ");
}

/// The problems of a site whose networks have one more.
fn changed_network(name: &str) -> String {
    wrong("networks: {", &format!("networks: {{ {name}: 192.0.2.0/24,"))
}

#[test]
fn networks() {
    assert_snapshot!(wrong("10.10.2.0/24", "fd00::/64"), @"
    2:87 labctl::no_ipv4_prefix at `fd00::/64`
      network data has no IPv4 prefix, which every network needs
      help: give both: `data: [10.10.1.0/24, fd00::/64]`
    ");
    assert_snapshot!(wrong("10.10.2.31", "fd00::31"), @"
    9:3 labctl::web_off_database at `web1`
      web web1 shares no network with db1, where it is to keep its conversations
      also `db1`: the database
      help: give both an address on one network
    10:3 labctl::web_off_database at `web2`
      web web2 shares no network with db1, where it is to keep its conversations
      also `db1`: the database
      help: give both an address on one network
    11:32 labctl::no_ipv6_prefix at `fd00::31`
      fd00::31 is on network data, which has no IPv6 prefix
      help: give it one: `data: [IPv4 prefix, IPv6 prefix]`
    ");
    assert_snapshot!(wrong("10.10.2.0/24", "10.10.2.1/24"), @"
    2:87 labctl::host_bits at `10.10.2.1/24`
      10.10.2.1/24 is the prefix of a host, not of a network
      help: did you mean `10.10.2.0/24`?
    ");
    assert_snapshot!(wrong("networks: {", "networks: { home: 127.0.0.0/8,"), @"
    2:19 labctl::unusable_network at `127.0.0.0/8`
      127.0.0.0/8 cannot number machines
      help: take one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or a documentation prefix, /30 or wider
    ");
    assert_snapshot!(wrong("networks: {", "networks: { all-of-it: 10.0.0.0/8,"), @"
    2:90 labctl::overlapping_networks at `10.10.1.0/24`
      network back overlaps network all-of-it
      also `10.0.0.0/8`: network all-of-it
      help: give each network addresses of its own
    2:110 labctl::overlapping_networks at `10.10.2.0/24`
      network data overlaps network all-of-it
      also `10.0.0.0/8`: network all-of-it
      help: give each network addresses of its own
    ");
    assert_snapshot!(wrong("{ data: 10.10.2.31 }", "{ date: 10.10.2.31 }"), @"
    11:26 labctl::unknown_network at `date`
      there is no network `date`
      help: did you mean `data`?
    ");
    assert_snapshot!(wrong("network: back", "network: bakc"), @"
    12:22 labctl::unknown_network at `bakc`
      there is no network `bakc`
      help: did you mean `back`?
    ");
    assert_snapshot!(wrong("vip: { front:", "vip: { frnt:"), @"
    12:35 labctl::unknown_network at `frnt`
      there is no network `frnt`
      help: did you mean `front`?
    ");
}

#[test]
fn addresses() {
    assert_snapshot!(wrong("{ street: 198.51.100.80 }", "{}"), @"
    5:27 labctl::node_without_network at `on`
      node remote is on no network
      help: plug it in: `on: { NETWORK: ADDRESS }`
    ");
    assert_snapshot!(wrong("10-29", "29-10"), @"
    4:41 labctl::backward_range at `198.51.100.29-10`
      the range 198.51.100.29-10 ends before it begins
      help: did you mean `198.51.100.10-29`?
    ");
    assert_snapshot!(wrong("198.51.100.80", "198.51.101.80"), @"
    5:41 labctl::outside_network at `198.51.101.80`
      198.51.101.80 is not in network street (198.51.100.0/24)
      help: 198.51.100.2 is free
    ");
    assert_snapshot!(wrong("198.51.100.80", "198.51.100.0"), @"
    5:41 labctl::network_address at `198.51.100.0`
      198.51.100.0 is the address of network street itself
      help: 198.51.100.2 is free
    ");
    assert_snapshot!(wrong("198.51.100.10-29", "198.51.100.250-255"), @"
    4:41 labctl::broadcast_address at `198.51.100.250-255`
      198.51.100.255 is the broadcast address of network street
      help: 198.51.100.2 is free
    ");
    assert_snapshot!(wrong("198.51.100.80", "198.51.100.25-40"), @"
    5:41 labctl::duplicate_address at `198.51.100.25-40`
      198.51.100.25 already belongs to node client
      also `198.51.100.10-29`: node client has it here
      help: 198.51.100.2 is free
    ");
    assert_snapshot!(wrong("203.0.113.10", "203.0.113.1"), @"
    12:42 labctl::duplicate_address at `203.0.113.1`
      203.0.113.1 already belongs to node router
      also `203.0.113.1`: node router has it here
      help: 203.0.113.2 is free
    ");
}

#[test]
fn gateways() {
    assert_snapshot!(wrong("role: db", "role: db, gateway: 10.10.1.1"), @"
    11:29 labctl::gateway_off_link at `10.10.1.1`
      node db1 is on no network with its gateway 10.10.1.1
      help: leave `gateway` out to have the usual one
    ");
    assert_snapshot!(wrong("role: web", "role: web, gateway: 10.10.1.2"), @"
    9:31 labctl::gateway_unheld at `10.10.1.2`
      no node has the address 10.10.1.2 of this gateway
      help: the usual one is 10.10.1.1; leave `gateway` out to have it
    ");
    let circle = changed("web1: { role: web", "web1: { role: web, gateway: 10.10.1.22")
        .replace("web2: { role: web", "web2: { role: web, gateway: 10.10.1.21");
    assert_snapshot!(problems(&circle), @"
    9:31 labctl::gateway_cycle at `10.10.1.22`
      the default routes go round in a circle: web1 -> web2 -> web1
      help: one of them needs another gateway, or `gateway: none`
    9:31 labctl::answers_elsewhere at `10.10.1.22`
      web1, a real server of web, answers by 10.10.1.22, and only the director that a request came by can answer in nat
      also `web`: the virtual service
      help: give it a floating address of its network as `gateway`, take tun or dr, or see it fail with `force: true`
    10:31 labctl::answers_elsewhere at `10.10.1.21`
      web2, a real server of web, answers by 10.10.1.21, and only the director that a request came by can answer in nat
      also `web`: the virtual service
      help: give it a floating address of its network as `gateway`, take tun or dr, or see it fail with `force: true`
    ");
    assert_snapshot!(wrong("role: router", "role: router, gateway: 203.0.113.10"), @"
    6:36 labctl::gateway_cycle at `203.0.113.10`
      the default routes go round in a circle: router -> the active proxy -> router
      help: one of them needs another gateway, or `gateway: none`
    ");
}

/// The problems of the site with IPv6, with one text put for another.
fn wrong6(from: &str, to: &str) -> String {
    let site = dual();
    assert!(site.contains(from), "the site has no `{from}` to change");
    problems(&site.replacen(from, to, 1))
}

#[test]
fn two_families() {
    assert!(parse("site.yaml", &dual()).is_ok());
    assert_snapshot!(wrong6("back: [10.10.1.0/24, ", "back: [10.10.3.0/24, 10.10.1.0/24, "), @"
    2:101 labctl::twice_in_family at `10.10.1.0/24`
      the prefix for IPv4 is given twice
      help: a network has one IPv4 prefix, and beside it at most one of IPv6
    ");
    assert_snapshot!(wrong6("fd00:10:1::/64", "fe80::/64"), @"
    2:101 labctl::unusable_network at `fe80::/64`
      fe80::/64 cannot number machines
      help: take one of fd00::/8 or 2001:db8::/32, best a /64
    ");
    assert_snapshot!(wrong6("fd00:10:1::/64", "fd00:10:1::1/64"), @"
    2:101 labctl::host_bits at `fd00:10:1::1/64`
      fd00:10:1::1/64 is the prefix of a host, not of a network
      help: did you mean `fd00:10:1::/64`?
    ");
    assert_snapshot!(wrong6("fd00:10:1::/64", "2001:db8::/32"), @"
    2:101 labctl::overlapping_networks at `2001:db8::/32`
      network back overlaps network front
      also `2001:db8:f::/64`: network front
      help: give each network addresses of its own
    9:47 labctl::outside_network at `fd00:10:1::21`
      fd00:10:1::21 is not in network back (2001:db8::/32)
      help: 2001:db8::1 is free
    12:92 labctl::outside_network at `fd00:10:1::1`
      fd00:10:1::1 is not in network back (2001:db8::/32)
      help: 2001:db8::1 is free
    ");
    assert_snapshot!(wrong6("data: 10.10.2.31", "data: [10.10.2.31, fd00:10:2::31]"), @"
    11:45 labctl::no_ipv6_prefix at `fd00:10:2::31`
      fd00:10:2::31 is on network data, which has no IPv6 prefix
      help: give it one: `data: [IPv4 prefix, IPv6 prefix]`
    ");
    assert_snapshot!(wrong6("fd00:10:1::21", "fd00:10:2::21"), @"
    9:47 labctl::outside_network at `fd00:10:2::21`
      fd00:10:2::21 is not in network back (fd00:10:1::/64)
      help: fd00:10:1::2 is free
    ");
    assert_snapshot!(wrong6("fd00:10:1::21", "'fd00:10:1::'"), @"
    9:47 labctl::network_address at `'fd00:10:1::'`
      fd00:10:1:: is the address of network back itself
      help: fd00:10:1::2 is free
    ");
    assert_snapshot!(wrong6("fd00:10:1::21", "fd00:10:1::1"), @"
    12:92 labctl::duplicate_address at `fd00:10:1::1`
      fd00:10:1::1 already belongs to node web1
      also `fd00:10:1::1`: node web1 has it here
      help: fd00:10:1::2 is free
    ");
    assert_snapshot!(wrong6("fd00:10:1::21", "fe80::21"), @"
    9:47 labctl::outside_network at `fe80::21`
      fe80::21 is not in network back (fd00:10:1::/64)
      help: fd00:10:1::2 is free
    ");
    assert_snapshot!(wrong6("fd00:10:1::21", "fd00:10:1::21-23"), @"
    9:47 labctl::wrong_type at `fd00:10:1::21-23`
      expected an address, a range such as 10.10.1.10-29, or `none`, found `fd00:10:1::21-23`
    ");
    assert_snapshot!(wrong6("fd00:10:1::21", "none"), @"
    9:47 labctl::wrong_type at `none`
      expected an address, found `none`
      help: remove it: `none` stands alone
    ");
    assert_snapshot!(wrong6("role: web", "role: web, gateway: [10.10.1.1, fd00:10:2::1]"), @"
    9:43 labctl::gateway_off_link at `fd00:10:2::1`
      node web1 is on no network with its gateway fd00:10:2::1
      help: the usual one is fd00:10:1::1; leave `gateway` out to have it
    ");
    assert_snapshot!(wrong6("role: web", "role: web, gateway: [fd00:10:1::1, fd00:10:1::1]"), @"
    9:46 labctl::twice_in_family at `fd00:10:1::1`
      the gateway for IPv6 is given twice
      help: remove one of them
    ");
    assert_snapshot!(wrong6("role: web", "role: web, gateway: fd00:10:1::99"), @"
    9:31 labctl::gateway_unheld at `fd00:10:1::99`
      no node has the address fd00:10:1::99 of this gateway
      help: the usual one is fd00:10:1::1; leave `gateway` out to have it
    ");
    assert_snapshot!(wrong6("role: router", "role: router, gateway: 2001:db8:f::10"), @"
    6:36 labctl::gateway_cycle at `2001:db8:f::10`
      the default routes go round in a circle: router -> the active proxy -> router
      help: one of them needs another gateway, or `gateway: none`
    ");
    // A link-local address needs no prefix, and is another one on each network.
    let local = dual()
        .replace("2001:db8:f::10]", "2001:db8:f::10, fe80::10]")
        .replace("fd00:10:1::1]", "fd00:10:1::1, fe80::10]");
    assert!(parse("site.yaml", &local).is_ok());
    assert_snapshot!(wrong6("2001:db8:f::10]", "fe80::10, fe80::10]"), @"
    12:67 labctl::duplicate_address at `fe80::10`
      fe80::10 already belongs to failover (a floating address)
      also `fe80::10`: failover (a floating address) has it here
    ");
}

#[test]
fn conversations() {
    assert_snapshot!(wrong("role: db", "role: remote"), @"
    14:25 labctl::no_database at `database`
      conversations are to be kept in the database, and there is no node of role db
      help: add nodes of role db (three survive the loss of one), or `memory: none`
    ");
    assert_snapshot!(wrong(", data: 10.10.2.22", ""), @"
    10:3 labctl::web_off_database at `web2`
      web web2 shares no network with db1, where it is to keep its conversations
      also `db1`: the database
      help: give both an address on one network
    ");
    let kept = "memory: database";
    assert_snapshot!(wrong(kept, "memory: none, engine: etcd"), @"
    14:39 labctl::engine_without_database at `etcd`
      `engine: etcd` is a matter of `memory: database`, and the conversations are kept elsewhere
      also `none`: where they are kept
      help: remove it, or keep the conversations in nodes of role db: `memory: database`
    ");
    assert_snapshot!(wrong(kept, "memory: database, engine: redis, db_port: 7001"), @"
    14:43 labctl::too_few_databases at `redis`
      redis chooses its leader among 3 databases or more, and the site has 1
      help: add nodes of role db: three survive the loss of one, five that of two
    14:59 labctl::port_of_embedded at `7001`
      `db_port` is the port of the embedded database, and redis has its own
      also `redis`: the engine
      help: remove it
    ");
    assert_snapshot!(wrong(kept, "memory: database, engine: mongo"), @"
    14:43 labctl::unknown_word at `mongo`
      `mongo` is not a known database
      help: known are: embedded, postgres, etcd, redis
    ");
}

#[test]
fn services() {
    assert_snapshot!(wrong("role: web", "role: web, services: { echo: { run: [x], listen: [8080] } }"), @"
    9:34 labctl::duplicate_port at `echo`
      port 8080 is already listened on by service web of this node
      also `web1`: service web
      help: give one of them another port
    ");
    assert_snapshot!(wrong("role: web", "role: web, services: { wbe: off }"), @"
    9:34 labctl::unknown_service at `wbe`
      node web1 has no service `wbe` to leave out
      help: known are: web
    ");
    assert_snapshot!(wrong("role: web", "role: web, services: { echo: { listen: [9000] } }"), @r#"
    9:34 labctl::missing_key at `echo`
      service echo needs `run`
      help: add the program: `run: ["/usr/bin/python3", "server.py"]`
    "#);
    assert_snapshot!(wrong("role: web", "role: web, services: { echo: { run: [] } }"), @r#"
    9:42 labctl::wrong_type at `run`
      expected a program and its arguments, found nothing to run
      help: write it as ["/path/of/program", "argument"]
    "#);
    assert_snapshot!(wrong("role: web", "role: web, services: { echo: on }"), @"
    9:40 labctl::wrong_type at `on`
      expected keys and values, or `off`, found `on`
    ");
}

#[test]
fn a_refusal_reads_like_a_compiler() {
    let invalid = parse("site.yaml", &changed("203.0.113.10", "203.0.113.1")).unwrap_err();
    assert_snapshot!(invalid, @"
    site.yaml:12:42: 203.0.113.1 already belongs to node router
      see line 6: node router has it here
      help: 203.0.113.2 is free
    ");
}
