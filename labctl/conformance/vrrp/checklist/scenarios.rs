//! The scenarios, as the program carries them with it: every one with the requirements that it proves.

use cucumber::feature::Ext as _;
use cucumber::gherkin::{Feature, GherkinEnv, Step};

/// Theme and text of every feature file, in the order of the checklist.
const FEATURES: [(&str, &str); 4] = [
    ("transmit", include_str!("../../../../features/vrrp/transmit.feature")),
    ("receive", include_str!("../../../../features/vrrp/receive.feature")),
    ("state", include_str!("../../../../features/vrrp/state.feature")),
    ("site", include_str!("../../../../features/vrrp/site.feature")),
];

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Theme, title, and the row if it has several.
    pub name: String,
    /// The requirements that it proves.
    pub ids: Vec<String>,
    /// What it needs of an engine.
    pub needs: Vec<String>,
    /// Does it look at how long something takes? Then nothing should run beside it.
    pub timing: bool,
    /// What is done and what must be seen.
    pub steps: Vec<Step>,
}

/// Every scenario, outlines expanded; or what is wrong with a feature file.
pub fn scenarios() -> Result<Vec<Scenario>, String> {
    let mut all: Vec<Scenario> = Vec::new();
    for (theme, text) in FEATURES {
        let wrong = |error: String| format!("features/vrrp/{theme}.feature: {error}");
        let feature =
            Feature::parse(text, GherkinEnv::default()).map_err(|error| wrong(error.to_string()))?;
        let feature = feature.expand_examples().map_err(|error| wrong(error.to_string()))?;
        let background = feature.background.map(|background| background.steps).unwrap_or_default();
        let titles: Vec<String> = feature.scenarios.iter().map(|one| one.name.clone()).collect();
        for (at, scenario) in feature.scenarios.into_iter().enumerate() {
            let same = |titles: &[String]| titles.iter().filter(|title| **title == scenario.name).count();
            let row =
                if same(&titles) > 1 { format!(" #{}", same(&titles[..at]) + 1) } else { String::new() };
            let timing = scenario.tags.iter().any(|tag| tag == "timing");
            let (ids, needs) = scenario.tags.into_iter().partition(|tag| is_requirement(tag));
            let steps = background.iter().cloned().chain(scenario.steps).collect();
            let name = format!("{theme}: {}{row}", scenario.name);
            all.push(Scenario { name, ids, needs, timing, steps });
        }
    }
    Ok(all)
}

/// `V19`, `L03`.
fn is_requirement(tag: &str) -> bool {
    tag.len() == 3 && tag.starts_with(['V', 'L']) && tag[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::conformance::vrrp::checklist::REQUIREMENTS;

    #[test]
    fn every_requirement_has_a_scenario_or_a_reason() {
        let all = scenarios().expect("feature files that can be read");
        let proved: BTreeSet<&str> = all.iter().flat_map(|one| &one.ids).map(String::as_str).collect();
        for requirement in &REQUIREMENTS {
            let has = proved.contains(requirement.id) || requirement.unproved.is_some();
            assert!(has, "{} is neither proved nor excused", requirement.id);
        }
        for id in proved {
            assert!(REQUIREMENTS.iter().any(|requirement| requirement.id == id), "{id} is no requirement");
        }
    }

    #[test]
    fn scenarios_have_names_of_their_own_and_prove_something() {
        let all = scenarios().expect("feature files that can be read");
        let names: BTreeSet<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for scenario in &all {
            assert!(!scenario.ids.is_empty(), "{} proves nothing", scenario.name);
        }
    }
}
