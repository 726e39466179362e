//! Network namespaces without names, files or mounts: one lives as long as somebody holds its descriptor, a socket in
//! it or a process. Threads enter namespaces, never this process as a whole.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::listeners::{self, Listeners};
use super::netlink::{self, Netlink};
use super::sysctl;

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("create a network namespace")]
    Create(#[source] Errno),
    /// The kernel refused.
    #[error("enter a network namespace")]
    Enter(#[source] Errno),
    /// The new namespace cannot be held on to.
    #[error("open the new network namespace")]
    Open(#[source] io::Error),
    /// No socket in it.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// No way to ask who listens.
    #[error(transparent)]
    Listeners(#[from] listeners::Error),
    /// A setting was refused.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// A thread could not be started.
    #[error("start a thread for a network namespace")]
    Thread(#[source] io::Error),
}

/// A network namespace that lives at least as long as this value.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
    /// A socket in it, for whoever holds the value.
    pub netlink: Netlink,
    /// Another, to ask who listens there.
    pub listeners: Listeners,
}

impl NetNs {
    /// Makes a namespace with these `net.*` settings, key and value.
    pub fn create(settings: &[(String, String)]) -> Result<Self, Error> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(Error::Create)?;
            for (key, value) in settings {
                sysctl::write(key, value)?;
            }
            let fd = File::open("/proc/thread-self/ns/net").map_err(Error::Open)?.into();
            Ok(Self { fd, netlink: Netlink::open()?, listeners: Listeners::open()? })
        })
    }

    /// Runs something in this namespace, on a thread that ends with it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_a_thread(|| {
            setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Error::Enter)?;
            Ok(work())
        })
    }
}

/// Moves the calling thread to the network namespace of a process, for good. Only for a thread that ends with its work.
pub fn move_thread(process: BorrowedFd) -> Result<(), Error> {
    setns(process, CloneFlags::CLONE_NEWNET).map_err(Error::Enter)
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs something in the network namespace of that descriptor (of the namespace itself, or of a process), on a thread
/// that ends with it.
pub fn inside<T: Send>(of: BorrowedFd, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    on_a_thread(|| {
        setns(of, CloneFlags::CLONE_NEWNET).map_err(Error::Enter)?;
        Ok(work())
    })
}

/// A thread that changed its namespace must not be used for anything else, so each gets its own.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work).map_err(Error::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
