//! A lab on a leash: its holder is a child of this program and ends with it, by whatever signal. And Ctrl-C, which ends
//! a measurement and not what was measured before.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use labctl::holder::client::{Lab, Leash, READY_WITHIN};
use labctl::topology::{LabName, Topology};
use nix::sys::signal::{SigSet, Signal};

use super::Error;

/// The program that is measured, as built for release.
const LABCTL: &str = env!("CARGO_BIN_EXE_labctl");
/// How often a wait looks at what it waits for.
const LOOK: Duration = Duration::from_millis(5);

/// A lab that is up as long as this value.
pub struct Leashed {
    lab: Lab,
    leash: Option<Leash>,
}

impl Leashed {
    /// Builds a lab and returns when it is ready.
    pub fn up(topology: &Topology) -> Result<Self, Error> {
        let name: LabName = format!("bench-{}", std::process::id()).parse().map_err(Error::unfit)?;
        let (lab, _, leash) = Lab::up_on_a_leash(LABCTL.as_ref(), name, topology, READY_WITHIN, |_| ())?;
        Ok(Self { lab, leash: Some(leash) })
    }
}

impl Deref for Leashed {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        let ended = self.leash.take().map(Leash::let_go);
        if !matches!(ended, Some(Ok(true))) {
            eprintln!("the holder of {} does not end by itself", self.lab.name());
        }
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
