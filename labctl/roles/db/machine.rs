//! The replicated store in memory, and its snapshots on disk. It applies what raft has decided and knows nothing of how
//! that came about.

use std::io::{self, Cursor};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, EmptyNode, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::directory::RaftId;
use super::disk::Disk;
use super::protocol::TypeConfig;
use crate::conversation::{ConversationId, Outcome, Store, Transcript};

/// The file.
pub(super) const SNAPSHOT: &str = "snapshot";
/// How a snapshot begins, on disk and between members.
const MAGIC: &[u8; 8] = b"labctl/s";
/// Version of what follows: of the format itself, then a checksum of all that comes after it. The first had no checksum.
const FORMAT: u32 = 2;
const FORMAT_BYTES: usize = 4;
const CHECK_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + FORMAT_BYTES + CHECK_BYTES;

type Membership = StoredMembership<RaftId, EmptyNode>;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("read the snapshot {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("write the snapshot {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file does not hold what this program wrote.
    #[error("the snapshot {path} is damaged")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<SnapshotError>,
    },
    /// The file is of another version of this program.
    #[error(
        "the snapshot {path} has format {found}, and this labctl reads format {FORMAT} only; the labctl that wrote it reads it"
    )]
    OtherFormat {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Another version of this program wrote it.
    #[error("it has format {0}")]
    Format(u32),
    /// The bytes do not begin like a snapshot.
    #[error("it is none")]
    Strange,
    /// Some bytes are not what they were.
    #[error("its checksum is wrong")]
    Checksum,
    /// The log has less than it should.
    #[error("it has {found}, and the log begins after entry {purged}", found = found.map_or("nothing".to_owned(), |found| format!("entries up to {found}")))]
    Behind {
        /// The last entry in it.
        found: Option<u64>,
        /// The last entry that the log has let go.
        purged: u64,
    },
    /// It is not the one that was announced.
    #[error("the snapshot ends elsewhere than was announced")]
    Other,
    /// Entries are missing before this one, and applying it would make another store than the others have.
    #[error("entry {next} follows entry {}", last.map_or("none".to_owned(), |last| last.to_string()))]
    Hole {
        /// The last entry that was applied.
        last: Option<u64>,
        /// The next one.
        next: u64,
    },
    /// The bytes make no sense.
    #[error("understand a snapshot")]
    Codec(#[from] postcard::Error),
    /// The task that did the work was stopped.
    #[error("the work on a snapshot was stopped")]
    Stopped,
}

impl SnapshotError {
    /// Whether this disk will never do again, so that there is but one way on.
    pub(super) fn is_for_good(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::OtherFormat { .. })
    }

    fn of_file(self, path: PathBuf) -> Self {
        match self {
            Self::Format(found) => Self::OtherFormat { path, found },
            other => Self::Damaged { path, source: Box::new(other) },
        }
    }
}

/// The store and how far it has come.
#[derive(Clone, Debug, Default)]
struct State {
    applied: Option<LogId<RaftId>>,
    membership: Membership,
    store: Store,
}

/// A snapshot as bytes, to write.
#[derive(Serialize)]
struct Body<'a> {
    applied: Option<LogId<RaftId>>,
    membership: &'a Membership,
    conversations: Vec<(&'a ConversationId, &'a Transcript)>,
}

/// A snapshot as bytes, to read.
#[derive(Deserialize)]
struct OwnedBody {
    applied: Option<LogId<RaftId>>,
    membership: Membership,
    conversations: Vec<(ConversationId, Transcript)>,
}

impl State {
    /// The format comes first and by itself, so that a reader can refuse what it does not know.
    fn to_bytes(&self) -> Result<Vec<u8>, SnapshotError> {
        let body = Body {
            applied: self.applied,
            membership: &self.membership,
            conversations: self.store.iter().collect(),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_be_bytes());
        bytes.extend([0; CHECK_BYTES]);
        let mut bytes = postcard::to_extend(&body, bytes)?;
        let check = Sha256::digest(&bytes[HEAD_BYTES..]);
        bytes[HEAD_BYTES - CHECK_BYTES..HEAD_BYTES].copy_from_slice(&check);
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Strange)?;
        let (format, rest) = rest.split_first_chunk::<FORMAT_BYTES>().ok_or(SnapshotError::Strange)?;
        match u32::from_be_bytes(*format) {
            FORMAT => {}
            other => return Err(SnapshotError::Format(other)),
        }
        let (check, body) = rest.split_first_chunk::<CHECK_BYTES>().ok_or(SnapshotError::Strange)?;
        if Sha256::digest(body).as_slice() != check {
            return Err(SnapshotError::Checksum);
        }
        let body: OwnedBody = postcard::from_bytes(body)?;
        let store = Store::from_conversations(body.conversations);
        Ok(Self { applied: body.applied, membership: body.membership, store })
    }

    fn meta(&self) -> SnapshotMeta<RaftId, EmptyNode> {
        let snapshot_id = self.applied.map_or_else(|| "empty".to_owned(), |id| id.to_string());
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone(), snapshot_id }
    }

    fn apply(&mut self, entry: Entry<TypeConfig>) -> Result<Vec<Outcome>, SnapshotError> {
        let (last, next) = (self.applied.map(|applied| applied.index), entry.log_id.index);
        if last.map_or(0, |last| last + 1) != next {
            return Err(SnapshotError::Hole { last, next });
        }
        self.applied = Some(entry.log_id);
        Ok(match entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Vec::new()
            }
            EntryPayload::Normal(commands) => {
                commands.into_iter().map(|command| self.store.apply(command)).collect()
            }
        })
    }
}

/// The state machine of one member. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    state: Arc<Mutex<State>>,
    file: Arc<SnapshotFile>,
}

impl Machine {
    /// The machine as its last snapshot left it; raft then applies what the log has beyond that. What the log has let go
    /// must be in the snapshot, or it is nowhere.
    pub(super) fn open(disk: &Disk, purged: Option<LogId<RaftId>>) -> Result<Self, SnapshotError> {
        let file =
            SnapshotFile { disk: disk.clone(), newest: Mutex::default(), saved: watch::Sender::default() };
        let of_file = |error: SnapshotError| error.of_file(file.path());
        let state = match file.read()? {
            Some(bytes) => State::from_bytes(&bytes).map_err(of_file)?,
            None => State::default(),
        };
        if let Some(purged) = purged
            && state.applied < Some(purged)
        {
            let found = state.applied.map(|applied| applied.index);
            return Err(of_file(SnapshotError::Behind { found, purged: purged.index }));
        }
        *lock(&file.newest) = state.applied;
        file.saved.send_replace(Saved { upto: state.applied, failed: false });
        Ok(Self { state: Arc::new(Mutex::new(state)), file: Arc::new(file) })
    }

    /// What snapshots are on the disk, now and later.
    pub(super) fn saved(&self) -> watch::Receiver<Saved> {
        self.file.saved.subscribe()
    }

    /// One conversation as far as this member has come.
    pub(super) fn transcript(&self, id: &ConversationId) -> Option<Arc<Transcript>> {
        lock(&self.state).store.get(id).cloned()
    }
}

/// What is safe on the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved {
    /// The last entry in the newest snapshot.
    pub upto: Option<LogId<RaftId>>,
    /// A snapshot could not be written: there will be no newer one.
    pub failed: bool,
}

/// The newest snapshot on disk.
#[derive(Debug)]
struct SnapshotFile {
    disk: Disk,
    /// What the file holds. Locked while it is replaced, so that of two snapshots the newer one stays.
    newest: Mutex<Option<LogId<RaftId>>>,
    saved: watch::Sender<Saved>,
}

impl SnapshotFile {
    fn path(&self) -> PathBuf {
        self.disk.path(SNAPSHOT)
    }

    fn read(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        self.disk.read(SNAPSHOT).map_err(|source| SnapshotError::Read { path: self.path(), source })
    }

    fn replace(&self, applied: Option<LogId<RaftId>>, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut newest = lock(&self.newest);
        if *newest > applied {
            return Ok(());
        }
        let failed = |source| SnapshotError::Write { path: self.path(), source };
        self.disk.replace(SNAPSHOT, bytes).map_err(failed)?;
        *newest = applied;
        self.saved.send_modify(|saved| saved.upto = applied);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: SnapshotError) -> StorageError<RaftId> {
    StorageIOError::write_snapshot(None, AnyError::new(&error)).into()
}

/// Encoding and flushing a large store takes longer than a heartbeat may wait.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, StorageError<RaftId>> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(SnapshotError::Stopped)).map_err(failed)
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<RaftId>> {
        // Transcripts are shared, so the copy is a list of pointers and the store goes on meanwhile.
        let state = lock(&self.state).clone();
        let file = self.file.clone();
        aside(move || {
            let bytes = state.to_bytes()?;
            file.replace(state.applied, &bytes)?;
            Ok(Snapshot { meta: state.meta(), snapshot: Box::new(Cursor::new(bytes)) })
        })
        .await
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<RaftId>>, Membership), StorageError<RaftId>> {
        let state = lock(&self.state);
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError<RaftId>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = lock(&self.state);
        let applied: Result<_, _> = entries.into_iter().map(|entry| state.apply(entry)).collect();
        applied.map_err(|error| StorageIOError::write_state_machine(AnyError::new(&error)).into())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<RaftId>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<RaftId, EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<RaftId>> {
        let (file, announced) = (self.file.clone(), meta.last_log_id);
        let installed = aside(move || {
            let bytes = snapshot.into_inner();
            let state = State::from_bytes(&bytes)?;
            if state.applied != announced {
                return Err(SnapshotError::Other);
            }
            file.replace(state.applied, &bytes)?;
            Ok(state)
        })
        .await;
        // Whoever waits for this snapshot would wait for ever.
        let installed =
            installed.inspect_err(|_| self.file.saved.send_modify(|saved| saved.failed = true))?;
        *lock(&self.state) = installed;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError<RaftId>> {
        let file = self.file.clone();
        aside(move || {
            let Some(bytes) = file.read()? else { return Ok(None) };
            let meta = State::from_bytes(&bytes)?.meta();
            Ok(Some(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
        })
        .await
    }
}
