//! One run: a fresh lab, the instruments, one fault, its end. It waits for facts, and for as long as an election may
//! take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use labctl::holder::client::Lab;
use labctl::kernel::clock;
use labctl::report::{Event, What};

use super::Error;
use super::fault::Fault;
use super::figures::{Figures, Window, figures};
use super::instruments::Instruments;
use super::lab::{Interrupts, Leashed};
use super::notices::Place;
use super::site::{Names, Site};

/// No probe may be lost for this long before something is broken, and after a fault and its end before it is over.
const CALM: Duration = Duration::from_millis(500);
/// Probes that may be under way at one time on a busy machine.
const UNDER_WAY_MAX: u64 = 5;
/// How long a site may take to be calm after it was built, after a fault and after its end, beyond what an election takes.
const CALM_WITHIN: Duration = Duration::from_secs(10);
/// How long the aftermath of a mended fault is watched at the least: what is stale in the router shows late.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Ordinary threads that keep processors busy.
const HOGS: usize = 2;

/// What came of a fault, or of its end.
pub struct Record {
    pub what: &'static str,
    pub mended: bool,
    pub figures: Figures,
}

impl Record {
    pub fn line(&self) -> String {
        let figures = &self.figures;
        let most =
            figures.away_at_most_ms.map_or("the end and beyond".to_owned(), |most| format!("{most:.1} ms"));
        let unknown = figures.unknown.as_ref().map_or(String::new(), |why| format!("; UNKNOWN: {why}"));
        format!(
            "{}: {} lost, away {:.1} ms to {most}; two answer {} ms, two have {:.1} ms, {} announcements, {} stale{unknown}",
            self.what,
            figures.lost,
            figures.away_at_least_ms,
            figures.two_answer_ms,
            figures.two_have_ms,
            figures.announcements,
            figures.stale
        )
    }
}

pub fn run(site: &Site, fault: Fault, idle: Duration, interrupts: &Interrupts) -> Result<Vec<Record>, Error> {
    let lab = Leashed::up(0, &site.topology)?;
    let mut instruments = Instruments::start(&lab, site)?;
    let formula = site.formula();
    let patience = formula * 2 + CALM_WITHIN;
    if !interrupts.wait(patience, || instruments.holders.are(true, false))?
        || !calm(&instruments, interrupts, patience)?
    {
        return Err(Error::unfit("the site did not become calm before the fault"));
    }
    let broken_ns = clock::monotonic_ns();
    fault.inject(&lab, site)?;
    if fault == Fault::Idle {
        let hogs = Hogs::start();
        interrupts.wait(idle, || false)?;
        drop(hogs);
    } else if let Some(length) = fault.lasts(formula) {
        interrupts.wait(length, || false)?;
    } else {
        interrupts.wait(formula * 2, || false)?;
        // Whether it ever became calm is among the figures.
        calm(&instruments, interrupts, CALM_WITHIN)?;
    }
    if matches!(fault, Fault::Stop | Fault::Kill) {
        // A daemon that takes its time to leave cannot be started yet.
        let service = site.service();
        let is_end = |event: &Event| {
            event.source == service.as_str() && matches!(event.what, What::ServiceExited { .. })
        };
        if !interrupts.wait(CALM_WITHIN, || on_primary(&lab, broken_ns, is_end).unwrap_or(false))? {
            return Err(Error::unfit("the daemon of the primary did not end"));
        }
    }
    let mended_ns = clock::monotonic_ns();
    let strict = fault != Fault::Idle;
    let mut windows = vec![(fault.word(), Window { from_ns: broken_ns, to_ns: mended_ns, formula, strict })];
    if let Some(what) = fault.mended() {
        fault.mend(&lab, site)?;
        if fault == Fault::PowerOff {
            // Before its PID 1 has moved in, the node's process is still in the network of the holder.
            let is_up = |event: &Event| event.what == What::NodeUp;
            if !interrupts.wait(CALM_WITHIN, || on_primary(&lab, mended_ns, is_up).unwrap_or(false))? {
                return Err(Error::unfit("the primary did not come up again"));
            }
            instruments.listen_to(Place::Primary)?;
        }
        interrupts.wait(AFTERMATH + formula, || false)?;
        interrupts.wait(patience, || instruments.holders.are(true, false))?;
        calm(&instruments, interrupts, CALM_WITHIN)?;
        windows.push((what, Window { from_ns: mended_ns, to_ns: clock::monotonic_ns(), formula, strict }));
    }
    let seen = instruments.finish()?;
    let record = |(at, (what, window))| Record { what, mended: at > 0, figures: figures(&seen, window) };
    Ok(windows.into_iter().enumerate().map(record).collect())
}

/// Whether the lab was told of something on the primary.
fn on_primary(lab: &Lab, since_ns: u64, is_it: impl Fn(&Event) -> bool) -> Result<bool, Error> {
    let primary = Names::new().primary;
    let told = |event: &Event| event.at_ns >= since_ns && event.node.as_deref() == Some(primary.as_str());
    Ok(lab.events(false)?.any(|event| told(&event) && is_it(&event)))
}

/// Waits until no probe has been lost for a while, and says whether that came in time.
fn calm(instruments: &Instruments, interrupts: &Interrupts, within: Duration) -> Result<bool, Error> {
    let mut since = (instruments.unanswered(), clock::monotonic_ns());
    let started = instruments.desk.sent.load(Ordering::Relaxed);
    interrupts.wait(within, || {
        let (now, at_ns) = (instruments.unanswered(), clock::monotonic_ns());
        if now > since.0 + UNDER_WAY_MAX {
            since = (now, at_ns);
        }
        // Probes under way when this began may have been answered meanwhile.
        since.0 = since.0.min(now);
        let sent = instruments.desk.sent.load(Ordering::Relaxed) - started;
        at_ns - since.1 >= CALM.as_nanos() as u64 && u128::from(sent) >= CALM.as_millis() / 2
    })
}

/// Threads that do nothing, all the time.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hog = || {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..HOGS).map(|_| hog()).collect();
        Self { stop, threads }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
