//! A real server that comes back gets its share of new connections by steps, so that one with cold caches is not run over by
//! all that it missed. Pure: how long it has been back is an argument.

use std::time::Duration;

/// How many steps lead to the whole weight. Each step is a new table in the data plane, so there are few of them.
pub const STEPS: u32 = 10;

/// How long a real server that comes back takes to get its whole share; zero for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart(pub Duration);

impl SlowStart {
    /// What a weight comes to in [`STEPS`]ths of it, `back_for` after its server came back. All weights of a service
    /// are to be taken in these parts, also those of servers that have all of theirs: only the ratios count. A scheduler that
    /// does not weigh (`rr`, `lc`) starts nobody slowly.
    pub fn weight(self, weight: u32, back_for: Duration) -> u32 {
        weight.saturating_mul(self.step(back_for))
    }

    /// How long after its server came back a weight changes next; `None` once it is whole.
    pub fn next_change(self, back_for: Duration) -> Option<Duration> {
        let step = self.step(back_for);
        // Rounded up, so that the step is taken when its time has come.
        let nanos = (self.0.as_nanos() * u128::from(step)).div_ceil(u128::from(STEPS));
        (step < STEPS).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// From 1, at once, to [`STEPS`], a tenth before the time is over.
    fn step(self, back_for: Duration) -> u32 {
        match (back_for.as_nanos() * u128::from(STEPS)).checked_div(self.0.as_nanos()) {
            Some(done) if done < u128::from(STEPS) => done as u32 + 1,
            Some(_) | None => STEPS,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_weight_comes_back_in_ten_steps() {
        let slow_start = SlowStart(Duration::from_secs(30));
        let mut story = Vec::new();
        let mut at = Some(Duration::ZERO);
        while let Some(now) = at {
            story.push(format!("{now:?} {}", slow_start.weight(3, now)));
            at = slow_start.next_change(now);
        }
        insta::assert_snapshot!(story.join(", "), @"0ns 3, 3s 6, 6s 9, 9s 12, 12s 15, 15s 18, 18s 21, 21s 24, 24s 27, 27s 30");
    }

    #[test]
    fn without_a_slow_start_it_comes_back_whole() {
        let at_once = SlowStart(Duration::ZERO);
        assert_eq!((at_once.weight(3, Duration::ZERO), at_once.next_change(Duration::ZERO)), (30, None));
    }

    #[test]
    fn a_drained_server_stays_so() {
        assert_eq!(SlowStart(Duration::from_secs(1)).weight(0, Duration::ZERO), 0);
    }

    proptest! {
        #[test]
        fn a_share_only_grows_and_changes_when_it_says(
            over in 0u64..100_000,
            times in any::<[u16; 2]>(),
        ) {
            let slow_start = SlowStart(Duration::from_nanos(over));
            let [now, later] = [times[0].min(times[1]), times[0].max(times[1])]
                .map(|time| Duration::from_nanos(time.into()));
            let [before, after] = [now, later].map(|at| slow_start.weight(1, at));
            prop_assert!(1 <= before && before <= after && after <= STEPS);
            match slow_start.next_change(now) {
                Some(change) => prop_assert_eq!(after > before, later >= change, "{:?}", change),
                None => prop_assert_eq!(before, STEPS),
            }
        }
    }
}
