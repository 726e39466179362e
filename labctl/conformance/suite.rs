//! Plays many scenarios, each in a process of its own with a deadline, some side by side. A lab hangs on a leash that its
//! scenario's process holds, so whatever ends that process ends the lab.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::checklist::{Outcome, Played, Scenario};
use super::{Judged as _, Suite};
use crate::kernel::process::{PidFd, Spawn};
use crate::kernel::wait;

/// The hidden verb that plays one scenario.
pub const VERB: &str = "__scenario";
/// The slowest wait for two takeovers of seconds each.
const SCENARIO_MAX: Duration = Duration::from_secs(120);
/// Longest last word of a scenario.
const WORDS_BYTES_MAX: u64 = 64 * 1024;

/// Plays every scenario with every engine and hands over each result as it comes: `jobs` at a time, and after them those
/// that look at times, one by one.
pub fn run<S: Suite>(
    scenarios: &[Scenario],
    engines: &[S::Engine],
    jobs: usize,
    mut ended: impl FnMut(&Played<S::Engine>),
) -> Vec<Played<S::Engine>> {
    let order = |timing: bool| {
        let those = move |at: &usize| scenarios[*at].timing == timing;
        engines.iter().flat_map(move |engine| (0..scenarios.len()).filter(those).map(move |at| (*engine, at)))
    };
    let mut all = side_by_side::<S>(scenarios, order(false).collect(), jobs, &mut ended);
    all.extend(side_by_side::<S>(scenarios, order(true).collect(), 1, &mut ended));
    all.sort_by_key(|one| (one.engine, one.scenario));
    all
}

fn side_by_side<S: Suite>(
    scenarios: &[Scenario],
    queue: VecDeque<(S::Engine, usize)>,
    jobs: usize,
    ended: &mut impl FnMut(&Played<S::Engine>),
) -> Vec<Played<S::Engine>> {
    let queue = Mutex::new(queue);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut all = Vec::new();
    thread::scope(|scope| {
        let (results, played) = sync_channel(jobs);
        for _ in 0..jobs {
            let results = results.clone();
            scope.spawn(move || {
                while let Some((engine, scenario)) = next() {
                    let outcome = one::<S>(&scenarios[scenario], engine);
                    if results.send(Played { engine, scenario, outcome }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        for one in played {
            ended(&one);
            all.push(one);
        }
    });
    all
}

fn one<S: Suite>(scenario: &Scenario, engine: S::Engine) -> Outcome {
    let spawn = Spawn {
        stdout: Stdio::piped(),
        stderr: Stdio::null(),
        die_with_parent: true,
        ..Spawn::own(&[VERB, S::WORD, engine.word(), &scenario.name])
    };
    let played = || {
        let mut child = spawn.start()?;
        let process = PidFd::open(child.id() as i32)?;
        let ended = wait::readable(process.as_fd(), SCENARIO_MAX)?;
        if !ended {
            child.kill()?;
        }
        let mut text = String::new();
        if let Some(words) = child.stdout.take() {
            words.take(WORDS_BYTES_MAX).read_to_string(&mut text)?;
        }
        child.wait()?;
        Ok::<_, std::io::Error>(match serde_json::from_str(text.trim()) {
            _ if !ended => Outcome::Failed(format!("not finished after {SCENARIO_MAX:?}")),
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed("its process ended without a word".to_owned()),
        })
    };
    played().unwrap_or_else(|error| Outcome::Failed(format!("play it: {error}")))
}
