//! `labctl trace`: one request, and the walk of its packets through every interface of every node. What a walk is, and how it
//! is shown, is decided in `walk`; here are the arguments and the lab.

mod capture;
mod question;
mod request;

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use super::{Failure, Outcome, Which, output, up, validate};
use crate::holder::client::{Error, Lab, Leash, READY_WITHIN, labs};
use crate::holder::lab::chain;
use crate::kernel::process::SELF;
use crate::topology::{self, Forward, LabName, Topology};
use crate::walk::{self, Record, Show, Walk};

const EXAMPLES: &str = "\
Examples:
  labctl trace client vip:80                       in the lab that is up
  labctl trace 'client -> vip:80' --method dr      a shell takes a bare > for itself; without a lab of that
                                                   method, one is built for it and ended afterwards
  labctl trace client vip:80 --format pcap > walk.pcapng
  labctl trace client vip:80 --format json > walk.json && labctl trace --replay walk.json --all

Exit codes: 0 answered, 1 not answered (what was seen is printed all the same), 2 bad arguments, 4 the machine did not let
it happen.";

/// The longest file that is replayed.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Show the way of one request, packet by packet and hop by hop
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "labctl trace [OPTIONS] NODE HOST:PORT")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node that asks; or both in one, as 'NODE -> HOST:PORT'
    #[arg(required_unless_present = "replay", value_name = "NODE")]
    node: Option<String>,
    /// Whom it asks: `vip`, a virtual service, a node or an address, and a port
    #[arg(value_name = "HOST:PORT", allow_hyphen_values = true)]
    target: Option<String>,
    /// The same after an arrow of its own
    #[arg(hide = true)]
    after_arrow: Option<String>,
    /// A lab that forwards by this method: the one that is up, or else topologies/vs-METHOD.yaml, built for this
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// What is asked for
    #[arg(long, value_name = "PATH", default_value = "/healthz", value_parser = path)]
    path: String,
    /// How long the answer may take
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = topology::duration)]
    timeout: Duration,
    /// Every packet hop by hop, also acknowledgments and the end of the connection
    #[arg(long)]
    all: bool,
    /// Questions after hardware addresses, too
    #[arg(long)]
    arp: bool,
    /// Render a walk again that `--format json` wrote, instead of asking anybody
    #[arg(long, value_name = "FILE", conflicts_with_all = ["node", "method"])]
    replay: Option<PathBuf>,
    /// How the walk is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a walk is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: reports/walk.schema.json
    Json,
    /// A sequence diagram in Mermaid
    Mermaid,
    /// For Wireshark: pcapng, an interface for each interface of each node
    Pcap,
}

/// A forwarding method, in the word of the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// VS/NAT
    Nat,
    /// VS/TUN
    Tun,
    /// VS/DR
    Dr,
    /// Layer 7
    Proxy,
}

impl Method {
    fn forward(self) -> Forward {
        match self {
            Self::Nat => Forward::Nat,
            Self::Tun => Forward::Tun,
            Self::Dr => Forward::Dr,
            Self::Proxy => Forward::Proxy,
        }
    }

    /// A site of this method: its file's name, and what is in it.
    fn site(self) -> (&'static str, &'static str) {
        match self {
            Self::Nat => ("topologies/vs-nat.yaml", include_str!("../../topologies/vs-nat.yaml")),
            Self::Tun => ("topologies/vs-tun.yaml", include_str!("../../topologies/vs-tun.yaml")),
            Self::Dr => ("topologies/vs-dr.yaml", include_str!("../../topologies/vs-dr.yaml")),
            Self::Proxy => ("topologies/vs-proxy.yaml", include_str!("../../topologies/vs-proxy.yaml")),
        }
    }
}

fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
    is_path.then(|| text.to_owned()).ok_or_else(|| "a path is such as /healthz, without spaces".to_owned())
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    if args.format == Format::Pcap && std::io::stdout().is_terminal() {
        let help = "write it to a file: `labctl trace ... --format pcap > walk.pcapng`";
        return Err(Failure::usage("a capture file is nothing for a terminal", help));
    }
    let record = match &args.replay {
        Some(file) => replay(file)?,
        None => record(args)?,
    };
    let walk = Walk::of(&record);
    output::write(&rendered(&walk, args))?;
    Ok(if record.outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::from(Failure::FAILED) })
}

fn rendered(walk: &Walk, args: &Args) -> Vec<u8> {
    let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let show = Show { all: args.all, arp: args.arp, colour: wants_colour && std::io::stdout().is_terminal() };
    match args.format {
        Format::Text => walk::text(walk, show).into_bytes(),
        Format::Json => walk::json(walk).into_bytes(),
        Format::Mermaid => walk::mermaid(walk, show).into_bytes(),
        Format::Pcap => walk::pcap(walk, args.arp),
    }
}

fn record(args: &Args) -> Result<Record, Failure> {
    let words = [&args.node, &args.target, &args.after_arrow].into_iter().flatten();
    let (from, target) = question::words(words.map(String::as_str))?;
    let site = Site::of(args)?;
    let topology = site.lab.topology()?;
    let from = question::node(&topology, &from)?;
    let to = question::target(&topology, &from, &target)?;
    let asked = request::Question { to, path: args.path.clone(), timeout: args.timeout };
    let record = capture::record(&site.lab, &topology, &from, &asked)?;
    site.end()?;
    Ok(record)
}

/// The lab that is walked through.
struct Site {
    lab: Lab,
    /// Ours alone: it ends with this process, whatever ends that.
    leash: Option<Leash>,
}

impl Site {
    fn of(args: &Args) -> Result<Self, Failure> {
        let Some(method) = args.method else { return Ok(Self { lab: args.which.find()?, leash: None }) };
        if args.which.lab.is_some() {
            let lab = args.which.find()?;
            return match forward(&lab.topology()?) {
                Some(found) if found == method.forward() => Ok(Self { lab, leash: None }),
                found => Err(other_method(&lab, found, method)),
            };
        }
        let mut fitting = Vec::new();
        for name in labs()? {
            let lab = Lab::find(Some(name))?;
            // One that ends at this moment is none to walk through.
            if lab.topology().is_ok_and(|topology| forward(&topology) == Some(method.forward())) {
                fitting.push(lab);
            }
        }
        match fitting.len() {
            0 => Self::build(method),
            1 => Ok(Self { lab: fitting.remove(0), leash: None }),
            _ => Err(Error::Which(fitting.iter().map(|lab| lab.name().clone()).collect()).into()),
        }
    }

    fn build(method: Method) -> Result<Self, Failure> {
        let (file, text) = method.site();
        let topology = topology::parse(file, text).map_err(validate::report)?;
        up::check_privilege(&topology)?;
        let name = format!("trace-{}-{}", method.forward().word(), std::process::id());
        let name: LabName = name.parse().expect("a word and a number make a name");
        say!(
            "labctl: no lab that is up forwards by {0}; building {file} for this walk",
            method.forward().word()
        );
        let (lab, _, leash) = Lab::up_on_a_leash(OsStr::new(SELF), name, &topology, READY_WITHIN, |_| {})?;
        Ok(Self { lab, leash: Some(leash) })
    }

    /// Ends the lab if it was built for this, and proves that nothing is left of it.
    fn end(self) -> Result<(), Failure> {
        if self.leash.is_some() {
            self.lab.down_and_wait()?;
        }
        Ok(())
    }
}

fn forward(topology: &Topology) -> Option<Forward> {
    topology.balancer.as_ref().map(|balancer| balancer.forward)
}

fn other_method(lab: &Lab, found: Option<Forward>, wanted: Method) -> Failure {
    let is = found.map_or("has no balancer".to_owned(), |found| format!("forwards by {}", found.word()));
    let message = format!("lab {} {is}, and not by {}", lab.name(), wanted.forward().word());
    Failure::usage(message, format!("without `--lab`, a lab of {} is built for the walk", wanted.site().0))
}

fn replay(file: &Path) -> Result<Record, Failure> {
    let name = file.display();
    let unreadable = |why: String| {
        Failure::usage(format!("read {name}: {why}"), "`labctl trace ... --format json > FILE` writes one")
    };
    let size = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable("it is too long for a walk".to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    walk::parse(&text).map_err(|error| unreadable(chain(&error)))
}
