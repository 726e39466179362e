//! Connections of one worker to real servers that wait for the next request. It knows nothing of who is available.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::body::Sent;

/// Most connections that wait for one real server; as many as visitors of a busy worker ask at once.
const IDLE_MAX: usize = 256;
/// How long one waits: less than the five seconds after which the most impatient of usual servers hang up, so that a request
/// seldom meets a farewell.
const FRESH_MAX: Duration = Duration::from_secs(4);

/// The near end of a connection to a real server.
pub(super) type Sender = SendRequest<Sent>;

/// Those of one worker.
#[derive(Debug, Default)]
pub(super) struct Pool(RefCell<HashMap<SocketAddr, Vec<(Sender, Instant)>>>);

impl Pool {
    /// The one that was used last: so those that are too many grow old.
    pub(super) fn take(&self, to: SocketAddr) -> Option<Sender> {
        let mut all = self.0.borrow_mut();
        let waiting = all.get_mut(&to)?;
        while let Some((sender, since)) = waiting.pop() {
            if since.elapsed() > FRESH_MAX {
                // All below are older still.
                waiting.clear();
            } else if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps one for later.
    pub(super) fn put(&self, to: SocketAddr, sender: Sender) {
        let mut all = self.0.borrow_mut();
        let waiting = all.entry(to).or_default();
        if waiting.len() >= IDLE_MAX {
            waiting.retain(|(sender, _)| sender.is_ready());
        }
        if waiting.len() < IDLE_MAX {
            waiting.push((sender, Instant::now()));
        }
    }

    /// Hangs up all of them: one that died makes the others suspect.
    pub(super) fn forget(&self, to: SocketAddr) {
        self.0.borrow_mut().remove(&to);
    }
}
