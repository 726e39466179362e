//! What becomes of two webs when one thing happens to them: each change of state, and why.

use std::time::Duration;

use super::super::*;
use super::world::{Cable, Deed, Fault, Moment, Site};

const ONE: Side = Side::First;
const TWO: Side = Side::Second;

/// A pair, without clients.
fn pair(degrade: Degrade) -> Site {
    let mut site = Site::new(degrade, 1);
    site.record();
    wait(&mut site, 1_500);
    assert_eq!((site.state(ONE), site.state(TWO)), (Some(State::Paired), Some(State::Paired)));
    site.events();
    site
}

fn wait(site: &mut Site, ms: u64) {
    site.run_for(Duration::from_millis(ms)).unwrap();
}

/// What follows from these faults, at these times.
fn after(site: &mut Site, faults: &[(u64, Fault)], ms: u64) -> String {
    for (at, fault) in faults {
        site.plan(Duration::from_millis(*at), *fault);
    }
    wait(site, ms);
    site.events()
}

#[test]
fn two_that_have_nothing_meet() {
    let mut site = Site::new(Degrade::Witness, 1);
    site.record();
    wait(&mut site, 400);
    insta::assert_snapshot!(site.events(), @"
    the first web starts
    the second web starts
    the witness writes: term 1, the first web
    the first web: memory begins
    the first web: JOINING -> PAIRED, because the other web took over everything
    the second web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 2, the first web and the second web
    ");
}

#[test]
fn two_that_have_nothing_wait_until_they_meet() {
    let mut site = Site::new(Degrade::Witness, 1);
    site.record();
    let events = after(&mut site, &[(0, Fault::Cut { cable: Cable::Webs, ms: 4_000 })], 6_000);
    insta::assert_snapshot!(events, @"
    Cut { cable: Webs, ms: 4000 }
    the first web starts
    the second web starts
    Webs is mended
    the witness writes: term 1, the first web
    the first web: memory begins
    the first web: JOINING -> PAIRED, because the other web took over everything
    the second web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 2, the first web and the second web
    ");
}

#[test]
fn a_web_is_killed_and_comes_back() {
    let killed = Fault::Restart { web: ONE, ms: 600, loud: true };
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &[(0, killed)], 2_000), @"
    Restart { web: First, ms: 600, loud: true }
    the witness writes: term 3, the second web
    the second web: PAIRED -> ALONE, because the witness gave it a lease
    the first web starts
    the second web: ALONE -> PAIRED, because the other web took over everything
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
}

#[test]
fn a_web_is_killed_and_the_other_must_not_go_on_alone() {
    let killed = Fault::Restart { web: ONE, ms: 600, loud: true };
    insta::assert_snapshot!(after(&mut pair(Degrade::Never), &[(0, killed)], 2_000), @"
    Restart { web: First, ms: 600, loud: true }
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the first web starts
    the witness writes: term 3, the second web
    the second web: FENCED -> PAIRED, because the other web took over everything
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
}

#[test]
fn the_webs_lose_each_other() {
    let cut = Fault::Cut { cable: Cable::Webs, ms: 1_500 };
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &[(0, cut)], 3_000), @"
    Cut { cable: Webs, ms: 1500 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the witness writes: term 3, the second web
    the first web: PAIRED -> FENCED, because the other web went on without it
    the second web: PAIRED -> ALONE, because the witness gave it a lease
    Webs is mended
    the second web: ALONE -> PAIRED, because the other web took over everything
    the first web: FENCED -> JOINING, because it takes over what the other web has
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
    insta::assert_snapshot!(after(&mut pair(Degrade::Never), &[(0, cut)], 3_000), @"
    Cut { cable: Webs, ms: 1500 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the first web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    Webs is mended
    the first web: FENCED -> PAIRED, because both webs went on where they were interrupted
    the second web: FENCED -> PAIRED, because both webs went on where they were interrupted
    ");
}

#[test]
fn a_short_interruption_is_none() {
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &[(0, Fault::Reset)], 1_000), @"
    Reset
    the first web drops its connection: there is a newer connection
    the second web drops its connection: there is a newer connection
    ");
}

#[test]
fn the_webs_lose_each_other_and_the_witness() {
    let faults =
        [(0, Fault::RestartWitness { ms: 2_000 }), (0, Fault::Cut { cable: Cable::Webs, ms: 4_500 })];
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &faults, 6_000), @"
    RestartWitness { ms: 2000 }
    Cut { cable: Webs, ms: 4500 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the first web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the witness writes: term 3, the second web
    the second web: FENCED -> ALONE, because the witness gave it a lease
    Webs is mended
    the second web: ALONE -> PAIRED, because the other web took over everything
    the first web: FENCED -> JOINING, because it takes over what the other web has
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
}

#[test]
fn who_is_alone_loses_the_witness() {
    let faults = [
        (0, Fault::Cut { cable: Cable::Webs, ms: 5_000 }),
        (1_000, Fault::Cut { cable: Cable::Witness(ONE), ms: 1_500 }),
        (1_000, Fault::Cut { cable: Cable::Witness(TWO), ms: 1_500 }),
    ];
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &faults, 4_000), @"
    Cut { cable: Webs, ms: 5000 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the witness writes: term 3, the second web
    the first web: PAIRED -> FENCED, because the other web went on without it
    the second web: PAIRED -> ALONE, because the witness gave it a lease
    Cut { cable: Witness(First), ms: 1500 }
    Cut { cable: Witness(Second), ms: 1500 }
    the second web: ALONE -> FENCED, because its lease ran out
    Witness(First) is mended
    Witness(Second) is mended
    the second web: FENCED -> ALONE, because the witness gave it a lease
    ");
}

#[test]
fn both_are_killed() {
    let faults = [
        (0, Fault::Restart { web: ONE, ms: 300, loud: true }),
        (10, Fault::Restart { web: TWO, ms: 300, loud: true }),
    ];
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &faults, 3_000), @"
    Restart { web: First, ms: 300, loud: true }
    Restart { web: Second, ms: 300, loud: true }
    the first web starts
    the second web starts
    the witness writes: term 3, the first web
    the first web: memory lost: both webs were restarted; memory begins anew (founding 2)
    the first web: JOINING -> PAIRED, because the other web took over everything
    the second web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
}

#[test]
fn the_last_that_had_everything_is_killed() {
    let mut site = pair(Degrade::Witness);
    let cut_off = [
        (0, Fault::Cut { cable: Cable::Webs, ms: 2_000 }),
        (0, Fault::Cut { cable: Cable::Witness(TWO), ms: 1_000 }),
        (1_500, Fault::Restart { web: ONE, ms: 200, loud: false }),
    ];
    insta::assert_snapshot!(after(&mut site, &cut_off, 5_000), @"
    Cut { cable: Webs, ms: 2000 }
    Cut { cable: Witness(Second), ms: 1000 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the witness writes: term 3, the first web
    the first web: PAIRED -> ALONE, because the witness gave it a lease
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    Witness(Second) is mended
    Restart { web: First, ms: 200, loud: false }
    the first web starts
    Webs is mended
    the witness writes: term 4, the second web
    the second web: memory lost: the last web that had everything was restarted; memory begins anew with a copy of term 2 (founding 2)
    the second web: FENCED -> PAIRED, because the other web took over everything
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 5, the first web and the second web
    ");
}

#[test]
fn both_go_on_without_permission() {
    let mut site = pair(Degrade::Always);
    site.open();
    wait(&mut site, 600);
    let cut = Fault::Cut { cable: Cable::Webs, ms: 1_500 };
    insta::assert_snapshot!(after(&mut site, &[(0, cut)], 3_000), @"
    Cut { cable: Webs, ms: 1500 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the witness writes: term 3, the first web
    the first web: PAIRED -> ALONE, because the witness gave it a lease
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the second web: FENCED -> ALONE, because it goes on without permission, as `degrade: always` says
    Webs is mended
    the second web: ALONE -> FENCED, because the other web went on without it
    the second web: FENCED -> JOINING, because it takes over what the other web has
    the first web: ALONE -> PAIRED, because the other web took over everything
    the second web: diverged: both webs went on alone; 7 turns that only this web had are gone
    the second web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
}

#[test]
fn the_source_dies_while_it_gives_everything() {
    let mut site = pair(Degrade::Witness);
    site.open();
    wait(&mut site, 1_500);
    site.events();
    let faults = [
        (0, Fault::Ambush { at: Moment::Piece, deed: Deed::Kill { speaker: true }, ms: 400 }),
        (0, Fault::Restart { web: ONE, ms: 300, loud: true }),
    ];
    insta::assert_snapshot!(after(&mut site, &faults, 4_000), @"
    Ambush { at: Piece, deed: Kill { speaker: true }, ms: 400 }
    Restart { web: First, ms: 300, loud: true }
    the witness writes: term 3, the second web
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the first web starts
    the witness writes: term 4, the second web
    the second web: FENCED -> ALONE, because the witness gave it a lease
    the second web: ALONE -> PAIRED, because the other web took over everything
    Restart { web: Second, ms: 400, loud: true }
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 5, the first web and the second web
    the first web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the witness writes: term 6, the first web
    the first web: FENCED -> ALONE, because the witness gave it a lease
    the second web starts
    the first web: ALONE -> PAIRED, because the other web took over everything
    the second web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 7, the first web and the second web
    ");
}

/// The joiner has everything, but whoever gave it has not heard of that, and goes on alone before the joiner reaches the witness.
#[test]
fn the_source_goes_on_without_the_joiner_and_dies() {
    let mut site = pair(Degrade::Witness);
    site.open();
    // So that the joiner's word is still on its way when the cable is cut.
    wait(&mut site, 1_504);
    site.events();
    let faults = [
        (0, Fault::Ambush { at: Moment::Joined, deed: Deed::Cut, ms: 3_000 }),
        (250, Fault::Cut { cable: Cable::Witness(ONE), ms: 2_500 }),
        (0, Fault::Restart { web: ONE, ms: 300, loud: true }),
        (2_000, Fault::Restart { web: TWO, ms: 2_500, loud: true }),
    ];
    insta::assert_snapshot!(after(&mut site, &faults, 7_000), @"
    Ambush { at: Joined, deed: Cut, ms: 3000 }
    Restart { web: First, ms: 300, loud: true }
    the witness writes: term 3, the second web
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    Cut { cable: Witness(First), ms: 2500 }
    the first web starts
    the witness writes: term 4, the second web
    the second web: FENCED -> ALONE, because the witness gave it a lease
    the second web: ALONE -> PAIRED, because the other web took over everything
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    Cut { cable: Webs, ms: 3000 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the witness writes: term 5, the second web
    the second web: PAIRED -> ALONE, because the witness gave it a lease
    the first web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    Restart { web: Second, ms: 2500, loud: true }
    Witness(First) is mended
    Webs is mended
    the second web starts
    the witness writes: term 6, the first web
    the first web: memory lost: the last web that had everything was restarted; memory begins anew with a copy of term 4 (founding 2)
    the first web: FENCED -> JOINING, because memory begins
    the first web: JOINING -> PAIRED, because the other web took over everything
    the second web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 7, the first web and the second web
    ");
}

#[test]
fn the_joiner_dies_while_it_is_given_everything() {
    let mut site = pair(Degrade::Witness);
    site.open();
    wait(&mut site, 1_500);
    site.events();
    let faults = [
        (0, Fault::Ambush { at: Moment::Piece, deed: Deed::Kill { speaker: false }, ms: 400 }),
        (0, Fault::Restart { web: ONE, ms: 300, loud: true }),
    ];
    insta::assert_snapshot!(after(&mut site, &faults, 3_000), @"
    Ambush { at: Piece, deed: Kill { speaker: false }, ms: 400 }
    Restart { web: First, ms: 300, loud: true }
    the witness writes: term 3, the second web
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the first web starts
    the witness writes: term 4, the second web
    the second web: FENCED -> ALONE, because the witness gave it a lease
    the second web: ALONE -> PAIRED, because the other web took over everything
    Restart { web: First, ms: 400, loud: true }
    the witness writes: term 5, the second web
    the second web: PAIRED -> ALONE, because the witness gave it a lease
    the first web starts
    the second web: ALONE -> PAIRED, because the other web took over everything
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 6, the first web and the second web
    ");
}

#[test]
fn the_witness_of_a_pair_loses_its_disk() {
    let wiped = Fault::WipeWitness { ms: 200 };
    let killed = Fault::Restart { web: ONE, ms: 1_000, loud: true };
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &[(0, wiped), (4_300, killed)], 7_000), @"
    WipeWitness { ms: 200 }
    the first web: the witness has forgotten who has everything (was its disk wiped?): until it has heard that from a web that is alone, or from both of a pair, nobody goes on alone
    the second web: the witness has forgotten who has everything (was its disk wiped?): until it has heard that from a web that is alone, or from both of a pair, nobody goes on alone
    the witness writes: term 3, the first web and the second web
    Restart { web: First, ms: 1000, loud: true }
    the witness writes: term 4, the second web
    the second web: PAIRED -> ALONE, because the witness gave it a lease
    the first web starts
    the second web: ALONE -> PAIRED, because the other web took over everything
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 5, the first web and the second web
    ");
}

#[test]
fn the_witness_of_one_that_is_alone_loses_its_disk() {
    let mut site = pair(Degrade::Witness);
    let faults = [(0, Fault::Cut { cable: Cable::Webs, ms: 6_000 }), (1_000, Fault::WipeWitness { ms: 200 })];
    insta::assert_snapshot!(after(&mut site, &faults, 7_000), @"
    Cut { cable: Webs, ms: 6000 }
    the second web drops its connection: the other web is silent
    the first web drops its connection: the other web is silent
    the witness writes: term 3, the second web
    the first web: PAIRED -> FENCED, because the other web went on without it
    the second web: PAIRED -> ALONE, because the witness gave it a lease
    WipeWitness { ms: 200 }
    the second web: the witness has forgotten who has everything (was its disk wiped?): until it has heard that from a web that is alone, or from both of a pair, nobody goes on alone
    the first web: the witness has forgotten who has everything (was its disk wiped?): until it has heard that from a web that is alone, or from both of a pair, nobody goes on alone
    the second web: ALONE -> FENCED, because its lease ran out
    the witness writes: term 3, the second web
    the second web: FENCED -> ALONE, because the witness gave it a lease
    Webs is mended
    the second web: ALONE -> PAIRED, because the other web took over everything
    the first web: FENCED -> JOINING, because it takes over what the other web has
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
}

/// The one that is left may have been left behind by the other before that died, and nobody knows any more.
#[test]
fn the_witness_loses_its_disk_and_a_web_its_memory() {
    let faults =
        [(0, Fault::WipeWitness { ms: 200 }), (100, Fault::Restart { web: ONE, ms: 1_000, loud: true })];
    insta::assert_snapshot!(after(&mut pair(Degrade::Witness), &faults, 5_000), @"
    WipeWitness { ms: 200 }
    Restart { web: First, ms: 1000, loud: true }
    the second web: the witness has forgotten who has everything (was its disk wiped?): until it has heard that from a web that is alone, or from both of a pair, nobody goes on alone
    the second web: PAIRED -> FENCED, because the other web is gone, and nobody lets it go on alone
    the first web starts
    the witness writes: term 3, the second web
    the second web: memory lost: the last web that had everything was restarted; memory begins anew with a copy of term 2 (founding 2)
    the second web: FENCED -> PAIRED, because the other web took over everything
    the first web: JOINING -> PAIRED, because it took over everything from the other web
    the witness writes: term 4, the first web and the second web
    ");
}
