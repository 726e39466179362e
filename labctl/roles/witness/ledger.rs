//! What a witness must not forget, in one small file on its node's disk. A new page takes the old one's place in one step,
//! and is on the disk before anybody is told of it. It does not know what stands on the page.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of what the page holds. One of another version is refused, never guessed at.
const FORMAT: u32 = 1;
/// Its part of the node's disk, which other services of the node use too.
const FOLDER: &str = "witness";
const PAGE: &str = "page.json";
/// Where a page is written before it takes the other's place.
const DRAFT: &str = "page.json.new";

/// What helps when the page cannot be read: the two webs have all conversations, and need the witness only apart.
const WAY_OUT: &str = "remove it while both webs run and hear each other, and the witness begins anew";

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder or the file cannot be read.
    #[error("read the ledger {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The page cannot be written.
    #[error("write the ledger {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The page is of another version of this program.
    #[error("the ledger {path} has format {found}, this program reads {FORMAT}; {WAY_OUT}")]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The page is not what this program wrote.
    #[error("the ledger {path} is damaged; {WAY_OUT}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        #[source]
        source: serde_json::Error,
    },
}

/// The file.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
}

/// The page as it stands in the file.
#[derive(Serialize)]
struct Page<'a, T> {
    format: u32,
    page: &'a T,
}

/// What every version has.
#[derive(Deserialize)]
struct Cover {
    format: u32,
}

#[derive(Deserialize)]
struct Read<T> {
    page: T,
}

impl Ledger {
    /// Opens the ledger on a disk, and reads the page if one was ever written.
    pub(super) fn open<T: DeserializeOwned>(disk: &Path) -> Result<(Self, Option<T>), LedgerError> {
        let folder = disk.join(FOLDER);
        let path = folder.join(PAGE);
        let failed = |source| LedgerError::Read { path: path.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Self { folder }, None)),
            Err(error) => return Err(failed(error)),
        };
        let damaged = |source| LedgerError::Damaged { path: path.clone(), source };
        let cover: Cover = serde_json::from_slice(&text).map_err(damaged)?;
        if cover.format != FORMAT {
            return Err(LedgerError::Format { path, found: cover.format });
        }
        let read: Read<T> = serde_json::from_slice(&text).map_err(damaged)?;
        Ok((Self { folder }, Some(read.page)))
    }

    /// Writes a page. Once this returns, no loss of power undoes it.
    pub(super) fn write<T: Serialize>(&self, page: &T) -> Result<(), LedgerError> {
        let (draft, path) = (self.folder.join(DRAFT), self.folder.join(PAGE));
        let write = || {
            let text = serde_json::to_vec(&Page { format: FORMAT, page })?;
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            // The name is on the disk once the folder is.
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| LedgerError::Write { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_after_a_restart() {
        let disk = tempfile::tempdir().unwrap();
        let (ledger, page) = Ledger::open::<String>(disk.path()).unwrap();
        assert_eq!(page, None);
        for page in ["first", "second"] {
            ledger.write(&page).unwrap();
        }
        // A crash in the middle of a third one leaves a draft, which nobody was told of.
        fs::write(disk.path().join(FOLDER).join(DRAFT), "{\"format\":1,\"pa").unwrap();
        let (_, page) = Ledger::open::<String>(disk.path()).unwrap();
        assert_eq!(page.as_deref(), Some("second"));
    }

    #[test]
    fn another_format_and_damage_are_refused_with_a_way_out() {
        let disk = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open::<String>(disk.path()).unwrap();
        ledger.write(&"page").unwrap();
        let path = disk.path().join(FOLDER).join(PAGE);
        let whole = fs::read_to_string(&path).unwrap();
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            Ledger::open::<String>(disk.path()).unwrap_err()
        };
        let other = refused(&whole.replace(":1,", ":2,"));
        assert!(matches!(other, LedgerError::Format { found: 2, .. }), "{other}");
        for damage in ["", &whole[..whole.len() - 2], "{\"format\":1}"] {
            let damaged = refused(damage);
            assert!(matches!(damaged, LedgerError::Damaged { .. }), "{damaged}");
            assert!(damaged.to_string().ends_with(WAY_OUT));
        }
    }
}
