//! What nginx is told of a site, and that it understands it.

use std::time::Duration;

use super::*;
use crate::roles::foreign::fixtures::{accepted, rules, site, told};
use crate::topology::Layer7;

const CHECK: [&str; 7] = ["-t", "-p", "FOLDER", "-e", "stderr", "-c", "FOLDER/conf"];

#[test]
fn the_webs_of_the_site_by_connection() {
    let text = told(configuration, Forward::Nat, |service| {
        // Its check tries to listen, on what every machine has.
        (service.address, service.port) = ("127.0.73.1".parse().expect("an address"), 8073);
        service.scheduler = Scheduler::Mh;
    });
    let text = text.expect("a configuration");
    if missing(Forward::Nat).is_none() {
        accepted(PROGRAM, &text, &CHECK);
    }
    insta::assert_snapshot!(text, @r"
    # Written by labctl for proxy1.
    load_module /usr/lib/nginx/modules/ngx_stream_module.so;
    daemon off;
    user root;
    worker_processes auto;
    worker_rlimit_nofile 8192;
    pid nginx.pid;
    error_log stderr warn;
    events {
        worker_connections 4096;
    }
    stream {
        proxy_connect_timeout 1s;
        proxy_timeout 60s;
        upstream web {
            hash $remote_addr$remote_port consistent;
            server 10.10.1.21:8080 weight=1 max_fails=2 fail_timeout=1s;
            server 10.10.1.22:8080 weight=1 max_fails=2 fail_timeout=1s;
        }
        server {
            listen 127.0.73.1:8073;
            proxy_pass web;
        }
    }
    ");
}

#[test]
fn everything_that_can_be_told_of_requests() {
    let text = told(configuration, Forward::Proxy, |service| {
        (service.address, service.port) = ("::1".parse().expect("an address"), 8073);
        service.scheduler = Scheduler::Wlc;
        service.layer7 = Layer7 { sticky: None, rules: rules() };
        service.reals[0].weight = 0;
        service.reals[1].weight = 7;
    });
    let text = text.expect("a configuration");
    accepted(PROGRAM, &text, &CHECK);
    insta::assert_snapshot!(text, @r#"
    # Written by labctl for proxy1.
    daemon off;
    user root;
    worker_processes auto;
    worker_rlimit_nofile 8192;
    pid nginx.pid;
    error_log stderr warn;
    events {
        worker_connections 4096;
    }
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
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        upstream web {
            least_conn;
            server 10.10.1.21:8080 down max_fails=2 fail_timeout=1s;
            server 10.10.1.22:8080 weight=7 max_fails=2 fail_timeout=1s;
            keepalive 256;
        }
        upstream web-0 {
            least_conn;
            server 10.10.1.22:8080 weight=7 max_fails=2 fail_timeout=1s;
            keepalive 256;
        }
        upstream web-1 {
            least_conn;
            server 10.10.1.22:8080 weight=7 max_fails=2 fail_timeout=1s;
            keepalive 256;
        }
        upstream web-2 {
            least_conn;
            server 10.10.1.22:8080 weight=7 max_fails=2 fail_timeout=1s;
            keepalive 256;
        }
        map "$host\n$uri\n$http_x_tenant\n$cookie_beta" $upstream_of_web {
            "~^www\.example\n/it\'s(/[^\n]*)?\n[^\n]*\n[^\n]*$" web-0;
            "~^[^\n]*\n[^\n]*\nblue \x22\x24sky\x22 \{1\}\n[^\n]*$" web-1;
            "~^[^\n]*\n[^\n]*\n[^\n]*\n1$" web-2;
            default web;
        }
        server {
            listen [::1]:8073;
            location / {
                proxy_pass http://$upstream_of_web;
            }
        }
    }
    "#);
}

#[test]
fn what_it_cannot_do_is_refused() {
    let sticky = || Layer7 { sticky: Some("lab_real".to_owned()), rules: vec![] };
    let refused = [
        told(configuration, Forward::Tun, |_| {}),
        told(configuration, Forward::Dr, |_| {}),
        told(configuration, Forward::Proxy, |service| service.protocol = Protocol::Udp),
        told(configuration, Forward::Proxy, |service| service.layer7 = sticky()),
        told(configuration, Forward::Nat, |service| service.scheduler = Scheduler::Nq),
    ];
    let lines: Vec<String> = refused.into_iter().map(|one| one.expect_err("refused")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    nginx cannot forward packets in tunnels
    nginx cannot forward packets by their hardware address
    nginx cannot find requests in web, which is UDP
    nginx cannot keep visitors of web by a cookie of its own
    nginx cannot schedule web by nq
    ");
}

#[test]
fn what_it_does_without_is_said() {
    let slow = Duration::from_secs(5);
    let site = site(|topology| topology.balancer.as_mut().expect("a balancer").services[0].slow_start = slow);
    insta::assert_snapshot!(left_out(site.topology.balancer.as_ref().expect("a balancer")).join("\n"), @r"
    nginx makes no health checks: a real server is out for a while after requests to it failed
    nginx has no slow start: whoever comes back gets its whole share at once
    ");
}
