//! The whole site with the engine under test in the place of our own daemon.

use cucumber::given;

use crate::conformance::vrrp::setup::service_of;
use crate::conformance::vrrp::world::World;
use crate::topology::{Builtin, Role, Run, parse};

/// The site that the scenarios are about.
const SITE: (&str, &str) = ("topologies/ha.yaml", include_str!("../../../../topologies/ha.yaml"));

#[given("the site with the engine under test")]
fn site(world: &mut World) -> Result<(), String> {
    let mut topology = parse(SITE.0, SITE.1).map_err(|invalid| invalid.to_string())?;
    let engine = world.engine;
    let builtin = service_of(engine);
    let name = builtin.word().parse().map_err(|_| "a service's name")?;
    for node in topology.nodes.iter_mut().filter(|node| node.role == Role::Proxy) {
        for service in &mut node.services {
            if matches!(service.run, Run::Builtin(Builtin::Vrrpd | Builtin::Keepalived | Builtin::Frr)) {
                (service.run, service.name) = (Run::Builtin(builtin), std::clone::Clone::clone(&name));
            }
        }
    }
    if let Some(failover) = &mut topology.failover {
        failover.engines.values_mut().for_each(|one| *one = engine);
    }
    world.up(&topology)
}
