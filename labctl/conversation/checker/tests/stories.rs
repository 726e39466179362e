//! What is told of a contradiction, and why a history proves too little.

use crate::conversation::checker::{Demand, Judgement, Verdict, check};
use crate::conversation::history::History;

const MS: u64 = 1_000_000;

/// An append, acknowledged by web1 as the turn at this position.
fn said(key: &str, from: u64, to: u64, position: u64) -> String {
    append(
        key,
        from,
        &format!(r#""completed_ns":{},"result":"ok","position":{position},"served_by":"web1""#, to * MS),
    )
}

/// An append that timed out.
fn unknown(key: &str, from: u64) -> String {
    append(key, from, r#""result":"info""#)
}

fn append(key: &str, from: u64, rest: &str) -> String {
    format!(
        r#"{{"kind":"append","who":"ann","conversation":"{:032}","key":"{key}","invoked_ns":{},{rest}}}"#,
        1,
        from * MS
    )
}

fn read(keys: &[&str], from: u64, to: u64) -> String {
    telling(r#""kind":"read","who":"bob","served_by":"web2","result":"ok""#, keys, from, to)
}

fn transcript(web: &str, keys: &[&str], from: u64, to: u64) -> String {
    telling(&format!(r#""kind":"transcript","web":"{web}""#), keys, from, to)
}

fn telling(how: &str, keys: &[&str], from: u64, to: u64) -> String {
    let keys = serde_json::to_string(keys).unwrap();
    let (from, to) = (from * MS, to * MS);
    format!(r#"{{{how},"conversation":"{:032}","invoked_ns":{from},"completed_ns":{to},"keys":{keys}}}"#, 1)
}

fn fault(from: u64, to: u64, seen: bool) -> String {
    let (from, to) = (from * MS, to * MS);
    format!(
        r#"{{"kind":"fault","action":"kill","target":"web1","began_ns":{from},"ended_ns":{to},"seen":{seen}}}"#
    )
}

/// The same line in another conversation.
fn elsewhere(line: &str, conversation: u64) -> String {
    line.replace(&format!("{:032}", 1), &format!("{conversation:032}"))
}

/// The same fault, never mended.
fn unmended(line: &str) -> String {
    let (before, after) = line.split_once(r#","ended_ns":"#).unwrap();
    format!("{before}{}", after.trim_start_matches(|it: char| it.is_ascii_digit()))
}

fn judge(lines: &[String]) -> Judgement {
    check(&History::parse(lines.join("\n").as_bytes()).unwrap(), &Demand::default())
}

fn story(lines: &[String]) -> String {
    let judgement = judge(lines);
    assert_eq!(judgement.verdict, Verdict::Contradiction);
    let story = judgement.story.unwrap();
    let facts: Vec<String> = story.facts.iter().map(|fact| format!("{}: {}", fact.line, fact.text)).collect();
    format!("{} of {}\n{}\nso {}", story.claim, story.conversation, facts.join("\n"), story.follows)
}

fn shortfalls(lines: &[String]) -> String {
    let judgement = judge(lines);
    assert_eq!(judgement.verdict, Verdict::Vacuous);
    judgement.shortfalls.join("\n")
}

#[test]
fn a_turn_that_overtook_another() {
    let lines = [said("a", 0, 10, 1), said("b", 11, 20, 0), transcript("web1", &["b", "a"], 90, 91)];
    insta::assert_snapshot!(story(&lines), @"
    order of 00000000000000000000000000000001
    1: turn 1 (key a) was acknowledged by web1 at 0.010 s (said by ann, attempt 1)
    2: the first attempt at key b that was not refused, by ann, began at 0.011 s, and stands before it as turn 0
    so a turn overtook one that was acknowledged before it was said
    ");
    // While the two overlap, either may stand first.
    let lines = [said("a", 0, 10, 1), said("b", 10, 20, 0), transcript("web1", &["b", "a"], 90, 91)];
    assert_eq!(judge(&lines).verdict, Verdict::Consistent);
}

#[test]
fn a_turn_that_was_told_before_it_was_said() {
    let lines = [read(&["a"], 0, 10), said("a", 11, 20, 0), transcript("web1", &["a"], 90, 91)];
    insta::assert_snapshot!(story(&lines), @"
    order of 00000000000000000000000000000001
    1: the answer by web2 to bob, given at 0.010 s, has key a as turn 0
    2: the first attempt at key a that was not refused, by ann, began at 0.011 s
    so a turn was told before anybody said it
    ");
}

#[test]
fn a_memory_that_went_back_in_time() {
    let lines = [unknown("a", 0), read(&["a"], 5, 10), read(&[], 11, 20), transcript("web1", &["a"], 90, 91)];
    insta::assert_snapshot!(story(&lines), @"
    order of 00000000000000000000000000000001
    2: the answer by web2 to bob, given at 0.010 s, tells 1 turn
    3: the answer by web2 to bob, asked for at 0.011 s, told 0 turns only
    so turns that were told once were hidden from somebody who asked later
    ");
    let lines = [unknown("a", 0), read(&["a"], 5, 10), transcript("web1", &[], 90, 91)];
    insta::assert_snapshot!(story(&lines), @"
    order of 00000000000000000000000000000001
    2: the answer by web2 to bob, given at 0.010 s, tells 1 turn
    3: the final transcript of web1, asked for at 0.090 s, told 0 turns only
    so turns that were told once were hidden from somebody who asked later
    ");
}

#[test]
fn a_turn_that_nobody_said() {
    let lines = [said("a", 0, 10, 0), transcript("web1", &["a", "x"], 90, 91)];
    insta::assert_snapshot!(story(&lines), @"
    phantom of 00000000000000000000000000000001
    2: the final transcript of web1, read at 0.091 s, has key x as turn 1
    so a turn is told that nobody tried to say
    ");
    // The same key in another conversation is another turn.
    let lines = [&lines[..], &[elsewhere(&said("x", 0, 10, 0), 2)]].concat();
    assert_eq!(judge(&lines).verdict, Verdict::Contradiction);
}

#[test]
fn times_that_lie_close_have_more_digits() {
    let line = read(&[], 0, 20).replace(r#""invoked_ns":0"#, r#""invoked_ns":10000001"#);
    let lines = [said("a", 0, 10, 0), line, transcript("web1", &["a"], 90, 91)];
    insta::assert_snapshot!(story(&lines), @"
    order of 00000000000000000000000000000001
    1: turn 0 (key a) was acknowledged by web1 at 0.010000000 s (said by ann, attempt 1)
    2: the answer by web2 to bob, asked for at 0.010000001 s, told 0 turns and not this one
    so an acknowledged turn was hidden from somebody who asked for it later
    ");
}

#[test]
fn of_several_conversations_the_one_that_shows_first_is_told() {
    let late = [said("a", 0, 10, 0), transcript("web1", &[], 95, 96)];
    let early = [said("a", 0, 10, 0), transcript("web1", &[], 90, 91)].map(|line| elsewhere(&line, 2));
    let judgement = judge(&[late, early].concat());
    assert_eq!(judgement.story.map(|story| story.conversation), Some(format!("{:032}", 2)));
    assert_eq!(judgement.contradictions.values().sum::<u64>(), 2);
}

#[test]
fn a_history_without_acknowledgements_or_transcripts_proves_nothing() {
    insta::assert_snapshot!(shortfalls(&[]), @"nothing was acknowledged");
    insta::assert_snapshot!(shortfalls(&[unknown("a", 0), transcript("web1", &["a"], 90, 91)]), @"nothing was acknowledged");
    insta::assert_snapshot!(shortfalls(&[said("a", 0, 10, 0), read(&["a"], 20, 30)]), @"conversation 00000000000000000000000000000001 has no final transcript");
}

#[test]
fn every_web_has_to_tell_every_conversation_and_the_same() {
    let one = [said("a", 0, 10, 0), transcript("web1", &["a"], 90, 91), transcript("web2", &["a"], 90, 91)];
    assert_eq!(judge(&one).verdict, Verdict::Consistent);
    let other = [said("a", 0, 10, 0), transcript("web1", &["a"], 90, 91)].map(|line| elsewhere(&line, 2));
    insta::assert_snapshot!(shortfalls(&[&one[..], &other].concat()), @"conversation 00000000000000000000000000000002 was not read back from web2");
    // A turn that timed out may take effect between the two transcripts: no contradiction, but no agreement either.
    let grown = [said("a", 0, 10, 0), unknown("b", 20)];
    let transcripts = [transcript("web1", &["a"], 90, 91), transcript("web2", &["a", "b"], 92, 93)];
    insta::assert_snapshot!(shortfalls(&[grown.clone(), transcripts].concat()), @"the final transcripts of conversation 00000000000000000000000000000001 differ by turns of unknown outcome; they were read too early");
    let backwards = [transcript("web1", &["a", "b"], 90, 91), transcript("web2", &["a"], 92, 93)];
    assert_eq!(judge(&[grown, backwards].concat()).verdict, Verdict::Contradiction);
}

#[test]
fn a_fault_has_to_be_seen_and_to_fall_into_the_run() {
    let run = [said("a", 0, 10, 0), said("b", 30, 40, 1), said("c", 60, 70, 2)];
    let with = |fault: String| [&run[..], &[fault, transcript("web1", &["a", "b", "c"], 90, 91)]].concat();
    assert_eq!(judge(&with(fault(20, 50, true))).verdict, Verdict::Consistent);
    insta::assert_snapshot!(shortfalls(&with(fault(20, 50, false))), @"nobody saw the fault `kill of web1` take place");
    // What began before it, or ended after it, shows nothing about the time in between.
    insta::assert_snapshot!(shortfalls(&with(fault(31, 50, true))), @"0 acknowledged turns during `kill of web1`, 1 wanted");
    insta::assert_snapshot!(shortfalls(&with(fault(30, 39, true))), @"0 acknowledged turns during `kill of web1`, 1 wanted");
    insta::assert_snapshot!(shortfalls(&with(fault(10, 60, true))), @"
    0 acknowledged turns before `kill of web1`, 1 wanted
    0 acknowledged turns after `kill of web1`, 1 wanted
    ");
    insta::assert_snapshot!(shortfalls(&with(fault(0, 90, true))), @"
    0 acknowledged turns before `kill of web1`, 1 wanted
    0 acknowledged turns after `kill of web1`, 1 wanted
    ");
}

#[test]
fn a_fault_that_was_never_mended_has_no_time_after_it() {
    let run = [said("a", 0, 10, 0), said("b", 30, 40, 1), said("c", 60, 70, 2)];
    let with = |fault: String| [&run[..], &[fault, transcript("web1", &["a", "b", "c"], 90, 91)]].concat();
    assert_eq!(judge(&with(unmended(&fault(20, 0, true)))).verdict, Verdict::Consistent);
    insta::assert_snapshot!(shortfalls(&with(unmended(&fault(65, 0, true)))), @"0 acknowledged turns during `kill of web1`, 1 wanted");
}

#[test]
fn a_fault_may_say_how_much_must_go_on_beside_it() {
    let run = [said("a", 0, 10, 0), said("b", 30, 40, 1), said("c", 60, 70, 2)];
    let with = |fault: String| [&run[..], &[fault, transcript("web1", &["a", "b", "c"], 90, 91)]].concat();
    let wants = |turns: u64| fault(31, 50, true).replace('}', &format!(r#","acknowledged_min":{turns}}}"#));
    assert_eq!(judge(&with(wants(0))).verdict, Verdict::Consistent);
    insta::assert_snapshot!(shortfalls(&with(wants(2))), @"
    1 acknowledged turn before `kill of web1`, 2 wanted
    0 acknowledged turns during `kill of web1`, 2 wanted
    1 acknowledged turn after `kill of web1`, 2 wanted
    ");
}

#[test]
fn a_retry_is_the_same_turn() {
    // The first attempt times out and the third is acknowledged again; all are one turn.
    let lines = [
        unknown("a", 0),
        said("a", 20, 30, 0),
        said("b", 31, 40, 1),
        said("a", 50, 60, 0),
        transcript("web1", &["a", "b"], 90, 91),
    ];
    let judgement = judge(&lines);
    assert_eq!(judgement.verdict, Verdict::Consistent);
    let balance = judgement.balance;
    assert_eq!((balance.attempts, balance.turns, balance.acknowledged_turns), (4, 2, 2));
    assert_eq!((balance.retried_turns, balance.unknown_turns), (1, 0));
}
