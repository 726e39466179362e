//! What a lab remembers of its events: all of them, bounded, and the latest state of every service that follows from
//! them. Whoever follows gets each event once; whoever cannot keep up is let go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::protocol::ServiceStatus;
use crate::report::{Event, What};
use crate::topology::{NodeName, ServiceName, Topology};

/// Events kept. An hour of a busy lab, and below 100 MB.
const EVENTS_MAX: usize = 200_000;
/// Events that a follower may lag behind.
const FOLLOWER_LAG_MAX: usize = 16_384;

/// The memory of a lab.
#[derive(Debug, Default)]
pub struct Record {
    events: VecDeque<Arc<Event>>,
    followers: Vec<SyncSender<Arc<Event>>>,
    services: BTreeMap<(NodeName, ServiceName), ServiceStatus>,
    /// The last words of services that are about to end.
    gave_up: BTreeMap<(NodeName, ServiceName), String>,
    /// Per database node: whom it follows.
    leaders: BTreeMap<NodeName, (u64, Option<NodeName>)>,
    /// Per web with a peer: what has become of its memory.
    memories: BTreeMap<NodeName, String>,
    /// Per proxy: which real servers of which service are in.
    reals: BTreeMap<NodeName, BTreeMap<(String, String), bool>>,
}

impl Record {
    /// Takes an event in.
    pub fn add(&mut self, event: Event) {
        self.learn(&event);
        let event = Arc::new(event);
        self.followers.retain(|follower| follower.try_send(event.clone()).is_ok());
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.events.iter().cloned().collect()
    }

    /// All events from now on.
    pub fn follow(&mut self) -> Receiver<Arc<Event>> {
        let (sender, receiver) = sync_channel(FOLLOWER_LAG_MAX);
        self.followers.push(sender);
        receiver
    }

    /// A node is gone: nothing that its services said is true any more.
    pub fn forget(&mut self, node: &NodeName) {
        for ((owner, _), status) in &mut self.services {
            if owner == node {
                status.running = false;
                status.ready = false;
                status.says = None;
            }
        }
        self.leaders.remove(node);
        self.memories.remove(node);
        self.reals.remove(node);
    }

    /// What is known of a service.
    pub fn service(&self, node: &NodeName, service: &ServiceName) -> ServiceStatus {
        self.services.get(&(node.clone(), service.clone())).cloned().unwrap_or_default()
    }

    /// Whom most databases of the newest term follow.
    pub fn leader(&self) -> Option<NodeName> {
        let newest =
            self.leaders.values().filter(|(_, leader)| leader.is_some()).map(|(term, _)| *term).max()?;
        self.leaders.values().find(|(term, leader)| *term == newest && leader.is_some())?.1.clone()
    }

    /// Databases that follow `leader`.
    pub fn followers_of(&self, leader: &NodeName) -> usize {
        self.leaders.values().filter(|(_, follows)| follows.as_ref() == Some(leader)).count()
    }

    /// What a web last said of the memory that it has with its peer.
    pub fn memory(&self, web: &NodeName) -> Option<&str> {
        self.memories.get(web).map(String::as_str)
    }

    /// Real servers that a proxy does not give new connections to, of those that the topology names.
    pub fn reals_out(&self, proxy: &NodeName, topology: &Topology) -> Vec<String> {
        let known = self.reals.get(proxy);
        let up = |service: &str, real: &str| {
            known
                .and_then(|reals| reals.get(&(service.to_owned(), real.to_owned())))
                .copied()
                .unwrap_or(false)
        };
        let services = topology.balancer.iter().flat_map(|balancer| &balancer.services);
        services
            .flat_map(|service| service.reals.iter().map(move |real| (service, real)))
            .filter(|(service, real)| !up(service.name.as_str(), real.node.as_str()))
            .map(|(service, real)| format!("{} of {}", real.node, service.name))
            .collect()
    }

    fn learn(&mut self, event: &Event) {
        let Some(node) = event.node.as_deref().and_then(|node| node.parse::<NodeName>().ok()) else { return };
        let Ok(service) = event.source.parse::<ServiceName>() else { return };
        let name = (node.clone(), service);
        let status = self.services.entry(name.clone()).or_default();
        match &event.what {
            What::Ready => status.ready = true,
            What::ServiceStarted { .. } => {
                status.running = true;
                status.starts += 1;
            }
            What::GaveUp { because } => {
                self.gave_up.insert(name, because.clone());
            }
            What::ServiceExited { how } => {
                status.running = false;
                status.ready = false;
                status.says = None;
                self.memories.remove(&node);
                status.last_exit = Some(match self.gave_up.remove(&name) {
                    Some(because) => format!("{how}: {because}"),
                    None => how.clone(),
                });
            }
            What::VrrpState { to, .. } => status.says = Some(to.clone()),
            What::Balancing { active, backend } => {
                let is = if *active { "active" } else { "standby" };
                status.says = Some(format!("{is}, {backend}"));
            }
            What::RaftLeader { leader, term } => {
                status.says = Some(match leader {
                    Some(leader) if leader == node.as_str() => format!("leader, term {term}"),
                    Some(leader) => format!("follows {leader}, term {term}"),
                    None => format!("no leader, term {term}"),
                });
                let leader = leader.as_deref().and_then(|leader| leader.parse().ok());
                self.leaders.insert(node, (*term, leader));
            }
            What::MemoryState { state, .. } => {
                status.says = Some(state.clone());
                self.memories.insert(node, state.clone());
            }
            What::RealUp { service, real } => {
                self.reals.entry(node).or_default().insert((service.clone(), real.clone()), true);
            }
            What::RealDown { service, real, .. } => {
                self.reals.entry(node).or_default().insert((service.clone(), real.clone()), false);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_service_say_why_it_ended_that_time() {
        let mut record = Record::default();
        let mut tell = |what: What| {
            let (node, source) = (Some("db1".to_owned()), "db".to_owned());
            record.add(Event { at_ns: 0, node, source, what });
            record.service(&"db1".parse().unwrap(), &"db".parse().unwrap()).last_exit
        };
        let exited = |how: &str| What::ServiceExited { how: how.to_owned() };
        assert_eq!(tell(What::GaveUp { because: "the disk is damaged".to_owned() }), None);
        assert_eq!(tell(exited("exit status 4")).as_deref(), Some("exit status 4: the disk is damaged"));
        tell(What::ServiceStarted { pid: 7 });
        assert_eq!(tell(exited("signal SIGKILL")).as_deref(), Some("signal SIGKILL"));
    }
}
