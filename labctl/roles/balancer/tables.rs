//! Has the data plane do what takes long beside the event loop, because each change waits for the kernel's readers and a
//! takeover must not wait for that. One thing at a time, and of several wishes for services only the latest. A change that
//! failed is tried again, ever more seldom, for as long as nothing else is wished for: giving up would leave clients with a
//! real server that is gone.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::balancer::{Endpoint, Flow, Service, Usage};
use crate::dataplane::{Error, Plane, Stats};

/// First wait before a change that failed is tried again; doubled each time, up to [`AGAIN_MAX`].
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// Seldom enough to cost nothing and to keep a log readable; soon enough for a kernel that was short of memory.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Between two looks for fresh flows: what begins in between is told together.
const FRESH_EVERY: Duration = Duration::from_millis(10);
/// Between two counts of who is active.
const RECOUNT_EVERY: Duration = Duration::from_secs(5);

/// Something under way. It takes the data plane along and brings it back.
type Job = JoinHandle<(Box<dyn Plane>, Outcome)>;

/// Services to be balanced, and which wish that is.
#[derive(Debug)]
struct Wish {
    services: Vec<Service>,
    number: u64,
}

#[derive(Debug)]
enum Outcome {
    Installed(Wish, Result<(), Error>),
    Surveyed(Result<Survey, Error>),
    Recounted(Result<u64, Error>),
}

/// What the data plane has and what it counted, at one time.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) stats: Stats,
    pub(super) usage: BTreeMap<(Endpoint, Endpoint), Usage>,
    pub(super) flows: Vec<Flow>,
}

/// Something that the data plane did or saw.
#[derive(Debug)]
pub(super) enum Event {
    /// The wish of this number and all before it are fulfilled.
    Installed(u64),
    /// The tables stay as they are.
    Failed(Failed),
    /// What was asked for.
    Surveyed(Result<Survey, Error>),
    /// Nobody can say who is active.
    Uncounted(Error),
    /// Connections that began here.
    Fresh(Result<Vec<Flow>, Error>),
}

/// A change that the kernel did not make.
#[derive(Debug)]
pub(super) struct Failed {
    /// Why not.
    pub(super) source: Error,
    /// When it is tried again.
    pub(super) again_in: Duration,
}

/// The data plane, and what it is about to become.
#[derive(Debug)]
pub(super) struct Tables {
    /// `None` while something under way has it.
    plane: Option<Box<dyn Plane>>,
    job: Option<Job>,
    wanted: Option<Wish>,
    wishes: u64,
    /// Somebody wants to know what it has.
    survey: bool,
    /// When to try again, after a change that failed.
    again_at: Option<Instant>,
    again_in: Duration,
    recount_at: Instant,
    /// Readable when there are fresh flows; the data plane's own descriptor is away whenever that is.
    fresh: Option<AsyncFd<OwnedFd>>,
    fresh_at: Instant,
}

impl Tables {
    /// The tables of this data plane.
    pub(super) fn of(plane: Box<dyn Plane>) -> io::Result<Self> {
        let fresh = plane.fresh().map(|fresh| fresh.try_clone_to_owned()).transpose()?;
        // SAFETY: an `OwnedFd` is open until it is dropped, which the `AsyncFd` does last, and is always the same one.
        let register = |fresh| unsafe { AsyncFd::register_with_interest(fresh, Interest::READABLE) };
        let now = Instant::now();
        Ok(Self {
            fresh: fresh.map(register).transpose().map_err(io::Error::from)?,
            plane: Some(plane),
            job: None,
            wanted: None,
            wishes: 0,
            survey: false,
            again_at: None,
            again_in: AGAIN_MIN,
            recount_at: now + RECOUNT_EVERY,
            fresh_at: now,
        })
    }

    /// Wishes for these services, at once or after what is under way. Says which wish that is.
    pub(super) fn install(&mut self, services: Vec<Service>) -> u64 {
        self.wishes += 1;
        self.wanted = Some(Wish { services, number: self.wishes });
        self.again_at = None;
        self.start();
        self.wishes
    }

    /// Wishes to know what the data plane has and counted.
    pub(super) fn survey(&mut self) {
        self.survey = true;
        self.start();
    }

    /// Takes over flows of another director. They must wait while something is under way; see [`Tables::is_idle`].
    pub(super) fn adopt(&mut self, flows: &[Flow]) -> Result<usize, Error> {
        self.plane.as_mut().map_or(Ok(0), |plane| plane.adopt(flows))
    }

    /// Whether the data plane is here.
    pub(super) fn is_idle(&self) -> bool {
        self.plane.is_some()
    }

    /// Waits until something is done or has failed, or until there are fresh flows; for ever, if nothing happens. May be given
    /// up and called again.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            if let Some(job) = &mut self.job {
                let (plane, outcome) = job.await.unwrap_or_else(|failed| resume_unwind(failed.into_panic()));
                self.job = None;
                self.plane = Some(plane);
                if let Some(event) = self.finish(outcome) {
                    return event;
                }
                continue;
            }
            let due = self.again_at.map_or(self.recount_at, |again_at| again_at.min(self.recount_at));
            tokio::select! {
                flows = fresh(&self.fresh, &mut self.plane, self.fresh_at) => {
                    let rest = if flows.is_ok() { FRESH_EVERY } else { AGAIN_MAX };
                    self.fresh_at = Instant::now() + rest;
                    return Event::Fresh(flows);
                }
                () = sleep_until(due) => {
                    self.again_at = self.again_at.filter(|at| *at > Instant::now());
                    self.start();
                }
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) -> Option<Event> {
        let event = match outcome {
            Outcome::Installed(Wish { number, .. }, Ok(())) => {
                self.again_in = AGAIN_MIN;
                Some(Event::Installed(number))
            }
            Outcome::Installed(wish, Err(source)) => {
                let again_in = self.again_in;
                self.again_in = (again_in * 2).min(AGAIN_MAX);
                self.again_at = Some(Instant::now() + again_in);
                // Whatever was wished for in the meantime comes in its place, but no sooner.
                self.wanted.get_or_insert(wish);
                Some(Event::Failed(Failed { source, again_in }))
            }
            Outcome::Surveyed(survey) => Some(Event::Surveyed(survey)),
            Outcome::Recounted(counted) => {
                self.recount_at = Instant::now() + RECOUNT_EVERY;
                counted.err().map(Event::Uncounted)
            }
        };
        self.start();
        event
    }

    /// Starts what comes next, if the data plane is here.
    fn start(&mut self) {
        let Some(mut plane) = self.plane.take() else { return };
        let may_install = self.again_at.is_none();
        let job: Job = if let Some(wish) = self.wanted.take_if(|_| may_install) {
            spawn_blocking(move || {
                let outcome = plane.install(&wish.services);
                (plane, Outcome::Installed(wish, outcome))
            })
        } else if std::mem::take(&mut self.survey) {
            spawn_blocking(move || {
                let survey = survey(plane.as_ref());
                (plane, Outcome::Surveyed(survey))
            })
        } else if self.recount_at <= Instant::now() {
            spawn_blocking(move || {
                let counted = plane.recount();
                (plane, Outcome::Recounted(counted))
            })
        } else {
            self.plane = Some(plane);
            return;
        };
        self.job = Some(job);
    }
}

/// Waits until there are fresh flows and takes them; for ever, if the data plane tells none.
async fn fresh(
    descriptor: &Option<AsyncFd<OwnedFd>>,
    plane: &mut Option<Box<dyn Plane>>,
    not_before: Instant,
) -> Result<Vec<Flow>, Error> {
    let (Some(descriptor), Some(plane)) = (descriptor, plane) else { return std::future::pending().await };
    sleep_until(not_before).await;
    loop {
        let Ok(mut ready) = descriptor.readable().await else { return std::future::pending().await };
        let flows = plane.fresh_flows()?;
        if !flows.is_empty() {
            return Ok(flows);
        }
        // Not before there are none: nobody is told twice of those that are there.
        ready.clear_ready();
    }
}

fn survey(plane: &dyn Plane) -> Result<Survey, Error> {
    Ok(Survey { stats: plane.stats()?, usage: plane.usage()?, flows: plane.flows()? })
}

#[cfg(test)]
mod tests;
