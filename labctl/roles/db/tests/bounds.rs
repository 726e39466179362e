//! What has a bound: the log on disk, requests in work, the time to say no.

use tokio::task::JoinSet;

use super::cluster::{Cluster, WAIT_MAX, eventually};
use super::*;
use crate::conversation::TURN_BYTES_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded_in_bytes_and_a_member_that_was_away_catches_up_under_load() {
    let log_bytes_max = 64 * 1024;
    let tuning = Tuning { log_bytes_max, ..Tuning::default() };
    let mut cluster = Cluster::tuned(3, tuning);
    (0..3).for_each(|place| cluster.start(place));
    let behind = (cluster.leader().await + 1) % 3;
    let (other, third) = ((behind + 1) % 3, (behind + 2) % 3);
    cluster.apply_through(other, Command::Create { id: id() }).await;
    cluster.crash(behind);
    let client = cluster.client(other);
    let long = |n: u64| Command::AppendTurn {
        id: id(),
        key: n.to_string().parse().unwrap(),
        body: "x".repeat(TURN_BYTES_MAX),
    };
    let turns = 8 * log_bytes_max / TURN_BYTES_MAX as u64;
    let mut longest = 0;
    for n in 0..turns {
        eventually("a turn", async || client.apply(long(n)).await).await;
        let log = cluster.disk(other).join(FOLDER).join("raft.redb");
        longest = longest.max(std::fs::metadata(log).unwrap().len());
    }
    println!("{turns} turns, at most {longest} bytes of log for {log_bytes_max} of entries");
    assert!(longest < turns * TURN_BYTES_MAX as u64, "{longest} bytes");

    // It comes back while others go on, and gets a snapshot, since the entries that it lacks are gone.
    let writer = Writer::begin(cluster.client(third), "w");
    writer.more(5).await;
    cluster.start(behind);
    cluster.leader().await;
    writer.more(20).await;
    // One less: what is acknowledged from now on has gone through the one that was behind.
    cluster.crash(other);
    writer.more(20).await;
    assert_kept(&cluster, behind, [writer]).await;
    let long: Vec<_> = (0..turns).map(|n| n.to_string()).collect();
    let keys = keys_through(&cluster, behind).await;
    assert_eq!(keys.get(..turns as usize), Some(long.as_slice()), "of {keys:?}");
    for place in [behind, third] {
        cluster.stop(place);
        let disk = Disk::new(cluster.disk(place).join(FOLDER));
        let (log, machine) = eventually("a disk that is free", async || open(&disk)).await;
        // What came since the last look, and what the leader may not let go because it is on its way to somebody.
        assert!(log.bytes() < 2 * log_bytes_max, "{place} has {} bytes", log.bytes());
        // Snapshot and the rest of the log together make the whole again.
        assert!(log.purged().unwrap().is_some() && machine.transcript(&id()).is_some());
        drop(log);
        cluster.start(place);
    }
    cluster.leader().await;
    let keys = keys_through(&cluster, behind).await;
    assert_eq!(keys.get(..turns as usize), Some(long.as_slice()), "of {keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_three_down_nothing_is_promised_and_nothing_is_lost() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    let writer = Writer::begin(cluster.client(0), "w");
    writer.more(10).await;
    let left = cluster.leader().await;
    let down = [(left + 1) % 3, (left + 2) % 3];
    down.iter().for_each(|place| cluster.crash(*place));
    let link = Link::new(cluster.address(left));
    for _ in 0..5 {
        // A read is as good as a write: it must know that nobody else leads.
        for ask in [Ask::Apply(turn("between")), Ask::Read(id()), Ask::Check] {
            let request = Request::Leader { ask, forwarded: false };
            let reply = link.call(&request, WAIT_MAX).await.expect("an answer");
            assert!(matches!(reply, Reply::Unavailable(_)), "{reply:?}");
        }
    }
    // The client that a web has says so, too, within its budget.
    let refused = cluster.client(left).apply(turn("between")).await;
    assert!(
        matches!(
            refused,
            Err(crate::roles::web::NoAnswer::Unavailable(_) | crate::roles::web::NoAnswer::Link(_))
        ),
        "{refused:?}"
    );
    down.iter().for_each(|place| cluster.start(*place));
    cluster.leader().await;
    cluster.apply_through(down[0], turn("after")).await;
    assert_kept(&cluster, left, [writer]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_there_is_room_for_are_refused_at_once_and_the_others_are_served() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    let leader = cluster.leader().await;
    // Without a majority, whatever gets in stays in until its time is over.
    let down = [(leader + 1) % 3, (leader + 2) % 3];
    down.iter().for_each(|place| cluster.crash(*place));
    let address = cluster.address(leader);
    let flood = 3 * server::IN_FLIGHT_MAX;
    let links: Vec<_> = (0..flood).map(|_| Arc::new(Link::new(address))).collect();
    for link in &links {
        // Connected before the flood, which is one of requests.
        eventually("a connection", async || link.call(&Request::Ping, WAIT_MAX).await).await;
    }
    let mut requests = JoinSet::new();
    for (n, link) in links.iter().cloned().enumerate() {
        requests.spawn(async move {
            let ask = Ask::Apply(turn(&format!("flood-{n}")));
            link.call(&Request::Leader { ask, forwarded: false }, WAIT_MAX).await
        });
    }
    let (mut busy, mut waited) = (0, 0);
    while let Some(reply) = requests.join_next().await {
        match reply.unwrap().expect("every request is answered") {
            Reply::Unavailable(Unavailable::Busy) => busy += 1,
            Reply::Unavailable(_) => waited += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("{flood} requests: {busy} refused at once, {waited} after a while");
    assert!(busy > 0 && waited > 0, "{busy} refused at once, {waited} after a while");

    down.iter().for_each(|place| cluster.start(*place));
    cluster.leader().await;
    // With a majority, the same flood is served but for what finds no room, and what is acknowledged counts.
    let mut requests = JoinSet::new();
    for (n, link) in links.iter().cloned().enumerate() {
        requests.spawn(async move {
            let key = format!("again-{n}");
            let ask = Ask::Apply(turn(&key));
            let reply = link.call(&Request::Leader { ask, forwarded: false }, WAIT_MAX).await;
            (key, reply)
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(answer) = requests.join_next().await {
        match answer.unwrap() {
            (key, Ok(Reply::Applied(Outcome::Appended { .. } | Outcome::Replayed { .. }))) => {
                acknowledged.push(key);
            }
            (_, Ok(Reply::Unavailable(_))) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    println!("{} of {flood} served", acknowledged.len());
    // On a machine that has no time, that may be none; one by one they are.
    cluster.apply_through(down[0], turn("after")).await;
    let kept: BTreeSet<_> = keys_through(&cluster, down[1]).await.into_iter().collect();
    assert!(acknowledged.iter().all(|key| kept.contains(key)));
}
