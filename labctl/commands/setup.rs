//! `labctl setup`: installs what an engine needs, by the machine's package manager, and starts none of it on the machine: a lab
//! starts what it needs in its nodes.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use nix::sys::signal::{SigSet, Signal};

use super::{Failure, Outcome};
use crate::kernel::process::{Spawn, find_program};
use crate::roles::catalogue::{self, Entry};
use crate::topology::nearest;

/// What Debian's scripts ask whether a daemon may be started.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101 is "no". The second line tells whoever finds the file after this program was killed.
const DENY: &str =
    "#!/bin/sh\n# Written by `labctl setup`, which removes it; if that was killed, remove it.\nexit 101\n";

const EXAMPLES: &str = "\
Examples:
  labctl setup etcd                                needs root
  labctl setup redis haproxy
  labctl setup postgres --dry-run                  the steps, without taking them

Exit codes: 0 everything is there, 2 no such engine (nothing was changed), 4 not root, no apt-get, or apt-get failed.";

/// Install what an engine needs, without starting it on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which; `labctl engines` lists them
    #[arg(required = true, value_name = "ENGINE")]
    engines: Vec<String>,
    /// Print the steps and take none
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let entries = args.engines.iter().map(|word| find(word)).collect::<Result<Vec<_>, _>>()?;
    for entry in entries.iter().filter(|entry| !entry.built) {
        say!("this labctl is built without {0}: `cargo build --features {0}`", entry.word);
    }
    let lacking: Vec<&Entry> = entries.iter().filter(|entry| (entry.missing)().is_some()).collect();
    for entry in entries.iter().filter(|entry| (entry.missing)().is_none()) {
        say!("{} is here", entry.word);
    }
    if lacking.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let steps = steps(&lacking);
    if args.dry_run {
        steps.iter().try_for_each(|step| print_line!("{}", step.text()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !nix::unistd::geteuid().is_root() {
        let help = format!("`sudo labctl setup {}`", args.engines.join(" "));
        return Err(Failure::machine("installing packages needs root", help));
    }
    take(&steps)?;
    match lacking.iter().find_map(|entry| (entry.missing)()) {
        Some((program, package)) => Err(Failure::machine(
            format!("{package} is installed, and `{program}` is still not there"),
            "`labctl engines` says which engines are complete",
        )),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// One word may stand for several, as `labctl` does; whichever needs most is meant.
fn find(word: &str) -> Result<Entry, Failure> {
    let all = catalogue::all();
    let named = all.iter().filter(|entry| entry.word == word).max_by_key(|entry| entry.packages.len());
    named.copied().ok_or_else(|| {
        let help = match nearest(word, all.iter().map(|entry| entry.word)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`labctl engines` lists them".to_owned(),
        };
        Failure::usage(format!("there is no engine `{word}`"), help)
    })
}

/// What is done, in order.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Forbid,
    Run(Vec<String>),
    Allow,
}

impl Step {
    fn text(&self) -> String {
        match self {
            Self::Forbid => format!("forbid packages to start daemons ({POLICY})"),
            Self::Run(argv) => argv.join(" "),
            Self::Allow => format!("put {POLICY} back as it was"),
        }
    }
}

fn steps(lacking: &[&Entry]) -> Vec<Step> {
    let mut packages: Vec<&str> = lacking.iter().flat_map(|entry| entry.packages).copied().collect();
    packages.sort_unstable();
    packages.dedup();
    let apt = |words: &[&str]| Step::Run(words.iter().map(ToString::to_string).collect());
    let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
    vec![
        Step::Forbid,
        apt(&["apt-get", "update", "--quiet"]),
        apt(&[install.as_slice(), &packages].concat()),
        Step::Allow,
    ]
}

fn take(steps: &[Step]) -> Result<(), Failure> {
    // Whoever interrupts reaches apt-get; this process goes on to put things back.
    let mask = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    mask.thread_block().map_err(std::io::Error::from)?;
    let mut forbidden = None;
    for step in steps {
        match step {
            Step::Forbid => forbidden = Some(Forbidden::write(Path::new(POLICY))?),
            Step::Run(argv) => {
                say!("{}", argv.join(" "));
                run_to_its_end(argv)?;
            }
            Step::Allow => drop(forbidden.take()),
        }
    }
    Ok(())
}

fn run_to_its_end(argv: &[String]) -> Result<(), Failure> {
    let [program, args @ ..] = argv else { return Ok(()) };
    let Some(path) = find_program(program) else {
        return Err(Failure::machine(
            format!("there is no {program} on this machine"),
            "install the packages that `--dry-run` shows by your own package manager",
        ));
    };
    let spawn = Spawn {
        program: path.as_os_str(),
        args: args.iter().map(OsStr::new).collect(),
        env: vec![("DEBIAN_FRONTEND", "noninteractive".to_owned())],
        stdout: Stdio::from(std::io::stderr().as_fd().try_clone_to_owned()?),
        ..Spawn::own(&[])
    };
    let status = spawn.start()?.wait()?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::machine(format!("{program} ended, {status}"), "what it wrote is above")),
    }
}

/// As long as this lives, no package starts a daemon. What was there before is there again afterwards.
struct Forbidden {
    path: PathBuf,
    before: Option<(Vec<u8>, fs::Permissions)>,
}

impl Forbidden {
    fn write(path: &Path) -> std::io::Result<Self> {
        let before = match (fs::read(path), fs::metadata(path)) {
            // One of ours is left from a time when this program was killed.
            (Ok(text), Ok(metadata)) if text != DENY.as_bytes() => Some((text, metadata.permissions())),
            _ => None,
        };
        let forbidden = Self { path: path.to_owned(), before };
        fs::write(path, DENY)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(forbidden)
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        let done = match &self.before {
            None => fs::remove_file(&self.path),
            Some((text, permissions)) => fs::write(&self.path, text)
                .and_then(|()| fs::set_permissions(&self.path, permissions.clone())),
        };
        if let Err(error) = done {
            say!("put {} back as it was yourself: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_there_again_and_ours_never_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        drop(Forbidden::write(&path).unwrap());
        assert!(!path.exists());

        fs::write(&path, DENY).unwrap();
        drop(Forbidden::write(&path).unwrap());
        assert!(!path.exists(), "it was left by one that was killed");

        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let forbidden = Forbidden::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), DENY);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        drop(forbidden);
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn each_package_is_installed_once_and_nothing_is_started() {
        let [etcd, postgres] = ["etcd", "postgres"].map(|word| find(word).unwrap());
        let texts: Vec<String> = steps(&[&etcd, &postgres]).iter().map(Step::text).collect();
        insta::assert_snapshot!(texts.join("\n"), @"
        forbid packages to start daemons (/usr/sbin/policy-rc.d)
        apt-get update --quiet
        apt-get install --yes --no-install-recommends etcd-server patroni postgresql
        put /usr/sbin/policy-rc.d back as it was
        ");
    }

    #[test]
    fn a_word_that_is_none_is_a_mistake_of_the_caller() {
        assert!(find("etdc").is_err());
        assert!(find("labctl").is_ok());
    }
}
