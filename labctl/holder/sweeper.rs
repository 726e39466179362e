//! The process that outlives a lab with limits: the kernel removes all of a lab but its control groups, so somebody who is
//! not of the lab waits for the holder's end and sweeps them away. It does nothing else, and knows the holder as a descriptor.

use std::io;
use std::os::fd::AsFd;
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use nix::unistd::{chdir, setsid};

use crate::kernel::process::{PidFd, Spawn};
use crate::kernel::{cgroup, wait};
use crate::topology::LabName;

/// How long one wait lasts; it only keeps the number small.
const WAIT: Duration = Duration::from_secs(3600);

/// The hidden verb.
pub const VERB: &str = "__sweep";

/// Has `program`, which is `labctl`, wait for the end of a holder.
pub fn start(program: &std::ffi::OsStr, lab: &LabName, holder: &PidFd) -> io::Result<()> {
    let holder = holder.as_fd().try_clone_to_owned()?;
    let spawn = Spawn {
        program,
        stdin: Stdio::from(holder),
        stdout: Stdio::null(),
        stderr: Stdio::null(),
        // A terminal's Ctrl-C is not for it.
        own_group: true,
        ..Spawn::own(&[VERB, lab.as_str()])
    };
    let mut child = spawn.start()?;
    // Somebody has to collect it if it ends while this process goes on.
    thread::spawn(move || child.wait());
    Ok(())
}

/// Waits until standard input, the holder, has ended, and removes what is left of its lab.
pub fn run(lab: &LabName) -> ExitCode {
    // Nothing here keeps a terminal or a folder busy.
    let _ = setsid();
    let _ = chdir("/");
    while let Ok(false) = wait::readable(io::stdin().as_fd(), WAIT) {}
    match cgroup::sweep_of(lab.as_str()).is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
