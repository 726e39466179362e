//! What each mistake looks like: place, code, the words pointed at, the sentence and the way out. Those of
//! the balancer have a room of their own.

mod balancers;

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
    let shown = [include_str!("mistakes.rs"), include_str!("mistakes/balancers.rs")].concat();
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
      help: a topology has keys and values; known are: name, networks, nodes, failover, balancer, conversation
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
      help: known are: role, gateway, priority, engine, restart, services
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
      help: a node has keys and values; known are: role, on, gateway, priority, engine, restart, services
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

#[test]
fn elections() {
    assert_snapshot!(wrong("failover: {", "failover: { vrid: 256,"), @"
    12:19 labctl::vrid at `256`
      256 is not a VRID; RFC 9568 section 5.2.3 allows 1 to 255
    ");
    assert_snapshot!(wrong("priority: 150", "priority: 256"), @"
    7:36 labctl::priority at `256`
      256 is not a priority; RFC 9568 section 5.2.4 allows 1 to 255, which is the owner's
    ");
    assert_snapshot!(wrong("role: web", "role: web, priority: 100"), @"
    9:32 labctl::priority_without_election at `100`
      node web1 is a web; only a proxy has a priority
      help: remove it, or make the node a proxy
    ");
    assert_snapshot!(wrong("failover: {", "failover: { advert: 15ms,"), @"
    12:21 labctl::advert_interval at `15ms`
      an advertisement interval is 10 ms to 40.95 s in steps of 10 ms, not 15ms
      help: the nearest is 20ms
    ");
    assert_snapshot!(wrong("failover: {", "failover: { advert: 1m,"), @"
    12:21 labctl::advert_interval at `1m`
      an advertisement interval is 10 ms to 40.95 s in steps of 10 ms, not 60s
      help: the nearest is 40.95s
    ");
    assert_snapshot!(wrong("failover: {", "failover: { advert: 100,"), @"
    12:21 labctl::wrong_type at `100`
      expected a duration such as 100ms, 1s or 2s 500ms, found `100`
      help: give the unit: `100s` or `100ms`
    ");
    assert_snapshot!(wrong("vip: { front: 203.0.113.10, back: 10.10.1.1 }", "vip: {}"), @"
    12:28 labctl::no_floating_address at `vip`
      failover has no floating address to move
      help: give at least one: `vip: { NETWORK: ADDRESS }`
    ");
    let nobody =
        SITE.replace("role: proxy, priority: 150", "role: remote").replace("role: proxy", "role: remote");
    assert_snapshot!(problems(&nobody), @"
    12:1 labctl::no_proxy at `failover`
      failover needs a node of role proxy, and there is none
      help: give a node `role: proxy`, or remove `failover`
    13:1 labctl::no_proxy at `balancer`
      the balancer needs a node of role proxy, and there is none
      help: give a node `role: proxy`, or remove `balancer`
    ");
    assert_snapshot!(wrong(", back: 10.10.1.12", ""), @"
    8:3 labctl::proxy_off_election at `proxy2`
      proxy proxy2 is not on network back, which carries the election
      also `back`: the network of the election
      help: give it an address: `back: ADDRESS` in its `on`
    ");
    assert_snapshot!(wrong("back: 10.10.1.12", "back: none"), @"
    8:3 labctl::proxy_without_election_address at `proxy2`
      proxy proxy2 has no address on network back, which carries the election
      also `back`: the network of the election
      help: give it an address: `back: ADDRESS` in its `on`
    ");
    assert_snapshot!(wrong("role: proxy, on: { front: none, ", "role: proxy, on: { "), @"
    8:3 labctl::proxy_off_floating at `proxy2`
      proxy proxy2 is not on network front, so it can never hold 203.0.113.10
      also `203.0.113.10`: the floating address
      help: add `front: none` to its `on`: up, and without an address until it holds the floating one
    ");
}

/// The problems of a site whose election is told one thing more.
fn told(what: &str) -> String {
    wrong("failover: {", &format!("failover: {{ {what},"))
}

#[test]
fn versions() {
    assert_snapshot!(told("version: 2, advert: 1500ms"), @"
    12:33 labctl::advert_seconds at `1500ms`
      VRRPv2 has an interval in whole seconds (RFC 3768 section 5.3.7), not 1.5s
      also `2`: the version
      help: the nearest is 2s; only `version: 3` has shorter ones
    ");
    assert_snapshot!(told("version: 2+3, advert: 100ms"), @"
    12:35 labctl::advert_seconds at `100ms`
      VRRPv2 has an interval in whole seconds (RFC 3768 section 5.3.7), not 100ms
      also `2+3`: the version
      help: the nearest is 1s; only `version: 3` has shorter ones
    ");
    assert_snapshot!(told("version: 2, advert: 15ms"), @"
    12:33 labctl::advert_interval at `15ms`
      an advertisement interval is 10 ms to 40.95 s in steps of 10 ms, not 15ms
      also `2`: the version
      help: the nearest is 20ms
    ");
    assert_snapshot!(told("version: 4"), @"
    12:22 labctl::unknown_word at `4`
      `4` is not a version of VRRP
      help: known are: 2, 3, 2+3
    ");
    assert_snapshot!(told("version: 2, checksum: pseudo-header"), @"
    12:35 labctl::checksum_with_v2 at `pseudo-header`
      a checksum over a pseudo-header is a matter of VRRPv3, and the version is 2
      help: leave `checksum` out, or take `version: 3`
    ");
    let both = dual().replace("failover: {", "failover: { version: 2,");
    assert_snapshot!(problems(&both), @"
    12:69 labctl::ipv6_with_v2 at `2001:db8:f::10`
      2001:db8:f::10 is IPv6, which VRRPv2 does not have
      help: take `version: 3`, or `2+3` for IPv4 in both and IPv6 in version 3
    12:104 labctl::ipv6_with_v2 at `fd00:10:1::1`
      fd00:10:1::1 is IPv6, which VRRPv2 does not have
      help: take `version: 3`, or `2+3` for IPv4 in both and IPv6 in version 3
    ");
}

#[test]
fn settings_of_an_election() {
    assert_snapshot!(told("accept: false"), @"
    12:21 labctl::not_accepted at `false`
      203.0.113.10 is not to accept anything, and virtual service web is on it
      also `web`: the virtual service
      help: remove it: `accept` is true unless the file says otherwise
    ");
    let alone = changed("  proxy2: { role: proxy, on: { front: none, back: 10.10.1.12 } }\n", "")
        .replace("failover: {", "failover: { unicast: true,");
    assert_snapshot!(problems(&alone), @"
    11:22 labctl::unicast_alone at `true`
      unicast needs two proxies or more
      help: add a node of role proxy, or remove `unicast`
    ");
    let both = dual().replace("failover: {", "failover: { unicast: true,");
    assert_snapshot!(problems(&both), @"
    12:22 labctl::unicast_with_ipv6 at `true`
      unicast is for IPv4 only, and 2001:db8:f::10 is IPv6: adverts would go to link-local addresses, which no file has
      also `2001:db8:f::10`: the first such address
      help: remove `unicast`, or let IPv4 addresses float only
    ");
    assert_snapshot!(told("preempt_delay: 5"), @"
    12:28 labctl::wrong_type at `5`
      expected a duration such as 100ms, 1s or 2s 500ms, found `5`
      help: give the unit: `5s` or `5ms`
    ");
    assert_snapshot!(told("mac: burnt-in"), @"
    12:18 labctl::unknown_word at `burnt-in`
      `burnt-in` is not a hardware address
      help: known are: physical, virtual
    ");
    assert_snapshot!(told("profile: rfc9586"), @"
    12:22 labctl::unknown_word at `rfc9586`
      `rfc9586` is not a profile
      help: did you mean `rfc9568`?
    ");
    let vips: Vec<String> = (100..=120).map(|host| format!("203.0.113.{host}")).collect();
    assert_snapshot!(wrong("front: 203.0.113.10,", &format!("front: [{}],", vips.join(", "))), @"
    12:343 labctl::too_many_addresses at `203.0.113.120`
      22 floating IPv4 addresses are more than the 20 that one virtual router can have
      help: give some of them to a virtual router of `more`
    ");
    assert_snapshot!(wrong("front: 203.0.113.10,", "front: [203.0.113.10, 203.0.113.10],"), @"
    12:57 labctl::duplicate_address at `203.0.113.10`
      203.0.113.10 already belongs to failover (a floating address)
      also `203.0.113.10`: failover (a floating address) has it here
      help: 203.0.113.2 is free
    ");
    assert_snapshot!(wrong("front: 203.0.113.10,", "front: [],"), @"
    12:35 labctl::wrong_type at `front`
      expected an address such as 203.0.113.10 or 2001:db8:f::10, found an empty list
    ");
}

#[test]
fn further_virtual_routers() {
    assert_snapshot!(told("more: { second: { vrid: 51, vip: { front: 203.0.113.11 } } }"), @"
    12:37 labctl::duplicate_vrid at `51`
      VRID 51 already belongs to failover
      also `failover`: failover
      help: give each virtual router a VRID of its own
    ");
    assert_snapshot!(told("vrid: 9, more: { second: { vrid: 9, vip: { front: 203.0.113.11 } } }"), @"
    12:46 labctl::duplicate_vrid at `9`
      VRID 9 already belongs to failover
      also `9`: failover
      help: give each virtual router a VRID of its own
    ");
    assert_snapshot!(told("more: { second: { vrid: 52, vip: { front: 203.0.113.10 } } }"), @"
    12:55 labctl::duplicate_address at `203.0.113.10`
      203.0.113.10 already belongs to failover (a floating address)
      also `203.0.113.10`: failover (a floating address) has it here
      help: 203.0.113.2 is free
    ");
    assert_snapshot!(told("more: { second: { vrid: 52, vip: { data: 10.10.2.1 } } }"), @"
    7:3 labctl::proxy_off_floating at `proxy1`
      proxy proxy1 is not on network data, so it can never hold 10.10.2.1
      also `10.10.2.1`: the floating address
      help: add `data: none` to its `on`: up, and without an address until it holds the floating one
    8:3 labctl::proxy_off_floating at `proxy2`
      proxy proxy2 is not on network data, so it can never hold 10.10.2.1
      also `10.10.2.1`: the floating address
      help: add `data: none` to its `on`: up, and without an address until it holds the floating one
    ");
    assert_snapshot!(told("more: { second: { vrid: 52, vip: {} } }"), @"
    12:41 labctl::no_floating_address at `vip`
      virtual router second has no floating address to move
      help: give at least one: `vip: { NETWORK: ADDRESS }`
    ");
    assert_snapshot!(told("more: { second: { vip: { front: 203.0.113.11 } } }"), @"
    12:21 labctl::missing_key at `second`
      a virtual router needs `vrid`
      help: add `vrid: ...`
    ");
    let priority = |of: &str| {
        format!("more: {{ second: {{ vrid: 52, vip: {{ front: 203.0.113.11 }}, priority: {{ {of} }} }} }}")
    };
    assert_snapshot!(told(&priority("proxy3: 100")), @"
    12:83 labctl::unknown_node at `proxy3`
      there is no node `proxy3`
      help: did you mean `proxy2`?
    ");
    assert_snapshot!(told(&priority("web1: 100")), @"
    12:83 labctl::priority_without_election at `web1`
      node web1 is a web; only a proxy has a priority
      help: remove it, or make the node a proxy
    ");
    assert_snapshot!(told(&priority("proxy1: 0")), @"
    12:91 labctl::priority at `0`
      0 is not a priority; RFC 9568 section 5.2.4 allows 1 to 255, which is the owner's
    ");
}

#[test]
fn tracked_checks() {
    assert_snapshot!(told("checks: { uplink: { weight: 60 } }"), @r#"
    12:23 labctl::check_without_program at `uplink`
      check uplink has no program to run; only `balancer` needs none
      help: add the program: `run: ["/usr/bin/ping", "-c1", ADDRESS]`
    "#);
    assert_snapshot!(told("checks: { uplink: { run: [] } }"), @r#"
    12:33 labctl::wrong_type at `run`
      expected a program and its arguments, found nothing to run
      help: write it as ["/path/of/program", "argument"]
    "#);
    assert_snapshot!(told("checks: { balancer: { weight: 0 } }"), @"
    12:43 labctl::wrong_type at `0`
      expected a weight from 1 to 254, found `0`
    ");
    assert_snapshot!(told("checks: { balancer: { interval: 100ms, timeout: 1s } }"), @"
    12:61 labctl::slow_check at `1s`
      a check with timeout 1s does not end before the next one, 100ms later
      also `100ms`: the interval
      help: at most 100ms, or a longer interval
    ");
    let unbalanced = changed("balancer: { services: { web: { port: 80 } } }\n", "")
        .replace("failover: {", "failover: { checks: { balancer: {} },");
    assert_snapshot!(problems(&unbalanced), @"
    12:23 labctl::check_without_balancer at `balancer`
      check balancer asks the proxy's own balancer, and the file has none
      help: add `balancer`, or remove the check
    ");
}

#[test]
fn engines() {
    assert_snapshot!(told("engine: quagga"), @"
    12:21 labctl::unknown_word at `quagga`
      `quagga` is not a known engine
      help: known are: labctl, keepalived, frr
    ");
    assert_snapshot!(wrong("role: web", "role: web, engine: keepalived"), @"
    9:30 labctl::engine_without_election at `keepalived`
      node web1 takes part in no election, so no engine runs on it
      help: remove it; only a proxy in a file with `failover` has an engine
    ");
    assert_snapshot!(told("engine: keepalived, version: 2+3, advert: 1s, lease: true"), @"
    12:42 labctl::engine_cannot at `2+3`
      version 2+3 is not for keepalived, the engine of proxy1: it speaks one version
      help: choose 2 or 3, or our own engine
    12:66 labctl::engine_cannot at `true`
      a lease is not for keepalived, the engine of proxy1: only our own daemon renews one
      help: remove it, or give a proxy `engine: labctl`
    ");
    let deaf = changed("priority: 150", "engine: keepalived")
        .replace("failover: {", "failover: { checksum: message,");
    assert_snapshot!(problems(&deaf), @"
    12:23 labctl::engine_cannot at `message`
      checksum: message is not for keepalived, the engine of proxy1: its checksums cover a pseudo-header too, and who differs is not heard
      help: remove it: beside this engine, `pseudo-header` is the default
    ");
    // One proxy of ours renews its own lease.
    let mixed =
        changed("priority: 150", "engine: keepalived").replace("failover: {", "failover: { lease: true,");
    assert!(parse("site.yaml", &mixed).is_ok());
    let front = "failover: { network: front, vip: { front: 203.0.113.10 }, engine: frr";
    let frr = SITE
        .replace("front: none, back: 10.10.1.1", "front: 203.0.113.1, back: 10.10.1.1")
        .replace("203.0.113.1, back: 10.10.1.11", "203.0.113.11, back: 10.10.1.11")
        .replace("203.0.113.1, back: 10.10.1.12", "203.0.113.12, back: 10.10.1.12")
        .replace("balancer: {", "balancer: { force: true,")
        .replace("failover: { network: back, vip: { front: 203.0.113.10, back: 10.10.1.1 }", front);
    assert!(parse("site.yaml", &frr).is_ok());
    let all = "engine: frr, version: 2+3, lease: true, unicast: true, accept: false, sync: true, preempt_delay: 1s, \
               mac: physical, checks: { balancer: {} }";
    assert_snapshot!(problems(&frr.replace("engine: frr", all)), @"
    12:81 labctl::engine_cannot at `2+3`
      version 2+3 is not for frr, the engine of proxy1: it speaks one version
      help: choose 2 or 3, or our own engine
    12:93 labctl::engine_cannot at `true`
      a lease is not for frr, the engine of proxy1: only our own daemon renews one
      help: remove it, or give a proxy `engine: labctl`
    12:108 labctl::engine_cannot at `true`
      unicast is not for frr, the engine of proxy1: it advertises to the group
      help: remove it, or take another engine
    12:122 labctl::engine_cannot at `false`
      accept: false is not for frr, the engine of proxy1: it always accepts
      help: remove it, or take another engine
    12:122 labctl::not_accepted at `false`
      203.0.113.10 is not to accept anything, and virtual service web is on it
      also `web`: the virtual service
      help: remove it: `accept` is true unless the file says otherwise
    12:135 labctl::engine_cannot at `true`
      sync is not for frr, the engine of proxy1: its virtual routers go each their own way
      help: remove it, or take another engine
    12:156 labctl::engine_cannot at `1s`
      a delay is not for frr, the engine of proxy1: it preempts at once or never
      help: remove it, or take another engine
    12:165 labctl::engine_cannot at `physical`
      mac: physical is not for frr, the engine of proxy1: it answers with the virtual one
      help: remove it, or take another engine
    12:175 labctl::engine_cannot at `checks`
      a check is not for frr, the engine of proxy1: it watches links only
      help: remove it, or take another engine
    ");
    assert_snapshot!(wrong("priority: 150", "engine: frr"), @"
    12:42 labctl::engine_cannot at `203.0.113.10`
      an address on another network than the election's is not for frr, the engine of proxy1: it holds addresses only where it advertises
      help: elect it on its own network (`network`), or take another engine
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
