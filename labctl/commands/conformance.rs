//! `labctl conformance`: judges a VRRP daemon from outside, ours or another.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::{Failure, Format, Outcome};
use crate::conformance::vrrp::checklist::{self, Matrix, REQUIREMENTS, Scenario, scenarios};
use crate::conformance::vrrp::{self, suite};
use crate::kernel::capability::{self, Capability};
use crate::roles::{frr, keepalived};
use crate::topology::Engine;

const EXAMPLES: &str = "\
Examples:
  labctl conformance vrrp                          our own daemon, every requirement
  labctl conformance vrrp --engine keepalived      what keepalived makes of them
  labctl conformance vrrp --only V19,V20 --engine labctl --engine frr
  labctl conformance vrrp --out /tmp/matrix        the same, and vrrp.json and vrrp.md in that folder

Exit codes: 0 it was played, whatever keepalived or FRRouting made of it; 1 our own daemon (`--engine labctl`) failed a
requirement; 2 bad arguments, or a folder that cannot be made; 4 the machine did not let it happen.";

/// More scenarios than this side by side make one another late.
const JOBS_MAX: usize = 4;

/// Judge a daemon from outside, by packets sent and seen on the wire
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// VRRP daemons, by RFC 9568 and RFC 3768
    Vrrp(Vrrp),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Vrrp {
    /// Whom to judge; may be given several times
    #[arg(long, value_parser = engine(), value_name = "ENGINE", default_value = "labctl")]
    engine: Vec<Engine>,
    /// Only these requirements
    #[arg(long, value_delimiter = ',', value_name = "V19,L03", value_parser = requirement)]
    only: Vec<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write vrrp.json and vrrp.md into this folder; without it nothing is written
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How many scenarios are played side by side
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: Option<u8>,
}

/// Takes the words of the topology, and lists them with what they mean.
fn engine() -> impl TypedValueParser<Value = Engine> {
    let possible = Engine::ALL.map(|engine| {
        PossibleValue::new(engine.word()).help(match engine {
            Engine::Labctl => "Ours",
            Engine::Keepalived => "keepalived",
            Engine::Frr => "FRRouting",
        })
    });
    PossibleValuesParser::new(possible).try_map(|word| word.parse::<Engine>())
}

fn requirement(text: &str) -> Result<String, String> {
    match REQUIREMENTS.iter().find(|one| one.id.eq_ignore_ascii_case(text)) {
        Some(one) => Ok(one.id.to_owned()),
        None => Err("there are V01 to V64 and L01 to L14".to_owned()),
    }
}

/// Play one scenario in this process
#[derive(Debug, clap::Args)]
pub struct One {
    #[arg(value_parser = engine())]
    engine: Engine,
    name: String,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let Suite::Vrrp(args) = &args.suite;
    // Nobody plays for half an hour to hear then that there is no room for the result.
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|error| unwritable("make the folder", folder, &error))?;
    }
    let mut engines: Vec<Engine> = Vec::new();
    for &engine in &args.engine {
        check(engine)?;
        if !engines.contains(&engine) {
            engines.push(engine);
        }
    }
    let missing = capability::missing(&[Capability::SysAdmin, Capability::NetAdmin, Capability::NetRaw]);
    if !missing.is_empty() {
        return Err(Failure::privilege(&missing));
    }
    let mut chosen = all()?;
    let wanted = |one: &Scenario| args.only.is_empty() || one.ids.iter().any(|id| args.only.contains(id));
    chosen.retain(wanted);
    let jobs = args.jobs.map_or_else(jobs, usize::from);
    let total = chosen.len() * engines.len();
    let mut done = 0;
    let played = suite::run(&chosen, &engines, jobs, |one| {
        done += 1;
        let words = match &one.outcome {
            checklist::Outcome::Passed => "pass".to_owned(),
            checklist::Outcome::Failed(why) => format!("FAIL: {why}"),
            checklist::Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        say!("{done}/{total} {} {}: {words}", one.engine.word(), chosen[one.scenario].name);
    });
    let versions: Vec<(Engine, String)> =
        engines.iter().map(|engine| (*engine, vrrp::version(*engine))).collect();
    let matrix = Matrix::of(&chosen, &played, &versions).only(&args.only);
    if let Some(folder) = &args.out {
        write(folder, &matrix)?;
    }
    match args.format {
        Format::Table => print_line!("{}", matrix.table()),
        Format::Json => print_line!("{}", json(&matrix)?),
    }
    let failed = engines.contains(&Engine::Labctl) && !matrix.holds(Engine::Labctl);
    Ok(if failed { ExitCode::from(Failure::FAILED) } else { ExitCode::SUCCESS })
}

/// Runs the hidden verb: the outcome is one line of JSON, and steps are told as they are taken.
pub fn one(args: &One) -> Outcome {
    let scenarios = all()?;
    let scenario = scenarios.iter().find(|one| one.name == args.name).ok_or_else(|| {
        Failure::usage(
            format!("there is no scenario {:?}", args.name),
            "`cargo test -- --list` has all names",
        )
    })?;
    let outcome = vrrp::play(scenario, args.engine, |step| say!("{step}"));
    let line = serde_json::to_string(&outcome).map_err(std::io::Error::from)?;
    print_line!("{line}");
    Ok(match outcome {
        checklist::Outcome::Failed(_) => ExitCode::from(Failure::FAILED),
        checklist::Outcome::Passed | checklist::Outcome::Skipped(_) => ExitCode::SUCCESS,
    })
}

fn all() -> Result<Vec<Scenario>, Failure> {
    scenarios().map_err(|error| Failure::machine(error, "this labctl was built of faulty scenarios"))
}

fn check(engine: Engine) -> Result<(), Failure> {
    let missing = match engine {
        Engine::Labctl => None,
        Engine::Keepalived => keepalived::missing(),
        Engine::Frr => frr::missing(),
    };
    missing.map_or(Ok(()), |(program, package)| {
        Err(Failure::machine(format!("`{program}` is not installed"), format!("`apt-get install {package}`")))
    })
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(JOBS_MAX)
}

fn json(matrix: &Matrix) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(matrix).map_err(std::io::Error::from)?)
}

fn write(folder: &Path, matrix: &Matrix) -> Result<(), Failure> {
    for (name, text) in [("vrrp.json", json(matrix)? + "\n"), ("vrrp.md", matrix.markdown())] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| unwritable("write", &path, &error))?;
    }
    Ok(())
}

fn unwritable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(
        format!("{what} {}: {error}", path.display()),
        "name a folder that you may write to, or leave `--out` away",
    )
}
