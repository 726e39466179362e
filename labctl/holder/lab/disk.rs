//! What is done to the disk of a node on purpose. It knows that a disk is a file system in memory, and nothing of what is on
//! it.

use std::fs;
use std::io;
use std::path::Path;

use super::{Error, Lab};
use crate::holder::node::{DISK_MIB, disk_path};
use crate::holder::protocol::Disk;
use crate::kernel::mount;
use crate::report::What;
use crate::topology::NodeName;

impl Lab {
    /// Empties a disk, fills it or gives it its room back.
    pub(super) fn change_disk(&mut self, node: &NodeName, becomes: Disk) -> Result<(), Error> {
        self.known(node)?;
        let path = disk_path(&self.disks, node);
        let failed = |act| move |source| Error::Disk { act, node: node.clone(), source };
        let what = match becomes {
            Disk::Wiped => {
                if self.running.contains_key(node) {
                    return Err(Error::DiskInUse(node.clone()));
                }
                // The processes of a node that lost its power are stopped, and have their files open still.
                self.clear_away(node)?;
                What::DiskWiped { entries: empty(&path).map_err(failed("empty the disk"))? }
            }
            Disk::Full => {
                let used = mount::used_bytes(&path).map_err(failed("ask for the room on the disk"))?;
                // No file is needed for a disk to be full, and none has to be removed for it to have room again.
                mount::resize_tmpfs(&path, used.max(1))
                    .map_err(io::Error::other)
                    .map_err(failed("fill the disk"))?;
                What::DiskFull { full: true }
            }
            Disk::Free => {
                let limit = self.topology.node(node).and_then(|node| node.limits.disk_bytes);
                let size = limit.unwrap_or(u64::from(DISK_MIB) << 20);
                mount::resize_tmpfs(&path, size)
                    .map_err(io::Error::other)
                    .map_err(failed("free the disk"))?;
                What::DiskFull { full: false }
            }
        };
        self.note(node, what);
        Ok(())
    }
}

/// Removes all that is in a folder; how much that was.
fn empty(folder: &Path) -> io::Result<u64> {
    let mut entries = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
        entries += 1;
    }
    Ok(entries)
}
