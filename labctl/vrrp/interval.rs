//! The advertisement interval in the unit of the wire, centiseconds, and the two times of RFC 9568 section 6.1 that
//! follow from it. It knows no timer.

use std::fmt;
use std::num::NonZeroU8;
use std::time::Duration;

/// Largest value of the 12-bit field (RFC 9568 section 5.2.7).
const CENTISECONDS_MAX: u16 = 0x0fff;
/// One unit of the field.
const CENTISECOND: Duration = Duration::from_millis(10);

/// Max Advertise Interval: 1 to 4095 centiseconds (RFC 9568 sections 5.2.7 and 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(u16);

/// What `Skew_Time` is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SkewRule {
    /// The interval (RFC 9568 section 6.1), so that short intervals have short skews.
    #[default]
    OfInterval,
    /// A second, whatever the interval (RFC 3768 section 6.1).
    OfSecond,
}

/// Why a time cannot be an advertisement interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an advertisement interval: those are 10 ms to 40.95 s in steps of 10 ms")]
pub struct IntervalError(Duration);

impl Interval {
    /// The longest.
    pub const MAX: Self = Self(CENTISECONDS_MAX);

    /// The value on the wire; `None` if it is 0 or does not fit the 12 bits.
    pub fn from_centiseconds(centiseconds: u16) -> Option<Self> {
        (1..=CENTISECONDS_MAX).contains(&centiseconds).then_some(Self(centiseconds))
    }

    /// The value on the wire.
    pub fn centiseconds(self) -> u16 {
        self.0
    }

    /// The same as a time.
    pub fn duration(self) -> Duration {
        CENTISECOND * u32::from(self.0)
    }

    /// `Skew_Time`: the lower the priority, the longer a backup holds back, up to one interval or second (section 6.1).
    pub fn skew(self, priority: NonZeroU8, rule: SkewRule) -> Duration {
        let whole = match rule {
            SkewRule::OfInterval => self.duration(),
            SkewRule::OfSecond => Duration::from_secs(1),
        };
        whole * (256 - u32::from(priority.get())) / 256
    }

    /// `Active_Down_Interval`: the silence after which the Active counts as gone (section 6.1).
    pub fn active_down(self, priority: NonZeroU8, rule: SkewRule) -> Duration {
        3 * self.duration() + self.skew(priority, rule)
    }
}

impl TryFrom<Duration> for Interval {
    type Error = IntervalError;
    fn try_from(time: Duration) -> Result<Self, IntervalError> {
        let unit = CENTISECOND.as_nanos();
        let wrong = IntervalError(time);
        if !time.as_nanos().is_multiple_of(unit) {
            return Err(wrong);
        }
        let centiseconds = u16::try_from(time.as_nanos() / unit).map_err(|_| wrong)?;
        Self::from_centiseconds(centiseconds).ok_or(wrong)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.duration())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(centiseconds: u16, priority: u8) -> (Duration, Duration) {
        let interval = Interval::from_centiseconds(centiseconds).unwrap();
        let priority = NonZeroU8::new(priority).unwrap();
        let rule = SkewRule::OfInterval;
        (interval.skew(priority, rule), interval.active_down(priority, rule))
    }

    #[test]
    fn the_skew_of_version_2_is_a_part_of_a_second() {
        let interval = Interval::from_centiseconds(300).unwrap();
        let priority = NonZeroU8::new(100).unwrap();
        let skew = Duration::from_micros(609_375);
        assert_eq!(interval.skew(priority, SkewRule::OfSecond), skew);
        assert_eq!(interval.active_down(priority, SkewRule::OfSecond), Duration::from_secs(9) + skew);
    }

    #[test]
    fn skew_and_active_down_follow_section_6_1() {
        let us = Duration::from_micros;
        assert_eq!(times(100, 100), (us(609_375), us(3_609_375)));
        assert_eq!(times(100, 254), (Duration::from_nanos(7_812_500), Duration::from_nanos(3_007_812_500)));
        assert_eq!(times(100, 255), (Duration::from_nanos(3_906_250), Duration::from_nanos(3_003_906_250)));
        assert_eq!(times(100, 1), (Duration::from_nanos(996_093_750), Duration::from_nanos(3_996_093_750)));
        assert_eq!(times(1, 100), (Duration::from_nanos(6_093_750), Duration::from_nanos(36_093_750)));
        assert_eq!(times(4095, 128), (us(20_475_000), us(143_325_000)));
    }

    #[test]
    fn only_what_the_field_can_hold_is_an_interval() {
        let ok = |time| Interval::try_from(time).map(Interval::centiseconds).ok();
        assert_eq!(ok(Duration::from_millis(10)), Some(1));
        assert_eq!(ok(Duration::from_millis(40_950)), Some(4095));
        for wrong in [0, 1, 9, 15, 40_951, 40_960, u64::MAX] {
            assert_eq!(ok(Duration::from_millis(wrong)), None, "{wrong} ms");
        }
        assert_eq!(ok(Duration::from_nanos(10_000_001)), None);
    }
}
