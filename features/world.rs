//! What a scenario knows: its lab, what it last saw, and what it compares with. It knows nothing of balancing or
//! failover; that is the library's business.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cucumber::event::ScenarioFinished;
use labctl::holder::client::{Lab, labs};
use labctl::holder::protocol::Status;
use labctl::kernel::wait;
use labctl::topology::{LabName, NodeName};

use crate::audit::Audit;
use crate::steps::conversation::Talk;
use crate::steps::coupling::Hog;
use crate::steps::floating::Watch;
use crate::steps::forwarding::{Carried, Ear};
use crate::steps::takeover::Regular;
use crate::visit::Visitor;

/// How long a fact may take to become true. Facts come within a second; a machine under load may take its time.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// What a scenario knows.
#[derive(Debug, Default, cucumber::World)]
pub struct World {
    /// Labs of this scenario by the name that it calls them.
    labs: BTreeMap<String, LabName>,
    /// What the last command said.
    pub said: Option<Said>,
    /// The conversation with the site.
    pub talk: Option<Talk>,
    /// Those who use up what others need.
    pub hogs: Vec<Hog>,
    /// Who holds the VIP, sampled all the time.
    pub watch: Option<Watch>,
    /// Somebody with a connection to the site, and who answered last.
    pub visitor: Option<(Visitor, String)>,
    /// Those with a connection that is to last.
    pub regulars: Vec<Regular>,
    /// Servers beside the webs.
    pub servers: Vec<Visitor>,
    /// What the client got, and by whom it came.
    pub carried: Option<Carried>,
    /// Those who listen.
    pub ears: Vec<Ear>,
    /// The machine before.
    pub before: Option<Audit>,
    /// The status before.
    pub status_before: Option<Status>,
    /// The node that something was done to.
    pub victim: Option<NodeName>,
    /// Nodes that are cut off from the others, and hear each other.
    pub cut: Vec<NodeName>,
    /// Where a drill's reports are; ends with the scenario.
    pub reports: Option<tempfile::TempDir>,
    /// Numbers that a later step compares with.
    pub counted: BTreeMap<String, u64>,
}

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Words.
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program under test, as a user would run it.
pub fn labctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labctl"));
    command.current_dir(root()).env_remove("LABCTL_LAB").env("NO_COLOR", "1");
    command
}

/// Runs a command that reads `input`.
pub fn with_input(mut command: Command, input: &str) -> Result<Output, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
    drop(stdin);
    child.wait_with_output().map_err(|error| error.to_string())
}

/// Labs of a scenario carry its process id, so that whoever ran it can end what it left.
fn prefix(pid: u32) -> String {
    format!("t{pid}-")
}

/// Ends what a scenario left behind.
pub fn clear(pid: u32) {
    for name in labs().unwrap_or_default().into_iter().filter(|name| name.as_str().starts_with(&prefix(pid)))
    {
        let _ = Lab::find(Some(name)).and_then(|lab| lab.down());
    }
}

impl World {
    /// Runs a command of ours to its end.
    pub fn run(&mut self, args: &[&str]) -> Result<Said, String> {
        let output = labctl().args(args).output().map_err(|error| format!("run labctl: {error}"))?;
        let said = Said::from(output);
        self.said = Some(said.clone());
        Ok(said)
    }

    /// The name under which this scenario's lab of that nickname runs.
    pub fn lab_name(&mut self, nickname: &str) -> LabName {
        let name = format!("{}{nickname}", prefix(std::process::id()));
        let name: LabName = name.parse().expect("a prefix and a nickname make a name");
        self.labs.insert(nickname.to_owned(), name.clone());
        name
    }

    /// Builds a lab, or says why not.
    pub fn up(&mut self, file: &str, nickname: &str) -> Result<(), String> {
        let name = self.lab_name(nickname);
        let said = self.run(&["up", file, "--name", name.as_str()])?;
        if said.code == 0 { Ok(()) } else { Err(format!("up ended with {}: {}", said.code, said.stderr)) }
    }

    /// Builds a lab of a topology that no file holds, or says why not.
    pub fn up_text(&mut self, topology: &str, nickname: &str) -> Result<(), String> {
        let name = self.lab_name(nickname);
        let mut up = labctl();
        up.args(["up", "-", "--name", name.as_str()]);
        let said = Said::from(with_input(up, topology)?);
        if said.code == 0 { Ok(()) } else { Err(format!("up ended with {}: {}", said.code, said.stderr)) }
    }

    /// The lab of this scenario, if it has just one or one called `site`.
    pub fn lab(&self) -> Result<Lab, String> {
        let name =
            self.labs.get("site").or_else(|| self.labs.values().next()).ok_or("this scenario has no lab")?;
        Lab::find(Some(name.clone())).map_err(|error| error.to_string())
    }

    /// The lab that this scenario calls that.
    pub fn lab_called(&self, nickname: &str) -> Result<Lab, String> {
        let name = self.labs.get(nickname).ok_or_else(|| format!("this scenario has no lab {nickname}"))?;
        Lab::find(Some(name.clone())).map_err(|error| error.to_string())
    }

    /// What it is like now.
    pub fn status(&self) -> Result<Status, String> {
        self.lab()?.status().map_err(|error| error.to_string())
    }

    /// Waits until something is true; on time-out, says what was last seen instead.
    pub fn eventually<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        wait::eventually(what, WAIT_MAX, || look(self))
    }

    /// Runs a command of ours about this scenario's lab.
    pub fn run_in_lab(&mut self, verb: &str, args: &[&str]) -> Result<Said, String> {
        let lab = self.lab()?;
        let mut all = vec![verb, "--lab", lab.name().as_str()];
        all.extend(args);
        self.run(&all)
    }

    /// Ends the scenario: keeps the logs of a failed one, and ends its labs.
    pub fn finish(&mut self, scenario: &str, outcome: &ScenarioFinished) {
        drop(self.watch.take());
        drop(self.visitor.take());
        self.regulars.clear();
        self.servers.clear();
        self.ears.clear();
        self.hogs.clear();
        let failed = !matches!(outcome, ScenarioFinished::StepPassed);
        for name in self.labs.values() {
            let Ok(lab) = Lab::find(Some(name.clone())) else { continue };
            if failed {
                match keep_evidence(&lab, scenario) {
                    Ok(folder) => println!("evidence: {}", folder.display()),
                    Err(error) => println!("no evidence could be kept: {error}"),
                }
            }
            let _ = lab.down();
        }
    }
}

/// Logs of every node, events and status of a lab, in a folder that outlives it.
fn keep_evidence(lab: &Lab, scenario: &str) -> Result<PathBuf, String> {
    let words: String = scenario.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let folder = root().join("target/features-failed").join(format!("{words}-{}", lab.name()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let status = lab.status().map_err(|error| error.to_string())?;
    for node in &status.nodes {
        let Ok(mut log) = lab.log(&node.name) else { continue };
        let Ok(mut copy) = std::fs::File::create(folder.join(format!("{}.log", node.name))) else { continue };
        let _ = std::io::copy(&mut log, &mut copy);
    }
    let json = serde_json::to_string_pretty(&status).map_err(|error| error.to_string())?;
    std::fs::write(folder.join("status.json"), json).map_err(|error| error.to_string())?;
    let events = lab.events(false).map_err(|error| error.to_string())?;
    let lines: Vec<String> = events.filter_map(|event| serde_json::to_string(&event).ok()).collect();
    std::fs::write(folder.join("events.jsonl"), lines.join("\n")).map_err(|error| error.to_string())?;
    Ok(folder)
}
