//! Is a real server available? A pure machine fed with the outcome of checks: `rise` successes in a row take a server
//! in, `fall` failures in a row take it out, and the very first check decides alone, so that a site is ready at once.
//! It neither checks nor waits: it says when the next check is due.

use std::time::{Duration, Instant};

/// How many outcomes in a row change a server's state, and how often it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes that take it back.
    pub rise: u32,
    /// Failures that take it out.
    pub fall: u32,
    /// From one check to the next.
    pub interval: Duration,
}

/// The outcome of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It answered as it should.
    Passed,
    /// It did not.
    Failed,
}

/// A change of mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// New connections from now on.
    Up,
    /// No new connections from now on.
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Up { failures: u32 },
    Down { successes: u32 },
}

/// What is known of one real server.
#[derive(Clone, Debug)]
pub struct Health {
    thresholds: Thresholds,
    state: State,
    due: Instant,
}

impl Health {
    /// Nothing is known yet, and the first check is due at once.
    pub fn new(thresholds: Thresholds, now: Instant) -> Self {
        Self { thresholds, state: State::Unknown, due: now }
    }

    /// When the next check is due.
    pub fn deadline(&self) -> Instant {
        self.due
    }

    /// Whether a first check has come back.
    pub fn is_known(&self) -> bool {
        self.state != State::Unknown
    }

    /// Whether it should get new connections.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Takes the outcome of a check that came back at `now`.
    pub fn handle(&mut self, check: Check, now: Instant) -> Option<Transition> {
        let Thresholds { rise, fall, interval } = self.thresholds;
        // On the grid of the interval, so that slow checks do not stretch it; late ones do not pile up.
        self.due = (self.due + interval).max(now);
        let (state, transition) = match (self.state, check) {
            (State::Unknown, Check::Passed) => (State::Up { failures: 0 }, Some(Transition::Up)),
            (State::Unknown, Check::Failed) => (State::Down { successes: 0 }, Some(Transition::Down)),
            (State::Up { .. }, Check::Passed) => (State::Up { failures: 0 }, None),
            (State::Up { failures }, Check::Failed) if failures + 1 < fall => {
                (State::Up { failures: failures + 1 }, None)
            }
            (State::Up { .. }, Check::Failed) => (State::Down { successes: 0 }, Some(Transition::Down)),
            (State::Down { .. }, Check::Failed) => (State::Down { successes: 0 }, None),
            (State::Down { successes }, Check::Passed) if successes + 1 < rise => {
                (State::Down { successes: successes + 1 }, None)
            }
            (State::Down { .. }, Check::Passed) => (State::Up { failures: 0 }, Some(Transition::Up)),
        };
        self.state = state;
        transition
    }
}

/// What counts about a real server when it comes to who is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its share of new connections; without one it is on its way out, and nobody's last hope.
    pub weight: u32,
    /// Whether its checks say that it is well.
    pub up: bool,
}

/// Who of a service's real servers is available, and whether that is so only because nobody who has a weight is up: then,
/// if the service may fail open, all of them are, since a wrong check is likelier than a site without a single server, and
/// a dead site loses nothing. It goes by the present alone and not by who was the last one up, so that two directors come to
/// the same table.
pub fn availability(reals: &[Standing], may_fail_open: bool) -> (Vec<bool>, bool) {
    let mut candidates = reals.iter().filter(|real| real.weight > 0).peekable();
    let fail_open = may_fail_open && candidates.peek().is_some() && candidates.all(|real| !real.up);
    (reals.iter().map(|real| real.up || fail_open && real.weight > 0).collect(), fail_open)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    /// Feeds outcomes (`+` passed, `-` failed), one each interval, and writes down each one's effect.
    #[expect(clippy::disallowed_methods, reason = "any point in time will do as the origin")]
    fn story(rise: u32, fall: u32, outcomes: &str) -> String {
        let start = Instant::now();
        let mut health = Health::new(Thresholds { rise, fall, interval: INTERVAL }, start);
        outcomes
            .chars()
            .map(|outcome| {
                let now = health.deadline();
                let check = if outcome == '+' { Check::Passed } else { Check::Failed };
                let effect = match health.handle(check, now) {
                    Some(transition) => format!("{transition:?}"),
                    None => "-".to_owned(),
                };
                let (at, next) = (now - start, health.deadline() - start);
                format!("{at:?} {check:?}: {effect}, up {}, next {next:?}\n", health.is_up())
            })
            .collect()
    }

    #[test]
    fn rise_and_fall() {
        insta::assert_snapshot!(story(2, 3, "+--+---+-++"), @"
        0ns Passed: Up, up true, next 100ms
        100ms Failed: -, up true, next 200ms
        200ms Failed: -, up true, next 300ms
        300ms Passed: -, up true, next 400ms
        400ms Failed: -, up true, next 500ms
        500ms Failed: -, up true, next 600ms
        600ms Failed: Down, up false, next 700ms
        700ms Passed: -, up false, next 800ms
        800ms Failed: -, up false, next 900ms
        900ms Passed: -, up false, next 1s
        1s Passed: Up, up true, next 1.1s
        ");
    }

    #[test]
    fn a_first_failure_takes_a_server_out() {
        insta::assert_snapshot!(story(2, 3, "-++"), @"
        0ns Failed: Down, up false, next 100ms
        100ms Passed: -, up false, next 200ms
        200ms Passed: Up, up true, next 300ms
        ");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time will do as the origin")]
    fn late_checks_do_not_pile_up() {
        let start = Instant::now();
        let mut health = Health::new(Thresholds { rise: 1, fall: 1, interval: INTERVAL }, start);
        health.handle(Check::Failed, start + INTERVAL * 5);
        assert_eq!(health.deadline(), start + INTERVAL * 5);
    }

    #[test]
    fn if_nobody_is_up_everybody_is_available() {
        assert_eq!(judged(&[(1, true), (1, false)]), (vec![true, false], false));
        assert_eq!(judged(&[(1, false), (1, false)]), (vec![true, true], true));
        assert_eq!(judged(&[]), (vec![], false));
    }

    #[test]
    fn a_service_that_may_not_fail_open_has_nobody() {
        let down = Standing { weight: 1, up: false };
        assert_eq!(availability(&[down, down], false), (vec![false, false], false));
    }

    #[test]
    fn a_server_without_a_weight_is_nobodys_last_hope() {
        assert_eq!(judged(&[(0, true), (1, false)]), (vec![true, true], true));
        assert_eq!(judged(&[(0, false), (1, true)]), (vec![false, true], false));
        assert_eq!(judged(&[(0, false), (1, false)]), (vec![false, true], true));
        assert_eq!(judged(&[(0, false)]), (vec![false], false));
    }

    fn judged(reals: &[(u32, bool)]) -> (Vec<bool>, bool) {
        let standings: Vec<_> = reals.iter().map(|&(weight, up)| Standing { weight, up }).collect();
        availability(&standings, true)
    }

    proptest! {
        #[test]
        #[expect(clippy::disallowed_methods, reason = "any point in time will do as the origin")]
        fn only_a_whole_run_of_outcomes_changes_the_state(
            rise in 1u32..5,
            fall in 1u32..5,
            outcomes in proptest::collection::vec(any::<bool>(), 1..60),
        ) {
            let now = Instant::now();
            let mut health = Health::new(Thresholds { rise, fall, interval: INTERVAL }, now);
            for (at, &passed) in outcomes.iter().enumerate() {
                let before = health.is_up();
                let transition =
                    health.handle(if passed { Check::Passed } else { Check::Failed }, now);
                let run = outcomes[..=at].iter().rev().take_while(|&&outcome| outcome == passed).count();
                let needed = if passed { rise } else { fall };
                let expected = match (at, before == passed) {
                    (0, _) => Some(passed),
                    (_, true) => None,
                    (_, false) => (run >= needed as usize).then_some(passed),
                };
                prop_assert_eq!(transition.map(|transition| transition == Transition::Up), expected);
                prop_assert_eq!(health.is_up(), expected.unwrap_or(before));
            }
        }
    }
}
