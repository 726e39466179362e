//! The balancers of a lab, each asked inside its node, all at the same time.

use std::collections::BTreeMap;
use std::process::Child;

use serde::Serialize;

use super::Common;
use super::names::did_you_mean;
use crate::commands::{Failure, witness};
use crate::holder::client::Lab;
use crate::holder::protocol::{NodeState, Status};
use crate::roles::balancer::request::{Answer, Listing, Request};
use crate::topology::{Builtin, NodeName, Run, Topology};

/// The balancers of a lab that somebody wants to speak to.
pub(super) struct Directors {
    lab: Lab,
    pub(super) topology: Topology,
    status: Status,
    nodes: Vec<NodeName>,
}

/// What one balancer says when it is asked for a listing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Says {
    /// This.
    Listing(Box<Listing>),
    /// Nothing: its node is down, and how that came.
    Off(String),
    /// Nothing that makes sense, although it could.
    Silent(String),
}

impl Directors {
    /// Those of the lab that the arguments name.
    pub(super) fn find(common: &Common) -> Result<Self, Failure> {
        let lab = common.which.find()?;
        let (topology, status) = (lab.topology()?, lab.status()?);
        let balances = |node: &&crate::topology::Node| {
            node.services.iter().any(|service| service.run == Run::Builtin(Builtin::Balancer))
        };
        let mut nodes: Vec<NodeName> =
            topology.nodes.iter().filter(balances).map(|node| node.name.clone()).collect();
        if nodes.is_empty() {
            let message = format!("lab {} has no balancer that can be asked", lab.name());
            return Err(Failure::usage(
                message,
                "`balancer:` in the topology makes one; other engines have their own tools",
            ));
        }
        if let Some(wanted) = &common.node {
            if !nodes.contains(wanted) {
                let message = format!("{wanted} of lab {} has no balancer that can be asked", lab.name());
                return Err(Failure::usage(
                    message,
                    did_you_mean(wanted.as_str(), nodes.iter().map(NodeName::as_str)),
                ));
            }
            nodes.retain(|node| node == wanted);
        }
        Ok(Self { lab, topology, status, nodes })
    }

    /// What each of them says to a request for a listing.
    pub(super) fn listings(&self, request: &Request) -> BTreeMap<NodeName, Says> {
        let says = |(node, answer)| {
            let says = match answer {
                Err(Unheard::Off(how)) => Says::Off(how),
                Ok(Answer::Listing(listing)) => Says::Listing(listing),
                Err(Unheard::Silent(because)) | Ok(Answer::Failed(because) | Answer::Refused(because)) => {
                    Says::Silent(because)
                }
                Ok(Answer::Changed(_)) => Says::Silent("it answers another question".to_owned()),
            };
            (node, says)
        };
        self.ask(request).into_iter().map(says).collect()
    }

    /// Asks all of them.
    pub(super) fn ask(&self, request: &Request) -> Vec<(NodeName, Result<Answer, Unheard>)> {
        let asked: Vec<_> = self.nodes.iter().map(|node| (node.clone(), self.send(node, request))).collect();
        let heard = asked.into_iter().map(|(node, asked)| {
            let answer = asked.and_then(|child| witness::answer(child).map_err(Unheard::Silent));
            (node, answer)
        });
        heard.collect()
    }

    fn send(&self, node: &NodeName, request: &Request) -> Result<Child, Unheard> {
        if let Some(NodeState::Down { how }) = self.status.node(node).map(|node| &node.state) {
            return Err(Unheard::Off(how.clone()));
        }
        let question = serde_json::to_string(request).map_err(std::io::Error::from);
        let asked = question.and_then(|line| witness::question(&self.lab, node, &["balancer", &line]));
        asked.map_err(|error| Unheard::Silent(error.to_string()))
    }
}

/// Why a balancer said nothing.
#[derive(Debug)]
pub(super) enum Unheard {
    /// Its node is down, and how that came.
    Off(String),
    /// It could have.
    Silent(String),
}
