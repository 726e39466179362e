//! What a process does to be on time: run before ordinary processes, stay in memory, wake at a point in time.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// Before every ordinary process, and behind the kernel's own real-time threads, which run at 50.
const FIFO_PRIORITY: i32 = 20;

/// Before every ordinary process, and behind the daemons, which an observer must not hold up.
const OBSERVER_PRIORITY: i32 = 5;

/// Runs the calling thread before all ordinary ones from now on (`SCHED_FIFO`). Children start as ordinary processes.
pub fn run_first() -> Result<(), Errno> {
    run_at(FIFO_PRIORITY)
}

/// The same for somebody who only watches.
pub fn observe_first() -> Result<(), Errno> {
    run_at(OBSERVER_PRIORITY)
}

fn run_at(priority: i32) -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel only reads the parameters, which outlive the call; 0 is the calling thread.
    let done =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters) };
    Errno::result(done).map(drop)
}

/// Keeps what the process has in memory now from being paged out. Later memory is left alone: with a small limit on
/// locked memory, `MCL_FUTURE` would make the next allocation fail.
pub fn stay_in_memory() -> Result<(), Errno> {
    mlockall(MlockAllFlags::MCL_CURRENT)
}

/// A descriptor that becomes readable at a point on the monotonic clock.
#[derive(Debug)]
pub struct Alarm(TimerFd);

impl Alarm {
    /// An alarm that is not set.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map(Self)
    }

    /// Sets it to a time since boot, at once if that is over, or to never. Either way it stops being readable.
    pub fn set(&self, at: Option<Duration>) -> Result<(), Errno> {
        match at {
            None => self.0.unset(),
            // A time of zero would mean never.
            Some(at) => self.0.set(
                Expiration::OneShot(TimeSpec::from(at.max(Duration::from_nanos(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::kernel::clock;

    fn rings(alarm: &Alarm, wait: PollTimeout) -> bool {
        poll(&mut [PollFd::new(alarm.as_fd(), PollFlags::POLLIN)], wait).unwrap() == 1
    }

    #[test]
    fn an_alarm_rings_at_its_time_and_falls_silent_when_set_again() {
        let alarm = Alarm::new().unwrap();
        assert!(!rings(&alarm, PollTimeout::ZERO));
        let at = Duration::from_nanos(clock::monotonic_ns()) + Duration::from_millis(2);
        alarm.set(Some(at)).unwrap();
        assert!(rings(&alarm, PollTimeout::NONE));
        assert!(Duration::from_nanos(clock::monotonic_ns()) >= at);
        alarm.set(Some(at + Duration::from_secs(3600))).unwrap();
        assert!(!rings(&alarm, PollTimeout::ZERO));
        alarm.set(Some(Duration::ZERO)).unwrap();
        assert!(rings(&alarm, PollTimeout::NONE));
        alarm.set(None).unwrap();
        assert!(!rings(&alarm, PollTimeout::ZERO));
    }
}
