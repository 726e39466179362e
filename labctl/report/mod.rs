//! Reports: from events to files. Pure: the same events give the same bytes, and nothing but the events is needed.
//!
//! [`Findings`] gathers what the events show, `verdict` judges it, [`Report`] is both for programs and [`markdown`] for
//! people.

mod comparison;
mod event;
mod figure;
mod findings;
mod history;
mod json;
mod outage;
mod phases;
mod summary;
mod turns;
mod usage;
mod verdict;

pub use comparison::{Comparison, Row, Side};
pub use event::*;
pub use findings::{Aftermath, Findings, Missing, Quantiles};
pub use history::Recorded;
pub use json::*;
pub use outage::{Outage, PROBE_PATIENCE, Pause, Probed, outages};
pub use phases::{Move, Phases, Window, targets};
pub use summary::markdown;
pub use turns::Turns;
pub use usage::NodeUsage;
pub use verdict::{Check, Claim, Verdict};

/// The bytes of `history.jsonl`, from the events of a drill in any order.
pub fn history(events: &[Event]) -> Result<String, Missing> {
    Ok(Findings::of(events)?.recorded.text)
}

/// The report on a drill, from its events in any order.
pub fn render(events: &[Event]) -> Result<Report, Missing> {
    Ok(Report::new(&Findings::of(events)?))
}

#[cfg(test)]
mod tests;
