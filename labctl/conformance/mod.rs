//! Suites that judge a program from outside, by what it does to others, whoever wrote it. It knows labs and the wire, and
//! nothing of how the program under test works.

pub mod balancer;
pub mod checklist;
mod play;
mod site;
pub mod suite;
pub(crate) mod version;
pub mod vrrp;

pub use checklist::Judged;
use checklist::{Matrix, Outcome, Played, Scenario};

/// Scenarios about one kind of program, and how they are played.
pub trait Suite {
    /// Who can be judged by it.
    type Engine: Judged;
    /// Its word on the command line.
    const WORD: &'static str;
    /// Everything that is played, or what is wrong with a feature file.
    fn scenarios() -> Result<Vec<Scenario>, String>;
    /// Could this engine do at all what the scenario is about?
    fn owes(_scenario: &Scenario, _engine: Self::Engine) -> bool {
        true
    }
    /// What an engine calls itself.
    fn version(engine: Self::Engine) -> String;
    /// Plays one scenario in this process, and tells each step.
    fn play(scenario: &Scenario, engine: Self::Engine, tell: impl FnMut(&str)) -> Outcome;
    /// What all of that says of each requirement.
    fn matrix(
        scenarios: &[Scenario],
        played: &[Played<Self::Engine>],
        versions: &[(Self::Engine, String)],
    ) -> Matrix;
}
