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
    super::all_are(&lab, &args.nodes, None)?;
    let topology = lab.topology()?;
    for name in &args.nodes {
        let networks: Vec<NetworkName> = match (&args.network, topology.node(name)) {
            (Some(network), _) => vec![network.clone()],
            (None, Some(node)) => node.interfaces.iter().map(|it| it.network.clone()).collect(),
            // The lab says which nodes there are.
            (None, None) => topology.networks.keys().take(1).cloned().collect(),
        };
        networks.iter().try_for_each(|network| lab.cable(name, network, Cable::Heal))?;
    }
    Ok(ExitCode::SUCCESS)
}
