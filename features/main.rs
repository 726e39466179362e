//! The suite. Every scenario is a test of its own: this program lists them, and runs each by running itself once more
//! for that one scenario, in a process of its own with a deadline. So `--list`, filters and thread limits work as in
//! any Rust test, a scenario that hangs ends, and no scenario sees another's lab.
//!
//! Scenarios run side by side, but those tagged `@alone` (they count what is on the machine) and `@timing` (they look
//! at how long something takes) come last and one at a time. Those tagged `@needs-NAME` are left out, with a line that says so,
//! where the kernel has no such feature, the machine no such engine, or this build no client for it.

#![allow(unreachable_pub, missing_docs, reason = "a test program has no users")]
#![allow(clippy::disallowed_methods, reason = "the suite drives programs and waits for facts")]

mod audit;
mod cast;
mod forge;
mod steps;
mod visit;
mod world;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use cucumber::feature::Ext as _;
use cucumber::gherkin::{self, Feature, GherkinEnv};
use cucumber::writer::{Normalize, Stats};
use cucumber::{World as _, WriterExt as _};
use labctl::conformance::balancer::Balancer;
use labctl::conformance::balancer::checklist::Subject;
use labctl::conformance::checklist::Scenario;
use labctl::conformance::vrrp::Vrrp;
use labctl::conformance::{Judged as _, Suite};
use labctl::kernel::feature;
use labctl::roles::catalogue;
use labctl::topology::Engine;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use world::World;

/// Tells this program to run one scenario: `FILE:LINE:NAME`.
const ONE: &str = "LABCTL_SCENARIO";
/// The slowest scenario builds twenty labs one after the other, on a machine of two busy cores.
const SCENARIO_MAX: Duration = Duration::from_secs(240);
/// How often a running scenario is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Labs side by side. More than this many nine-node labs crowd the machine's neighbour table.
const THREADS_MAX: usize = 4;

fn main() -> ExitCode {
    // First of all, while there is one thread.
    if let Ok(order) = std::env::var(visit::VISIT) {
        return visit::run(&order);
    }
    match std::env::var(ONE) {
        Ok(one) => run_one(&one),
        Err(_) => run_all(),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("features")
}

/// A scenario and where it stands.
struct Found {
    file: String,
    theme: String,
    scenario: gherkin::Scenario,
    /// Which row of an outline's examples it is, counted from 1.
    row: Option<usize>,
}

impl Found {
    fn name(&self) -> String {
        let row = self.row.map(|row| format!(" #{row}")).unwrap_or_default();
        format!("{}: {}{row}", self.theme, self.scenario.name)
    }

    /// What it needs of the kernel, the machine or this build and does not find, in words.
    fn missing(&self) -> Option<String> {
        let mut needed = self.scenario.tags.iter().filter_map(|tag| tag.strip_prefix("needs-"));
        needed.find_map(|needed| match catalogue::all().into_iter().find(|engine| engine.word == needed) {
            Some(engine) if !engine.built => Some(format!("built without {needed}")),
            Some(engine) => (engine.missing)().map(|(program, _)| format!("no {program}")),
            None => feature::lacks(needed).map(|_| format!("no {needed}")),
        })
    }

    fn is_alone(&self) -> bool {
        self.scenario.tags.iter().any(|tag| tag == "alone" || tag == "timing")
    }
}

/// Every scenario of every feature file, outlines expanded.
fn find() -> Result<Vec<Found>, String> {
    let entries = std::fs::read_dir(folder()).map_err(|error| format!("read features/: {error}"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "feature"));
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let feature = Feature::parse_path(&path, GherkinEnv::default())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let feature = feature.expand_examples().map_err(|error| format!("{}: {error}", path.display()))?;
        let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !feature.rules.is_empty() {
            return Err(format!("{}: scenarios below `Rule:` would not be run", path.display()));
        }
        let names: Vec<String> = feature.scenarios.iter().map(|scenario| scenario.name.clone()).collect();
        for (at, scenario) in feature.scenarios.into_iter().enumerate() {
            let same = |range: &[String]| range.iter().filter(|name| **name == scenario.name).count();
            let row = (same(&names) > 1).then(|| same(&names[..at]) + 1);
            all.push(Found { file: path.display().to_string(), theme: stem(&path), scenario, row });
        }
    }
    Ok(all)
}

fn run_all() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let found = match find() {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let judged = match conformance() {
        Ok(judged) => judged,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert((threads * 2).min(THREADS_MAX));
    if arguments.list {
        let judged = judged.into_iter().map(|(_, trial)| trial);
        return libtest_mimic::run(&arguments, found.into_iter().map(trial).chain(judged).collect())
            .exit_code();
    }
    let (alone, together): (Vec<Found>, Vec<Found>) = found.into_iter().partition(Found::is_alone);
    let (timed, untimed): (Vec<_>, Vec<_>) = judged.into_iter().partition(|(timing, _)| *timing);
    let with = |found: Vec<Found>, judged: Vec<(bool, Trial)>| {
        found.into_iter().map(trial).chain(judged.into_iter().map(|(_, trial)| trial)).collect()
    };
    let one_at_a_time = Arguments { test_threads: Some(1), ..arguments.clone() };
    let first = libtest_mimic::run(&arguments, with(together, untimed));
    let second = libtest_mimic::run(&one_at_a_time, with(alone, timed));
    let ran = |conclusion: &Conclusion| conclusion.num_passed + conclusion.num_failed;
    if ran(&first) + ran(&second) == 0 && !arguments.ignored {
        eprintln!("no scenario was selected; `cargo test --test features -- --list` shows their names");
        return ExitCode::from(2);
    }
    if first.has_failed() || second.has_failed() { ExitCode::from(101) } else { ExitCode::SUCCESS }
}

fn trial(found: Found) -> Trial {
    let missing = found.missing();
    let skipped = missing.is_some();
    if let Some(why) = missing {
        eprintln!("{}: skipped: {why}", found.name());
    }
    Trial::test(found.name(), move || run_in_process(&found)).with_kind("").with_ignored_flag(skipped)
}

/// The scenarios that our VRRP daemon and our balancer are judged by, and whether each looks at times. They are played by
/// the shipped program, so that both ways to them are one. Of the balancer this is nat; the command plays the others.
fn conformance() -> Result<Vec<(bool, Trial)>, String> {
    let mut trials = judged::<Vrrp>(Engine::Labctl)?;
    trials.extend(judged::<Balancer>(Subject::Nat)?);
    Ok(trials)
}

fn judged<S: Suite>(engine: S::Engine) -> Result<Vec<(bool, Trial)>, String> {
    let trial = |scenario: Scenario| {
        let title = format!("{}: {}", S::WORD, scenario.name);
        let play = move || play(S::WORD, engine.word(), &scenario.name);
        (scenario.timing, Trial::test(title, play).with_kind(""))
    };
    let owed = S::scenarios()?.into_iter().filter(|scenario| S::owes(scenario, engine));
    Ok(owed.map(trial).collect())
}

/// Has our program play one scenario with our own engine. Its lab ends with it.
fn play(suite: &str, engine: &str, name: &str) -> Result<(), Failed> {
    let mut command = world::labctl();
    command.args([labctl::conformance::suite::VERB, suite, engine, name]);
    let (_, ended) = run(&mut command)?;
    Ok(ended?)
}

/// Runs one scenario in a process of its own, and ends it with all that it started if it takes too long.
fn run_in_process(found: &Found) -> Result<(), Failed> {
    let me = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let scenario = &found.scenario;
    let row = found.row.unwrap_or(1);
    let (pid, ended) = run(Command::new(me).env(ONE, format!("{}\n{}\n{row}", found.file, scenario.name)))?;
    world::clear(pid);
    let repeat = format!("repeat it: cargo test --test features -- --exact {:?}", found.name());
    Ok(ended.map_err(|text| format!("{text}\n{repeat}"))?)
}

/// Runs a program to its end, in a process group of its own: which process it was, and all that it said if it failed.
fn run(command: &mut Command) -> Result<(u32, Result<(), String>), String> {
    let output =
        tempfile::NamedTempFile::new().map_err(|error| format!("make a file for output: {error}"))?;
    let write_to =
        || output.as_file().try_clone().map_err(|error| format!("open the file for output: {error}"));
    let child = command
        .stdout(write_to()?)
        .stderr(write_to()?)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("start {}: {error}", command.get_program().display()))?;
    let pid = child.id();
    let ended = wait(child);
    let text = std::fs::read_to_string(output.path()).unwrap_or_default();
    let ended = match ended {
        Some(true) => Ok(()),
        Some(false) => Err(text),
        None => Err(format!("{text}\nnot finished after {SCENARIO_MAX:?}")),
    };
    Ok((pid, ended))
}

/// Whether it succeeded; `None` if it had to be ended.
fn wait(mut child: Child) -> Option<bool> {
    let deadline = Instant::now() + SCENARIO_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
            _ => {
                // The scenario leads a process group of its own, made above.
                let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
                let _ = child.wait();
                return None;
            }
        }
    }
}

fn run_one(one: &str) -> ExitCode {
    let parts: Vec<&str> = one.split('\n').collect();
    let [file, name, row] = parts.as_slice() else {
        eprintln!("{ONE} is for this program's own use");
        return ExitCode::from(2);
    };
    let row: usize = row.parse().unwrap_or(1);
    let name = (*name).to_owned();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Rows of an outline share a name, and the filter sees them in order.
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let writer = runtime.block_on(
        World::cucumber()
            .max_concurrent_scenarios(1)
            .with_writer(
                cucumber::writer::Basic::raw(
                    std::io::stdout(),
                    cucumber::writer::Coloring::Never,
                    cucumber::writer::Verbosity::Default,
                )
                .summarized()
                .normalized(),
            )
            .fail_on_skipped()
            .after(|_, _, scenario, outcome, world| {
                Box::pin(async move {
                    if let Some(world) = world {
                        world.finish(&scenario.name, outcome);
                    }
                })
            })
            .with_default_cli()
            .filter_run(PathBuf::from(file), move |_, _, scenario| {
                scenario.name == name && seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == row
            }),
    );
    passed(&writer)
}

/// A run in which no step passed has shown nothing.
fn passed<W: cucumber::Writer<World>>(writer: &Normalize<World, W>) -> ExitCode
where
    Normalize<World, W>: Stats<World>,
{
    if writer.execution_has_failed() {
        return ExitCode::FAILURE;
    }
    if writer.passed_steps() == 0 {
        eprintln!("no step passed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
