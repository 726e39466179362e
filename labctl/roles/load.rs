//! The load of a drill, run inside the client node: conversations with the site on an open-loop timetable, and probes
//! of the VIP. What it sees goes out as events, one JSON line each. It knows an address to talk to, not the site behind
//! it, and nothing of faults.

mod alarm;
mod journal;
mod prober;
mod talker;

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required;
use serde::{Deserialize, Serialize};

use crate::drill::{DRAIN_MAX, TIMEOUT_MAX};
use crate::kernel::clock;
use crate::report::What;
use journal::Journal;
use talker::Talker;

/// From the moment that all conversations are open to the first turn: enough to start the prober.
const LEAD: Duration = Duration::from_millis(50);
/// How long a site that is ready may take to open all conversations.
const OPEN_MAX: Duration = Duration::from_secs(15);
/// How long after the last turn of the timetable open turns may still be retried, and then all transcripts read back;
/// each a bound of its own, together below the runner's.
const SETTLE_MAX: Duration = Duration::from_secs(15);

// The last attempt of either half may begin just before its bound. The runner must not give up before the load does.
const _: () = assert!(2 * (SETTLE_MAX.as_secs() + TIMEOUT_MAX.as_secs()) < DRAIN_MAX.as_secs());

/// The longest specification: room for all addresses that a node may have.
const SPEC_BYTES_MAX: u64 = 64 * 1024;

/// What the load is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The address that is talked to and probed.
    pub vip: Ipv4Addr,
    /// The port of the conversation application there.
    pub port: u16,
    /// Addresses of the client node; each conversation uses one of them, in turn.
    pub sources: Vec<Ipv4Addr>,
    /// How many web nodes should be asked for each transcript in the end, if the balancer leads to so many.
    pub webs: usize,
    /// Conversations held at the same time.
    pub conversations: u32,
    /// Turns per second of all conversations together.
    pub turns_per_s: u32,
    /// How long an answer may take.
    #[serde(with = "required")]
    pub timeout: Duration,
    /// From one probe to the next.
    #[serde(with = "required")]
    pub probe_interval: Duration,
    /// From the first turn on the timetable to the last.
    #[serde(with = "required")]
    pub duration: Duration,
    /// Of each hundred turns of a conversation, so many are followed by a read of it.
    #[serde(default)]
    pub reads_percent: u32,
}

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification is not one.
    #[error("understand the load's specification")]
    Spec(#[source] serde_json::Error),
    /// The specification asks for nothing.
    #[error("the load's specification has no {0}")]
    Empty(&'static str),
    /// The runtime or a timer cannot be had.
    #[error("prepare the load")]
    Prepare(#[source] io::Error),
    /// A client for an address cannot be made.
    #[error("make an HTTP client that uses {address}")]
    Client {
        /// The address of this node.
        address: Ipv4Addr,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// The site did not open a conversation.
    #[error("open conversation {index} from {address}: {last}")]
    Open {
        /// Which one.
        index: u32,
        /// The address of this node.
        address: Ipv4Addr,
        /// How the last attempt ended.
        last: crate::report::Outcome,
    },
    /// Nobody reads the events any more.
    #[error("write events: their reader is gone")]
    Unread,
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(json: &str) -> Result<Self, Error> {
        let spec: Self = serde_json::from_str(json).map_err(Error::Spec)?;
        for (what, missing) in [
            ("sources", spec.sources.is_empty()),
            ("conversations", spec.conversations == 0),
            ("turns_per_s", spec.turns_per_s == 0),
            ("probe_interval", spec.probe_interval.is_zero()),
        ] {
            if missing {
                return Err(Error::Empty(what));
            }
        }
        Ok(spec)
    }
}

impl Spec {
    /// Whether a read follows this turn: evenly, and not of all conversations at the same time.
    fn reads_after(&self, index: u32, turn: u64) -> bool {
        let percent = u64::from(self.reads_percent.min(100));
        let until = |turns: u64| turns.saturating_mul(percent) / 100;
        let place = turn.saturating_add(u64::from(index));
        until(place.saturating_add(1)) > until(place)
    }

    /// When turn `turn` of conversation `index` is due, after the beginning; conversations take turns, so that the rate
    /// is even.
    fn due(&self, index: u32, turn: u64) -> Duration {
        let place = turn * u64::from(self.conversations) + u64::from(index);
        Duration::from_nanos(place.saturating_mul(1_000_000_000) / u64::from(self.turns_per_s))
    }
}

/// Does what standard input says, and tells standard output about it.
pub fn serve(node: Option<String>) -> Result<(), Error> {
    let mut json = String::new();
    io::stdin().lock().take(SPEC_BYTES_MAX).read_to_string(&mut json).map_err(Error::Prepare)?;
    run(json.parse()?, node, io::stdout())
}

/// Does what the specification says, and returns when all is read back. `node` is the node that the events are of.
pub fn run(spec: Spec, node: Option<String>, out: impl Write + Send + 'static) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Prepare)?;
    let (journal, writer) = journal::open(node, out);
    let result = runtime.block_on(course(&spec, journal));
    // The writer ends when the last journal is gone, and with it everything is written.
    drop(runtime);
    let _ = writer.join();
    result
}

async fn course(spec: &Spec, journal: Journal) -> Result<(), Error> {
    let mut talkers = Vec::new();
    let until_ns = after(clock::monotonic_ns(), OPEN_MAX);
    for (index, &source) in (0..spec.conversations).zip(spec.sources.iter().cycle()) {
        talkers.push(Talker::open(spec, index, source, journal.clone(), until_ns).await?);
    }

    let begins_ns = after(clock::monotonic_ns(), LEAD);
    let prober = prober::start(spec, begins_ns);
    journal.emit_at(begins_ns, What::Ready).await?;

    let settled_ns = after(begins_ns, spec.duration + SETTLE_MAX);
    let mut talks = tokio::task::JoinSet::new();
    for mut talker in talkers {
        let spec = spec.clone();
        talks.spawn(async move {
            talker.talk(&spec, begins_ns, settled_ns).await?;
            Ok::<_, Error>(talker)
        });
    }
    let mut talkers = Vec::new();
    while let Some(done) = talks.join_next().await {
        talkers.push(done.map_err(|error| Error::Prepare(io::Error::other(error)))??);
    }

    prober::finish(prober, &journal).await?;
    let read_ns = after(clock::monotonic_ns(), SETTLE_MAX);
    talkers.sort_by_key(Talker::index);
    for talker in &mut talkers {
        talker.read_back(spec, read_ns).await?;
    }
    Ok(())
}

fn after(at_ns: u64, wait: Duration) -> u64 {
    at_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
