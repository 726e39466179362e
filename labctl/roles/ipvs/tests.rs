//! What keepalived is told of a site's IPVS, and that it understands it.

use super::*;
use crate::roles::foreign::fixtures::{accepted, site, told};

const CHECK: [&str; 4] = ["--config-test", "--check", "--use-file", "FOLDER/conf"];

#[test]
fn the_webs_of_the_site() {
    let text = told(configuration, Forward::Nat, |_| {}).expect("a configuration");
    accepted(PROGRAM, &text, &CHECK);
    insta::assert_snapshot!(text, @r"
    # Written by labctl for proxy1.
    global_defs {
        router_id proxy1
        script_user root
        enable_script_security
    }
    virtual_server 203.0.113.10 80 {
        delay_loop 0.2
        lvs_sched sh
        lvs_method NAT
        protocol TCP
        real_server 10.10.1.21 8080 {
            weight 1
            HTTP_GET {
                url {
                    path /healthz
                    status_code 200-299
                }
                connect_timeout 0.15
                retry 1
                delay_before_retry 0.2
            }
        }
        real_server 10.10.1.22 8080 {
            weight 1
            HTTP_GET {
                url {
                    path /healthz
                    status_code 200-299
                }
                connect_timeout 0.15
                retry 1
                delay_before_retry 0.2
            }
        }
    }
    ");
}

#[test]
fn everything_else_that_can_be_told() {
    let program = || vec!["dig".to_owned(), "it's me".to_owned()];
    let text = told(configuration, Forward::Dr, |service| {
        service.address = "2001:db8::10".parse().expect("an address");
        (service.port, service.protocol, service.scheduler) = (53, Protocol::Udp, Scheduler::Mh);
        service.check.probe = Probe::Command(program());
        service.check.fall = 3;
        let addresses = ["2001:db8:1::21", "2001:db8:1::22"];
        for (real, address) in service.reals.iter_mut().zip(addresses) {
            (real.address, real.port) = (address.parse().expect("an address"), 53);
        }
        service.reals[0].weight = 0;
    });
    let text = text.expect("a configuration");
    accepted(PROGRAM, &text, &CHECK);
    insta::assert_snapshot!(text, @r#"
    # Written by labctl for proxy1.
    global_defs {
        router_id proxy1
        script_user root
        enable_script_security
    }
    virtual_server 2001:db8::10 53 {
        delay_loop 0.2
        lvs_sched mh
        mh-port
        lvs_method DR
        protocol UDP
        real_server 2001:db8:1::21 53 {
            weight 0
            MISC_CHECK {
                misc_path "/bin/sh /run/labctl/check-web-web1"
                misc_timeout 1
                retry 2
                delay_before_retry 0.2
            }
        }
        real_server 2001:db8:1::22 53 {
            weight 1
            MISC_CHECK {
                misc_path "/bin/sh /run/labctl/check-web-web2"
                misc_timeout 1
                retry 2
                delay_before_retry 0.2
            }
        }
    }
    "#);
    let service = &site(|_| {}).topology.balancer.expect("a balancer").services[0];
    insta::assert_snapshot!(script(&service.reals[0], &program()), @r"
    export LABCTL_REAL_NODE=web1
    export LABCTL_REAL_ADDRESS=10.10.1.21
    export LABCTL_REAL_PORT=8080
    exec 'dig' 'it'\''s me'
    ");
}

#[test]
fn requests_are_refused() {
    assert_eq!(
        told(configuration, Forward::Proxy, |_| {}),
        Err("IPVS cannot understand requests".to_owned())
    );
}

#[test]
fn what_it_does_without_is_said() {
    let site = site(|topology| {
        let service = &mut topology.balancer.as_mut().expect("a balancer").services[0];
        (service.fail_open, service.slow_start) = (true, Duration::from_secs(5));
    });
    insta::assert_snapshot!(left_out(site.topology.balancer.as_ref().expect("a balancer")).join("\n"), @r"
    IPVS does not fail open: with all real servers of web down, nobody is let in
    keepalived takes a real server of web back after one success
    IPVS has no slow start: a real server of web gets its whole share at once
    ");
}
