//! Trees of each form in a scratch folder, with the texts that `/proc` would have of them; and the kernel's own, where it
//! lets us.

use super::*;

use Controller::{Cpu, Memory};

/// A machine that is none.
struct Fake {
    root: tempfile::TempDir,
    mountinfo: String,
    own: String,
}

impl Fake {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), mountinfo: String::new(), own: String::new() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A mount at `point` that shows `root` of the hierarchy, written as the kernel writes it.
    fn mount(mut self, point: &str, root: &str, options: &str, kind: &str) -> Self {
        let path = self.path(point);
        fs::create_dir_all(&path).unwrap();
        let (fs_type, controllers) = kind.split_once(' ').unwrap_or((kind, ""));
        let (path, id) = (path.display(), self.mountinfo.lines().count() + 30);
        self.mountinfo += &format!(
            "{id} 23 0:{id} {root} {path} {options},relatime shared:9 - {fs_type} cgroup rw,{controllers}\n"
        );
        self
    }

    /// A folder, with what its files of version 2 say.
    fn folder(self, path: &str, controllers: &str, handed_on: &str) -> Self {
        let folder = self.path(path);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), "").unwrap();
        fs::write(folder.join("cgroup.controllers"), controllers).unwrap();
        fs::write(folder.join("cgroup.subtree_control"), handed_on).unwrap();
        self
    }

    fn own(mut self, line: &str) -> Self {
        self.own += line;
        self.own.push('\n');
        self
    }

    fn view(&self) -> View {
        View { mountinfo: self.mountinfo.clone(), own: self.own.clone() }
    }

    /// Where these would go, a line a place, or why they go nowhere.
    fn places(&self, wanted: &[Controller]) -> String {
        let line = |place: &Place| {
            let words: Vec<_> = place.controllers.iter().map(|it| it.word()).collect();
            let enable = if place.enable { ", to be handed on" } else { "" };
            format!("{:?} {} in {}{enable}", place.version, words.join(" "), place.folder.display())
        };
        let text = match self.view().places(wanted) {
            Ok(places) => places.iter().map(line).collect::<Vec<_>>().join("\n"),
            Err(lacks) => lacks.to_string(),
        };
        text.replace(&self.root.path().display().to_string(), "")
    }
}

const BOTH: &[Controller] = &[Cpu, Memory];

/// Debian 12 with systemd, logged in as root.
fn unified() -> Fake {
    Fake::new()
        .mount("cg", "/", "rw", "cgroup2 nsdelegate")
        .own("0::/user.slice/user-0.slice/session-1.scope")
        .folder("cg", "cpuset cpu io memory pids", "cpuset cpu io memory pids")
        .folder("cg/user.slice", "cpuset cpu io memory pids", "memory pids")
        .folder("cg/user.slice/user-0.slice", "memory pids", "memory pids")
        .folder("cg/user.slice/user-0.slice/session-1.scope", "memory pids", "")
}

fn v1() -> Fake {
    Fake::new()
        .mount("cg/cpu,cpuacct", "/", "rw", "cgroup cpu,cpuacct")
        .mount("cg/memory", "/", "rw", "cgroup memory")
        .own("4:memory:/user.slice\n2:cpuacct,cpu:/\n1:name=systemd:/user.slice/session-1.scope")
        .folder("cg/cpu,cpuacct", "", "")
        .folder("cg/memory/user.slice", "", "")
}

#[test]
fn version_1_has_a_place_for_each_controller_below_our_own() {
    assert_eq!(v1().places(BOTH), "V1 cpu in /cg/cpu,cpuacct\nV1 memory in /cg/memory/user.slice");
    assert_eq!(v1().places(&[]), "");
    let one =
        Fake::new().mount("all", "/", "rw", "cgroup cpu,memory").own("1:cpu,memory:/").folder("all", "", "");
    assert_eq!(one.places(BOTH), "V1 cpu memory in /all");
}

#[test]
fn version_2_has_one_place_for_all_where_they_are_handed_on() {
    // Memory alone is handed on nearer.
    insta::assert_snapshot!(unified().places(&[Memory]), @"V2 memory in /cg/user.slice/user-0.slice");
    insta::assert_snapshot!(unified().places(BOTH), @"V2 cpu memory in /cg");
    let quiet = unified().folder("cg", "cpu memory", "");
    insta::assert_snapshot!(quiet.places(&[Cpu]), @"V2 cpu in /cg, to be handed on");
}

#[test]
fn a_hybrid_machine_has_each_controller_where_it_is() {
    let hybrid = Fake::new()
        .mount("cg/memory", "/", "rw", "cgroup memory")
        .mount("cg/systemd", "/", "rw", "cgroup xattr,name=systemd")
        .mount("cg/unified", "/", "rw", "cgroup2 nsdelegate")
        .own("4:memory:/\n1:name=systemd:/a\n0::/a")
        .folder("cg/memory", "", "")
        .folder("cg/unified", "cpu hugetlb", "cpu")
        .folder("cg/unified/a", "cpu", "");
    insta::assert_snapshot!(hybrid.places(BOTH), @"
    V1 memory in /cg/memory
    V2 cpu in /cg/unified
    ");
    // As where this was written: version 2 is there, and has nothing.
    let empty = hybrid.folder("cg/unified", "hugetlb", "");
    insta::assert_snapshot!(empty.places(BOTH), @"no writable cpu controller: /cg/unified does not have it; it is not delegated");
}

#[test]
fn a_container_sees_its_own_part() {
    let nested = |own: &str| {
        Fake::new()
            .mount("cg/memory", "/docker/1f", "rw", "cgroup memory")
            .own(&format!("4:memory:{own}"))
            .folder("cg/memory", "", "")
            .folder("cg/memory/init", "", "")
    };
    insta::assert_snapshot!(nested("/docker/1f").places(&[Memory]), @"V1 memory in /cg/memory");
    insta::assert_snapshot!(nested("/docker/1f/init").places(&[Memory]), @"V1 memory in /cg/memory/init");
    insta::assert_snapshot!(nested("/docker/1fe").places(&[Memory]), @"no writable memory controller: this process is in /docker/1fe, which is outside of what /cg/memory shows");
    insta::assert_snapshot!(nested("/../2e").places(&[Memory]), @"no writable memory controller: this process is in /../2e, which is outside of what /cg/memory shows");
}

#[test]
fn a_reason_is_given_where_there_is_no_place() {
    insta::assert_snapshot!(Fake::new().places(BOTH), @"no writable cpu and memory controller: it is mounted nowhere");
    let read_only =
        Fake::new().mount("cg", "/", "ro", "cgroup2 nsdelegate").own("0::/").folder("cg", "cpu", "cpu");
    insta::assert_snapshot!(read_only.places(&[Cpu]), @"no writable cpu controller: /cg is mounted read-only");
    let not_delegated =
        Fake::new().mount("cg", "/", "rw", "cgroup2 nsdelegate").own("0::/").folder("cg", "memory", "memory");
    insta::assert_snapshot!(not_delegated.places(&[Cpu]), @"no writable cpu controller: /cg does not have it; it is not delegated");
    let nowhere = Fake::new().mount("cg", "/", "rw", "cgroup cpu").own("7:memory:/");
    insta::assert_snapshot!(nowhere.places(&[Cpu]), @"no writable cpu controller: this process is in none of its folders");
    // A folder that was removed under the process.
    let gone = Fake::new().mount("cg", "/", "rw", "cgroup cpu").own("7:cpu:/gone");
    insta::assert_snapshot!(gone.places(&[Cpu]), @"no writable cpu controller: /cg/gone: no such file or directory");
}

#[test]
fn a_mount_may_have_a_space_in_its_name() {
    let fake = Fake::new().mount("control groups", "/", "rw", "cgroup cpu").own("1:cpu:/").folder(
        "control groups",
        "",
        "",
    );
    let mut view = fake.view();
    view.mountinfo = view.mountinfo.replace("control groups", r"control\040groups");
    assert_eq!(view.places(&[Cpu]).unwrap()[0].folder, fake.path("control groups"));
}

/// The files that the kernel would put into a new folder.
fn furnish(folder: &Path, files: &[&str]) {
    for file in files {
        fs::write(folder.join(file), "").unwrap();
    }
}

#[test]
fn limits_are_written_to_the_files_that_are_there() {
    let fake = v1();
    let folders = Folders::make(&fake.view(), "ha", BOTH).unwrap();
    let limits = Limits { cpu_hundredths: Some(50), memory_bytes: Some(1 << 20) };
    let (cpu, memory) =
        (fake.path("cg/cpu,cpuacct/labctl.ha/web1"), fake.path("cg/memory/user.slice/labctl.ha/web1"));
    // The kernel's files come with a folder; here they must be there before.
    fs::create_dir(&cpu).unwrap();
    fs::create_dir(&memory).unwrap();
    furnish(&cpu, &["cpu.cfs_period_us", "cpu.cfs_quota_us", "cgroup.procs"]);
    furnish(&memory, &["memory.limit_in_bytes", "cgroup.procs"]);
    folders.limit("web1", &limits).unwrap();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!(read(cpu.join("cpu.cfs_quota_us")), "50000");
    assert_eq!(read(memory.join("memory.limit_in_bytes")), "1048576");
    assert_eq!(folders.doors("web1", &limits).unwrap().len(), 2);
    // Of a node without limits nothing is made and nothing known.
    folders.limit("db1", &Limits::default()).unwrap();
    assert!(folders.doors("db1", &Limits::default()).unwrap().is_empty());
    assert_eq!(folders.counters("db1", &Limits::default()), Counters::default());
}

#[test]
fn a_second_lab_of_one_name_has_folders_of_its_own() {
    let fake = v1();
    let one = Folders::make(&fake.view(), "ha", &[Memory]).unwrap();
    let two = Folders::make(&fake.view(), "ha", &[Memory]).unwrap();
    assert_eq!(one.0[0].path, fake.path("cg/memory/user.slice/labctl.ha"));
    assert_eq!(two.0[0].path, fake.path("cg/memory/user.slice/labctl.ha.2"));
}

#[test]
fn what_is_swept_away_is_what_nobody_holds() {
    let fake = v1();
    let view = fake.view();
    let living = Folders::make(&view, "living", BOTH).unwrap();
    let dead = Folders::make(&view, "dead", BOTH).unwrap();
    let paths: Vec<PathBuf> = dead.0.iter().map(|folder| folder.path.clone()).collect();
    fs::create_dir(paths[0].join("web1")).unwrap();
    assert_eq!(sweep(&view), Vec::<PathBuf>::new());
    assert!(paths.iter().all(|path| path.exists()), "the lab lives as long as the value does");
    drop(dead);
    // As the kernel refuses to remove a folder with processes in it.
    fs::write(paths[0].join("web1/busy"), "").unwrap();
    assert_eq!(sweep(&view), [paths[0].clone()]);
    assert!(!paths[1].exists());
    fs::remove_file(paths[0].join("web1/busy")).unwrap();
    assert_eq!(sweep(&view), Vec::<PathBuf>::new());
    assert!(!paths[0].exists());
    assert!(living.0.iter().all(|folder| folder.path.exists()));
}

/// Says why a test cannot be made here.
fn skipped(why: &str) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

#[test]
fn the_kernel_stops_a_process_that_has_used_its_share() {
    use crate::kernel::fixtures::eventually;
    use crate::kernel::process::Spawn;
    use std::ffi::OsStr;
    use std::os::fd::AsFd;

    let view = View::of_myself().unwrap();
    if let Some(why) = lacks(&[Cpu]) {
        return skipped(&why);
    }
    let limits = Limits { cpu_hundredths: Some(5), memory_bytes: None };
    let folders =
        Folders::make(&view, &format!("test-{}", std::process::id()), &limits.controllers()).unwrap();
    folders.limit("hungry", &limits).unwrap();
    folders.limit("idle", &limits).unwrap();
    let doors = folders.doors("hungry", &limits).unwrap();
    let mut spawn = Spawn::own(&[]);
    spawn.program = OsStr::new("/bin/sh");
    spawn.args = ["-c", "while :; do :; done"].map(OsStr::new).to_vec();
    spawn.join = doors.iter().map(|door| door.as_fd()).collect();
    let mut child = spawn.start().unwrap();
    let throttled = |node: &str| folders.counters(node, &limits).cpu.unwrap().nr_throttled;
    eventually("it is throttled", || throttled("hungry") > 0);
    assert_eq!(doors_of(child.id() as i32).unwrap().len(), 1, "whoever asks is shown the way to it");
    // As long as a process is inside, nothing is removed; afterwards all of it is.
    let path = folders.0[0].path.clone();
    assert!(!remove(&path));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(throttled("idle"), 0);
    drop(folders);
    eventually("its folder is gone", || {
        sweep(&view);
        !path.exists()
    });
}
