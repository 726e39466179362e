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
    })
}

fn transcript(conversation: &str, web: &str, keys: &[&str]) -> Event {
    event(What::Transcript {
        conversation: conversation.to_owned(),
        served_by: web.to_owned(),
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
    })
}

#[test]
fn an_acknowledged_turn_that_is_nowhere_is_lost() {
    let balance = turns(&[
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
    let balance = turns(&[&timed_out[..], &[transcript("a", "web1", &["1"])]].concat());
    assert_eq!(balance, Turns { attempted: 2, asked: ["web1".to_owned()].into(), ..Turns::default() });
}

#[test]
fn a_retry_is_the_same_turn() {
    let balance = turns(&[
        attempt("a", "1", Outcome::Timeout),
        attempt("a", "1", Outcome::Ok),
        transcript("a", "web1", &["1", "1"]),
    ]);
    assert_eq!((balance.attempted, balance.acknowledged, balance.retried), (1, 1, 1));
    assert_eq!(balance.duplicated, ["a/1"]);
}

#[test]
fn one_web_that_forgot_disagrees_but_nothing_is_lost() {
    let balance = turns(&[
        attempt("a", "1", Outcome::Ok),
        transcript("a", "web1", &["1"]),
        transcript("a", "web2", &[]),
    ]);
    assert_eq!(balance.disagreements, ["a"]);
    assert_eq!(balance.lost, [""; 0]);
}

#[test]
fn of_a_conversation_that_nobody_read_nothing_is_known() {
    let balance = turns(&[attempt("a", "1", Outcome::Ok), transcript("b", "web1", &["9"])]);
    assert_eq!(balance.unread, ["a"]);
    assert_eq!(balance.lost, [""; 0]);
    assert_eq!(balance.phantoms, ["b/9"]);
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
        prop_assert_eq!(turns(&events).lost, gone);
    }
}
