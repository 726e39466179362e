//! The conformance of VRRP daemons: scenarios in plain words, played on a small lab in which one node runs the daemon
//! under test and the suite itself is everybody else on the wire.
//!
//! Nothing here uses our own codec or state machine: what is judged must not be the judge.

pub mod checklist;
mod frames;
mod rival;
mod sentry;
mod setup;
mod steps;
mod wire;
mod world;

use checklist::lack;
use world::World;

use super::checklist::{Matrix, Outcome, Played, Scenario};
use super::play::play;
use super::version::said;
use super::{Judged, Suite};
use crate::kernel::process::find_program;
use crate::roles::frr;
use crate::topology::Engine;

impl Judged for Engine {
    fn word(self) -> &'static str {
        Self::word(self)
    }

    fn is_ours(self) -> bool {
        self == Self::Labctl
    }
}

/// The suite.
#[derive(Debug)]
pub struct Vrrp;

impl Suite for Vrrp {
    type Engine = Engine;
    const WORD: &'static str = "vrrp";

    fn scenarios() -> Result<Vec<Scenario>, String> {
        checklist::scenarios()
    }

    fn version(engine: Engine) -> String {
        match engine {
            Engine::Labctl => super::version::OURS.to_owned(),
            Engine::Keepalived => {
                said(find_program("keepalived"), "--version", |line| line.split(" (").next())
            }
            Engine::Frr => said(frr::path(frr::PROGRAM), "--version", |line| Some(line)),
        }
    }

    fn play(scenario: &Scenario, engine: Engine, tell: impl FnMut(&str)) -> Outcome {
        match scenario.needs.iter().find_map(|tag| lack(engine, tag)) {
            Some(reason) => Outcome::Skipped(reason.to_owned()),
            None => play(scenario, World::of(engine), World::log, tell),
        }
    }

    fn matrix(scenarios: &[Scenario], played: &[Played<Engine>], versions: &[(Engine, String)]) -> Matrix {
        checklist::matrix(scenarios, played, versions)
    }
}
