//! Requirement by engine: who owes what, and what the scenarios therefore say of each.

use super::{REQUIREMENTS, Requirement};
use crate::conformance::checklist::{Line, Matrix, Page, Played, Scenario, Verdict};
use crate::topology::Engine;

/// What the page says of itself.
static PAGE: Page = Page {
    head: "# VRRP conformance\n\nJudged from outside, by packets sent and seen on the wire. Written by `labctl conformance vrrp --out`.",
    note: "
`since` is the RFC that asks it first; `optional` is a MAY, `site` is asked by no RFC. keepalived and FRRouting implement
RFC 5798: what they do not do of a later or optional text reads `differs`, and is no failure.
",
};

/// Makes it of what was played; `versions` is in the order in which engines are shown.
pub fn matrix(scenarios: &[Scenario], played: &[Played<Engine>], versions: &[(Engine, String)]) -> Matrix {
    let engines = versions.iter().map(|(engine, version)| (engine.word(), version.clone())).collect();
    let line = |requirement: &Requirement| Line {
        id: requirement.id,
        since: Some(requirement.since.word()),
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
    Matrix { page: &PAGE, engines, requirements: REQUIREMENTS.iter().filter(tried).map(line).collect() }
}

fn verdict(
    requirement: &Requirement,
    engine: Engine,
    scenarios: &[Scenario],
    played: &[Played<Engine>],
) -> Verdict {
    let owes = implements_rfc9568(engine) || requirement.since.is_owed_by_rfc5798();
    match (Verdict::of(requirement.id, engine, scenarios, played), requirement.unproved) {
        (Some(Verdict::Fail(why)), _) if !owes => Verdict::Differs(why),
        (Some(verdict), _) => verdict,
        (None, Some(why)) => Verdict::NotApplicable(why.to_owned()),
        (None, None) => Verdict::Skipped("not tried".to_owned()),
    }
}

/// keepalived 2.2.7 and FRRouting 8.4.4 are of before RFC 9568 and say that they implement RFC 5798.
fn implements_rfc9568(engine: Engine) -> bool {
    engine == Engine::Labctl
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::checklist::Outcome;

    fn scenario(name: &str, ids: &[&str]) -> Scenario {
        let ids = ids.iter().map(ToString::to_string).collect();
        Scenario { name: name.to_owned(), ids, needs: vec![], timing: false, steps: vec![] }
    }

    fn played(scenario: usize, outcome: Outcome) -> Played<Engine> {
        Played { engine: Engine::Labctl, scenario, outcome }
    }

    #[test]
    fn only_an_engine_that_implements_a_text_can_fail_it() {
        let scenarios = [scenario("old", &["V01"]), scenario("new", &["V57"]), scenario("may", &["V31"])];
        let engines = [Engine::Labctl, Engine::Keepalived];
        let all: Vec<Played<Engine>> = engines
            .iter()
            .flat_map(|engine| {
                let no = || Outcome::Failed("no".to_owned());
                (0..3).map(move |scenario| Played { engine: *engine, scenario, outcome: no() })
            })
            .collect();
        let versions = engines.map(|engine| (engine, "1".to_owned()));
        let matrix = matrix(&scenarios, &all, &versions);
        let word = |id: &str, engine: &str| {
            let line = matrix.requirements.iter().find(|line| line.id == id).unwrap();
            match line.verdicts[engine] {
                Verdict::Fail(_) => "FAIL",
                Verdict::Differs(_) => "differs",
                _ => "neither",
            }
        };
        assert_eq!(["V01", "V31", "V57"].map(|id| word(id, "labctl")), ["FAIL", "FAIL", "FAIL"]);
        assert_eq!(["V01", "V31", "V57"].map(|id| word(id, "keepalived")), ["FAIL", "differs", "differs"]);
        assert!(matrix.markdown().contains("1 FAIL, 2 differs"));
    }

    #[test]
    fn one_failure_fails_a_requirement_and_a_skip_does_not() {
        let scenarios = [scenario("a", &["V01", "V02"]), scenario("b", &["V02"]), scenario("c", &["V01"])];
        let all = [
            played(0, Outcome::Passed),
            played(1, Outcome::Failed("no".to_owned())),
            played(2, Outcome::Skipped("cannot".to_owned())),
        ];
        let matrix = matrix(&scenarios, &all, &[(Engine::Labctl, "labctl 1".to_owned())]);
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
