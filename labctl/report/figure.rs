//! Figures with units, as people read them: enough digits to compare, no more.

use std::time::Duration;

/// A duration: `640 µs`, `31.2 ms`, `1.25 s`.
pub(super) fn time(span: Duration) -> String {
    let us = span.as_micros();
    match us {
        0 => "0 ms".to_owned(),
        1..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", span.as_secs_f64()),
    }
}

/// An amount of data: `640 B`, `31.2 KiB`, `1.25 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut left, mut unit) = (count as f64, None);
    for next in UNITS {
        if left < 1_024.0 {
            break;
        }
        (left, unit) = (left / 1_024.0, Some(next));
    }
    match unit {
        Some(unit) => format!("{left:.1} {unit}"),
        None => format!("{count} B"),
    }
}

/// An outage between two bounds.
pub(super) fn bracket(shortest: Duration, longest: Option<Duration>) -> String {
    match longest {
        Some(longest) => format!("{} to {}", time(shortest), time(longest)),
        None => format!("{} or longer", time(shortest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_the_unit_that_reads_best() {
        let read = |us| time(Duration::from_micros(us));
        let all = [0, 1, 999, 1_000, 31_249, 999_900, 1_250_000, 75_000_000].map(read);
        assert_eq!(all, ["0 ms", "1 µs", "999 µs", "1.0 ms", "31.2 ms", "999.9 ms", "1.25 s", "75.00 s"]);
    }
}
