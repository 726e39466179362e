//! One drill by `labctl drill run`: a lab, a load, faults, and the report as a value. It knows the files of a drill.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use labctl::report::{Event, Report, Verdict};
use tempfile::TempDir;

use super::lab::Lab;
use super::shell::{Error, Shell};

/// Longer than all bounds of a drill together: 30 s to be ready, 20 s for the load to begin, 60 s for it to drain, 40 s
/// for the lab to end.
const DRILL_WITHIN: Duration = Duration::from_secs(180);

/// How several drills ended, and how good their probes were.
#[derive(Default)]
pub struct Verdicts {
    words: BTreeMap<String, u32>,
    failed: BTreeMap<String, u32>,
    late_us: u64,
}

impl Verdicts {
    pub fn count(&mut self, drilled: &Drilled) {
        *self.words.entry(drilled.report.verdict.to_string()).or_default() += 1;
        for check in drilled.report.checks.iter().filter(|check| check.result != Verdict::Pass) {
            *self.failed.entry(check.claim.to_string()).or_default() += 1;
        }
        self.late_us = self.late_us.max(drilled.report.pacer.lateness_around_outages.p99_us);
    }

    pub fn line(&self) -> String {
        let list = |counts: &BTreeMap<String, u32>| {
            let all: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        format!(
            "drills: {}; checks that did not pass: {}; probes around outages or faults left at most {:.2} ms late (p99 \
             of the worst run)",
            list(&self.words),
            list(&self.failed),
            self.late_us as f64 / 1e3
        )
    }
}

/// What a drill left.
pub struct Drilled {
    pub report: Report,
    dir: TempDir,
}

/// Runs the drill in a file.
pub fn run(shell: &Shell, file: &Path) -> Result<Drilled, Error> {
    let dir = tempfile::tempdir()?;
    let mut lab = Lab::named(shell, "drill");
    let (name, file, out) =
        (lab.name().to_owned(), file.display().to_string(), dir.path().display().to_string());
    let done = lab
        .start(&["drill", "run", &file, "--name", &name, "--out", &out, "--format", "json"], DRILL_WITHIN)?;
    // A drill that failed or shows nothing has a report too; without one it is labctl that failed.
    if done.stdout.is_empty() {
        return Err(done.failure());
    }
    let report: Report = serde_json::from_str(&done.stdout)
        .map_err(|source| Error::Strange { line: done.line.clone(), source })?;
    if let Some(because) = &report.aborted {
        return Err(Error::Unfit(format!("the drill was given up: {because}")));
    }
    lab.gone();
    let turns = &report.turns;
    eprintln!("  {}: {} of {} turns acknowledged", report.verdict, turns.acknowledged, turns.attempted);
    for check in report.checks.iter().filter(|check| check.result != Verdict::Pass) {
        eprintln!("  {}: {}, expected {}: {}", check.claim, check.measured, check.expected, check.result);
    }
    Ok(Drilled { report, dir })
}

/// Writes a drill and its site side by side, and runs it.
pub fn run_text(shell: &Shell, drill: &str, site: &str) -> Result<Drilled, Error> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("drill.yaml");
    fs::write(&file, drill)?;
    fs::write(dir.path().join("site.yaml"), site)?;
    run(shell, &file)
}

impl Drilled {
    /// Everything that happened.
    pub fn events(&self) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        for entry in fs::read_dir(self.dir.path())? {
            let path = entry?.path().join("events.jsonl");
            let line = || path.display().to_string();
            for text in fs::read_to_string(&path)?.lines() {
                let event = serde_json::from_str(text);
                events.push(event.map_err(|source| Error::Strange { line: line(), source })?);
            }
        }
        Ok(events)
    }

    /// A phase of the way back from the first fault, in milliseconds after it.
    pub fn phase_ms(&self, name: &str) -> Option<f64> {
        let phase = self.report.faults.first()?.phases.iter().find(|phase| phase.phase == name)?;
        Some(phase.after_us as f64 / 1e3)
    }

    /// Acknowledged turns that are missing in the end. An error if that is not known.
    pub fn lost(&self) -> Result<f64, Error> {
        match self.report.turns.unread.len() {
            0 => Ok(self.report.turns.lost.len() as f64),
            unread => Err(Error::Unfit(format!("{unread} conversations could not be read back"))),
        }
    }
}
