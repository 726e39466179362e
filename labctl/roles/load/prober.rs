//! Echo requests to the VIP beside the load, on a thread of their own; told as events in the end. How they are paced and
//! answered is [`crate::kernel::prober`]'s business.

use std::io;
use std::thread::JoinHandle;

use super::journal::Journal;
use super::{Error, Spec};
use crate::kernel::prober::{Desk, Plan, Record, probe};
use crate::report::{PROBE_PATIENCE, What};

/// A prober at work.
#[derive(Debug)]
pub(super) struct Prober {
    plan: Plan,
    thread: JoinHandle<io::Result<Record>>,
}

/// Starts probing at a point in time.
pub(super) fn start(spec: &Spec, begins_ns: u64) -> Prober {
    let count = spec.duration.as_nanos() / spec.probe_interval.as_nanos().max(1);
    let plan = Plan {
        target: spec.vip,
        source: spec.sources.first().copied().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        begins_ns,
        interval: spec.probe_interval,
        count: usize::try_from(count).unwrap_or(usize::MAX),
        listens: spec.timeout.max(PROBE_PATIENCE),
    };
    Prober { plan, thread: std::thread::spawn(move || probe(&plan, &Desk::default())) }
}

/// Waits for the last answer, and tells everything.
pub(super) async fn finish(prober: Prober, journal: &Journal) -> Result<(), Error> {
    let Prober { plan, thread } = prober;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    let record = match joined {
        Ok(Ok(Ok(record))) => record,
        Ok(Ok(Err(error))) => {
            let text = format!("The VIP was not probed: {error}.");
            return journal.emit(What::Note { text }).await;
        }
        Ok(Err(_)) | Err(_) => {
            let text = "The VIP was not probed: the prober died.".to_owned();
            return journal.emit(What::Note { text }).await;
        }
    };
    if let Some(error) = record.ordinary {
        let text = format!("Probes were sent without real-time priority: {error}.");
        journal.emit(What::Note { text }).await?;
    }
    for (index, slot) in record.slots.iter().enumerate() {
        let what = What::Probe {
            intended_ns: plan.intended_ns(index),
            sent_ns: slot.sent_ns,
            answered_ns: (slot.answered_ns != 0).then_some(slot.answered_ns),
        };
        journal.emit_at(slot.sent_ns, what).await?;
    }
    Ok(())
}
