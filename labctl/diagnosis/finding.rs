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
        // In the words of `Step::Join`: the way back from a cut, which somebody made by hand or in a drill.
        if let Some((node, network)) =
            step.strip_prefix("let ").and_then(|rest| rest.split_once(" through on "))
        {
            let what = format!("{node} is cut off on {network}");
            return Self::new("cut", what, "`labctl status`", format!("`labctl heal {node}`"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;

    #[test]
    fn who_is_cut_off_is_healed_and_nothing_has_to_be_built_again() {
        let (node, network) = ("web1".parse().expect("a name"), "back".parse().expect("a name"));
        let finding = Finding::drift(&Step::Join { node, network }.to_string());
        assert_eq!(
            finding.to_string(),
            "cut: web1 is cut off on back\n  where: `labctl status`\n  next:  `labctl heal web1`"
        );
        assert_eq!(Finding::drift("bring up back of web1").kind, "drift");
    }
}
