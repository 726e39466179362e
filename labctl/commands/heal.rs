//! `labctl heal`: nodes that were cut off are reached again.

use std::process::ExitCode;

use super::{Outcome, Which};
use crate::holder::protocol::Cable;
use crate::topology::{NetworkName, NodeName};

const EXAMPLES: &str = "\
Examples:
  labctl heal db1 web1
  labctl heal db1 web1 --network data      what was cut on other networks stays so";

/// Have nodes that were cut off reach everybody again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The nodes
    #[arg(required = true)]
    nodes: Vec<NodeName>,
    /// On this network only
    #[arg(short, long)]
    network: Option<NetworkName>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    super::check_all(&lab, &args.nodes, |_, _| None)?;
    let topology = lab.topology()?;
    for name in &args.nodes {
        let networks: Vec<&NetworkName> = match &args.network {
            Some(network) => vec![network],
            None => {
                topology.node(name).into_iter().flat_map(|it| &it.interfaces).map(|it| &it.network).collect()
            }
        };
        networks.into_iter().try_for_each(|network| lab.cable(name, network, Cable::Heal))?;
    }
    Ok(ExitCode::SUCCESS)
}
