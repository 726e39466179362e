//! What keepalived is told of a site.

use super::*;
use crate::topology::{FloatingAddress6, parse};

const HA: &str = include_str!("../../../topologies/ha.yaml");

fn told(of: &str, change: impl FnOnce(&mut Failover)) -> Result<String, String> {
    let mut topology = parse("ha.yaml", HA).expect("a topology without mistakes");
    change(topology.failover.as_mut().expect("an election"));
    let site = Site { topology, me: of.parse().expect("a name"), disk: "/nowhere".into() };
    let routers = instances(&site).map_err(|error| error.to_string())?;
    let failover = foreign::failover(&site.topology).map_err(|error| error.to_string())?;
    configuration(&site, failover, &routers).map_err(|error| error.to_string())
}

#[test]
fn the_first_proxy_of_the_site() {
    insta::assert_snapshot!(told("proxy1", |_| {}).expect("a configuration"), @r#"
    # Written by labctl for proxy1.
    global_defs {
        router_id proxy1
        script_user root
        enable_script_security
    }
    vrrp_instance site-ipv4 {
        state BACKUP
        interface back
        virtual_router_id 51
        priority 150
        version 3
        advert_int 0.1
        accept
        track_interface {
            front
        }
        virtual_ipaddress {
            203.0.113.10/24 dev front
            10.10.1.1/24 dev back
        }
        virtual_routes {
            0.0.0.0/0 via 203.0.113.1 dev front metric 10
        }
    }
    "#);
}

#[test]
fn everything_else_that_can_be_told() {
    let check = TrackCheck {
        name: "disk".parse().expect("a name"),
        probe: TrackProbe::Command(vec!["test".to_owned(), "it's there".to_owned()]),
        weight: Some(60),
        interval: Duration::from_millis(200),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };
    let TrackProbe::Command(argv) = &check.probe else { panic!("a command") };
    assert_eq!(foreign::script(argv), "exec 'test' 'it'\\''s there'\n");
    let text = told("proxy2", |failover| {
        failover.version = VrrpVersion::V2;
        failover.advert_interval = Duration::from_millis(1500);
        failover.preempt_delay = Duration::from_millis(2500);
        failover.mac = MacMode::Virtual;
        failover.unicast = true;
        failover.accept = false;
        failover.checks = vec![check.clone()];
    });
    insta::assert_snapshot!(text.expect("a configuration"), @r#"
    # Written by labctl for proxy2.
    global_defs {
        router_id proxy2
        script_user root
        enable_script_security
    }
    vrrp_script disk {
        script "/bin/sh /run/labctl/check-disk"
        interval 1
        timeout 1
        weight -60
        rise 2
        fall 3
    }
    vrrp_instance site-ipv4 {
        state BACKUP
        interface back
        virtual_router_id 51
        priority 100
        version 2
        advert_int 2
        no_accept
        preempt_delay 2.5
        use_vmac
        use_vmac_addr
        vmac_xmit_base
        unicast_src_ip 10.10.1.12
        unicast_peer {
            10.10.1.11
        }
        track_interface {
            front
        }
        track_script {
            disk
        }
        virtual_ipaddress {
            203.0.113.10/24 dev front
            10.10.1.1/24
        }
        virtual_routes {
            0.0.0.0/0 via 203.0.113.1 dev front metric 10
        }
    }
    "#);
}

#[test]
fn what_keepalived_cannot_do_is_refused() {
    let refused = told("proxy1", |failover| failover.version = VrrpVersion::Both);
    assert_eq!(refused, Err("keepalived cannot speak VRRPv2 and VRRPv3 at the same time".to_owned()));
    let refused = told("proxy1", |failover| {
        failover.unicast = true;
        let network = failover.network.clone();
        failover.addresses6 =
            vec![FloatingAddress6 { network, address: "2001:db8::10".parse().expect("IPv6") }];
    });
    assert_eq!(refused, Err("keepalived cannot speak to one router alone over IPv6".to_owned()));
    assert_eq!(told("web1", |_| {}), Err("web1 has no priority".to_owned()));
}
