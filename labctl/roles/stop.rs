//! How a daemon on a runtime hears that it should end: SIGTERM from PID 1 of its node, or SIGINT from a person who runs
//! it by hand.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// A future that is done once the process was asked to stop. From this call on the signals do not kill any more.
pub(crate) fn asked() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
