//! What is on the machine that a lab could have left behind, by name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A list of everything that a lab could leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    things: BTreeSet<String>,
}

impl Audit {
    /// Looks at processes, namespaces, links, mounts, sockets, control groups and runtime files.
    pub fn take() -> Self {
        let mut things = BTreeSet::new();
        processes_and_namespaces(&mut things);
        things.extend(names("/sys/class/net", "link"));
        things.extend(names("/run/netns", "named network namespace"));
        things.extend(names("/run", "runtime file").filter(|name| name.contains("labctl")));
        for folder in ["/tmp", "/var/tmp", "/dev/shm"] {
            things.extend(names(folder, "temporary file").filter(|name| name.contains("labctl")));
        }
        for folder in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            control_groups(&folder.path(), &mut things);
        }
        let lines = |path: &str| fs::read_to_string(path).unwrap_or_default();
        things.extend(lines("/proc/self/mountinfo").lines().map(|line| format!("mount {line}")));
        let sockets = lines("/proc/net/unix");
        let labs = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
        things.extend(
            labs.filter(|address| address.contains("labctl")).map(|address| format!("socket {address}")),
        );
        Self { things }
    }

    /// What is here that was not there before.
    pub fn more_than(&self, before: &Self) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }
}

fn names(folder: &str, what: &'static str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(move |entry| format!("{what} {}", entry.file_name().to_string_lossy()))
}

fn processes_and_namespaces(things: &mut BTreeSet<String>) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    for process in processes.filter(|path| path.join("ns").is_dir()) {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains("labctl") && command.contains(" __") {
            things.insert(format!("process {} {command}", process.display()));
        }
        for kind in ["net", "mnt", "pid", "uts", "ipc"] {
            if let Ok(namespace) = fs::read_link(Path::new(&process).join("ns").join(kind)) {
                things.insert(format!("namespace {}", namespace.display()));
            }
        }
    }
}

/// Those of labs, wherever they are.
fn control_groups(folder: &Path, things: &mut BTreeSet<String>) {
    if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("labctl.")) {
        things.insert(format!("control group {}", folder.display()));
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            control_groups(&entry.path(), things);
        }
    }
}
