//! What is wrong, or why it is as it is: what daemons say of themselves, what a lab's status and events say, and what the
//! machine can do, turned into sentences with a next step. Pure: it asks nobody, and every age is reckoned from a time that
//! it is given.

pub mod account;
pub mod election;
mod explain;
mod finding;
#[cfg(test)]
mod fixtures;
pub mod machine;
pub mod peers;
pub mod reals;
mod words;

pub use explain::{Facts, ServiceFacts, explain};
pub use finding::Finding;

use crate::topology::{Engine, NodeName};
use account::Account;

/// A member of an election, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Witness {
    /// The node.
    pub node: NodeName,
    /// The program that takes part there.
    pub engine: Engine,
    /// What it says.
    pub testimony: Testimony,
}

/// What a member of an election says of itself.
#[derive(Clone, Debug)]
pub enum Testimony {
    /// This.
    Said(Box<Account>),
    /// Nothing, since its node is down, and how that came.
    Off(String),
    /// Nothing, although it could, and what happened instead.
    Silent(String),
    /// Nothing: the program cannot be asked.
    Mute,
}

impl Testimony {
    /// What it says, if it says something.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Said(account) => Some(account),
            Self::Off(_) | Self::Silent(_) | Self::Mute => None,
        }
    }
}
