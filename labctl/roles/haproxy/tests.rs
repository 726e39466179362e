//! What HAProxy is told of a site, and that it understands it.

use super::*;
use crate::roles::foreign::fixtures::{accepted, rules, site, told};
use crate::topology::Layer7;

const CHECK: [&str; 3] = ["-c", "-f", "FOLDER/conf"];

#[test]
fn the_webs_of_the_site_by_connection() {
    let text = told(configuration, Forward::Nat, |_| {}).expect("a configuration");
    accepted(PROGRAM, &text, &CHECK);
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
    let text = told(configuration, Forward::Proxy, |service| {
        service.address = "2001:db8::10".parse().expect("an address");
        service.scheduler = Scheduler::Wlc;
        service.check.probe = Probe::Tcp;
        service.slow_start = Duration::from_secs(10);
        service.layer7 = Layer7 { sticky: Some("lab_real".to_owned()), rules: rules() };
        service.reals[0].weight = 0;
        service.reals[1].weight = 7;
    });
    let text = text.expect("a configuration");
    accepted(PROGRAM, &text, &CHECK);
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
        told(configuration, Forward::Tun, |_| {}),
        told(configuration, Forward::Dr, |_| {}),
        told(configuration, Forward::Proxy, |service| service.protocol = Protocol::Udp),
        told(configuration, Forward::Nat, |service| service.scheduler = Scheduler::Sed),
        told(configuration, Forward::Nat, |service| {
            (service.scheduler, service.reals[0].weight) = (Scheduler::Wrr, 257)
        }),
        told(configuration, Forward::Nat, |service| {
            service.check.probe = Probe::Command(vec!["true".to_owned()])
        }),
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
