//! Who has which part in the site now, from its events. Asking the lab when a fault is due would delay it, and disturb
//! the very kernel tables that an election is about to change.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::drill::Seen;
use crate::report::{Event, Outcome, What};
use crate::topology::NodeName;

/// The parts, and how new the word on them is.
#[derive(Debug)]
pub(super) struct Watch {
    vip: Ipv4Addr,
    /// Databases that are up, as far as is known.
    databases: BTreeSet<NodeName>,
    /// Those that are not.
    off: BTreeSet<NodeName>,
    seen: Seen,
    /// The newest term of which a leader is known.
    term: u64,
}

impl Watch {
    /// Begins with what the lab says of itself.
    pub(super) fn new(vip: Ipv4Addr, databases: BTreeSet<NodeName>, seen: Seen) -> Self {
        Self { vip, databases, off: BTreeSet::new(), seen, term: 0 }
    }

    /// Who has which part now.
    pub(super) fn seen(&self) -> Seen {
        let leader = self.seen.leader.as_ref();
        // Where nobody leads, nobody follows.
        let mut followers = self.databases.iter().filter(|name| leader.is_some_and(|leader| leader != *name));
        Seen { follower: followers.next().cloned(), ..self.seen.clone() }
    }

    /// Takes an event into account.
    pub(super) fn learn(&mut self, event: &Event) {
        let node = || event.node.as_deref().and_then(|node| node.parse::<NodeName>().ok());
        match &event.what {
            What::AddressAdded { address } if *address == self.vip => self.seen.holder = node(),
            What::AddressRemoved { address } if *address == self.vip && self.seen.holder == node() => {
                self.seen.holder = None;
            }
            What::NodeDown { .. } => {
                if self.seen.holder == node() {
                    self.seen.holder = None;
                }
                // Who is off is not a database for now; one that comes back says so.
                self.off.extend(node().filter(|node| self.databases.remove(node)));
            }
            What::NodeUp => {
                self.databases.extend(node().filter(|node| self.off.remove(node)));
            }
            What::Request { outcome: Outcome::Ok, key: Some(_), served_by: Some(web), .. } => {
                self.seen.serving = web.parse().ok();
            }
            // A database that lags behind still names the leader of an older term.
            What::RaftLeader { leader: Some(leader), term } if *term >= self.term => {
                self.term = *term;
                self.seen.leader = leader.parse().ok();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

    fn learn(watch: &mut Watch, node: &str, what: What) {
        watch.learn(&Event { at_ns: 0, node: Some(node.to_owned()), source: "test".to_owned(), what });
    }

    fn name(node: Option<NodeName>) -> String {
        node.map_or("nobody".to_owned(), |node| node.to_string())
    }

    #[test]
    fn the_holder_is_who_got_the_vip_last_and_still_lives() {
        let mut watch = Watch::new(VIP, BTreeSet::new(), Seen::default());
        learn(&mut watch, "proxy1", What::AddressAdded { address: VIP.into() });
        learn(&mut watch, "proxy2", What::AddressAdded { address: VIP.into() });
        learn(&mut watch, "proxy1", What::AddressRemoved { address: VIP.into() });
        assert_eq!(name(watch.seen().holder), "proxy2");
        learn(&mut watch, "proxy2", What::NodeDown { how: String::new() });
        assert_eq!(name(watch.seen().holder), "nobody");
    }

    #[test]
    fn a_leader_of_an_older_term_is_not_believed() {
        let leads = |leader: &str, term| What::RaftLeader { leader: Some(leader.to_owned()), term };
        let mut watch = Watch::new(VIP, BTreeSet::new(), Seen::default());
        learn(&mut watch, "db1", leads("db1", 1));
        learn(&mut watch, "db2", leads("db2", 2));
        learn(&mut watch, "db3", leads("db1", 1));
        assert_eq!(name(watch.seen().leader), "db2");
        learn(&mut watch, "db3", leads("db2", 2));
        learn(&mut watch, "db3", leads("db3", 3));
        assert_eq!(name(watch.seen().leader), "db3");
    }

    #[test]
    fn the_first_database_that_is_up_and_does_not_lead_follows() {
        let databases = ["db1", "db2", "db3"].map(|name| name.parse().expect("a name")).into();
        let mut watch = Watch::new(VIP, databases, Seen::default());
        assert_eq!(name(watch.seen().follower), "nobody");
        learn(&mut watch, "db2", What::RaftLeader { leader: Some("db1".to_owned()), term: 1 });
        assert_eq!(name(watch.seen().follower), "db2");
        learn(&mut watch, "db2", What::NodeDown { how: String::new() });
        assert_eq!(name(watch.seen().follower), "db3");
        learn(&mut watch, "db2", What::NodeUp);
        assert_eq!(name(watch.seen().follower), "db2");
    }

    #[test]
    fn the_serving_web_is_the_one_that_acknowledged_last() {
        let turn = |outcome, web: &str| What::Request {
            intended_ns: 0,
            started_ns: 0,
            outcome,
            conversation: Some("c".to_owned()),
            key: Some("k".to_owned()),
            served_by: Some(web.to_owned()),
            position: None,
            epoch: None,
            durability: None,
        };
        let mut watch = Watch::new(VIP, BTreeSet::new(), Seen::default());
        learn(&mut watch, "client", turn(Outcome::Ok, "web2"));
        learn(&mut watch, "client", turn(Outcome::Status(503), "web1"));
        assert_eq!(name(watch.seen().serving), "web2");
    }
}
