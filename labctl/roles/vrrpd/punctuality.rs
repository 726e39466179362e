//! How punctual the loop is, and whose fault it is if it is not: the machine's, which woke it late, or its own, because one
//! turn took long. It knows no clock.

use std::time::Duration;

/// Intervals that the loop may be late, or busy, before that is worth a word: with three missed, a backup takes (RFC 9568
/// section 2.5 on short intervals).
const LATE_INTERVALS: u32 = 2;

/// The worst of both so far.
#[derive(Debug)]
pub(super) struct Punctuality {
    allowed: Duration,
    latest_wake: Duration,
    longest_turn: Duration,
}

/// Something that is worth a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lateness {
    pub(super) kind: &'static str,
    pub(super) example: String,
}

/// One turn of the loop, and its part that took longest.
#[derive(Debug)]
pub(super) struct Turn {
    began: Duration,
    reached: Duration,
    longest: (&'static str, Duration),
}

impl Turn {
    pub(super) fn begin(at: Duration) -> Self {
        Self { began: at, reached: at, longest: ("nothing", Duration::ZERO) }
    }

    /// A part is done, then.
    pub(super) fn mark(&mut self, part: &'static str, at: Duration) {
        let took = at.saturating_sub(self.reached);
        if took > self.longest.1 {
            self.longest = (part, took);
        }
        self.reached = at;
    }
}

impl Punctuality {
    /// For a loop with this shortest interval.
    pub(super) fn new(interval: Option<Duration>) -> Self {
        let allowed = interval.map_or(Duration::MAX, |interval| LATE_INTERVALS * interval);
        Self { allowed, latest_wake: Duration::ZERO, longest_turn: Duration::ZERO }
    }

    /// It went to sleep until a deadline and woke. What it had missed before it went to sleep is the fault of the last turn.
    pub(super) fn woke(
        &mut self,
        deadline: Option<Duration>,
        asleep: Duration,
        woke: Duration,
    ) -> Option<Lateness> {
        let late = deadline.map_or(Duration::ZERO, |deadline| woke.saturating_sub(deadline.max(asleep)));
        self.latest_wake = self.latest_wake.max(late);
        let example = || format!("the machine woke the loop {late:?} too late");
        (late > self.allowed).then(|| Lateness { kind: "late", example: example() })
    }

    /// A turn is over.
    pub(super) fn ended(&mut self, turn: &Turn) -> Option<Lateness> {
        let took = turn.reached.saturating_sub(turn.began);
        self.longest_turn = self.longest_turn.max(took);
        let (part, longest) = turn.longest;
        let example = || format!("the loop was busy for {took:?}, {longest:?} of that with {part}");
        (took > self.allowed).then(|| Lateness { kind: "busy", example: example() })
    }

    pub(super) fn latest_wake_us(&self) -> u64 {
        microseconds(self.latest_wake)
    }

    pub(super) fn longest_turn_us(&self) -> u64 {
        microseconds(self.longest_turn)
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_long_turn_is_no_late_wake() {
        let mut punctuality = Punctuality::new(Some(ms(10)));
        let mut turn = Turn::begin(ms(1000));
        turn.mark("adverts", ms(1001));
        turn.mark("timers", ms(1050));
        let said = punctuality.ended(&turn).map(|lateness| lateness.example);
        assert_eq!(said.as_deref(), Some("the loop was busy for 50ms, 49ms of that with timers"));
        // The deadline had passed long before it could go to sleep.
        assert_eq!(punctuality.woke(Some(ms(1010)), ms(1050), ms(1051)), None);
        assert_eq!((punctuality.latest_wake_us(), punctuality.longest_turn_us()), (1_000, 50_000));
    }

    #[test]
    fn a_late_wake_is_no_long_turn() {
        let mut punctuality = Punctuality::new(Some(ms(10)));
        let said = punctuality.woke(Some(ms(1010)), ms(1000), ms(1031)).map(|lateness| lateness.example);
        assert_eq!(said.as_deref(), Some("the machine woke the loop 21ms too late"));
        assert_eq!(punctuality.woke(None, ms(1040), ms(9000)), None, "nothing was due");
        let mut turn = Turn::begin(ms(1031));
        turn.mark("timers", ms(1032));
        assert_eq!(punctuality.ended(&turn), None);
        assert_eq!((punctuality.latest_wake_us(), punctuality.longest_turn_us()), (21_000, 1_000));
    }
}
