//! Puts services into the data plane beside the event loop, because each change waits for the kernel's readers and a
//! takeover must not wait for that. One change at a time, and of several wishes only the latest. A change that failed is
//! tried again, ever more seldom, for as long as nothing else is wished for: giving up would leave clients with a real
//! server that is gone.

use std::panic::resume_unwind;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::balancer::Service;
use crate::dataplane::{Error, Plane};

/// First wait before a change that failed is tried again; doubled each time, up to [`AGAIN_MAX`].
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// Seldom enough to cost nothing and to keep a log readable; soon enough for a kernel that was short of memory.
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// A change under way. It takes the data plane along and brings it back, with what was wished for.
type Change = JoinHandle<(Box<dyn Plane>, Vec<Service>, Result<(), Error>)>;

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
    /// `None` while a change has it.
    plane: Option<Box<dyn Plane>>,
    change: Option<Change>,
    wanted: Option<Vec<Service>>,
    /// When to try again, after a change that failed.
    again_at: Option<Instant>,
    again_in: Duration,
}

impl Tables {
    /// The tables of this data plane.
    pub(super) fn of(plane: Box<dyn Plane>) -> Self {
        Self { plane: Some(plane), change: None, wanted: None, again_at: None, again_in: AGAIN_MIN }
    }

    /// Wishes for these services, at once or after the change under way.
    pub(super) fn install(&mut self, services: Vec<Service>) {
        self.wanted = Some(services);
        self.start();
    }

    /// Waits until a change is done or has failed; for ever, if none is under way. May be given up and called again.
    pub(super) async fn installed(&mut self) -> Result<(), Failed> {
        if let Some(at) = self.again_at {
            sleep_until(at).await;
            self.start();
        }
        let Some(change) = &mut self.change else { return std::future::pending().await };
        let (plane, services, outcome) =
            change.await.unwrap_or_else(|failed| resume_unwind(failed.into_panic()));
        self.change = None;
        self.plane = Some(plane);
        match outcome {
            Ok(()) => {
                self.again_in = AGAIN_MIN;
                self.start();
                Ok(())
            }
            Err(source) => {
                let again_in = self.again_in;
                self.again_in = (again_in * 2).min(AGAIN_MAX);
                self.again_at = Some(Instant::now() + again_in);
                // Whatever was wished for in the meantime comes in its place, but no sooner.
                self.wanted.get_or_insert(services);
                Err(Failed { source, again_in })
            }
        }
    }

    fn start(&mut self) {
        let Some(services) = self.wanted.take_if(|_| self.plane.is_some()) else { return };
        let Some(mut plane) = self.plane.take() else { return };
        self.again_at = None;
        self.change = Some(spawn_blocking(move || {
            let outcome = plane.install(&services);
            (plane, services, outcome)
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::Ipv4Addr;

    use nix::sched::{CloneFlags, unshare};
    use tokio::time::timeout;

    use super::*;
    use crate::balancer::{Endpoint, Method, Real, Scheduler};
    use crate::dataplane::Settings;
    use crate::dataplane::ebpf::EbpfPlane;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn endpoint(host: u8) -> Endpoint {
        Endpoint::tcp(Ipv4Addr::new(10, 10, 1, host), 80)
    }

    fn service(host: u8) -> Service {
        let real = Real { name: "web1".to_owned(), endpoint: endpoint(21), weight: 1, available: true };
        Service {
            address: endpoint(host),
            method: Method::Nat,
            scheduler: Scheduler::SourceHash,
            reals: vec![real],
        }
    }

    /// Two services cannot share a real server, so the data plane refuses these whatever the kernel says.
    fn refused() -> Vec<Service> {
        vec![service(1), service(2)]
    }

    /// Runs a test with a data plane in a network namespace of its own, or says on the terminal why not.
    fn with_tables(test: impl AsyncFnOnce(Tables) + Send + 'static) {
        let thread = std::thread::spawn(move || {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                let _ = writeln!(std::io::stderr(), "skipped: no network namespace ({error})");
                return;
            }
            let plane = match EbpfPlane::attach(Settings::between("lo", "lo")) {
                Ok((plane, _switch)) => Box::new(plane),
                Err(error) if error.lacks_ebpf() => {
                    // Not `println!`, which the test harness swallows when a test passes.
                    let _ = writeln!(std::io::stderr(), "skipped: no eBPF ({error})");
                    return;
                }
                Err(error) => panic!("{error:?}"),
            };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                timeout(PATIENCE, test(Tables::of(plane))).await.expect("no waiting for ever");
            });
        });
        thread.join().expect("the test");
    }

    #[test]
    fn a_change_that_fails_is_tried_again_more_seldom_each_time() {
        with_tables(async |mut tables| {
            tables.install(refused());
            for again in [AGAIN_MIN, AGAIN_MIN * 2, AGAIN_MIN * 4] {
                let failed = tables.installed().await.expect_err("two services with one real server");
                assert_eq!(failed.again_in, again);
            }
        });
    }

    #[test]
    fn a_new_wish_takes_the_place_of_one_that_failed() {
        with_tables(async |mut tables| {
            tables.install(refused());
            tables.installed().await.expect_err("two services with one real server");
            tables.install(vec![service(1)]);
            tables.installed().await.expect("one service");
            // And the refused one is forgotten.
            tables.install(refused());
            let failed = tables.installed().await.expect_err("two services with one real server");
            assert_eq!(failed.again_in, AGAIN_MIN);
        });
    }
}
