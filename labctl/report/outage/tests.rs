//! Brackets around outages that are known because the tests make them.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// One probe a millisecond: `.` answered, `x` lost.
fn record(picture: &str) -> Vec<Probed> {
    let probe = |(index, mark): (usize, char)| Probed {
        intended_ns: index as u64 * MS,
        sent_ns: index as u64 * MS,
        answered: mark == '.',
        late_ns: None,
    };
    picture.chars().enumerate().map(probe).collect()
}

fn ms(span: Duration) -> u128 {
    span.as_millis()
}

#[test]
fn no_probes_show_nothing_and_no_losses_no_outage() {
    assert_eq!(outages(&[]), []);
    assert_eq!(outages(&record("....")), []);
}

#[test]
fn an_outage_in_the_middle_is_bracketed() {
    let found = outages(&record("..xxx.."));
    assert_eq!(found.len(), 1);
    assert_eq!((ms(found[0].shortest()), found[0].longest().map(ms), found[0].lost), (2, Some(4), 3));
}

#[test]
fn where_the_record_ends_in_an_outage_no_upper_bound_is_known() {
    for picture in ["xxxx", "xx..", "..xx"] {
        let found = outages(&record(picture));
        assert_eq!(found.len(), 1, "{picture}");
        assert_eq!(found[0].longest(), None, "{picture}");
    }
}

#[test]
fn a_flicker_is_one_outage_and_a_long_calm_makes_two() {
    let flicker = outages(&record("..xx.x.."));
    assert_eq!((flicker.len(), flicker[0].lost, ms(flicker[0].shortest())), (1, 3, 3));
    let calm = ".".repeat(60);
    let two = outages(&record(&format!(".x{calm}xx.")));
    assert_eq!(two.iter().map(|outage| outage.lost).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(two[1].longest().map(ms), Some(3));
}

fn probe(sent_ms: u64, took_ms: Option<u64>) -> Event {
    let sent_ns = sent_ms * MS;
    let answered_ns = took_ms.map(|took_ms| sent_ns + took_ms * MS);
    let what = What::Probe { intended_ns: sent_ns, sent_ns, answered_ns };
    Event { at_ns: sent_ns, node: None, source: "load".to_owned(), what }
}

#[test]
fn an_answer_after_the_patience_is_no_answer() {
    let patience = ms(PROBE_PATIENCE) as u64;
    let probes = probes(&[probe(2, Some(patience + 1)), probe(1, Some(patience)), probe(3, None)]);
    assert_eq!(probes.iter().map(|probe| probe.answered).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn answers_that_waited_for_the_site_to_come_back_are_an_outage() {
    // Away from 10 ms to 910 ms; whatever was sent meanwhile was kept somewhere and answered at once in the end.
    let took = |sent_ms| if (10..910).contains(&sent_ms) { 910 - sent_ms } else { 0 };
    let events: Vec<_> = (0..1_000).map(|sent_ms| probe(sent_ms, Some(took(sent_ms)))).collect();
    let found = outages(&probes(&events));
    assert_eq!(found.len(), 1);
    let patience = ms(PROBE_PATIENCE);
    assert!(ms(found[0].shortest()) >= 900 - patience - 2, "{found:?}");
    assert!(found[0].longest().is_some_and(|longest| ms(longest) <= 901), "{found:?}");
}

#[test]
fn a_late_answer_to_the_last_probe_bounds_the_outage() {
    let bounds = |events: &[Event]| outages(&probes(events))[0].longest().map(ms);
    assert_eq!(bounds(&[probe(1, Some(0)), probe(2, None), probe(3, Some(400))]), Some(402));
    // The site may have gone again after that answer.
    assert_eq!(bounds(&[probe(1, Some(0)), probe(2, Some(400)), probe(3, None)]), None);
}

#[test]
fn the_longest_pause_reaches_from_the_beginning_of_the_timetable_to_its_end() {
    let pause = |from_ns, to_ns| Pause { from_ns, to_ns };
    assert_eq!(longest_pause(1, 13, &[1, 3, 9, 12]), pause(3, 9));
    assert_eq!(longest_pause(0, 20, &[]), pause(0, 20));
    assert_eq!(longest_pause(0, 20, &[15, 16]), pause(0, 15));
    assert_eq!(longest_pause(0, 20, &[1, 2]), pause(2, 20));
    // The last turn was due before the end and answered after it.
    assert_eq!(longest_pause(0, 20, &[10, 19, 35]), pause(19, 35));
}

proptest! {
    /// A single stretch of silence of any length and place, probed at any even rate: its true length is in the bracket.
    #[test]
    fn the_truth_is_within_the_bracket(
        interval in 1u64..20,
        down_from in 200u64..2_000,
        down_for in 100u64..3_000,
    ) {
        let probes: Vec<_> = (0..8_000 / interval)
            .map(|index| index * interval)
            .map(|at| Probed {
                intended_ns: at * MS,
                sent_ns: at * MS,
                answered: !(down_from..down_from + down_for).contains(&at),
                late_ns: None,
            })
            .collect();
        let found = outages(&probes);
        prop_assert_eq!(found.len(), 1);
        prop_assert!(ms(found[0].shortest()) <= u128::from(down_for));
        prop_assert!(found[0].longest().is_some_and(|longest| ms(longest) >= u128::from(down_for)));
    }

    /// Whatever was lost is in exactly one outage, and outages come in order without touching each other.
    #[test]
    fn each_loss_is_in_one_outage(answered in proptest::collection::vec(any::<bool>(), 0..400)) {
        let picture: String = answered.iter().map(|&ok| if ok { '.' } else { 'x' }).collect();
        let found = outages(&record(&picture));
        let lost = answered.iter().filter(|&&ok| !ok).count() as u64;
        prop_assert_eq!(found.iter().map(|outage| outage.lost).sum::<u64>(), lost);
        for pair in found.windows(2) {
            prop_assert!(pair[0].first_ok_ns.is_some_and(|ok| ok < pair[1].first_lost_ns));
        }
    }
}
