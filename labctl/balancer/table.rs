//! The Maglev table (Eisenbud and others, "Maglev", NSDI 2016, section 3.4): from names and weights to slots. Everybody
//! who has the same names and weights gets the same table, in whatever order they are given, and a server that leaves
//! takes hardly any slots but its own with it. It knows nothing of packets.

/// Slots of a table: prime, as the method wants it, and over 100 times the most reals, so that shares are right to
/// about one per cent.
pub const SLOTS: usize = 65_537;

/// Which server has each slot, as an index into `reals` (pairs of a name and a weight). Weight 0 gets no slots; if
/// nobody has a weight, the table is empty.
///
/// # Panics
/// If there are more than 256 reals.
pub fn maglev(reals: &[(&str, u32)]) -> Vec<u8> {
    let heaviest = reals.iter().map(|&(_, weight)| u64::from(weight)).max().unwrap_or(0);
    if heaviest == 0 {
        return Vec::new();
    }
    let mut seats: Vec<Seat> = reals
        .iter()
        .enumerate()
        .filter(|(_, (_, weight))| *weight > 0)
        .map(|(index, &(name, weight))| Seat::new(index, name, weight))
        .collect();
    seats.sort_by(|a, b| a.name.cmp(b.name));

    let mut owners: Vec<Option<u8>> = vec![None; SLOTS];
    let mut free = SLOTS;
    for round in 1u64.. {
        for seat in &mut seats {
            // The heaviest picks in every round, the others in proportion.
            if round * seat.weight < seat.next_pick {
                continue;
            }
            seat.next_pick += heaviest;
            let slot = seat.next_free(&owners);
            owners[slot] = Some(seat.owner);
            free -= 1;
            if free == 0 {
                return owners.into_iter().flatten().collect();
            }
        }
    }
    unreachable!("the heaviest server takes a slot in every round")
}

/// One server's order of preference among the slots, and how far down that list it is.
struct Seat<'a> {
    name: &'a str,
    owner: u8,
    weight: u64,
    next_pick: u64,
    slot: usize,
    skip: usize,
}

impl<'a> Seat<'a> {
    fn new(index: usize, name: &'a str, weight: u32) -> Self {
        Self {
            name,
            owner: u8::try_from(index).expect("at most 256 reals"),
            weight: weight.into(),
            next_pick: 0,
            slot: (hash(name, 1) % SLOTS as u64) as usize,
            skip: (hash(name, 2) % (SLOTS as u64 - 1) + 1) as usize,
        }
    }

    fn next_free(&mut self, owners: &[Option<u8>]) -> usize {
        loop {
            let slot = self.slot;
            self.slot = (slot + self.skip) % SLOTS;
            if owners[slot].is_none() {
                return slot;
            }
        }
    }
}

/// FNV-1a, finished with a multiply and shift because its high bits are weak on short names. It must never change:
/// two directors of different versions would choose differently.
fn hash(name: &str, seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(table: &[u8], reals: usize) -> Vec<usize> {
        let mut shares = vec![0; reals];
        for &owner in table {
            shares[usize::from(owner)] += 1;
        }
        shares
    }

    fn owners<'a>(reals: &[(&'a str, u32)]) -> Vec<&'a str> {
        maglev(reals).into_iter().map(|owner| reals[usize::from(owner)].0).collect()
    }

    #[test]
    fn equal_weights_get_equal_shares() {
        assert_eq!(shares(&maglev(&[("web1", 1), ("web2", 1), ("web3", 1)]), 3), [21846, 21846, 21845]);
    }

    #[test]
    fn shares_follow_weights_and_zero_gets_nothing() {
        let shares = shares(&maglev(&[("web1", 30), ("web2", 0), ("web3", 10)]), 3);
        assert_eq!(shares, [49152, 0, 16385]);
    }

    #[test]
    fn nobody_with_a_weight_makes_an_empty_table() {
        assert!(maglev(&[]).is_empty());
        assert!(maglev(&[("web1", 0), ("web2", 0)]).is_empty());
    }

    #[test]
    fn a_huge_weight_beside_a_small_one_still_ends() {
        let shares = shares(&maglev(&[("web1", u32::MAX), ("web2", 1)]), 2);
        assert_eq!(shares.iter().sum::<usize>(), SLOTS);
        assert!(shares[1] <= 1, "{shares:?}");
    }

    /// Beside its own slots, a server that leaves moves at most one per cent of the table. The paper measures such
    /// disruption (section 5.3) and proves no bound; it is small because the table has over 100 slots for each server, as
    /// section 3.4 wants it. Here it is 0.05 per cent with four servers and 0.7 with 256.
    #[test]
    fn a_server_that_leaves_moves_few_slots_of_the_others() {
        for count in [2, 3, 4, 8, 32, 256] {
            let names: Vec<String> = (1..=count).map(|number| format!("web{number}")).collect();
            let before: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
            let mut after = before.clone();
            let (left, _) = after.remove(count / 2);
            let both = owners(&before).into_iter().zip(owners(&after));
            let moved = both.filter(|(before, after)| *before != left && before != after).count();
            assert!(moved * 100 <= SLOTS, "{moved} slots of {count} servers moved without need");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_order_in_which_servers_are_given_does_not_matter(
            weights in proptest::collection::vec(0u32..20, 1..8),
            turn in 0usize..8,
        ) {
            let names: Vec<String> = (0..weights.len()).map(|n| format!("web{n}")).collect();
            let reals: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(weights).collect();
            let mut turned = reals.clone();
            turned.rotate_left(turn % reals.len());
            prop_assert_eq!(owners(&reals), owners(&turned));
        }

        #[test]
        fn every_share_is_right_to_one_per_cent_of_the_table(
            weights in proptest::collection::vec(1u32..20, 1..12),
        ) {
            let names: Vec<String> = (0..weights.len()).map(|n| format!("web{n}")).collect();
            let reals: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(weights.clone()).collect();
            let total: u32 = weights.iter().sum();
            for (share, weight) in shares(&maglev(&reals), reals.len()).into_iter().zip(weights) {
                let fair = SLOTS as f64 * f64::from(weight) / f64::from(total);
                prop_assert!((share as f64 - fair).abs() < SLOTS as f64 / 100.0, "{share} instead of {fair}");
            }
        }
    }
}
