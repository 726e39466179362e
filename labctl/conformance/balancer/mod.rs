//! The conformance of balancers: scenarios in plain words about what visitors of a site may expect, played on our sites with
//! whichever engine in its place. It asks over HTTP as any client would, and no director how it works.

pub mod checklist;
mod steps;
mod visitor;
mod world;

use checklist::{Subject, by_design, not_applicable};
use world::World;

use super::Suite;
use super::checklist::{Matrix, Outcome, Played, Scenario};
use super::play::play;
use super::version::{OURS, said};
use crate::kernel::process::find_program;
use crate::roles::{haproxy, ipvs, nginx};
use crate::topology::BalancerEngine;

/// The suite.
#[derive(Debug)]
pub struct Balancer;

impl Suite for Balancer {
    type Engine = Subject;
    const WORD: &'static str = "balancer";

    fn scenarios() -> Result<Vec<Scenario>, String> {
        checklist::scenarios()
    }

    fn owes(scenario: &Scenario, subject: Subject) -> bool {
        let excused = |id: &String| not_applicable(subject, id).or_else(|| by_design(subject, id)).is_some();
        !scenario.ids.iter().all(excused)
    }

    fn version(subject: Subject) -> String {
        let (program, asked_by) = match subject.engine() {
            BalancerEngine::Labctl => return OURS.to_owned(),
            BalancerEngine::Haproxy => ("haproxy", "-v"),
            BalancerEngine::Nginx => ("nginx", "-v"),
            BalancerEngine::Nft => ("nft", "--version"),
            BalancerEngine::Ipvs => ("keepalived", "--version"),
        };
        said(find_program(program), asked_by, |line| line.split(" (").next()?.split(" - ").next())
    }

    fn play(scenario: &Scenario, subject: Subject, tell: impl FnMut(&str)) -> Outcome {
        let reasons: Option<Vec<&str>> = scenario.ids.iter().map(|id| not_applicable(subject, id)).collect();
        let means_nothing = reasons.and_then(|reasons| reasons.first().map(ToString::to_string));
        match means_nothing.or_else(|| lack(subject)) {
            Some(reason) => Outcome::Skipped(reason),
            None => play(scenario, World::of(subject), World::log, tell),
        }
    }

    fn matrix(scenarios: &[Scenario], played: &[Played<Subject>], versions: &[(Subject, String)]) -> Matrix {
        checklist::matrix(scenarios, played, versions)
    }
}

/// What this machine does not have of an engine.
fn lack(subject: Subject) -> Option<String> {
    let missing = match subject.engine() {
        BalancerEngine::Haproxy => haproxy::missing(),
        BalancerEngine::Nginx => nginx::missing(subject.forward()),
        BalancerEngine::Ipvs => ipvs::missing(),
        BalancerEngine::Labctl | BalancerEngine::Nft => None,
    };
    if let Some((program, package)) = missing {
        return Some(format!("`{program}` is not installed: `apt-get install {package}`"));
    }
    (subject.engine() == BalancerEngine::Ipvs).then(ipvs::lacks).flatten()
}
