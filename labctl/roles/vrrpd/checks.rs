//! The tracked checks: each on a thread of its own and of ordinary priority, since what it asks may take its time, and
//! the loop may not. The loop hears of changes only, by a descriptor. It does not know what follows from them.
#![expect(clippy::disallowed_methods, reason = "owns the clock of the checks")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;

use super::account::CheckAccount;
use crate::balancer::{Check, Health, Thresholds};
use crate::kernel::process::{PidFd, Spawn};
use crate::kernel::wait;
use crate::roles::{balancer, inquiry};
use crate::topology::{TrackCheck, TrackProbe};
use crate::vrrp;

/// Changes that wait for the loop. A check that finds the queue full waits with them.
const CHANGES_MAX: usize = 64;
/// Most changes taken in one turn; what comes after that wakes the loop once more.
const DRAIN_MAX: usize = CHANGES_MAX;
/// A check needs little, and the whole stack of a thread counts against the memory of its node.
const STACK_BYTES: usize = 256 * 1024;

/// All checks of a node.
#[derive(Debug)]
pub(super) struct Checks {
    known: Vec<CheckAccount>,
    changes: Receiver<Change>,
    rung: Arc<EventFd>,
    /// The threads end when these do.
    _running: Vec<Sender<()>>,
}

/// Something new about one check.
#[derive(Debug)]
struct Change {
    check: usize,
    passes: bool,
    detail: String,
}

impl Checks {
    /// Starts a thread for each check. Until it has an outcome, a check counts as passed.
    pub(super) fn start(checks: &[TrackCheck]) -> io::Result<Self> {
        let (sender, changes) = sync_channel(CHANGES_MAX);
        let rung = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let rung = Arc::new(rung);
        let mut running = Vec::with_capacity(checks.len());
        for (number, check) in checks.iter().enumerate() {
            let (life, end) = channel();
            let bell = Bell { sender: sender.clone(), rung: rung.clone() };
            let check = check.clone();
            thread::Builder::new()
                .name(format!("check {}", check.name))
                .stack_size(STACK_BYTES)
                .spawn(move || run(number, &check, &bell, &end))?;
            running.push(life);
        }
        let known = checks.iter().map(|check| CheckAccount {
            name: check.name.to_string(),
            passes: true,
            weight: check.weight,
            detail: "not asked yet".to_owned(),
        });
        Ok(Self { known: known.collect(), changes, rung, _running: running })
    }

    /// Takes what changed since the last call, and says which checks pass now and did not before, or the other way
    /// round. Never waits.
    pub(super) fn hear(&mut self) -> Vec<CheckAccount> {
        // The count of rings does not matter, nor that there was none.
        let _ = self.rung.read();
        let mut turned = Vec::new();
        for change in self.changes.try_iter().take(DRAIN_MAX) {
            let known = &mut self.known[change.check];
            known.detail = change.detail;
            if known.passes != change.passes {
                known.passes = change.passes;
                turned.push(known.clone());
            }
        }
        turned
    }

    /// What all checks together mean for the election.
    pub(super) fn health(&self) -> vrrp::Health {
        let failing = self.known.iter().filter(|check| !check.passes);
        failing.fold(vrrp::Health::default(), |sum, check| match check.weight {
            Some(weight) => vrrp::Health { lowered_by: sum.lowered_by.saturating_add(weight), ..sum },
            None => vrrp::Health { fault: true, ..sum },
        })
    }

    /// Every check, in the order of the site.
    pub(super) fn account(&self) -> Vec<CheckAccount> {
        self.known.clone()
    }
}

impl AsFd for Checks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rung.as_fd()
    }
}

/// A thread's way to the loop.
#[derive(Debug)]
struct Bell {
    sender: SyncSender<Change>,
    rung: Arc<EventFd>,
}

impl Bell {
    /// Whether the loop still listens.
    fn ring(&self, change: Change) -> bool {
        let listens = self.sender.send(change).is_ok();
        // A count that is full rings already.
        let _ = self.rung.write(1);
        listens
    }
}

/// One check, until the loop ends.
fn run(number: usize, check: &TrackCheck, bell: &Bell, end: &Receiver<()>) {
    let thresholds = Thresholds { rise: check.rise, fall: check.fall, interval: check.interval };
    let mut health = Health::new(thresholds, Instant::now());
    let mut told: Option<(bool, String)> = None;
    loop {
        let wait = health.deadline().saturating_duration_since(Instant::now());
        match end.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let outcome = ask(&check.probe, check.timeout);
        let judged = if outcome.is_ok() { Check::Passed } else { Check::Failed };
        health.handle(judged, Instant::now());
        let detail = outcome.err().unwrap_or_else(|| "passed".to_owned());
        let now = (health.is_up(), detail);
        if told.as_ref() != Some(&now) {
            let change = Change { check: number, passes: now.0, detail: now.1.clone() };
            if !bell.ring(change) {
                return;
            }
            told = Some(now);
        }
    }
}

fn ask(probe: &TrackProbe, within: Duration) -> Result<(), String> {
    match probe {
        TrackProbe::Balancer => ask_balancer(within),
        TrackProbe::Command(command) => run_command(command, within),
    }
}

fn ask_balancer(within: Duration) -> Result<(), String> {
    let said = inquiry::ask(Path::new(balancer::SOCKET_PATH), within)
        .map_err(|error| format!("the balancer does not say how it is: {error}"))?;
    let account: balancer::account::Account = serde_json::from_slice(&said)
        .map_err(|error| format!("the balancer says something strange: {error}"))?;
    match account.unserved() {
        Some(service) => Err(format!("no real server of {service} is up")),
        None => Ok(()),
    }
}

fn run_command(command: &[String], within: Duration) -> Result<(), String> {
    let mut words = command.iter().map(OsStr::new);
    let program = words.next().ok_or("the command is empty")?;
    let mut spawn = Spawn {
        program,
        args: words.collect(),
        die_with_parent: true,
        stdout: Stdio::null(),
        stderr: Stdio::null(),
        ..Spawn::own(&[])
    };
    spawn.clean_environment();
    let mut child = spawn.start().map_err(|error| format!("cannot start: {error}"))?;
    let ended = PidFd::open(child.id() as i32)
        .and_then(|process| Ok(wait::readable(process.as_fd(), within)?))
        .unwrap_or(false);
    if !ended {
        // Fails only if it has ended by itself meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("cannot wait for it: {error}"))?;
    match (ended, status.success()) {
        (true, true) => Ok(()),
        (true, false) => Err(describe(status)),
        (false, _) => Err(format!("no end within {within:?}")),
    }
}

fn describe(status: ExitStatus) -> String {
    let signal = || status.signal().and_then(|signal| Signal::try_from(signal).ok());
    match (status.code(), signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => format!("{status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longest that a fact may take to become true.
    const WAIT_MAX: Duration = Duration::from_secs(10);

    fn check(name: &str, weight: Option<u8>, command: &[&str]) -> TrackCheck {
        TrackCheck {
            name: name.parse().unwrap(),
            probe: TrackProbe::Command(command.iter().map(|&word| word.to_owned()).collect()),
            weight,
            interval: Duration::from_millis(10),
            timeout: WAIT_MAX,
            rise: 1,
            fall: 1,
        }
    }

    fn until(checks: &mut Checks, what: &str, so: impl Fn(&Checks) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        while !so(checks) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(wait::readable(checks.as_fd(), left).unwrap(), "{what}: {:?}", checks.account());
            checks.hear();
        }
    }

    #[test]
    fn weights_of_failing_checks_add_up_and_a_check_without_one_is_a_fault() {
        let failing = ["false"];
        let mut checks = Checks::start(&[
            check("well", Some(100), &["true"]),
            check("lame", Some(30), &failing),
            check("worse", Some(250), &failing),
        ])
        .unwrap();
        assert_eq!(checks.health(), vrrp::Health::default(), "nothing is known yet");
        until(&mut checks, "both weights count", |checks| {
            checks.health() == vrrp::Health { lowered_by: u8::MAX, fault: false }
        });
        assert!(checks.account()[0].passes);
        assert_eq!(checks.account()[1].detail, "exit status 1");
        let mut checks = Checks::start(&[check("dead", None, &failing)]).unwrap();
        until(&mut checks, "a fault", |checks| checks.health().fault);
    }

    #[test]
    fn a_check_that_passes_again_counts_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("well");
        let mut checks =
            Checks::start(&[check("file", Some(50), &["test", "-e", file.to_str().unwrap()])]).unwrap();
        until(&mut checks, "it fails", |checks| checks.health().lowered_by == 50);
        std::fs::write(&file, "").unwrap();
        until(&mut checks, "it passes", |checks| checks.health().lowered_by == 0);
        assert_eq!(checks.account()[0].detail, "passed");
    }

    #[test]
    fn a_command_that_hangs_is_killed_and_has_failed() {
        let within = Duration::from_millis(20);
        let outcome = run_command(&["sleep".to_owned(), "3600".to_owned()], within);
        assert_eq!(outcome, Err("no end within 20ms".to_owned()));
        assert_eq!(run_command(&["true".to_owned()], WAIT_MAX), Ok(()));
        let missing = run_command(&["no-such-program-anywhere".to_owned()], WAIT_MAX).unwrap_err();
        assert!(missing.starts_with("cannot start: "), "{missing}");
    }
}
