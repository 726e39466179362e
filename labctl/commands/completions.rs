//! `labctl completions`: for the shell.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Outcome;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  labctl completions bash > /etc/bash_completion.d/labctl")]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Runs the verb.
pub fn run<Cli: CommandFactory>(args: &Args) -> Outcome {
    clap_complete::generate(args.shell, &mut Cli::command(), "labctl", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
