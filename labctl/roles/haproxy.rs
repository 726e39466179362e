//! HAProxy in the place of our own balancer: its configuration, written for the site. `forward: nat` becomes its TCP mode, in
//! which real servers see the director's address, and `forward: proxy` its HTTP mode.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::foreign::{self, Error, Program};
use super::{Reporter, Site};
use crate::balancer::Endpoint;
use crate::balancer::layer7;
use crate::kernel::process;
use crate::topology::{
    Balancer, Forward, HealthCheck, Probe, Protocol, RealServer, Rule, Scheduler, VirtualService,
};

const PROGRAM: &str = "haproxy";
const PACKAGE: &str = "haproxy";
/// Its largest weight.
const WEIGHT_MAX: u32 = 256;
/// As long as our own proxy lets connections be silent, and real servers think.
const TIMEOUTS: [&str; 5] = [
    "timeout connect 1s",
    "timeout client 60s",
    "timeout server 60s",
    "timeout http-request 20s",
    "timeout http-keep-alive 20s",
];

/// Its name and package, if it is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    process::find_program(PROGRAM).is_none().then_some((PROGRAM, PACKAGE))
}

/// Balances through HAProxy until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let path = process::find_program(PROGRAM).ok_or(Error::Missing { program: PROGRAM, package: PACKAGE })?;
    let balancer = foreign::balancer(&site.topology)?;
    left_out(balancer).iter().for_each(|line| tracing::warn!("{line}"));
    let file = foreign::write("haproxy.cfg", &configuration(site, balancer)?)?;
    let args = vec!["-db".to_owned(), "-f".to_owned(), file.display().to_string()];
    foreign::supervise(&[Program { path, args }], vec![], reporter)
}

/// What the topology wants and HAProxy does without.
fn left_out(balancer: &Balancer) -> Vec<String> {
    let open = balancer.services.iter().filter(|service| service.fail_open);
    let line = |service: &VirtualService| {
        let name = &service.name;
        format!("{PROGRAM} does not fail open: with all real servers of {name} down, nobody is let in")
    };
    open.map(line).collect()
}

/// Its configuration for this node.
pub(super) fn configuration(site: &Site, balancer: &Balancer) -> Result<String, Error> {
    let http = match balancer.forward {
        Forward::Nat => false,
        Forward::Proxy => true,
        Forward::Tun => return cannot("forward packets in tunnels".to_owned()),
        Forward::Dr => return cannot("forward packets by their hardware address".to_owned()),
    };
    let mut text = format!("# Written by labctl for {}.\n", site.me);
    text += "global\n    log stderr format raw local0 notice\n    maxconn 4096\n";
    let mode = if http { "http" } else { "tcp" };
    let _ = writeln!(text, "defaults\n    mode {mode}\n    log global\n    option redispatch\n    retries 3");
    TIMEOUTS.iter().for_each(|line| text += &format!("    {line}\n"));
    if http {
        text += "    option forwardfor\n    http-reuse always\n    retry-on conn-failure empty-response\n";
    }
    balancer.services.iter().try_for_each(|service| write_service(&mut text, service, http))?;
    Ok(text)
}

fn write_service(text: &mut String, service: &VirtualService, http: bool) -> Result<(), Error> {
    let name = &service.name;
    if service.protocol == Protocol::Udp {
        return cannot(format!("balance {name}, which is UDP"));
    }
    let _ = writeln!(text, "frontend {name}");
    // `transparent`: it may listen before this machine has the address.
    let _ = writeln!(text, "    bind {} transparent", SocketAddr::new(service.address, service.port));
    if http {
        // What may have been done is repeated only if that does no harm.
        text.push_str(
            "    http-request disable-l7-retry if METH_POST !{ req.hdr(idempotency-key) -m found }\n",
        );
    }
    let rules = if http { service.layer7.rules.as_slice() } else { &[] };
    for (at, rule) in rules.iter().enumerate() {
        write_rule(text, service, at, rule);
    }
    let _ = writeln!(text, "    default_backend {name}");
    for (at, rule) in rules.iter().enumerate() {
        let own = service.reals.iter().filter(|real| rule.reals.contains(&real.node));
        write_backend(text, service, &format!("{name}-{at}"), own, http)?;
    }
    write_backend(text, service, name.as_str(), service.reals.iter(), http)
}

/// A rule is met if all of its conditions are.
fn write_rule(text: &mut String, service: &VirtualService, at: usize, rule: &Rule) {
    let mut met = Vec::new();
    let mut condition = |what: &str, tests: &[String]| {
        let acl = format!("{}-{at}-{what}", service.name);
        for test in tests {
            let _ = writeln!(text, "    acl {acl} {test}");
        }
        met.push(acl);
    };
    if let Some(host) = &rule.host {
        condition("host", &[format!("req.hdr(host),host_only -m str -i {}", quoted(host))]);
    }
    if let Some(path) = &rule.path {
        let path = path.trim_end_matches('/');
        // Two lines of one name: either of them.
        let below = format!("path -m beg {}", quoted(&format!("{path}/")));
        condition("path", &[format!("path -m str {}", quoted(path)), below]);
    }
    if let Some((header, value)) = &rule.header {
        condition("header", &[format!("req.fhdr({header}) -m str {}", quoted(value))]);
    }
    if let Some((cookie, value)) = &rule.cookie {
        condition("cookie", &[format!("req.cook({cookie}) -m str {}", quoted(value))]);
    }
    let met = if met.is_empty() { "TRUE".to_owned() } else { met.join(" ") };
    let _ = writeln!(text, "    use_backend {}-{at} if {met}", service.name);
}

fn write_backend<'a>(
    text: &mut String,
    service: &VirtualService,
    name: &str,
    reals: impl Iterator<Item = &'a RealServer>,
    http: bool,
) -> Result<(), Error> {
    let balance = match service.scheduler {
        Scheduler::Rr | Scheduler::Wrr => "roundrobin",
        Scheduler::Lc | Scheduler::Wlc => "leastconn",
        Scheduler::Sh => "source\n    hash-type consistent",
        beyond @ (Scheduler::Sed | Scheduler::Nq | Scheduler::Mh) => {
            return cannot(format!("schedule {} by {}", service.name, beyond.word()));
        }
    };
    let _ = writeln!(text, "backend {name}\n    balance {balance}");
    match &service.check.probe {
        Probe::Tcp => {}
        Probe::Http(path) => {
            let _ = writeln!(text, "    option httpchk GET {path}\n    http-check expect status 200-299");
        }
        Probe::Command(_) => {
            return cannot(format!("ask a program about the real servers of {}", service.name));
        }
    }
    let _ = writeln!(text, "    timeout check {}", time(service.check.timeout));
    let sticky = service.layer7.sticky.as_ref().filter(|_| http);
    if let Some(cookie) = sticky {
        let _ = writeln!(text, "    cookie {cookie} insert indirect nocache httponly attr \"SameSite=Lax\"");
    }
    let HealthCheck { interval, rise, fall, .. } = &service.check;
    let _ = write!(text, "    default-server check inter {} rise {rise} fall {fall}", time(*interval));
    if !service.slow_start.is_zero() {
        let _ = write!(text, " slowstart {}", time(service.slow_start));
    }
    text.push('\n');
    for real in reals {
        let _ = write!(text, "    server {} {}", real.node, SocketAddr::new(real.address, real.port));
        let _ = write!(text, " weight {}", weight(service, real)?);
        if sticky.is_some() {
            let value = layer7::opaque(Endpoint::tcp(service.address, service.port), real.node.as_str());
            let _ = write!(text, " cookie {value}");
        }
        text.push('\n');
    }
    Ok(())
}

/// `rr` and `lc` go by turns and connections alone; 0 drains with every scheduler.
fn weight(service: &VirtualService, real: &RealServer) -> Result<u32, Error> {
    match service.scheduler {
        Scheduler::Rr | Scheduler::Lc => Ok(real.weight.min(1)),
        _ if real.weight > WEIGHT_MAX => cannot(format!("give {} a weight above {WEIGHT_MAX}", real.node)),
        _ => Ok(real.weight),
    }
}

fn cannot<T>(what: String) -> Result<T, Error> {
    Err(Error::Cannot { engine: PROGRAM, what })
}

fn time(duration: Duration) -> String {
    format!("{}ms", duration.as_millis().max(1))
}

/// One word of its configuration, whatever characters it has.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
