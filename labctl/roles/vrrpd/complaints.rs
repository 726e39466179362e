//! What goes wrong, counted by kind and logged seldom: whoever can send packets must not be able to fill the log. The
//! last example of each kind is kept for whoever asks. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::account::ComplaintAccount;

/// Least time between two lines of one kind.
const LOG_GAP: Duration = Duration::from_secs(10);

/// Counters by kind. Kinds are words of the program, so there are few of them whatever comes.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<&'static str, Kind>);

#[derive(Debug)]
struct Kind {
    count: u64,
    at: Duration,
    last: String,
    quiet_until: Duration,
}

impl Complaints {
    /// Counts one more. Returns a line for the log if it is time for one.
    pub(super) fn count(&mut self, kind: &'static str, example: String, now: Duration) -> Option<String> {
        let begin = Kind { count: 0, at: now, last: String::new(), quiet_until: Duration::ZERO };
        let kind = self.0.entry(kind).or_insert(begin);
        kind.count += 1;
        (kind.at, kind.last) = (now, example);
        if now < kind.quiet_until {
            return None;
        }
        kind.quiet_until = now + LOG_GAP;
        Some(format!("{} ({} of this kind so far)", kind.last, kind.count))
    }

    /// All of them.
    pub(super) fn account(&self) -> BTreeMap<String, ComplaintAccount> {
        let account = |kind: &Kind| ComplaintAccount {
            count: kind.count,
            // Since boot, so the next 584 years fit.
            at_ns: kind.at.as_nanos() as u64,
            last: kind.last.clone(),
        };
        self.0.iter().map(|(&name, kind)| (name.to_owned(), account(kind))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_always_and_logged_seldom() {
        let mut complaints = Complaints::default();
        let start = Duration::from_secs(100);
        let mut count =
            |kind, example: &str, after| complaints.count(kind, example.to_owned(), start + after);
        let line = |text: &str| Some(text.to_owned());
        assert_eq!(count("ttl", "TTL 1", Duration::ZERO), line("TTL 1 (1 of this kind so far)"));
        assert_eq!(count("ttl", "TTL 2", LOG_GAP / 2), None);
        assert_eq!(count("checksum", "bad", LOG_GAP / 2), line("bad (1 of this kind so far)"));
        assert_eq!(count("ttl", "TTL 3", LOG_GAP), line("TTL 3 (3 of this kind so far)"));
        assert_eq!(count("ttl", "TTL 4", LOG_GAP), None);
        let last = &complaints.account()["ttl"];
        assert_eq!((last.count, last.last.as_str(), last.at_ns), (4, "TTL 4", 110_000_000_000));
    }
}
