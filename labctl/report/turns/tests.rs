//! Balances of small histories, and one property of all.

use proptest::prelude::*;

use super::*;

fn event(what: What) -> Event {
    Event { at_ns: 0, node: None, source: "load".to_owned(), what }
}

fn attempt(conversation: &str, key: &str, outcome: Outcome) -> Event {
    event(What::Request {
        intended_ns: 0,
        started_ns: 0,
        outcome,
        conversation: Some(conversation.to_owned()),
        key: Some(key.to_owned()),
        served_by: None,
        position: None,
        epoch: None,
        durability: None,
    })
}

fn transcript(conversation: &str, web: &str, keys: &[&str]) -> Event {
    event(What::Transcript {
        conversation: conversation.to_owned(),
        served_by: web.to_owned(),
        asked_ns: None,
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
    })
}

/// The balance where only web1 is up.
fn told(events: &[Event]) -> Turns {
    turns(events, &["web1".to_owned()].into())
}

#[test]
fn an_acknowledged_turn_that_is_nowhere_is_lost() {
    let balance = told(&[
        attempt("a", "1", Outcome::Ok),
        attempt("a", "2", Outcome::Ok),
        attempt("b", "2", Outcome::Ok),
        transcript("a", "web1", &["1"]),
        transcript("b", "web1", &["2"]),
    ]);
    assert_eq!(balance.lost, ["a/2"]);
    assert_eq!((balance.attempted, balance.acknowledged), (3, 3));
}

#[test]
fn a_turn_that_was_never_acknowledged_may_be_kept_or_not() {
    let timed_out = [attempt("a", "1", Outcome::Timeout), attempt("a", "2", Outcome::Timeout)];
    let balance = told(&[&timed_out[..], &[transcript("a", "web1", &["1"])]].concat());
    let asked = ["web1".to_owned()].into();
    let harmless = Turns { attempted: 2, asked, conversations: 1, transcripts: 1, ..Turns::default() };
    assert_eq!(balance, harmless);
}

#[test]
fn a_retry_is_the_same_turn() {
    let balance = told(&[
        attempt("a", "1", Outcome::Timeout),
        attempt("a", "1", Outcome::Ok),
        transcript("a", "web1", &["1", "1"]),
    ]);
    assert_eq!((balance.attempted, balance.acknowledged, balance.retried), (1, 1, 1));
    assert_eq!(balance.duplicated, ["a/1"]);
}

#[test]
fn one_web_that_forgot_disagrees_but_nothing_is_lost() {
    let balance = told(&[
        attempt("a", "1", Outcome::Ok),
        transcript("a", "web1", &["1"]),
        transcript("a", "web2", &[]),
    ]);
    assert_eq!(balance.disagreements, ["a"]);
    assert_eq!(balance.lost, [""; 0]);
}

#[test]
fn of_a_conversation_that_nobody_read_nothing_is_known() {
    let balance = told(&[attempt("a", "1", Outcome::Ok), transcript("b", "web1", &["9"])]);
    assert_eq!(balance.unread, ["a"]);
    assert_eq!(balance.lost, [""; 0]);
    assert_eq!(balance.phantoms, ["b/9"]);
}

#[test]
fn a_transcript_in_another_order_than_that_of_the_turns_is_out_of_order() {
    let said = ["1", "2", "3"].map(|key| attempt("a", key, Outcome::Ok));
    let order = |keys: &[&str]| {
        let copies = ["web1", "web2"].map(|web| transcript("a", web, keys));
        told(&[&said[..], &copies].concat()).disordered
    };
    assert_eq!(order(&["3", "2", "1"]), ["a"]);
    assert_eq!(order(&["1", "3", "2"]), ["a"]);
    assert_eq!(order(&["1", "2", "3"]), [""; 0]);
    // A gap and a second copy are other matters.
    assert_eq!(order(&["1", "3"]), [""; 0]);
    assert_eq!(order(&["1", "2", "1", "3"]), [""; 0]);
}

#[test]
fn a_retry_does_not_change_the_place_of_a_turn() {
    let said = [
        attempt("a", "1", Outcome::Timeout),
        attempt("a", "2", Outcome::Ok),
        attempt("a", "1", Outcome::Ok),
        transcript("a", "web1", &["2", "1"]),
    ];
    assert_eq!(told(&said).disordered, ["a"]);
}

#[test]
fn a_conversation_that_one_web_did_not_tell_is_partly_read() {
    let webs = ["web1".to_owned(), "web2".to_owned()].into();
    let opened = event(What::Request {
        intended_ns: 0,
        started_ns: 0,
        outcome: Outcome::Ok,
        conversation: Some("c".to_owned()),
        key: None,
        served_by: None,
        position: None,
        epoch: None,
        durability: None,
    });
    let balance = turns(
        &[
            attempt("a", "1", Outcome::Ok),
            transcript("a", "web1", &["1"]),
            transcript("a", "web2", &["1"]),
            attempt("b", "1", Outcome::Ok),
            transcript("b", "web2", &["1"]),
            opened,
        ],
        &webs,
    );
    assert_eq!((balance.partly_read, balance.unread), (vec!["b".to_owned()], vec!["c".to_owned()]));
    assert_eq!((balance.conversations, balance.transcripts), (3, 3));
}

proptest! {
    /// Take any of the acknowledged turns out of an honest transcript: exactly those are lost.
    #[test]
    fn exactly_what_is_taken_out_is_lost(kept in proptest::collection::vec(any::<bool>(), 1..60)) {
        let keys: Vec<String> = (0..kept.len()).map(|index| format!("{index:03}")).collect();
        let mut events: Vec<_> = keys.iter().map(|key| attempt("a", key, Outcome::Ok)).collect();
        let honest: Vec<&str> =
            keys.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(key, _)| key.as_str()).collect();
        events.push(transcript("a", "web1", &honest));
        let gone: Vec<String> =
            keys.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(key, _)| format!("a/{key}")).collect();
        prop_assert_eq!(told(&events).lost, gone);
    }
}
