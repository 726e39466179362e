//! A bad neighbour: a process that uses up what its machine has, for a bounded time. It does not know whom that hurts.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::DISK_PATH;
use crate::kernel::process;

/// The hidden verb by which a hog runs on its node.
pub const VERB: &str = "__hog";
/// Memory and disk are taken in steps of this.
const STEP_BYTES: u64 = 1 << 20;
/// Pause after each step of memory: a leak, not an explosion.
const LEAK_PAUSE: Duration = Duration::from_millis(5);

/// What it is hungry for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// Processor time, by so many threads.
    Cpu(u32),
    /// So much memory, by so many processes.
    Memory {
        /// All together.
        bytes: u64,
        /// How many.
        workers: u32,
    },
    /// So much of the node's disk.
    Disk(u64),
    /// A TCP port on all addresses.
    Port(u16),
}

/// What a hog got in the end, for people.
pub type Meal = String;

/// Eats for that long. What it got is told as soon as that is known.
#[expect(clippy::disallowed_methods, reason = "owns the clock of its meal")]
pub fn eat(appetite: Appetite, lasts: Duration, tell: impl Fn(Meal)) -> io::Result<()> {
    let end = Instant::now() + lasts;
    match appetite {
        Appetite::Cpu(threads) => tell(burn(threads, end)?),
        Appetite::Memory { bytes, workers: 1 } => {
            let kept = leak(bytes, end);
            tell(format!("took {}", mib(kept.len() as u64 * STEP_BYTES)));
            hold(end);
            drop(kept);
        }
        Appetite::Memory { bytes, workers } => tell(leak_by(workers, bytes, end)?),
        Appetite::Disk(bytes) => {
            let path = Path::new(DISK_PATH).join("hog");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
            // Without a name it ends with this process, however that ends.
            std::fs::remove_file(&path)?;
            tell(fill(&mut file, bytes)?);
            hold(end);
        }
        Appetite::Port(port) => {
            let _listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
            tell(format!("listens on port {port}"));
            hold(end);
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "owns the clock of its meal")]
fn hold(end: Instant) {
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

#[expect(clippy::disallowed_methods, reason = "owns the clock of its meal")]
fn burn(threads: u32, end: Instant) -> io::Result<Meal> {
    let began = Instant::now();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = || {
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let start = |_| thread::Builder::new().spawn_scoped(scope, busy).map(drop);
        let started = (0..threads).try_for_each(start);
        if started.is_ok() {
            hold(end);
        }
        // Those that did start are waited for.
        over.store(true, Ordering::Relaxed);
        started
    })?;
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let used = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let share = used as f64 / began.elapsed().as_micros().max(1) as f64;
    Ok(format!("used {share:.2} processors with {threads} threads"))
}

/// Takes memory bit by bit.
#[expect(clippy::disallowed_methods, reason = "owns the clock of its meal")]
fn leak(bytes: u64, end: Instant) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    while (kept.len() as u64) < bytes / STEP_BYTES && Instant::now() < end {
        // Zeroes would cost nothing.
        kept.push(vec![1; STEP_BYTES as usize]);
        thread::park_timeout(LEAK_PAUSE);
    }
    kept
}

/// The same by several processes, none of which is large: as an application does that keeps workers.
fn leak_by(workers: u32, bytes: u64, end: Instant) -> io::Result<Meal> {
    let each = (bytes / u64::from(workers)).max(STEP_BYTES);
    // Who tells how it went must outlive it, and is larger than its workers.
    process::be_expendable(false);
    let mut children = Vec::new();
    for _ in 0..workers {
        // SAFETY: this process has one thread, so the child may do whatever it could have done.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => children.push(child),
            ForkResult::Child => {
                process::be_expendable(true);
                let _ = set_pdeathsig(Signal::SIGKILL);
                let kept = leak(each, end);
                hold(end);
                drop(kept);
                std::process::exit(0);
            }
        }
    }
    let mut killed = 0;
    for child in children {
        killed += u32::from(matches!(waitpid(child, None)?, WaitStatus::Signaled(..)));
    }
    Ok(format!("{killed} of {workers} workers were killed"))
}

/// Writes until it is enough, or there is no more.
fn fill(file: &mut impl Write, bytes: u64) -> io::Result<Meal> {
    let step = vec![0; STEP_BYTES as usize];
    let mut written = 0;
    while written < bytes {
        match file.write(&step[..step.len().min((bytes - written) as usize)]) {
            Ok(some) => written += some as u64,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Ok(format!("wrote {}; the disk is full", mib(written)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(format!("wrote {}", mib(written)))
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / STEP_BYTES as f64)
}

/// The words after the hidden verb.
pub fn words(appetite: Appetite, lasts: Duration) -> Vec<String> {
    let mut words = vec![VERB.to_owned()];
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    match appetite {
        Appetite::Cpu(threads) => add("--cpu", threads.to_string()),
        Appetite::Memory { bytes, workers } => {
            add("--memory", format!("{}KiB", bytes >> 10));
            add("--workers", workers.to_string());
        }
        Appetite::Disk(bytes) => add("--disk", format!("{}KiB", bytes >> 10)),
        Appetite::Port(port) => add("--port", port.to_string()),
    }
    add("--for", format!("{}ns", lasts.as_nanos()));
    words
}

/// The same as a process takes them.
pub fn as_arguments(words: &[String]) -> Vec<&OsStr> {
    words.iter().map(OsStr::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that holds so many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_is_filled_to_the_brim_or_as_far_as_was_asked() {
        let size = 5 * STEP_BYTES / 2;
        assert_eq!(fill(&mut Disk(size as usize), 1 << 40).unwrap(), "wrote 2.5 MiB; the disk is full");
        assert_eq!(fill(&mut Disk(usize::MAX), size).unwrap(), "wrote 2.5 MiB");
    }

    #[test]
    fn the_words_of_a_hog_are_its_appetite() {
        let lasts = Duration::from_secs(2);
        let memory = Appetite::Memory { bytes: 96 << 20, workers: 8 };
        let all = [Appetite::Cpu(2), memory, Appetite::Disk(1 << 20), Appetite::Port(7000)];
        let all = all.map(|appetite| words(appetite, lasts).join(" "));
        assert_eq!(
            all,
            [
                "__hog --cpu 2 --for 2000000000ns",
                "__hog --memory 98304KiB --workers 8 --for 2000000000ns",
                "__hog --disk 1024KiB --for 2000000000ns",
                "__hog --port 7000 --for 2000000000ns",
            ]
        );
    }
}
