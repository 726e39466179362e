//! `labctl events`: what happened in a lab.

use std::io;
use std::process::ExitCode;

use super::{Outcome, Which};

/// Print what happened, one JSON line an event
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl events\n  labctl events -f | jq -c 'select(.event == \"vrrp-state\")'"
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Go on as more happens, until the lab ends or Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    for event in args.which.find()?.events(args.follow)? {
        let line = serde_json::to_string(&event).map_err(io::Error::from)?;
        print_line!("{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}
