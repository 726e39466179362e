//! What people read about the histories in `fixtures/histories`.

use clap::Parser;
use miette::{GraphicalReportHandler, GraphicalTheme};

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/histories");

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn exit(arguments: &[&str]) -> Option<ExitCode> {
    let line = Line::try_parse_from([&["check"], arguments].concat()).unwrap();
    run(&line.args).ok()
}

fn fixture(name: &str) -> String {
    format!("{FOLDER}/{name}.jsonl")
}

fn judged(name: &str) -> String {
    let history = History::parse(&read(Path::new(&fixture(name))).unwrap()).unwrap();
    render(&checker::check(&history, &Demand::default()))
}

/// Without the balance, which is the same for all of them but a turn or two.
fn contradiction(name: &str) -> String {
    let text = judged(name);
    assert!(text.starts_with("CONTRADICTION"), "{text}");
    text.lines()
        .filter(|line| line.starts_with("conversations") || line.starts_with("  "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn exit_codes_tell_the_verdict() {
    let code = |name| exit(&[&fixture(name)]);
    assert_eq!(code("consistent"), Some(ExitCode::SUCCESS));
    assert_eq!(code("lost"), Some(ExitCode::from(1)));
    assert_eq!(code("vacuous"), Some(ExitCode::from(4)));
    assert_eq!(exit(&["--format", "json", &fixture("order")]), Some(ExitCode::from(1)));
    for missing in ["bad-lines", "no-such-history"] {
        assert_eq!(code(missing), None, "{missing} is refused");
    }
}

#[test]
fn a_consistent_history() {
    insta::assert_snapshot!(judged("consistent"), @"
    consistent: one order explains every answer
    12 operations: 9 attempts to append, 3 reads (1 not answered)
    8 turns: 6 acknowledged, 1 unknown (1 of them kept), 1 refused; 1 took more than one attempt
    2 conversations, 4 final transcripts from web1, web2; faults: 1
    ");
}

#[test]
fn a_lost_turn() {
    insta::assert_snapshot!(judged("lost"), @"
    CONTRADICTION: no order explains these answers
    12 operations: 9 attempts to append, 3 reads (1 not answered)
    8 turns: 6 acknowledged, 1 unknown (1 of them kept), 1 refused; 1 took more than one attempt
    2 conversations, 4 final transcripts from web1, web2; faults: 1
    conversations that contradict themselves: lost 1

    The first contradiction (lost), in conversation ab120000000000000000000000000001:
      line 7: turn 2 (key a-2) was acknowledged by web1 at 3.204 s (said by visitor1, attempt 2, durability majority)
      line 15: the final transcript of web2, read at 9.100 s, does not have it; it tells 2 turns
      line 12: the answer by web2 to visitor3, given at 4.504 s, has it
      So an acknowledged turn is lost.
    ");
}

#[test]
fn a_turn_that_is_there_twice() {
    insta::assert_snapshot!(contradiction("duplicate"), @"
    conversations that contradict themselves: duplicate 1
      line 15: the final transcript of web2, read at 9.100 s, has key a-2 twice, as turn 2 and as turn 4
      So one turn was appended twice.
    ");
}

#[test]
fn a_turn_that_was_refused_and_is_there() {
    insta::assert_snapshot!(contradiction("phantom"), @"
    conversations that contradict themselves: phantom 1
      line 9: key b-2 was said by visitor2 at 3.300 s and refused by web1, as was every attempt at it
      line 17: the final transcript of web2, read at 9.035 s, has key b-2 as turn 3
      So a turn took effect that was refused.
    ");
}

#[test]
fn two_webs_that_tell_different_conversations() {
    insta::assert_snapshot!(contradiction("agreement"), @"
    conversations that contradict themselves: agreement 1
      line 14: the final transcript of web1, read at 9.005 s, has key a-2 as turn 2
      line 15: the final transcript of web2, read at 9.100 s, has key a-3 as turn 2
      So these two do not tell the same conversation.
    ");
}

#[test]
fn an_acknowledgement_with_the_wrong_position() {
    insta::assert_snapshot!(contradiction("position"), @"
    conversations that contradict themselves: position 1
      line 7: turn 1 (key a-2) was acknowledged by web1 at 3.204 s (said by visitor1, attempt 2, durability majority)
      line 15: the final transcript of web2, read at 9.100 s, has it as turn 2
      So the turn does not stand where its acknowledgement said.
    ");
}

#[test]
fn a_read_that_is_behind_the_times() {
    insta::assert_snapshot!(contradiction("order"), @"
    conversations that contradict themselves: order 1
      line 7: turn 2 (key a-2) was acknowledged by web1 at 3.204 s (said by visitor1, attempt 2, durability majority)
      line 12: the answer by web2 to visitor3, asked for at 4.500 s, told 2 turns and not this one
      So an acknowledged turn was hidden from somebody who asked for it later.
    ");
}

#[test]
fn a_history_that_shows_too_little() {
    insta::assert_snapshot!(judged("vacuous"), @"
    vacuous: nothing contradicts itself, but this proves too little
    11 operations: 8 attempts to append, 3 reads (1 not answered)
    7 turns: 5 acknowledged, 1 unknown (1 of them kept), 1 refused; 1 took more than one attempt
    2 conversations, 3 final transcripts from web1, web2; faults: 1
    proves too little: conversation cd340000000000000000000000000002 was not read back from web2
    proves too little: nobody saw the fault `power off of proxy1` take place
    proves too little: 0 acknowledged turns after `power off of proxy1`, 1 wanted
    ");
}

#[test]
fn programs_get_the_same_judgement() {
    let history = History::parse(&read(Path::new(&fixture("position"))).unwrap()).unwrap();
    let judgement = checker::check(&history, &Demand::default());
    insta::assert_snapshot!(serde_json::to_string_pretty(&judgement).unwrap(), @r#"
    {
      "schema": "labctl.check/1",
      "verdict": "contradiction",
      "balance": {
        "operations": 12,
        "attempts": 9,
        "turns": 8,
        "acknowledged_turns": 6,
        "unknown_turns": 1,
        "unknown_turns_kept": 1,
        "refused_turns": 1,
        "retried_turns": 1,
        "reads": 2,
        "unanswered_reads": 1,
        "conversations": 2,
        "transcripts": 4,
        "webs": [
          "web1",
          "web2"
        ],
        "faults": 1
      },
      "contradictions": {
        "position": 1
      },
      "story": {
        "claim": "position",
        "conversation": "ab120000000000000000000000000001",
        "facts": [
          {
            "line": 7,
            "at_ns": 3204000000,
            "text": "turn 1 (key a-2) was acknowledged by web1 at 3.204 s (said by visitor1, attempt 2, durability majority)"
          },
          {
            "line": 15,
            "at_ns": 9100000000,
            "text": "the final transcript of web2, read at 9.100 s, has it as turn 2"
          }
        ],
        "follows": "the turn does not stand where its acknowledgement said"
      },
      "shortfalls": [],
      "shortfalls_left_out": 0
    }
    "#);
}

#[test]
fn a_faulty_history_is_told_line_by_line() {
    let invalid = History::parse(&read(Path::new(&fixture("bad-lines"))).unwrap()).unwrap_err();
    let mut shown = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110);
    handler.render_report(&mut shown, report("bad-lines.jsonl", &invalid).as_ref()).unwrap();
    insta::assert_snapshot!(shown, @r#"
      × bad-lines.jsonl is not a history: 9 problems, the first of them

    Error: labctl::history

      × line 2: unknown field `postion`, expected one of `who`, `conversation`, `key`, `said`, `attempt`,
      │ `invoked_ns`, `completed_ns`, `result`, `position`, `served_by`, `epoch`, `durability`
      help: reports/history.schema.json describes every kind of line; unknown fields are refused

    Error: labctl::history

      × line 3: EOF while parsing an object
      help: reports/history.schema.json describes every kind of line; unknown fields are refused

    Error: labctl::history

      × line 5: the result is known, but not when it was: `completed_ns` is missing
      help: say when the answer came; only `"result": "info"` may go without

    Error: labctl::history

      × line 6: it ends before it begins
      help: all times are of one monotonic clock, in nanoseconds

    Error: labctl::history

      × line 7: turn a-0 is said in other words than in line 1
      help: a retry repeats key and words; another turn has another key

    Error: labctl::history

      × line 8: it has a `position`, but was not acknowledged
      help: leave it out, or say `"result": "ok"`

    Error: labctl::history

      × line 9: a conversation's identifier is 32 hexadecimal digits in lower case
      help: reports/history.schema.json describes every kind of line; unknown fields are refused

    Error: labctl::history

      × line 10: the read was answered, but its `keys` are missing
      help: an empty conversation has `"keys": []`; a read without an answer is `info`
    "#);
}

#[test]
fn windows_count_from_the_first_operation() {
    let within = |windows| exit(&["--windows", windows, &fixture("consistent")]);
    assert_eq!(within("2s..6s"), Some(ExitCode::SUCCESS));
    assert_eq!(within("2s..6s,990ms..1100ms"), Some(ExitCode::SUCCESS));
    assert_eq!(within("2s..3s"), Some(ExitCode::from(4)), "nothing was both said and acknowledged in it");
    assert_eq!(exit(&["--at-least", "3", &fixture("consistent")]), Some(ExitCode::from(4)));
    for text in ["2s", "2s..", "6s..2s", "..", "-1s..2s"] {
        assert!(window(text).is_err(), "{text}");
    }
}
