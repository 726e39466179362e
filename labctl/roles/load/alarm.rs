//! Waking at a point in time, to some ten microseconds. The runtime's own timers round up to milliseconds, which would
//! count as latency of the site.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::kernel::clock;

/// An alarm clock.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: AsyncFd<Timer>,
}

/// The runtime wants both ways to the descriptor, and nix offers one.
#[derive(Debug)]
struct Timer(TimerFd);

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// An alarm that is off.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the timer owns its descriptor, so that is open and the same as long as the registration.
        let timer = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE)? };
        Ok(Self { timer })
    }

    /// Returns at this time, or at once if it has passed.
    pub(super) async fn until(&mut self, at_ns: u64) -> io::Result<()> {
        if clock::monotonic_ns() >= at_ns {
            return Ok(());
        }
        let at = Expiration::OneShot(TimeSpec::from(Duration::from_nanos(at_ns)));
        self.timer.get_ref().0.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        loop {
            let mut ready = self.timer.readable().await?;
            match ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)) {
                Ok(woken) => return woken,
                // Not yet: it was readable for an earlier expiration.
                Err(_would_block) => continue,
            }
        }
    }
}
