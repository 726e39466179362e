//! `labctl hog`: a bad neighbour on a node. What it does there is in `roles/hog.rs`; here are the arguments, and what keeps a
//! hog from eating the machine.

use std::process::ExitCode;
use std::time::Duration;

use super::{Failure, Outcome, Which, exec};
use crate::kernel::process::SELF;
use crate::roles::hog::{self, Appetite};
use crate::topology::{Limits, NodeName, duration, size};

const EXAMPLES: &str = "\
Examples:
  labctl hog web1 --cpu 2                               two busy threads, for 10 s
  labctl hog web1 --memory 256MiB --for 30s             a leak, until the kernel kills somebody
  labctl hog web1 --memory 256MiB --workers 40          the same by processes of which none is the largest
  labctl hog db1 --disk 1GiB                            a full disk
  labctl hog web1 --port 7000                           a port that somebody else may want";

/// Use up what a node has, for a bounded time
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node
    node: NodeName,
    #[command(flatten)]
    hunger: Hunger,
}

/// What it is hungry for, and for how long.
#[derive(Debug, clap::Args)]
pub struct Hunger {
    #[command(flatten)]
    what: What,
    /// How many processes take the memory
    #[arg(long, value_name = "PROCESSES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// When it has had enough
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    lasts: Duration,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Keep so many threads busy
    #[arg(long, value_name = "THREADS", value_parser = clap::value_parser!(u32).range(1..=64))]
    cpu: Option<u32>,
    /// Take so much memory, bit by bit; only on a node whose memory is limited
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory: Option<u64>,
    /// Fill the disk with so much; only on a node whose disk is limited
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    disk: Option<u64>,
    /// Listen on a TCP port on all addresses
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

fn bytes(text: &str) -> Result<u64, String> {
    size(text).map_err(|help| help.unwrap_or("a size is written as 64MiB, from 1MiB to 1TiB".to_owned()))
}

impl Hunger {
    fn appetite(&self) -> Option<Appetite> {
        let What { cpu, memory, disk, port } = self.what;
        let workers = self.workers;
        let memory = memory.map(|bytes| Appetite::Memory { bytes, workers });
        cpu.map(Appetite::Cpu).or(memory).or(disk.map(Appetite::Disk)).or(port.map(Appetite::Port))
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let lab = args.which.find()?;
    let limits = lab.status()?.node(&args.node).and_then(|node| node.limits).unwrap_or_default();
    let Some(appetite) = args.hunger.appetite() else { return Ok(ExitCode::SUCCESS) };
    if let Some((what, key)) = unbounded(appetite, &limits) {
        return Err(Failure::usage(
            format!("the {what} of {} is not limited, so a hog would eat that of the machine", args.node),
            format!("give the node some in the topology, such as `{key}`"),
        ));
    }
    let words = hog::words(appetite, args.hunger.lasts);
    exec::on(&lab, &args.node, SELF.as_ref(), hog::as_arguments(&words))
}

/// What there is no end of.
fn unbounded(appetite: Appetite, limits: &Limits) -> Option<(&'static str, &'static str)> {
    match appetite {
        Appetite::Memory { .. } if limits.memory_bytes.is_none() => Some(("memory", "memory: 64MiB")),
        Appetite::Disk(_) if limits.disk_bytes.is_none() => Some(("disk", "disk: 16MiB")),
        Appetite::Cpu(_) | Appetite::Memory { .. } | Appetite::Disk(_) | Appetite::Port(_) => None,
    }
}

/// Runs the hidden verb, on the node.
pub fn eat(hunger: &Hunger) -> Outcome {
    let Some(appetite) = hunger.appetite() else { return Ok(ExitCode::SUCCESS) };
    match hog::eat(appetite, hunger.lasts, |meal| {
        let _ = print_line!("{meal}");
    }) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            say!("labctl: {error}");
            Ok(ExitCode::from(Failure::FAILED))
        }
    }
}
