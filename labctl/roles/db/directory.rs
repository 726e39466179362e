//! Who the databases are, where they listen, and which raft identifier belongs to which of them: all read from the
//! topology, so that nobody has to be told. Pure; it knows nothing of connections.

use std::net::{IpAddr, SocketAddr};

use crate::topology::{Node, NodeName, Role, Run, Topology};

/// A raft identifier. Members that founded the cluster have their place, 1 to n. A member that lost its disk comes back
/// under a new identifier with the same remainder, since raft must never meet a voter that forgot its vote.
pub type RaftId = u64;

/// One database as others find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its node.
    pub name: NodeName,
    /// Where it listens, for visitors and for the other databases.
    pub address: SocketAddr,
}

/// All databases of a site in order of name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    seats: Vec<Seat>,
}

impl Directory {
    /// Reads the databases of a site. One that has no address where the others are is left out.
    ///
    /// They listen on the data network: the first on which every database has an address, and, where there is a choice,
    /// one on which every web node has an address too.
    pub fn of(topology: &Topology) -> Self {
        let mut nodes: Vec<&Node> =
            topology.nodes.iter().filter(|node| is_database(topology, node)).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let shared: Vec<_> = nodes
            .first()
            .into_iter()
            .flat_map(|first| first.interfaces.iter().map(|interface| &interface.network))
            .filter(|network| nodes.iter().all(|node| node.address_on(network).is_some()))
            .collect();
        let with_webs = shared
            .iter()
            .find(|network| topology.nodes_of(Role::Web).all(|web| web.address_on(network).is_some()));
        let Some(network) = with_webs.or(shared.first()) else { return Self { seats: Vec::new() } };
        let port = topology.conversation.db_port;
        let seats = nodes
            .iter()
            .filter_map(|node| {
                let address = IpAddr::from(node.address_on(network)?);
                Some(Seat { name: node.name.clone(), address: SocketAddr::new(address, port) })
            })
            .collect();
        Self { seats }
    }

    /// The databases in order of name.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The place of a database in the order of names, from 0.
    pub fn place_of(&self, name: &NodeName) -> Option<usize> {
        self.seats.iter().position(|seat| &seat.name == name)
    }

    /// The identifier of a place after this many new starts with an empty disk; 0 for a founder.
    pub fn raft_id(&self, place: usize, generation: u32) -> RaftId {
        u64::from(generation) * self.seats.len() as u64 + place as u64 + 1
    }

    /// The place that an identifier belongs to.
    pub fn place(&self, id: RaftId) -> Option<usize> {
        let seats = self.seats.len() as u64;
        (id > 0 && seats > 0).then(|| ((id - 1) % seats) as usize)
    }

    /// The database that an identifier belongs to.
    pub fn seat(&self, id: RaftId) -> Option<&Seat> {
        self.seats.get(self.place(id)?)
    }

    /// The identifiers with which a cluster begins.
    pub fn founders(&self) -> impl Iterator<Item = RaftId> {
        1..=self.seats.len() as RaftId
    }
}

/// A machine may run web and database at once, so what it runs counts as well as what it is for.
fn is_database(topology: &Topology, node: &Node) -> bool {
    let member = topology.conversation.engine.member();
    let runs = |service: &crate::topology::Service| service.run == Run::Builtin(member);
    node.role == Role::Db || node.services.iter().any(runs)
}
