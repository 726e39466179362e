//! Disks that do not hold what was written: bytes flipped, files cut short, emptied, gone. Each is refused by name or does
//! no harm, and none is ever taken for a new disk.

use std::path::Path;

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::{RaftSnapshotBuilder, Vote};
use tempfile::TempDir;

use super::eventually;
use super::parts::{commands, entry};
use super::power::{Platter, Supply, paths};
use crate::roles::db::disk::Disk;
use crate::roles::db::log::{Identity, Log};
use crate::roles::db::machine::Machine;
use crate::roles::db::{self, Error};
use crate::roles::described;

const ENTRIES: u64 = 40;
const FILES: [&str; 3] = ["raft.redb", "raft.tip", "snapshot"];

/// All that a disk is asked for.
async fn contents(log: &mut Log, machine: &mut Machine) -> String {
    let identity = log.identity().unwrap();
    let vote = log.read_vote().await.unwrap();
    let state = log.get_log_state().await.unwrap();
    let entries = log.try_get_log_entries(..).await.unwrap();
    let applied = machine.applied_state().await.unwrap();
    let transcript = machine.transcript(&super::id());
    format!("{identity:?} {vote:?} {state:?} {entries:?} {applied:?} {transcript:?}")
}

/// How the database ended whose disk it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Killed,
    InPeace,
}

/// A copy of a disk with everything on it, and what is on it.
async fn filled(end: End) -> (TempDir, String) {
    let (home, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Disk::new(home.path().into());
    let (mut log, mut machine) = db::open(&disk).unwrap();
    log.adopt(Identity { cluster: [9; 16], id: 2 }).await.unwrap();
    for index in 1..=ENTRIES {
        log.keep(vec![entry(index, commands(index))]).await.unwrap();
    }
    machine.apply((0..=ENTRIES / 2).map(|index| entry(index, commands(index)))).await.unwrap();
    machine.build_snapshot().await.unwrap();
    log.purge(entry(ENTRIES / 4, Vec::new()).log_id).await.unwrap();
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    let held = contents(&mut log, &mut machine).await;
    if end == End::Killed {
        disk.cut();
    }
    drop(log);
    eventually("a file that is free", async || {
        let file = disk.open("raft.redb").unwrap();
        redb::StorageBackend::try_lock_range(&file, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)
            .unwrap()
            .then_some(())
            .ok_or("locked")
    })
    .await;
    copy(home.path(), image.path());
    (image, held)
}

fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Opens a copy of a disk with one file of it replaced or removed: what is there, or why it is refused.
async fn open(image: &Path, file: &str, bytes: Option<&[u8]>) -> Result<String, String> {
    let scratch = tempfile::tempdir().unwrap();
    copy(image, scratch.path());
    match bytes {
        Some(bytes) => std::fs::write(scratch.path().join(file), bytes).unwrap(),
        None => std::fs::remove_file(scratch.path().join(file)).unwrap(),
    }
    match db::open(&Disk::new(scratch.path().into())) {
        Ok((mut log, mut machine)) => Ok(contents(&mut log, &mut machine).await),
        Err(Error::Log(error)) if error.is_for_good() => Err(described(&error)),
        Err(Error::Snapshot(error)) if error.is_for_good() => Err(described(&error)),
        Err(other) => panic!("{file}: {other:?}"),
    }
}

/// Opens files in memory in the place of a disk's, which takes no flush.
async fn open_in_memory(log: Vec<u8>, tip: Vec<u8>, machine: &mut Machine) -> Result<String, String> {
    let supply = Supply::endless();
    let [log, tip] = [log, tip].map(|bytes| Platter::new(&supply, bytes));
    match Log::on(|| Ok(log.clone()), tip, &paths(), Vec::new()) {
        Ok(mut log) => Ok(contents(&mut log, machine).await),
        Err(error) if error.is_for_good() => Err(described(&error)),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_byte_anywhere_in_the_log_or_its_tip_is_noticed_or_harmless() {
    for end in [End::Killed, End::InPeace] {
        let (image, held) = filled(end).await;
        let mut machine = Machine::open(&Disk::new(image.path().into()), None).unwrap();
        let sound = ["raft.redb", "raft.tip"].map(|file| std::fs::read(image.path().join(file)).unwrap());
        for (which, file) in ["raft.redb", "raft.tip"].into_iter().enumerate() {
            let len = sound[which].len();
            // All of what is dense, and enough of what is mostly air.
            let dense = len.min(330);
            let stride = ((len - dense) / 300).max(1);
            let places = (0..dense).chain((dense..len).step_by(stride));
            let (mut refused, mut harmless, mut wrong) = (0, 0, Vec::new());
            for (at, mask) in places.flat_map(|at| [(at, 0x01), (at, 0x42)]) {
                let [mut log, mut tip] = sound.clone();
                [&mut log, &mut tip][which][at] ^= mask;
                match open_in_memory(log, tip, &mut machine).await {
                    Ok(found) if found == held => harmless += 1,
                    Ok(_) => wrong.push((at, mask)),
                    Err(said) => {
                        refused += 1;
                        assert!(said.contains(file), "{file} at {at}: {said}");
                    }
                }
            }
            println!("{end:?}, {file}, {len} bytes: {refused} refused, {harmless} harmless");
            assert!(wrong.is_empty(), "{end:?}, {file}: neither noticed nor harmless: {wrong:?}");
        }
    }
}

#[tokio::test]
async fn another_byte_anywhere_in_a_snapshot_is_noticed() {
    let (image, _) = filled(End::InPeace).await;
    let disk = Disk::new(image.path().into());
    let sound = std::fs::read(image.path().join("snapshot")).unwrap();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x04;
        std::fs::write(image.path().join("snapshot"), &bytes).unwrap();
        let error = Machine::open(&disk, None).expect_err("it is noticed");
        assert!(error.is_for_good() && error.to_string().contains("snapshot"), "at {at}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_is_gone_or_empty_or_short_is_not_a_new_disk() {
    let (image, held) = filled(End::Killed).await;
    for file in FILES {
        let sound = std::fs::read(image.path().join(file)).unwrap();
        let lens = [0, 1, sound.len() / 2, sound.len() - 1];
        let short = lens.iter().map(|len| Some(&sound[..*len]));
        for bytes in short.chain([None]) {
            let case = format!("{file}, {:?} of {} bytes", bytes.map(<[u8]>::len), sound.len());
            match open(image.path(), file, bytes).await {
                // The tip is written in two places, and needs one.
                Ok(found) => assert!(file == "raft.tip" && found == held, "{case}: {found}"),
                Err(said) => assert!(said.contains(file), "{case}: {said}"),
            }
        }
        let noise: Vec<u8> = (0..sound.len()).map(|at| (at * 131 % 251) as u8).collect();
        let said = open(image.path(), file, Some(&noise)).await.expect_err("noise is refused");
        assert!(said.contains(file), "{said}");
    }
}

#[tokio::test]
async fn an_older_log_or_snapshot_is_not_taken_for_the_newest() {
    let (image, _) = filled(End::Killed).await;
    let older = tempfile::tempdir().unwrap();
    copy(image.path(), older.path());
    {
        let disk = Disk::new(image.path().into());
        let (mut log, mut machine) = db::open(&disk).unwrap();
        machine.apply((ENTRIES / 2 + 1..=ENTRIES).map(|index| entry(index, commands(index)))).await.unwrap();
        machine.build_snapshot().await.unwrap();
        log.purge(entry(ENTRIES, Vec::new()).log_id).await.unwrap();
        log.save_vote(&Vote::new(4, 2)).await.unwrap();
        disk.cut();
    }
    for file in FILES {
        let bytes = std::fs::read(older.path().join(file)).unwrap();
        let said = open(image.path(), file, Some(&bytes)).await.expect_err(file);
        assert!(said.contains(file), "{file}: {said}");
    }
}

#[tokio::test]
async fn a_snapshot_of_another_format_is_refused_with_both_named() {
    let (image, _) = filled(End::InPeace).await;
    let mut bytes = std::fs::read(image.path().join("snapshot")).unwrap();
    bytes[8..12].copy_from_slice(&7_u32.to_be_bytes());
    let said = open(image.path(), "snapshot", Some(&bytes)).await.unwrap_err();
    assert!(said.contains("has format 7, and this labctl reads format 2 only"), "{said}");
}
