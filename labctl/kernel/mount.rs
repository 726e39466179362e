//! Mounts of the calling process's mount namespace.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// A mount that was refused.
#[derive(Debug, thiserror::Error)]
#[error("mount {what} on {path}")]
pub struct Error {
    what: String,
    path: PathBuf,
    #[source]
    source: Errno,
}

const NONE: Option<&str> = None;

fn failed(what: &str, path: &Path) -> impl FnOnce(Errno) -> Error {
    move |source| Error { what: what.to_owned(), path: path.to_owned(), source }
}

/// From here on, no mount made here is seen elsewhere; what is unmounted elsewhere goes here too, so that a lab keeps
/// no file system of the machine busy.
pub fn make_slave() -> Result<(), Error> {
    let root = Path::new("/");
    mount(NONE, root, NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
        .map_err(failed("slave propagation", root))
}

/// A `/proc` of this process's own PID namespace.
pub fn proc() -> Result<(), Error> {
    let path = Path::new("/proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), path, Some("proc"), flags, NONE).map_err(failed("proc", path))
}

/// A `/sys` that shows this process's own network namespace, read-only.
pub fn sysfs() -> Result<(), Error> {
    let path = Path::new("/sys");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(Some("sysfs"), path, Some("sysfs"), flags, NONE).map_err(failed("sysfs", path))
}

/// An empty file system in memory of at most `mib` MiB.
pub fn tmpfs(path: &Path, mode: &str, mib: u32) -> Result<(), Error> {
    tmpfs_of(path, mode, u64::from(mib) << 20)
}

/// The same, in bytes, of which the kernel makes whole pages.
pub fn tmpfs_of(path: &Path, mode: &str, bytes: u64) -> Result<(), Error> {
    let options = format!("mode={mode},size={bytes}");
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
        .map_err(failed("tmpfs", path))
}

/// Gives a file system in memory another size. It refuses one that is smaller than what is on it.
pub fn resize_tmpfs(path: &Path, bytes: u64) -> Result<(), Error> {
    let options = format!("size={bytes}");
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(NONE, path, NONE, flags, Some(options.as_str())).map_err(failed("another size", path))
}

/// What lies on the file system of a path.
pub fn used_bytes(path: &Path) -> std::io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(path)?;
    Ok((found.blocks() - found.blocks_free()) * found.fragment_size())
}

/// The file or folder `from` is seen at `to` as well.
pub fn bind(from: &Path, to: &Path) -> Result<(), Error> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE).map_err(failed(&from.display().to_string(), to))
}
