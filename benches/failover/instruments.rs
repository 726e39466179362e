//! The instruments of one run: probes from the client, questions on the public network, and what three kernels say. Each
//! is a thread of this program in the network namespace of a node. It starts and stops them, and understands nothing.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use labctl::holder::client::Lab;
use labctl::kernel::link::Mac;
use labctl::kernel::packet::Port;
use labctl::kernel::prober::{Desk, Plan, Record, probe};
use labctl::kernel::process::PidFd;
use labctl::kernel::{clock, namespace};
use labctl::report::{PROBE_PATIENCE, Probed};

use super::Error;
use super::notices::{self, Holders, Listener, Notice, Place};
use super::site::{Names, Site};
use super::watcher::{self, Sightings};

/// From one probe to the next.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(1);
/// More probes than any run needs: 24 bytes each.
const PROBES_MAX: usize = 1_000_000;
/// Until the first probe: enough to start the thread.
const LEAD_NS: u64 = 10_000_000;

/// At work.
pub struct Instruments<'a> {
    lab: &'a Lab,
    site: &'a Site,
    pub holders: Arc<Holders>,
    pub desk: Arc<Desk>,
    plan: Plan,
    prober: JoinHandle<io::Result<Record>>,
    watcher: JoinHandle<io::Result<Sightings>>,
    listeners: Vec<Listener>,
    stop: Arc<AtomicBool>,
    /// Hardware addresses of the primary and of the backup on the public network.
    macs: [Mac; 2],
}

/// All that was seen.
pub struct Seen {
    pub probes: Vec<Probed>,
    pub sightings: Sightings,
    /// In order of time.
    pub notices: Vec<Notice>,
    pub macs: [Mac; 2],
}

impl<'a> Instruments<'a> {
    pub fn start(lab: &'a Lab, site: &'a Site) -> Result<Self, Error> {
        let names = Names::new();
        let stop = Arc::new(AtomicBool::new(false));
        let (desk, holders) = (Arc::new(Desk::default()), Arc::new(Holders::default()));
        let plan = Plan {
            target: site.vip,
            source: site.client,
            begins_ns: clock::monotonic_ns() + LEAD_NS,
            interval: PROBE_INTERVAL,
            count: PROBES_MAX,
            listens: PROBE_PATIENCE,
        };
        let macs = [mac(&lab.enter(&names.primary)?, &names)?, mac(&lab.enter(&names.backup)?, &names)?];
        let probed = desk.clone();
        let prober = inside(lab.enter(&names.client)?, move || probe(&plan, &probed));
        let (vip, stopped) = (site.vip, stop.clone());
        let watcher = inside(lab.enter(&names.watcher)?, move || watcher::watch(vip, &stopped));
        let listeners = Vec::new();
        let mut all = Self { lab, site, holders, desk, plan, prober, watcher, listeners, stop, macs };
        all.listen_to(Place::Router)?;
        all.listen_to(Place::Primary)?;
        all.listen_to(Place::Backup)?;
        Ok(all)
    }

    /// Listens to a kernel, which is another after a node was off.
    pub fn listen_to(&mut self, place: Place) -> Result<(), Error> {
        let names = Names::new();
        let node = match place {
            Place::Primary => &names.primary,
            Place::Backup => &names.backup,
            Place::Router => &names.router,
        };
        let (holders, stop) = (self.holders.clone(), self.stop.clone());
        self.listeners.push(notices::listen(self.lab.enter(node)?, place, self.site.vip, holders, stop));
        Ok(())
    }

    /// Probes that left and have no answer, those under way included.
    pub fn unanswered(&self) -> u64 {
        // In this order, so that an answer in between does not make it too small.
        let answered = self.desk.answered.load(Ordering::Relaxed);
        self.desk.sent.load(Ordering::Relaxed).saturating_sub(answered)
    }

    pub fn finish(mut self) -> Result<Seen, Error> {
        self.tell_to_stop();
        let died = || Error::unfit("an instrument died");
        let record = std::mem::replace(&mut self.prober, nobody()).join().map_err(|_| died())??;
        if let Some(error) = record.ordinary {
            return Err(Error::unfit(format!(
                "probes without real-time priority are worth nothing: {error}"
            )));
        }
        let sightings = std::mem::replace(&mut self.watcher, nobody()).join().map_err(|_| died())??;
        let mut notices = Vec::new();
        for listener in std::mem::take(&mut self.listeners) {
            notices.extend(listener.join().map_err(|_| died())??);
        }
        notices.sort_by_key(|notice| notice.at_ns);
        let probes = record.slots.iter().enumerate().map(|(index, slot)| {
            let answered_ns = (slot.answered_ns != 0).then_some(slot.answered_ns);
            Probed::new(self.plan.intended_ns(index), slot.sent_ns, answered_ns)
        });
        Ok(Seen { probes: probes.collect(), sightings, notices, macs: self.macs })
    }

    fn tell_to_stop(&self) {
        self.desk.stop.store(true, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whatever ends a run early: a thread that goes on would keep the namespace of its node.
impl Drop for Instruments<'_> {
    fn drop(&mut self) {
        self.tell_to_stop();
        let _ = std::mem::replace(&mut self.prober, nobody()).join();
        let _ = std::mem::replace(&mut self.watcher, nobody()).join();
        for listener in std::mem::take(&mut self.listeners) {
            let _ = listener.join();
        }
    }
}

/// What stands where an instrument was that has been asked already.
fn nobody<T: Send + 'static>() -> JoinHandle<io::Result<T>> {
    std::thread::spawn(|| Err(io::Error::other("asked twice")))
}

/// Runs something in the network namespace of a node, on a thread that ends with it.
fn inside<T: Send + 'static>(
    init: PidFd,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> JoinHandle<io::Result<T>> {
    std::thread::spawn(move || {
        namespace::move_thread(init.as_fd()).map_err(io::Error::other)?;
        work()
    })
}

fn mac(init: &PidFd, names: &Names) -> Result<Mac, Error> {
    Ok(Port::inside(init.as_fd(), names.front.as_str()).map_err(Error::unfit)?.mac)
}
