//! What goes wrong on the wire, counted by kind and logged seldom: whoever can send packets must not be able to fill
//! the log. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// Least time between two lines of one kind.
const LOG_GAP: Duration = Duration::from_secs(10);

/// Counters by kind. Kinds are words of the program, so there are few of them whatever comes.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<&'static str, Kind>);

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    quiet_until: Duration,
}

impl Complaints {
    /// Counts one more. Returns the count so far if it is time for a line about it.
    pub(super) fn count(&mut self, kind: &'static str, now: Duration) -> Option<u64> {
        let kind = self.0.entry(kind).or_default();
        kind.count += 1;
        if now < kind.quiet_until {
            return None;
        }
        kind.quiet_until = now + LOG_GAP;
        Some(kind.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_always_and_logged_seldom() {
        let mut complaints = Complaints::default();
        let start = Duration::from_secs(100);
        assert_eq!(complaints.count("ttl", start), Some(1));
        assert_eq!(complaints.count("ttl", start + LOG_GAP / 2), None);
        assert_eq!(complaints.count("checksum", start + LOG_GAP / 2), Some(1));
        assert_eq!(complaints.count("ttl", start + LOG_GAP), Some(3));
        assert_eq!(complaints.count("ttl", start + LOG_GAP), None);
    }
}
