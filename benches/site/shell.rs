//! Programs as people run them: started, timed, and never waited for without a bound. Ctrl-C is passed on to the
//! program that runs, and ends the measurement once that has ended. It knows nothing of labs.
#![allow(clippy::disallowed_methods, reason = "a benchmark owns the clock")]

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use labctl::kernel::process::{PidFd, Spawn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// How long a program may take to end in good order; a drill that ends takes its lab down.
const GRACE: Duration = Duration::from_secs(30);
/// How much of a program's complaint is repeated.
const COMPLAINT_CHARS_MAX: usize = 2_000;

/// Why a measurement ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("interrupted")]
    Interrupted,
    #[error("`{line}` did not end within {within:?}")]
    Late { line: String, within: Duration },
    #[error("`{line}` ended with {how}: {complaint}")]
    Failed { line: String, how: String, complaint: String },
    #[error("`{line}` said something that is not understood")]
    Strange {
        line: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0}")]
    Unfit(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What became of a program.
pub struct Done {
    pub line: String,
    /// From before it was started until its end was seen.
    pub took: Duration,
    pub how: std::process::ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Itself if the program says that all is well.
    pub fn well(self) -> Result<Self, Error> {
        if self.how.success() { Ok(self) } else { Err(self.failure()) }
    }

    pub fn failure(&self) -> Error {
        let complaint = self.stderr.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
        Error::Failed { line: self.line.clone(), how: self.how.to_string(), complaint }
    }
}

/// Starts programs, and listens for Ctrl-C meanwhile.
pub struct Shell {
    signals: SignalFd,
    interrupted: Cell<bool>,
}

impl Shell {
    /// From now on SIGINT, SIGTERM and SIGHUP are something to read.
    pub fn new() -> io::Result<Self> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { signals, interrupted: Cell::new(false) })
    }

    /// Runs a program to its end.
    pub fn run(&self, program: &OsStr, args: &[&str], within: Duration) -> Result<Done, Error> {
        self.go_on()?;
        let done = self.wait(program, args, within)?;
        self.go_on()?;
        Ok(done)
    }

    /// Runs a program that removes something, even after an interrupt; what it says does not matter.
    pub fn tidy(&self, program: &OsStr, args: &[&str], within: Duration) {
        if let Err(error) = self.wait(program, args, within) {
            eprintln!("{error}");
        }
    }

    /// Nothing, for a while.
    pub fn rest(&self, length: Duration) -> Result<(), Error> {
        let until = Instant::now() + length;
        while !self.interrupted.get() && self.wait_for(None, until)? == Cause::Signal {
            self.interrupted.set(true);
        }
        self.go_on()
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.interrupted.get() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn wait(&self, program: &OsStr, args: &[&str], within: Duration) -> Result<Done, Error> {
        let line = format!("{} {}", program.display(), args.join(" "));
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let spawn = Spawn {
            program,
            args: args.iter().map(OsStr::new).collect(),
            stdout: Stdio::from(stdout.try_clone()?),
            stderr: Stdio::from(stderr.try_clone()?),
            ..Spawn::own(&[])
        };
        let began = Instant::now();
        let mut child = spawn.start()?;
        let in_time = self.follow(&child, began + within);
        let took = began.elapsed();
        // An error of the watch itself must not leave the program behind.
        if !matches!(in_time, Ok(true)) {
            child.kill()?;
        }
        let how = child.wait()?;
        if !in_time? {
            return Err(Error::Late { line, within });
        }
        Ok(Done { line, took, how, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
    }

    /// Until the program ends, or `until`; an interrupt or the deadline asks it to end first.
    fn follow(&self, child: &Child, mut until: Instant) -> io::Result<bool> {
        let process = PidFd::open(child.id().cast_signed())?;
        let mut asked = false;
        loop {
            match self.wait_for(Some(&process), until)? {
                Cause::End => return Ok(!asked || self.interrupted.get()),
                Cause::Deadline if asked => return Ok(false),
                Cause::Signal => self.interrupted.set(true),
                Cause::Deadline => {}
            }
            if !asked {
                asked = true;
                until = Instant::now() + GRACE;
                process.signal(Signal::SIGTERM)?;
            }
        }
    }

    fn wait_for(&self, process: Option<&PidFd>, until: Instant) -> io::Result<Cause> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut waiting = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        waiting.extend(process.map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)));
        match poll(&mut waiting, timeout) {
            Ok(0) => return Ok(Cause::Deadline),
            // Its caller looks at the clock and comes back.
            Err(Errno::EINTR) => return self.wait_for(process, until),
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        if waiting.get(1).is_some_and(|process| process.any().unwrap_or(false)) {
            return Ok(Cause::End);
        }
        while self.signals.read_signal()?.is_some() {}
        Ok(Cause::Signal)
    }
}

#[derive(PartialEq, Eq)]
enum Cause {
    End,
    Signal,
    Deadline,
}

fn text(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
