//! The holder's side of a node: its PID 1, the line for orders, its log and its disk.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::kernel::mount;
use crate::kernel::namespace::NetNs;
use crate::kernel::process::{self, PidFd, Spawn};
use crate::kernel::wait;
use crate::roles::init::{InitSpec, Numbered, Order};
use crate::topology::{NodeName, Topology};

/// How long a killed PID 1 may take to be gone; its processes must be reaped first.
const EXIT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long PID 1 may take to answer an order; it has nothing else to do, but the machine may be loaded.
const ORDER_WAIT_MAX: Duration = Duration::from_secs(2);
/// What one node's log may take: a node that writes more is refused, and the rest of the lab does not notice.
const LOG_MIB: u32 = 16;
/// What one node's disk may take: a node that writes more is refused, and the others do not notice. It takes memory only as
/// it fills.
pub const DISK_MIB: u32 = 512;
/// Largest answer to an order.
const ANSWER_BYTES_MAX: usize = 4096;

/// Why a node does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its PID 1 cannot be started.
    #[error("start {node}")]
    Start {
        /// The node.
        node: NodeName,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its processes go on.
    #[error("stop the processes of {node}")]
    Stop {
        /// The node.
        node: NodeName,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It does not end.
    #[error("{node} still runs {EXIT_WAIT_MAX:?} after it was killed")]
    Undead {
        /// The node.
        node: NodeName,
    },
    /// It refused an order.
    #[error("{0}")]
    Refused(String),
    /// It does not answer.
    #[error("{node} does not answer an order")]
    Silent {
        /// The node.
        node: NodeName,
        /// Why not.
        #[source]
        source: Errno,
    },
}

/// A node's PID 1 ended.
#[derive(Debug)]
pub struct Exit {
    /// The node.
    pub node: NodeName,
    /// Which of its lives that was.
    pub life: u64,
    /// How it ended.
    pub how: String,
}

/// A running node.
#[derive(Debug)]
pub struct Running {
    name: NodeName,
    /// Which of its lives this is.
    pub life: u64,
    pidfd: PidFd,
    orders: OwnedFd,
    ordered: Cell<u64>,
}

/// What a node needs besides its namespace.
#[derive(Debug)]
pub struct Home<'a> {
    /// Below this are the disks.
    pub disks: &'a Path,
    /// Below this are the logs.
    pub logs: &'a Path,
    /// Where events go.
    pub events: &'a UnixDatagram,
    /// The namespace of the lab's bridges.
    pub fabric: BorrowedFd<'a>,
    /// The ways into the control groups that limit it.
    pub doors: &'a [File],
}

/// The disk of a node.
pub fn disk_path(disks: &Path, node: &NodeName) -> PathBuf {
    disks.join(node.as_str())
}

/// The log of a node.
pub fn log_path(logs: &Path, node: &NodeName) -> PathBuf {
    logs.join(node.as_str()).join("log")
}

impl Running {
    /// Starts a node's PID 1 in its network namespace. When it ends, `exits` hears of it.
    pub fn start<T: From<Exit> + Send + 'static>(
        name: &NodeName,
        life: u64,
        topology: &Topology,
        netns: &NetNs,
        home: &Home,
        exits: SyncSender<T>,
    ) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Start { node: name.clone(), source };
        let disk = disk_path(home.disks, name);
        let limit = topology.node(name).and_then(|node| node.limits.disk_bytes);
        make_disk(&disk, limit).map_err(failed)?;
        let log = open_log(home.logs, name).map_err(failed)?;
        let (orders, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| failed(errno.into()))?;
        let spec = InitSpec {
            node: name.clone(),
            topology: topology.clone(),
            disk,
            netns_fd: netns.as_fd().as_raw_fd(),
            events_fd: home.events.as_raw_fd(),
            orders_fd: theirs.as_raw_fd(),
            fabric_fd: home.fabric.as_raw_fd(),
        };
        let mut spawn = Spawn::own(&["__node"]);
        spawn.clean_environment();
        spawn.keep = vec![netns.as_fd(), home.events.as_fd(), theirs.as_fd(), home.fabric];
        spawn.join = home.doors.iter().map(|door| door.as_fd()).collect();
        spawn.stdin = Stdio::piped();
        spawn.stdout = Stdio::from(log.try_clone().map_err(failed)?);
        spawn.stderr = Stdio::from(log);
        let mut child = spawn.start_as_init().map_err(failed)?;
        let pidfd = PidFd::open(child.id() as i32).map_err(failed)?;
        let text = serde_json::to_vec(&spec).map_err(|error| failed(error.into()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&text).map_err(failed)?;
        }
        let node = name.clone();
        thread::Builder::new()
            .spawn(move || {
                let how = match child.wait() {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                // If nobody listens any more, the lab is on its way down.
                let _ = exits.send(Exit { node, life, how }.into());
            })
            .map_err(failed)?;
        Ok(Self { name: name.clone(), life, pidfd, orders, ordered: Cell::new(0) })
    }

    /// A descriptor of its PID 1.
    pub fn pidfd(&self) -> &PidFd {
        &self.pidfd
    }

    /// Kills it, and returns when it is gone.
    pub fn kill(&self) -> Result<(), Error> {
        // Refused only if it is gone already.
        let _ = self.pidfd.signal(Signal::SIGKILL);
        match wait::readable(self.pidfd.as_fd(), EXIT_WAIT_MAX) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Error::Undead { node: self.name.clone() }),
        }
    }

    /// Stops all of its processes for ever. Only [`Running::kill`] comes after it.
    pub fn stop(&self) -> Result<(), Error> {
        self.hang(true)
    }

    /// Has all of its processes hang, or go on: its kernel still answers for it.
    pub fn hang(&self, hangs: bool) -> Result<(), Error> {
        let failed = |source| Error::Stop { node: self.name.clone(), source };
        let head = self.pidfd.pid().ok_or_else(|| failed(Errno::ESRCH.into()))?;
        let signal = if hangs { Signal::SIGSTOP } else { Signal::SIGCONT };
        process::signal_family(head, signal).map_err(failed)
    }

    /// Gives its PID 1 an order, and returns its answer.
    pub fn order(&self, order: &Order) -> Result<(), Error> {
        let silent = |source| Error::Silent { node: self.name.clone(), source };
        let number = self.ordered.get() + 1;
        self.ordered.set(number);
        let order = Numbered { number, content: order };
        let bytes = serde_json::to_vec(&order).map_err(|error| Error::Refused(error.to_string()))?;
        send(self.orders.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
            .map_err(silent)?;
        loop {
            if !wait::readable(self.orders.as_fd(), ORDER_WAIT_MAX).map_err(silent)? {
                return Err(silent(Errno::ETIMEDOUT));
            }
            let mut buffer = [0; ANSWER_BYTES_MAX];
            let len = recv(self.orders.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(silent)?;
            let answer: Numbered<Result<(), String>> = serde_json::from_slice(&buffer[..len])
                .map_err(|error| Error::Refused(format!("understand {}'s answer: {error}", self.name)))?;
            // One that comes late, after we gave up waiting for it, is not the answer to this order.
            if answer.number == number {
                return answer.content.map_err(Error::Refused);
            }
        }
    }
}

/// A disk with a size is a file system of its own, and outlives its node as the others do.
fn make_disk(disk: &Path, limit: Option<u64>) -> io::Result<()> {
    let is_new = !disk.exists();
    fs::create_dir_all(disk)?;
    match limit {
        _ if !is_new => Ok(()),
        Some(bytes) => mount::tmpfs_of(disk, "755", bytes).map_err(io::Error::other),
        None => mount::tmpfs(disk, "755", DISK_MIB).map_err(io::Error::other),
    }
}

fn open_log(logs: &Path, name: &NodeName) -> io::Result<File> {
    let folder = logs.join(name.as_str());
    if !folder.exists() {
        fs::create_dir_all(&folder)?;
        mount::tmpfs(&folder, "755", LOG_MIB).map_err(io::Error::other)?;
    }
    OpenOptions::new().create(true).append(true).open(log_path(logs, name))
}
