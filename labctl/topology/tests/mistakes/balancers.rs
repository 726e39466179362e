//! What each mistake in a balancer looks like: virtual services, who is behind them, the forwarding method, the engine, and what
//! is looked at in requests.

use super::*;

#[test]
fn virtual_services() {
    let own = changed("failover: { network: back, vip: { front: 203.0.113.10, back: 10.10.1.1 } }\n", "");
    assert_snapshot!(problems(&own), @"
    12:25 labctl::no_entrance at `web`
      virtual service web needs `address`: there is neither a floating address nor a proxy with its own
      help: add `failover` with a `vip`, or `address: ADDRESS` of a proxy
    ");
    assert_snapshot!(problems(&own.replace("port: 80", "port: 80, address: 203.0.113.10")), @"
    12:51 labctl::not_on_proxy at `203.0.113.10`
      no proxy has the address 203.0.113.10
    ");
    assert_snapshot!(wrong("port: 80", "port: 80, address: 203.0.113.9"), @"
    13:51 labctl::not_floating at `203.0.113.9`
      203.0.113.9 is not a floating address, so the service would not survive a failover
      help: the usual one is 203.0.113.10; leave `address` out to have it
    ");
    assert_snapshot!(wrong("{ port: 80 }", "{ port: 80 }, api: { port: 80, real_port: 9000 }"), @"
    13:57 labctl::shared_entrance at `80`
      203.0.113.10:80 already belongs to virtual service web
      also `web`: virtual service web
      help: give one of them another port
    ");
    assert_snapshot!(wrong("{ port: 80 }", "{ port: 80 }, api: { port: 81 }"), @"
    13:44 labctl::shared_real at `api`
      web1 port 8080 already serves virtual service web
      also `web`: virtual service web
      help: give one of them another `real_port`: stateless NAT tells answers apart by it
    ");
    assert_snapshot!(wrong("port: 80", "port: 80, real: {}"), @"
    13:25 labctl::no_real_server at `web`
      virtual service web has no real server
      help: give a node `role: web`, or name the nodes: `real: { NODE: WEIGHT }`
    ");
    assert_snapshot!(wrong("port: 80", "port: 80, real: { wbe1: 1 }"), @"
    13:50 labctl::unknown_node at `wbe1`
      there is no node `wbe1`
      help: did you mean `web1`?
    ");
    assert_snapshot!(wrong("port: 80", "port: 80, real: { web1: 1, db1: 1 }"), @"
    13:59 labctl::real_off_link at `db1`
      no proxy shares a network with db1, a real server of web
      help: give both an address on one network
    ");
    assert_snapshot!(wrong("port: 80", "port: 80, check: { interval: 200ms, timeout: 1s }"), @"
    13:77 labctl::slow_check at `1s`
      a check with timeout 1s does not end before the next one, 200ms later
      also `200ms`: the interval
      help: at most 200ms, or a longer interval
    ");
    assert_snapshot!(wrong("port: 80", "port: 80, check: { http: index.html }"), @"
    13:57 labctl::wrong_type at `index.html`
      expected a path such as /healthz, without spaces, found `index.html`
    ");
}

/// The site with a balancer that is told these, and these of its service.
fn balanced(balancer: &str, service: &str) -> String {
    let told = format!("balancer: {{ {balancer} services: {{ web: {{ port: 80{service} }} }} }}");
    changed("balancer: { services: { web: { port: 80 } } }", &told)
}

/// A site of one switch: directors, webs and router.
fn one_switch(forward: &str) -> String {
    let balancer = format!("balancer: {{ forward: {forward},");
    SITE.replace("front: none, back: 10.10.1.1", "front: 203.0.113.1")
        .replace("on: { back: 10.10.1.2", "on: { front: 203.0.113.2")
        .replace("203.0.113.11 }", "203.0.113.11, back: 10.10.1.11 }")
        .replace("203.0.113.12 }", "203.0.113.12, back: 10.10.1.12 }")
        .replace("vip: { front: 203.0.113.10, back: 10.10.1.1 }", "vip: { front: 203.0.113.10 }")
        .replace("balancer: {", &balancer)
}

/// The same with one text put for another.
fn wrong_on_switch(forward: &str, from: &str, to: &str) -> String {
    let site = one_switch(forward);
    assert!(site.contains(from), "the site has no `{from}` to change");
    problems(&site.replacen(from, to, 1))
}

#[test]
fn what_engines_and_backends_cannot_do_for_a_service() {
    for good in ["backend: auto,", "backend: ebpf,", "engine: ipvs,"] {
        assert!(parse("site.yaml", &balanced(good, ", scheduler: nq")).is_ok(), "{good}");
    }
    assert_snapshot!(problems(&balanced("backend: nft,", ", scheduler: wlc")), @"
    13:67 labctl::balancer_cannot at `wlc`
      `scheduler: wlc` is not for `backend: nft`: its rules count no connections
      help: `backend: nft` has rr, wrr, sh, mh
    ");
    assert_snapshot!(problems(&balanced("engine: nft,", ", scheduler: lc")), @"
    13:66 labctl::balancer_cannot at `lc`
      `scheduler: lc` is not for nft: its rules count no connections
      help: nft has rr, wrr, sh, mh
    ");
    assert_snapshot!(problems(&balanced("engine: nginx,", ", scheduler: sed, sticky: sid")), @"
    13:68 labctl::balancer_cannot at `sed`
      `scheduler: sed` is not for nginx: it has nothing like that
      help: nginx has rr, wrr, lc, wlc, sh, mh
    13:81 labctl::balancer_cannot at `sid`
      `sticky` is not for nginx: free nginx has no cookie of its own
      help: remove it, or take another `engine`
    ");
    assert_snapshot!(problems(&balanced("engine: haproxy,", ", scheduler: mh, check: { run: [x] }")), @"
    13:70 labctl::balancer_cannot at `mh`
      `scheduler: mh` is not for haproxy: it has nothing like that
      help: haproxy has rr, wrr, lc, wlc, sh
    13:83 labctl::balancer_cannot at `run`
      a check by a program is not for haproxy: it asks by TCP and HTTP itself
      help: remove it, or take another `engine`
    ");
    let udp = balanced("engine: haproxy, forward: nat,", ", protocol: udp, check: {}");
    assert_snapshot!(problems(&udp), @"
    13:83 labctl::balancer_cannot at `udp`
      `protocol: udp` is not for haproxy: it balances TCP
      help: remove it, or take another `engine`
    ");
}

#[test]
fn methods_and_engines() {
    for good in
        ["engine: haproxy,", "engine: nginx, forward: proxy,", "engine: nft,", "engine: ipvs, forward: nat,"]
    {
        assert!(parse("site.yaml", &balanced(good, "")).is_ok(), "{good}");
    }
    assert_snapshot!(problems(&balanced("forward: dr, engine: haproxy, force: true,", "")), @"
    13:22 labctl::balancer_cannot at `dr`
      `forward: dr` is not for haproxy: it ends every connection, and opens its own
      also `haproxy`: the engine
      help: take `forward: proxy`, or our own engine
    ");
    assert_snapshot!(problems(&balanced("forward: proxy, engine: nft, backend: nft,", "")), @"
    13:22 labctl::balancer_cannot at `proxy`
      `forward: proxy` is not for nft: it rewrites addresses and nothing else
      also `nft`: the engine
      help: take `forward: nat`, or our own engine
    13:51 labctl::balancer_cannot at `nft`
      a backend is not for nft: it is a matter of our own engine
      help: remove it, or take `engine: labctl`
    ");
    assert_snapshot!(problems(&balanced("forward: proxy, engine: ipvs, sync: true,", "")), @"
    13:22 labctl::balancer_cannot at `proxy`
      `forward: proxy` is not for ipvs: it forwards packets and reads no requests
      also `ipvs`: the engine
      help: take nat, tun or dr, or our own engine
    13:49 labctl::balancer_cannot at `true`
      `sync: true` is not for ipvs: it is a matter of our own engine
      help: remove it, or take `engine: labctl`
    ");
    assert_snapshot!(problems(&balanced("forward: proxy, backend: ebpf, sync: true,", "")), @"
    13:38 labctl::balancer_cannot at `ebpf`
      a backend is not for `forward: proxy`: connections end at the director, and no packet is forwarded
      help: remove it, or take another method
    13:50 labctl::balancer_cannot at `true`
      `sync: true` is not for `forward: proxy`: connections end at the director, and no packet is forwarded
      help: remove it, or take another method
    ");
    let by_rules = wrong_on_switch("dr", "forward: dr,", "forward: dr, backend: nft,");
    assert_snapshot!(by_rules, @"
    13:35 labctl::balancer_cannot at `nft`
      `backend: nft` is not for `forward: dr`: its rules translate addresses and do nothing else
      help: take `forward: nat`, or remove it
    ");
    assert_snapshot!(problems(&balanced("engine: varnish,", "")), @"
    13:21 labctl::unknown_word at `varnish`
      `varnish` is not a known balancer
      help: known are: labctl, haproxy, nginx, nft, ipvs
    ");
    assert_snapshot!(problems(&balanced("backend: xdp,", "")), @"
    13:22 labctl::unknown_word at `xdp`
      `xdp` is not a backend
      help: known are: auto, ebpf, nft
    ");
    assert_snapshot!(problems(&balanced("forward: proxy,", ", protocol: udp, check: {}")), @"
    13:68 labctl::balancer_cannot at `udp`
      `protocol: udp` is not for `forward: proxy`: requests come over TCP
      help: take nat, tun or dr for it; a file has one method for all of its services
    ");
    assert_snapshot!(problems(&balanced("", ", protocol: sctp")), @"
    13:53 labctl::unknown_word at `sctp`
      `sctp` is not a protocol of a virtual service
      help: known are: tcp, udp
    ");
}

#[test]
fn real_servers_that_cannot_answer() {
    assert_snapshot!(wrong("role: web", "role: web, gateway: 10.10.1.12"), @"
    9:31 labctl::answers_elsewhere at `10.10.1.12`
      web1, a real server of web, answers by 10.10.1.12, and only the director that a request came by can answer in nat
      also `web`: the virtual service
      help: give it a floating address of its network as `gateway`, take tun or dr, or see it fail with `force: true`
    ");
    assert_snapshot!(wrong("role: web", "role: web, gateway: none"), @"
    9:31 labctl::answers_elsewhere at `none`
      web1, a real server of web, answers by no gateway, and only the director that a request came by can answer in nat
      also `web`: the virtual service
      help: give it a floating address of its network as `gateway`, take tun or dr, or see it fail with `force: true`
    ");
    assert_snapshot!(wrong(", back: 10.10.1.1 }", " }"), @"
    9:3 labctl::answers_elsewhere at `web1`
      web1, a real server of web, answers by 10.10.1.11, and only the director that a request came by can answer in nat
      help: give it a floating address of its network as `gateway`, take tun or dr, or see it fail with `force: true`
    10:3 labctl::answers_elsewhere at `web2`
      web2, a real server of web, answers by 10.10.1.11, and only the director that a request came by can answer in nat
      help: give it a floating address of its network as `gateway`, take tun or dr, or see it fail with `force: true`
    ");
    assert!(parse("site.yaml", &one_switch("dr")).is_ok(), "{:?}", parse("site.yaml", &one_switch("dr")));
    assert_snapshot!(wrong_on_switch("dr", "role: web", "role: web, gateway: 203.0.113.12"), @"
    9:31 labctl::answers_by_director at `203.0.113.12`
      web1, a real server of web, answers by 203.0.113.12, a director, which drops what comes from its own address
      also `web`: the virtual service
      help: give it a router of its network as `gateway`, take nat, or see it fail with `force: true`
    ");
    assert_snapshot!(wrong_on_switch("dr", "{ front: 203.0.113.22, ", "{ "), @"
    10:3 labctl::real_behind_router at `web2`
      web2, a real server of web, is on no network with proxy1, and dr changes nothing but the hardware address
      also `proxy1`: the proxy
      help: plug both into one network, take `forward: tun`, or see it fail with `force: true`
    ");
    assert_snapshot!(wrong_on_switch("dr", "{ front: 203.0.113.22, ", "{ front: none, "), @"
    10:3 labctl::real_other_family at `web2`
      web2 has no IPv4 address by which it could serve web, whose address is IPv4
      also `web`: the virtual service
      help: give it one, or the service an address of its family
    ");
    // A tunnel leads anywhere, and whoever insists may see for themselves.
    let far = |forward| one_switch(forward).replacen("{ front: 203.0.113.22, ", "{ ", 1);
    assert!(parse("site.yaml", &far("tun")).is_ok());
    assert!(parse("site.yaml", &far("dr, force: true")).is_ok());
    let forced =
        changed("role: web", "role: web, gateway: none").replace("balancer: {", "balancer: { force: true,");
    assert!(parse("site.yaml", &forced).is_ok());
    assert_snapshot!(problems(&balanced("", ", real: { web1: 1, proxy1: 1 }")), @"
    13:60 labctl::real_is_director at `proxy1`
      proxy1, a real server of web, is a director, and a director serves nobody itself
      help: name nodes of another role
    ");
}

#[test]
fn ports_that_nothing_rewrites() {
    let site = parse("site.yaml", &one_switch("tun")).unwrap();
    assert_eq!(site.conversation.web_port, 80);
    assert_eq!(site.balancer.unwrap().services[0].reals[0].port, 80);
    assert_snapshot!(wrong_on_switch("tun", "port: 80", "port: 80, real_port: 8080"), @"
    13:67 labctl::port_kept at `8080`
      real_port 8080 is not the port 80 that clients connect to, and tun leaves ports as they are
      also `80`: the port that clients connect to
      help: leave `real_port` out, or take nat or proxy
    ");
    assert_snapshot!(wrong_on_switch("dr", "memory: database", "memory: database, web_port: 8080"), @"
    14:45 labctl::web_port_unreached at `8080`
      web_port 8080 is the port of no virtual service, and dr leaves ports as they are
      help: leave `web_port` out: it is then the port of the first virtual service of TCP
    ");
}

#[test]
fn families_of_services() {
    let own = |text: &str| {
        text.replace("back: 10.10.1.11", "back: [10.10.1.11, fd00:10:1::11]")
            .replace("back: 10.10.1.12", "back: [10.10.1.12, fd00:10:1::12]")
            .replace("back: 10.10.1.22", "back: [10.10.1.22, fd00:10:1::22]")
    };
    let both = "web: { port: 80 }, web6: { port: 80, address: 2001:db8:f::10 }";
    let site = own(&dual()).replace("web: { port: 80 }", both);
    let topology = parse("site.yaml", &site).unwrap_or_else(|invalid| panic!("{invalid}"));
    let reals = topology.balancer.unwrap().services.into_iter().flat_map(|service| service.reals);
    let addresses: Vec<String> = reals.map(|real| real.address.to_string()).collect();
    assert_eq!(addresses, ["10.10.1.21", "10.10.1.22", "fd00:10:1::21", "fd00:10:1::22"]);
    assert_snapshot!(problems(&dual().replace("web: { port: 80 }", both)), @"
    7:3 labctl::director_other_family at `proxy1`
      proxy1 has no IPv6 address of its own, from which it could reach the real servers of web6
      help: give it one on a network with them
    8:3 labctl::director_other_family at `proxy2`
      proxy2 has no IPv6 address of its own, from which it could reach the real servers of web6
      help: give it one on a network with them
    10:3 labctl::real_other_family at `web2`
      web2 has no IPv6 address by which it could serve web6, whose address is IPv6
      also `web6`: the virtual service
      help: give it one, or the service an address of its family
    ");
    let local = own(&dual()).replace("fd00:10:1::1]", "fd00:10:1::1, fe80::10]");
    assert_snapshot!(problems(&local.replace("port: 80", "port: 80, address: fe80::10")), @"
    13:51 labctl::link_local_entrance at `fe80::10`
      fe80::10 means something on one link only, and clients are on others
      help: the usual one is 203.0.113.10; leave `address` out to have it
    ");
}

#[test]
fn services_of_udp() {
    assert_snapshot!(problems(&balanced("", ", protocol: udp")), @"
    13:26 labctl::udp_without_check at `web`
      virtual service web is UDP, and nothing says how its real servers are checked
      help: add a program that asks: `check: { run: [PROGRAM, ...] }`, or `check: {}` to connect to the port of the same number by TCP
    ");
    let run = ", protocol: udp, check: { run: [/usr/bin/dig, '@server'] } }, tcp: { port: 80";
    let site = parse("site.yaml", &balanced("", run)).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(site.balancer.unwrap().services[0].reals[0].port, 80);
    assert_snapshot!(problems(&balanced("", ", check: { http: /, run: [/bin/true] }")), @"
    13:61 labctl::two_probes at `run`
      a check asks one thing, and this one has `http` and `run`
      also `/`: the first one
      help: remove one of them
    ");
    assert_snapshot!(problems(&balanced("", ", check: { run: [] }")), @r#"
    13:52 labctl::wrong_type at `run`
      expected a program and its arguments, found nothing to run
      help: write it as ["/path/of/program", "argument"]
    "#);
}

#[test]
fn requests() {
    let all = ", sticky: sid, rules: [{ host: WWW.example, path: /a, header: { X-A: b c }, cookie: { d: e }, real: [web2, web1] }]";
    let site =
        parse("site.yaml", &balanced("forward: proxy,", all)).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_snapshot!(serde_json::to_string(&site.balancer.unwrap().services[0].layer7).unwrap(), @r#"
    {"sticky":"sid","rules":[{"host":"www.example","path":"/a","header":["x-a","b c"],"cookie":["d","e"],"reals":["web1","web2"]}]}
    "#);
    assert_snapshot!(problems(&balanced("", all)), @"
    13:51 labctl::balancer_cannot at `sid`
      `sticky` is not for `forward: nat`: it looks at packets, and these are a matter of requests
      help: remove it, or take `forward: proxy`
    13:56 labctl::balancer_cannot at `rules`
      `rules` is not for `forward: nat`: it looks at packets, and these are a matter of requests
      help: remove it, or take `forward: proxy`
    ");
    let rule = |rule: &str| problems(&balanced("forward: proxy,", &format!(", rules: [{{ {rule} }}]")));
    assert_snapshot!(rule("real: [web1]"), @"
    13:66 labctl::rule_without_condition at `{`
      a rule without `host`, `path`, `header` and `cookie` asks nothing
      help: say what it looks at; `path: /` is every request
    ");
    assert_snapshot!(rule("path: /"), @"
    13:66 labctl::missing_key at `{`
      a rule needs `real`
      help: add `real: ...`
    ");
    assert_snapshot!(rule("path: /, real: []"), @"
    13:77 labctl::wrong_type at `real`
      expected the nodes that may answer, found an empty list
      help: name one of those behind the service
    ");
    assert_snapshot!(rule("path: /, real: [wbe1, db1]"), @"
    13:84 labctl::unknown_node at `wbe1`
      there is no node `wbe1`
      help: did you mean `web1`?
    13:90 labctl::rule_off_service at `db1`
      db1 is not behind virtual service web
      also `web`: the virtual service
      help: add it to `real`, or leave it out here
    ");
    assert_snapshot!(rule("host: 'example.org:80', header: { a: 1, b: 2 }, cookie: { 'a b': 'c;d' }, real: [web1]"), @"
    13:74 labctl::wrong_type at `'example.org:80'`
      expected a host such as www.example.org, without a port, found `example.org:80`
    13:92 labctl::wrong_type at `header`
      expected one header and its value, found 2 of them
      help: a request must meet all that a rule says; write `{ NAME: VALUE }`
    13:126 labctl::wrong_type at `'a b'`
      expected a name of letters, digits and hyphens, found `a b`
    13:133 labctl::wrong_type at `'c;d'`
      expected a value without spaces, quotes, commas, semicolons and backslashes, found `c;d`
    ");
    assert_snapshot!(problems(&balanced("forward: proxy,", ", sticky: 'a=b', slow_start: 10")), @"
    13:66 labctl::wrong_type at `'a=b'`
      expected a name of letters, digits and hyphens, found `a=b`
    13:85 labctl::wrong_type at `10`
      expected a duration such as 100ms, 1s or 2s 500ms, found `10`
      help: give the unit: `10s` or `10ms`
    ");
}
