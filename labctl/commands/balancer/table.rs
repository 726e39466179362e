//! What balancers say, in the listings that users of `ipvsadm` know. It asks nobody.

use std::net::SocketAddr;

use crate::roles::balancer::request::{ListedConnections, ListedReal, ListedService, Listing};
use crate::topology::{Forward, Protocol, Scheduler};

/// `ipvsadm` shortens numbers that are longer than this, too.
const DIGITS_MAX: usize = 8;

/// Five numbers of a real server.
type Five = [u64; 5];

/// As `ipvsadm -L` does it; what is not as it should be comes behind the line that it is about.
pub(super) fn list(listing: &Listing, numeric: bool) -> String {
    let mut text = "\
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
"
    .to_owned();
    for service in &listing.services {
        let flags = if service.scheduler == Scheduler::Mh { " (mh-port)" } else { "" };
        let open = if service.fail_open { " fail-open" } else { "" };
        let head = head(service, numeric);
        line(&mut text, &format!("{head} {}{flags}{open}", service.scheduler.word()));
        for real in &service.reals {
            let ListedReal { weight, active, inactive, .. } = real;
            let at = at(real.address, &real.name, numeric);
            let forward = forward(listing.forward);
            let state = state(real);
            let row = format!("  -> {at:<28} {forward:<7} {weight:<6} {active:<10} {inactive:<10} {state}");
            line(&mut text, &row);
        }
    }
    text
}

/// The connections, as `ipvsadm -L -c` does it.
pub(super) fn connections(connections: &ListedConnections) -> String {
    let mut text = format!("pro {:<23} {:<23} {}\n", "source", "virtual", "destination");
    for one in &connections.shown {
        let [client, service, real] = [one.client, one.service, one.real].map(|at| at.to_string());
        line(&mut text, &format!("{} {client:<23} {service:<23} {real}", protocol(one.protocol)));
    }
    let (shown, total) = (connections.shown.len(), connections.total);
    if shown < total {
        line(&mut text, &format!("... {shown} of {total} connections"));
    }
    text
}

/// As `ipvsadm -L --stats` does it, with what directors told each other below.
pub(super) fn stats(listing: &Listing, numeric: bool) -> String {
    let mut text = numbers(listing, numeric, ["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]);
    let counted: Vec<String> = listing
        .counters
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !counted.is_empty() {
        line(&mut text, &format!("packets: {}", counted.join(", ")));
    }
    for (node, peer) in &listing.sync {
        let heard = match peer.heard_ms_ago {
            Some(ms) => format!("last heard {:.1} s ago", ms as f64 / 1000.0),
            None => "never heard".to_owned(),
        };
        let whole = if peer.complete { "complete" } else { "not complete" };
        line(
            &mut text,
            &format!(
                "sync with {node}: {heard}, {whole}; flows: told {}, heard {}, adopted {}; datagrams: lost {}, late {}, \
                 malformed {}",
                peer.told, peer.heard, peer.adopted, peer.lost, peer.late, peer.malformed
            ),
        );
    }
    text
}

/// As `ipvsadm -L --rate` does it.
pub(super) fn rate(listing: &Listing, numeric: bool) -> String {
    numbers(listing, numeric, ["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"])
}

/// What came in between two listings, for each second of the time between them.
pub(super) fn per_second(before: &Listing, mut after: Listing) -> Listing {
    let seconds = after.at_ns.saturating_sub(before.at_ns) as f64 / 1e9;
    for service in &mut after.services {
        let earlier = before.services.iter().find(|it| it.name == service.name);
        for real in &mut service.reals {
            let earlier = earlier.and_then(|it| it.reals.iter().find(|it| it.address == real.address));
            // One that was added in between had nothing before.
            let earlier = earlier.map(five).unwrap_or_default();
            let now = five(real);
            let rate = |at: usize| (now[at].saturating_sub(earlier[at]) as f64 / seconds).round() as u64;
            real.connections = rate(0);
            (real.packets_in, real.packets_out) = (rate(1), rate(2));
            (real.bytes_in, real.bytes_out) = (rate(3), rate(4));
        }
    }
    after
}

fn numbers(listing: &Listing, numeric: bool, names: [&str; 5]) -> String {
    let row = |text: &mut String, first: &str, five: [String; 5]| {
        line(text, &format!("{first:<33} {}", five.map(|number| format!("{number:>DIGITS_MAX$}")).join(" ")));
    };
    let mut text = String::new();
    row(&mut text, "Prot LocalAddress:Port", names.map(str::to_owned));
    line(&mut text, "  -> RemoteAddress:Port");
    for service in &listing.services {
        let mut sum = Five::default();
        for real in &service.reals {
            sum.iter_mut().zip(five(real)).for_each(|(sum, number)| *sum += number);
        }
        row(&mut text, &head(service, numeric), sum.map(short));
        for real in &service.reals {
            let first = format!("  -> {}", at(real.address, &real.name, numeric));
            row(&mut text, &first, five(real).map(short));
        }
    }
    text
}

fn five(real: &ListedReal) -> Five {
    [real.connections, real.packets_in, real.packets_out, real.bytes_in, real.bytes_out]
}

/// A number in at most eight characters.
fn short(number: u64) -> String {
    let mut text = number.to_string();
    let mut units = "KMGTPE".chars();
    let mut rest = number;
    while text.len() > DIGITS_MAX {
        let Some(unit) = units.next() else { break };
        rest /= 1000;
        text = format!("{rest}{unit}");
    }
    text
}

fn head(service: &ListedService, numeric: bool) -> String {
    format!("{}  {}", protocol(service.protocol), at(service.address, service.name.as_str(), numeric))
}

fn at(address: SocketAddr, name: &str, numeric: bool) -> String {
    // One that no node has is called by its address anyway.
    let has_port = name.parse::<SocketAddr>().is_ok();
    if numeric || has_port { address.to_string() } else { format!("{name}:{}", address.port()) }
}

fn state(real: &ListedReal) -> &'static str {
    match (real.up, real.warming) {
        (false, _) => "down",
        (true, true) => "warming up",
        (true, false) => "",
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

fn forward(forward: Forward) -> &'static str {
    match forward {
        Forward::Nat => "Masq",
        Forward::Tun => "Tunnel",
        Forward::Dr => "Route",
        Forward::Proxy => "Proxy",
    }
}

/// A line, without the blanks that a column leaves at its end.
fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::roles::balancer::request::{ListedConnection, ListedPeer};

    fn real(name: &str, host: u8, weight: u32, up: bool) -> ListedReal {
        ListedReal {
            name: name.to_owned(),
            address: ([10, 10, 1, host], 8080).into(),
            weight,
            up,
            warming: false,
            active: u64::from(weight),
            inactive: 7,
            connections: 10,
            packets_in: 200,
            packets_out: 300,
            bytes_in: 123_456_789,
            bytes_out: 5_000_000_000_000,
        }
    }

    fn listing() -> Listing {
        let web = ListedService {
            name: "web".parse().expect("a name"),
            address: ([203, 0, 113, 10], 80).into(),
            protocol: Protocol::Tcp,
            scheduler: Scheduler::Mh,
            fail_open: false,
            reals: vec![
                real("web1", 21, 3, true),
                real("10.10.1.22:8080", 22, 0, false),
                ListedReal { warming: true, ..real("web3", 23, 1, true) },
            ],
        };
        let dns = ListedService {
            name: "dns".parse().expect("a name"),
            address: "[2001:db8:113::10]:53".parse().expect("an address"),
            protocol: Protocol::Udp,
            scheduler: Scheduler::Wlc,
            fail_open: true,
            reals: Vec::new(),
        };
        let peer = ListedPeer {
            address: [10, 10, 1, 12].into(),
            heard_ms_ago: Some(240),
            complete: true,
            told: 5,
            heard: 4,
            adopted: 3,
            lost: 2,
            late: 1,
            malformed: 0,
        };
        Listing {
            at_ns: 1_000_000_000,
            active: true,
            backend: "eBPF on tcx".to_owned(),
            because: "the kernel has it".to_owned(),
            forward: Forward::Nat,
            services: vec![web, dns],
            counters: BTreeMap::from([("kept".to_owned(), 12), ("missed".to_owned(), 0)]),
            sync: BTreeMap::from([("proxy2".to_owned(), peer)]),
            connections: None,
        }
    }

    #[test]
    fn a_list_looks_as_that_of_ipvsadm() {
        insta::assert_snapshot!(list(&listing(), true), @"
        Prot LocalAddress:Port Scheduler Flags
          -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
        TCP  203.0.113.10:80 mh (mh-port)
          -> 10.10.1.21:8080              Masq    3      3          7
          -> 10.10.1.22:8080              Masq    0      0          7          down
          -> 10.10.1.23:8080              Masq    1      1          7          warming up
        UDP  [2001:db8:113::10]:53 wlc fail-open
        ");
        insta::assert_snapshot!(list(&listing(), false), @"
        Prot LocalAddress:Port Scheduler Flags
          -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
        TCP  web:80 mh (mh-port)
          -> web1:8080                    Masq    3      3          7
          -> 10.10.1.22:8080              Masq    0      0          7          down
          -> web3:8080                    Masq    1      1          7          warming up
        UDP  dns:53 wlc fail-open
        ");
    }

    #[test]
    fn numbers_look_as_those_of_ipvsadm() {
        insta::assert_snapshot!(stats(&listing(), true), @"
        Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
          -> RemoteAddress:Port
        TCP  203.0.113.10:80                    30      600      900  370370K   15000G
          -> 10.10.1.21:8080                    10      200      300  123456K 5000000M
          -> 10.10.1.22:8080                    10      200      300  123456K 5000000M
          -> 10.10.1.23:8080                    10      200      300  123456K 5000000M
        UDP  [2001:db8:113::10]:53               0        0        0        0        0
        packets: kept 12
        sync with proxy2: last heard 0.2 s ago, complete; flows: told 5, heard 4, adopted 3; datagrams: lost 2, late 1, malformed 0
        ");
        let long = [99_999_999, 100_000_000, 99_999_999_999, u64::MAX];
        assert_eq!(long.map(short), ["99999999", "100000K", "99999M", "18446P"]);
    }

    #[test]
    fn rates_are_reckoned_from_the_time_that_really_passed() {
        let before = listing();
        let mut after = listing();
        after.at_ns += 2_000_000_000;
        let web1 = &mut after.services[0].reals[0];
        (web1.connections, web1.packets_in, web1.bytes_in) = (30, 1200, 123_466_789);
        insta::assert_snapshot!(rate(&per_second(&before, after), true), @"
        Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
          -> RemoteAddress:Port
        TCP  203.0.113.10:80                    10      500        0     5000        0
          -> 10.10.1.21:8080                    10      500        0     5000        0
          -> 10.10.1.22:8080                     0        0        0        0        0
          -> 10.10.1.23:8080                     0        0        0        0        0
        UDP  [2001:db8:113::10]:53               0        0        0        0        0
        ");
    }

    #[test]
    fn connections_are_shown_as_far_as_they_were_told() {
        let one = ListedConnection {
            protocol: Protocol::Tcp,
            client: ([198, 51, 100, 10], 40000).into(),
            service: ([203, 0, 113, 10], 80).into(),
            real: ([10, 10, 1, 21], 8080).into(),
        };
        let told = ListedConnections { total: 2, shown: vec![one] };
        insta::assert_snapshot!(connections(&told), @"
        pro source                  virtual                 destination
        TCP 198.51.100.10:40000     203.0.113.10:80         10.10.1.21:8080
        ... 1 of 2 connections
        ");
    }
}
