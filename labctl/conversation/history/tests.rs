//! The format: what is taken, and what is refused with which words.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::conversation::checker::{Demand, check};
use crate::generated::assert_current;

const WHOLE: &[u8] = include_bytes!("../../../fixtures/histories/consistent.jsonl");
const ID: &str = "ab120000000000000000000000000001";

/// An append with these fields besides the ones that every append has.
fn append(fields: &str) -> String {
    format!(
        r#"{{"kind":"append","who":"a","conversation":"{ID}","key":"k","invoked_ns":10,"completed_ns":20,{fields}}}"#
    )
}

fn read(fields: &str) -> String {
    format!(r#"{{"kind":"read","who":"a","conversation":"{ID}","invoked_ns":10,"completed_ns":20,{fields}}}"#)
}

fn transcript(from: u64, to: u64) -> String {
    format!(
        r#"{{"kind":"transcript","web":"w","conversation":"{ID}","invoked_ns":{from},"completed_ns":{to},"keys":["k"]}}"#
    )
}

/// The problems of these lines, one a line.
fn problems(lines: &[String]) -> String {
    match History::parse(lines.join("\n").as_bytes()) {
        Ok(_) => "none".to_owned(),
        Err(invalid) => {
            let told = invalid.problems.iter().map(|problem| format!("{}: {}", problem.line, problem.kind));
            told.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn how_an_attempt_ended_is_one_of_three() {
    let text =
        [r#""result":"ok","position":7"#, r#""result":"fail""#, r#""result":"info""#].map(append).join("\n");
    let history = History::parse(text.as_bytes()).unwrap();
    let ended: Vec<Ended> = history.appends.iter().map(|append| append.ended).collect();
    assert_eq!(ended, [Ended::Acknowledged { at_ns: 20, position: Some(7) }, Ended::Refused, Ended::Unknown]);
    assert_eq!(history.appends.iter().map(|append| append.line).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn an_operation_of_unknown_outcome_may_go_without_an_end_and_no_other() {
    let without = |result: &str| {
        let line = append(&format!(r#""result":"{result}""#));
        problems(&[line.replace(r#""completed_ns":20,"#, "")])
    };
    assert_eq!(without("info"), "none");
    insta::assert_snapshot!(without("ok"), @"1: the result is known, but not when it was: `completed_ns` is missing");
    assert_eq!(without("fail"), without("ok"));
}

#[test]
fn a_read_without_an_answer_shows_nothing_but_counts() {
    let text = [read(r#""result":"info""#), read(r#""result":"ok","keys":[]"#)].join("\n");
    let history = History::parse(text.as_bytes()).unwrap();
    assert_eq!((history.unanswered_reads, history.tellings.len()), (1, 1));
}

#[test]
fn what_does_not_belong_is_refused() {
    let ok = r#""result":"ok""#;
    let lines = [
        append(r#""result":"ok","postion":1"#),
        append(r#""result":"info","position":1"#),
        read(r#""result":"fail","keys":[]"#),
        read(ok),
        append(r#""result":"maybe""#),
        append(ok).replace("append", "apend"),
        append(ok).replace("ab12", "AB12"),
        append(ok).replace(r#""k""#, r#""two words""#),
    ];
    insta::assert_snapshot!(problems(&lines), @"
    1: unknown field `postion`, expected one of `who`, `conversation`, `key`, `said`, `attempt`, `invoked_ns`, `completed_ns`, `result`, `position`, `served_by`, `epoch`, `durability`
    2: it has a `position`, but was not acknowledged
    3: it has `keys`, but was not answered
    4: the read was answered, but its `keys` are missing
    5: unknown variant `maybe`, expected one of `ok`, `fail`, `info`
    6: unknown variant `apend`, expected one of `append`, `read`, `transcript`, `fault`
    7: a conversation's identifier is 32 hexadecimal digits in lower case
    8: an idempotency key is 1 to 64 visible ASCII characters
    ");
    let lines = ["[1]", r#"["append"]"#, "{", "{} {}", r#"{"kind":"fault","kind":"fault"}"#, "\u{b5}"];
    insta::assert_snapshot!(problems(&lines.map(str::to_owned)), @"
    1: a line is a JSON object
    2: a line is a JSON object
    3: EOF while parsing an object
    4: missing field `kind`
    5: duplicate field `kind`
    6: a line is a JSON object
    ");
    assert_eq!(problems(&[append(ok), String::new(), "\r".to_owned()]), "none");
}

#[test]
fn a_retry_has_the_words_of_its_turn() {
    let said = |words: &str| append(&format!(r#""result":"ok","said":"{words}""#));
    assert_eq!(problems(&[said("a"), append(r#""result":"ok""#), said("a")]), "none");
    insta::assert_snapshot!(problems(&[said("a"), said("b")]), @"2: turn k is said in other words than in line 1");
}

#[test]
fn a_transcript_is_asked_for_after_the_last_acknowledgement() {
    let ok = append(r#""result":"ok""#);
    assert_eq!(problems(&[transcript(21, 30), ok.clone()]), "none");
    assert_eq!(problems(&[transcript(5, 30), ok.replace(r#""ok""#, r#""info""#)]), "none");
    insta::assert_snapshot!(problems(&[transcript(20, 30), transcript(21, 30), ok]), @"1: the transcript is not final: turn k (line 3) was acknowledged when it was asked for");
    insta::assert_snapshot!(problems(&[transcript(21, 20)]), @"1: it ends before it begins");
}

#[test]
fn everything_is_bounded() {
    let long = append(r#""result":"ok""#).replace(r#""a""#, &format!(r#""{}""#, "a".repeat(LINE_BYTES_MAX)));
    assert!(problems(&[long]).contains("bytes long, more than"));
    // The longest transcript and the longest turn that the application allows.
    let keys = vec!["k".repeat(KEY_BYTES_MAX); TURNS_MAX];
    let longest = transcript(21, 30).replace(r#"["k"]"#, &serde_json::to_string(&keys).unwrap());
    assert_eq!(problems(&[longest]), "none");
    let words = "\u{1}".repeat(TURN_BYTES_MAX);
    assert_eq!(
        problems(&[append(&format!(r#""result":"ok","said":{}"#, serde_json::to_string(&words).unwrap()))]),
        "none"
    );
    let fault =
        r#"{"kind":"fault","action":"a","target":"b","began_ns":1,"ended_ns":2,"seen":true}"#.to_owned();
    assert_eq!(problems(&vec![fault.clone(); FAULTS_MAX]), "none");
    assert!(problems(&vec![fault; FAULTS_MAX + 1]).contains("more than 256 faults"));
    let invalid = History::parse("x\n".repeat(20).as_bytes()).unwrap_err();
    assert_eq!((invalid.problems.len(), invalid.left_out), (PROBLEMS_MAX, 20 - PROBLEMS_MAX));
}

fn name() -> impl Strategy<Value = String> {
    // Quotes, controls and letters of other scripts have to survive the way, too.
    prop_oneof!["[a-z0-9-]{1,12}", any::<String>()]
}

fn key() -> impl Strategy<Value = TurnKey> {
    "[!-~]{1,64}".prop_map(|key| key.parse().unwrap())
}

fn keys() -> impl Strategy<Value = Vec<TurnKey>> {
    proptest::collection::vec(key(), 0..4)
}

fn conversation() -> impl Strategy<Value = ConversationId> {
    any::<[u8; 16]>().prop_map(ConversationId::from)
}

fn by() -> impl Strategy<Value = (Option<String>, Option<u64>, Option<String>)> {
    (proptest::option::of(name()), any::<Option<u64>>(), proptest::option::of(name()))
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![Just(Reply::Ok), Just(Reply::Fail), Just(Reply::Info)]
}

fn any_line() -> impl Strategy<Value = Line> {
    let times = || (any::<u64>(), any::<Option<u64>>());
    let said = (proptest::option::of(name()), 1u32.., any::<Option<u64>>());
    let append = (name(), conversation(), key(), said, times(), reply(), by()).prop_map(
        |(who, conversation, key, (said, attempt, position), (invoked_ns, completed_ns), result, by)| {
            let (attempt, (served_by, epoch, durability)) = (attempt.try_into().unwrap(), by);
            Line::Append(AppendLine {
                who,
                conversation,
                key,
                said,
                attempt,
                invoked_ns,
                completed_ns,
                result,
                position,
                served_by,
                epoch,
                durability,
            })
        },
    );
    let read = (name(), conversation(), proptest::option::of(keys()), times(), reply(), by()).prop_map(
        |(who, conversation, keys, (invoked_ns, completed_ns), result, (served_by, epoch, durability))| {
            Line::Read(ReadLine {
                who,
                conversation,
                invoked_ns,
                completed_ns,
                result,
                keys,
                served_by,
                epoch,
                durability,
            })
        },
    );
    let transcript = (name(), conversation(), keys(), any::<(u64, u64)>()).prop_map(
        |(web, conversation, keys, (invoked_ns, completed_ns))| {
            Line::Transcript(TranscriptLine { conversation, web, invoked_ns, completed_ns, keys })
        },
    );
    let fault = (name(), name(), times(), any::<bool>(), any::<Option<u64>>()).prop_map(
        |(action, target, (began_ns, ended_ns), seen, acknowledged_min)| {
            Line::Fault(FaultLine { action, target, began_ns, ended_ns, seen, acknowledged_min })
        },
    );
    prop_oneof![append, read, transcript, fault]
}

proptest! {
    /// What is written is read again as it was meant.
    #[test]
    fn a_line_survives_the_way_through_a_file(line in any_line()) {
        let json = line.to_json();
        prop_assert!(!json.contains('\n'));
        prop_assert_eq!(Line::parse(json.as_bytes()), Ok(line));
    }

    /// Whatever a file holds, it is read and judged, or refused with the line that is wrong.
    #[test]
    fn a_damaged_file_is_judged_or_refused(
        damage in proptest::collection::vec((any::<Index>(), prop_oneof![any::<u8>(), Just(b'0'), Just(b'\n')]), 0..4),
        cut in any::<Index>(),
    ) {
        let mut text = WHOLE.to_vec();
        for (place, byte) in damage {
            *place.get_mut(&mut text) = byte;
        }
        text.truncate(cut.index(4 * WHOLE.len()));
        let lines = text.split(|byte| *byte == b'\n').count();
        match History::parse(&text) {
            Ok(history) => drop(check(&history, &Demand::default())),
            Err(invalid) => prop_assert!(invalid.problems.iter().all(|problem| (1..=lines).contains(&problem.line))),
        }
    }
}

/// The committed schema is the one that programs read; `LABCTL_UPDATE=1 cargo test schema` writes it anew.
#[test]
fn the_schema_on_file_is_current() {
    assert_current("reports/history.schema.json", &schema());
}
