//! Processes: started in PID namespaces of their own, named by descriptors that cannot be mistaken for another process,
//! and never signalled by group.
#![expect(clippy::disallowed_methods, reason = "this is the one room that starts programs")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::Pid;

/// Where programs are looked up on a machine of its own; `nft` lives in `/usr/sbin`.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How willing the kernel is to kill the process that looks, and half of the way to the most that there is.
const OOM_SCORE: &CStr = c"/proc/self/oom_score_adj";
const EXPENDABLE: &[u8] = b"500";
/// This very program, also after its file was replaced.
pub const SELF: &str = "/proc/self/exe";

/// A program to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The file, looked up on PATH if it has no slash.
    pub program: &'a OsStr,
    /// What comes after it.
    pub args: Vec<&'a OsStr>,
    /// Additions to the environment.
    pub env: Vec<(&'a str, String)>,
    /// Nothing else of this process's environment.
    pub env_only: bool,
    /// It is killed when the thread that starts it ends.
    pub die_with_parent: bool,
    /// It leads a process group of its own, to be ended by [`kill_group`].
    pub own_group: bool,
    /// Descriptors that stay open in it, under their own numbers.
    pub keep: Vec<BorrowedFd<'a>>,
    /// Doors of control groups (see [`super::cgroup`]) that it goes through before it is anything.
    pub join: Vec<BorrowedFd<'a>>,
    /// When memory runs out, the kernel kills it rather than a process without this word. That process 1 of a machine is
    /// spared takes a capability that few have; that others are not takes none.
    pub expendable: bool,
    /// Where its standard streams go.
    pub stdin: Stdio,
    /// Where its standard streams go.
    pub stdout: Stdio,
    /// Where its standard streams go.
    pub stderr: Stdio,
}

impl<'a> Spawn<'a> {
    /// This program, with a hidden verb.
    pub fn own(args: &[&'a str]) -> Self {
        Self {
            program: OsStr::new(SELF),
            args: args.iter().copied().map(OsStr::new).collect(),
            env: Vec::new(),
            env_only: false,
            die_with_parent: false,
            own_group: false,
            keep: Vec::new(),
            join: Vec::new(),
            expendable: false,
            stdin: Stdio::null(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
        }
    }

    /// The environment that every machine starts with, whatever its owner's shell has: no secrets, no proxies.
    pub fn clean_environment(&mut self) {
        self.env_only = true;
        self.env.push(("PATH", SYSTEM_PATH.to_owned()));
        self.env.push(("HOME", "/root".to_owned()));
        self.env.push(("LANG", "C.UTF-8".to_owned()));
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.args).stdin(self.stdin).stdout(self.stdout).stderr(self.stderr);
        if self.env_only {
            command.env_clear();
        }
        if self.own_group {
            command.process_group(0);
        }
        let die_with_parent = self.die_with_parent;
        for (key, value) in self.env {
            command.env(key, value);
        }
        let keep: Vec<RawFd> = self.keep.iter().map(|fd| fd.as_raw_fd()).collect();
        let join: Vec<RawFd> = self.join.iter().map(|fd| fd.as_raw_fd()).collect();
        let expendable = self.expendable;
        // SAFETY: between fork and exec the closure only makes system calls that are safe there, on memory that was
        // allocated before.
        unsafe {
            command.pre_exec(move || {
                for &fd in &keep {
                    // SAFETY: the descriptor is open: the parent holds it while it spawns.
                    let fd = BorrowedFd::borrow_raw(fd);
                    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
                }
                for &door in &join {
                    // SAFETY: as above.
                    nix::unistd::write(BorrowedFd::borrow_raw(door), b"0")?;
                }
                if expendable {
                    // Refused only to who is more expendable already.
                    let file = nix::fcntl::open(OOM_SCORE, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
                    let _ = file.and_then(|file| nix::unistd::write(file, EXPENDABLE));
                }
                if die_with_parent {
                    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                }
                // Whoever blocked signals for its own signalfd must not hand that on.
                nix::sys::signal::SigSet::empty().thread_set_mask()?;
                Ok(())
            });
        }
        command
    }

    /// Starts it.
    pub fn start(self) -> io::Result<Child> {
        self.command().spawn()
    }

    /// Starts it as PID 1 of a new PID namespace: when it ends, the kernel ends everything that it started.
    pub fn start_as_init(self) -> io::Result<Child> {
        let mut command = self.command();
        // The new namespace is for the children of the *thread* that asks, so only this one.
        thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, move || {
                unshare(CloneFlags::CLONE_NEWPID)?;
                command.spawn()
            })?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Whether the kernel should kill this process rather than others when memory runs out.
pub fn be_expendable(expendable: bool) {
    let score = if expendable { EXPENDABLE } else { b"0" };
    // Refused only to who was more expendable before it came here.
    let _ = std::fs::write(OsStr::from_bytes(OOM_SCORE.to_bytes()), score);
}

/// A program of this machine, looked up as [`Spawn`] with a clean environment does it.
pub fn find_program(name: &str) -> Option<PathBuf> {
    SYSTEM_PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// No descriptor above standard error is inherited by programs that this process starts from now on.
pub fn close_others_on_exec() -> Result<(), Errno> {
    // SAFETY: close_range takes three integers; with this flag it closes nothing now.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    Errno::result(result).map(drop)
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Takes hold of a process by its number in this PID namespace.
    pub fn open(pid: i32) -> io::Result<Self> {
        assert!(pid > 0, "a process id is positive; {pid} would mean a group or everybody");
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = Errno::result(fd)? as RawFd;
        // SAFETY: the kernel has just opened it for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // SAFETY: pidfd_send_signal with a null siginfo takes integers only.
        let result = unsafe {
            let none = std::ptr::null::<libc::siginfo_t>();
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal as i32, none, 0)
        };
        Errno::result(result)?;
        Ok(())
    }

    /// Its number in this PID namespace, if it still runs and is visible here.
    pub fn pid(&self) -> Option<i32> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd())).ok()?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
        (pid > 0).then_some(pid)
    }

    /// Moves the calling process to its network, files and host name. Only for a process with one thread.
    pub fn visit(&self) -> Result<(), Errno> {
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)
    }

    /// Moves the calling process into all of its namespaces; that of processes counts for children from now on, and no
    /// thread can be made any more. Only for a process with one thread.
    pub fn move_in(&self) -> Result<(), Errno> {
        self.visit()?;
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Sends a signal to one process of this PID namespace.
///
/// # Panics
/// If `pid` is not above 1: 1 is an init, and others mean groups.
pub fn signal(pid: i32, signal: Signal) -> Result<(), Errno> {
    assert!(pid > 1, "refusing to signal {pid}");
    nix::sys::signal::kill(Pid::from_raw(pid), signal)
}

/// Rounds in which a family is looked up again because it grew meanwhile; a process that was stopped has no more children,
/// so only one that multiplies faster than it is read needs more.
const FAMILY_ROUNDS_MAX: usize = 16;

/// A process and all that descend from it, ancestors first, as the `/proc` of this PID namespace shows them. One whose
/// parent has ended belongs to nobody's family but that of PID 1.
pub fn family(head: i32) -> io::Result<Vec<i32>> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended since is nobody's child any more.
        let Some(parent) = parent(pid) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let mut family = vec![head];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        family.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    Ok(family)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may be anything; after it come the state and the parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal that no process can refuse, SIGSTOP, SIGCONT or SIGKILL, to a process and all that descend from it. A
/// family that is to be killed is stopped first, so that none of it is overlooked because it was just being born.
///
/// # Panics
/// If `head` is not above 1.
pub fn signal_family(head: i32, signal: Signal) -> io::Result<()> {
    if signal == Signal::SIGKILL {
        signal_family(head, Signal::SIGSTOP)?;
    }
    let mut told = BTreeSet::new();
    for _ in 0..FAMILY_ROUNDS_MAX {
        let strangers: Vec<i32> = family(head)?.into_iter().filter(|pid| !told.contains(pid)).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        for pid in strangers {
            match self::signal(pid, signal) {
                // One that has ended since needs no signal; of the head, whoever asks should know.
                Err(Errno::ESRCH) if pid != head => {}
                done => done?,
            }
            told.insert(pid);
        }
    }
    Err(io::Error::other(format!("process {head} has children faster than they can be signalled")))
}

/// Kills a child that was started with [`Spawn::own_group`], and everybody who is still in its group. The child must not have
/// been waited for: until then nobody else can have its number.
pub fn kill_group(leader: &Child) -> Result<(), Errno> {
    let pid = leader.id() as i32;
    assert!(pid > 1, "refusing to kill the group {pid}");
    nix::sys::signal::killpg(Pid::from_raw(pid), Signal::SIGKILL)
}

/// From now on whoever descends from this process and loses its parent becomes a child of this process instead of PID 1's, so
/// that it stays in the family. Such children are reaped by [`reap_orphans`].
pub fn adopt_orphans() -> Result<(), Errno> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Reaps children that have ended, up to the first of `own`, which somebody else waits for.
pub fn reap_orphans(own: &[i32]) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, look) {
        let Some(pid) = status.pid().filter(|pid| !own.contains(&pid.as_raw())) else { return };
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// How a process ended, in words.
pub fn describe_exit(status: nix::sys::wait::WaitStatus) -> String {
    use nix::sys::wait::WaitStatus;
    match status {
        WaitStatus::Exited(_, code) => format!("exit status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal {signal}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fixtures::eventually;

    /// One letter, `T` if it is stopped, `Z` if it has ended; none if it is gone.
    fn state(pid: i32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    }

    #[test]
    fn a_signal_reaches_a_process_its_children_and_theirs() {
        let mut spawn = Spawn::own(&[]);
        spawn.program = OsStr::new("/bin/sh");
        spawn.args = ["-c", "sleep 1000 & (sleep 1000 & wait) & wait"].map(OsStr::new).to_vec();
        let mut child = spawn.start().unwrap();
        let head = child.id() as i32;
        eventually("four processes", || family(head).unwrap().len() == 4);
        let all = family(head).unwrap();
        assert_eq!(all[0], head);

        let are = |wanted: fn(Option<char>) -> bool| all.iter().all(|&pid| wanted(state(pid)));
        signal_family(head, Signal::SIGSTOP).unwrap();
        eventually("all are stopped", || are(|state| state == Some('T')));
        signal_family(head, Signal::SIGCONT).unwrap();
        eventually("none is stopped", || are(|state| state != Some('T')));
        signal_family(head, Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        eventually("all have ended", || are(|state| matches!(state, None | Some('Z'))));
    }

    #[test]
    #[should_panic(expected = "refusing")]
    fn init_and_groups_are_never_signalled() {
        let _ = signal_family(-1, Signal::SIGCONT);
    }
}
