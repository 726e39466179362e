//! Checks: how often something is asked and how often in a row it must answer, for virtual services and for the election;
//! and what the election asks. It knows nothing of how a check is carried out.

use std::time::Duration;

use super::file::{File, FileFailover};
use super::names::ServiceName;
use super::problem::{Problem, ProblemKind, Problems};
use super::read::{At, Slot};
use super::scalars::{Argument, Count, Interval};
use super::site::{TrackCheck, TrackProbe};

/// Time between checks of a file that names none.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
/// Patience of a check of a file that names none.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
/// One lost packet must not take a server out, nor one lucky answer bring it back.
const RISE_FALL_DEFAULT: u32 = 2;
/// The check that needs no program.
const BALANCER: &str = "balancer";

/// When a check is asked, and what counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) rise: u32,
    pub(super) fall: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: INTERVAL_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
            rise: RISE_FALL_DEFAULT,
            fall: RISE_FALL_DEFAULT,
        }
    }
}

/// The timing that a file gives, in part or whole.
pub(super) fn timing(
    interval: &Slot<Interval>,
    timeout: &Slot<Interval>,
    (rise, fall): (&Slot<Count>, &Slot<Count>),
    problems: &mut Problems,
) -> Timing {
    let every = interval.value().map_or(INTERVAL_DEFAULT, |interval| interval.0);
    // A short interval alone is no mistake: the default patience then ends with it.
    let patience = timeout.value().map_or(TIMEOUT_DEFAULT.min(every), |timeout| timeout.0);
    if let Some(at) = timeout.given()
        && patience > every
        && !interval.is_broken()
    {
        let kind = ProblemKind::SlowCheck(format!("{patience:?}"), format!("{every:?}"));
        let problem = Problem::new(kind, &at.span).help(format!("at most {every:?}, or a longer interval"));
        problems.push(match interval.given() {
            Some(interval) => problem.also(&interval.span, "the interval"),
            None => problem,
        });
    }
    let times = |slot: &Slot<Count>| slot.value().map_or(RISE_FALL_DEFAULT, |count| count.0);
    Timing { interval: every, timeout: patience, rise: times(rise), fall: times(fall) }
}

/// What counts against a proxy in the election.
pub(super) fn tracks(file: &File, given: &FileFailover, problems: &mut Problems) -> Vec<TrackCheck> {
    let Some(checks) = given.checks.value() else { return Vec::new() };
    let mut tracks = Vec::with_capacity(checks.entries.len());
    for (name, slot) in &checks.entries {
        let Some(check) = slot.value() else { continue };
        let timing = timing(&check.interval, &check.timeout, (&check.rise, &check.fall), problems);
        let Some(probe) = probe(file, name, &check.run, problems) else { continue };
        tracks.push(TrackCheck {
            name: name.value.clone(),
            probe,
            weight: check.weight.value().map(|weight| weight.0),
            interval: timing.interval,
            timeout: timing.timeout,
            rise: timing.rise,
            fall: timing.fall,
        });
    }
    tracks
}

fn probe(
    file: &File,
    name: &At<ServiceName>,
    run: &Slot<Vec<At<Argument>>>,
    problems: &mut Problems,
) -> Option<TrackProbe> {
    match run {
        Slot::Given(run) => {
            let argv: Vec<String> = run.value.iter().map(|argument| argument.value.0.clone()).collect();
            check_program(&argv, run, problems);
            Some(TrackProbe::Command(argv))
        }
        Slot::Broken => None,
        Slot::Absent if name.value.as_str() == BALANCER => {
            if file.balancer.is_absent() {
                let problem = Problem::new(ProblemKind::CheckWithoutBalancer, &name.span);
                problems.push(problem.help("add `balancer`, or remove the check"));
            }
            Some(TrackProbe::Balancer)
        }
        Slot::Absent => {
            let problem = Problem::new(ProblemKind::CheckWithoutProgram(name.value.clone()), &name.span);
            problems.push(problem.help("add the program: `run: [\"/usr/bin/ping\", \"-c1\", ADDRESS]`"));
            None
        }
    }
}

/// Reports a command line that names no program.
pub(super) fn check_program(argv: &[String], run: &At<Vec<At<Argument>>>, problems: &mut Problems) {
    if argv.first().is_none_or(String::is_empty) {
        let kind = ProblemKind::WrongType("a program and its arguments", "nothing to run".to_owned());
        problems.push(Problem::new(kind, &run.span).help("write it as [\"/path/of/program\", \"argument\"]"));
    }
}
