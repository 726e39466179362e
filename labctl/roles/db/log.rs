//! The raft log, the vote and the member's identity on disk, in one redb file, and beside it the tip of the log. One thread
//! writes: it takes all changes that wait, puts them into one transaction and flushes each file once. It knows nothing of
//! conversations.

use std::fmt::Debug;
use std::ops::{Range, RangeBounds};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, Entry, LogId, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::directory::RaftId;
use super::disk::Disk;
pub use super::log_error::LogError;
use super::log_error::{Damage, blame};
use super::machine::{SNAPSHOT, Saved};
use super::protocol::{ClusterId, TypeConfig};
use super::tip::Tip;

/// Entries by index.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Everything else by name.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Version of what the tables hold. A file of another version is refused, never guessed at. The first had no tip.
pub(super) const FORMAT: u32 = 2;
/// The file of the tables.
pub(super) const LOG_FILE: &str = "raft.redb";
/// The file of the tip.
pub(super) const TIP_FILE: &str = "raft.tip";
/// The name of the number of changes.
const CHANGES: &str = "changes";
/// Memory that redb may use to keep pages; the log is short, and a node should be small.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of entries in one message to another member: far below a frame, and sent, flushed and acknowledged well
/// within the time of one heartbeat, which is all that raft gives it. The desk makes no entry that long.
pub(super) const APPEND_BYTES_MAX: usize = 512 * 1024;
/// Most changes that wait for the disk. Raft waits for each, so the queue never holds more than a few.
const QUEUE_MAX: usize = 64;

/// Who a member is. Written once on an empty disk and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its identifier in there.
    pub id: RaftId,
}

/// Where the files are, to name them.
#[derive(Debug)]
pub(super) struct Paths {
    /// The tables.
    pub log: PathBuf,
    /// The tip.
    pub tip: PathBuf,
}

/// One change to the file.
enum Change {
    Append(Vec<(u64, Vec<u8>)>),
    Truncate { from: u64 },
    Purge { upto: u64, purged: Vec<u8> },
    Meta { name: &'static str, value: Vec<u8> },
}

/// A change, and who waits for it to be on disk.
struct Job {
    change: Change,
    done: oneshot::Sender<Result<(), String>>,
}

/// The log of one member. Cheap to clone; the writer ends when the last clone is gone.
#[derive(Clone, Debug)]
pub(super) struct Log {
    file: Arc<Database>,
    jobs: mpsc::Sender<Job>,
    /// Bytes of all entries.
    bytes: Arc<AtomicU64>,
    /// What snapshots are on the disk.
    saved: Option<watch::Receiver<Saved>>,
}

impl Log {
    /// Opens the log of a disk, or begins it there.
    pub(super) fn open(disk: &Disk) -> Result<Self, LogError> {
        let open = |name: &str| {
            disk.open(name).map_err(|source| LogError::Open { path: disk.path(name), source: source.into() })
        };
        disk.prepare().map_err(|source| LogError::Folder { path: disk.folder().to_owned(), source })?;
        let paths = Paths { log: disk.path(LOG_FILE), tip: disk.path(TIP_FILE) };
        // What only a disk has that was written before.
        let traces = [SNAPSHOT].into_iter().filter(|name| disk.has(name)).map(|name| disk.path(name));
        Self::on(|| open(LOG_FILE), open(TIP_FILE)?, &paths, traces.collect())
    }

    /// The same on any two files. With one of the traces, the log cannot be a new one.
    pub(super) fn on<B: StorageBackend>(
        open: impl Fn() -> Result<B, LogError>,
        tip: B,
        paths: &Paths,
        mut traces: Vec<PathBuf>,
    ) -> Result<Self, LogError> {
        let mut file = create(open()?).map_err(|error| blame(&paths.log, error));
        // Whoever has the log open has the tip, too, and may have written it until now.
        let tip = Tip::new(tip);
        let unread =
            |source: std::io::Error| LogError::Open { path: paths.tip.clone(), source: source.into() };
        let promised = tip.read().map_err(unread)?;
        if promised.is_some() {
            traces.push(paths.tip.clone());
        }
        if matches!(file, Err(LogError::Damaged { .. })) && traces.is_empty() {
            // The power failed before the file was complete, and nobody was promised anything.
            let anew = open()?;
            let emptied = anew.set_len(0).and_then(|()| anew.sync_data());
            emptied.map_err(|error| LogError::Storage(error.into()))?;
            file = create(anew).map_err(|error| blame(&paths.log, error));
        }
        let file = file?;
        let found = begin(&file, &paths.log, &traces)?;
        match promised {
            // The last change may be on the disk although its author did not live to hear of it.
            Some(promised) if found == promised || found == promised + 1 => {}
            None if found <= 1 => {}
            Some(promised) if found < promised => {
                return Err(LogError::damaged(paths.log.clone(), Damage::Behind { found, promised }));
            }
            said => return Err(LogError::damaged(paths.tip.clone(), Damage::Tip { found, said })),
        }
        // From now on raft may promise what is there.
        tip.write(found).map_err(unread)?;
        let bytes = Arc::new(AtomicU64::new(0));
        let file = Arc::new(file);
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        let log = Self { file: file.clone(), jobs, bytes: bytes.clone(), saved: None };
        log.check().map_err(|error| blame(&paths.log, error))?;
        thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || Writer { file, tip, changes: found, bytes }.write_until_closed(waiting))
            .map_err(|_| LogError::WriterGone)?;
        Ok(log)
    }

    /// Lets entries go only when a snapshot on the disk has them. Raft does not wait for that when it is given a snapshot,
    /// and a loss of power in between would leave neither.
    pub(super) fn behind(self, saved: watch::Receiver<Saved>) -> Self {
        Self { saved: Some(saved), ..self }
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The last entry before the newest ones that have this many bytes together.
    pub(super) fn last_before(&self, bytes: u64) -> Result<Option<u64>, LogError> {
        let table = self.file.begin_read()?.open_table(LOG)?;
        let mut sum = 0;
        for row in table.iter()?.rev() {
            let (index, entry) = row?;
            sum += entry.value().len() as u64;
            if sum > bytes {
                return Ok(Some(index.value()));
            }
        }
        Ok(None)
    }

    /// The last entry that is gone because a snapshot has it.
    pub(super) fn purged(&self) -> Result<Option<LogId<RaftId>>, LogError> {
        self.meta("purged")
    }

    /// Reads what raft will want first.
    fn check(&self) -> Result<(), LogError> {
        self.identity()?;
        self.vote()?;
        self.state()?;
        let table = self.file.begin_read()?.open_table(LOG)?;
        let mut next = self.purged()?.map(|purged| purged.index + 1);
        let mut bytes = 0;
        for row in table.iter()? {
            let (index, entry) = row?;
            next = Some(follow(next, index.value())?);
            bytes += entry.value().len() as u64;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Who this member is, if it is one.
    pub(super) fn identity(&self) -> Result<Option<Identity>, LogError> {
        self.meta("identity")
    }

    /// Makes this disk that of a member, for good.
    pub(super) async fn adopt(&self, identity: Identity) -> Result<(), LogError> {
        let value = postcard::to_stdvec(&identity)?;
        self.write(Change::Meta { name: "identity", value }).await
    }

    fn vote(&self) -> Result<Option<Vote<RaftId>>, LogError> {
        self.meta("vote")
    }

    fn meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, LogError> {
        let table = self.file.begin_read()?.open_table(META)?;
        let value = table.get(name)?;
        Ok(value.map(|value| postcard::from_bytes(value.value())).transpose()?)
    }

    /// Returns once the change is on disk.
    async fn write(&self, change: Change) -> Result<(), LogError> {
        let (done, written) = oneshot::channel();
        self.jobs.send(Job { change, done }).await.map_err(|_| LogError::WriterGone)?;
        written.await.map_err(|_| LogError::WriterGone)?.map_err(LogError::Write)
    }

    /// Adds entries. Returns once they are on disk.
    pub(super) async fn keep(&self, entries: Vec<Entry<TypeConfig>>) -> Result<(), LogError> {
        let encode = |entry: Entry<TypeConfig>| Ok((entry.log_id.index, postcard::to_stdvec(&entry)?));
        let encoded: Result<Vec<_>, postcard::Error> = entries.into_iter().map(encode).collect();
        self.write(Change::Append(encoded?)).await
    }

    fn entries<R: RangeBounds<u64>>(&self, range: R) -> Result<Vec<Entry<TypeConfig>>, LogError> {
        let table = self.file.begin_read()?.open_table(LOG)?;
        let (mut entries, mut next) = (Vec::new(), None);
        for row in table.range(range)? {
            let (index, entry) = row?;
            next = Some(follow(next, index.value())?);
            entries.push(postcard::from_bytes(entry.value())?);
        }
        Ok(entries)
    }

    /// The first of these entries, as many as fit into one message, but one at least.
    fn first_entries(&self, range: Range<u64>) -> Result<Vec<Entry<TypeConfig>>, LogError> {
        let table = self.file.begin_read()?.open_table(LOG)?;
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, Some(range.start));
        for row in table.range(range.clone())? {
            let (index, row) = row?;
            next = Some(follow(next, index.value())?);
            bytes += row.value().len();
            if bytes > APPEND_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(postcard::from_bytes(row.value())?);
        }
        if entries.is_empty() {
            return Err(LogError::Hole { wanted: range.start, found: range.end });
        }
        Ok(entries)
    }

    fn state(&self) -> Result<LogState<TypeConfig>, LogError> {
        let purged = self.purged()?;
        let table = self.file.begin_read()?.open_table(LOG)?;
        let last = table.last()?;
        let last: Option<Entry<TypeConfig>> =
            last.map(|(_, entry)| postcard::from_bytes(entry.value())).transpose()?;
        let last_log_id = last.map(|entry| entry.log_id).or(purged);
        Ok(LogState { last_purged_log_id: purged, last_log_id })
    }
}

/// The index after this one, if this is the one that should come next.
fn follow(next: Option<u64>, found: u64) -> Result<u64, LogError> {
    match next {
        Some(wanted) if wanted != found => Err(LogError::Hole { wanted, found }),
        _ => Ok(found + 1),
    }
}

fn create<B: StorageBackend>(file: B) -> Result<Database, LogError> {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // Without it the file is believed, and a damaged page ends the daemon in the midst of its work.
    builder.set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(file)?)
}

/// Checks the format of a file, and returns how many changes it has taken. A new file gets our format, which is the first.
fn begin(file: &Database, path: &std::path::Path, traces: &[PathBuf]) -> Result<u64, LogError> {
    let failed = |error: LogError| blame(path, error);
    let found = format_and_changes(file).map_err(failed)?;
    match (found, traces.first()) {
        (Some((FORMAT, changes)), _) => Ok(changes),
        (Some((found, _)), _) => Err(LogError::Format { path: path.to_owned(), found }),
        (None, Some(trace)) => Err(LogError::damaged(path.to_owned(), Damage::Gone(trace.clone()))),
        (None, None) => {
            let first = |file: &Database| -> Result<bool, LogError> {
                let transaction = file.begin_write()?;
                let empty = {
                    let mut meta = transaction.open_table(META)?;
                    meta.insert("format", postcard::to_stdvec(&FORMAT)?.as_slice())?;
                    meta.insert(CHANGES, postcard::to_stdvec(&1_u64)?.as_slice())?;
                    transaction.open_table(LOG)?.first()?.is_none() && meta.len()? == 2
                };
                if empty {
                    transaction.commit()?;
                }
                Ok(empty)
            };
            match first(file).map_err(failed)? {
                true => Ok(1),
                false => Err(LogError::damaged(path.to_owned(), Damage::NoFormat)),
            }
        }
    }
}

/// What a file says of itself; nothing if it is new.
fn format_and_changes(file: &Database) -> Result<Option<(u32, u64)>, LogError> {
    let meta = match file.begin_read()?.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(format) = meta.get("format")? else { return Ok(None) };
    let changes = meta.get(CHANGES)?.map(|value| postcard::from_bytes(value.value())).transpose()?;
    Ok(Some((postcard::from_bytes(format.value())?, changes.unwrap_or(0))))
}

/// The one that writes.
struct Writer<B> {
    file: Arc<Database>,
    tip: Tip<B>,
    changes: u64,
    bytes: Arc<AtomicU64>,
}

impl<B: StorageBackend> Writer<B> {
    fn write_until_closed(mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(QUEUE_MAX);
        while waiting.blocking_recv_many(&mut jobs, QUEUE_MAX) > 0 {
            let result = self.write_all(&jobs).map_err(|error| match error {
                LogError::Storage(error) => error.to_string(),
                other => other.to_string(),
            });
            for job in jobs.drain(..) {
                // Whoever does not wait any more has ended, which is no concern of the disk.
                let _ = job.done.send(result.clone());
            }
        }
    }

    /// One transaction, flushed (redb's default durability), then the tip.
    fn write_all(&mut self, jobs: &[Job]) -> Result<(), LogError> {
        let changes = self.changes + 1;
        let mut bytes = self.bytes.load(Ordering::Relaxed);
        let transaction = self.file.begin_write()?;
        {
            let mut log = transaction.open_table(LOG)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(CHANGES, postcard::to_stdvec(&changes)?.as_slice())?;
            for job in jobs {
                match &job.change {
                    Change::Append(entries) => {
                        for (index, entry) in entries {
                            if let Some((last, _)) = log.last()?
                                && *index > last.value() + 1
                            {
                                return Err(LogError::Hole { wanted: last.value() + 1, found: *index });
                            }
                            let before = log.insert(index, entry.as_slice())?;
                            let before = before.map_or(0, |before| before.value().len());
                            bytes += entry.len() as u64;
                            bytes -= before as u64;
                        }
                    }
                    Change::Truncate { from } => log.retain_in(*from.., |_, entry| {
                        bytes -= entry.len() as u64;
                        false
                    })?,
                    Change::Purge { upto, purged } => {
                        meta.insert("purged", purged.as_slice())?;
                        log.retain_in(..=*upto, |_, entry| {
                            bytes -= entry.len() as u64;
                            false
                        })?;
                    }
                    Change::Meta { name, value } => {
                        meta.insert(*name, value.as_slice())?;
                    }
                }
            }
        }
        transaction.commit()?;
        self.tip.write(changes).map_err(|error| LogError::Storage(error.into()))?;
        self.changes = changes;
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn read_failed(error: LogError) -> StorageError<RaftId> {
    StorageIOError::read_logs(AnyError::new(&error)).into()
}

fn write_failed(error: LogError) -> StorageError<RaftId> {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

// Reads go straight to the file: its pages are in memory, and a read never waits for the writer.
impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<R>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError<RaftId>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries(range).map_err(read_failed)
    }

    /// What is sent to another member at once.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError<RaftId>> {
        self.first_entries(start..end).map_err(read_failed)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError<RaftId>> {
        self.state().map_err(read_failed)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<RaftId>) -> Result<(), StorageError<RaftId>> {
        let value = postcard::to_stdvec(vote).map_err(|error| write_failed(error.into()))?;
        self.write(Change::Meta { name: "vote", value }).await.map_err(write_failed)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<RaftId>>, StorageError<RaftId>> {
        self.vote().map_err(read_failed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        flushed: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError<RaftId>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // Entries must be readable on return, and reads see only what is written; raft waits for the flush anyway.
        self.keep(entries.into_iter().collect()).await.map_err(write_failed)?;
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<RaftId>) -> Result<(), StorageError<RaftId>> {
        self.write(Change::Truncate { from: from.index }).await.map_err(write_failed)
    }

    async fn purge(&mut self, upto: LogId<RaftId>) -> Result<(), StorageError<RaftId>> {
        if let Some(saved) = &mut self.saved {
            let there = saved.wait_for(|saved| saved.failed || saved.upto >= Some(upto)).await;
            if !there.is_ok_and(|saved| !saved.failed) {
                return Err(write_failed(LogError::NoSnapshot(upto.index)));
            }
        }
        let purged = postcard::to_stdvec(&upto).map_err(|error| write_failed(error.into()))?;
        self.write(Change::Purge { upto: upto.index, purged }).await.map_err(write_failed)
    }
}
