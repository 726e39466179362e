//! Requirement by engine: what the scenarios said, in one order for ever, as JSON, as Markdown and for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Judged, Outcome, Played, Scenario};

/// What a matrix says of itself in Markdown.
#[derive(Debug)]
pub struct Page {
    /// Its title, how it was judged and by which command.
    pub head: &'static str,
    /// What a reader must know of a column and a word.
    pub note: &'static str,
}

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Matrix {
    /// What it says of itself.
    #[serde(skip)]
    pub page: &'static Page,
    /// Each engine and what it calls itself.
    pub engines: BTreeMap<&'static str, String>,
    /// In the order of the checklist.
    pub requirements: Vec<Line>,
}

/// One requirement.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its stable name.
    pub id: &'static str,
    /// The RFC that asks it first, `optional` for a MAY, `site` for what no RFC asks; nothing where no RFC asks anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<&'static str>,
    /// What it asks.
    pub what: &'static str,
    /// By engine.
    pub verdicts: BTreeMap<&'static str, Verdict>,
}

/// What is known of one requirement and one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "because")]
pub enum Verdict {
    /// Every scenario about it passed.
    Pass,
    /// Those that did not, and why.
    Fail(Vec<String>),
    /// The same of an engine that never promised it: the text is newer than the one that it implements, or optional, or
    /// its method is another.
    Differs(Vec<String>),
    /// Nobody can judge it from outside, or it means nothing for that engine.
    NotApplicable(String),
    /// The engine does not claim to do it, or nobody tried.
    Skipped(String),
}

impl Verdict {
    /// What the scenarios about one requirement say of one engine; nothing if none was played.
    pub fn of<E: Judged>(id: &str, engine: E, scenarios: &[Scenario], played: &[Played<E>]) -> Option<Self> {
        let about = |one: &&Played<E>| {
            one.engine == engine && scenarios[one.scenario].ids.iter().any(|proved| proved == id)
        };
        let outcomes: Vec<&Played<E>> = played.iter().filter(about).collect();
        let failed: Vec<String> = outcomes
            .iter()
            .filter_map(|one| match &one.outcome {
                Outcome::Failed(why) => Some(format!("{}: {why}", scenarios[one.scenario].name)),
                _ => None,
            })
            .collect();
        if !failed.is_empty() {
            return Some(Self::Fail(failed));
        }
        if outcomes.iter().any(|one| one.outcome == Outcome::Passed) {
            return Some(Self::Pass);
        }
        outcomes.iter().find_map(|one| match &one.outcome {
            Outcome::Skipped(why) => Some(Self::Skipped(why.clone())),
            _ => None,
        })
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "FAIL",
            Self::Differs(_) => "differs",
            Self::NotApplicable(_) => "n/a",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Matrix {
    /// Does every line hold, as far as it was judged?
    pub fn holds(&self, engine: impl Judged) -> bool {
        let mut verdicts = self.requirements.iter().filter_map(|line| line.verdicts.get(engine.word()));
        !verdicts.any(|verdict| matches!(verdict, Verdict::Fail(_)))
    }

    /// Only these requirements.
    pub fn only(mut self, ids: &[String]) -> Self {
        self.requirements.retain(|line| ids.is_empty() || ids.iter().any(|id| id == line.id));
        self
    }

    /// For people who read repositories.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.page.head);
        for (engine, version) in &self.engines {
            let _ = writeln!(text, "- {engine}: {version}; {}", self.totals(engine));
        }
        text += self.page.note;
        let head = self.head();
        let _ = writeln!(text, "\n| | {} |\n|{}", head[1..].join(" | "), "---|".repeat(head.len()));
        for line in &self.requirements {
            let _ = writeln!(text, "| {} |", self.row(line).join(" | "));
        }
        text += "\n## Why\n\n";
        for line in &self.requirements {
            for (engine, verdict) in &line.verdicts {
                reasons(verdict).iter().for_each(|why| {
                    let _ = writeln!(text, "- {} {engine}: {}: {why}", line.id, verdict.word());
                });
            }
        }
        text
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(self.head());
        for line in &self.requirements {
            table.add_row(self.row(line));
        }
        table.trim_fmt()
    }

    fn head(&self) -> Vec<&str> {
        let since = self.requirements.iter().any(|line| line.since.is_some()).then_some("since");
        let engines = self.engines.keys().copied();
        [""].into_iter().chain(since).chain(["requirement"]).chain(engines).collect()
    }

    fn row<'a>(&'a self, line: &'a Line) -> Vec<&'a str> {
        let words = self.engines.keys().filter_map(|name| Some(line.verdicts.get(name)?.word()));
        [line.id].into_iter().chain(line.since).chain([line.what]).chain(words).collect()
    }

    fn totals(&self, engine: &str) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for verdict in self.requirements.iter().filter_map(|line| line.verdicts.get(engine)) {
            *counts.entry(verdict.word()).or_default() += 1;
        }
        let order = ["pass", "FAIL", "differs", "skipped", "n/a"];
        let words = order.iter().filter_map(|word| Some(format!("{} {word}", counts.get(word)?)));
        words.collect::<Vec<_>>().join(", ")
    }
}

fn reasons(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Pass => vec![],
        Verdict::Fail(why) | Verdict::Differs(why) => why.clone(),
        Verdict::NotApplicable(why) | Verdict::Skipped(why) => vec![why.clone()],
    }
}
