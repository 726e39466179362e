//! The parts of a database by themselves: who is who, who may found a cluster, what a disk holds.

use std::io::Cursor;

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, RaftSnapshotBuilder, SnapshotMeta, Vote};
use redb::TableDefinition;

use super::cluster::topology;
use super::{id, turn};
use crate::conversation::Command;
use crate::roles::db::directory::Directory;
use crate::roles::db::disk::Disk;
use crate::roles::db::joining::{Step, decide};
use crate::roles::db::log::{APPEND_BYTES_MAX, Identity, Log, LogError};
use crate::roles::db::machine::Machine;
use crate::roles::db::open;
use crate::roles::db::protocol::{Census, TypeConfig};
use crate::topology::{Interface, Memory, NetworkName};

#[test]
fn identifiers_lead_back_to_seats_in_every_generation() {
    let directory = Directory::of(&topology(3, Memory::Database));
    let names: Vec<_> = directory.seats().iter().map(|seat| seat.name.as_str()).collect();
    assert_eq!(names, ["db1", "db2", "db3"]);
    assert_eq!(directory.founders().collect::<Vec<_>>(), [1, 2, 3]);
    for generation in [0, 1, 77, u32::MAX] {
        for place in 0..3 {
            assert_eq!(directory.place(directory.raft_id(place, generation)), Some(place));
        }
    }
    assert_eq!(directory.place(0), None);
}

#[test]
fn databases_meet_on_the_network_that_the_webs_share() {
    let mut topology = topology(2, Memory::Database);
    let store: NetworkName = "store".parse().unwrap();
    for (host, node) in
        (1..).zip(topology.nodes.iter_mut().filter(|node| node.name.as_str().starts_with("db")))
    {
        let interface = Interface {
            network: store.clone(),
            addresses: vec![[127, 0, 0, host].into()],
            addresses6: vec![],
        };
        node.interfaces.insert(0, interface);
    }
    let data = topology.nodes[2].address_on(&"data".parse().unwrap()).unwrap();
    assert_eq!(Directory::of(&topology).seats()[0].address.ip(), data);
}

#[test]
fn only_the_first_founds_and_only_if_all_say_that_they_know_nothing() {
    let pristine = Some(Census { cluster: None, founded: false, votes: false });
    let enrolled = Some(Census { cluster: Some([1; 16]), founded: false, votes: false });
    let member = Some(Census { cluster: Some([2; 16]), founded: true, votes: true });
    let table: [(usize, &[Option<Census>], Step); 11] = [
        (0, &[], Step::Found(None)),
        (0, &[pristine, pristine], Step::Found(None)),
        (0, &[enrolled, pristine], Step::Found(Some([1; 16]))),
        (0, &[pristine, None], Step::Wait),
        (0, &[None, None], Step::Wait),
        (0, &[None, enrolled], Step::Wait),
        (0, &[None, member], Step::Join([2; 16])),
        (0, &[enrolled, member], Step::Join([2; 16])),
        (1, &[pristine, pristine], Step::Wait),
        (2, &[enrolled, pristine], Step::Wait),
        (2, &[None, member], Step::Join([2; 16])),
    ];
    for (place, others, step) in table {
        assert_eq!(decide(place, others), step, "place {place}, others {others:?}");
    }
}

#[tokio::test]
async fn a_disk_keeps_identity_and_vote() {
    let disk = tempfile::tempdir().unwrap();
    let identity = Identity { cluster: [9; 16], id: 2 };
    let vote = Vote::new(3, 2);
    {
        let mut log = Log::open(&Disk::new(disk.path().into())).unwrap();
        assert_eq!(log.identity().unwrap(), None);
        log.adopt(identity).await.unwrap();
        log.save_vote(&vote).await.unwrap();
    }
    let mut log = reopen(disk.path()).await;
    assert_eq!(log.identity().unwrap(), Some(identity));
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
}

/// The writer of the log before lets go of the file when its thread ends.
async fn reopen(disk: &std::path::Path) -> Log {
    super::eventually("a log that is free", async || Log::open(&Disk::new(disk.into()))).await
}

#[tokio::test]
async fn what_goes_to_another_member_at_once_fits_into_a_message() {
    let disk = tempfile::tempdir().unwrap();
    let mut log = Log::open(&Disk::new(disk.path().into())).unwrap();
    let long = |index, bytes| {
        let key = "k".parse().unwrap();
        entry(index, vec![Command::AppendTurn { id: id(), key, body: "x".repeat(bytes) }])
    };
    let quarter = APPEND_BYTES_MAX / 4;
    let entries = (1..=10).map(|index| long(index, quarter)).chain([long(11, APPEND_BYTES_MAX * 2)]);
    log.keep(entries.collect()).await.unwrap();
    let indices = |entries: Vec<Entry<TypeConfig>>| -> Vec<_> {
        entries.into_iter().map(|entry| entry.log_id.index).collect()
    };
    // Three quarters and what is around them; a fourth would be too much.
    assert_eq!(indices(log.limited_get_log_entries(1, 12).await.unwrap()), [1, 2, 3]);
    assert_eq!(indices(log.limited_get_log_entries(9, 10).await.unwrap()), [9]);
    assert_eq!(indices(log.limited_get_log_entries(10, 12).await.unwrap()), [10]);
    // Raft cannot go on without any.
    assert_eq!(indices(log.limited_get_log_entries(11, 12).await.unwrap()), [11]);
    assert_eq!(indices(log.try_get_log_entries(1..12).await.unwrap()).len(), 11);
}

#[tokio::test]
async fn a_hole_is_an_error_to_whoever_reads_writes_or_applies_over_it() {
    let disk = tempfile::tempdir().unwrap();
    let (mut log, mut machine) = open(&Disk::new(disk.path().into())).unwrap();
    let some =
        |range: std::ops::RangeInclusive<u64>| range.map(|index| entry(index, commands(index))).collect();
    log.keep(some(0..=9)).await.unwrap();
    // Raft looks at the first and the last of what it asked for, and so would not notice.
    log.keep(some(12..=14)).await.expect_err("10 is missing");
    machine.apply(some(0..=4)).await.unwrap();
    machine.apply(some(7..=9)).await.expect_err("5 is missing");
    machine.build_snapshot().await.unwrap();
    log.purge(entry(4, vec![]).log_id).await.unwrap();
    log.limited_get_log_entries(3, 8).await.expect_err("3 is gone");
    log.limited_get_log_entries(1, 3).await.expect_err("all are gone");
    assert_eq!(log.limited_get_log_entries(5, 8).await.unwrap().len(), 3);
}

#[tokio::test]
async fn entries_go_only_when_a_snapshot_on_the_disk_has_them() {
    let disk = tempfile::tempdir().unwrap();
    let (mut log, mut machine) = open(&Disk::new(disk.path().into())).unwrap();
    let entries: Vec<_> = (0..=9).map(|index| entry(index, commands(index))).collect();
    log.keep(entries.clone()).await.unwrap();
    machine.apply(entries).await.unwrap();
    let last = entry(9, vec![]).log_id;
    let mut raft = log.clone();
    let purging = tokio::spawn(async move { raft.purge(last).await });
    // Whatever raft does next comes after that.
    for _ in 0..20 {
        log.save_vote(&Vote::new(3, 2)).await.unwrap();
        assert!(!purging.is_finished() && log.purged().unwrap().is_none());
    }
    machine.build_snapshot().await.unwrap();
    purging.await.unwrap().unwrap();
    assert_eq!(log.purged().unwrap(), Some(last));

    // One that cannot be had is not waited for.
    let beyond = entry(20, vec![]).log_id;
    let mut raft = log.clone();
    let purging = tokio::spawn(async move { raft.purge(beyond).await });
    let meta = SnapshotMeta { last_log_id: Some(beyond), ..SnapshotMeta::default() };
    machine.install_snapshot(&meta, Box::new(Cursor::new(b"noise".to_vec()))).await.unwrap_err();
    purging.await.unwrap().unwrap_err();
}

#[test]
fn a_disk_of_another_version_is_refused_with_both_versions_named() {
    let disk = tempfile::tempdir().unwrap();
    let file = redb::Database::create(disk.path().join("raft.redb")).unwrap();
    let transaction = file.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("format", [42].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(file);
    let error = Log::open(&Disk::new(disk.path().into())).unwrap_err();
    assert!(matches!(error, LogError::Format { found: 42, .. }), "{error}");
    assert!(error.to_string().contains("format 42"), "{error}");
}

#[tokio::test]
async fn a_log_that_somebody_else_has_open_is_not_called_damaged() {
    let disk = tempfile::tempdir().unwrap();
    let _log = Log::open(&Disk::new(disk.path().into())).unwrap();
    let error = Log::open(&Disk::new(disk.path().into())).unwrap_err();
    assert!(matches!(error, LogError::Open { .. }), "{error:?}");
    assert!(!error.is_for_good(), "{error}");
}

/// What the entries of a test's log say: one conversation, and a turn each.
pub(super) fn commands(index: u64) -> Vec<Command> {
    match index {
        0 => vec![],
        1 => vec![Command::Create { id: id() }],
        index => vec![turn(&index.to_string())],
    }
}

pub(super) fn entry(index: u64, commands: Vec<Command>) -> Entry<TypeConfig> {
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload: EntryPayload::Normal(commands) }
}

#[tokio::test]
async fn a_snapshot_brings_a_machine_back_and_another_up_to_date() {
    let disk = tempfile::tempdir().unwrap();
    let mut machine = Machine::open(&Disk::new(disk.path().into()), None).unwrap();
    machine
        .apply([
            entry(0, vec![]),
            entry(1, vec![Command::Create { id: id() }, turn("a")]),
            entry(2, vec![turn("b")]),
        ])
        .await
        .unwrap();
    let snapshot = machine.build_snapshot().await.unwrap();
    let before = machine.transcript(&id()).unwrap();
    machine.apply([entry(3, vec![turn("c")])]).await.unwrap();

    // What came after the snapshot is in the log, not in here.
    let mut reopened = Machine::open(&Disk::new(disk.path().into()), None).unwrap();
    assert_eq!(reopened.transcript(&id()), Some(before.clone()));
    assert_eq!(reopened.applied_state().await.unwrap().0.map(|applied| applied.index), Some(2));

    let other_disk = tempfile::tempdir().unwrap();
    let mut other = Machine::open(&Disk::new(other_disk.path().into()), None).unwrap();
    let meta: SnapshotMeta<_, _> = snapshot.meta.clone();
    other.install_snapshot(&meta, snapshot.snapshot).await.unwrap();
    assert_eq!(other.transcript(&id()), Some(before));
    assert_eq!(other.get_current_snapshot().await.unwrap().unwrap().meta, meta);
}

#[tokio::test]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let disk = tempfile::tempdir().unwrap();
    let mut machine = Machine::open(&Disk::new(disk.path().into()), None).unwrap();
    machine.apply([entry(0, vec![]), entry(1, vec![Command::Create { id: id() }])]).await.unwrap();
    let old = machine.build_snapshot().await.unwrap();
    machine.apply([entry(2, vec![turn("a")])]).await.unwrap();
    let new = machine.build_snapshot().await.unwrap();
    let bytes: Cursor<Vec<u8>> = *old.snapshot;
    machine.install_snapshot(&old.meta, Box::new(bytes)).await.unwrap();
    assert_eq!(machine.get_current_snapshot().await.unwrap().unwrap().meta, new.meta);
}
