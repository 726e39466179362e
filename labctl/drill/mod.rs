//! Drills: what a drill file says, which fault is due when, and what the runner does next. Pure: no clock, no lab, no
//! file. What the drill has shown is `report`'s business.

mod file;
mod runner;
mod spec;
mod timetable;

pub use file::{
    CONVERSATIONS_MAX, PROBES_MAX, Problem, Problems, TIMEOUT_MAX, TIMEOUT_MIN, TURNS_PER_S_MAX, parse,
};
pub use runner::{DRAIN_MAX, Do, Ending, Input, Runner, Seen};
pub use spec::{Action, Drill, Expect, Fault, Load, Misfit, Signal, Target};
pub use timetable::Timetable;
