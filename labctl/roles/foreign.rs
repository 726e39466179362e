//! What is common to daemons that others wrote: a node's part in the election as such a program wants it told, and the
//! process that starts it, watches it and speaks for it. It knows no configuration language.

#[cfg(test)]
pub(super) mod fixtures;
mod instances;
pub(super) mod member;
mod supervisor;

use std::path::PathBuf;

pub(super) use instances::{Floating, Instance, instances};
pub(super) use supervisor::{Program, Watched, supervise};

use super::{DISK_PATH, Site};
use crate::kernel::{macvlan, netlink, packet, sysctl, user};
use crate::topology::{Balancer, Builtin, Failover, NetworkName, NodeName, Run, Topology};

/// Where a daemon's configuration is written, in the node's private `/run`.
pub(super) const FOLDER: &str = "/run/labctl";

/// Why such a daemon does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing floats.
    #[error("the site has no failover")]
    NoFailover,
    /// Nothing is balanced.
    #[error("the site has no balancer")]
    NoBalancer,
    /// A kernel setting that it needs.
    #[error(transparent)]
    Setting(#[from] sysctl::Error),
    /// The node is not in the election.
    #[error("{0} has no priority")]
    NoPriority(NodeName),
    /// The program cannot do what the topology wants.
    #[error("{engine} cannot {what}")]
    Cannot {
        /// The program.
        engine: &'static str,
        /// What it is asked to do.
        what: String,
    },
    /// An address has no interface.
    #[error("{node} is not on {network}")]
    NotOnNetwork {
        /// The node.
        node: NodeName,
        /// The network of an address.
        network: NetworkName,
    },
    /// It is not installed.
    #[error("{program} is not installed: `apt-get install {package}`")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it comes from on Debian.
        package: &'static str,
    },
    /// This program cannot speak to it.
    #[error("this labctl is built without {0}")]
    Unbuilt(&'static str),
    /// Its configuration cannot be written.
    #[error("write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be started.
    #[error("start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It ended although nobody asked it to.
    #[error("{program} ended, {how}")]
    Ended {
        /// The program.
        program: String,
        /// How.
        how: String,
    },
    /// The kernel no longer says who has which address.
    #[error("watch the floating addresses")]
    Netlink(#[from] netlink::Error),
    /// It refuses to run as root, and cannot be run as anybody else.
    #[error(transparent)]
    User(#[from] user::Error),
    /// The databases share no network, or this node is none of them.
    #[error("the databases share no network on which {0} has an address, or it is none")]
    NoSeat(NodeName),
    /// The runtime that asks it cannot be started.
    #[error("start the runtime that asks {program}")]
    Runtime {
        /// The program.
        program: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An interface is not there.
    #[error(transparent)]
    Port(#[from] packet::Error),
    /// Nor is one above it.
    #[error(transparent)]
    Macvlan(#[from] macvlan::Error),
    /// An interface cannot be made ready for it.
    #[error("make {name} on {on}")]
    Link {
        /// The interface that it needs.
        name: String,
        /// The interface below.
        on: NetworkName,
        /// Why not.
        #[source]
        source: nix::errno::Errno,
    },
    /// Something that every Linux process can do failed.
    #[error("{act}")]
    System {
        /// What failed.
        act: &'static str,
        /// Why.
        #[source]
        source: nix::errno::Errno,
    },
}

/// Writes a file of the node, readable by the daemon.
pub(super) fn write(name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = PathBuf::from(FOLDER).join(name);
    std::fs::write(&path, text).map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(path)
}

/// The first program of this machine that a topology needs and that is not there: its name, and its Debian package.
pub fn missing(topology: &Topology) -> Option<(&'static str, &'static str)> {
    let services = topology.nodes.iter().flat_map(|node| &node.services);
    let builtins = services.filter_map(|service| match service.run {
        Run::Builtin(builtin) => Some(builtin),
        Run::Command(_) => None,
    });
    builtins.into_iter().find_map(|builtin| match builtin {
        Builtin::Keepalived => super::keepalived::missing(),
        Builtin::Frr => super::frr::missing(),
        Builtin::Haproxy => super::haproxy::missing(),
        Builtin::Nginx => super::nginx::missing(topology.balancer.as_ref()?.forward),
        Builtin::Ipvs => super::ipvs::missing(),
        Builtin::Etcd => super::etcd::missing(),
        Builtin::Redis | Builtin::Sentinel => super::redis::missing(),
        Builtin::Patroni => super::patroni::missing(),
        Builtin::Vrrpd
        | Builtin::Balancer
        | Builtin::Web
        | Builtin::Db
        | Builtin::Witness
        | Builtin::Whoami => None,
    })
}

/// The first thing that a topology wants of a balancer of others and that it cannot do: its configuration is written as its
/// node would write it, while nothing is built yet.
pub fn refused(topology: &Topology) -> Option<Error> {
    let balancer = topology.balancer.as_ref()?;
    topology.nodes.iter().find_map(|node| {
        let runs = |builtin| node.services.iter().any(|service| service.run == Run::Builtin(builtin));
        let site = || Site { topology: topology.clone(), me: node.name.clone(), disk: DISK_PATH.into() };
        let haproxy = || runs(Builtin::Haproxy).then(|| super::haproxy::configuration(&site(), balancer));
        let nginx = || runs(Builtin::Nginx).then(|| super::nginx::configuration(&site(), balancer));
        haproxy().or_else(nginx)?.err()
    })
}

/// The election of a topology.
pub(super) fn failover(topology: &Topology) -> Result<&Failover, Error> {
    topology.failover.as_ref().ok_or(Error::NoFailover)
}

/// The balancer of a topology.
pub(super) fn balancer(topology: &Topology) -> Result<&Balancer, Error> {
    topology.balancer.as_ref().ok_or(Error::NoBalancer)
}

/// A shell script that is nothing but the command, whatever its words contain.
pub(super) fn script(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    format!("exec {}\n", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::fixtures::told;
    use crate::roles::{haproxy, nginx};
    use crate::topology::{Forward, Scheduler, parse};

    const HA: &str = include_str!("../../topologies/ha.yaml");

    /// A topology is refused by the same word whether it is only read or about to be built.
    #[test]
    fn who_reads_a_topology_refuses_the_schedulers_that_the_programs_refuse() {
        for forward in [Forward::Nat, Forward::Proxy] {
            for scheduler in Scheduler::ALL {
                let reads = |engine: &str| {
                    let line = format!("  forward: {}\n  engine: {engine}\n", forward.word());
                    let text = HA.replacen("  forward: nat\n", &line, 1);
                    let text = text.replacen("scheduler: sh", &format!("scheduler: {}", scheduler.word()), 1);
                    parse("ha.yaml", &text).is_ok()
                };
                let by_haproxy = told(haproxy::configuration, forward, |web| web.scheduler = scheduler);
                let by_nginx = told(nginx::configuration, forward, |web| web.scheduler = scheduler);
                assert_eq!(reads("haproxy"), by_haproxy.is_ok(), "haproxy, {forward:?}, {scheduler:?}");
                assert_eq!(reads("nginx"), by_nginx.is_ok(), "nginx, {forward:?}, {scheduler:?}");
            }
        }
    }
}
