//! `labctl cut`: nodes off from the others, or from each other, without touching their links.

use std::process::ExitCode;

use super::{Failure, Outcome, Which};
use crate::holder::protocol::ApartFrom;
use crate::topology::{NetworkName, NodeName};

const EXAMPLES: &str = "\
Examples:
  labctl cut db1 web1                      nothing passes between these two and all others; they reach each other
  labctl cut db1 web1 --network data       the same on one network
  labctl cut web1 web2 --apart             nothing passes between these two; everybody else reaches both
  labctl heal db1 web1                     the end of it

All links stay up, and nobody is told: what was sent is lost.";

/// Cut nodes off from all others, or from each other
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The nodes
    #[arg(required = true)]
    nodes: Vec<NodeName>,
    /// From each other, and not from all others
    #[arg(long)]
    apart: bool,
    /// On this network only
    #[arg(short, long)]
    network: Option<NetworkName>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let from = if args.apart { ApartFrom::EachOther } else { ApartFrom::TheRest };
    super::named_once(&args.nodes)?;
    if args.apart && args.nodes.len() < 2 {
        return Err(Failure::usage(
            "one node cannot be cut off from itself",
            "name two nodes, or leave out `--apart`",
        ));
    }
    args.which.find()?.set_apart(&args.nodes, from, args.network.as_ref())?;
    Ok(ExitCode::SUCCESS)
}
