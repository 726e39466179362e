//! The replicated store in memory, and its snapshots on disk. It applies what raft has decided and knows nothing of how
//! that came about.

use std::fs::File;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, EmptyNode, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};

use super::directory::RaftId;
use super::log::WAY_OUT;
use super::protocol::TypeConfig;
use crate::conversation::{ConversationId, Outcome, Store, Transcript};

/// Version of a snapshot's bytes, on disk and between members.
const FORMAT: u32 = 1;

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
    /// The file does not hold what this version of the program writes.
    #[error("the snapshot {path} is damaged or of another version; {WAY_OUT}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<SnapshotError>,
    },
    /// Another version of this program wrote it.
    #[error("the snapshot has format {0}, this program reads {FORMAT}")]
    Format(u32),
    /// The bytes make no sense.
    #[error("understand a snapshot")]
    Codec(#[from] postcard::Error),
    /// The task that did the work was stopped.
    #[error("the work on a snapshot was stopped")]
    Stopped,
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
        Ok(postcard::to_extend(&body, postcard::to_stdvec(&FORMAT)?)?)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (format, body) = postcard::take_from_bytes::<u32>(bytes)?;
        if format != FORMAT {
            return Err(SnapshotError::Format(format));
        }
        let body: OwnedBody = postcard::from_bytes(body)?;
        let store = Store::from_conversations(body.conversations);
        Ok(Self { applied: body.applied, membership: body.membership, store })
    }

    fn meta(&self) -> SnapshotMeta<RaftId, EmptyNode> {
        let snapshot_id = self.applied.map_or_else(|| "empty".to_owned(), |id| id.to_string());
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone(), snapshot_id }
    }

    fn apply(&mut self, entry: Entry<TypeConfig>) -> Vec<Outcome> {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Vec::new()
            }
            EntryPayload::Normal(commands) => {
                commands.into_iter().map(|command| self.store.apply(command)).collect()
            }
        }
    }
}

/// The state machine of one member. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    state: Arc<Mutex<State>>,
    file: Arc<SnapshotFile>,
}

impl Machine {
    /// The machine as its last snapshot left it; raft then applies what the log has beyond that.
    pub(super) fn open(folder: &Path) -> Result<Self, SnapshotError> {
        let file = SnapshotFile { path: folder.join("snapshot"), newest: Mutex::default() };
        let state = match file.read()? {
            Some(bytes) => State::from_bytes(&bytes).map_err(|error| SnapshotError::Unusable {
                path: file.path.clone(),
                source: Box::new(error),
            })?,
            None => State::default(),
        };
        *lock(&file.newest) = state.applied;
        Ok(Self { state: Arc::new(Mutex::new(state)), file: Arc::new(file) })
    }

    /// One conversation as far as this member has come.
    pub(super) fn transcript(&self, id: &ConversationId) -> Option<Arc<Transcript>> {
        lock(&self.state).store.get(id).cloned()
    }
}

/// The newest snapshot on disk.
#[derive(Debug)]
struct SnapshotFile {
    path: PathBuf,
    /// What the file holds. Locked while it is replaced, so that of two snapshots the newer one stays.
    newest: Mutex<Option<LogId<RaftId>>>,
}

impl SnapshotFile {
    fn read(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SnapshotError::Read { path: self.path.clone(), source }),
        }
    }

    /// Replaces the file at once and for good: whatever happens, one whole snapshot is there.
    fn replace(&self, applied: Option<LogId<RaftId>>, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut newest = lock(&self.newest);
        if *newest > applied {
            return Ok(());
        }
        let failed = |source| SnapshotError::Write { path: self.path.clone(), source };
        let draft = self.path.with_extension("draft");
        let mut file = File::create(&draft).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&draft, &self.path).map_err(failed)?;
        if let Some(folder) = self.path.parent() {
            // The new name is only safe once the folder is.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        *newest = applied;
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
        Ok(entries.into_iter().map(|entry| state.apply(entry)).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<RaftId>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<RaftId, EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<RaftId>> {
        let file = self.file.clone();
        let installed = aside(move || {
            let bytes = snapshot.into_inner();
            let state = State::from_bytes(&bytes)?;
            file.replace(state.applied, &bytes)?;
            Ok(state)
        })
        .await?;
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
