//! `labctl power`: a machine off and on again.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{Outcome, Which};
use crate::holder::lab::Error;
use crate::topology::NodeName;

/// Switch a node off (silence) or on again
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl power off proxy1      its peers see silence, as of a pulled plug\n  labctl power on proxy1       its disk is as it was"
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Which way
    switch: Switch,
    /// The nodes
    #[arg(required = true)]
    nodes: Vec<NodeName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    /// Cut the cables, then kill everything: peers see silence
    Off,
    /// Plug it in and start it
    On,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    super::check_all(&lab, &args.nodes, |node, is_up| match args.switch {
        Switch::Off => (!is_up).then_some(Error::NodeIsDown(node)),
        Switch::On => is_up.then_some(Error::NodeIsUp(node)),
    })?;
    for node in &args.nodes {
        match args.switch {
            Switch::Off => lab.power_off(node)?,
            Switch::On => lab.power_on(node)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
