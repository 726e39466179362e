//! Rules, cookies and turns.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::{Method, Scheduler};
use super::*;

const SCHEDULERS: [Scheduler; 8] = [
    Scheduler::RoundRobin,
    Scheduler::WeightedRoundRobin,
    Scheduler::LeastConnections,
    Scheduler::WeightedLeastConnections,
    Scheduler::ShortestExpectedDelay,
    Scheduler::NeverQueue,
    Scheduler::SourceHash,
    Scheduler::Maglev,
];

fn service(scheduler: Scheduler, reals: &[(u32, bool)]) -> Service {
    let real = |(at, &(weight, available)): (usize, &(u32, bool))| Real {
        name: format!("web{}", at + 1),
        endpoint: Endpoint::tcp(Ipv4Addr::new(10, 10, 1, 21 + at as u8), 8080),
        weight,
        available,
    };
    Service {
        address: Endpoint::tcp(Ipv4Addr::new(203, 0, 113, 10), 80),
        method: Method::Nat,
        scheduler,
        reals: reals.iter().enumerate().map(real).collect(),
    }
}

fn guide(service: &Service, layer7: &Layer7) -> Guide {
    Guide::new(service, layer7).expect("headers and cookies that HTTP has")
}

fn sticky() -> Layer7 {
    Layer7 { sticky: Some("lab_real".to_owned()), rules: vec![] }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    lines.iter().map(line).collect()
}

fn asked<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Asked<'a> {
    Asked { client: "198.51.100.10:40000".parse().expect("an address"), host, path, headers }
}

fn met(rule: Rule, asked: &Asked) -> bool {
    rule.is_met(asked)
}

#[test]
fn a_host_is_compared_without_case_and_port() {
    let none = HeaderMap::new();
    let rule = |host: &str| Rule { host: Some(host.to_owned()), ..Rule::default() };
    for (host, given, is) in [
        ("www.example", "WWW.example:8080", true),
        ("www.example", "www.example", true),
        ("www.example", "example", false),
        ("[2001:db8::1]", "[2001:db8::1]:80", true),
        ("[2001:db8::1]", "[2001:db8::1]", true),
        ("www.example", "", false),
    ] {
        assert_eq!(met(rule(host), &asked(given, "/", &none)), is, "{host} {given}");
    }
}

#[test]
fn a_path_is_compared_by_whole_segments() {
    let none = HeaderMap::new();
    for (prefix, path, is) in [
        ("/shop", "/shop", true),
        ("/shop", "/shop/cart", true),
        ("/shop/", "/shop", true),
        ("/shop", "/shopping", false),
        ("/shop", "/", false),
        ("/", "/anything", true),
        ("/", "*", false),
    ] {
        let rule = Rule { path: Some(prefix.to_owned()), ..Rule::default() };
        assert_eq!(met(rule, &asked("h", path, &none)), is, "{prefix} {path}");
    }
}

#[test]
fn a_rule_wants_all_that_it_says() {
    let rule = Rule {
        header: Some(Rule::header("X-Tenant", "blue").expect("a header")),
        cookie: Some(("beta".to_owned(), "1".to_owned())),
        ..Rule::default()
    };
    let both = headers(&[("x-tenant", "red"), ("x-tenant", "blue"), ("cookie", "a=b; beta=1")]);
    let half = headers(&[("x-tenant", "blue"), ("cookie", "beta=10")]);
    assert!(met(rule.clone(), &asked("h", "/", &both)));
    assert!(!met(rule, &asked("h", "/", &half)));
}

#[test]
fn the_first_rule_that_is_met_decides_even_if_nobody_of_it_is_there() {
    let service = service(Scheduler::RoundRobin, &[(1, true), (1, false), (1, true)]);
    let rule = |path: &str, real: &str| Rule {
        path: Some(path.to_owned()),
        reals: vec![real.to_owned()],
        ..Rule::default()
    };
    let layer7 =
        Layer7 { sticky: None, rules: vec![rule("/a", "web3"), rule("/b", "web2"), rule("/", "web1")] };
    let guide = guide(&service, &layer7);
    let none = HeaderMap::new();
    let real = |path: &str| guide.choose(&asked("h", path, &none), |_| 0, |_| 0, &[]).map(|it| it.real);
    assert_eq!([real("/a/x"), real("/b"), real("/c"), real("*")], [Some(2), None, Some(0), Some(0)]);
}

#[test]
fn requests_of_different_rules_have_turns_of_their_own() {
    let service = service(Scheduler::RoundRobin, &[(1, true), (1, true)]);
    let both = || vec!["web1".to_owned(), "web2".to_owned()];
    let rule = Rule { path: Some("/a".to_owned()), reals: both(), ..Rule::default() };
    let guide = guide(&service, &Layer7 { sticky: None, rules: vec![rule] });
    let none = HeaderMap::new();
    let mut turns = vec![0; guide.turns()];
    let mut seen = Vec::new();
    for path in ["/a", "/b", "/a", "/b"] {
        let turn = |of: usize| {
            turns[of] += 1;
            turns[of] - 1
        };
        seen.extend(guide.choose(&asked("h", path, &none), turn, |_| 0, &[]).map(|it| (path, it.real)));
    }
    assert_eq!(seen, [("/a", 0), ("/b", 0), ("/a", 1), ("/b", 1)]);
}

#[test]
fn the_least_busy_for_its_weight_is_next() {
    let none = HeaderMap::new();
    let next = |scheduler, weights: [u32; 3], load: [u64; 3]| {
        let guide = guide(&service(scheduler, &weights.map(|weight| (weight, true))), &Layer7::default());
        guide.choose(&asked("h", "/", &none), |_| 0, |at| load[at], &[]).map(|choice| choice.real)
    };
    assert_eq!(next(Scheduler::LeastConnections, [1, 9, 1], [3, 2, 2]), Some(1));
    assert_eq!(next(Scheduler::WeightedLeastConnections, [1, 4, 2], [1, 3, 1]), Some(2));
    // The slow one is idle, and the fast one is sooner done all the same.
    assert_eq!(next(Scheduler::ShortestExpectedDelay, [1, 4, 1], [0, 1, 0]), Some(1));
    assert_eq!(next(Scheduler::NeverQueue, [1, 4, 1], [0, 1, 0]), Some(0));
}

#[test]
fn a_cookie_keeps_its_visitor_until_the_real_server_is_gone() {
    let opened = guide(&service(Scheduler::RoundRobin, &[(1, true), (1, true)]), &sticky());
    let none = HeaderMap::new();
    let first = opened.choose(&asked("h", "/", &none), |_| 1, |_| 0, &[]).expect("somebody");
    assert_eq!(first, Choice { real: 1, kept: false });
    let set = opened.cookie(first).expect("a cookie").to_str().expect("text").to_owned();
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    let (pair, _) = set.split_once(';').expect("attributes");
    let again = headers(&[("cookie", &format!("other=1; {pair}"))]);
    let again = asked("h", "/", &again);
    let kept = Choice { real: 1, kept: true };
    assert_eq!(opened.choose(&again, |_| 0, |_| 0, &[]), Some(kept));
    assert_eq!(opened.cookie(kept), None);
    // Drained: no new visitor, and the old one stays.
    let drained = guide(&service(Scheduler::RoundRobin, &[(1, true), (0, true)]), &sticky());
    assert_eq!(drained.choose(&again, |_| 0, |_| 0, &[]), Some(kept));
    assert_eq!(drained.choose(&asked("h", "/", &none), |_| 1, |_| 0, &[]).map(|it| it.real), Some(0));
    // Gone, or tried in vain: another takes the visitor, and says so by another cookie.
    let gone = guide(&service(Scheduler::RoundRobin, &[(1, true), (1, false)]), &sticky());
    for (guide, tried) in [(&gone, &[][..]), (&opened, &[1])] {
        let other = guide.choose(&again, |_| 0, |_| 0, tried).expect("somebody");
        assert_eq!(other, Choice { real: 0, kept: false });
        assert!(guide.cookie(other).is_some());
    }
}

#[test]
fn a_cookie_tells_nothing_of_the_site_and_is_the_same_on_every_director() {
    let service = service(Scheduler::RoundRobin, &[(1, true), (1, true)]);
    let names: Vec<String> = service.reals.iter().map(|real| opaque(service.address, &real.name)).collect();
    insta::assert_debug_snapshot!(names, @r#"
    [
        "77320cd991d63eb3",
        "98e3dc4e29d383ca",
    ]
    "#);
}

#[test]
fn what_http_does_not_have_is_refused() {
    let service = service(Scheduler::RoundRobin, &[(1, true)]);
    let layer7 = Layer7 { sticky: Some("lab real".to_owned()), rules: vec![] };
    let refused = Guide::new(&service, &layer7).map(drop).expect_err("no name of a cookie");
    assert_eq!(refused.to_string(), "\"lab real\" cannot be the name of a cookie");
    assert_eq!(Rule::header("x y", "1"), Err(Unusable::Header("x y".to_owned())));
    assert_eq!(Rule::header("x", "1\n2"), Err(Unusable::Value("1\n2".to_owned())));
}

prop_compose! {
    fn a_service()(
        scheduler in prop::sample::select(SCHEDULERS.as_slice()),
        reals in prop::collection::vec((0u32..5, any::<bool>()), 1..6),
    ) -> Service {
        service(scheduler, &reals)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whoever_takes_requests_is_tried_once_and_nobody_else_is(
        service in a_service(),
        client: std::net::SocketAddrV4,
        turn: u32,
        load in prop::collection::vec(0u64..9, 6),
    ) {
        let guide = guide(&service, &Layer7::default());
        let none = HeaderMap::new();
        let asked = Asked { client: client.into(), host: "h", path: "/", headers: &none };
        let mut tried = Vec::new();
        while let Some(choice) = guide.choose(&asked, |_| turn, |at| load[at], &tried) {
            prop_assert!(!tried.contains(&choice.real));
            tried.push(choice.real);
        }
        let takes: BTreeSet<usize> = (0..service.reals.len()).filter(|&at| service.reals[at].takes_new()).collect();
        prop_assert_eq!(tried.into_iter().collect::<BTreeSet<_>>(), takes);
    }

    #[test]
    fn a_rule_is_answered_by_its_own_only(service in a_service(), turn: u32, names in prop::collection::vec(0usize..6, 1..4)) {
        let reals: Vec<String> = names.iter().map(|at| format!("web{}", at + 1)).collect();
        let rule = Rule { path: Some("/own".to_owned()), reals: reals.clone(), ..Rule::default() };
        let guide = guide(&service, &Layer7 { rules: vec![rule], ..sticky() });
        let none = HeaderMap::new();
        let choice = guide.choose(&asked("h", "/own/page", &none), |_| turn, |_| 0, &[]);
        let own = |at: &usize| service.reals[*at].takes_new() && reals.contains(&service.reals[*at].name);
        prop_assert_eq!(choice.is_some(), (0..service.reals.len()).any(|at| own(&at)));
        prop_assert!(choice.is_none_or(|choice| own(&choice.real)));
    }

    #[test]
    fn round_robin_gives_equal_shares(count in 1usize..6, rounds in 1u32..5, first: u16) {
        let guide = guide(&service(Scheduler::RoundRobin, &vec![(1, true); count]), &Layer7::default());
        let none = HeaderMap::new();
        let mut shares = vec![0; count];
        for turn in 0..rounds * count as u32 {
            let turn = u32::from(first) + turn;
            let choice = guide.choose(&asked("h", "/", &none), |_| turn, |_| 0, &[]);
            shares[choice.expect("somebody").real] += 1;
        }
        prop_assert!(shares.iter().all(|share| *share == rounds), "{:?}", shares);
    }
}
