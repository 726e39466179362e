//! The disk of a database as a loss of power leaves it: what was written and not flushed is gone. A lab's disks are memory,
//! which keeps whatever was ever written, and so would forgive a flush that is missing. Here a write waits in this process
//! until it is flushed, and ends with the process. It knows nothing of what is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// The folder of one database.
#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
    /// Without it nothing gets to the disk any more. It fails in tests, where a machine is a thread that cannot be killed.
    power: Arc<AtomicBool>,
}

impl Disk {
    /// The disk in this folder, which need not be there yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, power: Arc::new(AtomicBool::new(true)) }
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of it is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the folder, for good.
    pub(super) fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        // A new name is only safe once the folder that has it is.
        self.folder.parent().map_or(Ok(()), flush_folder)
    }

    /// Is there anything in a file of that name?
    pub(super) fn has(&self, name: &str) -> bool {
        fs::metadata(self.path(name)).is_ok_and(|file| file.len() > 0)
    }

    /// A file that is written in place, new or as it is.
    pub(super) fn open(&self, name: &str) -> io::Result<FlushedFile> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        flush_folder(&self.folder)?;
        let file = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(FlushedFile { file, waiting: Mutex::default(), power: self.power.clone() })
    }

    /// All of a file that is replaced as a whole.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file at once and for good: whatever happens, one whole version of it is there.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let draft = self.path(name).with_extension("draft");
        powered(&self.power)?;
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        powered(&self.power)?;
        fs::rename(&draft, self.path(name))?;
        flush_folder(&self.folder)
    }

    /// The power fails: what is not on the disk by now never gets there.
    #[cfg(test)]
    pub(super) fn cut(&self) {
        self.power.store(false, Ordering::SeqCst);
    }
}

fn flush_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn powered(power: &AtomicBool) -> io::Result<()> {
    if power.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other("the power failed")) }
}

/// A file whose writes get to the disk when it is flushed, and not before.
#[derive(Debug)]
pub(super) struct FlushedFile {
    file: FileBackend,
    waiting: Mutex<Waiting>,
    power: Arc<AtomicBool>,
}

/// What the next flush will do.
#[derive(Debug, Default)]
struct Waiting {
    steps: Vec<Step>,
    /// While steps wait: bytes of the file on the disk that still count, which are not those beyond an end that waits.
    kept: u64,
    /// While steps wait: length of the file with all of them taken.
    len: u64,
}

#[derive(Debug)]
enum Step {
    Write { at: u64, bytes: Vec<u8> },
    Resize(u64),
}

/// The part of `a` that is in `b` too.
fn common(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    (both.start < both.end).then_some(both)
}

/// Where a range of the file is in a buffer that begins at `from`.
fn within(range: &Range<u64>, from: u64) -> Range<usize> {
    (range.start - from) as usize..(range.end - from) as usize
}

impl FlushedFile {
    fn waiting(&self) -> io::Result<MutexGuard<'_, Waiting>> {
        // Nothing in here panics half-way through a change.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.steps.is_empty() {
            // Asked anew each time: until redb has locked the file, it may be another's, who changes it.
            waiting.len = self.file.len()?;
            waiting.kept = waiting.len;
        }
        Ok(waiting)
    }
}

impl StorageBackend for FlushedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.waiting()?.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let waiting = self.waiting()?;
        let wanted = offset..offset + out.len() as u64;
        if wanted.end > waiting.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        if let Some(kept) = common(&wanted, &(0..waiting.kept)) {
            self.file.read(kept.start, &mut out[within(&kept, offset)])?;
        }
        for step in &waiting.steps {
            match step {
                Step::Write { at, bytes } => {
                    if let Some(both) = common(&wanted, &(*at..at + bytes.len() as u64)) {
                        out[within(&both, offset)].copy_from_slice(&bytes[within(&both, *at)]);
                    }
                }
                Step::Resize(len) => {
                    if let Some(beyond) = common(&wanted, &(*len..u64::MAX)) {
                        out[within(&beyond, offset)].fill(0);
                    }
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        powered(&self.power)?;
        let mut waiting = self.waiting()?;
        waiting.kept = waiting.kept.min(len);
        waiting.len = len;
        waiting.steps.push(Step::Resize(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        powered(&self.power)?;
        let mut waiting = self.waiting()?;
        for step in waiting.steps.drain(..) {
            match step {
                Step::Write { at, bytes } => self.file.write(at, &bytes)?,
                Step::Resize(len) => self.file.set_len(len)?,
            }
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        powered(&self.power)?;
        let mut waiting = self.waiting()?;
        waiting.len = waiting.len.max(offset + data.len() as u64);
        waiting.steps.push(Step::Write { at: offset, bytes: data.to_vec() });
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
