//! What a scenario knows: who is judged, the site with it in its place, and the visitors of that.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::checklist::Subject;
use super::visitor::{Answer, Visitor};
use crate::conformance::site;
use crate::holder::client::{Lab, Leash};
use crate::kernel::tap::Tap;
use crate::kernel::{namespace, wait};
use crate::topology::{BalancerEngine, Forward, NodeName, Role, Scheduler, Topology, parse};

/// How long a fact may take to become true that depends on checks, elections and who is busy.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);
/// All that visitors know of the site.
pub(super) const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 80);
/// The client's addresses on the street end with these.
const CLIENTS: std::ops::RangeInclusive<u8> = 10..=29;
/// The line of a site by which a proxy keeps visitors.
const STICKY: &str = "      sticky: lab_web\n";
/// What visitors ask for.
pub(super) const PATH: &str = "/healthz";

/// What a scenario knows.
#[derive(Debug, Default, cucumber::World)]
pub(super) struct World {
    subject: Option<Subject>,
    /// The lab ends with its leash.
    lab: Option<(Lab, Leash)>,
    /// What each visitor last heard, and the connection that it keeps.
    pub(super) visitors: Vec<(Visitor, Answer)>,
    /// Hears what comes to the client.
    pub(super) tap: Option<Tap>,
    /// What the visitors got, and what the directors sent meanwhile.
    pub(super) carried: Option<(u64, u64)>,
}

impl World {
    /// Nothing yet but who is judged.
    pub(super) fn of(subject: Subject) -> Self {
        Self { subject: Some(subject), ..Self::default() }
    }

    /// Builds the site, and waits until it answers; `drained` gets weight 0.
    pub(super) fn up(&mut self, drained: Option<&NodeName>) -> Result<(), String> {
        let mut topology = topology(self.subject.ok_or("nobody is judged")?)?;
        let services = topology.balancer.iter_mut().flat_map(|balancer| &mut balancer.services);
        for real in services.flat_map(|service| &mut service.reals) {
            if Some(&real.node) == drained {
                real.weight = 0;
            }
        }
        self.lab = Some(site::up("balancer", &topology)?);
        // keepalived tells nobody when it has put the services into the kernel.
        wait::eventually("the site answers", WAIT_MAX, || self.ask(PATH, None).map(drop))
    }

    /// The site.
    pub(super) fn lab(&self) -> Result<&Lab, String> {
        self.lab.as_ref().map(|(lab, _)| lab).ok_or_else(|| "this scenario has no site".to_owned())
    }

    /// Does something in the network of a node.
    pub(super) fn inside<T: Send>(
        &self,
        node: &NodeName,
        work: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<T, String> {
        let init = self.lab()?.enter(node).map_err(|error| error.to_string())?;
        namespace::inside(init.as_fd(), work).map_err(|error| error.to_string())?
    }

    /// Has every visitor ask over a new connection: these and the answers; or who got none.
    pub(super) fn ask(&self, path: &str, cookie: Option<&str>) -> Result<Vec<(Visitor, Answer)>, String> {
        self.inside(&name("client")?, || {
            let visit = |host| {
                let source = Ipv4Addr::new(198, 51, 100, host);
                let visited = Visitor::connect(source, VIP).and_then(|mut visitor| {
                    let answer = visitor.ask(path, cookie)?;
                    Ok((visitor, answer))
                });
                visited.map_err(|error| format!("{source}: {error}"))
            };
            CLIENTS.map(visit).collect()
        })
    }

    /// What the directors wrote.
    pub(super) fn log(&self) -> String {
        let mut text = String::new();
        let Ok(lab) = self.lab() else { return text };
        let Ok(topology) = lab.topology() else { return text };
        for director in topology.nodes_of(Role::Proxy) {
            if let Ok(mut log) = lab.log(&director.name) {
                let _ = log.read_to_string(&mut text);
            }
        }
        text
    }
}

/// A node of the site.
pub(super) fn name(text: &str) -> Result<NodeName, String> {
    text.parse().map_err(|_| format!("{text:?} is no node's name"))
}

/// The site of a method with that engine. All are to do the same, so the scheduler is one that all have.
fn topology(subject: Subject) -> Result<Topology, String> {
    let (file, text) = match subject.forward() {
        Forward::Nat => ("topologies/vs-nat.yaml", include_str!("../../../topologies/vs-nat.yaml")),
        Forward::Tun => ("topologies/vs-tun.yaml", include_str!("../../../topologies/vs-tun.yaml")),
        Forward::Dr => ("topologies/vs-dr.yaml", include_str!("../../../topologies/vs-dr.yaml")),
        Forward::Proxy => ("topologies/vs-proxy.yaml", include_str!("../../../topologies/vs-proxy.yaml")),
    };
    let forward = format!("  forward: {}\n", subject.forward().word());
    let with_engine = format!("{forward}  engine: {}\n", subject.engine().word());
    let mut text = text.replacen(&forward, &with_engine, 1);
    if subject.engine() == BalancerEngine::Nginx {
        // It cannot keep visitors by a cookie.
        text = text.replacen(STICKY, "", 1);
    }
    let mut topology = parse(file, &text).map_err(|invalid| invalid.to_string())?;
    let balancer = topology.balancer.as_mut().ok_or("the site has no balancer")?;
    if balancer.engine != subject.engine() {
        return Err(format!("{file} did not take another engine"));
    }
    for service in &mut balancer.services {
        service.scheduler = Scheduler::Sh;
    }
    Ok(topology)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_its_site() {
        for subject in Subject::ALL {
            let topology = topology(subject).expect("a topology");
            let balancer = topology.balancer.expect("a balancer");
            assert_eq!((balancer.engine, balancer.forward), (subject.engine(), subject.forward()));
        }
    }
}
