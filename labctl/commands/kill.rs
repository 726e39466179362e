//! `labctl kill`: a node or one of its services.

use std::process::ExitCode;
use std::str::FromStr;

use nix::sys::signal::Signal;

use super::{Failure, Outcome, Which};
use crate::roles::init::Order;
use crate::topology::{NameError, NodeName, ServiceName};

const EXAMPLES: &str = "\
Examples:
  labctl kill proxy1                               the whole machine, cables still in
  labctl kill web1/web                             one service; its restart policy decides what follows
  labctl kill db1/db --signal STOP                 hang it; `--signal CONT` lets it go on
  labctl kill web1 --signal STOP                   hang all of the machine's processes; its kernel answers on
  labctl kill proxy1/vrrpd --signal TERM

KILL, STOP and CONT reach every process of a service, other signals the first of them.";

/// Kill a node or signal one of its services
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// NODE or NODE/SERVICE
    target: Target,
    /// The signal for a service: KILL, TERM, STOP, CONT, ...
    #[arg(short, long, default_value = "KILL", value_parser = signal)]
    signal: Signal,
}

#[derive(Clone, Debug)]
struct Target {
    node: NodeName,
    service: Option<ServiceName>,
}

impl FromStr for Target {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((node, service)) => Ok(Self { node: node.parse()?, service: Some(service.parse()?) }),
            None => Ok(Self { node: text.parse()?, service: None }),
        }
    }
}

fn signal(name: &str) -> Result<Signal, String> {
    let upper = name.to_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse().map_err(|_| format!("there is no signal {name}; try KILL, TERM, STOP or CONT"))
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    match &args.target.service {
        Some(service) => {
            let order = Order::Signal { service: service.clone(), signal: args.signal as i32 };
            lab.order(&args.target.node, order)?;
        }
        None if args.signal == Signal::SIGKILL => lab.kill(&args.target.node)?,
        None if args.signal == Signal::SIGSTOP => lab.hang(&args.target.node, true)?,
        None if args.signal == Signal::SIGCONT => lab.hang(&args.target.node, false)?,
        None => {
            return Err(Failure::usage(
                format!(
                    "a whole node can be killed, stopped and continued; {} is for a service",
                    args.signal
                ),
                format!("name one: `labctl kill {}/SERVICE --signal {}`", args.target.node, args.signal),
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
