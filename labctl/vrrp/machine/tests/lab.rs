//! Elections of [`Profile::Lab`] under every fault that the simulated site has.

use proptest::prelude::*;

use super::site::{Chance, Fault, Site};
use super::*;

/// What is asked of the end: within this time after the last fault there is one holder, the best where all preempt. A
/// lease runs out, a lowest backup misses its adverts, and claims are not heeded a few times.
fn settling(interval: Interval) -> Duration {
    8 * interval.active_down(NonZeroU8::MIN, SkewRule::OfInterval) + Duration::from_millis(500)
}

pub(super) fn site(interval: Interval, routers: &[(u8, bool)], chances: Vec<Chance>) -> Site {
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(10, 10, 1, 11 + at as u8));
    let config = |at: usize| {
        let own = (routers[at].0, address(at));
        let rank = (0..routers.len()).filter(|&other| (routers[other].0, address(other)) > own).count();
        Config {
            interval,
            address: address(at),
            profile: Profile::Lab(LabRules { rank: rank as u32, probes: true, lease: true }),
            ..config(routers[at].0, routers[at].1)
        }
    };
    let configs = (0..routers.len()).map(config).collect();
    let mut site = Site::new(configs, chances);
    for node in 0..routers.len() {
        site.plan(Time::ZERO, Fault::Start { node });
    }
    site
}

fn chances() -> impl Strategy<Value = Vec<Chance>> {
    let extreme = || prop_oneof![0..=1000u16, Just(0), Just(1000)];
    let chance = (prop::bool::weighted(0.3), prop::bool::weighted(0.2), extreme(), extreme());
    let chance = chance.prop_map(|(lost, twice, part, late)| Chance { lost, twice, part, late });
    prop::collection::vec(chance, 1..60)
}

fn faults(nodes: usize) -> impl Strategy<Value = Vec<(u16, Fault)>> {
    let node = move || 0..nodes;
    let links = (any::<bool>(), prop::bool::weighted(0.8))
        .prop_map(|(election, service)| Links { election, service });
    let health = (prop_oneof![Just(0u8), any::<u8>()], prop::bool::weighted(0.2))
        .prop_map(|(lowered_by, fault)| Health { lowered_by, fault });
    let fault = prop_oneof![
        2 => any::<bool>().prop_map(|bad| Fault::Weather { bad }),
        4 => (node(), 0..3u8).prop_map(|(node, part)| Fault::Partition { node, part }),
        4 => (node(), 1..150u16).prop_map(|(node, ms)| Fault::Pause { node, ms }),
        2 => (node(), 1..150u16).prop_map(|(node, ms)| Fault::Stall { node, ms }),
        2 => (node(), 1..150u16).prop_map(|(node, ms)| Fault::Kill { node, ms }),
        2 => node().prop_map(|node| Fault::Stop { node }),
        3 => node().prop_map(|node| Fault::Start { node }),
        2 => (node(), links).prop_map(|(node, links)| Fault::Links { node, links }),
        2 => (node(), health).prop_map(|(node, health)| Fault::Health { node, health }),
    ];
    prop::collection::vec((0..120u16, fault), 0..30)
}

type Case = (u16, Vec<(u8, bool)>, Vec<Chance>, Vec<(u16, Fault)>);

fn cases() -> impl Strategy<Value = Case> {
    let priority = prop_oneof![1..=255u8, Just(100), Just(101), Just(254), Just(255)];
    let interval = prop_oneof![3 => Just(1u16), 1 => Just(3), 1 => Just(10)];
    (interval, prop::collection::vec((priority, any::<bool>()), 2..=5)).prop_flat_map(
        |(interval, routers)| {
            let nodes = routers.len();
            (Just(interval), Just(routers), chances(), faults(nodes))
        },
    )
}

/// Plays a case to its end, and says what went wrong with what led there.
fn play((interval, routers, chances, faults): &Case, aloud: bool) -> Result<(), String> {
    let interval = cs(*interval);
    let mut site = site(interval, routers, chances.clone());
    if aloud {
        site.record();
    }
    let ended = play_on(&mut site, interval, routers, faults);
    ended.map_err(|wrong| format!("{wrong}\n{}", site.told()))
}

fn play_on(
    site: &mut Site,
    interval: Interval,
    routers: &[(u8, bool)],
    faults: &[(u16, Fault)],
) -> Result<(), String> {
    let mut at = Time::ZERO;
    for (ms, fault) in faults {
        at += Duration::from_millis((*ms).into());
        site.plan(at, *fault);
    }
    site.run_until(at + Duration::from_millis(200))?;
    site.heal();
    site.run_until(site.now + settling(interval))?;
    let (holders, states) = (site.holders(), site.states());
    let actives = states.iter().filter(|state| **state == State::Active).count();
    if holders.len() != 1 || actives != 1 {
        return Err(format!("holders {holders:?}, states {states:?}"));
    }
    if let Some(node) = (0..routers.len()).find(|&node| site.degraded(node).is_some()) {
        return Err(format!("{node} says {:?}", site.degraded(node)));
    }
    let best = routers.iter().map(|router| router.0).max();
    if routers.iter().all(|&(priority, preempt)| preempt || priority == 255)
        && Some(routers[holders[0]].0) != best
    {
        return Err(format!("{holders:?} is not the best of {routers:?}"));
    }
    Ok(())
}

proptest! {
    #[test]
    fn never_two_that_answer_and_one_again_after_the_faults(case in cases()) {
        if play(&case, false).is_err() {
            play(&case, true).map_err(TestCaseError::fail)?;
        }
    }
}
