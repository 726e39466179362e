//! Whether time and rank agree: nothing that was done before something else began may have the higher rank. It knows what
//! a rank is and nothing of what makes a conversation.

use crate::conversation::history::{Append, MonotonicNs, Telling};

/// Something that has a place in the order of a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'h> {
    /// A turn took effect.
    Turn {
        /// Its place.
        place: usize,
        /// The earliest attempt that may have been the one.
        begun: &'h Append,
        /// The earliest acknowledgement; without one the turn has no end.
        acknowledged: Option<(MonotonicNs, &'h Append)>,
    },
    /// The conversation was told.
    Telling(&'h Telling),
}

impl Step<'_> {
    /// When it began.
    pub(super) fn began_ns(&self) -> MonotonicNs {
        match self {
            Self::Turn { begun, .. } => begun.invoked_ns,
            Self::Telling(telling) => telling.invoked_ns,
        }
    }

    /// When it was done, if it is known that it was.
    pub(super) fn done_ns(&self) -> Option<MonotonicNs> {
        match self {
            Self::Turn { acknowledged, .. } => acknowledged.map(|(at_ns, _)| at_ns),
            Self::Telling(telling) => Some(telling.completed_ns),
        }
    }

    /// Its line in the history, for an order that does not depend on how maps iterate.
    fn line(&self) -> usize {
        match self {
            Self::Turn { begun, .. } => begun.line,
            Self::Telling(telling) => telling.line,
        }
    }

    /// Its place among turns (odd) and tellings (even): a telling of `m` turns stands after turn `m - 1` and before turn `m`.
    fn rank(&self) -> usize {
        match self {
            Self::Turn { place, .. } => 2 * place + 1,
            Self::Telling(telling) => 2 * telling.keys.len(),
        }
    }
}

/// Two steps of which the first was done before the second began, although it has the higher rank; the pair whose second
/// began first. Steps that touch in one nanosecond overlap.
pub(super) fn violation(mut steps: Vec<Step>) -> Option<(Step, Step)> {
    let mut by_end: Vec<(MonotonicNs, Step)> =
        steps.iter().filter_map(|step| Some((step.done_ns()?, *step))).collect();
    by_end.sort_unstable_by_key(|(done_ns, step)| (*done_ns, step.line()));
    steps.sort_unstable_by_key(|step| (step.began_ns(), step.line()));
    let mut ended = by_end.into_iter().peekable();
    let mut highest: Option<Step> = None;
    for begun in steps {
        while let Some((_, done)) = ended.next_if(|(done_ns, _)| *done_ns < begun.began_ns()) {
            if highest.is_none_or(|highest| highest.rank() < done.rank()) {
                highest = Some(done);
            }
        }
        if let Some(done) = highest.filter(|done| done.rank() > begun.rank()) {
            return Some((done, begun));
        }
    }
    None
}
