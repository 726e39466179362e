//! A verb that did not work: what to tell people, and with which code to end.

use std::process::ExitCode;

use miette::{MietteDiagnostic, Report};
use nix::errno::Errno;

use crate::holder::client;
use crate::kernel::capability::Capability;
use crate::topology::NodeName;

/// What a verb returns.
pub type Outcome = Result<ExitCode, Failure>;

/// A verb that did not work.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    report: Report,
}

impl Failure {
    /// A drill failed, or a lab did not become ready.
    pub const FAILED: u8 = 1;
    /// The caller made a mistake, and nothing was changed.
    pub const USAGE: u8 = 2;
    /// A report is worse than an earlier one.
    pub const REGRESSION: u8 = 3;
    /// The machine did not let it happen.
    pub const INFRASTRUCTURE: u8 = 4;

    /// A failure with a ready-made report.
    pub fn new(code: u8, report: Report) -> Self {
        Self { code, report }
    }

    /// The caller made a mistake.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Self::USAGE, MietteDiagnostic::new(message).with_help(help).into())
    }

    /// The machine did not let it happen.
    pub fn machine(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Self::INFRASTRUCTURE, MietteDiagnostic::new(message).with_help(help).into())
    }

    /// This process may not do what a lab needs.
    pub fn privilege(missing: &[Capability]) -> Self {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        Self::machine(
            format!("a lab needs {}, which this process does not have", names.join(", ")),
            "run it as root (`sudo labctl ...`), or, for a topology without a balancer, in a user namespace of your \
             own: `unshare -Urnm labctl ...`",
        )
    }

    /// A node's namespaces are closed to this process.
    pub fn entering(node: &NodeName, errno: Errno) -> Self {
        Self::machine(format!("enter {node}: {errno}"), "this needs the privilege that `labctl up` had")
    }

    /// Tells people, and gives the exit code.
    pub fn print(&self) -> ExitCode {
        say!("{:?}", self.report);
        ExitCode::from(self.code)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        use client::Error as E;
        let (code, help) = match &error {
            E::NoLab | E::NoSuchLab { .. } => (
                Self::USAGE,
                Some("`labctl up topologies/ha.yaml` starts one; `labctl list` shows those that are up"),
            ),
            E::Which(_) => (Self::USAGE, Some("name one with `--lab NAME` or in LABCTL_LAB")),
            E::Refused(_) => (Self::USAGE, None),
            E::Taken => (Self::USAGE, Some("`labctl status` shows it; `--name` gives this one another name")),
            E::Failed(_) => (
                Self::FAILED,
                Some(
                    "nothing was left behind; `--within` gives it more time, `labctl validate FILE` checks the file",
                ),
            ),
            E::Strange { .. } => {
                (Self::INFRASTRUCTURE, Some("`labctl down` with the version that started it"))
            }
            E::Look(_)
            | E::Talk { .. }
            | E::Start(_)
            | E::Vanished
            | E::Stranger { .. }
            | E::Leftover(_)
            | E::Folders(_)
            | E::Undead { .. } => (Self::INFRASTRUCTURE, None),
        };
        let mut diagnostic = MietteDiagnostic::new(crate::holder::lab::chain(&error));
        diagnostic.help = help.map(str::to_owned);
        Self::new(code, diagnostic.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Self::INFRASTRUCTURE, MietteDiagnostic::new(error.to_string()).into())
    }
}

/// A report that comes ready-made is about a file that somebody wrote.
impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::new(Self::USAGE, report)
    }
}
