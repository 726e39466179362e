//! The checker against two others that share nothing with it, on random histories, true ones and falsified ones.

mod brute;
mod referee;
mod stories;
mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::generated::assert_current;
use world::{falsified, true_history};

/// Operations of a history of which every order can be tried, besides two final transcripts.
const FEW: usize = 6;
/// Operations of a history that the referee can still search, by not trying the same thing twice.
const MORE: usize = 18;

fn contradicts_itself(history: &History) -> bool {
    check(history, &Demand::default()).verdict == Verdict::Contradiction
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn brute_force_comes_to_the_same_verdict(history in falsified(FEW)) {
        prop_assert_eq!(contradicts_itself(&history), !brute::is_linearizable(&history));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_referee_comes_to_the_same_verdict(history in falsified(MORE)) {
        prop_assert_eq!(contradicts_itself(&history), !referee::is_linearizable(&history));
    }

    #[test]
    fn what_really_happened_never_contradicts_itself(history in true_history(60)) {
        let judgement = check(&history, &Demand::default());
        prop_assert_eq!(judgement.story, None);
    }
}

/// Agreement on histories that are all alike would mean little.
#[test]
fn the_random_histories_break_every_claim_and_none() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2_000 {
        let history = falsified(FEW).new_tree(&mut runner).unwrap().current();
        let claim = check(&history, &Demand::default()).story.map(|story| story.claim);
        *seen.entry(claim.map_or("none".to_owned(), |claim| claim.to_string())).or_default() += 1;
    }
    let classes: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(classes, ["agreement", "duplicate", "lost", "none", "order", "phantom", "position"]);
    assert!(seen.values().all(|count| *count >= 20), "{seen:?}");
}

/// The committed schema is the one that programs read; `LABCTL_UPDATE=1 cargo test schema` writes it anew.
#[test]
fn the_schema_on_file_is_current() {
    assert_current("reports/check.schema.json", &schema());
}
