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

#[test]
fn an_answer_after_the_patience_is_no_answer() {
    let probe = |sent_ms: u64, took_ms: u64| Event {
        at_ns: sent_ms * MS,
        node: None,
        source: "load".to_owned(),
        what: What::Probe {
            intended_ns: sent_ms * MS,
            sent_ns: sent_ms * MS,
            answered_ns: Some((sent_ms + took_ms) * MS),
        },
    };
    let probes = probes(&[probe(2, 101), probe(1, 100)], Duration::from_millis(100));
    assert_eq!(probes.iter().map(|probe| probe.answered).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn the_longest_pause_is_between_two_acknowledgements() {
    assert_eq!(longest_pause(&[]), None);
    assert_eq!(longest_pause(&[7]), None);
    assert_eq!(longest_pause(&[1, 3, 9, 12]), Some(Pause { from_ns: 3, to_ns: 9 }));
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
