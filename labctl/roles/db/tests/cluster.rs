//! Databases for tests: each in a runtime of its own, on a loopback address of its own, with a disk of its own. A crash
//! drops the runtime with everything in it; the disk stays, without what was not flushed.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::conversation::{Command, ConversationId, Outcome, Transcript};
use crate::report::{Event, What};
use crate::roles::db::{self, Ask, Directory, Disk, FOLDER, Link, LogError, Reply, Request, Tuning};
use crate::roles::web::Databases;
use crate::roles::{Reporter, Site};
use crate::topology::*;

/// The longest wait for anything: generous, since the machine may be slow and busy.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(15);
/// Time from one look at a fact to the next.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const DB_PORT: u16 = 7000;

/// Waits until a fact is there, and fails with its name and the last observation if it does not come.
pub(crate) async fn eventually<T, E: std::fmt::Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match look().await {
            Ok(fact) => return fact,
            Err(seen) if Instant::now() > deadline => {
                panic!("{what}: not within {WAIT_MAX:?}; last: {seen:?}")
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

/// A site of `dbs` databases and two web nodes, on loopback addresses that no other test uses.
pub(crate) fn topology(dbs: u8, memory: Memory) -> Topology {
    const SITES_PER_NETWORK: u32 = 25;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let host = 1 + 10 * (next % SITES_PER_NETWORK) as u8;
    let process = std::process::id();
    let (a, b) = (1 + (process % 250) as u8, ((process / 250 + next / SITES_PER_NETWORK) % 250) as u8);
    let data: NetworkName = "data".parse().unwrap();
    let node = |name: String, role, host| Node {
        name: name.parse().unwrap(),
        role,
        interfaces: vec![Interface {
            network: data.clone(),
            addresses: vec![Ipv4Addr::new(127, a, b, host)],
            addresses6: Vec::new(),
        }],
        gateway: None,
        gateway6: None,
        services: Vec::new(),
        limits: Default::default(),
    };
    let webs = (0..2).map(|n| node(format!("web{}", n + 1), Role::Web, host + n));
    let databases = (0..dbs).map(|n| node(format!("db{}", n + 1), Role::Db, host + 2 + n));
    Topology {
        name: "test".parse().unwrap(),
        networks: [(data.clone(), format!("127.{a}.{b}.0/24").parse().unwrap())].into(),
        networks6: [].into(),
        nodes: webs.chain(databases).collect(),
        failover: None,
        balancer: None,
        conversation: Conversation {
            memory,
            engine: StoreEngine::default(),
            web_port: 8080,
            db_port: DB_PORT,
            peers: None,
        },
    }
}

/// One running database.
struct Running {
    disk: Disk,
    crash: oneshot::Sender<()>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), db::Error>>,
    events: UnixDatagram,
    leader: Option<String>,
}

/// Some databases and their disks.
pub(crate) struct Cluster {
    pub(crate) topology: Topology,
    pub(crate) directory: Directory,
    tuning: Tuning,
    disks: TempDir,
    running: Vec<Option<Running>>,
}

impl Cluster {
    /// Databases with empty disks, none of them running.
    pub(crate) fn new(dbs: u8) -> Self {
        Self::tuned(dbs, Tuning::default())
    }

    /// The same, with a log that gets only so long.
    pub(crate) fn tuned(dbs: u8, tuning: Tuning) -> Self {
        let topology = topology(dbs, Memory::Database);
        let directory = Directory::of(&topology);
        let disks = tempfile::tempdir().unwrap();
        Self { topology, directory, tuning, disks, running: (0..dbs).map(|_| None).collect() }
    }

    /// Databases that all run and have a leader.
    pub(crate) async fn started(dbs: u8) -> Self {
        let mut cluster = Self::new(dbs);
        (0..dbs.into()).for_each(|place| cluster.start(place));
        cluster.leader().await;
        cluster
    }

    pub(crate) fn disk(&self, place: usize) -> PathBuf {
        self.disks.path().join(self.directory.seats()[place].name.as_str())
    }

    pub(crate) fn address(&self, place: usize) -> SocketAddr {
        self.directory.seats()[place].address
    }

    pub(crate) fn start(&mut self, place: usize) {
        let me = self.directory.seats()[place].name.clone();
        let site = Site { topology: self.topology.clone(), me, disk: self.disk(place) };
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reporter = Reporter::new(Some(site.me.to_string()), "db", Some(theirs));
        let (crash, crashed) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let tuning = self.tuning;
        let disk = Disk::new(self.disk(place).join(FOLDER));
        let theirs = disk.clone();
        let thread = std::thread::spawn(move || run(&site, &theirs, &reporter, tuning, crashed, stopped));
        self.running[place] = Some(Running { disk, crash, stop, thread, events: ours, leader: None });
    }

    /// Ends a database without giving it time for anything.
    pub(crate) fn crash(&mut self, place: usize) {
        let running = self.running[place].take().expect("it runs");
        assert!(!running.thread.is_finished(), "it has ended by itself");
        running.disk.cut();
        // A database without power may find out by itself, and end with an error before it is told.
        let _ = running.crash.send(());
        let _ = running.thread.join().expect("no panic");
    }

    /// Asks a database to end, and waits until it has.
    pub(crate) fn stop(&mut self, place: usize) {
        let running = self.running[place].take().expect("it runs");
        running.stop.send(()).expect("it has not ended by itself");
        running.thread.join().unwrap().unwrap();
    }

    /// Waits until a database has ended by itself, and returns why.
    pub(crate) async fn failure(&mut self, place: usize) -> db::Error {
        let running = self.running[place].take().expect("it runs");
        eventually("an end", async || if running.thread.is_finished() { Ok(()) } else { Err(()) }).await;
        running.thread.join().expect("no panic").expect_err("no success")
    }

    /// Empties the disk of a database that does not run.
    pub(crate) fn wipe(&self, place: usize) {
        std::fs::remove_dir_all(self.disk(place)).unwrap();
    }

    /// Waits until all running databases name the same running leader, and returns its place.
    pub(crate) async fn leader(&mut self) -> usize {
        eventually("one leader", async || {
            let seen: Vec<_> = self.running.iter_mut().flatten().map(Running::leader).collect();
            let place = self.directory.seats().iter().position(|seat| Some(seat.name.to_string()) == seen[0]);
            match place {
                Some(place) if self.running[place].is_some() && seen.iter().all(|one| one == &seen[0]) => {
                    Ok(place)
                }
                _ => Err(seen),
            }
        })
        .await
    }

    /// A client that likes one of the databases best.
    pub(crate) fn client(&self, favourite: usize) -> Databases {
        Databases::new(&self.directory, favourite)
    }

    /// Asks one database alone, until it answers.
    pub(crate) async fn ask(&self, place: usize, ask: Ask) -> Reply {
        let link = Link::new(self.address(place));
        let request = Request::Leader { ask, forwarded: false };
        eventually("an answer", async || match link.call(&request, WAIT_MAX).await {
            Ok(Reply::Unavailable(why)) => Err(why.to_string()),
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    pub(crate) async fn apply_through(&self, place: usize, command: Command) -> Outcome {
        match self.ask(place, Ask::Apply(command)).await {
            Reply::Applied(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn read_through(&self, place: usize, id: ConversationId) -> Option<Transcript> {
        match self.ask(place, Ask::Read(id)).await {
            Reply::Transcript(transcript) => transcript,
            other => panic!("{other:?}"),
        }
    }
}

impl Running {
    /// The leader that it named last.
    fn leader(&mut self) -> Option<String> {
        let mut bytes = [0; 4096];
        while let Ok(len) = self.events.recv(&mut bytes) {
            let event: Event = serde_json::from_slice(&bytes[..len]).unwrap();
            if let What::RaftLeader { leader, .. } = event.what {
                self.leader = leader;
            }
        }
        self.leader.clone()
    }
}

fn run(
    site: &Site,
    disk: &Disk,
    reporter: &Reporter,
    tuning: Tuning,
    crashed: oneshot::Receiver<()>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), db::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let serving = serve(site, disk, reporter, tuning, stopped);
        tokio::select! {
            result = serving => result,
            Ok(()) = crashed => Ok(()),
        }
    });
    runtime.shutdown_timeout(WAIT_MAX);
    result
}

/// A process that was killed has let go of its disk and its port. Threads of this process may need a moment for that.
async fn serve(
    site: &Site,
    disk: &Disk,
    reporter: &Reporter,
    tuning: Tuning,
    stopped: oneshot::Receiver<()>,
) -> Result<(), db::Error> {
    let deadline = Instant::now() + WAIT_MAX;
    let stopped = async move {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(stopped);
    loop {
        match db::serve(site, disk, reporter.clone(), tuning, &mut stopped).await {
            Err(db::Error::Log(LogError::Open { source: redb::Error::DatabaseAlreadyOpen, .. }))
            | Err(db::Error::Bind { .. })
                if Instant::now() < deadline =>
            {
                sleep(LOOK_EVERY).await
            }
            result => return result,
        }
    }
}
