//! Plays one scenario in this process, in whichever world its sentences are about.

use std::panic::AssertUnwindSafe;

use cucumber::World;
use cucumber::codegen::WorldInventory;

use super::checklist::{Outcome, Scenario};

/// Plays it, and tells each step as it is done, and what the world has to say of one that was not as it must be.
pub(super) fn play<W: World + WorldInventory + std::fmt::Debug>(
    scenario: &Scenario,
    mut world: W,
    log: impl Fn(&W) -> String,
    mut tell: impl FnMut(&str),
) -> Outcome {
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Failed(format!("start a runtime: {error}")),
    };
    // A step says no by a panic, whose words are all that is wanted of it.
    std::panic::set_hook(Box::new(|_| {}));
    let steps = W::collection();
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
            log(&world).lines().for_each(&mut tell);
            return Outcome::Failed(format!("{words}: {text}"));
        }
    }
    Outcome::Passed
}
