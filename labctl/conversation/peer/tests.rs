//! Two webs, a witness and clients on a simulated network that does to them what networks do, judged by the checker of
//! histories: no acknowledged turn is lost, and no answer contradicts another.

mod clients;
mod controls;
mod pieces;
mod properties;
mod stories;
mod witness;
mod world;

/// A way to be wrong on purpose, which the judges must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Acknowledges a turn before the other web has applied it.
    AcknowledgesEarly,
    /// Reads as one of a pair without asking the other.
    ReadsLocally,
    /// Takes every answer of the witness for one to its last question.
    BelievesOldGrants,
    /// Has the other written down as a holder before that has said that it has everything.
    VouchesEarly,
    /// Goes back to be the sole holder, as if nothing had been said, if the other does not say that it has everything.
    GoesBack,
}
