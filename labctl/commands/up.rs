//! `labctl up`: from a topology file to a lab that works.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, Format, Outcome, validate};
use crate::dataplane::gate::Gate;
use crate::holder::client::{Lab, READY_WITHIN, Started, labs};
use crate::holder::protocol::Progress;
use crate::holder::shares;
use crate::kernel::capability::{self, Capability};
use crate::kernel::{cgroup, nft};
use crate::plan::{Observed, Wanted, between};
use crate::roles::{catalogue, foreign, init, ipvs, web};
use crate::topology::{Balancer, BalancerEngine, LabName, Role, Topology, lasting};

const EXAMPLES: &str = "\
Examples:
  labctl up topologies/ha.yaml
  labctl up topologies/ha.yaml --name second       the same site again, beside the first
  labctl up topologies/ha.yaml --dry-run           the steps, without taking them
  labctl up topologies/ha.yaml --format json       of a lab that was up already, the times are null";

/// How often a lab that somebody else starts is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Build a lab and wait until it works
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The topology; `-` is standard input
    file: PathBuf,
    /// Name of the lab, instead of that in the file
    #[arg(short, long)]
    name: Option<LabName>,
    /// Print the steps and take none
    #[arg(long)]
    dry_run: bool,
    /// Build it also where its limits of processors and memory cannot be kept, and keep none
    #[arg(long)]
    without_limits: bool,
    /// Give up if it does not work after this time
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = lasting)]
    within: Duration,
    /// How the steps or the result are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let mut topology = validate::load(&args.file)?;
    if args.without_limits {
        shares::lift(&mut topology);
    }
    let name = args.name.clone().unwrap_or_else(|| topology.name.clone());
    if args.dry_run {
        return dry_run(&topology, args.format);
    }
    check_privilege(&topology)?;
    if labs()?.contains(&name)
        && let Some(outcome) = already_up(&name, &topology, args)?
    {
        return Ok(outcome);
    }
    let (lab, started) = start(name, &topology, args.within)?;
    report(lab.name(), &topology, started, args.format)?;
    Ok(ExitCode::SUCCESS)
}

fn dry_run(topology: &Topology, format: Format) -> Outcome {
    let steps = between(&Wanted::of(topology), &Observed::default());
    let lines: Vec<String> = steps.iter().map(ToString::to_string).collect();
    match format {
        Format::Table => print_line!("{}", lines.join("\n"))?,
        Format::Json => print_line!("{}", serde_json::json!({ "steps": lines }))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What this topology needs of the process and the machine, asked before anything is touched.
pub fn check_privilege(topology: &Topology) -> Result<(), Failure> {
    let mut wanted = vec![Capability::SysAdmin, Capability::NetAdmin, Capability::NetRaw];
    let leased = init::has_gate(topology);
    let balanced_by_ebpf = topology.balancer.as_ref().is_some_and(Balancer::needs_ebpf);
    if balanced_by_ebpf || leased {
        wanted.push(Capability::Bpf);
    }
    let missing = capability::missing(&wanted);
    if topology.balancer.is_none() && missing == [Capability::Bpf] {
        return Err(lease_refused("this process lacks CAP_BPF"));
    }
    if !missing.is_empty() {
        return Err(Failure::privilege(&missing));
    }
    check_limits(topology)?;
    let lacks_ebpf = if balanced_by_ebpf || leased { lacks_ebpf() } else { None };
    if let Some(why) = lacks_ebpf.filter(|_| balanced_by_ebpf) {
        return Err(Failure::machine(
            format!("the balancer of this topology is an eBPF program, and {why}"),
            "run `labctl up` as root of the machine, or have it balance by nftables, which knows `forward: nat` and the \
             schedulers sh, mh, rr and wrr",
        ));
    }
    if let Some(why) = lacks_ebpf {
        return Err(lease_refused(why));
    }
    let translates = topology.failover.is_some() && topology.nodes_of(Role::Proxy).next().is_some();
    if translates && !nft::available() {
        return Err(Failure::machine(
            "the proxies of this topology translate addresses with `nft`, which is not installed",
            "`apt-get install nftables`",
        ));
    }
    if let Some(error) = foreign::refused(topology) {
        return Err(Failure::usage(
            error.to_string(),
            "leave that out of the topology, or take another `engine:` below `balancer:`",
        ));
    }
    let store = topology.conversation.engine;
    if !web::built(store) {
        let word = store.word();
        return Err(Failure::machine(
            format!("this topology keeps its conversations in {word}, and this labctl is built without it"),
            format!("`cargo run --features {word}`, or take another `engine:` below `conversation:`"),
        ));
    }
    if let Some((program, package)) = foreign::missing(topology) {
        return Err(Failure::machine(
            format!("this topology needs `{program}`, which is not installed"),
            match catalogue::of_package(package) {
                Some(engine) => format!(
                    "`labctl setup {engine}` (`apt-get install {package}`), or leave `engine:` out of the topology"
                ),
                None => format!("`apt-get install {package}`"),
            },
        ));
    }
    let by_ipvs = topology.balancer.as_ref().is_some_and(|it| it.engine == BalancerEngine::Ipvs);
    if let Some(why) = by_ipvs.then(ipvs::lacks).flatten() {
        let help = "take another `engine:` below `balancer:`, or another kernel";
        return Err(Failure::machine(format!("the balancer of this topology is IPVS, and this {why}"), help));
    }
    Ok(())
}

/// Why this process cannot have eBPF programs at work; nothing if it can.
fn lacks_ebpf() -> Option<&'static str> {
    match capability::in_initial_user_namespace() {
        true => Gate::lacks(),
        false => Some("a user namespace cannot load one"),
    }
}

/// A lab without the limits of its topology would be another lab.
fn check_limits(topology: &Topology) -> Result<(), Failure> {
    let wanted = shares::wanted(topology);
    if wanted.is_empty() {
        return Ok(());
    }
    match cgroup::lacks(&wanted) {
        Some(why) => Err(Failure::machine(
            format!("the limits of this topology cannot be kept: {why}"),
            "run `labctl up` as root of the machine, or build it without them: `--without-limits`",
        )),
        None => Ok(()),
    }
}

/// There is a choice here, so the message names it.
fn lease_refused(why: &str) -> Failure {
    Failure::machine(
        format!("the lease on the floating addresses of this topology is an eBPF program, and {why}"),
        "run `labctl up` as root of the machine, or write `lease: false` below `failover:` (and leave `accept: false` \
         out); a holder whose daemon is killed or hangs then keeps its addresses",
    )
}

/// What `up` says of a lab that is there; nothing if it has gone meanwhile.
#[expect(clippy::disallowed_methods, reason = "waits for somebody else's `up` as that waits itself")]
fn already_up(name: &LabName, topology: &Topology, args: &Args) -> Result<Option<ExitCode>, Failure> {
    let is_gone = || labs().is_ok_and(|labs| !labs.contains(name));
    let deadline = Instant::now() + args.within;
    loop {
        let seen = Lab::find(Some(name.clone())).and_then(|lab| Ok((lab.topology()?, lab.status()?)));
        match seen {
            Err(_) if is_gone() => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok((of, _)) if &of != topology => {
                return Err(Failure::usage(
                    format!("a lab named {name} is up already, of another topology; nothing changed"),
                    format!("`labctl down {name}` ends it, or give this one another name: `--name {name}2`"),
                ));
            }
            Ok((_, status)) if status.is_ready() => {
                say!("{name} is up already, of the same topology; nothing changed");
                if args.format == Format::Json {
                    print_line!("{}", as_json(name, topology, None))?;
                }
                return Ok(Some(ExitCode::SUCCESS));
            }
            Ok((_, status)) if Instant::now() > deadline => {
                say!("{name} is up already, but waits for {}", summary(&status.waiting_for));
                return Ok(Some(ExitCode::from(Failure::FAILED)));
            }
            Ok(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Starts a lab and shows people what it waits for.
pub fn start(name: LabName, topology: &Topology, within: Duration) -> Result<(Lab, Started), Failure> {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})").unwrap_or(bar.style()));
    bar.set_message(format!("building {name}"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = Lab::up(name, topology, within, |progress| {
        if let Progress::Waiting { waiting_for } = progress {
            bar.set_message(format!("waiting for {}", summary(waiting_for)));
        }
    });
    bar.finish_and_clear();
    Ok(result?)
}

/// The first of them, and how many more.
fn summary(waiting_for: &[String]) -> String {
    match waiting_for {
        [] => "the lab".to_owned(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn report(lab: &LabName, topology: &Topology, started: Started, format: Format) -> Result<(), Failure> {
    let (nodes, networks) = (topology.nodes.len(), topology.networks.len());
    let (network, ready) = (millis(started.network), millis(started.ready));
    match format {
        Format::Table => {
            say!("{lab}: {nodes} nodes, {networks} networks; up {network:.0} ms, ready {ready:.0} ms");
            Ok(())
        }
        Format::Json => print_line!("{}", as_json(lab, topology, Some(started))),
    }
}

/// A lab that was up already was not started, and has no times.
fn as_json(lab: &LabName, topology: &Topology, started: Option<Started>) -> serde_json::Value {
    serde_json::json!({
        "lab": lab, "nodes": topology.nodes.len(), "networks": topology.networks.len(),
        "network_ms": started.map(|it| millis(it.network)), "ready_ms": started.map(|it| millis(it.ready)),
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

const _: () = assert!(READY_WITHIN.as_secs() == 30, "the default of --within says so");
