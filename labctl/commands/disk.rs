//! `labctl disk`: what can happen to a node's disk.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{Outcome, Which};
use crate::holder::lab::Error;
use crate::holder::protocol::Disk;
use crate::topology::NodeName;

const EXAMPLES: &str = "\
Examples:
  labctl power off db1 && labctl disk wipe db1 && labctl power on db1      a machine with a new disk
  labctl disk fill db1                                                     no room for one byte more
  labctl disk free db1";

/// Wipe a node's disk, fill it, or give it its room back
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// What happens to it
    act: Act,
    /// The nodes
    #[arg(required = true)]
    nodes: Vec<NodeName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Act {
    /// Remove all that is on it; the node must be off
    Wipe,
    /// Leave it without room
    Fill,
    /// Give it its room back
    Free,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    let becomes = match args.act {
        Act::Wipe => Disk::Wiped,
        Act::Fill => Disk::Full,
        Act::Free => Disk::Free,
    };
    super::check_all(&lab, &args.nodes, |node, is_up| match args.act {
        Act::Wipe => is_up.then_some(Error::DiskInUse(node)),
        Act::Fill | Act::Free => None,
    })?;
    args.nodes.iter().try_for_each(|node| lab.disk(node, becomes))?;
    Ok(ExitCode::SUCCESS)
}
