//! What a drill does next: it takes what happened and the time, and says what is to be done. It knows no lab, no
//! process and no clock; `commands::drill` is its hands.

use std::time::Duration;

use super::spec::{Action, Drill, Fault, Target};
use super::timetable::Timetable;
use crate::topology::NodeName;

/// The load must have opened its conversations by then; a site that is ready answers in milliseconds, so longer means
/// that it is not.
const LOAD_READY_MAX: Duration = Duration::from_secs(20);
/// What the load may need after the last turn to have the open ones acknowledged and to read all transcripts back.
/// It bounds its own drain below that.
pub const DRAIN_MAX: Duration = Duration::from_secs(60);

/// Who has which part in the site at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The node that holds the VIP.
    pub holder: Option<NodeName>,
    /// The leader of the databases.
    pub leader: Option<NodeName>,
    /// The first of the databases that follow it.
    pub follower: Option<NodeName>,
    /// The web that acknowledged the last turn.
    pub serving: Option<NodeName>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The load has opened its conversations; its timetable begins at this time.
    LoadReady {
        /// `CLOCK_MONOTONIC`, nanoseconds.
        begins_ns: u64,
    },
    /// The runner's deadline came; this is the site just now.
    Due(Seen),
    /// A fault could not be done.
    FaultFailed {
        /// Why, in words for people.
        because: String,
    },
    /// The load's process ended.
    LoadEnded {
        /// Whether it said that all went well.
        well: bool,
    },
    /// What happens is no longer heard in full, so that nothing could be concluded from it.
    RecordBroken {
        /// Why, in words for people.
        because: String,
    },
    /// Somebody wants the drill to stop.
    Interrupted,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Start the load in the client node.
    StartLoad,
    /// Do this to these nodes, and note it as an event at the time it began.
    Inject {
        /// What.
        action: Action,
        /// To whom, one after the other.
        nodes: Vec<NodeName>,
    },
    /// End the load's process.
    StopLoad,
    /// The drill is over.
    Finish(Ending),
}

/// How a drill came to its end; what it has shown is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All faults were done and the load came to its end.
    Complete,
    /// It was given up.
    Aborted {
        /// Why, in words for people.
        because: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The load opens its conversations.
    Opening { until_ns: u64 },
    /// The timetable runs.
    Running { began_ns: u64 },
    /// All faults are done; the load finishes.
    Draining { until_ns: u64 },
    /// Nothing to do any more.
    Over,
}

/// The course of one drill.
#[derive(Clone, Debug)]
pub struct Runner {
    duration: Duration,
    timetable: Timetable,
    last: Vec<NodeName>,
    state: State,
}

impl Runner {
    /// Begins a drill in a site that is ready.
    pub fn start(drill: &Drill, now_ns: u64) -> (Self, Vec<Do>) {
        let runner = Self {
            duration: drill.duration,
            timetable: Timetable::new(drill.faults.clone()),
            last: Vec::new(),
            state: State::Opening { until_ns: after(now_ns, LOAD_READY_MAX) },
        };
        (runner, vec![Do::StartLoad])
    }

    /// When [`Input::Due`] is wanted; `None` when the drill is over.
    pub fn deadline_ns(&self) -> Option<u64> {
        match self.state {
            State::Opening { until_ns } | State::Draining { until_ns } => Some(until_ns),
            State::Running { began_ns } => {
                Some(after(began_ns, self.timetable.next_at().unwrap_or(self.duration)))
            }
            State::Over => None,
        }
    }

    /// What is to be done, now that this happened.
    pub fn handle(&mut self, input: Input, now_ns: u64) -> Vec<Do> {
        match (&self.state, input) {
            (State::Opening { .. }, Input::LoadReady { begins_ns }) => {
                self.state = State::Running { began_ns: begins_ns };
                Vec::new()
            }
            (State::Opening { until_ns }, Input::Due(_)) if now_ns >= *until_ns => {
                self.abort(format!("the load could not open its conversations within {LOAD_READY_MAX:?}"))
            }
            (State::Running { began_ns }, Input::Due(seen)) => {
                let elapsed = Duration::from_nanos(now_ns.saturating_sub(*began_ns));
                self.inject_due(elapsed, &seen, now_ns)
            }
            (State::Draining { until_ns }, Input::Due(_)) if now_ns >= *until_ns => {
                self.abort(format!("the load did not finish within {DRAIN_MAX:?} after the last turn"))
            }
            (State::Draining { .. }, Input::LoadEnded { well: true }) => self.finish(Ending::Complete),
            // A load that says much keeps the end of the timetable waiting.
            (State::Running { began_ns }, Input::LoadEnded { well: true })
                if self.timetable.next_at().is_none() && now_ns >= after(*began_ns, self.duration) =>
            {
                self.finish(Ending::Complete)
            }
            (State::Opening { .. } | State::Running { .. } | State::Draining { .. }, input) => match input {
                // A deadline that came early is not an error: the driver may wake for other reasons.
                Input::Due(_) | Input::LoadReady { .. } => Vec::new(),
                Input::FaultFailed { because } | Input::RecordBroken { because } => self.abort(because),
                Input::LoadEnded { .. } => self.load_ended_early(),
                Input::Interrupted => self.abort("interrupted".to_owned()),
            },
            // After the end nothing matters any more.
            (
                State::Over,
                Input::LoadReady { .. }
                | Input::Due(_)
                | Input::FaultFailed { .. }
                | Input::RecordBroken { .. }
                | Input::LoadEnded { .. }
                | Input::Interrupted,
            ) => Vec::new(),
        }
    }

    fn inject_due(&mut self, elapsed: Duration, seen: &Seen, now_ns: u64) -> Vec<Do> {
        let mut todo = Vec::new();
        while let Some(fault) = self.timetable.due(elapsed) {
            match self.resolve(&fault, seen) {
                Ok(nodes) => {
                    self.last = nodes.clone();
                    todo.push(Do::Inject { action: fault.action, nodes });
                }
                Err(because) => {
                    todo.extend(self.abort(because));
                    return todo;
                }
            }
        }
        if elapsed >= self.duration {
            self.state = State::Draining { until_ns: after(now_ns, DRAIN_MAX) };
        }
        todo
    }

    /// The nodes that a fault hits now, each once.
    fn resolve(&self, fault: &Fault, seen: &Seen) -> Result<Vec<NodeName>, String> {
        let mut nodes: Vec<NodeName> = Vec::new();
        let refused = |target: &Target, why| format!("{} of {target} at {:?}: {why}", fault.action, fault.at);
        for target in &fault.targets {
            let found = match target {
                Target::Node(name) => Ok(vec![name.clone()]),
                Target::Holder => one(&seen.holder, "no node holds the VIP"),
                Target::RaftLeader => one(&seen.leader, "the databases have no leader"),
                Target::RaftFollower => one(&seen.follower, "no database follows a leader"),
                Target::ServingWeb => one(&seen.serving, "no turn was acknowledged yet"),
                Target::Same if self.last.is_empty() => Err("no fault came before it"),
                Target::Same => Ok(self.last.clone()),
            };
            let found = found.map_err(|why| refused(target, why))?;
            let fresh: Vec<NodeName> = found.into_iter().filter(|node| !nodes.contains(node)).collect();
            nodes.extend(fresh);
        }
        match (&fault.action, nodes.as_slice(), fault.targets.first()) {
            (Action::CutLink(_), [_], Some(target)) => Err(refused(target, "both ends are one node")),
            _ => Ok(nodes),
        }
    }

    fn load_ended_early(&mut self) -> Vec<Do> {
        // Its process is gone, so there is nothing to stop.
        self.finish(Ending::Aborted {
            because: "the load ended before its time; its log says why".to_owned(),
        })
    }

    fn abort(&mut self, because: String) -> Vec<Do> {
        let mut todo = vec![Do::StopLoad];
        todo.extend(self.finish(Ending::Aborted { because }));
        todo
    }

    fn finish(&mut self, ending: Ending) -> Vec<Do> {
        self.state = State::Over;
        vec![Do::Finish(ending)]
    }
}

fn one(node: &Option<NodeName>, missing: &'static str) -> Result<Vec<NodeName>, &'static str> {
    node.clone().map(|node| vec![node]).ok_or(missing)
}

fn after(at_ns: u64, wait: Duration) -> u64 {
    at_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
