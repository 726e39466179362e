//! Giving up root for good, for programs that refuse to run as root. It knows users of the machine, not why a program wants
//! one.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, User, getegid, geteuid, setgroups, setresgid, setresuid};

/// Why this process does not become another user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine does not know the user.
    #[error("the machine has no user {0}")]
    Unknown(String),
    /// The list of users cannot be read.
    #[error("look up the user {name}")]
    Lookup {
        /// The user.
        name: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// Here are no users but root, and none can be made.
    #[error("become {name}: there is only root here, and no user namespace to be somebody else in")]
    OnlyRoot {
        /// The user.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("become {name}")]
    Refused {
        /// The user.
        name: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A folder cannot be made or given away.
    #[error("give {path} to {name}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The user.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// An ordinary user of the machine.
#[derive(Clone, Debug)]
pub struct Ordinary {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl Ordinary {
    /// Looks the user up.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found =
            User::from_name(name).map_err(|source| Error::Lookup { name: name.to_owned(), source })?;
        let user = found.ok_or_else(|| Error::Unknown(name.to_owned()))?;
        Ok(Self { name: user.name, uid: user.uid, gid: user.gid })
    }

    /// Makes a folder, if it is not there, that belongs to the user alone.
    pub fn own_folder(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::Folder { path: path.to_owned(), name: self.name.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        match chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw())) {
            // Where there is only root, the user will be root under another number.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            done => done.map_err(failed),
        }
    }

    /// Makes this process that user, with no way back. Only for a process with one thread.
    ///
    /// Root of a user namespace with one user is renamed, in a user namespace below it: the kernel takes it for who it was,
    /// and programs take it for an ordinary user. Whoever is not root stays who they are.
    pub fn become_for_good(&self) -> Result<(), Error> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let refused = |source| Error::Refused { name: self.name.clone(), source };
        match setresgid(self.gid, self.gid, self.gid) {
            Err(Errno::EINVAL) => {
                let alone = |source| Error::OnlyRoot { name: self.name.clone(), source };
                return self.rename_root().map_err(alone);
            }
            done => done.map_err(refused)?,
        }
        setgroups(&[self.gid]).map_err(refused)?;
        setresuid(self.uid, self.uid, self.uid).map_err(refused)
    }

    fn rename_root(&self) -> io::Result<()> {
        let (uid, gid) = (geteuid(), getegid());
        unshare(CloneFlags::CLONE_NEWUSER)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{} {uid} 1", self.uid))?;
        fs::write("/proc/self/gid_map", format!("{} {gid} 1", self.gid))
    }
}
