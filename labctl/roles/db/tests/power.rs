//! Losses of power at every moment: whatever part of the unflushed bytes got to the disk, it holds all that was
//! acknowledged, and nothing that was never asked for.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft::{CommittedLeaderId, Entry, LogId, Vote};
use proptest::prelude::*;
use redb::StorageBackend;

use super::parts::{commands, entry};
use crate::roles::db::disk::Disk;
use crate::roles::db::log::{Identity, Log, LogError, Paths};
use crate::roles::db::protocol::TypeConfig;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// The supply of one machine: both of its files lose power at once.
#[derive(Debug)]
pub(super) struct Supply {
    /// Flushes that still succeed.
    flushes_left: u64,
    /// Decides by sector what of the unflushed bytes got to the disk all the same.
    luck: u64,
    /// A disk that says that it has flushed and has not.
    lies: bool,
}

impl Supply {
    /// One that never fails.
    pub(super) fn endless() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { flushes_left: u64::MAX, luck: 1, lies: false }))
    }

    /// xorshift64: any sequence will do.
    fn lucky(&mut self) -> bool {
        self.luck ^= self.luck << 13;
        self.luck ^= self.luck >> 7;
        self.luck ^= self.luck << 17;
        self.luck & 1 == 1
    }
}

/// A file on a machine whose power fails.
#[derive(Clone, Debug)]
pub(super) struct Platter {
    supply: Arc<Mutex<Supply>>,
    bytes: Arc<Mutex<Bytes>>,
}

#[derive(Clone, Debug, Default)]
struct Bytes {
    /// As the machine sees them.
    seen: Vec<u8>,
    /// As they are after a loss of power, if nothing of what is unflushed was written.
    flushed: Vec<u8>,
    unflushed: Vec<(usize, Vec<u8>)>,
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    bytes.resize(bytes.len().max(at + data.len()), 0);
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl Platter {
    pub(super) fn new(supply: &Arc<Mutex<Supply>>, bytes: Vec<u8>) -> Self {
        let bytes = Bytes { seen: bytes.clone(), flushed: bytes, unflushed: Vec::new() };
        Self { supply: supply.clone(), bytes: Arc::new(Mutex::new(bytes)) }
    }

    fn powered(&self) -> io::Result<()> {
        let dead = self.supply.lock().unwrap().flushes_left == 0;
        if dead { Err(io::Error::other("the power failed")) } else { Ok(()) }
    }

    /// What the disk holds when the power is back.
    fn after(&self) -> Vec<u8> {
        let Bytes { flushed: mut bytes, unflushed, .. } = self.bytes.lock().unwrap().clone();
        let mut supply = self.supply.lock().unwrap();
        for (at, data) in &unflushed {
            let mut from = 0;
            while from < data.len() {
                let until = data.len().min((at + from) / SECTOR * SECTOR + SECTOR - at);
                if supply.lucky() {
                    put(&mut bytes, at + from, &data[from..until]);
                }
                from = until;
            }
        }
        bytes
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let range = offset as usize..offset as usize + out.len();
        out.copy_from_slice(bytes.seen.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// At once, as a file system's journal has it; what redb needs is that it does not come later than a flush.
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.powered()?;
        let mut bytes = self.bytes.lock().unwrap();
        bytes.seen.resize(len as usize, 0);
        bytes.flushed.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.powered()?;
        let mut supply = self.supply.lock().unwrap();
        supply.flushes_left -= 1;
        if supply.flushes_left == 0 {
            return Err(io::Error::other("the power fails"));
        }
        let mut bytes = self.bytes.lock().unwrap();
        if !supply.lies {
            let Bytes { seen, flushed, unflushed } = &mut *bytes;
            flushed.clone_from(seen);
            unflushed.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.powered()?;
        let mut bytes = self.bytes.lock().unwrap();
        put(&mut bytes.seen, offset as usize, data);
        bytes.unflushed.push((offset as usize, data.to_vec()));
        Ok(())
    }
}

/// Something that raft has written.
#[derive(Clone, Debug)]
enum Act {
    Vote(u64),
    Append(u64),
    Truncate(u64),
    Purge(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (1..9_u64).prop_map(Act::Vote),
        6 => (1..5_u64).prop_map(Act::Append),
        1 => (1..4_u64).prop_map(Act::Truncate),
        1 => (1..4_u64).prop_map(Act::Purge),
    ]
}

/// What the disk should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    identity: Option<Identity>,
    vote: Option<Vote<u64>>,
    purged: u64,
    entries: Vec<Entry<TypeConfig>>,
}

fn at(index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

impl Held {
    fn next(&self) -> u64 {
        self.purged + self.entries.len() as u64 + 1
    }

    /// What it should hold after one more act; raft truncates and purges only what is there.
    fn after(&self, act: &Act) -> Self {
        let mut held = self.clone();
        match act {
            Act::Vote(term) => held.vote = Some(Vote::new(*term, 2)),
            Act::Append(count) => {
                held.entries
                    .extend((self.next()..self.next() + count).map(|index| entry(index, commands(index))));
            }
            Act::Truncate(count) => {
                let kept = held.entries.len().saturating_sub(*count as usize);
                held.entries.truncate(kept);
            }
            Act::Purge(count) => {
                let gone = held.entries.len().min(*count as usize);
                held.entries.drain(..gone);
                held.purged += gone as u64;
            }
        }
        held
    }

    async fn on(log: &mut Log) -> Self {
        Self {
            identity: log.identity().unwrap(),
            vote: log.read_vote().await.unwrap(),
            purged: log.purged().unwrap().map_or(0, |id| id.index),
            entries: log.try_get_log_entries(..).await.unwrap(),
        }
    }
}

async fn carry_out(log: &mut Log, act: &Act, held: &Held) -> Result<(), String> {
    let done = match act {
        Act::Vote(term) => log.save_vote(&Vote::new(*term, 2)).await,
        Act::Append(count) => {
            let entries = (held.next()..held.next() + count).map(|index| entry(index, commands(index)));
            return log.keep(entries.collect()).await.map_err(|error| error.to_string());
        }
        Act::Truncate(count) => {
            let from = held.next() - (*count).min(held.entries.len() as u64);
            log.truncate(at(from)).await
        }
        Act::Purge(count) => match (*count).min(held.entries.len() as u64) {
            0 => Ok(()),
            gone => log.purge(at(held.purged + gone)).await,
        },
    };
    done.map_err(|error| error.to_string())
}

pub(super) fn paths() -> Paths {
    Paths { log: PathBuf::from("raft.redb"), tip: PathBuf::from("raft.tip") }
}

/// One life of a machine: acts until the power fails, power back, and a look at the disk. Returns what went wrong.
async fn live(files: &mut [Vec<u8>; 2], held: &mut Held, acts: &[Act], supply: Supply) -> Result<(), String> {
    let supply = Arc::new(Mutex::new(supply));
    let [log_file, tip_file] = [0, 1].map(|at| Platter::new(&supply, files[at].clone()));
    let mut might = held.clone();
    if let Ok(mut log) = Log::on(|| Ok(log_file.clone()), tip_file.clone(), &paths(), Vec::new()) {
        if held.identity.is_none() {
            let identity = Identity { cluster: [9; 16], id: 2 };
            might.identity = Some(identity);
            if log.adopt(identity).await.is_ok() {
                held.identity = Some(identity);
            }
        }
        for act in acts.iter().take_while(|_| might == *held).collect::<Vec<_>>() {
            might = held.after(act);
            match carry_out(&mut log, act, held).await {
                Ok(()) => *held = might.clone(),
                Err(_) => break,
            }
        }
    }
    *files = [log_file.after(), tip_file.after()];
    let supply = Supply::endless();
    let [log_file, tip_file] = [0, 1].map(|at| Platter::new(&supply, files[at].clone()));
    let opened = Log::on(|| Ok(log_file.clone()), tip_file.clone(), &paths(), Vec::new());
    let mut log = opened.map_err(|error: LogError| crate::roles::described(&error))?;
    let found = Held::on(&mut log).await;
    if found != *held && found != might {
        return Err(format!("acknowledged {held:?}, asked for {might:?}, found {found:?}"));
    }
    *held = found;
    // The writer lets go of the files when the log is gone; what it has flushed until then counts.
    *files = [log_file.after(), tip_file.after()];
    Ok(())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_loss_of_power_at_any_flush_loses_nothing_that_was_acknowledged(
        lives in prop::collection::vec((prop::collection::vec(act(), 0..8), 1..24_u64, 1..u64::MAX), 1..5),
    ) {
        run(async {
            let (mut files, mut held) = ([Vec::new(), Vec::new()], Held::default());
            for (acts, flushes_left, luck) in lives {
                let supply = Supply { flushes_left, luck, lies: false };
                live(&mut files, &mut held, &acts, supply).await.map_err(TestCaseError::fail)?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }

    /// The real thing against the obvious model.
    #[test]
    fn a_file_reads_as_written_and_keeps_what_was_flushed(
        steps in prop::collection::vec((0..4_u8, 0..3_000_u64, 1..600_usize, any::<u8>()), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().into());
        let file = disk.open("file").unwrap();
        let (mut seen, mut flushed) = (Vec::new(), Vec::new());
        for (kind, at, len, byte) in steps {
            match kind {
                0 => {
                    file.set_len(at).unwrap();
                    seen.resize(at as usize, 0);
                }
                1 => {
                    file.sync_data().unwrap();
                    flushed.clone_from(&seen);
                }
                _ => {
                    file.write(at, &vec![byte; len]).unwrap();
                    put(&mut seen, at as usize, &vec![byte; len]);
                }
            }
            let mut all = vec![0xaa; seen.len()];
            prop_assert_eq!(file.len().unwrap(), seen.len() as u64);
            file.read(0, &mut all).unwrap();
            prop_assert_eq!(&all, &seen);
            let half = seen.len() / 2;
            file.read(half as u64, &mut all[half..]).unwrap();
            prop_assert_eq!(&all, &seen);
        }
        drop(file);
        prop_assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), flushed);
    }
}

#[test]
fn every_flush_of_a_life_is_tried() {
    let acts =
        [Act::Append(3), Act::Vote(2), Act::Append(2), Act::Truncate(1), Act::Append(1), Act::Purge(2)];
    run(async {
        let mut lives = 0;
        for flushes_left in 1.. {
            let mut complete = false;
            for luck in 1..9 {
                let (mut files, mut held) = ([Vec::new(), Vec::new()], Held::default());
                let supply = Supply { flushes_left, luck, lies: false };
                live(&mut files, &mut held, &acts, supply).await.unwrap();
                complete = held
                    == acts.iter().fold(Held { identity: held.identity, ..Held::default() }, |held, act| {
                        held.after(act)
                    });
                lives += 1;
            }
            if complete {
                println!("{flushes_left} flushes, {lives} lives");
                return;
            }
        }
    });
}

#[test]
fn a_disk_that_acknowledges_before_it_has_flushed_is_found_out() {
    let acts = [Act::Vote(1), Act::Append(4), Act::Append(4)];
    run(async {
        let mut noticed = 0;
        for luck in 1..=20 {
            let (mut files, mut held) = ([Vec::new(), Vec::new()], Held::default());
            let supply = Supply { flushes_left: 1_000, luck, lies: true };
            noticed += usize::from(live(&mut files, &mut held, &acts, supply).await.is_err());
        }
        // Some are lucky: all of what they had not flushed is there all the same.
        assert!(noticed > 10, "noticed {noticed} of 20");
    });
}

#[test]
fn what_was_not_flushed_ends_with_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path().into());
    let file = disk.open("file").unwrap();
    file.write(0, b"flushed").unwrap();
    file.sync_data().unwrap();
    file.write(0, b"written").unwrap();
    drop(file);
    assert_eq!(disk.read("file").unwrap().unwrap(), b"flushed");

    disk.replace("whole", b"old").unwrap();
    // A replacement that did not get to its end.
    std::fs::write(disk.path("whole.draft"), b"ne").unwrap();
    assert_eq!(disk.read("whole").unwrap().unwrap(), b"old");
    disk.replace("whole", b"new").unwrap();
    assert_eq!(disk.read("whole").unwrap().unwrap(), b"new");
    disk.cut();
    disk.replace("whole", b"newest").unwrap_err();
    assert_eq!(disk.read("whole").unwrap().unwrap(), b"new");
}
