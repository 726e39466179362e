//! The scenarios, as the program carries them with it: every one with the requirements that it proves.

use cucumber::feature::Ext as _;
use cucumber::gherkin::{Feature, GherkinEnv, Step};

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

/// Every scenario of these feature files, each a theme and its text, outlines expanded; or what is wrong with one of them.
/// Requirements begin with one of the letters.
pub fn read(folder: &str, features: &[(&str, &str)], letters: &[char]) -> Result<Vec<Scenario>, String> {
    let mut all: Vec<Scenario> = Vec::new();
    for (theme, text) in features {
        let wrong = |error: String| format!("features/{folder}/{theme}.feature: {error}");
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
            let (ids, needs) = scenario.tags.into_iter().partition(|tag| is_requirement(tag, letters));
            let steps = background.iter().cloned().chain(scenario.steps).collect();
            let name = format!("{theme}: {}{row}", scenario.name);
            all.push(Scenario { name, ids, needs, timing, steps });
        }
    }
    Ok(all)
}

/// `V19`, `L03`.
fn is_requirement(tag: &str, letters: &[char]) -> bool {
    tag.len() == 3 && tag.starts_with(letters) && tag[1..].bytes().all(|byte| byte.is_ascii_digit())
}
