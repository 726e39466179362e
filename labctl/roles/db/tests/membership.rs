//! Disks that are lost: who comes back is another member, one at a time, and never splits what the others remember.

use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftStateMachine};

use super::cluster::{Cluster, WAIT_MAX, eventually};
use super::*;

/// Waits until a database says that it has a vote.
async fn votes(cluster: &Cluster, place: usize) {
    let link = Link::new(cluster.address(place));
    eventually("a vote for the newcomer", async || match link.call(&Request::Census, WAIT_MAX).await {
        Ok(Reply::Census(census)) if census.votes => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

fn lose_disk(cluster: &mut Cluster, place: usize) {
    cluster.crash(place);
    cluster.wipe(place);
    cluster.start(place);
}

/// Voters and learners as a database that does not run has them.
async fn members(cluster: &Cluster, place: usize) -> (Vec<RaftId>, Vec<RaftId>) {
    let disk = Disk::new(cluster.disk(place).join(FOLDER));
    let (mut log, mut machine) = eventually("a disk that is free", async || open(&disk)).await;
    let entries = log.try_get_log_entries(..).await.unwrap();
    let newest = entries.into_iter().rev().find_map(|entry| match entry.payload {
        EntryPayload::Membership(membership) => Some(membership),
        _ => None,
    });
    let in_snapshot = machine.applied_state().await.unwrap().1.membership().clone();
    let membership = newest.unwrap_or(in_snapshot);
    (membership.voter_ids().collect(), membership.learner_ids().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_are_lost_one_after_the_other_cost_no_acknowledged_turn() {
    // So short a log that whoever comes anew gets a snapshot first.
    let mut cluster = Cluster::tuned(3, Tuning { snapshot_every: 20, log_kept: 10, ..Tuning::default() });
    (0..3).for_each(|place| cluster.start(place));
    cluster.leader().await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    let writers = [Writer::begin(cluster.client(0), "a"), Writer::begin(cluster.client(1), "b")];
    let more = async |turns| {
        for writer in &writers {
            writer.more(turns).await;
        }
    };
    more(5).await;
    let leader = cluster.leader().await;
    // The leader, then another one, and that one once more.
    for victim in [leader, (leader + 1) % 3, (leader + 1) % 3] {
        lose_disk(&mut cluster, victim);
        votes(&cluster, victim).await;
        more(5).await;
    }
    // All are members that count: the two that came anew decide without the third.
    cluster.crash((leader + 2) % 3);
    more(5).await;
    let turns = assert_kept(&cluster, leader, writers).await;
    println!("{turns} turns");

    cluster.stop(leader);
    let (voters, learners) = members(&cluster, leader).await;
    let mut places: Vec<_> = voters.iter().map(|id| cluster.directory.place(*id).unwrap()).collect();
    places.sort_unstable();
    assert_eq!((places.as_slice(), learners.as_slice()), ([0, 1, 2].as_slice(), [].as_slice()), "{voters:?}");
    let founders: Vec<_> = voters.iter().filter(|id| **id <= 3).collect();
    assert_eq!(founders, [&((leader as u64 + 2) % 3 + 1)], "who lost its disk has another name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_lost_again_before_it_had_a_vote_leaves_nothing_behind() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    let victim = (cluster.leader().await + 1) % 3;
    for _ in 0..3 {
        lose_disk(&mut cluster, victim);
        // A member by name, and not yet by vote.
        let link = Link::new(cluster.address(victim));
        eventually("a name", async || match link.call(&Request::Census, WAIT_MAX).await {
            Ok(Reply::Census(census)) if census.cluster.is_some() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    votes(&cluster, victim).await;
    cluster.apply_through(victim, turn("after")).await;
    // The leader lets go of the names that came to nothing after it has given the vote.
    eventually("three members", async || {
        cluster.apply_through(victim, turn("after")).await;
        cluster.stop(victim);
        let (voters, learners) = members(&cluster, victim).await;
        cluster.start(victim);
        cluster.leader().await;
        if voters.len() == 3 && learners.is_empty() { Ok(()) } else { Err((voters, learners)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_lost_while_another_database_is_down_waits_for_that_one() {
    let mut cluster = Cluster::started(3).await;
    cluster.apply_through(0, Command::Create { id: id() }).await;
    cluster.apply_through(0, turn("before")).await;
    let away = (cluster.leader().await + 1) % 3;
    cluster.crash(away);
    // The first is the only one that could found another cluster.
    let (emptied, left) = if away == 0 { (1, 2) } else { (0, 3 - away) };
    lose_disk(&mut cluster, emptied);
    let link = Link::new(cluster.address(emptied));
    eventually("a name", async || match link.call(&Request::Census, WAIT_MAX).await {
        Ok(Reply::Census(census)) if census.cluster.is_some() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // One with a memory and one without are no majority of three, however often they are asked.
    for n in 0..8 {
        for place in [emptied, left] {
            let ask = if n % 2 == 0 { Ask::Apply(turn("between")) } else { Ask::Read(id()) };
            let request = Request::Leader { ask, forwarded: false };
            let reply = Link::new(cluster.address(place)).call(&request, WAIT_MAX).await.unwrap();
            assert!(matches!(reply, Reply::Unavailable(_)), "through {place}: {reply:?}");
        }
        assert!(matches!(
            link.call(&Request::Census, WAIT_MAX).await.unwrap(),
            Reply::Census(census) if !census.votes
        ));
    }
    cluster.start(away);
    votes(&cluster, emptied).await;
    cluster.apply_through(emptied, turn("after")).await;
    let keys = keys_through(&cluster, emptied).await;
    let keys: Vec<_> = keys.iter().map(String::as_str).filter(|key| *key != "between").collect();
    assert_eq!(keys, ["before", "after"]);
}
