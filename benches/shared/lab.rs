//! What every measurement in labs needs: a lab on a leash, whose holder is a child of this program and ends with it, by
//! whatever signal; why a measurement ended early; and Ctrl-C, which ends a measurement and not what was measured before.

#![allow(dead_code, reason = "no measurement needs all of it")]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use labctl::holder::client::{Lab, Leash, READY_WITHIN};
use labctl::topology::{LabName, Topology};
use nix::sys::signal::{SigSet, Signal};

/// The program that is measured, as built for release.
pub const LABCTL: &str = env!("CARGO_BIN_EXE_labctl");
/// What Ctrl-C ends a program with, as shells count it.
pub const INTERRUPTED: u8 = 130;
/// How often a wait looks at what it waits for.
const LOOK: Duration = Duration::from_millis(5);

/// Why a measurement ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Lab(#[from] labctl::holder::client::Error),
    #[error("{0}")]
    Unfit(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    pub fn unfit(because: impl std::fmt::Display) -> Self {
        Self::Unfit(because.to_string())
    }
}

/// A lab that is up as long as this value.
pub struct Leashed {
    lab: Lab,
    leash: Option<Leash>,
}

impl Leashed {
    /// Builds a lab and returns when it is ready. `place` tells the labs of one program apart.
    pub fn up(place: usize, topology: &Topology) -> Result<Self, Error> {
        let name: LabName = format!("bench-{}-{place}", std::process::id()).parse().map_err(Error::unfit)?;
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
                    std::process::exit(i32::from(INTERRUPTED));
                }
                eprintln!("interrupted: it ends after what is under way");
            }
        });
        Ok(Self(interrupted))
    }

    /// An error from the first signal on.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Waits until something is so, at most this long, and says whether it is.
    pub fn wait(&self, within: Duration, mut is_so: impl FnMut() -> bool) -> Result<bool, Error> {
        let until = Instant::now() + within;
        loop {
            self.check()?;
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
