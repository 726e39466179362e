//! One thing that is wrong: what, where that shows, and what to do about it.

use std::fmt;

use serde::Serialize;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// One word for programs.
    pub kind: String,
    /// What is wrong.
    pub what: String,
    /// Where that shows.
    pub at: String,
    /// What to do about it.
    pub next: String,
}

impl Finding {
    pub(super) fn new(kind: &str, what: String, at: impl Into<String>, next: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), what, at: at.into(), next: next.into() }
    }
}

impl Finding {
    /// A lab that is not ready, and what for.
    pub fn waiting(what: &str) -> Self {
        Self::new(
            "waits",
            format!("it waits for {what}"),
            "`labctl status`",
            "`labctl explain NODE` of the node that is named",
        )
    }

    /// A step that would bring a lab back to its topology.
    pub fn drift(step: &str) -> Self {
        let next = "whoever changed it changes it back; or `labctl down` and `labctl up`";
        Self::new("drift", format!("it differs from its topology: would {step}"), "`labctl status`", next)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, what, at, next } = self;
        write!(f, "{kind}: {what}\n  where: {at}\n  next:  {next}")
    }
}
