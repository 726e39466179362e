//! `labctl reach`: whom a node can open a TCP connection to, and what becomes of those that it cannot.

use std::io::ErrorKind;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;

use super::{Failure, Format, Outcome, Which};
use crate::topology::{NodeName, lasting};

/// Try TCP connections from a node
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  labctl reach --from web1 db1:7000 db2:7000 db3:7000\n  labctl reach --from client db1:7000"
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node that tries
    #[arg(long, value_name = "NODE")]
    from: NodeName,
    /// How long one try may take
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = lasting)]
    timeout: Duration,
    /// How the outcomes are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where to: HOST:PORT
    #[arg(required = true, value_parser = target)]
    targets: Vec<String>,
}

fn target(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(text.to_owned())
        }
        _ => Err("a target is HOST:PORT, such as db1:7000".to_owned()),
    }
}

/// Runs the verb: exit code 0 if every target was reached.
pub fn run(args: &Args) -> Outcome {
    let init = args.which.find()?.enter(&args.from)?;
    init.visit().map_err(|errno| Failure::entering(&args.from, errno))?;
    let outcomes: Vec<_> =
        args.targets.iter().map(|target| (target, outcome(target, args.timeout))).collect();
    match args.format {
        Format::Json => {
            let all: serde_json::Map<_, _> =
                outcomes.iter().map(|(target, outcome)| ((*target).clone(), (*outcome).into())).collect();
            print_line!("{}", serde_json::Value::Object(all))?;
        }
        Format::Table => {
            outcomes.iter().try_for_each(|(target, outcome)| print_line!("{target} {outcome}"))?;
        }
    }
    let all = outcomes.iter().all(|(_, outcome)| *outcome == "open");
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(Failure::FAILED) })
}

fn outcome(target: &str, timeout: Duration) -> &'static str {
    let Some(address) = target.to_socket_addrs().ok().and_then(|mut all| all.next()) else {
        return "unknown host";
    };
    match std::net::TcpStream::connect_timeout(&address, timeout) {
        Ok(_) => "open",
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => "refused",
            ErrorKind::TimedOut | ErrorKind::WouldBlock => "silent",
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => "unreachable",
            _ => "failed",
        },
    }
}
