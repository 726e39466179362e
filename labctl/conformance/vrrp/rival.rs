//! Another router on the link, played by the suite: it says the same thing every interval until it is told to say
//! something else, or nothing.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::kernel::packet::FrameSocket;
use crate::kernel::{clock, realtime};

/// More changes of mind than a scenario has.
const CHANGES_MAX: usize = 16;

/// The router. It falls silent with this value.
#[derive(Debug)]
pub(super) struct Rival {
    changes: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Rival {
    /// Says `frame` at once, and then every interval.
    pub(super) fn start(socket: FrameSocket, frame: Vec<u8>, every: Duration) -> Result<Self, String> {
        let (changes, wishes) = sync_channel::<Vec<u8>>(CHANGES_MAX);
        let work = move || {
            // Late, it would seem dead to the router under test.
            let _ = realtime::run_first();
            let mut frame = frame;
            let mut next = now();
            loop {
                let _ = socket.send(&frame);
                next += every;
                match wishes.recv_timeout(next.saturating_sub(now())) {
                    Ok(other) => {
                        frame = other;
                        next = now();
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread =
            thread::Builder::new().spawn(work).map_err(|error| format!("start a router: {error}"))?;
        Ok(Self { changes: Some(changes), thread: Some(thread) })
    }

    /// Says something else from now on.
    pub(super) fn says(&self, frame: Vec<u8>) -> Result<(), String> {
        let changes = self.changes.as_ref().ok_or("the other router is silent")?;
        changes.try_send(frame).map_err(|error| error.to_string())
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn now() -> Duration {
    Duration::from_nanos(clock::monotonic_ns())
}
