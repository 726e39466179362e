//! House rules that the compiler does not know: which room may know which, how a file begins, how long it may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that decide and do nothing.
const PURE: [&str; 12] = [
    "balancer",
    "conformance/balancer/checklist",
    "conformance/checklist",
    "conformance/vrrp/checklist",
    "conversation",
    "diagnosis",
    "drill",
    "plan",
    "report",
    "topology",
    "vrrp",
    "walk",
];
/// Rooms that do what the pure ones decide.
const SHELL: [&str; 5] = ["conformance", "dataplane", "holder", "kernel", "roles"];
/// What a pure room has no use for.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::os",
    "TcpStream",
    "UdpSocket",
    "tokio::",
    "nix::",
];
/// Longer files want to be two rooms; those of tests may list more cases.
const LINES_MAX: usize = 600;
const TEST_LINES_MAX: usize = 900;

struct Source {
    path: PathBuf,
    /// Below `labctl/`.
    inside: PathBuf,
    room: String,
    text: String,
}

impl Source {
    /// Is it one of a room's, which may be a room within a room?
    fn is_in(&self, room: &str) -> bool {
        self.inside.with_extension("").starts_with(room)
    }

    fn is_test(&self) -> bool {
        let name = self.path.to_string_lossy();
        name.contains("/tests") || name.ends_with("fixtures.rs")
    }

    /// The code without comments and without what only tests see.
    fn code(&self) -> String {
        let code = self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("labctl");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).expect("a readable folder").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let inside = entry.strip_prefix(&root).expect("below the root").to_owned();
                let room = inside.components().next().expect("a name").as_os_str().to_string_lossy();
                let room = room.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&entry).expect("text");
                found.push(Source { path: entry, inside, room, text });
            }
        }
    }
    assert!(found.len() > 50, "the rooms are where they should be");
    found
}

fn complain(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    complain(silent.map(|source| format!("{} does not begin with //!", source.path.display())).collect());
}

#[test]
fn files_are_rooms_and_not_halls() {
    let limit = |source: &Source| if source.is_test() { TEST_LINES_MAX } else { LINES_MAX };
    let long = sources().into_iter().filter(|source| source.text.lines().count() > limit(source));
    complain(
        long.map(|source| format!("{} has {} lines", source.path.display(), source.text.lines().count()))
            .collect(),
    );
}

#[test]
fn pure_rooms_know_neither_shell_rooms_nor_the_machine() {
    let mut broken = Vec::new();
    let sources = sources();
    for room in PURE.iter().filter(|room| !sources.iter().any(|source| source.is_in(room))) {
        broken.push(format!("there is no room {room}"));
    }
    let pure = |source: &&Source| PURE.iter().any(|room| source.is_in(room)) && !source.is_test();
    for source in sources.iter().filter(pure) {
        let mut code = source.code();
        // A pure room within a shell room is not that room.
        for within in PURE.iter().filter(|room| room.contains('/')) {
            code = code.replace(&format!("crate::{}::", within.replace('/', "::")), "");
        }
        let shell = SHELL.iter().chain(&["commands"]).map(|room| format!("crate::{room}"));
        for word in shell.chain(IMPURE.iter().map(|word| (*word).to_owned())) {
            if code.contains(&word) {
                broken.push(format!("{} knows {word}", source.path.display()));
            }
        }
    }
    complain(broken);
}

#[test]
fn vrrp_and_the_balancer_know_nothing_of_ours() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.room == "vrrp" || source.room == "balancer") {
        let own = format!("crate::{}", source.room);
        for line in source.code().lines().filter(|line| line.contains("crate::") && !line.contains(&own)) {
            broken.push(format!("{}: {}", source.path.display(), line.trim()));
        }
    }
    complain(broken);
}

#[test]
fn shell_rooms_do_not_know_commands() {
    let shell = sources().into_iter().filter(|source| SHELL.contains(&source.room.as_str()));
    let knows = shell.filter(|source| source.code().contains("crate::commands"));
    complain(knows.map(|source| format!("{} knows commands", source.path.display())).collect());
}

#[test]
fn programs_are_started_in_the_kernel_room_only() {
    let others = sources().into_iter().filter(|source| source.room != "kernel" && source.room != "tidy");
    let starts = others.filter(|source| source.code().contains("Command::new("));
    complain(starts.map(|source| format!("{} starts programs", source.path.display())).collect());
}
