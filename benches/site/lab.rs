//! One lab by the command line: up, down, and down in any case. It knows the verbs and the JSON of `labctl`.

use std::ffi::OsStr;
use std::time::Duration;

use serde::Deserialize;

use super::shell::{Done, Error, Shell};

/// The program that is measured, as built for release.
pub const LABCTL: &str = env!("CARGO_BIN_EXE_labctl");
/// `labctl up` gives up by itself after 30 s; this is for one that does not.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// `labctl down --wait` gives up by itself after 20 s for the holder and 20 s for the kernel.
const DOWN_WITHIN: Duration = Duration::from_secs(60);

/// What `labctl up --format json` says.
#[derive(Deserialize)]
pub struct Started {
    pub network_ms: f64,
    pub ready_ms: f64,
}

/// A lab's name, which is free again when this value goes.
pub struct Lab<'a> {
    shell: &'a Shell,
    name: String,
    /// Whether it may be up.
    up: bool,
}

impl<'a> Lab<'a> {
    /// A name that no other lab has. Nothing is started.
    pub fn named(shell: &'a Shell, what: &str) -> Self {
        Self { shell, name: format!("bench-{}-{what}", std::process::id()), up: false }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command that may start it.
    pub fn start(&mut self, args: &[&str], within: Duration) -> Result<Done, Error> {
        self.up = true;
        self.shell.run(OsStr::new(LABCTL), args, within)
    }

    /// Starts it. Also says how long the whole command took.
    pub fn up(&mut self, topology: &str) -> Result<(Started, Duration), Error> {
        let name = self.name.clone();
        let done = self.start(&["up", topology, "--name", &name, "--format", "json"], UP_WITHIN)?.well()?;
        let started = serde_json::from_str(&done.stdout)
            .map_err(|source| Error::Strange { line: done.line.clone(), source })?;
        Ok((started, done.took))
    }

    /// Ends it, and says how long that took.
    pub fn down(&mut self, wait: bool) -> Result<Duration, Error> {
        let mut args = vec!["down", &self.name];
        args.extend(wait.then_some("--wait"));
        let done = self.shell.run(OsStr::new(LABCTL), &args, DOWN_WITHIN)?.well()?;
        self.up = false;
        Ok(done.took)
    }

    /// Says that it was taken down by the command that started it.
    pub fn gone(&mut self) {
        self.up = false;
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        if self.up {
            self.shell.tidy(OsStr::new(LABCTL), &["down", &self.name, "--wait"], DOWN_WITHIN);
        }
    }
}
