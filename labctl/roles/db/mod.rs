//! A member of the embedded database: raft (openraft) over a log on disk (redb) and the conversations in memory. It
//! serves visitors, other members and raft on one TCP port, and any member takes any request: a follower passes it on
//! to the leader. It knows nothing of HTTP.

mod compaction;
mod desk;
mod directory;
mod disk;
pub(in crate::roles) mod frame;
mod joining;
mod link;
mod log;
mod log_error;
mod machine;
mod network;
mod protocol;
mod server;
mod tip;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::Fatal;
use openraft::{Config, ConfigError, EmptyNode, Raft, RaftMetrics, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use directory::{Directory, RaftId, Seat};
pub use disk::Disk;
pub use frame::FrameError;
pub use joining::JoinError;
pub use link::{Link, LinkError};
pub use log::LogError;
pub use machine::SnapshotError;
pub use protocol::{Ask, Reply, Request, Unavailable};

use self::desk::Desk;
use self::joining::Surroundings;
use self::log::Log;
use self::machine::Machine;
use self::network::{Links, Network};
use self::server::{Member, Server};
use super::{Reporter, Site, described, stop};
use crate::report::What;
use crate::topology::NodeName;

/// A leader says this often that it lives.
const HEARTBEAT_MS: u64 = 50;
/// A follower that heard nothing for a random time between these calls an election: four heartbeats and more, so that
/// one lost packet or a slow flush changes nothing, and still well below a second.
const ELECTION_MS: std::ops::Range<u64> = 200..300;
/// Most entries in one message; of long ones there are fewer ([`log::APPEND_BYTES_MAX`]).
const ENTRIES_MAX: u64 = 32;
/// Most bytes of entries in the log: some seconds of the longest turns, and a small part of the disk, which in a lab is
/// memory.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a snapshot in one message.
const SNAPSHOT_PIECE_BYTES: u64 = 1024 * 1024;
/// Longest wait for one piece of a snapshot; the last one includes writing the file.
const SNAPSHOT_PIECE_MS: u64 = 5_000;
/// Its part of the node's disk, which other services of the node use too.
const FOLDER: &str = "db";
/// Longest wait for raft to end when the daemon is asked to stop.
const STOP_MAX: Duration = Duration::from_secs(1);
/// Threads of the runtime: one may encode a long transcript while the other keeps the heartbeat.
const WORKERS: usize = 2;

/// How long a log gets before a snapshot takes its place.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Entries after which the store is written out as a snapshot and older entries may go.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot.
    pub log_kept: u64,
    /// Bytes of entries beyond which older ones go all the same.
    pub log_bytes_max: u64,
}

impl Default for Tuning {
    /// Several seconds of full load are kept: a member that gets a snapshot must find the entries after it still there
    /// when it is through, or it would be given snapshots for ever.
    fn default() -> Self {
        Self { snapshot_every: 2_000, log_kept: 10_000, log_bytes_max: LOG_BYTES_MAX }
    }
}

/// Why a database cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This node is no database, or the databases share no network.
    #[error("the databases share no network on which {0} has an address, or it is none")]
    NoSeat(NodeName),
    /// The runtime or the signal handler cannot be set up.
    #[error("start the runtime of a database")]
    Runtime(#[source] std::io::Error),
    /// The port cannot be listened on.
    #[error("listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The log cannot be used.
    #[error("begin with the log")]
    Log(#[from] LogError),
    /// The snapshot cannot be used.
    #[error("begin with the snapshot")]
    Snapshot(#[from] SnapshotError),
    /// The disk holds what this program did not write, or not all that it wrote. It is left to people what to do then: a
    /// majority of the others has all that was ever acknowledged, and they know whether the others are well.
    #[error("{what}; {way_out}")]
    Unusable {
        /// The file, and what is wrong with it.
        what: String,
        /// What helps.
        way_out: String,
    },
    /// Membership failed.
    #[error("become a member")]
    Join(#[from] JoinError),
    /// The constants above contradict each other.
    #[error("configure raft")]
    Config(#[source] Box<ConfigError>),
    /// Raft gave up, as it does when the disk fails.
    #[error("raft stopped")]
    Raft(#[source] Box<Fatal<RaftId>>),
}

/// Runs a database until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let stop = stop::asked().map_err(Error::Runtime)?;
        serve(site, &Disk::new(site.disk.join(FOLDER)), reporter, Tuning::default(), stop).await
    })
}

/// Runs a database on a disk until the future `stop` is done.
pub async fn serve(
    site: &Site,
    disk: &Disk,
    reporter: Reporter,
    tuning: Tuning,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let directory = Arc::new(Directory::of(&site.topology));
    let place = directory.place_of(&site.me).ok_or_else(|| Error::NoSeat(site.me.clone()))?;
    let links: Links = directory.seats().iter().map(|seat| Link::new(seat.address)).collect();
    let around = Surroundings { directory: directory.clone(), links, place };

    let (log, machine) = open(disk).map_err(|error| match error {
        Error::Log(error) if error.is_for_good() => unusable(&error, site, &directory, disk),
        Error::Snapshot(error) if error.is_for_good() => unusable(&error, site, &directory, disk),
        other => other,
    })?;
    let address = around.directory.seats()[place].address;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })?;

    // Dropped on return, which ends every task and every connection.
    let mut tasks = JoinSet::new();
    // One wish at a time: there is one founder, and it asks again.
    let (enrolments, mut wishes) = mpsc::channel(1);
    let server = Arc::new(Server::new(around.clone(), enrolments));
    tasks.spawn(server.clone().accept(listener));
    reporter.emit(What::Ready);

    tokio::pin!(stop);
    let member = tokio::select! {
        member = begin(&around, tuning, log, machine, &mut wishes, &mut tasks) => Arc::new(member?),
        () = &mut stop => return Ok(()),
    };
    server.take_part(member.clone());
    let settling = member.clone();
    tasks.spawn(async move { joining::settle(&around, &settling).await });
    let result = tokio::select! {
        error = report_leaders(&directory, member.raft.metrics(), &reporter) => Err(error),
        () = stop => Ok(()),
    };
    // A raft that hangs on its disk must not keep the daemon from ending.
    let _ = timeout(STOP_MAX, member.raft.shutdown()).await;
    result
}

/// Opens both that a disk holds.
fn open(disk: &Disk) -> Result<(Log, Machine), Error> {
    let log = Log::open(disk)?;
    let machine = Machine::open(disk, log.purged()?)?;
    Ok((log.behind(machine.saved()), machine))
}

fn unusable(error: &dyn std::error::Error, site: &Site, directory: &Directory, disk: &Disk) -> Error {
    let empty = format!("`labctl exec {} -- rm -r {}`", site.me, disk.folder().display());
    let way_out = match directory.seats().len() {
        1 => format!("no other database has a copy: {empty} begins anew, with nothing"),
        _ => format!(
            "while the other databases run, {empty} lets it join them anew and get everything from them"
        ),
    };
    Error::Unusable { what: described(error), way_out }
}

/// From an open disk to a running raft; with an empty disk that takes the other databases.
async fn begin(
    around: &Surroundings,
    tuning: Tuning,
    log: Log,
    machine: Machine,
    wishes: &mut mpsc::Receiver<joining::Enrolment>,
    tasks: &mut JoinSet<()>,
) -> Result<Member, Error> {
    let identity = match log.identity()? {
        Some(identity) => identity,
        None => joining::become_member(around, &log, wishes).await?,
    };
    let network = Network { directory: around.directory.clone(), links: around.links.clone(), identity };
    let raft = Raft::new(identity.id, Arc::new(config(tuning)?), network, log.clone(), machine.clone())
        .await
        .map_err(|fatal| Error::Raft(Box::new(fatal)))?;
    tasks.spawn(compaction::keep_short(raft.clone(), log, tuning.log_bytes_max));
    let desk = Desk::open(raft.clone(), tasks);
    Ok(Member { identity, raft, machine, desk })
}

fn config(tuning: Tuning) -> Result<Config, Error> {
    Config {
        cluster_name: "conversations".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.start,
        election_timeout_max: ELECTION_MS.end,
        install_snapshot_timeout: SNAPSHOT_PIECE_MS,
        snapshot_max_chunk_size: SNAPSHOT_PIECE_BYTES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(tuning.snapshot_every),
        max_in_snapshot_log_to_keep: tuning.log_kept,
        // Who is further behind gets a snapshot in place of the entries, most of which are gone.
        replication_lag_threshold: tuning.snapshot_every + tuning.log_kept,
        max_payload_entries: ENTRIES_MAX,
        ..Config::default()
    }
    .validate()
    .map_err(|error| Error::Config(Box::new(error)))
}

/// Says whom this member takes for the leader whenever that changes. Returns when raft has given up.
async fn report_leaders(
    directory: &Directory,
    mut metrics: watch::Receiver<RaftMetrics<RaftId, EmptyNode>>,
    reporter: &Reporter,
) -> Error {
    let mut said = None;
    loop {
        let (seen, running) = {
            let now = metrics.borrow_and_update();
            ((now.current_leader, now.current_term), now.running_state.clone())
        };
        if let Err(fatal) = running {
            return Error::Raft(Box::new(fatal));
        }
        if said != Some(seen) {
            let (leader, term) = seen;
            let leader = leader.and_then(|id| directory.seat(id)).map(|seat| seat.name.to_string());
            tracing::info!("leader {}, term {term}", leader.as_deref().unwrap_or("unknown"));
            reporter.emit(What::RaftLeader { leader, term });
            said = Some(seen);
        }
        if metrics.changed().await.is_err() {
            return Error::Raft(Box::new(Fatal::Stopped));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
