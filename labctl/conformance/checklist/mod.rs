//! What every suite has: scenarios that prove requirements, how they ended, and the matrix of that. Pure: who plays them,
//! and how, is the business of the room around it.

mod matrix;
mod scenarios;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use matrix::{Line, Matrix, Page, Verdict};
pub use scenarios::{Scenario, read};

/// Somebody who can be judged.
pub trait Judged: Copy + Ord + Send + Sync + FromStr<Err = String> + 'static {
    /// Its word on the command line and in a matrix.
    fn word(self) -> &'static str;
    /// Is it our own program? What others fail is their affair.
    fn is_ours(self) -> bool;
}

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
pub struct Played<E> {
    /// The engine.
    pub engine: E,
    /// Which of the scenarios that were given.
    pub scenario: usize,
    /// How it ended.
    pub outcome: Outcome,
}
