//! The judges must bite: a memory that is wrong on purpose, or that promises less, is found out.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::super::*;
use super::Flaw;
use super::properties::{case, play};

/// How many random cases it takes until somebody finds something wrong; nothing if that is more than these.
fn found_in(tries: u32, degrade: Degrade, flaw: Option<Flaw>) -> Option<(u32, String)> {
    let mut runner = TestRunner::deterministic();
    (1..=tries).find_map(|count| {
        let case = case().new_tree(&mut runner).unwrap().current();
        let (_, result) = play(&case, degrade, flaw, false);
        result.err().map(|wrong| (count, wrong))
    })
}

#[test]
fn an_early_acknowledgement_is_found_out() {
    let found = found_in(400, Degrade::Witness, Some(Flaw::AcknowledgesEarly));
    let (_, wrong) = found.expect("a contradiction");
    assert!(wrong.contains("claim"), "{wrong}");
}

#[test]
fn a_read_that_asks_nobody_is_found_out() {
    let found = found_in(400, Degrade::Witness, Some(Flaw::ReadsLocally));
    let (_, wrong) = found.expect("a contradiction");
    assert!(wrong.contains("claim"), "{wrong}");
}

/// Both of these need several things to go wrong in one order: `cargo test -- --ignored` looks for longer.
#[test]
#[ignore = "takes thousands of cases"]
fn an_old_grant_and_an_early_word_are_found_out() {
    for flaw in [Flaw::BelievesOldGrants, Flaw::VouchesEarly] {
        let found = found_in(20_000, Degrade::Witness, Some(flaw));
        assert!(found.is_some(), "{flaw:?} goes unnoticed");
        println!("{flaw:?}: {found:?}");
    }
}

#[test]
fn going_on_without_permission_loses_turns() {
    let found = found_in(400, Degrade::Always, None);
    let (_, wrong) = found.expect("a contradiction");
    assert!(wrong.contains("claim"), "{wrong}");
}
