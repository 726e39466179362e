//! Three databases in one process: what they agree on, and what survives.

mod bounds;
pub(crate) mod cluster;
mod damage;
mod membership;
mod parts;
mod power;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cluster::{Cluster, eventually};
use openraft::storage::RaftLogStorage;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;
use crate::conversation::{Command, ConversationId, Outcome};
use crate::roles::web::Databases;

const ID: [u8; 16] = [7; 16];

fn id() -> ConversationId {
    ID.into()
}

fn turn(key: &str) -> Command {
    turn_of(id(), key)
}

fn turn_of(id: ConversationId, key: &str) -> Command {
    Command::AppendTurn { id, key: key.parse().unwrap(), body: format!("text of {key}") }
}

/// Turns of one writer in one conversation; two writers do not fill it.
const PART: usize = 400;

/// The conversation of a writer's turn.
fn part(turn: usize) -> ConversationId {
    match turn / PART {
        0 => id(),
        part => [0x80 + part as u8; 16].into(),
    }
}

async fn keys_through(cluster: &Cluster, place: usize) -> Vec<String> {
    let transcript = cluster.read_through(place, id()).await.expect("the conversation exists");
    transcript.turns().iter().map(|turn| turn.key.to_string()).collect()
}

/// Somebody who goes on writing turns, and notes which were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Writer {
    fn begin(databases: Databases, name: &'static str) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (stop.clone(), count.clone());
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let (n, id) = (acknowledged.len(), part(acknowledged.len()));
                let key = format!("{name}-{n}");
                if n > 0 && n % PART == 0 && databases.apply(Command::Create { id }).await.is_err() {
                    continue;
                }
                // What failed is sent again under the same key, as a browser would.
                if let Ok(Outcome::Appended { .. } | Outcome::Replayed { .. }) =
                    databases.apply(turn_of(id, &key)).await
                {
                    acknowledged.push(key);
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
            acknowledged
        });
        Self { stop, count, task }
    }

    async fn more(&self, turns: usize) {
        let until = self.count.load(Ordering::Relaxed) + turns;
        eventually("more acknowledged turns", async || {
            let now = self.count.load(Ordering::Relaxed);
            if now >= until { Ok(()) } else { Err(now) }
        })
        .await;
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// All acknowledged turns are there, each once. Returns how many there were.
async fn assert_kept(cluster: &Cluster, place: usize, writers: impl IntoIterator<Item = Writer>) -> usize {
    let mut acknowledged = BTreeSet::new();
    let mut parts = BTreeSet::new();
    for writer in writers {
        let keys = writer.end().await;
        parts.extend((0..keys.len()).map(part));
        acknowledged.extend(keys);
    }
    let mut kept = BTreeSet::new();
    for id in parts {
        let transcript = cluster.read_through(place, id).await.expect("the conversation exists");
        for turn in transcript.turns() {
            assert!(kept.insert(turn.key.to_string()), "{} is there twice", turn.key);
        }
    }
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    acknowledged.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_through_each_is_read_through_the_others() {
    let cluster = Cluster::started(3).await;
    assert_eq!(cluster.apply_through(0, Command::Create { id: id() }).await, Outcome::Created);
    for writer in 0..3 {
        let outcome = cluster.apply_through(writer, turn(&format!("key-{writer}"))).await;
        assert!(
            matches!(outcome, Outcome::Appended { .. } | Outcome::Replayed { .. }),
            "through {writer}: {outcome:?}"
        );
        for reader in 0..3 {
            let keys = keys_through(&cluster, reader).await;
            assert_eq!(keys.last(), Some(&format!("key-{writer}")), "through {reader}");
        }
    }
    assert_eq!(keys_through(&cluster, 0).await, ["key-0", "key-1", "key-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_costs_no_acknowledged_turn_and_its_disk_catches_up() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    let writers = [Writer::begin(cluster.client(0), "a"), Writer::begin(cluster.client(1), "b")];
    for writer in &writers {
        writer.more(5).await;
    }
    let dead = cluster.leader().await;
    cluster.crash(dead);
    for writer in &writers {
        writer.more(5).await;
    }
    cluster.start(dead);
    cluster.leader().await;
    let other = (dead + 1) % 3;
    cluster.crash(other);
    // With one of the other two gone, nothing is acknowledged without the one that came back.
    for writer in &writers {
        writer.more(5).await;
    }
    assert_kept(&cluster, dead, writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_disks_together_remember_after_a_power_cut() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    cluster.apply_through(1, turn("before")).await;
    (0..3).for_each(|place| cluster.crash(place));
    (0..3).for_each(|place| cluster.start(place));
    cluster.leader().await;
    cluster.apply_through(2, turn("after")).await;
    assert_eq!(keys_through(&cluster, 0).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_disk_joins_the_cluster_and_never_founds_another() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    cluster.apply_through(1, turn("before")).await;
    (0..3).for_each(|place| cluster.crash(place));
    // The first in the order of names is the only one that could found a cluster. Alone, it must not.
    cluster.wipe(0);
    cluster.start(0);
    let link = Link::new(cluster.address(0));
    eventually("an emptied database that waits", async || {
        let request = Request::Leader { ask: Ask::Check, forwarded: false };
        match link.call(&request, cluster::WAIT_MAX).await {
            Ok(Reply::Unavailable(Unavailable::Joining)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.start(1);
    cluster.start(2);
    cluster.leader().await;
    assert_eq!(keys_through(&cluster, 0).await, ["before"]);
    // It is admitted as a voter: then the others can do without one of theirs.
    eventually("a vote for the newcomer", async || {
        match link.call(&Request::Census, cluster::WAIT_MAX).await {
            Ok(Reply::Census(census)) if census.votes => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.crash(2);
    cluster.apply_through(1, turn("after")).await;
    assert_eq!(keys_through(&cluster, 0).await, ["before", "after"]);
}

/// The last entry on a disk whose database does not run, and the last one that is gone from it.
async fn log_of(cluster: &Cluster, place: usize) -> (Option<u64>, Option<u64>) {
    let disk = Disk::new(cluster.disk(place).join(FOLDER));
    let mut log = eventually("a log that is free", async || Log::open(&disk)).await;
    let state = log.get_log_state().await.unwrap();
    (state.last_log_id.map(|id| id.index), state.last_purged_log_id.map(|id| id.index))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_misses_more_than_the_log_keeps_gets_a_snapshot_from_the_leader() {
    let tuning = Tuning { snapshot_every: 10, log_kept: 5, ..Tuning::default() };
    let mut cluster = Cluster::tuned(3, tuning);
    (0..3).for_each(|place| cluster.start(place));
    let behind = (cluster.leader().await + 1) % 3;
    let (other, third) = ((behind + 1) % 3, (behind + 2) % 3);
    cluster.apply_through(other, Command::Create { id: id() }).await;
    cluster.crash(behind);
    let turns = 5 * (tuning.snapshot_every + tuning.log_kept);
    let client = cluster.client(other);
    for n in 0..turns {
        eventually("a turn", async || client.apply(turn(&n.to_string())).await).await;
    }
    // Whoever leads from now on does not have what the one behind misses.
    cluster.stop(other);
    cluster.stop(third);
    let (last, _) = log_of(&cluster, behind).await;
    for place in [other, third] {
        let (_, purged) = log_of(&cluster, place).await;
        assert!(purged > last, "the log of {place} is gone up to {purged:?}, {behind} has {last:?}");
    }
    (0..3).for_each(|place| cluster.start(place));
    cluster.leader().await;
    // One less: nothing is decided without the one that was behind, and it reads what it has itself.
    cluster.crash(other);
    cluster.apply_through(behind, turn("after")).await;
    let keys = keys_through(&cluster, behind).await;
    assert_eq!(keys, (0..turns).map(|n| n.to_string()).chain(["after".to_owned()]).collect::<Vec<_>>());
    cluster.stop(behind);
    let machine = Machine::open(&Disk::new(cluster.disk(behind).join(FOLDER)), None).unwrap();
    assert!(machine.transcript(&id()).is_some_and(|kept| !kept.turns().is_empty()), "it kept the snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_that_no_frame_would_hold_together_are_refused_and_cost_no_leader() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    let leader = cluster.leader().await;
    let huge = |key: &str| Command::AppendTurn {
        id: id(),
        key: key.parse().unwrap(),
        body: "x".repeat(frame::FRAME_MAX * 9 / 16),
    };
    let follower = (leader + 1) % 3;
    let (one, two, three) = tokio::join!(
        cluster.apply_through(leader, huge("a")),
        cluster.apply_through(leader, huge("b")),
        cluster.apply_through(follower, huge("c"))
    );
    assert_eq!([one, two, three], [const { Outcome::TurnTooLong }; 3]);
    // A log that holds them could not be given to anybody.
    cluster.apply_through(follower, turn("after")).await;
    (0..3).for_each(|place| cluster.crash(place));
    for place in 0..3 {
        let log = cluster.disk(place).join(FOLDER).join("raft.redb");
        let file = std::fs::metadata(log).unwrap();
        assert!(file.len() < frame::FRAME_MAX as u64 / 2, "{} bytes", file.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_disk_is_named_with_the_way_out_and_the_way_leads_out() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    cluster.apply_through(1, turn("before")).await;
    for file in ["raft.redb", "raft.tip", "snapshot"] {
        cluster.crash(2);
        let folder = cluster.disk(2).join(FOLDER);
        std::fs::write(folder.join(file), [0xff; 10_000]).unwrap();
        cluster.start(2);
        let said = described(&cluster.failure(2).await);
        assert!(said.contains(&format!("{}", folder.join(file).display())), "{said}");
        let way_out = format!("`labctl exec db3 -- rm -r {}`", folder.display());
        assert!(said.contains(&way_out), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");

        std::fs::remove_dir_all(folder).unwrap();
        cluster.start(2);
        cluster.leader().await;
        assert_eq!(keys_through(&cluster, 2).await, ["before"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_database_alone_works_and_ends_when_asked() {
    let mut cluster = Cluster::started(1).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    cluster.apply_through(0, turn("first")).await;
    cluster.stop(0);
    cluster.start(0);
    assert_eq!(keys_through(&cluster, 0).await, ["first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_the_wire_ends_a_connection_and_nothing_else() {
    let cluster = Cluster::started(1).await;
    let noises: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        // A frame that claims four gigabytes.
        b"LDB1\xff\xff\xff\xff",
        // A frame that is no request.
        b"LDB1\x00\x00\x00\x03\xff\xff\xff",
        // Half a frame.
        b"LDB1\x00\x00\x00\x10\x00",
    ];
    for noise in noises {
        let mut stream = TcpStream::connect(cluster.address(0)).await.unwrap();
        stream.write_all(noise).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed, politely or not, and without an answer.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        assert!(answer.is_empty(), "{noise:?}");
    }
    assert_eq!(cluster.apply_through(0, Command::Create { id: id() }).await, Outcome::Created);
}
