//! `labctl conformance`: judges a VRRP daemon or a balancer from outside, ours or another.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::{Failure, Format, Outcome};
use crate::conformance::balancer::Balancer;
use crate::conformance::balancer::checklist::{CLAIMS, Subject};
use crate::conformance::checklist::{self, Matrix, Scenario};
use crate::conformance::vrrp::Vrrp;
use crate::conformance::vrrp::checklist::REQUIREMENTS;
use crate::conformance::{Judged, Suite, suite};
use crate::kernel::capability::{self, Capability};
use crate::roles::{frr, keepalived};
use crate::topology::Engine;

const EXAMPLES: &str = "\
Examples:
  labctl conformance vrrp                          our own daemon, every requirement
  labctl conformance vrrp --engine keepalived      what keepalived makes of them
  labctl conformance vrrp --only V19,V20 --engine labctl --engine frr
  labctl conformance vrrp --out /tmp/matrix        the same, and vrrp.json and vrrp.md in that folder
  labctl conformance balancer --engine tun --engine haproxy --only B08

Exit codes: 0 it was played, whatever programs of others made of it; 1 our own failed a requirement; 2 bad arguments, or a folder that cannot be made; 4 the machine did not let it happen.";

/// More scenarios than this side by side make one another late.
const JOBS_MAX: usize = 4;

/// Judge a daemon or a balancer from outside, by what it does to others
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    suite: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// VRRP daemons, by RFC 9568 and RFC 3768
    Vrrp(VrrpArgs),
    /// Balancers, by what they promise to visitors of a site
    Balancer(BalancerArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct VrrpArgs {
    /// Whom to judge; may be given several times
    #[arg(long, value_parser = engine(), value_name = "ENGINE", default_value = "labctl")]
    engine: Vec<Engine>,
    /// Only these requirements
    #[arg(long, value_delimiter = ',', value_name = "V19,L03", value_parser = requirement)]
    only: Vec<String>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct BalancerArgs {
    /// Whom to judge; may be given several times
    #[arg(long, value_parser = subject(), value_name = "ENGINE", default_value = "nat")]
    engine: Vec<Subject>,
    /// Only these claims
    #[arg(long, value_delimiter = ',', value_name = "B03,B08", value_parser = claim)]
    only: Vec<String>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the matrix as .json and .md into this folder; without it nothing is written
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

fn subject() -> impl TypedValueParser<Value = Subject> {
    let possible = Subject::ALL.map(|subject| {
        PossibleValue::new(subject.word()).help(match subject {
            Subject::Nat => "Ours, VS/NAT",
            Subject::Tun => "Ours, VS/TUN",
            Subject::Dr => "Ours, VS/DR",
            Subject::Proxy => "Ours, layer 7",
            Subject::Haproxy => "HAProxy as an HTTP proxy",
            Subject::Nginx => "nginx as an HTTP proxy",
            Subject::Nft => "Destination NAT by nft",
            Subject::Ipvs => "IPVS, VS/NAT",
        })
    });
    PossibleValuesParser::new(possible).try_map(|word| word.parse::<Subject>())
}

fn claim(text: &str) -> Result<String, String> {
    match CLAIMS.iter().find(|(id, _)| id.eq_ignore_ascii_case(text)) {
        Some((id, _)) => Ok((*id).to_owned()),
        None => Err("there are B01 to B10".to_owned()),
    }
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
    suite: String,
    engine: String,
    name: String,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    match &args.suite {
        // A daemon that is not there is no reason to play half a matrix of two or three.
        Kind::Vrrp(args) => {
            args.engine.iter().try_for_each(|engine| check(*engine))?;
            judge::<Vrrp>(&args.engine, &args.only, &args.run)
        }
        // Of many, those that are there can be judged.
        Kind::Balancer(args) => judge::<Balancer>(&args.engine, &args.only, &args.run),
    }
}

fn judge<S: Suite>(given: &[S::Engine], only: &[String], args: &RunArgs) -> Outcome {
    // Nobody plays for half an hour to hear then that there is no room for the result.
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|error| unwritable("make the folder", folder, &error))?;
    }
    let mut engines: Vec<S::Engine> = Vec::new();
    for &engine in given {
        if !engines.contains(&engine) {
            engines.push(engine);
        }
    }
    let missing = capability::missing(&[Capability::SysAdmin, Capability::NetAdmin, Capability::NetRaw]);
    if !missing.is_empty() {
        return Err(Failure::privilege(&missing));
    }
    let mut chosen = all::<S>()?;
    let wanted = |one: &Scenario| only.is_empty() || one.ids.iter().any(|id| only.contains(id));
    chosen.retain(wanted);
    let jobs = args.jobs.map_or_else(jobs, usize::from);
    let total = chosen.len() * engines.len();
    let mut done = 0;
    let played = suite::run::<S>(&chosen, &engines, jobs, |one| {
        done += 1;
        let owes = S::owes(&chosen[one.scenario], one.engine);
        let words = match &one.outcome {
            checklist::Outcome::Passed => "pass".to_owned(),
            checklist::Outcome::Failed(why) if owes => format!("FAIL: {why}"),
            checklist::Outcome::Failed(why) => format!("differs: {why}"),
            checklist::Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        say!("{done}/{total} {} {}: {words}", one.engine.word(), chosen[one.scenario].name);
    });
    let versions: Vec<(S::Engine, String)> =
        engines.iter().map(|engine| (*engine, S::version(*engine))).collect();
    let matrix = S::matrix(&chosen, &played, &versions).only(only);
    if let Some(folder) = &args.out {
        write(folder, S::WORD, &matrix)?;
    }
    match args.format {
        Format::Table => print_line!("{}", matrix.table())?,
        Format::Json => print_line!("{}", json(&matrix)?)?,
    }
    let failed = engines.iter().any(|engine| engine.is_ours() && !matrix.holds(*engine));
    Ok(if failed { ExitCode::from(Failure::FAILED) } else { ExitCode::SUCCESS })
}

/// Runs the hidden verb: the outcome is one line of JSON, and steps are told as they are taken.
pub fn one(args: &One) -> Outcome {
    match args.suite.as_str() {
        Vrrp::WORD => play::<Vrrp>(args),
        Balancer::WORD => play::<Balancer>(args),
        other => {
            Err(Failure::usage(format!("there is no suite {other:?}"), "see `labctl conformance --help`"))
        }
    }
}

fn play<S: Suite>(args: &One) -> Outcome {
    let nobody = |error: String| Failure::usage(error, "see `labctl conformance --help`");
    let engine: S::Engine = args.engine.parse().map_err(nobody)?;
    let scenarios = all::<S>()?;
    let scenario = scenarios.iter().find(|one| one.name == args.name).ok_or_else(|| {
        Failure::usage(
            format!("there is no scenario {:?}", args.name),
            "`cargo test -- --list` has all names",
        )
    })?;
    let outcome = S::play(scenario, engine, |step| say!("{step}"));
    let line = serde_json::to_string(&outcome).map_err(std::io::Error::from)?;
    print_line!("{line}")?;
    Ok(match outcome {
        checklist::Outcome::Failed(_) => ExitCode::from(Failure::FAILED),
        checklist::Outcome::Passed | checklist::Outcome::Skipped(_) => ExitCode::SUCCESS,
    })
}

fn all<S: Suite>() -> Result<Vec<Scenario>, Failure> {
    S::scenarios().map_err(|error| Failure::machine(error, "this labctl was built of faulty scenarios"))
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

fn write(folder: &Path, name: &str, matrix: &Matrix) -> Result<(), Failure> {
    for (extension, text) in [("json", json(matrix)? + "\n"), ("md", matrix.markdown())] {
        let path = folder.join(format!("{name}.{extension}"));
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
