//! Puts services into the data plane beside the event loop, because each change waits for the kernel's readers and a
//! takeover must not wait for that. One change at a time, and of several wishes only the latest.

use std::panic::resume_unwind;

use tokio::task::{JoinHandle, spawn_blocking};

use crate::balancer::Service;
use crate::dataplane::{Dataplane, Error};

/// A change under way. It takes the data plane along and brings it back.
type Change = JoinHandle<(Box<Dataplane>, Result<(), Error>)>;

/// The data plane, and what it is about to become.
#[derive(Debug)]
pub(super) struct Tables {
    /// `None` while a change has it.
    plane: Option<Box<Dataplane>>,
    change: Option<Change>,
    wanted: Option<Vec<Service>>,
}

impl Tables {
    /// The tables of this data plane.
    pub(super) fn of(plane: Dataplane) -> Self {
        Self { plane: Some(Box::new(plane)), change: None, wanted: None }
    }

    /// Wishes for these services, at once or after the change under way.
    pub(super) fn install(&mut self, services: Vec<Service>) {
        self.wanted = Some(services);
        self.start();
    }

    /// Waits until a change is done; for ever, if none is under way. May be given up and called again.
    pub(super) async fn installed(&mut self) -> Result<(), Error> {
        let Some(change) = &mut self.change else { return std::future::pending().await };
        let (plane, outcome) = change.await.unwrap_or_else(|failed| resume_unwind(failed.into_panic()));
        self.change = None;
        self.plane = Some(plane);
        self.start();
        outcome
    }

    fn start(&mut self) {
        let Some(services) = self.wanted.take_if(|_| self.plane.is_some()) else { return };
        let Some(mut plane) = self.plane.take() else { return };
        self.change = Some(spawn_blocking(move || {
            let outcome = plane.install(&services);
            (plane, outcome)
        }));
    }
}
