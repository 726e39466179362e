//! What each node may use, kept by the kernel: the folders of a lab, and who goes into which. It does not know how a folder
//! is made or when it is swept away.

use std::fs::File;

use crate::kernel::cgroup::{Controller, Counters, Error, Folders, Limits, View};
use crate::topology::{self, LabName, Node, Topology};

/// The shares of a lab's nodes; none where no node is limited.
#[derive(Debug, Default)]
pub struct Shares(Option<Folders>);

fn of(limits: &topology::Limits) -> Limits {
    Limits { cpu_hundredths: limits.cpu_hundredths, memory_bytes: limits.memory_bytes }
}

/// What a topology needs to keep its limits; nothing if it has none.
pub fn wanted(topology: &Topology) -> Vec<Controller> {
    let mut wanted: Vec<_> = topology.nodes.iter().flat_map(|node| of(&node.limits).controllers()).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// The same site, with all that the machine can give for everybody.
pub fn lift(topology: &mut Topology) {
    for node in &mut topology.nodes {
        node.limits = topology::Limits { disk_bytes: node.limits.disk_bytes, ..Default::default() };
    }
}

impl Shares {
    /// Those that the topology gives.
    pub fn make(lab: &LabName, topology: &Topology) -> Result<Self, Error> {
        let wanted = wanted(topology);
        if wanted.is_empty() {
            return Ok(Self(None));
        }
        let view = View::of_myself().map_err(Error::View)?;
        let folders = Folders::make(&view, lab.as_str(), &wanted)?;
        topology.nodes.iter().try_for_each(|node| folders.limit(node.name.as_str(), &of(&node.limits)))?;
        Ok(Self(Some(folders)))
    }

    /// The ways in for the first process of a node.
    pub fn doors(&self, node: &Node) -> Result<Vec<File>, Error> {
        self.0.as_ref().map_or(Ok(Vec::new()), |it| it.doors(node.name.as_str(), &of(&node.limits)))
    }

    /// What the kernel counted of a node that has limits.
    pub fn counters(&self, node: &Node) -> Option<Counters> {
        let limits = of(&node.limits);
        let folders = self.0.as_ref().filter(|_| limits != Limits::default())?;
        Some(folders.counters(node.name.as_str(), &limits))
    }
}
