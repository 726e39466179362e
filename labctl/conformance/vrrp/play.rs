//! Plays one scenario with one engine, in this process.

use std::panic::AssertUnwindSafe;

use cucumber::World as _;

use super::checklist::{Outcome, Scenario, lack};
use super::world::World;
use crate::topology::Engine;

/// Plays it, and tells each step as it is done.
pub fn play(scenario: &Scenario, engine: Engine, mut tell: impl FnMut(&str)) -> Outcome {
    if let Some(reason) = scenario.needs.iter().find_map(|tag| lack(engine, tag)) {
        return Outcome::Skipped(reason.to_owned());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Failed(format!("start a runtime: {error}")),
    };
    // A step says no by a panic, whose words are all that is wanted of it.
    std::panic::set_hook(Box::new(|_| {}));
    let steps = World::collection();
    let mut world = World::of(engine);
    for step in &scenario.steps {
        let words = format!("{} {}", step.keyword.trim(), step.value);
        tell(&words);
        let (function, context) = match steps.find(step) {
            Ok(Some((function, .., context))) => (function, context),
            Ok(None) => return Outcome::Failed(format!("{words}: no step says that")),
            Err(error) => return Outcome::Failed(format!("{words}: {error}")),
        };
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(function(&mut world, context));
        }));
        if let Err(panic) = done {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            world.log().lines().for_each(&mut tell);
            return Outcome::Failed(format!("{words}: {text}"));
        }
    }
    Outcome::Passed
}
