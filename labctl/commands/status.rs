//! `labctl status`: what a lab is like now, in the kernel's and the daemons' own words.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::process::ExitCode;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::{Format, Named, Outcome, output};
use crate::holder::protocol::{NodeState, NodeStatus, ServiceStatus, Status};
use crate::topology::{NetworkName, ServiceName};

/// Addresses of one interface that a table shows before it counts the rest.
const ADDRESSES_SHOWN: usize = 2;

/// Show what a lab is like now
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  labctl status\n  labctl status --format json | jq -r '.vip_holders[]'")]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let status = args.named.find()?.status()?;
    match args.format {
        Format::Json => {
            let mut json = serde_json::to_value(&status).map_err(std::io::Error::from)?;
            json["ready"] = status.is_ready().into();
            print_line!("{json:#}")?;
        }
        Format::Table => output::write(render(&status, colour()).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn render(status: &Status, colour: bool) -> String {
    let or_none = |names: Vec<String>| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let holders = or_none(status.vip_holders.iter().map(ToString::to_string).collect());
    let leader = or_none(status.raft_leader.iter().map(ToString::to_string).collect());
    let ready = match status.waiting_for.as_slice() {
        [] => "yes".to_owned(),
        missing => format!("no, waiting for {}", missing.join(", ")),
    };
    let holder_pid = status.holder_pid.map(|pid| format!(" (holder pid {pid})")).unwrap_or_default();
    let mut text = format!(
        "lab {}{holder_pid}\nready: {ready}\nVIP holder: {holders}\nraft leader: {leader}\n",
        status.lab
    );
    for step in &status.drift {
        text += &format!("drift: would {step}\n");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Fits the terminal, if there is one.
    table.set_content_arrangement(ContentArrangement::Dynamic);
    let limited = status.nodes.iter().any(|node| node.limits.is_some());
    let header = ["NODE", "ROLE", "STATE", "PID", "ADDRESSES", "DEFAULT ROUTE", "SERVICES"];
    table.set_header(header.into_iter().chain(limited.then_some("LIMITS")));
    for node in &status.nodes {
        let limits = limited.then(|| Cell::new(limits(node)));
        table.add_row(row(node, colour).into_iter().chain(limits));
    }
    for line in table.lines() {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn row(node: &NodeStatus, colour: bool) -> Vec<Cell> {
    let (state, tint) = match &node.state {
        NodeState::Up => ("up".to_owned(), Color::Green),
        NodeState::Down { how } => (format!("down ({how})"), Color::Red),
    };
    let mut state = Cell::new(state);
    let mut name = Cell::new(&node.name);
    if colour {
        state = state.fg(tint);
        name = name.add_attribute(Attribute::Bold);
    }
    vec![
        name,
        Cell::new(node.role),
        state,
        Cell::new(node.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        Cell::new(addresses(&node.addresses)),
        Cell::new(default_routes(&node.default_routes)),
        // What last happened to the services of a machine that is off is that it went off.
        Cell::new(if node.state == NodeState::Up { services(&node.services) } else { String::new() }),
    ]
}

/// The one that counts of each family.
fn default_routes(all: &[(IpAddr, u32)]) -> String {
    let of = |v6: bool| all.iter().find(|(gateway, _)| gateway.is_ipv6() == v6);
    let counts = [of(false), of(true)].into_iter().flatten();
    counts.map(|(gateway, _)| gateway.to_string()).collect::<Vec<_>>().join("\n")
}

fn addresses(all: &BTreeMap<NetworkName, Vec<IpAddr>>) -> String {
    let some = |addresses: Vec<&IpAddr>| {
        let mut shown: Vec<String> =
            addresses.iter().take(ADDRESSES_SHOWN).map(ToString::to_string).collect();
        if addresses.len() > ADDRESSES_SHOWN {
            shown.push(format!("+{}", addresses.len() - ADDRESSES_SHOWN));
        }
        shown.join(" ")
    };
    let one = |(network, addresses): (&NetworkName, &Vec<IpAddr>)| {
        let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
        match (v4.is_empty(), v6.is_empty()) {
            (true, true) => format!("{network} -"),
            (false, true) => format!("{network} {}", some(v4)),
            (true, false) => format!("{network} {}", some(v6)),
            // Those of IPv6 are long enough for a line of their own.
            (false, false) => format!("{network} {}\n{network} {}", some(v4), some(v6)),
        }
    };
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn services(all: &BTreeMap<ServiceName, ServiceStatus>) -> String {
    let one = |(name, status): (&ServiceName, &ServiceStatus)| match (status.running, &status.says) {
        (true, Some(says)) => format!("{name} ({says})"),
        (true, None) => name.to_string(),
        (false, _) => {
            let how = status.last_exit.as_deref().unwrap_or("not started");
            format!("{name} DOWN ({how})")
        }
    };
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// What it may use, and what the kernel counted of that.
fn limits(node: &NodeStatus) -> String {
    let Some(limits) = node.limits else { return String::new() };
    let counted = node.counters.unwrap_or_default();
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let mut lines = Vec::new();
    if let Some(hundredths) = limits.cpu_hundredths {
        let throttled =
            counted.cpu.map(|cpu| format!(" (throttled {}/{})", cpu.nr_throttled, cpu.nr_periods));
        lines.push(format!("cpu {}{}", f64::from(hundredths) / 100.0, throttled.unwrap_or_default()));
    }
    if let Some(bytes) = limits.memory_bytes {
        let used = counted.memory.map(|it| format!(" (used {}, killed {})", mib(it.used_bytes), it.oom_kill));
        lines.push(format!("memory {}{}", mib(bytes), used.unwrap_or_default()));
    }
    lines.extend(limits.disk_bytes.map(|bytes| format!("disk {}", mib(bytes))));
    lines.join("\n")
}
