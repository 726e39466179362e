//! `labctl load`: conversations with a site that is up, and what its memory made of them. It is a drill that breaks nothing;
//! what goes wrong meanwhile is somebody else's doing.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::drill::{Format, print, under_load};
use super::{Failure, Outcome, Which};
use crate::drill::{self, Drill};
use crate::report::{history, render};
use crate::topology::lasting;

const EXAMPLES: &str = "\
Examples:
  labctl load                                                    100 turns per second for 10 s
  labctl load --conversations 32 --turns-per-s 400 --duration 30s
  labctl load --history history.jsonl && labctl check history.jsonl
  labctl load --format json | jq .turns.durability

Break something meanwhile: `labctl kill web1`, `labctl cut db1 web1`, `labctl power off proxy1`.

Exit codes: 0 passed, 1 turns were lost, doubled or never acknowledged, 2 bad arguments, 4 nothing can be told.";

/// Have many conversations with a site that is up, and check its memory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Conversations held at the same time
    #[arg(short, long, value_name = "COUNT", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(drill::CONVERSATIONS_MAX)))]
    conversations: u32,
    /// Turns per second of all conversations together, however slow the answers are
    #[arg(short, long, value_name = "RATE", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(drill::TURNS_PER_S_MAX)))]
    turns_per_s: u32,
    /// From the first turn to the last
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = length)]
    duration: Duration,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = patience)]
    timeout: Duration,
    /// Turns that are followed by a read of their conversation
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = share)]
    reads: String,
    /// Where the history goes, for `labctl check`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// From one probe of the VIP to the next.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// What one option must be is said with its name; what is wrong with several together is the drill's reader's business.
fn length(text: &str) -> Result<Duration, String> {
    let max = PROBE_INTERVAL.saturating_mul(u32::try_from(drill::PROBES_MAX).unwrap_or(u32::MAX));
    between(text, Duration::from_nanos(1), max)
}

fn patience(text: &str) -> Result<Duration, String> {
    between(text, drill::TIMEOUT_MIN, drill::TIMEOUT_MAX)
}

fn between(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    match lasting(text)? {
        duration if duration < min => Err(format!("at least {min:?} is needed")),
        duration if duration > max => Err(format!("at most {max:?} is possible")),
        duration => Ok(duration),
    }
}

fn share(text: &str) -> Result<String, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
    match percent.filter(|percent| *percent <= 100) {
        Some(percent) => Ok(format!("{percent}%")),
        None => Err("a share is from 0% to 100%".to_owned()),
    }
}

impl Args {
    /// A drill file says the same, so its reader knows what is wrong with it.
    fn drill(&self) -> Result<Drill, Failure> {
        let written = |duration: Duration| format!("{}ns", duration.as_nanos());
        let text = format!(
            "name: load\ntopology: up\nduration: {}\nfaults: []\n\
             load: {{ conversations: {}, turns_per_s: {}, timeout: {}, probe_interval: {}, reads: {} }}\n",
            written(self.duration),
            self.conversations,
            self.turns_per_s,
            written(self.timeout),
            written(PROBE_INTERVAL),
            self.reads,
        );
        drill::parse("arguments", &text).map_err(|problems| {
            let messages: Vec<_> = problems.0.iter().map(|problem| problem.message.as_str()).collect();
            let help = problems.0.iter().find_map(|problem| problem.help.clone());
            let help = help.map_or("`labctl load --help` has examples".to_owned(), |help| as_options(&help));
            Failure::usage(messages.join("; "), help)
        })
    }
}

/// What to write in a drill file, as what to write on the command line.
fn as_options(help: &str) -> String {
    help.replace("`conversations: ", "`--conversations ")
        .replace("`turns_per_s`", "`--turns-per-s`")
        .replace("`duration`", "`--duration`")
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let drill = args.drill()?;
    let lab = args.which.find()?;
    // A name that cannot be one is said before there is anything to lose.
    let history_file = args.history.as_deref().map(create).transpose()?;
    let events = under_load(&drill, &lab, &lab.topology()?)?;
    let bug = |error: crate::report::Missing| Failure::machine(error.to_string(), "this is a bug in labctl");
    if let (Some(mut file), Some(path)) = (history_file, &args.history) {
        file.write_all(history(&events).map_err(bug)?.as_bytes()).map_err(|error| {
            Failure::machine(format!("write {}: {error}", path.display()), "name another file")
        })?;
    }
    let report = render(&events).map_err(bug)?;
    print(&report, args.format)?;
    Ok(ExitCode::from(report.verdict.exit_code()))
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path)
        .map_err(|error| Failure::usage(format!("write {}: {error}", path.display()), "name another file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn what_one_option_cannot_be_is_said_with_its_name() {
        let lines = [
            ("-d=-1s", "--duration"),
            ("-d=0s", "--duration"),
            ("-d=100000h", "--duration"),
            ("-c=0", "--conversations"),
            ("-t=0", "--turns-per-s"),
            ("--timeout=0s", "--timeout"),
            ("--timeout=1ns", "--timeout"),
            ("--timeout=1m", "--timeout"),
            ("--reads=101%", "--reads"),
        ];
        for (line, option) in lines {
            let error = Cli::try_parse_from(["load", line]).expect_err(line).to_string();
            assert!(error.contains(option) && !error.contains("probe"), "{line}: {error}");
        }
    }

    #[test]
    fn the_defaults_are_a_drill_and_too_many_turns_are_not() {
        let drill = |line: &[&str]| Cli::try_parse_from(line).expect("arguments").args.drill();
        let usual = drill(&["load"]).map_err(drop).expect("a drill");
        assert_eq!((usual.duration, usual.load.timeout), (Duration::from_secs(10), Duration::from_secs(1)));
        assert!(drill(&["load", "-d", "1h", "-t", "5000"]).is_err());
        let help = "write `conversations: 12` or more, or a shorter `duration`";
        assert_eq!(as_options(help), "write `--conversations 12` or more, or a shorter `--duration`");
    }
}
