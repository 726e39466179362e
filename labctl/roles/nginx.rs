//! nginx in the place of our own balancer: its configuration, written for the site. `forward: nat` becomes its stream module,
//! in which real servers see the director's address, and `forward: proxy` its HTTP proxy. Free nginx asks nobody whether he is
//! well: it finds out by the requests that fail.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::foreign::{self, Error, Program};
use super::{Reporter, Site};
use crate::kernel::{process, sysctl};
use crate::topology::{Balancer, Forward, Protocol, RealServer, Rule, Scheduler, VirtualService};

const PROGRAM: &str = "nginx";
const PACKAGE: &str = "nginx-light";
/// What proxies bytes instead of requests, a package of its own on Debian.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const STREAM_PACKAGE: &str = "libnginx-mod-stream";
/// What the machine must do for it, since it has no option for that itself.
const SETTINGS: [(&str, &str); 3] = [
    // It listens before this machine has the address.
    ("net.ipv4.ip_nonlocal_bind", "1"),
    ("?net.ipv6.ip_nonlocal_bind", "1"),
    // It keeps connections to real servers. That one of them has lost power it would learn only when its patience with an
    // answer ends, a minute later; so TCP gives up what nobody acknowledges after 3 s, and the request goes to the next.
    ("net.ipv4.tcp_retries2", "3"),
];
/// Connections to real servers that each of its workers keeps.
const KEEP: u32 = 256;
/// Between the parts of a request that a rule looks at: no part can contain it.
const SEPARATOR: &str = "\\n";

/// The first of its parts that is needed and not installed, and its package.
pub fn missing(forward: Forward) -> Option<(&'static str, &'static str)> {
    let streams = forward != Forward::Proxy;
    match process::find_program(PROGRAM) {
        None => Some((PROGRAM, PACKAGE)),
        Some(_) if streams && !PathBuf::from(STREAM).is_file() => Some((STREAM, STREAM_PACKAGE)),
        Some(_) => None,
    }
}

/// Balances through nginx until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let balancer = foreign::balancer(&site.topology)?;
    if let Some((program, package)) = missing(balancer.forward) {
        return Err(Error::Missing { program, package });
    }
    let path = process::find_program(PROGRAM).ok_or(Error::Missing { program: PROGRAM, package: PACKAGE })?;
    left_out(balancer).iter().for_each(|line| tracing::warn!("{line}"));
    for (key, value) in SETTINGS {
        sysctl::write(key, value)?;
    }
    let tmp = PathBuf::from(foreign::FOLDER).join("tmp");
    std::fs::create_dir_all(&tmp).map_err(|source| Error::Write { path: tmp, source })?;
    let file = foreign::write("nginx.conf", &configuration(site, balancer)?)?;
    let args = ["-p", foreign::FOLDER, "-e", "stderr", "-c", &file.display().to_string()].map(str::to_owned);
    foreign::supervise(&[Program { path, args: args.into() }], vec![], reporter)
}

/// What the topology wants and nginx does without.
fn left_out(balancer: &Balancer) -> Vec<String> {
    let mut lines = vec![format!(
        "{PROGRAM} makes no health checks: a real server is out for a while after requests to it failed"
    )];
    if balancer.services.iter().any(|service| !service.slow_start.is_zero()) {
        lines.push(format!("{PROGRAM} has no slow start: whoever comes back gets its whole share at once"));
    }
    lines
}

/// Its configuration for this node.
pub(super) fn configuration(site: &Site, balancer: &Balancer) -> Result<String, Error> {
    let mut text = format!("# Written by labctl for {}.\n", site.me);
    let (http, module) = match balancer.forward {
        Forward::Nat => (false, format!("load_module {STREAM};\n")),
        Forward::Proxy => (true, String::new()),
        Forward::Tun => return cannot("forward packets in tunnels".to_owned()),
        Forward::Dr => return cannot("forward packets by their hardware address".to_owned()),
    };
    text += &module;
    text += "daemon off;\nuser root;\nworker_processes auto;\nworker_rlimit_nofile 8192;\npid nginx.pid;\n";
    text += "error_log stderr warn;\nevents {\n    worker_connections 4096;\n}\n";
    text += if http { HTTP } else { STREAMS };
    for service in &balancer.services {
        if http {
            write_site(&mut text, service)?;
        } else {
            write_stream(&mut text, service)?;
        }
    }
    text += "}\n";
    Ok(text)
}

const HTTP: &str = "\
http {
    access_log off;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    scgi_temp_path tmp/scgi;
    uwsgi_temp_path tmp/uwsgi;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    client_header_timeout 20s;
    keepalive_timeout 20s;
    keepalive_requests 1000000;
    proxy_connect_timeout 1s;
    proxy_read_timeout 60s;
    proxy_next_upstream error timeout;
    proxy_next_upstream_tries 3;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
";
const STREAMS: &str = "stream {\n    proxy_connect_timeout 1s;\n    proxy_timeout 60s;\n";

fn write_site(text: &mut String, service: &VirtualService) -> Result<(), Error> {
    let name = &service.name;
    if service.protocol == Protocol::Udp {
        return cannot(format!("find requests in {name}, which is UDP"));
    }
    if service.layer7.sticky.is_some() {
        return cannot(format!("keep visitors of {name} by a cookie of its own"));
    }
    let rules = &service.layer7.rules;
    write_upstream(text, service, name.as_str(), service.reals.iter(), true)?;
    for (at, rule) in rules.iter().enumerate() {
        let own = service.reals.iter().filter(|real| rule.reals.contains(&real.node));
        write_upstream(text, service, &format!("{name}-{at}"), own, true)?;
    }
    let mut target = name.to_string();
    if !rules.is_empty() {
        target = format!("$upstream_of_{}", variable(name.as_str()));
        write_map(text, service, &target, rules);
    }
    let _ = writeln!(text, "    server {{");
    let _ = writeln!(text, "        listen {};", SocketAddr::new(service.address, service.port));
    let _ =
        writeln!(text, "        location / {{\n            proxy_pass http://{target};\n        }}\n    }}");
    Ok(())
}

/// The first rule that is met: one line of all that any of them looks at, and an expression for each.
fn write_map(text: &mut String, service: &VirtualService, target: &str, rules: &[Rule]) {
    let headers: BTreeSet<&String> = rules.iter().filter_map(|rule| Some(&rule.header.as_ref()?.0)).collect();
    let cookies: BTreeSet<&String> = rules.iter().filter_map(|rule| Some(&rule.cookie.as_ref()?.0)).collect();
    let mut line = vec!["$host".to_owned(), "$uri".to_owned()];
    line.extend(headers.iter().map(|header| format!("$http_{}", variable(&header.to_lowercase()))));
    line.extend(cookies.iter().map(|cookie| format!("$cookie_{cookie}")));
    let _ = writeln!(text, "    map \"{}\" {target} {{", line.join(SEPARATOR));
    for (at, rule) in rules.iter().enumerate() {
        let any = || format!("[^{SEPARATOR}]*");
        let below = |path: &String| format!("{}(/{})?", escaped(path.trim_end_matches('/')), any());
        let mut parts = vec![
            rule.host.as_ref().map_or_else(any, |host| escaped(host)),
            rule.path.as_ref().map_or_else(any, below),
        ];
        let value = |of: &Option<(String, String)>, name: &String| {
            of.as_ref().filter(|(key, _)| key == name).map_or_else(any, |(_, value)| escaped(value))
        };
        parts.extend(headers.iter().map(|header| value(&rule.header, header)));
        parts.extend(cookies.iter().map(|cookie| value(&rule.cookie, cookie)));
        let _ = writeln!(text, "        \"~^{}$\" {}-{at};", parts.join(SEPARATOR), service.name);
    }
    let _ = writeln!(text, "        default {};\n    }}", service.name);
}

fn write_stream(text: &mut String, service: &VirtualService) -> Result<(), Error> {
    write_upstream(text, service, service.name.as_str(), service.reals.iter(), false)?;
    let udp = if service.protocol == Protocol::Udp { " udp" } else { "" };
    let _ = writeln!(text, "    server {{");
    let _ = writeln!(text, "        listen {}{udp};", SocketAddr::new(service.address, service.port));
    let _ = writeln!(text, "        proxy_pass {};\n    }}", service.name);
    Ok(())
}

fn write_upstream<'a>(
    text: &mut String,
    service: &VirtualService,
    name: &str,
    reals: impl Iterator<Item = &'a RealServer>,
    http: bool,
) -> Result<(), Error> {
    let balance = match service.scheduler {
        Scheduler::Rr | Scheduler::Wrr => "",
        Scheduler::Lc | Scheduler::Wlc => "        least_conn;\n",
        Scheduler::Sh => "        hash $remote_addr consistent;\n",
        Scheduler::Mh => "        hash $remote_addr$remote_port consistent;\n",
        beyond @ (Scheduler::Sed | Scheduler::Nq) => {
            return cannot(format!("schedule {} by {}", service.name, beyond.word()));
        }
    };
    let _ = write!(text, "    upstream {name} {{\n{balance}");
    // Its smallest unit is a second.
    let out = (service.check.interval * service.check.rise).as_secs().max(1);
    for real in reals {
        let _ = write!(text, "        server {}", SocketAddr::new(real.address, real.port));
        match (service.scheduler, real.weight) {
            (_, 0) => text.push_str(" down"),
            (Scheduler::Rr | Scheduler::Lc, _) => {}
            (_, weight) => text.push_str(&format!(" weight={weight}")),
        }
        let _ = writeln!(text, " max_fails={} fail_timeout={out}s;", service.check.fall);
    }
    if http {
        let _ = writeln!(text, "        keepalive {KEEP};");
    }
    text.push_str("    }\n");
    Ok(())
}

fn cannot<T>(what: String) -> Result<T, Error> {
    Err(Error::Cannot { engine: PROGRAM, what })
}

/// A name as its variables may have it.
fn variable(name: &str) -> String {
    name.replace('-', "_")
}

/// A regular expression for exactly this text, inside of double quotes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            // A dollar sign would begin a variable, and a quote would end the word.
            '"' | '$' | '\\' => escaped.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_ascii_alphanumeric() || "/-_ ".contains(c) || !c.is_ascii() => escaped.push(c),
            c => escaped.extend(['\\', c]),
        }
        escaped
    })
}

#[cfg(test)]
mod tests;
