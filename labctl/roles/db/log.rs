//! The raft log, the vote and the member's identity on disk, in one redb file. One thread writes: it takes all changes
//! that wait, puts them into one transaction and flushes the disk once. It knows nothing of conversations.

use std::fmt::Debug;
use std::io::ErrorKind;
use std::ops::{Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, Entry, LogId, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::directory::RaftId;
use super::protocol::{ClusterId, TypeConfig};

/// Entries by index.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Everything else by name.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Version of what the tables hold. A file of another version is refused, never guessed at.
pub(super) const FORMAT: u32 = 1;
/// Memory that redb may use to keep pages; the log is short, and a node should be small.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of entries in one message to another member: far below a frame, and sent, flushed and acknowledged well
/// within the time of one heartbeat, which is all that raft gives it. The desk makes no entry that long.
pub(super) const APPEND_BYTES_MAX: usize = 512 * 1024;
/// Most changes that wait for the disk. Raft waits for each, so the queue never holds more than a few.
const QUEUE_MAX: usize = 64;

/// What helps when a disk cannot be used any more: a majority of the others has all that was ever acknowledged. It is
/// left to people, who know whether the others are well; a database alone has nobody to get anything from.
pub(super) const WAY_OUT: &str = "remove its folder while the other databases run, and this one rejoins them";

/// Who a member is. Written once on an empty disk and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its identifier in there.
    pub id: RaftId,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder cannot be made.
    #[error("make the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be opened.
    #[error("open the raft log {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: redb::Error,
    },
    /// The file is of another version of this program.
    #[error(
        "the raft log {path} has format {found}, this program reads {FORMAT}; use the version that wrote it, or {WAY_OUT}"
    )]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file does not hold what this program wrote.
    #[error("the raft log {path} is damaged; {WAY_OUT}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk or the file failed.
    #[error("use the raft log")]
    Storage(#[source] redb::Error),
    /// A value cannot be read or written.
    #[error("understand a value in the raft log")]
    Codec(#[from] postcard::Error),
    /// The writer could not do it; it said why once.
    #[error("write the raft log: {0}")]
    Write(String),
    /// The writing thread cannot be started or has ended.
    #[error("the writer of the raft log is gone")]
    WriterGone,
}

macro_rules! from_redb {
    ($($type:ident),*) => {
        $(impl From<redb::$type> for LogError {
            fn from(error: redb::$type) -> Self {
                Self::Storage(error.into())
            }
        })*
    };
}
from_redb!(TransactionError, TableError, StorageError, CommitError);

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
}

impl Log {
    /// Opens the log in a folder, or begins it there.
    pub(super) fn open(folder: &Path) -> Result<Self, LogError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| LogError::Folder { path: folder.to_owned(), source })?;
        let path = folder.join("raft.redb");
        let file = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            // Without it the file is believed, and a damaged page ends the daemon in the midst of its work.
            .set_check_integrity_on_open(true)
            .create(&path)
            .map_err(|error| blame(&path, LogError::Storage(error.into())))?;
        check_format(&file, &path)?;
        let file = Arc::new(file);
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        let written = file.clone();
        thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || write_until_closed(&written, waiting))
            .map_err(|_| LogError::WriterGone)?;
        let log = Self { file, jobs };
        log.check().map_err(|error| blame(&path, error))?;
        Ok(log)
    }

    /// Reads what raft will want first.
    fn check(&self) -> Result<(), LogError> {
        self.identity()?;
        self.vote()?;
        self.state()?;
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
        let mut entries = Vec::new();
        for row in table.range(range)? {
            entries.push(postcard::from_bytes(row?.1.value())?);
        }
        Ok(entries)
    }

    /// The first of these entries, as many as fit into one message, but one at least.
    fn first_entries(&self, range: Range<u64>) -> Result<Vec<Entry<TypeConfig>>, LogError> {
        let table = self.file.begin_read()?.open_table(LOG)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for row in table.range(range)? {
            let row = row?.1;
            bytes += row.value().len();
            if bytes > APPEND_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(postcard::from_bytes(row.value())?);
        }
        Ok(entries)
    }

    fn state(&self) -> Result<LogState<TypeConfig>, LogError> {
        let purged: Option<LogId<RaftId>> = self.meta("purged")?;
        let table = self.file.begin_read()?.open_table(LOG)?;
        let last = table.last()?;
        let last: Option<Entry<TypeConfig>> =
            last.map(|(_, entry)| postcard::from_bytes(entry.value())).transpose()?;
        let last_log_id = last.map(|entry| entry.log_id).or(purged);
        Ok(LogState { last_purged_log_id: purged, last_log_id })
    }
}

/// Tells a file that holds nonsense from one that cannot be had, as when the disk is full: only the first is given up.
fn blame(path: &Path, error: LogError) -> LogError {
    use redb::Error::{
        Corrupted, Io, RepairAborted, TableTypeMismatch, TypeDefinitionChanged, UpgradeRequired,
    };
    let nonsense = match &error {
        LogError::Codec(_) => true,
        LogError::Storage(Io(error)) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        LogError::Storage(
            Corrupted(_)
            | RepairAborted
            | UpgradeRequired(_)
            | TableTypeMismatch { .. }
            | TypeDefinitionChanged { .. },
        ) => true,
        _ => false,
    };
    match error {
        LogError::Storage(source) if nonsense => {
            LogError::Damaged { path: path.to_owned(), source: source.into() }
        }
        error if nonsense => LogError::Damaged { path: path.to_owned(), source: error.into() },
        LogError::Storage(source) => LogError::Open { path: path.to_owned(), source },
        error => error,
    }
}

fn check_format(file: &Database, path: &Path) -> Result<(), LogError> {
    match format_of(file).map_err(|error| blame(path, error))? {
        FORMAT => Ok(()),
        found => Err(LogError::Format { path: path.to_owned(), found }),
    }
}

/// The format of a file; a new file gets ours.
fn format_of(file: &Database) -> Result<u32, LogError> {
    let transaction = file.begin_write()?;
    {
        transaction.open_table(LOG)?;
        let mut meta = transaction.open_table(META)?;
        let found: Option<u32> =
            meta.get("format")?.map(|value| postcard::from_bytes(value.value())).transpose()?;
        match found {
            Some(found) => return Ok(found),
            None => meta.insert("format", postcard::to_stdvec(&FORMAT)?.as_slice())?,
        };
    }
    transaction.commit()?;
    Ok(FORMAT)
}

fn write_until_closed(file: &Database, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(QUEUE_MAX);
    while waiting.blocking_recv_many(&mut jobs, QUEUE_MAX) > 0 {
        let result = write_all(file, &jobs).map_err(|error| match error {
            LogError::Storage(error) => error.to_string(),
            other => other.to_string(),
        });
        for job in jobs.drain(..) {
            // Whoever does not wait any more has ended, which is no concern of the disk.
            let _ = job.done.send(result.clone());
        }
    }
}

/// One transaction, one flush (redb's default durability).
fn write_all(file: &Database, jobs: &[Job]) -> Result<(), LogError> {
    let transaction = file.begin_write()?;
    {
        let mut log = transaction.open_table(LOG)?;
        let mut meta = transaction.open_table(META)?;
        for job in jobs {
            match &job.change {
                Change::Append(entries) => {
                    for (index, entry) in entries {
                        log.insert(index, entry.as_slice())?;
                    }
                }
                Change::Truncate { from } => log.retain_in(*from.., |_, _| false)?,
                Change::Purge { upto, purged } => {
                    meta.insert("purged", purged.as_slice())?;
                    log.retain_in(..=*upto, |_, _| false)?;
                }
                Change::Meta { name, value } => {
                    meta.insert(*name, value.as_slice())?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
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
        let purged = postcard::to_stdvec(&upto).map_err(|error| write_failed(error.into()))?;
        self.write(Change::Purge { upto: upto.index, purged }).await.map_err(write_failed)
    }
}
