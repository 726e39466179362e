//! Waiting for a descriptor, with an end.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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
