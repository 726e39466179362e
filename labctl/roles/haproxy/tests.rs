//! What HAProxy is told of a site, and that it understands it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::Stdio;

use super::*;
use crate::kernel::process::Spawn;
use crate::topology::{Layer7, Topology, parse};

const HA: &str = include_str!("../../../topologies/ha.yaml");

fn site(change: impl FnOnce(&mut Topology)) -> Site {
    let mut topology = parse("ha.yaml", HA).expect("a topology without mistakes");
    change(&mut topology);
    Site { topology, me: "proxy1".parse().expect("a name"), disk: "/nowhere".into() }
}

fn told(forward: Forward, change: impl FnOnce(&mut VirtualService)) -> Result<String, String> {
    let site = site(|topology| {
        let balancer = topology.balancer.as_mut().expect("a balancer");
        balancer.forward = forward;
        change(&mut balancer.services[0]);
    });
    let balancer = foreign::balancer(&site.topology).map_err(|error| error.to_string())?;
    configuration(&site, balancer).map_err(|error| error.to_string())
}

/// One rule of each kind, with values that a careless writer would trip over.
fn rules() -> Vec<Rule> {
    let rule = || Rule {
        host: None,
        path: None,
        header: None,
        cookie: None,
        reals: vec!["web2".parse().expect("a name")],
    };
    vec![
        Rule { host: Some("www.example".to_owned()), path: Some("/it's/".to_owned()), ..rule() },
        Rule { header: Some(("X-Tenant".to_owned(), "blue \"$sky\" {1}".to_owned())), ..rule() },
        Rule { cookie: Some(("beta".to_owned(), "1".to_owned())), ..rule() },
    ]
}

/// Has the program itself read what was written for it, where it is installed.
fn accepted(text: &str, words: &[&str]) {
    let Some(path) = process::find_program(PROGRAM) else {
        let _ = writeln!(std::io::stderr(), "skipped: no {PROGRAM}");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("conf");
    std::fs::write(&file, text).expect("a file");
    std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
    let at = folder.path().display().to_string();
    let words: Vec<String> = words.iter().map(|word| word.replace("FOLDER", &at)).collect();
    let spawn = Spawn {
        program: path.as_os_str(),
        args: words.iter().map(OsStr::new).collect(),
        stdout: Stdio::piped(),
        stderr: Stdio::piped(),
        die_with_parent: true,
        ..Spawn::own(&[])
    };
    let output = spawn.start().expect("the program").wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("[WARNING]"), "{said}\n{text}");
}

const CHECK: [&str; 3] = ["-c", "-f", "FOLDER/conf"];

#[test]
fn the_webs_of_the_site_by_connection() {
    let text = told(Forward::Nat, |_| {}).expect("a configuration");
    accepted(&text, &CHECK);
    insta::assert_snapshot!(text, @r"
    # Written by labctl for proxy1.
    global
        log stderr format raw local0 notice
        maxconn 4096
    defaults
        mode tcp
        log global
        option redispatch
        retries 3
        timeout connect 1s
        timeout client 60s
        timeout server 60s
        timeout http-request 20s
        timeout http-keep-alive 20s
    frontend web
        bind 203.0.113.10:80 transparent
        default_backend web
    backend web
        balance source
        hash-type consistent
        option httpchk GET /healthz
        http-check expect status 200-299
        timeout check 150ms
        default-server check inter 200ms rise 2 fall 2
        server web1 10.10.1.21:8080 weight 1
        server web2 10.10.1.22:8080 weight 1
    ");
}

#[test]
fn everything_that_can_be_told_of_requests() {
    let text = told(Forward::Proxy, |service| {
        service.address = "2001:db8::10".parse().expect("an address");
        service.scheduler = Scheduler::Wlc;
        service.check.probe = Probe::Tcp;
        service.slow_start = Duration::from_secs(10);
        service.layer7 = Layer7 { sticky: Some("lab_real".to_owned()), rules: rules() };
        service.reals[0].weight = 0;
        service.reals[1].weight = 7;
    });
    let text = text.expect("a configuration");
    accepted(&text, &CHECK);
    insta::assert_snapshot!(text, @r#"
    # Written by labctl for proxy1.
    global
        log stderr format raw local0 notice
        maxconn 4096
    defaults
        mode http
        log global
        option redispatch
        retries 3
        timeout connect 1s
        timeout client 60s
        timeout server 60s
        timeout http-request 20s
        timeout http-keep-alive 20s
        option forwardfor
        http-reuse always
        retry-on conn-failure empty-response
    frontend web
        bind [2001:db8::10]:80 transparent
        http-request disable-l7-retry if METH_POST !{ req.hdr(idempotency-key) -m found }
        acl web-0-host req.hdr(host),host_only -m str -i 'www.example'
        acl web-0-path path -m str '/it'\''s'
        acl web-0-path path -m beg '/it'\''s/'
        use_backend web-0 if web-0-host web-0-path
        acl web-1-header req.fhdr(X-Tenant) -m str 'blue "$sky" {1}'
        use_backend web-1 if web-1-header
        acl web-2-cookie req.cook(beta) -m str '1'
        use_backend web-2 if web-2-cookie
        default_backend web
    backend web-0
        balance leastconn
        timeout check 150ms
        cookie lab_real insert indirect nocache httponly attr "SameSite=Lax"
        default-server check inter 200ms rise 2 fall 2 slowstart 10000ms
        server web2 10.10.1.22:8080 weight 7 cookie 1a2373dd12707170
    backend web-1
        balance leastconn
        timeout check 150ms
        cookie lab_real insert indirect nocache httponly attr "SameSite=Lax"
        default-server check inter 200ms rise 2 fall 2 slowstart 10000ms
        server web2 10.10.1.22:8080 weight 7 cookie 1a2373dd12707170
    backend web-2
        balance leastconn
        timeout check 150ms
        cookie lab_real insert indirect nocache httponly attr "SameSite=Lax"
        default-server check inter 200ms rise 2 fall 2 slowstart 10000ms
        server web2 10.10.1.22:8080 weight 7 cookie 1a2373dd12707170
    backend web
        balance leastconn
        timeout check 150ms
        cookie lab_real insert indirect nocache httponly attr "SameSite=Lax"
        default-server check inter 200ms rise 2 fall 2 slowstart 10000ms
        server web1 10.10.1.21:8080 weight 0 cookie 3ff5ad7395f00cbb
        server web2 10.10.1.22:8080 weight 7 cookie 1a2373dd12707170
    "#);
}

#[test]
fn what_it_cannot_do_is_refused() {
    let refused = [
        told(Forward::Tun, |_| {}),
        told(Forward::Dr, |_| {}),
        told(Forward::Proxy, |service| service.protocol = Protocol::Udp),
        told(Forward::Nat, |service| service.scheduler = Scheduler::Sed),
        told(Forward::Nat, |service| (service.scheduler, service.reals[0].weight) = (Scheduler::Wrr, 257)),
        told(Forward::Nat, |service| service.check.probe = Probe::Command(vec!["true".to_owned()])),
    ];
    let lines: Vec<String> = refused.into_iter().map(|one| one.expect_err("refused")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    haproxy cannot forward packets in tunnels
    haproxy cannot forward packets by their hardware address
    haproxy cannot balance web, which is UDP
    haproxy cannot schedule web by sed
    haproxy cannot give web1 a weight above 256
    haproxy cannot ask a program about the real servers of web
    ");
}

#[test]
fn what_it_does_without_is_said() {
    let site = site(|topology| topology.balancer.as_mut().expect("a balancer").services[0].fail_open = true);
    insta::assert_snapshot!(left_out(site.topology.balancer.as_ref().expect("a balancer")).join("\n"), @r"
    haproxy does not fail open: with all real servers of web down, nobody is let in
    ");
}
