//! One verb a file, each short enough to read at once: arguments, then a few calls into the shell rooms, then output.
//! Data goes to standard output, words for people to standard error.

pub mod completions;
pub mod down;
pub mod drill;
pub mod events;
pub mod exec;
mod failure;
pub mod fetch;
pub mod kill;
pub mod list;
pub mod logs;
pub mod power;
pub mod reach;
pub mod role;
pub mod status;
pub mod talk;
pub mod up;
pub mod validate;

use clap::ValueEnum;

pub use failure::{Failure, Outcome};

use crate::holder::client::Lab;
use crate::topology::LabName;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Which lab a verb is about.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The lab, if more than one is up
    #[arg(short, long, env = "LABCTL_LAB", value_name = "NAME")]
    pub lab: Option<LabName>,
}

impl Which {
    /// The lab of that name, or the only one.
    pub fn find(&self) -> Result<Lab, Failure> {
        Ok(Lab::find(self.lab.clone())?)
    }
}
