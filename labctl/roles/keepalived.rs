//! keepalived in the place of our own VRRP daemon: its configuration, written for the node's part of the site. What it
//! does with that is its own business; its defaults stay what they are.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::foreign::{self, Error, Floating, Instance, Program, Watched, instances};
use super::{HOLDER_METRIC, Reporter, Site};
use crate::kernel::process;
use crate::topology::{
    Checksum, Failover, MacMode, NetworkName, NodeName, ServiceName, TrackCheck, TrackProbe, VrrpVersion,
};
use crate::vrrp::OWNER;

const PROGRAM: &str = "keepalived";
const PACKAGE: &str = "keepalived";
/// Smallest unit of a tracked script's interval and of VRRPv2's advertisement interval.
const SECOND: Duration = Duration::from_secs(1);

/// Its name and package, if it is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    process::find_program(PROGRAM).is_none().then_some((PROGRAM, PACKAGE))
}

/// Takes part in the election through keepalived until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let path = process::find_program(PROGRAM).ok_or(Error::Missing { program: PROGRAM, package: PACKAGE })?;
    let routers = instances(site)?;
    let failover = foreign::failover(&site.topology)?;
    for check in &failover.checks {
        match &check.probe {
            TrackProbe::Command(argv) => drop(foreign::write(&script_name(check), &foreign::script(argv))?),
            TrackProbe::Balancer => {
                tracing::warn!("{PROGRAM} cannot ask the balancer, so the check {} is left out", check.name)
            }
        }
    }
    let over_ipv4 = routers.iter().any(|router| !router.ipv6);
    if failover.checksum == Checksum::Message && failover.version != VrrpVersion::V2 && over_ipv4 {
        tracing::warn!(
            "{PROGRAM} has a pseudo-header in the checksum of VRRPv3 over IPv4, whatever the topology says"
        );
    }
    let file = foreign::write("keepalived.conf", &configuration(site, failover, &routers)?)?;
    let file = file.display().to_string();
    let args = ["--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", &file];
    let program = Program { path, args: args.map(str::to_owned).into() };
    let watched = routers.iter().map(|router| Watched {
        vrid: router.vrid.get(),
        addresses: router.addresses.iter().map(|floating| floating.address).collect(),
    });
    foreign::supervise(&[program], watched.collect(), reporter)
}

fn configuration(site: &Site, failover: &Failover, routers: &[Instance]) -> Result<String, Error> {
    if failover.version == VrrpVersion::Both {
        let what = "speak VRRPv2 and VRRPv3 at the same time".to_owned();
        return Err(Error::Cannot { engine: PROGRAM, what });
    }
    if failover.unicast && routers.iter().any(|router| router.ipv6) {
        // Its adverts come from link-local addresses (RFC 9568 section 5.1.2.1), which no file gives.
        let what = "speak to one router alone over IPv6".to_owned();
        return Err(Error::Cannot { engine: PROGRAM, what });
    }
    let mut text = format!("# Written by labctl for {}.\n", site.me);
    let _ = writeln!(
        text,
        "global_defs {{\n    router_id {}\n    script_user root\n    enable_script_security\n}}",
        site.me
    );
    let commands = failover.checks.iter().filter(|check| matches!(check.probe, TrackProbe::Command(_)));
    let scripts: Vec<&str> = commands.clone().map(|check| check.name.as_str()).collect();
    commands.for_each(|check| write_script(&mut text, check));
    for router in routers {
        let lines = instance(site, failover, router, &scripts)?;
        let _ = writeln!(text, "vrrp_instance {} {{", instance_name(router));
        lines.iter().for_each(|line| text += &format!("    {line}\n"));
        text += "}\n";
    }
    if failover.sync && routers.len() > 1 {
        text += "vrrp_sync_group all {\n";
        block("group", routers.iter().map(instance_name))
            .iter()
            .for_each(|line| text += &format!("    {line}\n"));
        text += "}\n";
    }
    Ok(text)
}

fn write_script(text: &mut String, check: &TrackCheck) {
    let weight = check.weight.map_or(0, |weight| -i32::from(weight));
    let _ = writeln!(text, "vrrp_script {} {{", check.name);
    let _ = writeln!(text, "    script \"/bin/sh {}/{}\"", foreign::FOLDER, script_name(check));
    let _ =
        writeln!(text, "    interval {}\n    timeout {}", seconds(check.interval), seconds(check.timeout));
    let _ = writeln!(text, "    weight {weight}\n    rise {}\n    fall {}\n}}", check.rise, check.fall);
}

/// The lines of one instance.
fn instance(
    site: &Site,
    failover: &Failover,
    router: &Instance,
    scripts: &[&str],
) -> Result<Vec<String>, Error> {
    let v2 = failover.version == VrrpVersion::V2 && !router.ipv6;
    let interval = failover.advert_interval;
    // The owner of the addresses must begin as the Active.
    let owner = router.priority == OWNER;
    let mut lines = vec![
        format!("state {}", if owner { "MASTER" } else { "BACKUP" }),
        format!("interface {}", failover.network),
        format!("virtual_router_id {}", router.vrid),
        format!("priority {}", router.priority),
        format!("version {}", if v2 { 2 } else { 3 }),
        format!("advert_int {}", if v2 { seconds(interval) as f64 } else { interval.as_secs_f64() }),
        if failover.accept { "accept" } else { "no_accept" }.to_owned(),
    ];
    if !failover.preempt && !owner {
        lines.push("nopreempt".to_owned());
    }
    if failover.preempt && !failover.preempt_delay.is_zero() {
        lines.push(format!("preempt_delay {}", failover.preempt_delay.as_secs_f64()));
    }
    if failover.mac == MacMode::Virtual {
        lines.extend(["use_vmac", "use_vmac_addr"].map(str::to_owned));
        // Without this, unicast is refused together with a virtual MAC.
        lines.extend(failover.unicast.then(|| "vmac_xmit_base".to_owned()));
    }
    if failover.unicast {
        let own = address_on_election(site, failover, &site.me)?;
        lines.push(format!("unicast_src_ip {own}"));
        let peers = failover.priorities.keys().filter(|peer| **peer != site.me);
        let peers: Vec<String> =
            peers.map(|peer| address_on_election(site, failover, peer)).collect::<Result<_, _>>()?;
        lines.extend(block("unicast_peer", peers));
    }
    let elsewhere = router.addresses.iter().map(|floating| &floating.interface);
    let elsewhere: BTreeSet<String> =
        elsewhere.filter(|interface| **interface != failover.network).map(ToString::to_string).collect();
    lines.extend(block("track_interface", elsewhere));
    lines.extend(block("track_script", scripts.iter().map(ToString::to_string)));
    lines.extend(block("virtual_ipaddress", router.addresses.iter().map(|it| address(failover, it))));
    lines.extend(block("virtual_routes", way_out(site, failover, router)?));
    Ok(lines)
}

/// With a virtual MAC, an address of the election's own interface goes to the one above it, which is the default.
fn address(failover: &Failover, floating: &Floating) -> String {
    let Floating { interface, address, prefix_len } = floating;
    if failover.mac == MacMode::Virtual && *interface == failover.network {
        return format!("{address}/{prefix_len}");
    }
    format!("{address}/{prefix_len} dev {interface}")
}

/// The holder's default route, by the interface that its gateway is on.
fn way_out(site: &Site, failover: &Failover, router: &Instance) -> Result<Option<String>, Error> {
    let (topology, mut on) = (&site.topology, site.node().interfaces.iter().map(|it| &it.network));
    // The routes of the site go with its first virtual router.
    if router.name.is_some() {
        return Ok(None);
    }
    let (gateway, network): (IpAddr, _) =
        match (router.ipv6, failover.holder_gateway, failover.holder_gateway6) {
            (false, Some(gateway), _) => {
                (gateway.into(), on.find(|network| topology.networks[*network].contains(&gateway)))
            }
            (true, _, Some(gateway)) => {
                let has = |network: &&NetworkName| {
                    topology.networks6.get(*network).is_some_and(|it| it.contains(&gateway))
                };
                (gateway.into(), on.find(has))
            }
            _ => return Ok(None),
        };
    let network = network.ok_or_else(|| Error::Cannot {
        engine: PROGRAM,
        what: format!("reach the gateway {gateway} from {}", site.me),
    })?;
    let everywhere = if gateway.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
    Ok(Some(format!("{everywhere} via {gateway} dev {network} metric {HOLDER_METRIC}")))
}

fn address_on_election(site: &Site, failover: &Failover, node: &NodeName) -> Result<String, Error> {
    let address = site.topology.node(node).and_then(|node| node.address_on(&failover.network));
    address.map(|address| address.to_string()).ok_or_else(|| Error::Cannot {
        engine: PROGRAM,
        what: format!("speak to {node} alone, which has no address on {}", failover.network),
    })
}

fn block(name: &str, lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let inside: Vec<String> = lines.into_iter().map(|line| format!("    {line}")).collect();
    if inside.is_empty() {
        return inside;
    }
    [format!("{name} {{")].into_iter().chain(inside).chain(["}".to_owned()]).collect()
}

fn instance_name(router: &Instance) -> String {
    let name = router.name.as_ref().map_or("site", ServiceName::as_str);
    format!("{name}-ipv{}", if router.ipv6 { 6 } else { 4 })
}

fn script_name(check: &TrackCheck) -> String {
    format!("check-{}", check.name)
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(SECOND.as_nanos()).max(1) as u64
}

#[cfg(test)]
mod tests;
