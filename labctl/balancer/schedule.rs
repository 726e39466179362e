//! How a connection gets its real server. A schedule has a list of slots, along which round robin walks and into which the
//! hashes jump, and the real servers in the order of their names, among which the others look for the least busy one. The
//! data plane holds the same lists, and does the same arithmetic: whole numbers only, so that C and Rust cannot differ.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use super::table::{SLOTS, maglev};
use super::{Real, Scheduler};

/// Most turns of a round robin before it repeats; weights that would need more are rounded.
pub const TURNS_MAX: usize = 4096;

const _: () = assert!(TURNS_MAX <= SLOTS, "the data plane keeps both kinds of list in the same place");

/// Who gets new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    scheduler: Scheduler,
    slots: Vec<u8>,
    candidates: Vec<Candidate>,
}

/// A real server that takes new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which one of the service's.
    pub index: u8,
    /// What its connections are weighed by: its weight, or 1 where the scheduler does not weigh.
    pub weight: u32,
}

impl Schedule {
    /// The schedule over those real servers that take new connections. Slots are indexes into `reals`.
    ///
    /// # Panics
    /// If there are more than 256 reals.
    pub fn new(scheduler: Scheduler, reals: &[Real]) -> Self {
        let share = |real: &Real| match (real.takes_new(), scheduler) {
            (false, _) => 0,
            (true, Scheduler::RoundRobin | Scheduler::LeastConnections) => 1,
            (true, _) => real.weight,
        };
        let mut order: Vec<usize> = (0..reals.len()).collect();
        order.sort_by(|&a, &b| reals[a].name.cmp(&reals[b].name));
        let candidates: Vec<Candidate> = order
            .into_iter()
            .map(|place| Candidate {
                index: u8::try_from(place).expect("at most 256 reals"),
                weight: share(&reals[place]),
            })
            .filter(|candidate| candidate.weight > 0)
            .collect();
        let slots = match scheduler {
            Scheduler::RoundRobin
            | Scheduler::WeightedRoundRobin
            | Scheduler::LeastConnections
            | Scheduler::WeightedLeastConnections
            | Scheduler::ShortestExpectedDelay
            | Scheduler::NeverQueue => {
                let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
                turns(&weights).into_iter().map(|turn| candidates[turn].index).collect()
            }
            Scheduler::SourceHash | Scheduler::Maglev => {
                maglev(&reals.iter().map(|real| (real.name.as_str(), share(real))).collect::<Vec<_>>())
            }
        };
        Self { scheduler, slots, candidates }
    }

    /// The scheduler it was made for.
    pub fn scheduler(&self) -> Scheduler {
        self.scheduler
    }

    /// The slots; empty if nobody takes new connections.
    pub fn slots(&self) -> &[u8] {
        &self.slots
    }

    /// Those that take new connections, in the order of their names.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The real server of a new connection, as an index. `turn` counts the connections that were given out in turn, and
    /// `active` tells how many each real server has.
    pub fn choose(&self, client: SocketAddr, turn: &mut u32, active: impl Fn(usize) -> u64) -> Option<usize> {
        match self.scheduler {
            Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => {
                let slot = self.slot(*turn)?;
                *turn = turn.wrapping_add(1);
                Some(slot)
            }
            Scheduler::LeastConnections | Scheduler::WeightedLeastConnections => {
                self.least(|_| true, |candidate| active(candidate.index.into()))
            }
            Scheduler::ShortestExpectedDelay => self.shortest(&active, |_| true),
            Scheduler::NeverQueue => {
                let is_idle = |candidate: &Candidate| active(candidate.index.into()) == 0;
                self.shortest(&active, is_idle).or_else(|| self.shortest(&active, |_| true))
            }
            Scheduler::SourceHash | Scheduler::Maglev => self.by_source(client),
        }
    }

    /// The real server of a connection that was begun with another director or long ago: its source is all there is to go
    /// by. Every director with the same reals says the same.
    pub fn by_source(&self, client: SocketAddr) -> Option<usize> {
        self.slot(match self.scheduler {
            Scheduler::Maglev => client_hash(client),
            _ => source_hash(client.ip()),
        })
    }

    fn slot(&self, number: u32) -> Option<usize> {
        let place = (number as usize).checked_rem(self.slots.len())?;
        Some(self.slots[place].into())
    }

    /// The one whose next connection waits the shortest time, the new one counted.
    fn shortest(&self, active: impl Fn(usize) -> u64, may: impl Fn(&Candidate) -> bool) -> Option<usize> {
        self.least(may, |candidate| active(candidate.index.into()) + 1)
    }

    /// The first of those with the least load for its weight. Two fractions are compared by multiplying each with the other's
    /// denominator: 32 bits by 32 fit into the 64 of the data plane.
    fn least(&self, may: impl Fn(&Candidate) -> bool, load: impl Fn(&Candidate) -> u64) -> Option<usize> {
        let by_weight = |a: &&Candidate, b: &&Candidate| -> Ordering {
            let [here, there] =
                [(a, b), (b, a)].map(|(one, other)| u128::from(load(one)) * u128::from(other.weight));
            here.cmp(&there)
        };
        // Of equals, `min_by` returns the first.
        let least = self.candidates.iter().filter(|candidate| may(candidate)).min_by(by_weight)?;
        Some(least.index.into())
    }
}

/// The hash of a client's address: each word of 32 bits, in network order, mixed with the hash of those before it; an IPv4
/// address is one word. bpf/lb.bpf.c has the same function, and it must never change: two directors of different
/// versions would choose differently.
pub fn source_hash(client: IpAddr) -> u32 {
    match client {
        IpAddr::V4(address) => mixed(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [96, 64, 32, 0].iter().fold(0, |hash, shift| mixed(hash ^ (bits >> shift) as u32))
        }
    }
}

/// The hash of a client's address and port, the port being one word more. It must never change either.
pub fn client_hash(client: SocketAddr) -> u32 {
    mixed(source_hash(client.ip()) ^ u32::from(client.port()))
}

/// The finalizer of MurmurHash3, because neighbours must not stay neighbours.
fn mixed(mut hash: u32) -> u32 {
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
mod tests;
