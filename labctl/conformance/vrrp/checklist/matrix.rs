//! Requirement by engine: what the scenarios said, in one order for ever, as JSON, as Markdown and for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Outcome, Played, REQUIREMENTS, Requirement, Scenario};
use crate::topology::Engine;

/// What a reader of the Markdown must know of a column and a word.
const SINCE: &str = "
`since` is the RFC that asks it first; `optional` is a MAY, `site` is asked by no RFC. keepalived and FRRouting implement
RFC 5798: what they do not do of a later or optional text reads `differs`, and is no failure.
";

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Matrix {
    /// Each engine and what it calls itself.
    pub engines: BTreeMap<&'static str, String>,
    /// In the order of the checklist.
    pub requirements: Vec<Line>,
}

/// One requirement.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its stable name.
    pub id: &'static str,
    /// The RFC that asks it first, `optional` for a MAY, `site` for what no RFC asks.
    pub since: &'static str,
    /// What it asks.
    pub what: &'static str,
    /// By engine.
    pub verdicts: BTreeMap<&'static str, Verdict>,
}

/// What is known of one requirement and one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "because")]
pub enum Verdict {
    /// Every scenario about it passed.
    Pass,
    /// Those that did not, and why.
    Fail(Vec<String>),
    /// The same of an engine that never promised it: the text is newer than the one that it implements, or optional.
    Differs(Vec<String>),
    /// Nobody can judge it from outside.
    NotApplicable(String),
    /// The engine does not claim to do it, or nobody tried.
    Skipped(String),
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "FAIL",
            Self::Differs(_) => "differs",
            Self::NotApplicable(_) => "n/a",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Matrix {
    /// Makes it of what was played; `versions` is in the order in which engines are shown.
    pub fn of(scenarios: &[Scenario], played: &[Played], versions: &[(Engine, String)]) -> Self {
        let engines = versions.iter().map(|(engine, version)| (engine.word(), version.clone())).collect();
        let line = |requirement: &Requirement| Line {
            id: requirement.id,
            since: requirement.since.word(),
            what: requirement.what,
            verdicts: versions
                .iter()
                .map(|(engine, _)| (engine.word(), verdict(requirement, *engine, scenarios, played)))
                .collect(),
        };
        // A run of some lines only tells nothing of the others.
        let tried = |requirement: &&Requirement| {
            let proves = |one: &Scenario| one.ids.iter().any(|id| id == requirement.id);
            requirement.unproved.is_some() || scenarios.iter().any(proves)
        };
        Self { engines, requirements: REQUIREMENTS.iter().filter(tried).map(line).collect() }
    }

    /// Does every line hold, as far as it was judged?
    pub fn holds(&self, engine: Engine) -> bool {
        let mut verdicts = self.requirements.iter().filter_map(|line| line.verdicts.get(engine.word()));
        !verdicts.any(|verdict| matches!(verdict, Verdict::Fail(_)))
    }

    /// Only these requirements.
    pub fn only(mut self, ids: &[String]) -> Self {
        self.requirements.retain(|line| ids.is_empty() || ids.iter().any(|id| id == line.id));
        self
    }

    /// For people who read repositories.
    pub fn markdown(&self) -> String {
        let mut text =
            String::from("# VRRP conformance\n\nJudged from outside, by packets sent and seen on the wire. ");
        text += "Written by `labctl conformance vrrp --out`.\n\n";
        for (engine, version) in &self.engines {
            let _ = writeln!(text, "- {engine}: {version}; {}", self.totals(engine));
        }
        text += SINCE;
        let names: Vec<&str> = self.engines.keys().copied().collect();
        let _ = writeln!(text, "\n| | since | requirement | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|---|---|{}", "---|".repeat(names.len()));
        for line in &self.requirements {
            let words: Vec<&str> =
                names.iter().filter_map(|name| Some(line.verdicts.get(name)?.word())).collect();
            let _ =
                writeln!(text, "| {} | {} | {} | {} |", line.id, line.since, line.what, words.join(" | "));
        }
        text += "\n## Why\n\n";
        for line in &self.requirements {
            for (engine, verdict) in &line.verdicts {
                reasons(verdict).iter().for_each(|why| {
                    let _ = writeln!(text, "- {} {engine}: {}: {why}", line.id, verdict.word());
                });
            }
        }
        text
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let head = ["", "since", "requirement"].into_iter().chain(self.engines.keys().copied());
        table.set_header(head.collect::<Vec<_>>());
        for line in &self.requirements {
            let words = self.engines.keys().filter_map(|name| Some(line.verdicts.get(name)?.word()));
            table.add_row([line.id, line.since, line.what].into_iter().chain(words).collect::<Vec<_>>());
        }
        table.trim_fmt()
    }

    fn totals(&self, engine: &str) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for verdict in self.requirements.iter().filter_map(|line| line.verdicts.get(engine)) {
            *counts.entry(verdict.word()).or_default() += 1;
        }
        let order = ["pass", "FAIL", "differs", "skipped", "n/a"];
        let words = order.iter().filter_map(|word| Some(format!("{} {word}", counts.get(word)?)));
        words.collect::<Vec<_>>().join(", ")
    }
}

fn reasons(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Pass => vec![],
        Verdict::Fail(why) | Verdict::Differs(why) => why.clone(),
        Verdict::NotApplicable(why) | Verdict::Skipped(why) => vec![why.clone()],
    }
}

/// keepalived 2.2.7 and FRRouting 8.4.4 are of before RFC 9568 and say that they implement RFC 5798.
fn implements_rfc9568(engine: Engine) -> bool {
    engine == Engine::Labctl
}

fn verdict(requirement: &Requirement, engine: Engine, scenarios: &[Scenario], played: &[Played]) -> Verdict {
    let about = |one: &&Played| {
        one.engine == engine && scenarios[one.scenario].ids.iter().any(|id| id == requirement.id)
    };
    let outcomes: Vec<&Played> = played.iter().filter(about).collect();
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|one| match &one.outcome {
            Outcome::Failed(why) => Some(format!("{}: {why}", scenarios[one.scenario].name)),
            _ => None,
        })
        .collect();
    if !failed.is_empty() {
        let owes = implements_rfc9568(engine) || requirement.since.is_owed_by_rfc5798();
        return if owes { Verdict::Fail(failed) } else { Verdict::Differs(failed) };
    }
    if outcomes.iter().any(|one| one.outcome == Outcome::Passed) {
        return Verdict::Pass;
    }
    let skipped = outcomes.iter().find_map(|one| match &one.outcome {
        Outcome::Skipped(why) => Some(why.clone()),
        _ => None,
    });
    match (skipped, requirement.unproved) {
        (Some(why), _) => Verdict::Skipped(why),
        (None, Some(why)) => Verdict::NotApplicable(why.to_owned()),
        (None, None) => Verdict::Skipped("not tried".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, ids: &[&str]) -> Scenario {
        let ids = ids.iter().map(ToString::to_string).collect();
        Scenario { name: name.to_owned(), ids, needs: vec![], timing: false, steps: vec![] }
    }

    fn played(scenario: usize, outcome: Outcome) -> Played {
        Played { engine: Engine::Labctl, scenario, outcome }
    }

    #[test]
    fn only_an_engine_that_implements_a_text_can_fail_it() {
        let scenarios = [scenario("old", &["V01"]), scenario("new", &["V57"]), scenario("may", &["V31"])];
        let engines = [Engine::Labctl, Engine::Keepalived];
        let all: Vec<Played> = engines
            .iter()
            .flat_map(|engine| {
                let no = || Outcome::Failed("no".to_owned());
                (0..3).map(move |scenario| Played { engine: *engine, scenario, outcome: no() })
            })
            .collect();
        let versions = engines.map(|engine| (engine, "1".to_owned()));
        let matrix = Matrix::of(&scenarios, &all, &versions);
        let word = |id: &str, engine: &str| {
            let line = matrix.requirements.iter().find(|line| line.id == id).unwrap();
            line.verdicts[engine].word()
        };
        assert_eq!(["V01", "V31", "V57"].map(|id| word(id, "labctl")), ["FAIL", "FAIL", "FAIL"]);
        assert_eq!(["V01", "V31", "V57"].map(|id| word(id, "keepalived")), ["FAIL", "differs", "differs"]);
        assert!(matrix.totals("keepalived").contains("1 FAIL, 2 differs"));
    }

    #[test]
    fn one_failure_fails_a_requirement_and_a_skip_does_not() {
        let scenarios = [scenario("a", &["V01", "V02"]), scenario("b", &["V02"]), scenario("c", &["V01"])];
        let all = [
            played(0, Outcome::Passed),
            played(1, Outcome::Failed("no".to_owned())),
            played(2, Outcome::Skipped("cannot".to_owned())),
        ];
        let matrix = Matrix::of(&scenarios, &all, &[(Engine::Labctl, "labctl 1".to_owned())]);
        let matrix = matrix.only(&["V01".to_owned(), "V02".to_owned()]);
        assert!(!matrix.holds(Engine::Labctl));
        insta::assert_snapshot!(matrix.markdown(), @r"
        # VRRP conformance

        Judged from outside, by packets sent and seen on the wire. Written by `labctl conformance vrrp --out`.

        - labctl: labctl 1; 1 pass, 1 FAIL

        `since` is the RFC that asks it first; `optional` is a MAY, `site` is asked by no RFC. keepalived and FRRouting implement
        RFC 5798: what they do not do of a later or optional text reads `differs`, and is no failure.

        | | since | requirement | labctl |
        |---|---|---|---|
        | V01 | 5798 | adverts go to 224.0.0.18 in IP protocol 112 (5.1.1.2, 5.1.1.4, 7.2) | pass |
        | V02 | 5798 | IPv6 adverts go to ff02::12 in next header 112 (5.1.2.2, 7.2) | FAIL |

        ## Why

        - V02 labctl: FAIL: b: no
        ");
    }
}
