//! The kernel's own IPVS in the place of our data plane, with keepalived to check the real servers and to keep its tables. It
//! is another process than a keepalived that takes part in the election.

use std::fmt::Write as _;
use std::time::Duration;

use super::foreign::{self, Error, Program};
use super::{Reporter, Site};
use crate::kernel::{feature, process};
use crate::topology::{Balancer, Forward, Probe, Protocol, RealServer, Scheduler, VirtualService};

const ENGINE: &str = "IPVS";
const PROGRAM: &str = "keepalived";
const PACKAGE: &str = "keepalived";

/// Its program and package, if it is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    process::find_program(PROGRAM).is_none().then_some((PROGRAM, PACKAGE))
}

/// Why this kernel cannot; nothing if it can.
pub fn lacks() -> Option<String> {
    feature::lacks("ipvs").map(|why| format!("kernel has no IPVS ({why})"))
}

/// Balances through IPVS until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let path = process::find_program(PROGRAM).ok_or(Error::Missing { program: PROGRAM, package: PACKAGE })?;
    if let Some(why) = lacks() {
        return cannot(format!("balance here: {why}"));
    }
    let balancer = foreign::balancer(&site.topology)?;
    left_out(balancer).iter().for_each(|line| tracing::warn!("{line}"));
    for service in &balancer.services {
        if let Probe::Command(argv) = &service.check.probe {
            for real in &service.reals {
                drop(foreign::write(&script_name(service, real), &script(real, argv))?);
            }
        }
    }
    let file = foreign::write("ipvs.conf", &configuration(site, balancer)?)?.display().to_string();
    let args = ["--dont-fork", "--log-console", "--log-detail", "--check", "--use-file", &file];
    // Beside the keepalived of the election it needs names of its own.
    let pids = ["--pid", "/run/labctl/ipvs.pid", "--checkers_pid", "/run/labctl/ipvs-checkers.pid"];
    let args = args.into_iter().chain(pids).map(str::to_owned).collect();
    foreign::supervise(&[Program { path, args }], vec![], reporter)
}

/// What the topology wants and keepalived does without.
fn left_out(balancer: &Balancer) -> Vec<String> {
    let mut lines = Vec::new();
    for service in &balancer.services {
        let name = &service.name;
        if service.fail_open {
            lines.push(format!(
                "{ENGINE} does not fail open: with all real servers of {name} down, nobody is let in"
            ));
        }
        if service.check.rise > 1 {
            lines.push(format!("{PROGRAM} takes a real server of {name} back after one success"));
        }
        if !service.slow_start.is_zero() {
            lines.push(format!(
                "{ENGINE} has no slow start: a real server of {name} gets its whole share at once"
            ));
        }
    }
    lines
}

fn configuration(site: &Site, balancer: &Balancer) -> Result<String, Error> {
    let method = match balancer.forward {
        Forward::Nat => "NAT",
        Forward::Tun => "TUN",
        Forward::Dr => "DR",
        Forward::Proxy => return cannot("understand requests".to_owned()),
    };
    let mut text = format!("# Written by labctl for {}.\n", site.me);
    let _ = writeln!(
        text,
        "global_defs {{\n    router_id {}\n    script_user root\n    enable_script_security\n}}",
        site.me
    );
    for service in &balancer.services {
        write_service(&mut text, service, method);
    }
    Ok(text)
}

fn write_service(text: &mut String, service: &VirtualService, method: &str) {
    let _ = writeln!(text, "virtual_server {} {} {{", service.address, service.port);
    let _ = writeln!(text, "    delay_loop {}", seconds(service.check.interval));
    let _ = writeln!(text, "    lvs_sched {}", service.scheduler.word());
    if service.scheduler == Scheduler::Mh {
        text.push_str("    mh-port\n");
    }
    let protocol = if service.protocol == Protocol::Udp { "UDP" } else { "TCP" };
    let _ = writeln!(text, "    lvs_method {method}\n    protocol {protocol}");
    for real in &service.reals {
        let _ = writeln!(
            text,
            "    real_server {} {} {{\n        weight {}",
            real.address, real.port, real.weight
        );
        write_check(text, service, real);
        text.push_str("    }\n");
    }
    text.push_str("}\n");
}

fn write_check(text: &mut String, service: &VirtualService, real: &RealServer) {
    let (timeout, retries) = (seconds(service.check.timeout), service.check.fall.saturating_sub(1));
    let again = seconds(service.check.interval);
    let lines = match &service.check.probe {
        Probe::Tcp => vec!["TCP_CHECK {".to_owned(), format!("    connect_timeout {timeout}")],
        Probe::Http(path) => vec![
            "HTTP_GET {".to_owned(),
            "    url {".to_owned(),
            format!("        path {path}"),
            "        status_code 200-299".to_owned(),
            "    }".to_owned(),
            format!("    connect_timeout {timeout}"),
        ],
        Probe::Command(_) => vec![
            "MISC_CHECK {".to_owned(),
            format!("    misc_path \"/bin/sh {}/{}\"", foreign::FOLDER, script_name(service, real)),
            // Whole seconds.
            format!("    misc_timeout {}", service.check.timeout.as_secs().max(1)),
        ],
    };
    for line in lines {
        let _ = writeln!(text, "        {line}");
    }
    let _ = writeln!(text, "            retry {retries}\n            delay_before_retry {again}\n        }}");
}

fn script_name(service: &VirtualService, real: &RealServer) -> String {
    format!("check-{}-{}", service.name, real.node)
}

/// The command of a check with what it is told of the real server.
fn script(real: &RealServer, argv: &[String]) -> String {
    let told = [
        ("NODE", real.node.to_string()),
        ("ADDRESS", real.address.to_string()),
        ("PORT", real.port.to_string()),
    ];
    let told = told.map(|(name, value)| format!("export LABCTL_REAL_{name}={value}\n")).concat();
    format!("{told}{}", foreign::script(argv))
}

/// Its names are those that a topology has.
fn cannot<T>(what: String) -> Result<T, Error> {
    Err(Error::Cannot { engine: ENGINE, what })
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests;
