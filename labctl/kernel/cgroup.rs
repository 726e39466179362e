//! Control groups: one folder a lab in each hierarchy that is needed, and below it one a node that has limits. A folder
//! outlives its processes, so whoever makes one holds a lock on it: what nobody holds any more is swept away. It does not
//! know what a site is.

mod place;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

pub use place::{Controller, Lacks, Place, Version, View};
pub use words::{Counters, CpuCounters, Limits, MemoryCounters};

/// What the folders of labs begin with. Names of labs and nodes have no dot.
const PREFIX: &str = "labctl.";
/// Labs of one name at a time; each network namespace of the machine may have one.
const NAMESAKES_MAX: usize = 16;
/// How many folders of a hierarchy are looked at when ours are looked for: a big machine has some thousands.
const LOOKED_AT_MAX: usize = 16_384;
/// The kernel lets go of a folder some milliseconds after its last process; under load it may take its time.
const SWEEPS_MAX: u32 = 500;
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// The file that counts what was killed has a handful of short lines.
const KILLS_BYTES_MAX: usize = 4_096;

/// Why a limit is not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine, or this user of it, has no way to.
    #[error(transparent)]
    Lacks(#[from] Lacks),
    /// The kernel does not tell.
    #[error("read which control groups there are")]
    View(#[source] io::Error),
    /// A folder was refused.
    #[error("make the folder {folder} for limits")]
    Make {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Other labs of that name have all folders.
    #[error("{NAMESAKES_MAX} labs of that name have folders for limits in {0} already")]
    Namesakes(PathBuf),
    /// A value was refused.
    #[error("write {value} to {file}")]
    Write {
        /// The file.
        file: PathBuf,
        /// What was to be in it.
        value: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The folders of one lab. They are swept away once this value and the processes in them are gone.
#[derive(Debug)]
pub struct Folders(Vec<Folder>);

#[derive(Debug)]
struct Folder {
    place: Place,
    /// Says that its lab lives.
    lock: Flock<File>,
    path: PathBuf,
}

/// Why these cannot be limited here; nothing if they can. Asked by doing it.
pub fn lacks(wanted: &[Controller]) -> Option<String> {
    let made = View::of_myself().map_err(Error::View).and_then(|view| Folders::make(&view, "probe", wanted));
    match made {
        Ok(folders) => {
            folders.remove();
            None
        }
        Err(error) => Some(match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }),
    }
}

impl Folders {
    /// Makes those of a lab, in every hierarchy that one of these controllers needs.
    pub fn make(view: &View, lab: &str, wanted: &[Controller]) -> Result<Self, Error> {
        let mut folders = Vec::new();
        for place in view.places(wanted)? {
            hand_on(&place, &place.folder, place.enable)?;
            let (path, lock) = claim(&place.folder, lab)?;
            hand_on(&place, &path, place.version == Version::V2)?;
            folders.push(Folder { place, lock, path });
        }
        Ok(Self(folders))
    }

    /// Makes those of a node and writes its limits. Twice is once.
    pub fn limit(&self, node: &str, limits: &Limits) -> Result<(), Error> {
        let wanted = limits.controllers();
        for (folder, path) in self.of(node, &wanted) {
            match fs::create_dir(&path) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::Make { folder: path, source });
                }
                _ => {}
            }
            let controllers = folder.place.controllers.iter().filter(|it| wanted.contains(it));
            let settings = controllers.flat_map(|it| words::settings(folder.place.version, *it, limits));
            for setting in settings {
                let file = path.join(setting.file);
                if !setting.optional || file.exists() {
                    write(file, setting.value)?;
                }
            }
        }
        Ok(())
    }

    /// The ways into the folders of a node: a process that writes `0` to each is inside.
    pub fn doors(&self, node: &str, limits: &Limits) -> Result<Vec<File>, Error> {
        let wanted = limits.controllers();
        let paths = self.of(node, &wanted).map(|(_, path)| path);
        paths.map(|path| door(&path).map_err(|source| Error::Make { folder: path, source })).collect()
    }

    /// What the kernel counted of a node.
    pub fn counters(&self, node: &str, limits: &Limits) -> Counters {
        let mut counters = Counters::default();
        let wanted = limits.controllers();
        for (folder, path) in self.of(node, &wanted) {
            let version = folder.place.version;
            let read = |file: &str| fs::read_to_string(path.join(file)).ok();
            for controller in folder.place.controllers.iter().filter(|it| wanted.contains(it)) {
                match controller {
                    Controller::Cpu => {
                        counters.cpu = read("cpu.stat").and_then(|stat| words::cpu(version, &stat));
                    }
                    Controller::Memory => {
                        let [used, peak, events] = words::memory_files(version).map(read);
                        let known = used.zip(events);
                        counters.memory =
                            known.and_then(|(used, events)| words::memory(&used, peak.as_deref(), &events));
                    }
                }
            }
        }
        counters
    }

    /// The folders of a node in the hierarchies that it needs.
    fn of<'a>(
        &'a self,
        node: &'a str,
        wanted: &'a [Controller],
    ) -> impl Iterator<Item = (&'a Folder, PathBuf)> {
        let needed = |folder: &&Folder| folder.place.controllers.iter().any(|it| wanted.contains(it));
        self.0.iter().filter(needed).map(move |folder| (folder, folder.path.join(node)))
    }

    /// Removes what can be removed at once.
    fn remove(self) {
        for folder in self.0 {
            remove(&folder.path);
            drop(folder.lock);
        }
    }
}

/// In version 2 a folder says which controllers those below it have.
fn hand_on(place: &Place, folder: &Path, needed: bool) -> Result<(), Error> {
    if !needed {
        return Ok(());
    }
    let words: Vec<String> = place.controllers.iter().map(|it| format!("+{}", it.word())).collect();
    match write(folder.join("cgroup.subtree_control"), words.join(" ")) {
        // Only the root of all may hand on controllers and have processes; ours is that of a container.
        Err(Error::Write { source, .. }) if source.raw_os_error() == Some(Errno::EBUSY as i32) => {
            let why = format!("{} has processes, and so hands nothing on (not delegated)", folder.display());
            Err(Lacks::new(&place.controllers, why).into())
        }
        done => done,
    }
}

/// Makes a folder that nobody else has, and locks it.
fn claim(base: &Path, lab: &str) -> Result<(PathBuf, Flock<File>), Error> {
    for number in 1..=NAMESAKES_MAX {
        let number = if number == 1 { String::new() } else { format!(".{number}") };
        let path = base.join(format!("{PREFIX}{lab}{number}"));
        match fs::create_dir(&path) {
            Ok(()) => {}
            // Another lab's, or one that is still to be swept away.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(source) => return Err(Error::Make { folder: path, source }),
        }
        // Somebody who sweeps may have been faster in both: then this is not our folder any more.
        if let Some(lock) = lock(&path).filter(|_| path.exists()) {
            return Ok((path, lock));
        }
    }
    Err(Error::Namesakes(base.to_owned()))
}

fn lock(folder: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(folder).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

fn write(file: PathBuf, value: String) -> Result<(), Error> {
    // Not `fs::write`: a file of the kernel's is never made.
    let written = OpenOptions::new().write(true).open(&file);
    let written = written.and_then(|mut open| io::Write::write_all(&mut open, value.as_bytes()));
    written.map_err(|source| Error::Write { file, value, source })
}

fn door(folder: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(folder.join("cgroup.procs"))
}

/// The ways into the folders of ours that a process is in, so that another can join it there.
pub fn doors_of(pid: i32) -> io::Result<Vec<File>> {
    ours_of(pid)?.iter().map(|folder| door(folder)).collect()
}

fn ours_of(pid: i32) -> io::Result<Vec<PathBuf>> {
    let is_ours = |folder: &PathBuf| folder.iter().any(|part| part.to_string_lossy().starts_with(PREFIX));
    Ok(View::of(&pid.to_string())?.folders().into_iter().filter(is_ours).collect())
}

/// How many processes the kernel has killed in a folder of ours because its memory was used up. Like a door it is opened
/// while the folder is in sight, and serves wherever its owner goes.
#[derive(Debug)]
pub struct Kills(File);

impl Kills {
    /// Those in the folder that a process is in; nothing where its memory is not limited.
    pub fn beside(pid: i32) -> io::Result<Option<Self>> {
        let folders = ours_of(pid)?;
        let names = [Version::V1, Version::V2].map(|version| words::memory_files(version)[2]);
        let files = folders.iter().flat_map(|folder| names.map(|name| folder.join(name)));
        Ok(files.filter_map(|file| File::open(file).ok()).next().map(Self))
    }

    /// How many so far.
    pub fn count(&self) -> io::Result<u64> {
        let mut text = vec![0; KILLS_BYTES_MAX];
        let length = self.0.read_at(&mut text, 0)?;
        words::kills(&String::from_utf8_lossy(&text[..length])).ok_or(io::ErrorKind::InvalidData.into())
    }
}

/// Removes the folders of labs that are dead, and returns those that cannot be removed yet.
pub fn sweep(view: &View) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for mount in view.mounts() {
        for folder in ours_below(&mount.point) {
            // Held: its lab lives. Gone: somebody else sweeps.
            let Some(_lock) = lock(&folder) else { continue };
            if !remove(&folder) && folder.exists() {
                left.push(folder);
            }
        }
    }
    left
}

/// The same until nothing is left of a lab that is dead; what still is after some seconds is returned.
pub fn sweep_of(lab: &str) -> Vec<PathBuf> {
    let Ok(view) = View::of_myself() else { return Vec::new() };
    let name = format!("{PREFIX}{lab}");
    let is_its = |folder: &PathBuf| {
        let file = folder.file_name().unwrap_or_default().to_string_lossy();
        file.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut left = Vec::new();
    for _ in 0..SWEEPS_MAX {
        left = sweep(&view);
        left.retain(is_its);
        if left.is_empty() {
            break;
        }
        thread::park_timeout(SWEEP_PAUSE);
    }
    left
}

/// Folders of labs, nearest to the root first.
fn ours_below(root: &Path) -> Vec<PathBuf> {
    let mut ours = Vec::new();
    let mut queue = VecDeque::from([root.to_owned()]);
    for _ in 0..LOOKED_AT_MAX {
        let Some(folder) = queue.pop_front() else { break };
        for path in folders_in(&folder) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(PREFIX) { ours.push(path) } else { queue.push_back(path) }
        }
    }
    ours
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_folder).map(|entry| entry.path()).collect()
}

/// Removes a lab's folder with those of its nodes; whether that worked.
fn remove(folder: &Path) -> bool {
    // A folder of the kernel's goes with the files in it, which cannot be removed one by one.
    folders_in(folder).iter().all(|node| fs::remove_dir(node).is_ok()) && fs::remove_dir(folder).is_ok()
}
