//! One verb a file, each short enough to read at once: arguments, then a few calls into the shell rooms, then output.
//! Data goes to standard output, words for people to standard error.

/// Words for people. A reader that is gone is no reason for a command to fail, least of all after its work is done.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

/// Data, one line. Whether it got there is the verb's to pass on.
macro_rules! print_line {
    ($($data:tt)*) => {
        $crate::commands::output::write(format!("{}\n", format_args!($($data)*)).as_bytes())
    };
}

pub mod ask;
pub mod balancer;
pub mod check;
pub mod completions;
pub mod conformance;
pub mod cut;
pub mod disk;
pub mod doctor;
pub mod down;
pub mod drill;
pub mod engines;
pub mod events;
pub mod exec;
pub mod explain;
mod failure;
pub mod fetch;
pub mod heal;
pub mod hog;
pub mod kill;
pub mod list;
pub mod load;
pub mod logs;
pub(crate) mod output;
pub mod power;
pub mod reach;
pub mod role;
pub mod setup;
pub mod status;
pub mod talk;
pub mod trace;
pub mod up;
pub mod validate;
mod witness;

use clap::ValueEnum;

pub use failure::{Failure, Outcome};

use crate::holder::client::{self, Lab};
use crate::holder::lab;
use crate::holder::protocol::NodeState;
use crate::topology::{LabName, NodeName};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Which lab a verb is about, where the lab is all that it is about.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// The lab, if more than one is up
    pub name: Option<LabName>,
    /// The same, as other verbs take it; LABCTL_LAB does as well
    // clap would take the variable for an argument, and for one that contradicts the name.
    #[arg(short, long, value_name = "NAME", conflicts_with = "name")]
    pub lab: Option<LabName>,
}

impl Named {
    /// The name, by any of the ways.
    pub fn name(&self) -> Result<Option<LabName>, Failure> {
        if let Some(name) = self.name.as_ref().or(self.lab.as_ref()) {
            return Ok(Some(name.clone()));
        }
        let Ok(name) = std::env::var(LAB_VARIABLE) else { return Ok(None) };
        let parsed = name.parse();
        parsed.map(Some).map_err(|error: crate::topology::NameError| {
            Failure::usage(
                format!("{LAB_VARIABLE}={name:?}: {error}"),
                "`labctl list` shows the labs that are up",
            )
        })
    }

    /// The lab of that name, or the only one.
    pub fn find(&self) -> Result<Lab, Failure> {
        Ok(Lab::find(self.name()?)?)
    }
}

/// Refuses what the lab would refuse of one of these nodes, before anything happens to any of them: one that it does not have, one
/// that is named twice, and one that by being up or not is `unfit`.
fn check_all(
    lab: &Lab,
    nodes: &[NodeName],
    unfit: impl Fn(NodeName, bool) -> Option<lab::Error>,
) -> Result<(), Failure> {
    named_once(nodes)?;
    let known = lab.status()?.nodes;
    let refused = nodes.iter().find_map(|name| match known.iter().find(|node| node.name == *name) {
        Some(node) => unfit(name.clone(), node.state == NodeState::Up),
        None => Some(lab::Error::no_such_node(name, known.iter().map(|node| &node.name))),
    });
    refused.map_or(Ok(()), |why| Err(client::Error::Refused(why.to_string()).into()))
}

fn named_once(nodes: &[NodeName]) -> Result<(), Failure> {
    let twice = nodes.iter().enumerate().find(|(at, node)| nodes[..*at].contains(node));
    twice.map_or(Ok(()), |(_, node)| {
        Err(Failure::usage(format!("{node} is named twice"), "name each node once"))
    })
}

/// Names the lab for a whole shell.
const LAB_VARIABLE: &str = "LABCTL_LAB";

/// Which lab a verb is about.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The lab, if more than one is up
    #[arg(short, long, env = LAB_VARIABLE, value_name = "NAME")]
    pub lab: Option<LabName>,
}

impl Which {
    /// The lab of that name, or the only one.
    pub fn find(&self) -> Result<Lab, Failure> {
        Ok(Lab::find(self.lab.clone())?)
    }
}
