//! What is asked of a VRRP daemon, the scenarios that prove it, what engines do not even claim, and what the scenarios said
//! of each. Pure: who plays them, and how, is the business of the room around it.

mod lacks;
mod matrix;
mod requirements;
mod scenarios;

use serde::{Deserialize, Serialize};

pub use lacks::lack;
pub use matrix::{Line, Matrix, Verdict};
pub use requirements::{REQUIREMENTS, Requirement, Since};
pub use scenarios::{Scenario, scenarios};

use crate::topology::Engine;

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "why")]
pub enum Outcome {
    /// Everything was as it must be.
    Passed,
    /// The step that was not, and what was seen instead.
    Failed(String),
    /// It was not played, and why.
    Skipped(String),
}

/// One scenario with one engine, and how it ended.
#[derive(Clone, Debug)]
pub struct Played {
    /// The engine.
    pub engine: Engine,
    /// Which of the scenarios that were given.
    pub scenario: usize,
    /// How it ended.
    pub outcome: Outcome,
}
