//! `labctl load`: conversations with a site that is up, and what its memory made of them. It is a drill that breaks nothing;
//! what goes wrong meanwhile is somebody else's doing.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::drill::{Format, print, under_load};
use super::{Failure, Outcome, Which};
use crate::drill::{self, Drill};
use crate::report::{history, render};

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
    conversations: u32,
    /// Turns per second of all conversations together, however slow the answers are
    #[arg(short, long, value_name = "RATE", default_value_t = 100)]
    turns_per_s: u32,
    /// From the first turn to the last
    #[arg(short, long, value_name = "TIME", default_value = "10s")]
    duration: String,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "1s")]
    timeout: String,
    /// Turns that are followed by a read of their conversation
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    reads: String,
    /// Where the history goes, for `labctl check`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    /// A drill file says the same, so its reader knows what is wrong with it.
    fn drill(&self) -> Result<Drill, Failure> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let text = format!(
            "name: load\ntopology: up\nduration: {}\nfaults: []\n\
             load: {{ conversations: {}, turns_per_s: {}, timeout: {}, probe_interval: 10ms, reads: {} }}\n",
            quoted(&self.duration),
            self.conversations,
            self.turns_per_s,
            quoted(&self.timeout),
            quoted(&self.reads),
        );
        drill::parse("arguments", &text).map_err(|problems| {
            let messages: Vec<_> = problems.0.iter().map(|problem| problem.message.as_str()).collect();
            let help = problems.0.iter().find_map(|problem| problem.help.clone());
            Failure::usage(
                messages.join("; "),
                help.unwrap_or("`labctl load --help` has examples".to_owned()),
            )
        })
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let drill = args.drill()?;
    let lab = args.which.find()?;
    let events = under_load(&drill, &lab, &lab.topology()?)?;
    let bug = |error: crate::report::Missing| Failure::machine(error.to_string(), "this is a bug in labctl");
    if let Some(path) = &args.history {
        let failed =
            |error| Failure::usage(format!("write {}: {error}", path.display()), "name another file");
        fs::write(path, history(&events).map_err(bug)?).map_err(failed)?;
    }
    let report = render(&events).map_err(bug)?;
    print(&report, args.format)?;
    Ok(ExitCode::from(report.verdict.exit_code()))
}
