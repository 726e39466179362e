//! A lab comes and goes: `labctl up` and `labctl down`, beside the bare network of the same topology by `ip -batch`.

use std::time::Duration;

use labctl::commands::validate;

use super::iproute::{self, Network};
use super::lab::Lab;
use super::page::{Page, Table};
use super::shell::{Error, Shell};

/// The kernel removes namespaces behind the back of `labctl down` and of `ip netns del`, and would do so in the time of
/// whoever is measured next. Several times the longest `labctl down --wait`.
const BREATH: Duration = Duration::from_secs(1);

pub fn measure(shell: &Shell, runs: u32, page: &mut Page) -> Result<(), Error> {
    let site = super::site();
    let topology = validate::load(&site).map_err(|report| Error::Unfit(format!("{report:?}")))?;
    let ip = iproute::find();
    let mut network = ip.map(|ip| Network::of(&topology, shell, ip)).transpose()?;
    page.note(format!(
        "{} nodes, {} networks; labctl's network comes with settings and is done when packets pass on every cable, and \
         ready is everything: web, databases, election, balancer",
        topology.nodes.len(),
        topology.networks.len()
    ));
    match &network {
        Some(network) => page.note(format!(
            "`ip -batch`: {} calls one after the other, without settings and daemons; nobody waits until packets pass. \
             Its removal is until `ip` returns, as that of `labctl down` is until labctl returns",
            network.calls()
        )),
        None => page.note("`ip -batch`: no iproute2 on this machine".to_owned()),
    }
    let table = page.table("A site comes and goes, ms", &["what", "figure"]);
    for run in 1..=runs {
        eprintln!("up: run {run} of {runs}");
        once(shell, &site.display().to_string(), network.as_mut(), table)?;
    }
    Ok(())
}

/// Two labs, since each can be ended once, and a network by `ip`.
fn once(shell: &Shell, site: &str, network: Option<&mut Network>, table: &mut Table) -> Result<(), Error> {
    for wait in [false, true] {
        let mut lab = Lab::named(shell, "up");
        let (started, took) = lab.up(site)?;
        table.add(&["labctl up", "network built"], started.network_ms);
        table.add(&["labctl up", "ready"], started.ready_ms);
        table.add(&["labctl up", "whole command"], millis(took));
        let down = if wait { "labctl down --wait" } else { "labctl down" };
        table.add(&[down, "whole command"], millis(lab.down(wait)?));
        shell.rest(BREATH)?;
    }
    match network {
        Some(network) => {
            table.add(&["ip -batch", "network built"], millis(network.up()?));
            table.add(&["ip netns del", "network removed"], millis(network.down()?));
            shell.rest(BREATH)?;
        }
        None => {
            table.skip(&["ip -batch", "network built"], "no iproute2");
            table.skip(&["ip netns del", "network removed"], "no iproute2");
        }
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
