//! One drill by `labctl drill run`: a lab, a load, faults, and the report as a value. It knows the files of a drill.

use std::fs;
use std::path::Path;
use std::time::Duration;

use labctl::report::{Event, Report};
use tempfile::TempDir;

use super::lab::Lab;
use super::shell::{Error, Shell};

/// Longer than all bounds of a drill together: 30 s to be ready, 20 s for the load to begin, 60 s for it to drain, 40 s
/// for the lab to end.
const DRILL_WITHIN: Duration = Duration::from_secs(180);

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
    eprintln!(
        "  {}: {} of {} turns acknowledged",
        report.verdict, report.turns.acknowledged, report.turns.attempted
    );
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
