//! `labctl exec`: a command on a node, with the caller's own terminal and the command's own exit code.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus, Stdio};

use super::{Failure, Outcome, Which};
use crate::holder::client::Lab;
use crate::kernel::cgroup;
use crate::kernel::process::Spawn;
use crate::topology::NodeName;

const EXAMPLES: &str = "\
Examples:
  labctl exec client -- curl -si http://203.0.113.10/healthz
  labctl exec proxy1 -- ip -br address
  labctl exec web1                                 a shell on web1";

/// Shells say these where a command cannot be run or found.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
/// Shells add this to the number of the signal that ended a command.
const SIGNAL_BASE: i32 = 128;

/// Run a command on a node
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node
    node: NodeName,
    /// The command and its arguments; a shell if there is none
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    let shell = [OsString::from("/bin/sh")];
    let command = if args.command.is_empty() { &shell } else { args.command.as_slice() };
    let Some((program, rest)) = command.split_first() else { return Ok(ExitCode::from(NOT_FOUND)) };
    on(&lab, &args.node, program, rest.iter().map(OsString::as_os_str).collect())
}

/// Runs a program on a node to its end.
fn on(lab: &Lab, node: &NodeName, program: &OsStr, args: Vec<&OsStr>) -> Outcome {
    let ended = start(lab, node, program, args)?.and_then(|mut child| {
        // Ctrl-C reaches the command by the terminal; from here on this process only waits for what it makes of it.
        ignore_interrupts();
        child.wait()
    });
    match ended {
        Ok(status) => Ok(ExitCode::from(code(status))),
        Err(error) => {
            say!("labctl: {} on {}: {error}", program.display(), node);
            let missing = error.kind() == io::ErrorKind::NotFound;
            Ok(ExitCode::from(if missing { NOT_FOUND } else { CANNOT_RUN }))
        }
    }
}

/// What a shell would end with.
pub(super) fn code(status: ExitStatus) -> u8 {
    status.code().or_else(|| status.signal().map(|signal| SIGNAL_BASE + signal)).unwrap_or(1) as u8
}

/// Starts a program on a node, and takes this process there.
pub(super) fn start(
    lab: &Lab,
    node: &NodeName,
    program: &OsStr,
    args: Vec<&OsStr>,
) -> Result<io::Result<Child>, Failure> {
    let init = lab.enter(node)?;
    // What runs on a node counts against the node's limits.
    let doors = init.pid().map_or(Ok(Vec::new()), cgroup::doors_of)?;
    init.move_in().map_err(|errno| Failure::entering(node, errno))?;
    let spawn = Spawn {
        program,
        args,
        stdin: Stdio::inherit(),
        // Killed, this process must not leave the command behind: nobody in the lab would reap it.
        die_with_parent: true,
        expendable: true,
        join: doors.iter().map(|door| door.as_fd()).collect(),
        ..Spawn::own(&[])
    };
    Ok(spawn.start())
}

fn ignore_interrupts() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: ignoring a signal installs no code.
    let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) };
    // SAFETY: as above.
    let _ = unsafe { signal(Signal::SIGQUIT, SigHandler::SigIgn) };
}
