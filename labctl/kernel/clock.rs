//! The machine's monotonic clock as plain nanoseconds, one time line for all processes of a lab.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The calendar's time since 1970, which is what the kernel stamps frames with.
///
/// # Panics
/// If the kernel has no calendar clock, which Linux always has.
pub fn calendar() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux has a calendar clock"))
}

/// Nanoseconds since boot (`CLOCK_MONOTONIC`).
///
/// # Panics
/// If the kernel has no monotonic clock, which Linux always has.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
