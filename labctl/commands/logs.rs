//! `labctl logs`: what a node's services wrote.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use super::{Outcome, Which, output};
use crate::topology::NodeName;

/// How often a followed log is looked at. The reader is a person.
const LOOK: Duration = Duration::from_millis(100);

/// Print what a node's services wrote
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  labctl logs proxy1\n  labctl logs -f db1")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node
    node: NodeName,
    /// Go on as more is written, until the lab ends or Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

/// Runs the verb.
#[expect(clippy::disallowed_methods, reason = "a file cannot be polled; the reader is a person")]
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    let mut log = lab.log(&args.node)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = log.read(&mut buffer)?;
        if len > 0 {
            output::write(&buffer[..len])?;
            continue;
        }
        if !args.follow || crate::holder::client::Lab::find(Some(lab.name().clone())).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(LOOK);
    }
}
