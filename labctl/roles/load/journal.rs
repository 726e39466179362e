//! The way out for the load's events: a thread writes them, so that a slow reader delays no turn before the queue is
//! full.

use std::io::{BufWriter, Write};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::Error;
use crate::kernel::clock;
use crate::report::{Event, What};

/// Events on their way to the writer: some seconds of a busy load.
const QUEUE_MAX: usize = 8_192;

/// Where events go. Cheap to clone; the writer ends when the last is dropped.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    node: Option<String>,
    queue: mpsc::Sender<Event>,
}

/// Starts a writer.
pub(super) fn open(node: Option<String>, out: impl Write + Send + 'static) -> (Journal, JoinHandle<()>) {
    let (queue, mut events) = mpsc::channel::<Event>(QUEUE_MAX);
    let writer = std::thread::spawn(move || {
        let mut out = BufWriter::new(out);
        while let Some(event) = events.blocking_recv() {
            let written = serde_json::to_writer(&mut out, &event)
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                // The runner waits for some of these lines, so none stays in the buffer while nothing follows.
                .and_then(|()| if events.is_empty() { out.flush() } else { Ok(()) });
            if written.is_err() {
                return;
            }
        }
    });
    (Journal { node, queue }, writer)
}

impl Journal {
    /// Says that something happened just now.
    pub(super) async fn emit(&self, what: What) -> Result<(), Error> {
        self.emit_at(clock::monotonic_ns(), what).await
    }

    /// Says that something happened at a given time.
    pub(super) async fn emit_at(&self, at_ns: u64, what: What) -> Result<(), Error> {
        let event = Event { at_ns, node: self.node.clone(), source: "load".to_owned(), what };
        self.queue.send(event).await.map_err(|_| Error::Unread)
    }
}
