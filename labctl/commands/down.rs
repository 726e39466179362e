//! `labctl down`: the end of a lab.

use std::process::ExitCode;

use super::Outcome;
use crate::holder::client::{Lab, labs};
use crate::topology::LabName;

/// End a lab
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  labctl down\n  labctl down second --wait\n  labctl down --all")]
pub struct Args {
    /// The lab, if more than one is up
    #[arg(env = "LABCTL_LAB")]
    name: Option<LabName>,
    /// Return only when the kernel has removed everything, and prove it
    #[arg(long)]
    wait: bool,
    /// End every lab
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let names = if args.all { labs()?.into_iter().map(Some).collect() } else { vec![args.name.clone()] };
    for name in names {
        let lab = Lab::find(name)?;
        if args.wait {
            let namespaces = lab.down_and_wait()?;
            eprintln!("{} is down; its {namespaces} network namespaces are gone", lab.name());
        } else {
            lab.down()?;
            eprintln!("{} is down", lab.name());
        }
    }
    Ok(ExitCode::SUCCESS)
}
