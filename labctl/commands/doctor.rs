//! `labctl doctor`: what is wrong with the labs that are up, and with the machine under them.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::process::ExitCode;

use super::{Failure, Format, Named, Outcome, witness};
use crate::dataplane::gate::Gate;
use crate::diagnosis::machine::{self, Machine};
use crate::diagnosis::{Finding, election, peers, reals};
use crate::holder::client::{Lab, labs};
use crate::holder::protocol::Status;
use crate::kernel::capability::{self, Capability};
use crate::kernel::{clock, feature, process};
use crate::roles::frr;
use crate::topology::{Failover, NodeName, Topology};

const EXAMPLES: &str = "\
Examples:
  labctl doctor                                    the machine, and every lab that is up
  labctl doctor ha                                 the machine, and that lab
  labctl doctor --format json | jq -r '.findings[].what'

It ends with 1 if it found something, and with 0 if not. What no lab here needs is `skipped` and nothing wrong.";

/// Find out what is wrong with the labs and the machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, mut_arg("name", |name| name.help("The lab; without a name, every lab that is up")))]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let named = args.named.name()?;
    let mut examined: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    let names = match named {
        Some(name) => vec![name],
        None => labs()?,
    };
    for name in names {
        let lab = Lab::find(Some(name.clone()))?;
        examined.insert(name.to_string(), examine(&lab)?);
    }
    // Every lab counts for the limits of the machine, whichever was asked about.
    let all: Vec<Topology> = labs()?
        .into_iter()
        .filter_map(|name| Lab::find(Some(name)).and_then(|lab| lab.topology()).ok())
        .collect();
    let machine = look();
    let (about_machine, skipped) = machine::judge(&machine, &all.iter().collect::<Vec<_>>());
    let count = about_machine.len() + examined.values().map(Vec::len).sum::<usize>();
    match args.format {
        Format::Table => print_all(&about_machine, &examined, &skipped)?,
        Format::Json => print_line!(
            "{:#}",
            serde_json::json!({
                "findings": about_machine,
                "labs": examined,
                "skipped": skipped,
                "machine": machine,
            })
        )?,
    }
    Ok(ExitCode::from(if count == 0 { 0 } else { Failure::FAILED }))
}

fn print_all(
    about_machine: &[Finding],
    labs: &BTreeMap<String, Vec<Finding>>,
    skipped: &[String],
) -> Result<(), Failure> {
    let section = |name: &str, findings: &[Finding]| {
        if findings.is_empty() {
            print_line!("{name}: nothing found")?;
        }
        findings.iter().try_for_each(|finding| print_line!("{name}: {finding}"))
    };
    for (name, findings) in labs {
        section(&format!("lab {name}"), findings)?;
    }
    section("machine", about_machine)?;
    skipped.iter().try_for_each(|line| print_line!("skipped: {line}"))
}

/// Everything about one lab.
fn examine(lab: &Lab) -> Result<Vec<Finding>, Failure> {
    let (topology, status) = (lab.topology()?, lab.status()?);
    let members: Vec<NodeName> =
        topology.failover.iter().flat_map(|failover| failover.priorities.keys().cloned()).collect();
    let witnesses = witness::hear(lab, &topology, &status, &members);
    let scene =
        election::Scene { topology: &topology, witnesses: &witnesses, holders: holders(&topology, &status) };
    let mut findings = election::findings(&scene);
    findings.extend(reals::findings(&topology, &witness::survey(lab, &topology, &status)));
    if topology.conversation.peers.is_some() {
        let events: Vec<_> = lab.events(false)?.collect();
        findings.extend(peers::findings(&topology, &events, clock::monotonic_ns()));
    }
    findings.extend(status.waiting_for.iter().map(|what| Finding::waiting(what)));
    findings.extend(status.drift.iter().map(|step| Finding::drift(step)));
    Ok(findings)
}

/// Who has each floating address in the kernel.
fn holders(topology: &Topology, status: &Status) -> BTreeMap<IpAddr, Vec<NodeName>> {
    // A status says nothing of link-local addresses, which every interface has.
    let local = |address: &IpAddr| matches!(address, IpAddr::V6(it) if it.is_unicast_link_local());
    let floating = topology.failover.iter().flat_map(Failover::floating).filter(|address| !local(address));
    let having = |address: IpAddr| {
        let has = |node: &&crate::holder::protocol::NodeStatus| {
            node.addresses.values().flatten().any(|one| *one == address)
        };
        status.nodes.iter().filter(has).map(|node| node.name.clone()).collect()
    };
    floating.map(|address| (address, having(address))).collect()
}

/// Whether a program is there to be run.
fn is_installed(name: &str) -> bool {
    // FRRouting keeps its daemons in a folder of its own, and knows which.
    if name == frr::PROGRAM { frr::missing().is_none() } else { process::find_program(name).is_some() }
}

/// Why a feature cannot be had; of tcx it is more than the kernel's version, as far as this process may find out.
fn lacks(name: &str) -> Option<String> {
    let tries = capability::missing(&[Capability::Bpf]).is_empty() && capability::in_initial_user_namespace();
    match name {
        "tcx" if tries => Gate::lacks().map(str::to_owned),
        _ => feature::lacks(name),
    }
}

/// The machine as it is.
fn look() -> Machine {
    let capabilities = [Capability::SysAdmin, Capability::NetAdmin, Capability::NetRaw, Capability::Bpf];
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    Machine {
        kernel: feature::release(),
        missing_capabilities: capability::missing(&capabilities).iter().map(ToString::to_string).collect(),
        initial_user_namespace: capability::in_initial_user_namespace(),
        programs: machine::programs().map(|name| (name.to_owned(), is_installed(name))).collect(),
        features: machine::features().map(|name| (name.to_owned(), lacks(name))).collect(),
        neighbours_max: number("/proc/sys/net/ipv4/neigh/default/gc_thresh3"),
        bridge_netfilter: number("/proc/sys/net/bridge/bridge-nf-call-iptables").map(|value| value != 0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::holder::protocol::{NodeState, NodeStatus};

    /// A node of a site, up, with one address on its first network.
    fn node(topology: &Topology, name: &str, address: &str) -> NodeStatus {
        let node = topology.nodes.iter().find(|node| node.name.as_str() == name).unwrap();
        NodeStatus {
            name: node.name.clone(),
            role: node.role,
            state: NodeState::Up,
            pid: None,
            addresses: [(node.interfaces[0].network.clone(), vec![address.parse().unwrap()])].into(),
            default_routes: Vec::new(),
            services: BTreeMap::new(),
            limits: None,
            counters: None,
        }
    }

    #[test]
    fn holders_are_looked_for_in_both_families() {
        let text = include_str!("../../topologies/dual-stack.yaml");
        let topology = crate::topology::parse("dual-stack.yaml", text).unwrap();
        let floating: Vec<IpAddr> = topology.failover.iter().flat_map(Failover::floating).collect();
        let (local, floating): (Vec<IpAddr>, Vec<IpAddr>) =
            floating.into_iter().partition(|address| address.to_string().starts_with("fe80:"));
        assert!(!local.is_empty(), "a virtual router of IPv6 has a link-local address");
        let six = floating.iter().find(|address| address.is_ipv6()).unwrap().to_string();
        let status = Status {
            lab: topology.name.clone(),
            holder_pid: None,
            waiting_for: Vec::new(),
            vip_holders: Vec::new(),
            raft_leader: None,
            nodes: vec![node(&topology, "proxy1", &six), node(&topology, "proxy2", &six)],
            drift: Vec::new(),
        };
        let holders = holders(&topology, &status);
        assert_eq!(holders.keys().copied().collect::<BTreeSet<_>>(), floating.into_iter().collect());
        assert_eq!(holders[&six.parse::<IpAddr>().unwrap()].len(), 2);
    }
}
