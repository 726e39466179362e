//! What each mistake in an election looks like: priorities, addresses, versions, settings, checks and engines.

use super::*;

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
