//! Where limits can be kept: which hierarchy has a controller, and in which of its folders ours may be made. All of it is
//! read from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` and from the folders that these name, so that a
//! test can bring a tree of its own. It changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// What keeps a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
}

impl Controller {
    /// The kernel's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// The kernel has two forms of control groups. A machine may have one, or each controller in either (*hybrid*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller.
    V1,
    /// One for all.
    V2,
}

/// A folder below which folders with limits can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which files it has.
    pub version: Version,
    /// The folder.
    pub folder: PathBuf,
    /// What can be limited there.
    pub controllers: Vec<Controller>,
    /// It has the controllers, and does not hand them on yet.
    pub enable: bool,
}

/// A limit that cannot be kept, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no writable {controllers} controller: {why}")]
pub struct Lacks {
    controllers: String,
    why: String,
}

impl Lacks {
    pub(super) fn new(controllers: &[Controller], why: impl Into<String>) -> Self {
        let words: Vec<&str> = controllers.iter().map(|controller| controller.word()).collect();
        Self { controllers: words.join(" and "), why: why.into() }
    }
}

/// What a process sees of control groups.
#[derive(Clone, Debug)]
pub struct View {
    /// `/proc/self/mountinfo`.
    pub mountinfo: String,
    /// `/proc/PID/cgroup`: in which folders a process is.
    pub own: String,
}

/// A hierarchy that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: PathBuf,
    /// The folder of the hierarchy that is shown at `point`.
    root: String,
    pub(super) version: Version,
    options: Vec<String>,
    read_only: bool,
}

impl View {
    /// What this process sees.
    pub fn of_myself() -> io::Result<Self> {
        Self::of("self")
    }

    /// What this process sees of where that one is: a number or `self`.
    pub fn of(process: &str) -> io::Result<Self> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self { mountinfo, own: fs::read_to_string(format!("/proc/{process}/cgroup"))? })
    }

    /// Where each of these can be limited. Those of version 2 come together: a process is in one folder of it.
    pub fn places(&self, wanted: &[Controller]) -> Result<Vec<Place>, Lacks> {
        let mounts = self.mounts();
        let mut places: Vec<Place> = Vec::new();
        let mut together = Vec::new();
        for &controller in wanted {
            let Some(mount) = mounts.iter().find(|mount| mount.is_v1_of(controller)) else {
                together.push(controller);
                continue;
            };
            let place = self.v1(controller, mount).map_err(|why| Lacks::new(&[controller], why))?;
            match places.iter_mut().find(|other| other.folder == place.folder) {
                Some(other) => other.controllers.push(controller),
                None => places.push(place),
            }
        }
        if !together.is_empty() {
            let place = match mounts.iter().find(|mount| mount.version == Version::V2) {
                Some(mount) => self.v2(&together, mount),
                None => Err("it is mounted nowhere".to_owned()),
            };
            places.push(place.map_err(|why| Lacks::new(&together, why))?);
        }
        Ok(places)
    }

    /// The folders that the process is in, of hierarchies in which we make ours.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.mounts().iter().filter_map(|mount| mount.show(self.path_in(mount)?)).collect()
    }

    /// Every hierarchy in which we may have made folders.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let ours = |mount: &Mount| match mount.version {
            Version::V1 => [Controller::Cpu, Controller::Memory].iter().any(|it| mount.is_v1_of(*it)),
            Version::V2 => true,
        };
        self.mountinfo.lines().filter_map(Mount::parse).filter(ours).collect()
    }

    /// In which folder of a hierarchy the process is.
    fn path_in(&self, mount: &Mount) -> Option<&str> {
        let lines = self.own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let of = |list: &str| match mount.version {
            Version::V1 => list.split(',').any(|word| mount.options.iter().any(|option| option == word)),
            Version::V2 => list.is_empty(),
        };
        lines.into_iter().find(|(list, _)| of(list)).map(|(_, path)| path)
    }

    fn folder_in(&self, mount: &Mount) -> Result<PathBuf, String> {
        let path = self.path_in(mount).ok_or("this process is in none of its folders")?;
        mount.show(path).ok_or_else(|| {
            format!("this process is in {path}, which is outside of what {} shows", mount.point.display())
        })
    }

    /// Below the own folder, so that whatever limits us limits what we start.
    fn v1(&self, controller: Controller, mount: &Mount) -> Result<Place, String> {
        let folder = self.folder_in(mount)?;
        mount.check_writable(&folder)?;
        Ok(Place { version: Version::V1, folder, controllers: vec![controller], enable: false })
    }

    /// The nearest folder at or above the own one that hands these controllers on: of version 2 only a folder without
    /// processes may do so, and the root of all.
    fn v2(&self, wanted: &[Controller], mount: &Mount) -> Result<Place, String> {
        let own = self.folder_in(mount)?;
        let place = |folder: &Path, enable| {
            let controllers = wanted.to_vec();
            Place { version: Version::V2, folder: folder.to_owned(), controllers, enable }
        };
        let mut refused = None;
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&mount.point)) {
            if lists(folder, "cgroup.subtree_control", wanted) {
                match mount.check_writable(folder) {
                    Ok(()) => return Ok(place(folder, false)),
                    Err(why) => drop(refused.get_or_insert(why)),
                }
            }
        }
        if let Some(why) = refused {
            return Err(why);
        }
        if !lists(&mount.point, "cgroup.controllers", wanted) {
            return Err(format!("{} does not have it; it is not delegated", mount.point.display()));
        }
        mount.check_writable(&mount.point)?;
        Ok(place(&mount.point, true))
    }
}

/// Whether a file of words has all of these.
fn lists(folder: &Path, file: &str, wanted: &[Controller]) -> bool {
    let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
    wanted.iter().all(|controller| text.split_whitespace().any(|word| word == controller.word()))
}

impl Mount {
    /// One line of `mountinfo`; see proc_pid_mountinfo(5).
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point, own_options) = (mount.next()?, mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options: Vec<String> = file_system.nth(1)?.split(',').map(str::to_owned).collect();
        let read_only = options.iter().map(String::as_str).chain(own_options.split(',')).any(|it| it == "ro");
        Some(Self { point: unescape(point).into(), root: unescape(root), version, options, read_only })
    }

    fn is_v1_of(&self, controller: Controller) -> bool {
        self.version == Version::V1 && self.options.iter().any(|option| option == controller.word())
    }

    /// Where a folder of the hierarchy can be seen, if it is below what is shown.
    fn show(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        let plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        plain.then(|| self.point.components().chain(below.components()).collect())
    }

    fn check_writable(&self, folder: &Path) -> Result<(), String> {
        if self.read_only {
            return Err(format!("{} is mounted read-only", self.point.display()));
        }
        let may = |path: &Path| access(path, AccessFlags::W_OK);
        match may(folder).and_then(|()| may(&folder.join("cgroup.procs"))) {
            Ok(()) => Ok(()),
            Err(errno) => Err(format!("{}: {}", folder.display(), errno.desc().to_lowercase())),
        }
    }
}

/// Spaces and the like are written as `\040` there.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
