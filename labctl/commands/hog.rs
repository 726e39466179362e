//! `labctl hog`: a bad neighbour on a node. What it does there is in `roles/hog.rs`; here are the arguments, and what keeps a
//! hog from eating the machine.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};
use std::time::Duration;

use miette::MietteDiagnostic;
use nix::sys::signal::{SigSet, Signal};

use super::{Failure, Outcome, Which, exec};
use crate::kernel::cgroup::Kills;
use crate::kernel::process::SELF;
use crate::roles::hog::{self, Appetite};
use crate::topology::{Limits, NodeName, lasting, size};

const EXAMPLES: &str = "\
Examples:
  labctl hog web1 --cpu 2                               two busy threads, for 10 s
  labctl hog web1 --memory 256MiB --for 30s             a leak, until the kernel kills somebody
  labctl hog web1 --memory 256MiB --workers 40          the same by processes of which none is the largest
  labctl hog db1 --disk 1GiB                            a full disk
  labctl hog web1 --port 7000                           a port that somebody else may want

Exit codes: 0 it had its time, 1 it did not get what it wanted, such as a port that somebody has, 2 bad arguments, 4 the
machine did not let it happen, 130 interrupted, 137 killed: by the kernel when the memory was used up, or by somebody.";

/// Who wants it to end.
const INTERRUPTS: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

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
    #[arg(long, value_name = "PROCESSES", default_value_t = 1, conflicts_with_all = ["cpu", "disk", "port"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// When it has had enough
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = lasting)]
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
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
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
    let status = lab.status()?;
    let node = status.node(&args.node);
    let limits = node.and_then(|node| node.limits).unwrap_or_default();
    let Some(appetite) = args.hunger.appetite() else { return Ok(ExitCode::SUCCESS) };
    if let Some((what, key)) = unbounded(appetite, &limits) {
        return Err(Failure::usage(
            format!("the {what} of {} is not limited, so a hog would eat that of the machine", args.node),
            format!("give the node some in the topology, such as `{key}`"),
        ));
    }
    // From the node, the folder that is counted in is not to be seen.
    let kills = node.and_then(|node| node.pid).and_then(|init| Kills::beside(init).ok().flatten());
    let kills = kills.and_then(|kills| Some((kills.count().ok()?, kills)));
    let signals = SigSet::from_iter(INTERRUPTS.into_iter().chain([Signal::SIGCHLD]));
    signals.thread_block().map_err(io::Error::from)?;
    let words = hog::words(appetite, args.hunger.lasts);
    let started = exec::start(&lab, &args.node, SELF.as_ref(), hog::as_arguments(&words))?;
    let mut child = started.map_err(|error| {
        Failure::machine(format!("start a hog on {}: {error}", args.node), "`labctl status` shows the node")
    })?;
    let (ended, interrupt) = wait(&mut child, &signals)?;
    if let Some(signal) = interrupt {
        return Ok(ExitCode::from(exec::code(ExitStatus::from_raw(signal as i32))));
    }
    if ended.signal() == Some(Signal::SIGKILL as i32) {
        match kills.is_some_and(|(before, kills)| kills.count().is_ok_and(|now| now > before)) {
            true => {
                say!("labctl: the kernel's OOM killer ended the hog: the memory of {} is used up", args.node)
            }
            false => say!("labctl: somebody killed the hog on {}", args.node),
        }
    }
    Ok(ExitCode::from(exec::code(ended)))
}

/// Waits for the end of a child, and ends it at an interrupt: that may be meant for this process alone, where one from a
/// terminal reaches both.
fn wait(child: &mut Child, signals: &SigSet) -> io::Result<(ExitStatus, Option<Signal>)> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, None));
        }
        let signal = signals.wait()?;
        if INTERRUPTS.contains(&signal) {
            child.kill()?;
            return Ok((child.wait()?, Some(signal)));
        }
    }
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
    let printed = RefCell::new(Ok(()));
    let eaten = hog::eat(appetite, hunger.lasts, |meal| *printed.borrow_mut() = print_line!("{meal}"));
    eaten.map_err(|error| refused(appetite, &error))?;
    printed.into_inner().map(|()| ExitCode::SUCCESS)
}

/// Why it did not get what it wanted. Whoever is on a node knows it by its host name.
fn refused(appetite: Appetite, error: &io::Error) -> Failure {
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let node = node.trim();
    let (message, help) = match (appetite, error.kind()) {
        (Appetite::Port(port), ErrorKind::AddrInUse) => (
            format!("port {port} of {node} is in use"),
            format!("`labctl exec {node} -- ss -ltn` shows those that are; take another, or stop who has it"),
        ),
        _ => (
            format!("a hog on {node}: {error}"),
            format!("`labctl logs {node}` shows what else went wrong there"),
        ),
    };
    Failure::new(Failure::FAILED, MietteDiagnostic::new(message).with_help(help).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::process::Spawn;

    #[test]
    fn an_interrupt_ends_the_child_at_once() {
        // In a thread of its own: signals are blocked and sent thread by thread.
        let ended = std::thread::spawn(|| {
            let signals = SigSet::from_iter(INTERRUPTS);
            signals.thread_block().unwrap();
            let mut spawn = Spawn::own(&["1000"]);
            spawn.program = "sleep".as_ref();
            let mut child = spawn.start().unwrap();
            nix::sys::signal::raise(Signal::SIGINT).unwrap();
            wait(&mut child, &signals).unwrap()
        });
        let (status, interrupt) = ended.join().unwrap();
        assert_eq!((status.signal(), interrupt), (Some(libc::SIGKILL), Some(Signal::SIGINT)));
    }

    #[test]
    fn a_hog_that_would_take_nothing_is_refused() {
        #[derive(Debug, clap::Parser)]
        struct Cli {
            #[command(flatten)]
            hunger: Hunger,
        }
        let refuses = |line: &str| {
            <Cli as clap::Parser>::try_parse_from(line.split(' ')).is_err_and(|error| error.use_stderr())
        };
        let bad = [
            "x --port 0",
            "x --cpu 0",
            "x --cpu 1 --for 0s",
            "x --cpu 1 --workers 3",
            "x --disk 1MiB --workers 3",
        ];
        assert_eq!(bad.map(refuses), [true; 5]);
        assert!(!refuses("x --memory 8MiB --workers 3 --for 1ns"));
    }
}
