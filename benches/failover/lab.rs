//! A lab on a leash: its holder is a child of this program and ends with it, by whatever signal. And Ctrl-C, which ends
//! a measurement and not what was measured before.

use std::io::{BufRead, BufReader, Write};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use labctl::holder::client::{Lab, READY_WITHIN};
use labctl::holder::protocol::{Progress, StartSpec};
use labctl::kernel::process::{PidFd, Spawn};
use labctl::kernel::wait;
use labctl::topology::{LabName, Topology};
use nix::sys::signal::{SigSet, Signal};

use super::Error;

/// The program that is measured, as built for release.
const LABCTL: &str = env!("CARGO_BIN_EXE_labctl");
/// How long the holder may take to end; the kernel needs a tenth of a second for its processes.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How often a wait looks at what it waits for.
const LOOK: Duration = Duration::from_millis(5);

/// A lab that is up as long as this value.
pub struct Leashed {
    lab: Lab,
    leash: Option<ChildStdin>,
    holder: Child,
}

impl Leashed {
    /// Builds a lab and returns when it is ready.
    pub fn up(topology: &Topology) -> Result<Self, Error> {
        let name: LabName = format!("bench-{}", std::process::id()).parse().map_err(Error::unfit)?;
        let mut spawn = Spawn::own(&["__holder"]);
        spawn.program = std::ffi::OsStr::new(LABCTL);
        spawn.stdin = Stdio::piped();
        spawn.stdout = Stdio::piped();
        let mut holder = spawn.start_as_init()?;
        let (Some(mut stdin), Some(stdout)) = (holder.stdin.take(), holder.stdout.take()) else {
            return Err(Error::unfit("the holder has no standard streams"));
        };
        let spec = StartSpec {
            lab: name.clone(),
            topology: topology.clone(),
            ready_within_ms: READY_WITHIN.as_millis() as u64,
        };
        let mut line = serde_json::to_vec(&spec).map_err(std::io::Error::from)?;
        line.push(b'\n');
        stdin.write_all(&line)?;
        ready(BufReader::new(stdout))?;
        Ok(Self { lab: Lab::find(Some(name))?, leash: Some(stdin), holder })
    }
}

fn ready(said: impl BufRead) -> Result<(), Error> {
    for line in said.lines() {
        match serde_json::from_str(&line?) {
            Ok(Progress::Ready { .. }) => return Ok(()),
            Ok(Progress::Failed { because }) => return Err(Error::Unfit(because)),
            Ok(Progress::Taken) => return Err(Error::unfit("a lab of that name is up")),
            Ok(Progress::Network { .. } | Progress::Waiting { .. }) | Err(_) => {}
        }
    }
    Err(Error::unfit("the holder ended while the lab was starting"))
}

impl Deref for Leashed {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        drop(self.leash.take());
        let ended = PidFd::open(self.holder.id().cast_signed())
            .and_then(|holder| Ok(wait::readable(holder.as_fd(), END_WITHIN)?));
        if !matches!(ended, Ok(true)) {
            eprintln!("the holder of {} does not end by itself", self.lab.name());
            let _ = self.holder.kill();
        }
        let _ = self.holder.wait();
    }
}

/// Whether somebody wants this to end.
#[derive(Clone)]
pub struct Interrupts(Arc<AtomicBool>);

impl Interrupts {
    /// From now on SIGINT, SIGTERM and SIGHUP end the measurement that is under way; a second one ends the program at once.
    pub fn listen() -> std::io::Result<Self> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block()?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        std::thread::spawn(move || {
            while signals.wait().is_ok() {
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(super::INTERRUPTED));
                }
                eprintln!("interrupted: this run ends now");
            }
        });
        Ok(Self(interrupted))
    }

    /// Waits until something is so, at most this long, and says whether it is.
    pub fn wait(&self, within: Duration, mut is_so: impl FnMut() -> bool) -> Result<bool, Error> {
        let until = Instant::now() + within;
        loop {
            if self.0.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if is_so() {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(LOOK.min(left));
        }
    }
}
