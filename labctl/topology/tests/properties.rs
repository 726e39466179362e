//! What holds for every text, and for every text that is a topology.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const HA: &str = include_str!("../../../topologies/ha.yaml");
const DUAL: &str = include_str!("../../../topologies/dual-stack.yaml");

/// What a hand or a crash could put into a file.
const SCRAPS: [&str; 26] = [
    "",
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    "\n",
    "\t",
    "  ",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "none",
    "off",
    "0",
    "-1",
    "99999999999999999999",
    "::1",
    "198.51.100.255",
    "é",
    "\u{0}",
];

/// `HA` with some pieces cut out and others put in.
fn mutated() -> impl Strategy<Value = String> {
    let cut = (0..HA.len(), 0..12_usize, prop::sample::select(SCRAPS.to_vec()));
    prop::collection::vec(cut, 1..6).prop_map(|cuts| {
        let mut text = HA.to_owned();
        for (start, len, scrap) in cuts {
            let boundary =
                |at: usize| (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            let range = boundary(start.min(text.len()))..boundary((start + len).min(text.len()));
            text.replace_range(range, scrap);
        }
        text
    })
}

/// `HA` with whole words swapped, which stays YAML far more often than [`mutated`].
fn shuffled() -> impl Strategy<Value = String> {
    let words: Vec<&str> = HA.split_inclusive([' ', ',']).collect();
    let count = words.len();
    prop::collection::vec((0..count, 0..count), 1..4).prop_map(move |swaps| {
        let mut words = words.clone();
        for (a, b) in swaps {
            words.swap(a, b);
        }
        words.concat()
    })
}

/// Numbers of a site replaced by others: nearly always YAML, and now and then a topology.
fn renumbered(site: &'static str) -> impl Strategy<Value = String> {
    let places: Vec<usize> = site.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
    let digits = prop::collection::vec((prop::sample::select(places), b'0'..=b'9'), 1..4);
    digits.prop_map(move |digits| {
        let mut text = site.to_owned();
        digits
            .into_iter()
            .for_each(|(at, digit)| text.replace_range(at..=at, &char::from(digit).to_string()));
        text
    })
}

fn check(text: &str) {
    match parse("ha.yaml", text) {
        Ok(topology) => check_topology(&topology),
        Err(invalid) => check_refusal(&invalid),
    }
}

fn check_refusal(invalid: &Invalid) {
    assert!(!invalid.problems.is_empty(), "a refusal has a reason");
    for problem in &invalid.problems {
        assert!(invalid.source.get(problem.span.clone()).is_some(), "{problem:?} points into the source");
        assert!(problem.line >= 1 && problem.column >= 1);
        if let Some((span, _)) = &problem.also {
            assert!(invalid.source.get(span.clone()).is_some(), "{problem:?} points into the source");
        }
    }
    assert!(invalid.problems.is_sorted_by_key(|problem| problem.span.start));
    assert!(!invalid.to_string().is_empty());
}

fn check_topology(topology: &Topology) {
    let mut seen = std::collections::BTreeSet::new();
    let mut place = |network: &NetworkName, address: IpAddr| {
        let prefix = topology.networks.get(network).expect("every network is known");
        let prefix6 = topology.networks6.get(network);
        assert!(match address {
            IpAddr::V4(one) => prefix.contains(&one) && one != prefix.network() && one != prefix.broadcast(),
            IpAddr::V6(one) => prefix6.is_some_and(|net| net.contains(&one) && one != net.network()),
        });
        assert!(seen.insert(address), "{address} is there once");
    };
    for node in &topology.nodes {
        assert!(!node.interfaces.is_empty());
        for interface in &node.interfaces {
            assert!(topology.networks.contains_key(&interface.network));
            interface.all().for_each(|address| place(&interface.network, address));
        }
        let on_link = |hop| {
            node.interfaces
                .iter()
                .any(|it| !it.addresses6.is_empty() && topology.networks6[&it.network].contains(&hop))
        };
        assert!(node.gateway6.is_none_or(on_link), "IPv6 goes where the node has an address");
        let prefixes = || node.interfaces.iter().map(|interface| topology.networks[&interface.network]);
        assert!(node.gateway.is_none_or(|hop| prefixes().any(|prefix| prefix.contains(&hop))));
    }
    for floating in topology.failover.iter().flat_map(|failover| &failover.addresses) {
        place(&floating.network, floating.address.into());
    }
    for floating in topology.failover.iter().flat_map(|failover| &failover.addresses6) {
        place(&floating.network, floating.address.into());
    }
    if let Some(failover) = &topology.failover {
        for proxy in topology.nodes_of(Role::Proxy) {
            assert!(proxy.address_on(&failover.network).is_some(), "every proxy can vote");
            assert!(failover.priorities.contains_key(&proxy.name));
        }
    }
    for service in topology.balancer.iter().flat_map(|balancer| &balancer.services) {
        assert!(!service.reals.is_empty());
        assert!(service.check.timeout <= service.check.interval);
        for real in &service.reals {
            let node = topology.node(&real.node).expect("every real server is a node");
            assert!(node.interfaces.iter().any(|interface| interface.all().any(|own| own == real.address)));
        }
    }
    let json = serde_json::to_string(topology).unwrap();
    assert_eq!(&serde_json::from_str::<Topology>(&json).unwrap(), topology);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_makes_it_panic(text in mutated()) {
        check(&text);
    }

    #[test]
    fn no_shuffle_makes_it_panic(text in shuffled()) {
        check(&text);
    }

    #[test]
    fn what_is_accepted_is_sound(text in renumbered(HA)) {
        check(&text);
    }

    #[test]
    fn what_is_accepted_is_sound_in_both_families(text in renumbered(DUAL)) {
        check(&text);
    }
}

#[test]
fn the_originals_are_sound() {
    check_topology(&parse("ha.yaml", HA).unwrap());
    check_topology(&parse("dual-stack.yaml", DUAL).unwrap());
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for open in ["[", "{a: ", "- ", "? "] {
        let invalid = parse("deep.yaml", &open.repeat(50_000)).unwrap_err();
        assert_eq!(invalid.problems[0].kind.code(), "labctl::syntax");
    }
}

#[test]
fn aliases_cannot_blow_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let invalid = parse("bomb.yaml", &text).unwrap_err();
    assert_eq!(invalid.problems[0].kind.code(), "labctl::syntax");
}

#[test]
fn the_number_of_problems_is_bounded() {
    let keys: String = (0..20_000).map(|number| format!("key-{number}: 1\n")).collect();
    let invalid = parse("wrong.yaml", &keys).unwrap_err();
    assert_eq!(invalid.problems.len(), 100);
    assert_eq!(invalid.left_out, 20_000 + 3 - 100);
    assert!(invalid.to_string().ends_with("wrong.yaml: and 19903 more"));
}
