//! Schedulers against what their names promise: turns, least loads, and shares that a statistician cannot tell from fair ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::super::Endpoint;
use super::*;

/// More servers than any test needs to name.
const REALS: usize = 20;
/// The highest chi-square that five servers may have: fair shares exceed it once in a thousand (four degrees of freedom, NIST
/// handbook section 1.3.6.7.4).
const CHI_SQUARE_MAX: f64 = 18.47;

fn real(name: &str, weight: u32, available: bool) -> Real {
    let endpoint = Endpoint::tcp(Ipv4Addr::new(10, 10, 1, 21), 80);
    Real { name: name.to_owned(), endpoint, weight, available }
}

/// Servers `a`, `b`, `c` and so on with these weights.
fn servers(weights: &[u32]) -> Vec<Real> {
    let names = ('a'..).map(|letter| letter.to_string());
    names.zip(weights).map(|(name, weight)| real(&name, *weight, true)).collect()
}

fn client(number: u32) -> SocketAddr {
    (Ipv4Addr::from(0xc633_6400 + number), 40_000).into()
}

/// The names of those who get so many connections, one after the other, none of which ends.
fn given(scheduler: Scheduler, reals: &[Real], connections: usize) -> Vec<&str> {
    let schedule = Schedule::new(scheduler, reals);
    let (mut turn, mut active) = (0, vec![0; reals.len()]);
    (0..connections)
        .filter_map(|_| {
            let index = schedule.choose(client(10), &mut turn, |index| active[index])?;
            active[index] += 1;
            Some(reals[index].name.as_str())
        })
        .collect()
}

#[test]
fn round_robin_takes_turns_by_name() {
    let reals = [real("web2", 1, true), real("web1", 1, true)];
    assert_eq!(given(Scheduler::RoundRobin, &reals, 4), ["web1", "web2", "web1", "web2"]);
}

#[test]
fn round_robin_does_not_weigh() {
    let reals = [real("a", 4, true), real("b", 2, true), real("c", 0, true), real("d", 2, false)];
    assert_eq!(given(Scheduler::RoundRobin, &reals, 4), ["a", "b", "a", "b"]);
}

#[test]
fn weighted_round_robin_spreads_a_weight_out() {
    let reals = [real("a", 4, true), real("b", 2, true), real("c", 0, true), real("d", 2, false)];
    assert_eq!(given(Scheduler::WeightedRoundRobin, &reals, 6), ["a", "b", "a", "a", "b", "a"]);
}

#[test]
fn least_connections_do_not_weigh() {
    assert_eq!(given(Scheduler::LeastConnections, &servers(&[9, 1]), 4), ["a", "b", "a", "b"]);
}

#[test]
fn weighted_least_connections_fill_by_weight() {
    // An idle server has no load whatever its weight, so the light one gets the second connection.
    let reals = servers(&[3, 1]);
    assert_eq!(
        given(Scheduler::WeightedLeastConnections, &reals, 8),
        ["a", "b", "a", "a", "a", "b", "a", "a"]
    );
}

#[test]
fn shortest_expected_delay_leaves_a_slow_server_idle() {
    let reals = servers(&[3, 1]);
    assert_eq!(given(Scheduler::ShortestExpectedDelay, &reals, 8), ["a", "a", "a", "b", "a", "a", "a", "b"]);
}

#[test]
fn never_queue_fills_the_idle_first_and_the_fast_of_them_before_all() {
    let reals = servers(&[1, 3, 2]);
    assert_eq!(given(Scheduler::NeverQueue, &reals, 6), ["b", "c", "a", "b", "b", "c"]);
}

#[test]
fn nobody_available_is_nobody_chosen() {
    for scheduler in ALL {
        assert!(given(scheduler, &[real("a", 1, false), real("b", 0, true)], 2).is_empty());
    }
}

const ALL: [Scheduler; 8] = [
    Scheduler::RoundRobin,
    Scheduler::WeightedRoundRobin,
    Scheduler::LeastConnections,
    Scheduler::WeightedLeastConnections,
    Scheduler::ShortestExpectedDelay,
    Scheduler::NeverQueue,
    Scheduler::SourceHash,
    Scheduler::Maglev,
];

#[test]
fn the_counter_of_turns_may_wrap() {
    let reals = servers(&[1, 1]);
    let schedule = Schedule::new(Scheduler::RoundRobin, &reals);
    let mut turn = u32::MAX;
    let mut next = || schedule.choose(client(1), &mut turn, |_| 0);
    assert_eq!([next(), next()], [Some(1), Some(0)]);
}

#[test]
fn one_client_always_meets_the_same_server() {
    let reals = [real("web1", 1, true), real("web2", 1, true)];
    let swapped = [reals[1].clone(), reals[0].clone()];
    for scheduler in ALL {
        let [one, other] = [&reals, &swapped].map(|reals| Schedule::new(scheduler, reals));
        for client in (0..256).map(client) {
            let here = one.by_source(client).map(|index| &reals[index].name);
            let there = other.by_source(client).map(|index| &swapped[index].name);
            assert_eq!(here, there, "{client} {scheduler:?}");
            if matches!(scheduler, Scheduler::SourceHash | Scheduler::Maglev) {
                assert_eq!(one.choose(client, &mut 7, |_| 3), one.by_source(client));
            }
        }
    }
}

#[test]
fn hashes_never_change() {
    let v4 = Ipv4Addr::new(198, 51, 100, 10).into();
    let v6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x10).into();
    assert_eq!([source_hash(v4), source_hash(v6)], [0x53ce_5717, 0x5291_a747]);
    let [v4, v6] = [v4, v6].map(|address| client_hash((address, 40_000).into()));
    assert_eq!([v4, v6], [0xb039_9d92, 0xe3c5_3b48]);
}

/// How far the shares are from those that the weights promise.
fn chi_square(scheduler: Scheduler, weights: &[u32; 5], clients: impl Iterator<Item = SocketAddr>) -> f64 {
    let schedule = Schedule::new(scheduler, &servers(weights));
    let mut counts = [0u32; 5];
    clients.for_each(|client| counts[schedule.by_source(client).expect("a server")] += 1);
    let (clients, total) = (f64::from(counts.iter().sum::<u32>()), f64::from(weights.iter().sum::<u32>()));
    let square = |(count, weight): (&u32, &u32)| {
        let expected = clients * f64::from(*weight) / total;
        (f64::from(*count) - expected).powi(2) / expected
    };
    counts.iter().zip(weights).map(square).sum()
}

#[test]
fn hashes_give_fair_shares() {
    let v6 = |bits: u128| SocketAddr::from((Ipv6Addr::from((0x2001_0db8 << 96) + bits), 40_000));
    // Neighbours, hosts from all over the address space, neighbours in one IPv6 network, and the first hosts of many.
    let sets: [(&str, Vec<SocketAddr>); 5] = [
        ("a network of 256", (0..256).map(client).collect()),
        (
            "a network of 65536",
            (0..65_536).map(|host| (Ipv4Addr::from((10 << 24) + host), 1).into()).collect(),
        ),
        (
            "the whole space",
            (0..50_000u32)
                .map(|host| (Ipv4Addr::from(host.wrapping_mul(0x9e37_79b9)), 40_000).into())
                .collect(),
        ),
        ("an IPv6 network", (0..50_000).map(v6).collect()),
        ("many IPv6 networks", (0..50_000).map(|network| v6((network << 64) + 1)).collect()),
    ];
    for (name, clients) in &sets {
        for scheduler in [Scheduler::SourceHash, Scheduler::Maglev] {
            for weights in [[1; 5], [1, 2, 3, 4, 5]] {
                let chi_square = chi_square(scheduler, &weights, clients.iter().copied());
                assert!(chi_square < CHI_SQUARE_MAX, "{name}, {scheduler:?}, {weights:?}: {chi_square:.1}");
            }
        }
    }
    // The connections of one client: the ports that Linux gives out.
    let ports = || (32_768..=60_999).map(|port| SocketAddr::from((Ipv4Addr::new(198, 51, 100, 10), port)));
    for weights in [[1; 5], [1, 2, 3, 4, 5]] {
        let chi_square = chi_square(Scheduler::Maglev, &weights, ports());
        assert!(chi_square < CHI_SQUARE_MAX, "ports, {weights:?}: {chi_square:.1}");
    }
}

#[test]
fn a_chi_square_would_find_an_unfair_share() {
    // The same clients, measured by weights that are not theirs: one client in twenty-five goes to the wrong server.
    let clients = || (0..50_000u32).map(|host| (Ipv4Addr::from(host.wrapping_mul(0x9e37_79b9)), 1).into());
    let schedule = Schedule::new(Scheduler::SourceHash, &servers(&[25; 5]));
    assert_eq!(schedule.candidates().len(), 5);
    assert!(chi_square(Scheduler::SourceHash, &[26, 25, 25, 25, 24], clients()) < CHI_SQUARE_MAX);
    let mut counts = [0u32; 5];
    let skewed = Schedule::new(Scheduler::SourceHash, &servers(&[26, 25, 25, 25, 24]));
    clients().for_each(|client| counts[skewed.by_source(client).expect("a server")] += 1);
    let square = |count: &u32| (f64::from(*count) - 10_000.0).powi(2) / 10_000.0;
    assert!(counts.iter().map(square).sum::<f64>() > CHI_SQUARE_MAX, "{counts:?}");
}

/// How many connections each server has on average, when one comes in every tick and each stays for 1 to `longest` ticks.
fn simulated(scheduler: Scheduler, weights: &[u32], longest: u32) -> Vec<f64> {
    const TICKS: u32 = 20_000;
    let schedule = Schedule::new(scheduler, &servers(weights));
    let (mut active, mut sums, mut turn) = (vec![0u64; weights.len()], vec![0u64; weights.len()], 0);
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); (TICKS + longest + 1) as usize];
    for tick in 0..TICKS {
        std::mem::take(&mut ends[tick as usize]).into_iter().for_each(|index| active[index] -= 1);
        let index = schedule.choose(client(tick), &mut turn, |index| active[index]).expect("a server");
        active[index] += 1;
        ends[(tick + 1 + mixed(tick) % longest) as usize].push(index);
        sums.iter_mut().zip(&active).for_each(|(sum, active)| *sum += active);
    }
    sums.into_iter().map(|sum| sum as f64 / f64::from(TICKS)).collect()
}

#[test]
fn connections_that_come_and_go_are_shared_by_weight() {
    // 100 connections at a time, on average.
    for (scheduler, shares) in [
        (Scheduler::LeastConnections, [1.0, 1.0, 1.0]),
        (Scheduler::WeightedLeastConnections, [1.0, 2.0, 4.0]),
        (Scheduler::ShortestExpectedDelay, [1.0, 2.0, 4.0]),
        (Scheduler::NeverQueue, [1.0, 2.0, 4.0]),
    ] {
        let averages = simulated(scheduler, &[1, 2, 4], 199);
        let (all, total) = (averages.iter().sum::<f64>(), shares.iter().sum::<f64>());
        for (average, share) in averages.iter().zip(shares) {
            let fair = all * share / total;
            // Connections are whole, so nobody can be closer than about one of them.
            assert!((average - fair).abs() < 1.0, "{scheduler:?}: {averages:?}");
        }
    }
}

#[test]
fn with_little_to_do_never_queue_uses_the_slow_and_shortest_delay_does_not() {
    // One to three connections at a time: one server can take them all, ten times as fast as each of the others.
    let [nq, sed] = [Scheduler::NeverQueue, Scheduler::ShortestExpectedDelay]
        .map(|scheduler| simulated(scheduler, &[10, 1, 1], 3));
    assert_eq!(sed[1..], [0.0, 0.0]);
    assert!(nq[1] > 0.3, "{nq:?}");
}

proptest! {
    #[test]
    fn a_round_has_every_server_and_never_too_many_turns(
        weights in prop::collection::vec(0u32.., 0..REALS),
    ) {
        let order = turns(&weights);
        prop_assert!(order.len() <= TURNS_MAX);
        for (index, weight) in weights.iter().enumerate() {
            prop_assert_eq!(order.contains(&index), *weight > 0);
        }
    }

    // Whoever serves has at least the average purse, which is more than nothing, so after paying it owes less than a whole
    // round: no server is ever a whole turn ahead of its share. What the others owe is what one may have, so none is
    // behind by as many turns as there are others.
    #[test]
    fn a_weighted_round_is_smooth_and_comes_out_even(weights in prop::collection::vec(1u32..30, 1..8)) {
        let order = turns(&weights);
        let total: i64 = rounded(&weights).iter().sum();
        for (index, weight) in rounded(&weights).into_iter().enumerate() {
            let mut served = 0;
            for (turn, one) in (1..).zip(&order) {
                served += i64::from(*one == index);
                let ahead = served * total - turn * weight;
                prop_assert!(ahead < total, "{order:?}: {index} is ahead at turn {turn}");
                prop_assert!(-ahead < total * weights.len() as i64, "{order:?}: {index} is behind at turn {turn}");
            }
            prop_assert_eq!(served, weight);
        }
    }

    #[test]
    fn nobody_has_a_lesser_load_than_the_chosen_one(
        reals in prop::collection::vec((1u32.., any::<u32>()), 1..REALS),
    ) {
        let weights: Vec<u32> = reals.iter().map(|real| real.0).collect();
        let loads: Vec<u64> = reals.iter().map(|real| real.1.into()).collect();
        let weighing = [
            (Scheduler::LeastConnections, 0),
            (Scheduler::WeightedLeastConnections, 0),
            (Scheduler::ShortestExpectedDelay, 1),
        ];
        for (scheduler, new) in weighing {
            let schedule = Schedule::new(scheduler, &servers(&weights));
            let chosen = schedule.choose(client(1), &mut 0, |index| loads[index]).expect("a server");
            let weight = |index: usize| match scheduler {
                Scheduler::LeastConnections => 1,
                _ => u128::from(weights[index]),
            };
            for other in 0..weights.len() {
                let [mine, theirs] = [(chosen, other), (other, chosen)]
                    .map(|(one, other)| (u128::from(loads[one]) + new) * weight(other));
                let is_right = if other < chosen { mine < theirs } else { mine <= theirs };
                prop_assert!(is_right, "{scheduler:?} chose {chosen} before {other}");
            }
        }
    }

    #[test]
    fn never_queue_gives_no_second_connection_while_somebody_is_idle(
        reals in prop::collection::vec((1u32..10, 0u64..3), 1..REALS),
    ) {
        let weights: Vec<u32> = reals.iter().map(|real| real.0).collect();
        let schedule = Schedule::new(Scheduler::NeverQueue, &servers(&weights));
        let chosen = schedule.choose(client(1), &mut 0, |index| reals[index].1).expect("a server");
        let somebody_is_idle = reals.iter().any(|real| real.1 == 0);
        prop_assert_eq!(reals[chosen].1 == 0, somebody_is_idle);
    }
}
