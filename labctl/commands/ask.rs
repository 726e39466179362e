//! A hidden verb: asks a daemon of the node that it runs on, or the node's kernel, how it is or something else, and prints
//! the JSON that it says.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use super::{Failure, Outcome};
use crate::kernel::survey;
use crate::roles::{balancer, inquiry, vrrpd};

/// A daemon that works says within a millisecond how it is, and changes what it does within some ten of them; one that hangs
/// does not within any time.
const WITHIN: Duration = Duration::from_secs(2);

/// Ask a daemon of this node, or its kernel, how it is
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which
    daemon: Daemon,
    /// What else than how it is, as a line of JSON
    question: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Daemon {
    Vrrpd,
    Balancer,
    Kernel,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let path = match args.daemon {
        Daemon::Vrrpd => vrrpd::SOCKET_PATH,
        Daemon::Balancer => balancer::SOCKET_PATH,
        Daemon::Kernel => return tell_of_kernel(),
    };
    let question = args.question.as_deref().unwrap_or_default();
    let answer = inquiry::converse(Path::new(path), question.as_bytes(), WITHIN).map_err(|error| {
        let who = format!("{:?}", args.daemon).to_lowercase();
        let message = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                format!("{who} does not listen at {path}")
            }
            _ => format!("ask {who}: {error}"),
        };
        Failure::machine(message, "`labctl logs` shows whether it runs on this node")
    })?;
    super::output::write(&answer)?;
    Ok(ExitCode::SUCCESS)
}

fn tell_of_kernel() -> Outcome {
    let survey = survey::look().map_err(std::io::Error::other)?;
    print_line!("{}", serde_json::to_string(&survey).map_err(std::io::Error::from)?)?;
    Ok(ExitCode::SUCCESS)
}
