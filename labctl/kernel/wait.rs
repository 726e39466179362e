//! Waiting for a descriptor, or for something that no descriptor tells of, with an end.
#![expect(clippy::disallowed_methods, reason = "who waits needs a clock, and a rest between two looks")]

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until something is so, at least once. When the time is up it tells what was seen last instead.
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() > deadline => {
                return Err(format!("{what}: not within {within:?}; last seen: {last}"));
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Whether there is something to read (or a process has ended, for its descriptor) within this time.
pub fn readable(fd: BorrowedFd, within: Duration) -> Result<bool, Errno> {
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    let mut waiting = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match poll(&mut waiting, timeout) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
