//! `labctl list`: the labs that are up.

use std::process::ExitCode;

use super::{Format, Outcome};
use crate::holder::client::{labs, sweep};

/// List the labs that are up
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  labctl list\n  labctl list --format json | jq -r '.labs[]'")]
pub struct Args {
    /// How they are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    sweep();
    let labs = labs()?;
    match args.format {
        Format::Json => print_line!("{}", serde_json::json!({ "labs": labs }))?,
        Format::Table if labs.is_empty() => say!("no lab is up"),
        Format::Table => labs.iter().try_for_each(|lab| print_line!("{lab}"))?,
    }
    Ok(ExitCode::SUCCESS)
}
