//! What the witness grants, notes and refuses, and what it remembers when it is started anew.

use std::time::Duration;

use super::super::*;

const FIRST: Member = Member { side: Side::First, incarnation: Incarnation(10) };
const SECOND: Member = Member { side: Side::Second, incarnation: Incarnation(20) };
const FIRST_AGAIN: Member = Member { side: Side::First, incarnation: Incarnation(11) };
const SECOND_AGAIN: Member = Member { side: Side::Second, incarnation: Incarnation(21) };

/// A witness that has been there for long.
fn witness(record: Record) -> Witness {
    Witness::new(WitnessConfig::lab(), record, Time::ZERO)
}

const LATER: Time = Duration::from_secs(60);

fn ask(from: Member, term: u64, want: Want) -> Ask {
    let copy = Some(Copied { founding: 1, term });
    Ask { version: WITNESS_VERSION, from, number: 1, term, copy, want }
}

fn record(term: u64, holders: Holders) -> Record {
    let (first, second) = (Some(FIRST.incarnation), Some(SECOND.incarnation));
    Record { founding: 1, term, holders, first, second }
}

/// What it says, what it has on disk after that, and whether it wrote before it spoke.
fn asks(witness: &mut Witness, at: Time, ask: Ask) -> String {
    let actions = witness.handle(at, ask);
    let said: Vec<String> = actions.iter().map(tell).collect();
    said.join("; ")
}

fn tell(action: &WitnessAction) -> String {
    match action {
        WitnessAction::Persist(record) => {
            let holders: Vec<String> = record.holders.iter().map(|holder| holder.to_string()).collect();
            format!("writes founding {} term {}: {}", record.founding, record.term, holders.join(" and "))
        }
        WitnessAction::Reply(reply) => format!("{:?}", reply.verdict),
    }
}

#[test]
fn of_two_halves_the_first_that_asks_goes_on() {
    let mut witness = witness(record(3, Holders::both(FIRST, SECOND)));
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(SECOND, 3, Want::Alone)), @"writes founding 1 term 4: the second web (start 20); Granted { lease: 1s }");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 3, Want::Alone)), @"Refused(OtherTerm)");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 4, Want::Alone)), @"Refused(NotHolder)");
    let much_later = LATER + LATER;
    // Its lease has long run out, and still nobody else has everything.
    insta::assert_snapshot!(asks(&mut witness, much_later, ask(FIRST, 4, Want::Alone)), @"Refused(NotHolder)");
    insta::assert_snapshot!(asks(&mut witness, much_later, ask(FIRST, 4, Want::Renew)), @"Refused(NotHolder)");
    insta::assert_snapshot!(asks(&mut witness, much_later, ask(SECOND, 4, Want::Renew)), @"Granted { lease: 1s }");
}

#[test]
fn what_is_based_on_another_term_is_void() {
    let mut witness = witness(record(3, Holders::both(FIRST, SECOND)));
    asks(&mut witness, LATER, ask(FIRST, 3, Want::Alone));
    // Said while they were a pair still, and late.
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 3, Want::Pair { with: SECOND })), @"Refused(OtherTerm)");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 3, Want::Alone)), @"Refused(OtherTerm)");
    // To ask once more is another beginning: nothing that was said before it counts after it.
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 4, Want::Alone)), @"writes founding 1 term 5: the first web (start 10); Granted { lease: 1s }");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 4, Want::Renew)), @"Refused(OtherTerm)");
}

#[test]
fn only_a_holder_vouches_for_another() {
    let mut witness = witness(record(3, Holders::One(FIRST)));
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 3, Want::Pair { with: SECOND })), @"writes founding 1 term 4: the first web (start 10) and the second web (start 20); Noted");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 4, Want::Pair { with: SECOND })), @"Noted");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 4, Want::Pair { with: FIRST })), @"Refused(NotHolder)");
    // The other was restarted, and asks for something itself: what it had is gone.
    asks(&mut witness, LATER, ask(SECOND_AGAIN, 4, Want::Alone));
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 4, Want::Pair { with: SECOND })), @"Refused(NotHolder)");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(SECOND, 4, Want::Alone)), @"Refused(Superseded)");
}

#[test]
fn who_was_given_everything_may_say_so_itself() {
    let joined = ask(SECOND, 3, Want::Pair { with: FIRST });
    // Even if whoever gave it has been restarted since, and asked for something.
    for gone in [false, true] {
        let mut witness = witness(record(3, Holders::One(FIRST)));
        if gone {
            asks(&mut witness, LATER, ask(FIRST_AGAIN, 0, Want::Alone));
        }
        insta::allow_duplicates! {
            insta::assert_snapshot!(asks(&mut witness, LATER, joined), @"writes founding 1 term 4: the first web (start 10) and the second web (start 20); Noted");
            insta::assert_snapshot!(asks(&mut witness, LATER, ask(SECOND, 4, Want::Alone)), @"writes founding 1 term 5: the second web (start 20); Granted { lease: 1s }");
        }
    }
    // In another term it may have acknowledged something alone, and another life of it never gave anything.
    let mut witness = witness(record(3, Holders::One(FIRST)));
    asks(&mut witness, LATER, ask(FIRST, 3, Want::Alone));
    insta::assert_snapshot!(asks(&mut witness, LATER, joined), @"Refused(OtherTerm)");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(SECOND, 4, Want::Pair { with: FIRST_AGAIN })), @"writes founding 1 term 4: the first web (start 10); Refused(NotHolder)");
}

#[test]
fn memory_begins_anew_once_nobody_is_left() {
    let mut witness = witness(record(3, Holders::both(FIRST, SECOND)));
    let found = |from, met| ask(from, 3, Want::Found { met });
    insta::assert_snapshot!(asks(&mut witness, LATER, found(FIRST_AGAIN, None)), @"writes founding 1 term 3: the first web (start 10) and the second web (start 20); Refused(HolderLives)");
    insta::assert_snapshot!(asks(&mut witness, LATER, found(FIRST_AGAIN, Some(SECOND))), @"Refused(HolderLives)");
    insta::assert_snapshot!(asks(&mut witness, LATER, found(FIRST_AGAIN, Some(SECOND_AGAIN))), @"writes founding 2 term 4: the first web (start 11); Granted { lease: 1s }");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(SECOND_AGAIN, 4, Want::Found { met: None })), @"Refused(HolderLives)");
}

#[test]
fn the_first_beginning_waits_until_the_webs_have_met() {
    let mut witness = Witness::new(WitnessConfig::lab(), Record::default(), Time::ZERO);
    let found = |met| Ask { copy: None, ..ask(SECOND, 0, Want::Found { met }) };
    // The first web may have everything: on an empty disk it cannot be seen that it has not.
    insta::assert_snapshot!(asks(&mut witness, LATER, found(None)), @"writes founding 0 term 0: ; Refused(Forgotten)");
    let found = found(Some(FIRST));
    insta::assert_snapshot!(asks(&mut witness, Time::ZERO, found), @"writes founding 1 term 1: the second web (start 20); Granted { lease: 1s }");
}

#[test]
fn memory_does_not_begin_anew_while_somebody_may_have_a_lease() {
    let mut witness = witness(record(3, Holders::One(FIRST)));
    asks(&mut witness, LATER, ask(FIRST, 3, Want::Renew));
    let found = ask(SECOND, 3, Want::Found { met: Some(FIRST_AGAIN) });
    let end = LATER + Duration::from_millis(1_050);
    insta::assert_snapshot!(asks(&mut witness, end - Duration::from_millis(1), found), @"writes founding 1 term 3: the first web (start 10); Refused(LeaseRuns)");
    insta::assert_snapshot!(asks(&mut witness, end, found), @"writes founding 2 term 4: the second web (start 20); Granted { lease: 1s }");
}

#[test]
fn started_anew_it_grants_nothing_to_others_for_the_length_of_a_lease() {
    for holders in [Holders::One(FIRST), Holders::both(FIRST, SECOND)] {
        let mut witness = Witness::new(WitnessConfig::lab(), record(3, holders), LATER);
        let silence = Duration::from_millis(1_050);
        let early = LATER + silence - Duration::from_millis(1);
        match holders {
            Holders::One(_) => {
                let found = ask(SECOND, 3, Want::Found { met: Some(FIRST_AGAIN) });
                let said = asks(&mut witness, early, found);
                assert!(said.ends_with("Refused(LeaseRuns)"), "{said}");
                assert!(asks(&mut witness, LATER + silence, found).contains("founding 2"));
            }
            _ => {
                assert_eq!(asks(&mut witness, early, ask(FIRST, 3, Want::Alone)), "Refused(LeaseRuns)");
                assert!(asks(&mut witness, LATER + silence, ask(FIRST, 3, Want::Alone)).contains("Granted"));
            }
        }
    }
    // Who may have a lease may have another.
    let mut witness = Witness::new(WitnessConfig::lab(), record(3, Holders::One(FIRST)), LATER);
    assert_eq!(asks(&mut witness, LATER, ask(FIRST, 3, Want::Renew)), "Granted { lease: 1s }");
}

/// A witness whose disk was wiped.
fn emptied() -> Witness {
    witness(Record::default())
}

#[test]
fn of_a_pair_that_it_has_forgotten_both_must_tell() {
    let mut witness = emptied();
    let (one, other) =
        (ask(FIRST, 3, Want::Pair { with: SECOND }), ask(SECOND, 4, Want::Pair { with: FIRST }));
    // Too early: what was asked before the loss may still be on its way.
    for early in [one, other] {
        assert!(asks(&mut witness, Time::ZERO, early).ends_with("Refused(OtherTerm)"));
    }
    insta::assert_snapshot!(asks(&mut witness, LATER, one), @"Refused(OtherTerm)");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 3, Want::Alone)), @"Refused(OtherTerm)");
    insta::assert_snapshot!(asks(&mut witness, LATER, other), @"writes founding 1 term 5: the first web (start 10) and the second web (start 20); Refused(OtherTerm)");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(SECOND, 5, Want::Pair { with: FIRST })), @"Noted");
}

#[test]
fn who_is_alone_tells_a_witness_that_has_forgotten_it() {
    let mut witness = emptied();
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(FIRST, 4, Want::Renew)), @"writes founding 1 term 4: the first web (start 10); Granted { lease: 1s }");
    insta::assert_snapshot!(asks(&mut witness, LATER, ask(SECOND, 4, Want::Alone)), @"writes founding 1 term 4: the first web (start 10); Refused(NotHolder)");
}

#[test]
fn who_begins_anew_after_the_loss_says_so() {
    let begins = Ask { term: 0, ..ask(FIRST, 4, Want::Found { met: Some(SECOND_AGAIN) }) };
    insta::assert_snapshot!(asks(&mut emptied(), LATER, begins), @"writes founding 2 term 5: the first web (start 10); Granted { lease: 1s }");
}

#[test]
fn other_versions_are_told_so() {
    let mut witness = witness(record(3, Holders::One(FIRST)));
    let other = Ask { version: WITNESS_VERSION + 1, ..ask(FIRST, 3, Want::Alone) };
    assert_eq!(asks(&mut witness, LATER, other), "Refused(Version)");
    assert_eq!(witness.record(), &record(3, Holders::One(FIRST)));
}
