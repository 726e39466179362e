//! What runs inside a node: daemons, each a `labctl __role NAME` process started by the node's PID 1. A role knows the
//! site and which node it is on; it never talks to the holder but by the events it emits.

#[cfg(test)]
mod agreement;
pub mod balancer;
mod callers;
pub mod catalogue;
pub mod db;
pub mod etcd;
pub mod foreign;
pub mod frr;
pub mod haproxy;
pub mod hog;
pub mod init;
pub mod inquiry;
pub mod ipvs;
pub mod keepalived;
mod listener;
pub mod load;
pub mod nginx;
pub mod patroni;
pub mod proxy;
mod random;
pub mod redis;
mod reporter;
mod stop;
pub mod vrrpd;
pub mod web;
pub mod whoami;
pub mod witness;

use std::path::{Path, PathBuf};

pub use reporter::{EVENTS_FD, Reporter};

use crate::topology::{Node, NodeName, Topology};

/// Where PID 1 of a node puts the site for its services, in the node's private `/run`.
pub const SITE_PATH: &str = "/run/labctl/site.json";
/// A node's disk: it outlives a power-off of the node and ends with the lab.
pub const DISK_PATH: &str = "/run/labctl/disk";

/// Metric of the holder's default route: better than the static one by the inner gateway, which stays as it is.
const HOLDER_METRIC: u32 = 10;

/// What every role is given: the whole site, and which of its nodes this is.
#[derive(Clone, Debug)]
pub struct Site {
    /// The site.
    pub topology: Topology,
    /// This node.
    pub me: NodeName,
    /// The node's disk, [`DISK_PATH`] in a lab and a scratch folder in a test.
    pub disk: PathBuf,
}

/// Why a role has no site to work on.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The file is not there or cannot be read.
    #[error("read the site from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a site.
    #[error("understand the site in {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The site has no such node.
    #[error("the site has no node {0}")]
    NoSuchNode(NodeName),
}

impl Site {
    /// Reads the site that PID 1 left for its services.
    pub fn load(path: &Path, me: NodeName) -> Result<Self, SiteError> {
        let text = std::fs::read(path).map_err(|source| SiteError::Read { path: path.to_owned(), source })?;
        let topology: Topology = serde_json::from_slice(&text)
            .map_err(|source| SiteError::Parse { path: path.to_owned(), source })?;
        match topology.node(&me) {
            Some(_) => Ok(Self { topology, me, disk: DISK_PATH.into() }),
            None => Err(SiteError::NoSuchNode(me)),
        }
    }

    /// This node.
    ///
    /// # Panics
    /// Never on a value made by [`Site::load`].
    pub fn node(&self) -> &Node {
        self.topology.node(&self.me).expect("a site's own node is in its topology")
    }
}

/// An error with all that it comes from, in one line.
fn described(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
