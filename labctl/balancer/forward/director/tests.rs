//! The specification against its fixtures, and against what a connection expects over its life.

use insta::{Settings as Snapshots, assert_snapshot};
use proptest::prelude::*;

use super::super::described;
use super::super::fixtures::packet::Sent;
use super::super::fixtures::{
    Fixture, Side, VIP, WEB1, WEB2, director, fixtures, groups, run, services, settings,
};
use super::*;

const BOTH_UP: [bool; 2] = [true, true];
/// The source hash sends it to web1.
const CLIENT: &str = "198.51.100.11:40000";

fn segment(service: &str, flags: &str) -> Vec<u8> {
    Sent::tcp(CLIENT, service, flags).frame()
}

fn to(real: std::net::Ipv4Addr) -> Verdict {
    Verdict::ToReal(real.into())
}

/// What becomes of a fixture's frame.
fn outcome(fixture: &Fixture) -> (Vec<u8>, Verdict) {
    let mut director = director(BOTH_UP);
    for (by, frame) in &fixture.before {
        run(&mut director, *by, frame);
    }
    run(&mut director, fixture.by, &fixture.frame)
}

/// The frame in words, its fate, and what becomes of it; a star marks what was not like that before.
fn story(fixture: &Fixture) -> String {
    let (frame, fate) = outcome(fixture);
    let (before, after) = (described(&fixture.frame), described(&frame));
    let mut lines = vec![format!("{}\n", fixture.what)];
    if !fixture.before.is_empty() {
        lines.push(format!("    after {} others\n", fixture.before.len()));
    }
    lines.extend(before.iter().map(|line| format!("    {line}\n")));
    lines.push(match fate {
        Verdict::Kernel => "  the kernel goes on with it\n".to_owned(),
        Verdict::ToReal(real) => format!("  to the real server {real}\n"),
        Verdict::ToClient => "  to the client\n".to_owned(),
        Verdict::Answer => "  answered\n".to_owned(),
    });
    if fate != Verdict::Kernel {
        let mark = |line: &String| if before.contains(line) { ' ' } else { '*' };
        lines.extend(after.iter().map(|line| format!("  {} {line}\n", mark(line))));
    }
    lines.concat()
}

#[test]
fn every_fixture_meets_its_fate() {
    for fixture in fixtures() {
        let (frame, fate) = outcome(&fixture);
        assert_eq!(fate, fixture.fate, "{}", fixture.what);
        if fate == Verdict::Kernel {
            assert_eq!(frame, fixture.frame, "{}", fixture.what);
        }
    }
}

#[test]
fn every_fixture_becomes_what_is_written_down() {
    let mut snapshots = Snapshots::clone_current();
    snapshots.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/forward"));
    snapshots.set_prepend_module_to_snapshot(false);
    snapshots.set_omit_expression(true);
    snapshots.bind(|| {
        for (name, fixtures) in groups() {
            assert_snapshot!(name, fixtures.iter().map(story).collect::<Vec<_>>().join("\n"));
        }
    });
}

#[test]
fn fixtures_have_names_of_their_own() {
    let mut names: Vec<_> = fixtures().map(|fixture| fixture.what).collect();
    assert!(names.len() >= 60, "{} fixtures", names.len());
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// Checksums that a receiver finds wrong.
fn damage(frame: &[u8]) -> usize {
    described(frame).iter().filter(|line| line.ends_with("checksum bad")).count()
}

#[test]
fn damage_is_neither_done_nor_repaired() {
    for fixture in fixtures() {
        let (frame, fate) = outcome(&fixture);
        assert_eq!(damage(&frame), damage(&fixture.frame), "{} ({fate:?})", fixture.what);
        let says_so = fixture.what.contains("damaged");
        assert!(!says_so || damage(&frame) > 0, "{}", fixture.what);
    }
}

#[test]
fn a_udp_checksum_of_zero_would_mean_none() {
    let fixture = fixtures().find(|fixture| fixture.what.contains("sent as all ones")).expect("the fixture");
    assert_eq!(outcome(&fixture).0[40..42], [0xff, 0xff]);
}

#[test]
fn a_director_that_is_not_active_does_nothing() {
    let mut director = director(BOTH_UP);
    director.set_active(false);
    for fixture in fixtures() {
        let outcome = run(&mut director, fixture.by, &fixture.frame);
        assert_eq!(outcome, (fixture.frame, Verdict::Kernel), "{}", fixture.what);
    }
    assert_eq!(director.counters(), Counters::default());
}

#[test]
fn a_client_never_sees_a_real_server() {
    let mut director = director(BOTH_UP);
    let (request, _) = director.from_street(&segment("203.0.113.10:80", "S"));
    assert_snapshot!(described(&request)[1..].join("\n"), @"
    ipv4 198.51.100.11 > 10.10.1.21 ttl 63 length 40 checksum ok
    tcp 40000 > 8080 [S] data 0 checksum ok
    ");
    let (answer, _) = director.from_reals(&Sent::tcp("10.10.1.21:8080", CLIENT, "SA").frame());
    assert_snapshot!(described(&answer)[1..].join("\n"), @"
    ipv4 203.0.113.10 > 198.51.100.11 ttl 63 length 40 checksum ok
    tcp 80 > 40000 [S.] data 0 checksum ok
    ");
}

#[test]
fn a_connection_stays_while_new_ones_go_elsewhere() {
    for (service, first) in [("203.0.113.10:80", WEB1), ("203.0.113.10:443", WEB1)] {
        let mut director = director(BOTH_UP);
        let segment = |flags| segment(service, flags);
        assert_eq!(director.from_street(&segment("S")).1, to(first));
        assert_eq!(director.from_street(&segment("A")).1, to(first));
        director.install(&services([false, true])).expect("services that go together");
        assert_eq!(director.from_street(&segment("A")).1, to(WEB1), "it has its real server");
        assert_eq!(director.from_street(&segment("S")).1, to(WEB2), "it chooses afresh");
        assert_eq!(director.from_street(&segment("A")).1, to(WEB2), "and keeps that");
        director.install(&services(BOTH_UP)).expect("services that go together");
        assert_eq!(director.from_street(&segment("A")).1, to(WEB2), "for good");
    }
}

#[test]
fn a_repeated_syn_does_not_move_on_in_the_round() {
    let mut director = director(BOTH_UP);
    let syn = |port: u16| Sent::tcp(&format!("198.51.100.10:{port}"), "203.0.113.10:443", "S").frame();
    let chosen = [1, 1, 2, 3].map(|port| director.from_street(&syn(port)).1);
    assert_eq!(chosen, [WEB1, WEB1, WEB2, WEB1].map(to));
}

#[test]
fn connections_by_source_survive_a_takeover() {
    let (mut one, mut other) = (director(BOTH_UP), director(BOTH_UP));
    for host in 1..=254 {
        for port in [80, 8000] {
            let [from, to] = [format!("198.51.100.{host}:40000"), format!("203.0.113.10:{port}")];
            let (_, before) = one.from_street(&Sent::tcp(&from, &to, "S").frame());
            let (_, after) = other.from_street(&Sent::tcp(&from, &to, "A").frame());
            assert_eq!(before, after, "{from} {to}");
        }
    }
}

#[test]
fn connections_in_turn_survive_a_takeover_if_they_are_told() {
    let (mut one, mut other) = (director(BOTH_UP), director(BOTH_UP));
    other.set_active(false);
    for host in 1..=254 {
        let from = format!("198.51.100.{host}:40000");
        let segment = |flags| Sent::tcp(&from, "203.0.113.10:443", flags).frame();
        let (_, opened) = one.from_street(&segment("S"));
        one.from_street(&segment("A"));
        assert_eq!(other.adopt(&one.fresh_flows()), 1);
        other.set_active(true);
        assert_eq!(other.from_street(&segment("A")).1, opened, "{from}");
        other.set_active(false);
    }
    assert_eq!(one.flows(), other.flows());
    assert_eq!(other.adopt(&one.flows()), 0, "it knows them all");
}

#[test]
fn what_a_director_is_told_gives_way_to_what_it_sees() {
    let (mut one, mut other) = (director(BOTH_UP), director(BOTH_UP));
    // One director has seen a connection before this one, so the round has moved on.
    one.from_street(&Sent::tcp("198.51.100.10:1", "203.0.113.10:443", "S").frame());
    for director in [&mut one, &mut other] {
        director.from_street(&segment("203.0.113.10:443", "S"));
        director.from_street(&segment("203.0.113.10:443", "A"));
    }
    assert_eq!((one.flows()[0].real.address, other.flows()[0].real.address), (WEB2.into(), WEB1.into()));
    let told = one.flows();
    assert_eq!(other.adopt(&told), 0, "it is active");
    other.set_active(false);
    assert_eq!(other.adopt(&told), 1, "it is not");
    let strange = Flow { real: Endpoint::tcp(WEB1, 9), ..told[0] };
    assert_eq!(other.adopt(&[strange]), 0, "nobody that it knows");
    let active: u64 = other.usage().values().map(|usage| usage.active).sum();
    assert_eq!(active, 1, "it is the same connection");
}

#[test]
fn a_flood_of_syns_costs_a_hash_nothing_and_never_a_flow() {
    let mut director = director(BOTH_UP);
    for port in 1..=1000 {
        for service in ["203.0.113.10:80", "203.0.113.10:443"] {
            director.from_street(&Sent::tcp(&format!("198.51.100.10:{port}"), service, "S").frame());
        }
    }
    assert!(director.flows().is_empty());
    let open: u64 = director.usage().values().map(|usage| usage.active).sum();
    assert_eq!(open, 1000, "those in turn");
}

#[test]
fn a_real_server_that_left_loses_its_connections() {
    let mut director = director(BOTH_UP);
    let segment = |flags| segment("203.0.113.10:80", flags);
    assert_eq!(director.from_street(&segment("S")).1, to(WEB1));
    assert_eq!(director.from_street(&segment("A")).1, to(WEB1));
    let mut without = services(BOTH_UP);
    without.iter_mut().for_each(|service| drop(service.reals.remove(0)));
    director.install(&without).expect("services that go together");
    assert_eq!(director.from_street(&segment("A")).1, to(WEB2));
}

#[test]
fn nobody_to_serve_is_the_kernels_to_refuse() {
    let mut director = director([false, false]);
    let syn = segment("203.0.113.10:80", "S");
    assert_eq!(director.from_street(&syn), (syn, Verdict::Kernel));
    assert_eq!(director.counters(), Counters { no_real: 1, ..Default::default() });
}

#[test]
fn a_tunnel_needs_an_address_to_come_from() {
    let mut director = Director::new(Settings { tunnel_v4: None, ..settings() });
    director.install(&services(BOTH_UP)).expect("services that go together");
    director.set_active(true);
    let syn = segment("203.0.113.10:8000", "S");
    assert_eq!(director.from_street(&syn), (syn, Verdict::Kernel));
    assert_eq!(director.counters(), Counters { no_tunnel: 1, ..Default::default() });
}

#[test]
fn everything_is_counted() {
    let mut director = director(BOTH_UP);
    for flags in ["S", "S", "A", "FA", "A"] {
        director.from_street(&segment("203.0.113.10:443", flags));
    }
    director.from_street(&segment("203.0.113.10:80", "A"));
    director.from_reals(&Sent::tcp("10.10.1.21:443", CLIENT, "SA").frame());
    for fixture in fixtures().filter(|fixture| fixture.before.is_empty() && fixture.fate == Verdict::Kernel) {
        run(&mut director, fixture.by, &fixture.frame);
    }
    assert_snapshot!(format!("{:#?}", director.counters()), @"
    Counters {
        to_real: 6,
        to_client: 1,
        answered: 0,
        opened: 1,
        kept: 4,
        missed: 1,
        errors: 0,
        no_real: 0,
        no_tunnel: 0,
        ttl_ended: 10,
        fragments: 7,
        too_long: 4,
    }
    ");
    let usage = director.usage();
    let place = |port, real| (Endpoint::tcp(VIP, port), Endpoint::tcp(WEB1, real));
    assert_snapshot!(format!("{:?}", usage[&place(443, 443)]),
        @"Usage { connections: 1, active: 0, packets_in: 5, packets_out: 1, bytes_in: 200, bytes_out: 40 }");
    assert_snapshot!(format!("{:?}", usage[&place(80, 8080)]),
        @"Usage { connections: 1, active: 1, packets_in: 1, packets_out: 0, bytes_in: 40, bytes_out: 0 }");
}

#[test]
fn one_port_of_a_real_server_cannot_have_two_services() {
    let mut services = services(BOTH_UP);
    services[1].reals = services[0].reals.clone();
    let conflict = Director::new(settings()).install(&services).expect_err("a conflict");
    assert_eq!(
        conflict.to_string(),
        "10.10.1.21:8080 serves both 203.0.113.10:80 and 203.0.113.10:443; \
         a real server's port can have one virtual service"
    );
}

#[test]
fn a_real_server_is_like_its_service() {
    let refused = |change: fn(&mut Vec<Service>)| {
        let mut services = services(BOTH_UP);
        change(&mut services);
        Director::new(settings()).install(&services).expect_err("a conflict").to_string()
    };
    assert_snapshot!(refused(|services| services[0].reals[0].endpoint.protocol = Protocol::Udp),
        @"udp 10.10.1.21:8080 cannot serve 203.0.113.10:80: both must be of one family and one protocol");
    assert_snapshot!(refused(|services| services[0].address.address = std::net::Ipv6Addr::LOCALHOST.into()),
        @"10.10.1.21:8080 cannot serve [::1]:80: both must be of one family and one protocol");
    assert_snapshot!(refused(|services| services[3].reals[0].endpoint.port = 1),
        @"10.20.1.21:1 cannot serve 203.0.113.10:8000: without address translation both must have the same port");
    assert_snapshot!(refused(|services| services[5].reals[1] = services[5].reals[0].clone()),
        @"10.10.1.21:8100 serves both 203.0.113.10:8100 and 203.0.113.10:8100; a real server's port can have one virtual service");
}

/// One thing that happens to a director.
#[derive(Clone, Debug)]
enum Step {
    Segment { host: u8, port: u16, service: u16, flags: &'static str },
    Datagram { host: u8, service: u16 },
    Install([bool; 2]),
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec!["S", "S", "A", "A", "FA", "R", "SA"]);
    let tcp = prop::sample::select(vec![80, 443, 8000, 8100]);
    let udp = prop::sample::select(vec![53, 8053, 8153]);
    prop_oneof![
        20 => (10u8..13, 1u16..4, tcp, flags)
            .prop_map(|(host, port, service, flags)| Step::Segment { host, port, service, flags }),
        3 => (10u8..13, udp).prop_map(|(host, service)| Step::Datagram { host, service }),
        1 => any::<[bool; 2]>().prop_map(Step::Install),
    ]
}

proptest! {
    // Each change of services makes tables anew.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_active_connections_are_those_in_the_tables(steps in prop::collection::vec(step(), 1..80)) {
        let mut director = director(BOTH_UP);
        for step in steps {
            match step {
                Step::Segment { host, port, service, flags } => {
                    let [from, to] = [format!("198.51.100.{host}:{port}"), format!("203.0.113.10:{service}")];
                    director.from_street(&Sent::tcp(&from, &to, flags).frame());
                }
                Step::Datagram { host, service } => {
                    let [from, to] = [format!("198.51.100.{host}:9"), format!("203.0.113.10:{service}")];
                    director.from_street(&Sent::udp(&from, &to).frame());
                }
                Step::Install(available) => director.install(&services(available)).expect("services"),
            }
            let counted: BTreeMap<_, _> = director
                .usage()
                .into_iter()
                .map(|(place, usage)| (place, usage.active))
                .filter(|(_, active)| *active > 0)
                .collect();
            prop_assert_eq!(counted, director.connections.open_ones());
        }
    }

}

proptest! {
    #[test]
    fn no_bytes_whatever_upset_a_director(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        of in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        by_front in any::<bool>(),
    ) {
        let all: Vec<Fixture> = fixtures().collect();
        let mut frame = all[of.index(all.len())].frame.clone();
        let start = at.index(frame.len());
        let end = frame.len().min(start + bytes.len());
        frame[start..end].copy_from_slice(&bytes[..end - start]);
        let by = if by_front { Side::Front } else { Side::Back };
        let (out, fate) = run(&mut director(BOTH_UP), by, &frame);
        described(&out);
        match fate {
            Verdict::Kernel => prop_assert_eq!(out, frame),
            Verdict::ToReal(_) | Verdict::ToClient => prop_assert!(out.len() >= frame.len()),
            Verdict::Answer => prop_assert!(out.len() < frame.len()),
        }
    }
}
