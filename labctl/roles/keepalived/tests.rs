//! What keepalived is told of a site.

use super::*;
use crate::topology::parse;

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
    insta::assert_snapshot!(told("proxy1", |_| {}).expect("a configuration"), @"");
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
    assert_eq!(script(argv), "exec 'test' 'it'\\''s there'\n");
    let text = told("proxy2", |failover| {
        failover.version = VrrpVersion::V2;
        failover.advert_interval = Duration::from_millis(1500);
        failover.preempt_delay = Duration::from_millis(2500);
        failover.mac = MacMode::Virtual;
        failover.unicast = true;
        failover.accept = false;
        failover.checks = vec![check.clone()];
    });
    insta::assert_snapshot!(text.expect("a configuration"), @"");
}

#[test]
fn what_keepalived_cannot_do_is_refused() {
    let refused = told("proxy1", |failover| failover.version = VrrpVersion::Both);
    assert_eq!(refused, Err("keepalived cannot speak VRRPv2 and VRRPv3 at the same time".to_owned()));
    assert_eq!(told("web1", |_| {}), Err("web1 has no priority".to_owned()));
}
