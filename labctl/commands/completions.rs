//! `labctl completions`: for the shell.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Outcome, output};

const EXAMPLES: &str = "\
Examples:
  labctl completions bash > /etc/bash_completion.d/labctl
  labctl completions zsh > ~/.zfunc/_labctl        with ~/.zfunc in fpath
  labctl completions fish > ~/.config/fish/completions/labctl.fish";

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Runs the verb.
pub fn run<Cli: CommandFactory>(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "labctl", &mut script);
    output::write(&script)?;
    Ok(ExitCode::SUCCESS)
}
