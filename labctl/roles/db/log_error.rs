//! Why a raft log cannot be used, and whether it ever will be. It knows what redb says, not what the log holds.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::log::FORMAT;

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
    /// A file cannot be opened.
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
        "the raft log {path} has format {found}, and this labctl reads format {FORMAT} only; the labctl that wrote it reads it"
    )]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file does not hold what this program wrote.
    #[error("the raft log {path} is damaged")]
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
    /// Entries may go only when a snapshot has them.
    #[error("let entries up to {0} go, which no snapshot has")]
    NoSnapshot(u64),
    /// Entries that should be there are not.
    #[error("entry {wanted} is missing from the raft log, which goes on with {found}")]
    Hole {
        /// The first that is missing.
        wanted: u64,
        /// The next that is there.
        found: u64,
    },
    /// The writing thread cannot be started or has ended.
    #[error("the writer of the raft log is gone")]
    WriterGone,
}

/// What is wrong with a log that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is empty, but {0} has been written")]
    Gone(PathBuf),
    #[error("it has {found} changes, and {promised} were promised")]
    Behind { found: u64, promised: u64 },
    #[error("the log has {found} changes, and it says {}", said.map_or("nothing".to_owned(), |said| said.to_string()))]
    Tip { found: u64, said: Option<u64> },
    #[error("it has entries, and no format")]
    NoFormat,
}

impl LogError {
    /// Whether this disk will never do again, so that there is but one way on.
    pub(super) fn is_for_good(&self) -> bool {
        matches!(self, Self::Format { .. } | Self::Damaged { .. })
    }

    pub(super) fn damaged(path: PathBuf, damage: Damage) -> Self {
        Self::Damaged { path, source: damage.into() }
    }
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
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// Tells a file that holds nonsense from one that cannot be had, as when the disk is full: only the first is given up.
pub(super) fn blame(path: &Path, error: LogError) -> LogError {
    use redb::Error::{
        Corrupted, Io, RepairAborted, TableTypeMismatch, TypeDefinitionChanged, UpgradeRequired,
    };
    let nonsense = match &error {
        LogError::Codec(_) | LogError::Hole { .. } => true,
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
