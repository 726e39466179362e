//! `labctl drill`: break a site by a timetable, and report what survived. What a drill is and what it has shown is
//! decided in `drill` and `report`; here are the arguments and the files.

mod compare;
mod run;
mod watch;

pub(super) use run::under_load;

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use nix::unistd::{AccessFlags, access};

use super::{Failure, Outcome, output};
use crate::drill::{self, Drill};
use crate::report::{Event, Report, history, markdown, render, targets};

/// Where drills are looked for.
const DRILLS: &str = "topologies/drills";
/// Where reports go.
const REPORTS: &str = "reports";
/// Drills of one name that may have begun in the same second.
const TWINS_MAX: u32 = 100;
/// The longest drill file.
const FILE_BYTES_MAX: u64 = 1 << 20;
const EVENTS: &str = "events.jsonl";
const HISTORY: &str = "history.jsonl";
const JSON: &str = "report.json";
const SUMMARY: &str = "summary.md";

const EXAMPLES: &str = "\
Examples:
  labctl drill run topologies/drills/proxy-crash.yaml
  labctl drill run topologies/drills/proxy-crash.yaml --keep      look around in the lab afterwards
  labctl drill list
  labctl drill replay reports/20260105T100000Z-proxy-crash        the same events, the same report
  labctl drill compare reports/*-burden-database reports/*-burden-peer

Exit codes: 0 passed, 1 failed, 2 bad arguments or a faulty file, 3 a regression, 4 unknown or aborted: the machine or
the measurement fell short, and nothing is known about the site.";

const LIST_EXAMPLES: &str = "\
Examples:
  labctl drill list
  labctl drill list my/drills";

const REPLAY_EXAMPLES: &str = "\
Examples:
  labctl drill replay reports/20260105T100000Z-proxy-crash
  labctl drill replay reports/20260105T100000Z-proxy-crash --format json | jq .verdict";

/// Break a site by a timetable and report what survived
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the site of a drill, run the drill, report
    Run(run::Args),
    /// List drills
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// The folder to look in
        #[arg(default_value = DRILLS)]
        dir: PathBuf,
    },
    /// Put several reports side by side
    Compare(compare::Args),
    /// Render a report again from its events
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay {
        /// The folder of the report
        dir: PathBuf,
        /// How the report is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people: Markdown.
    #[default]
    Text,
    /// For programs: report.json.
    Json,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Run(args) => run::run(args),
        Verb::Compare(args) => compare::run(args),
        Verb::List { dir } => list(dir),
        Verb::Replay { dir, format } => replay(dir, *format),
    }
}

/// The drill in a file.
fn load(path: &Path) -> Result<Drill, Failure> {
    let name = path.display().to_string();
    let failed = |error: io::Error| {
        Failure::usage(format!("read {name}: {error}"), "`labctl drill list` shows the drills of this folder")
    };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{name} is too long for a drill file"), "name another file"));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    drill::parse(&name, &text).map_err(|problems| {
        Failure::usage(problems.to_string(), "topologies/drills/proxy-crash.yaml shows all keys")
    })
}

fn list(dir: &Path) -> Outcome {
    let entries = fs::read_dir(dir).map_err(|error| {
        Failure::usage(format!("look into {}: {error}", dir.display()), "name another folder")
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["DRILL", "LASTS", "FAULTS", "FILE"]);
    for path in paths {
        let file = path.display().to_string();
        match load(&path) {
            Ok(drill) => {
                let fault = |fault: &drill::Fault| format!("{} of {}", fault.action, targets(&fault.targets));
                let faults = drill.faults.iter().map(fault).collect::<Vec<_>>().join(", ");
                table.add_row([drill.name.to_string(), format!("{:?}", drill.duration), faults, file]);
            }
            // A faulty file does not hide the others; `drill run` says what is wrong with it.
            Err(_) => {
                table.add_row(["-".to_owned(), "-".to_owned(), "faulty file".to_owned(), file]);
            }
        }
    }
    print_line!("{table}")?;
    Ok(ExitCode::SUCCESS)
}

fn replay(dir: &Path, format: Format) -> Outcome {
    let path = dir.join(EVENTS);
    let text = fs::read_to_string(&path).map_err(|error| no_report("read", &path, error))?;
    let mut events = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let event = serde_json::from_str::<Event>(line);
        let act = format!("understand line {} of", index + 1);
        events.push(event.map_err(|error| no_report(&act, &path, error))?);
    }
    let report = render(&events).map_err(|error| no_report("understand", &path, error))?;
    let history = history(&events).map_err(|error| no_report("understand", &path, error))?;
    let same = [(JSON, report.to_json()), (SUMMARY, markdown(&report)), (HISTORY, history.clone())]
        .iter()
        .all(|(name, text)| fs::read_to_string(dir.join(name)).is_ok_and(|on_file| &on_file == text));
    if same {
        say!("the report in {} is what its events say", dir.display());
    } else {
        write_report(dir, &report, &history)?;
        say!("the report in {} was not what its events say, and is written anew", dir.display());
    }
    print(&report, format)?;
    Ok(ExitCode::from(report.verdict.exit_code()))
}

/// What is not, or is not in, the folder of a report.
fn no_report(act: &str, file: &Path, why: impl Display) -> Failure {
    Failure::usage(format!("{act} {}: {why}", file.display()), "name the folder of a report")
}

/// Refuses a place for reports where none could be written, before there is one to write.
fn check_out(parent: &Path) -> Result<(), Failure> {
    let refused = |error: io::Error| {
        let message = format!("no report can be written to {}: {error}", parent.display());
        Failure::usage(message, "`--out` names another folder")
    };
    fs::create_dir_all(parent).map_err(refused)?;
    access(parent, AccessFlags::W_OK).map_err(|errno| refused(errno.into()))
}

/// A new folder of this name, or of this name and a number: two drills that began in the same second have one each.
fn fresh_folder(parent: &Path, name: &str) -> Result<PathBuf, Failure> {
    fs::create_dir_all(parent)?;
    let numbered = (2..=TWINS_MAX).map(|number| format!("{name}-{number}"));
    for name in std::iter::once(name.to_owned()).chain(numbered) {
        let dir = parent.join(name);
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    let message = format!("{} has {TWINS_MAX} folders named {name} already", parent.display());
    Err(Failure::machine(message, "`--out` names another folder"))
}

/// Writes the events first: whatever fails after that can be had again from them.
fn write_all(dir: &Path, events: &[Event]) -> Result<Report, Failure> {
    fs::create_dir_all(dir)?;
    let mut out = io::BufWriter::new(fs::File::create(dir.join(EVENTS))?);
    for event in events {
        serde_json::to_writer(&mut out, event).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    let bug = |error: crate::report::Missing| Failure::machine(error.to_string(), "this is a bug in labctl");
    let report = render(events).map_err(bug)?;
    write_report(dir, &report, &history(events).map_err(bug)?)?;
    Ok(report)
}

fn write_report(dir: &Path, report: &Report, history: &str) -> Result<(), Failure> {
    fs::write(dir.join(HISTORY), history)?;
    fs::write(dir.join(JSON), report.to_json())?;
    fs::write(dir.join(SUMMARY), markdown(report))?;
    Ok(())
}

pub(super) fn print(report: &Report, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Text => markdown(report),
        Format::Json => report.to_json(),
    };
    output::write(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn two_drills_of_the_same_second_have_a_folder_each() {
        let out = tempfile::tempdir().expect("a scratch folder");
        let fresh =
            || fresh_folder(&out.path().join("reports"), "now-x").map_err(drop).expect("a new folder");
        let names = [fresh(), fresh(), fresh()].map(|dir| dir.file_name().map(|name| name.to_owned()));
        assert_eq!(names, ["now-x", "now-x-2", "now-x-3"].map(|name| Some(name.into())));
    }

    fn recorded() -> Vec<Event> {
        let text = fs::read_to_string(Path::new(ROOT).join("reports/samples/proxy-crash").join(EVENTS));
        let text = text.expect("the record is there");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is an event")).collect()
    }

    #[test]
    fn a_report_that_was_lost_comes_back_from_its_events_to_the_byte() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        write_all(dir.path(), &recorded()).expect("the report can be written");
        let read = |name| fs::read(dir.path().join(name)).expect("the file is there");
        let written = [read(JSON), read(SUMMARY)];
        fs::remove_file(dir.path().join(JSON)).expect("the file is there");
        fs::write(dir.path().join(SUMMARY), "something else").expect("the file can be written");
        replay(dir.path(), Format::Json).expect("the events are whole");
        assert!(written == [read(JSON), read(SUMMARY)]);
    }

    #[test]
    fn a_folder_without_events_is_no_report() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        assert!(replay(dir.path(), Format::Text).is_err());
        fs::write(dir.path().join(EVENTS), "{}\n").expect("the file can be written");
        assert!(replay(dir.path(), Format::Text).is_err());
    }

    #[test]
    fn every_drill_on_file_fits_its_site() {
        let drills = fs::read_dir(Path::new(ROOT).join(DRILLS)).expect("the folder is there");
        let mut count = 0;
        for path in drills.flatten().map(|entry| entry.path()) {
            let Ok(drill) = load(&path) else { panic!("{} is faulty", path.display()) };
            let site = path.parent().expect("a file is in a folder").join(&drill.topology);
            let Ok(topology) = super::super::validate::load(&site) else { panic!("{}", site.display()) };
            assert_eq!(drill.misfits(&topology), [], "{}", path.display());
            count += 1;
        }
        assert!(count > 0);
    }
}
