//! What is asked of a VRRP daemon, the scenarios that prove it, what engines do not even claim, and what the scenarios said
//! of each. Pure: who plays them, and how, is the business of the room around it.

mod lacks;
mod requirements;
mod verdicts;

pub use lacks::lack;
pub use requirements::{REQUIREMENTS, Requirement, Since};
pub use verdicts::matrix;

use crate::conformance::checklist::{Scenario, read};

/// Theme and text of every feature file, in the order of the checklist.
const FEATURES: [(&str, &str); 4] = [
    ("transmit", include_str!("../../../../features/vrrp/transmit.feature")),
    ("receive", include_str!("../../../../features/vrrp/receive.feature")),
    ("state", include_str!("../../../../features/vrrp/state.feature")),
    ("site", include_str!("../../../../features/vrrp/site.feature")),
];

/// Every scenario, or what is wrong with a feature file.
pub fn scenarios() -> Result<Vec<Scenario>, String> {
    read("vrrp", &FEATURES, &['V', 'L'])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
