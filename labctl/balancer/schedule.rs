//! How a new connection gets its real server. A schedule is a list of slots; round robin walks along it, source hashing
//! jumps into it. The data plane holds the same list and the same hash.

use std::net::IpAddr;

use super::table::{SLOTS, maglev};
use super::{Real, Scheduler};

/// Most turns of a round robin before it repeats; weights that would need more are rounded.
pub const TURNS_MAX: usize = 4096;

const _: () = assert!(TURNS_MAX <= SLOTS, "the data plane keeps both kinds of list in the same place");

/// Who gets new connections, by slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    scheduler: Scheduler,
    slots: Vec<u8>,
}

impl Schedule {
    /// The schedule over those real servers that take new connections. Slots are indexes into `reals`.
    pub fn new(scheduler: Scheduler, reals: &[Real]) -> Self {
        let share = |real: &Real| match (real.takes_new(), scheduler) {
            (false, _) => 0,
            (true, Scheduler::RoundRobin) => 1,
            (true, _) => real.weight,
        };
        let slots = match scheduler {
            Scheduler::RoundRobin
            | Scheduler::WeightedRoundRobin
            | Scheduler::LeastConnections
            | Scheduler::WeightedLeastConnections
            | Scheduler::ShortestExpectedDelay
            | Scheduler::NeverQueue => {
                let mut order: Vec<usize> = (0..reals.len()).collect();
                order.sort_by(|&a, &b| reals[a].name.cmp(&reals[b].name));
                let weights: Vec<u32> = order.iter().map(|&index| share(&reals[index])).collect();
                turns(&weights).into_iter().map(|turn| order[turn] as u8).collect()
            }
            Scheduler::SourceHash | Scheduler::Maglev => {
                maglev(&reals.iter().map(|real| (real.name.as_str(), share(real))).collect::<Vec<_>>())
            }
        };
        Self { scheduler, slots }
    }

    /// The scheduler it was made for.
    pub fn scheduler(&self) -> Scheduler {
        self.scheduler
    }

    /// The list itself; empty if nobody takes new connections.
    pub fn slots(&self) -> &[u8] {
        &self.slots
    }

    /// The real server of a connection without one, as an index. `turn` counts the new connections of a round robin.
    /// A connection that is not new was begun with another director or long ago; its source is all there is to go by.
    pub fn choose(&self, client: IpAddr, is_new: bool, turn: &mut u32) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let number = match self.scheduler {
            Scheduler::SourceHash | Scheduler::Maglev => source_hash(client),
            _ if is_new => {
                let number = *turn;
                *turn = turn.wrapping_add(1);
                number
            }
            _ => source_hash(client),
        };
        Some(usize::from(self.slots[number as usize % self.slots.len()]))
    }
}

/// The hash of a client's address: the finalizer of MurmurHash3, because neighbours must not stay neighbours. bpf/lb.bpf.c has the same function, and it must never change.
pub fn source_hash(client: IpAddr) -> u32 {
    let mut hash = match client {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address
            .segments()
            .chunks(2)
            .fold(0, |fold, pair| fold ^ (u32::from(pair[0]) << 16 | u32::from(pair[1]))),
    };
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The order of a smooth weighted round robin: in every turn each server earns its weight, the richest one serves and
/// pays the total. So a weight of 2 is two turns spread out, not two in a row.
fn turns(weights: &[u32]) -> Vec<usize> {
    let weights = rounded(weights);
    let total: i64 = weights.iter().sum();
    let mut earned = vec![0; weights.len()];
    let mut order = Vec::with_capacity(total as usize);
    for _ in 0..total {
        for (purse, weight) in earned.iter_mut().zip(&weights) {
            *purse += weight;
        }
        // The first of the richest, so that names decide between equals.
        let richest = (0..weights.len()).rev().max_by_key(|&index| earned[index]).unwrap_or(0);
        earned[richest] -= total;
        order.push(richest);
    }
    order
}

/// Weights in lowest terms, scaled down until one round of them has at most [`TURNS_MAX`] turns.
fn rounded(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let lowest: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let total: u64 = lowest.iter().sum();
    // A server with any weight keeps at least one turn, so leave room for those that rounding would lose.
    let room = (TURNS_MAX - weights.len().min(TURNS_MAX)) as u64;
    let scale = |weight: u64| match weight {
        0 => 0,
        _ if total <= TURNS_MAX as u64 => weight as i64,
        _ => (u128::from(weight) * u128::from(room) / u128::from(total)).max(1) as i64,
    };
    lowest.into_iter().map(scale).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::super::Endpoint;
    use super::*;

    fn real(name: &str, weight: u32, available: bool) -> Real {
        let endpoint = Endpoint::tcp(Ipv4Addr::new(10, 10, 1, 21), 80);
        Real { name: name.to_owned(), endpoint, weight, available }
    }

    fn round(reals: &[Real], connections: usize) -> Vec<&str> {
        let schedule = Schedule::new(Scheduler::WeightedRoundRobin, reals);
        let mut turn = 0;
        let client = Ipv4Addr::new(198, 51, 100, 10).into();
        (0..connections)
            .filter_map(|_| schedule.choose(client, true, &mut turn))
            .map(|index| reals[index].name.as_str())
            .collect()
    }

    #[test]
    fn round_robin_takes_turns_by_name() {
        let reals = [real("web2", 1, true), real("web1", 1, true)];
        assert_eq!(round(&reals, 4), ["web1", "web2", "web1", "web2"]);
    }

    #[test]
    fn round_robin_spreads_a_weight_out() {
        let reals = [real("a", 4, true), real("b", 2, true), real("c", 0, true), real("d", 2, false)];
        assert_eq!(round(&reals, 6), ["a", "b", "a", "a", "b", "a"]);
    }

    #[test]
    fn nobody_available_is_nobody_chosen() {
        assert!(round(&[real("a", 1, false), real("b", 0, true)], 2).is_empty());
    }

    #[test]
    fn the_counter_of_turns_may_wrap() {
        let reals = [real("a", 1, true), real("b", 1, true)];
        let schedule = Schedule::new(Scheduler::RoundRobin, &reals);
        let mut turn = u32::MAX;
        assert_eq!(schedule.choose(Ipv4Addr::LOCALHOST.into(), true, &mut turn), Some(1));
        assert_eq!(schedule.choose(Ipv4Addr::LOCALHOST.into(), true, &mut turn), Some(0));
    }

    #[test]
    fn one_client_always_meets_the_same_server() {
        let reals = [real("web1", 1, true), real("web2", 1, true)];
        let swapped = [reals[1].clone(), reals[0].clone()];
        let [one, other] = [&reals, &swapped].map(|reals| Schedule::new(Scheduler::SourceHash, reals));
        for host in 0..=255 {
            let client = Ipv4Addr::new(198, 51, 100, host).into();
            let here = one.choose(client, true, &mut 0).map(|index| &reals[index].name);
            let there = other.choose(client, false, &mut 7).map(|index| &swapped[index].name);
            assert_eq!(here, there, "{client}");
        }
    }

    #[test]
    fn neighbours_are_spread_over_the_servers() {
        let reals = [real("web1", 1, true), real("web2", 1, true)];
        let schedule = Schedule::new(Scheduler::SourceHash, &reals);
        let first = (10..30).filter(|&host| {
            schedule.choose(Ipv4Addr::new(198, 51, 100, host).into(), true, &mut 0) == Some(0)
        });
        assert!((5..=15).contains(&first.count()), "twenty neighbours should not all meet one server");
    }

    proptest! {
        #[test]
        fn a_round_has_every_server_and_never_too_many_turns(
            weights in proptest::collection::vec(0u32.., 0..REALS),
        ) {
            let order = turns(&weights);
            prop_assert!(order.len() <= TURNS_MAX);
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(order.contains(&index), *weight > 0);
            }
        }
    }

    const REALS: usize = 20;
}
