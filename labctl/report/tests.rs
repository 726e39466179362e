//! Reports on a recorded drill, whole: the sample in `reports/samples`. To put another record in its place, replace its
//! `events.jsonl` and have the rest written anew.

use super::*;
use crate::generated::assert_current;

const RECORD: &str = include_str!("../../reports/samples/proxy-crash/events.jsonl");
const SAMPLE: &str = "reports/samples/proxy-crash";

fn recorded() -> Vec<Event> {
    RECORD.lines().map(|line| serde_json::from_str(line).expect("each line is an event")).collect()
}

/// The sample is for people to look at, and the golden file of the renderers; `LABCTL_UPDATE=1 cargo test sample` writes it
/// anew.
#[test]
fn the_sample_is_what_its_events_say() {
    let report = render(&recorded()).expect("the record is of a drill");
    let history = history(&recorded()).expect("the record is of a drill");
    let files =
        [("summary.md", markdown(&report)), ("report.json", report.to_json()), ("history.jsonl", history)];
    for (name, text) in files {
        assert_current(&format!("{SAMPLE}/{name}"), &text);
    }
}

#[test]
fn a_record_gives_the_same_bytes_in_whatever_order_it_was_written() {
    let mut events = recorded();
    let straight = render(&events).expect("the record is of a drill").to_json();
    events.sort_by_key(|event| (event.source.clone(), event.at_ns));
    assert_eq!(render(&events).expect("the record is of a drill").to_json(), straight);
}

#[test]
fn events_survive_the_way_through_a_file() {
    for (line, event) in RECORD.lines().zip(recorded()) {
        let written = serde_json::to_string(&event).expect("an event can be written");
        assert_eq!(serde_json::from_str::<Event>(&written).expect("and read"), event, "{line}");
    }
}

#[test]
fn a_record_without_its_beginning_is_of_no_drill() {
    let mut events = recorded();
    events.retain(|event| !matches!(event.what, What::DrillBegan(_)));
    assert_eq!(render(&events), Err(Missing::Drill));
}

#[test]
fn text_of_others_cannot_break_the_table() {
    let mut report = render(&recorded()).expect("the record is of a drill");
    report.checks[0].measured = "a | b\nc".to_owned();
    assert!(markdown(&report).contains("| a \\| b c |"));
}

/// The committed schema is the one that programs read; `LABCTL_UPDATE=1 cargo test schema` writes it anew.
#[test]
fn the_schema_on_file_is_current() {
    assert_current("reports/report.schema.json", &schema());
}
