//! The way out for events: one datagram each on a socket that PID 1 handed down. It never blocks a daemon and never
//! fails it: an event that finds the socket full or gone is dropped, and counted.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::clock;
use crate::report::{Event, What};

/// The environment variable that holds the number of the inherited socket.
pub const EVENTS_FD: &str = "LABCTL_EVENTS_FD";

/// Emits the events of one service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    node: Option<String>,
    source: String,
    socket: Option<Arc<UnixDatagram>>,
    dropped: Arc<AtomicU64>,
}

impl Reporter {
    /// The reporter of a service whose parent left it a socket; a silent one if it did not (a role run by hand).
    pub fn from_env(node: Option<String>, source: &str) -> Self {
        let fd = std::env::var(EVENTS_FD).ok().and_then(|text| text.parse::<RawFd>().ok());
        // SAFETY: PID 1 of the node sets the variable to a descriptor that it left open for this process alone.
        let socket = fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).map(UnixDatagram::from);
        Self::new(node, source, socket)
    }

    /// A reporter on a given socket, or a silent one.
    pub fn new(node: Option<String>, source: &str, socket: Option<UnixDatagram>) -> Self {
        if let Some(socket) = &socket {
            // A blocking socket would let a slow holder stall an election.
            let _ = socket.set_nonblocking(true);
        }
        let dropped = Arc::new(AtomicU64::new(0));
        Self { node, source: source.to_owned(), socket: socket.map(Arc::new), dropped }
    }

    /// Says that something happened just now.
    pub fn emit(&self, what: What) {
        self.emit_at(clock::monotonic_ns(), what);
    }

    /// Says that something happened at a given time.
    pub fn emit_at(&self, at_ns: u64, what: What) {
        let Some(socket) = &self.socket else { return };
        let event = Event { at_ns, node: self.node.clone(), source: self.source.clone(), what };
        let sent = serde_json::to_vec(&event).is_ok_and(|bytes| socket.send(&bytes).is_ok());
        if !sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were lost on the way.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The same socket, for the events of another source.
    pub fn of(&self, source: &str) -> Self {
        Self { source: source.to_owned(), ..self.clone() }
    }

    /// The descriptor, for whoever hands it on to a child.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| socket.as_fd())
    }
}
