//! The site of a contender, up as long as a value: built, and loaded from inside its client node.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use labctl::kernel::process::{PidFd, Spawn};
use labctl::kernel::{namespace, sysctl};
use labctl::topology::{NodeName, Role, Topology, parse};
use serde_json::Value;
use tempfile::TempDir;

use super::contender::{Contender, DIRECTOR, PORT, ROUTER, VIP};
use super::lab::{Error, LABCTL, Leashed};
use super::load::{self, Kind, Outcome};

/// A folder that nodes see as the machine does, unlike `/tmp` and `/run`.
const SHARED: &str = "/var/tmp";

/// What nodes run, where they see it. It goes with this value.
pub struct Program {
    folder: TempDir,
}

impl Program {
    /// A copy of this program, to be the real server, and the configuration of an HAProxy that passes bytes.
    pub fn visible_to_nodes() -> Result<Self, Error> {
        let program = Self { folder: tempfile::Builder::new().prefix("labctl-bench-").tempdir_in(SHARED)? };
        fs::copy(std::env::current_exe()?, program.server())?;
        fs::write(program.haproxy(), Contender::haproxy_configuration())?;
        Ok(program)
    }

    fn server(&self) -> std::path::PathBuf {
        self.folder.path().join("server")
    }

    fn haproxy(&self) -> std::path::PathBuf {
        self.folder.path().join("haproxy.cfg")
    }
}

/// A contender's site.
pub struct Rig {
    pub contender: Contender,
    lab: Leashed,
    client: PidFd,
    sources: Vec<Ipv4Addr>,
    targets: Vec<SocketAddr>,
}

impl Rig {
    /// Builds it, and returns when everything works.
    pub fn up(contender: Contender, program: &Program) -> Result<Self, Error> {
        Self::of(contender, program, false)
    }

    /// The same with a router on the client's side, beyond which is nobody: what is sent there is gone without a word.
    pub fn with_a_router(contender: Contender, program: &Program) -> Result<Self, Error> {
        let rig = Self::of(contender, program, true)?;
        let forget = || sysctl::write("net.ipv4.ip_forward", "0");
        let done = namespace::inside(rig.enter(ROUTER)?.as_fd(), forget).map_err(Error::unfit)?;
        done.map_err(Error::unfit)?;
        Ok(rig)
    }

    fn of(contender: Contender, program: &Program, a_router: bool) -> Result<Self, Error> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let site = contender.site(&text(&program.server()), &text(&program.haproxy()), a_router);
        let topology =
            parse(contender.word(), &site).map_err(|problems| Error::unfit(format!("{problems}\n{site}")))?;
        let place = Contender::ALL.iter().position(|other| *other == contender).unwrap_or_default();
        let lab = Leashed::up(place, &topology)?;
        let client = topology.nodes_of(Role::Client).next().ok_or_else(|| Error::unfit("no client"))?;
        let rig = Self {
            contender,
            client: lab.enter(&client.name)?,
            sources: client.interfaces.iter().flat_map(|interface| interface.addresses.clone()).collect(),
            targets: contender.targets(),
            lab,
        };
        if contender.is_plain() {
            rig.route_plainly(&topology)?;
        }
        Ok(rig)
    }

    /// Takes netfilter out of the way: its connection tracking is no part of routing.
    fn route_plainly(&self, topology: &Topology) -> Result<(), Error> {
        let directors: Vec<&NodeName> = topology.nodes_of(Role::Proxy).map(|node| &node.name).collect();
        for director in directors {
            let args = [
                "exec",
                "--lab",
                self.lab.name().as_str(),
                director.as_str(),
                "--",
                "nft",
                "flush",
                "ruleset",
            ];
            let spawn = Spawn { program: OsStr::new(LABCTL), ..Spawn::own(&args) };
            let status = spawn.start()?.wait()?;
            if !status.success() {
                return Err(Error::unfit(format!("{director}: nft flush ruleset: {status}")));
            }
        }
        Ok(())
    }

    /// The client connects to the virtual service, whoever balances.
    pub fn aimed_at_the_service(mut self) -> Self {
        self.targets = vec![(VIP, PORT).into()];
        self
    }

    /// A node, to do something in its network.
    pub fn enter(&self, node: &str) -> Result<PidFd, Error> {
        Ok(self.lab.enter(&node.parse().map_err(Error::unfit)?)?)
    }

    /// The client node.
    pub fn client(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    /// What the director remembers and counted; `None` if nobody directs.
    pub fn listing(&self) -> Result<Option<Value>, Error> {
        if self.contender.is_plain() {
            return Ok(None);
        }
        let args =
            ["balancer", "list", "--lab", self.lab.name().as_str(), "--connections", "--format", "json"];
        let output = Command::new(LABCTL).args(args).output()?;
        let all: Value = serde_json::from_slice(&output.stdout).map_err(Error::unfit)?;
        Ok(Some(all["directors"][DIRECTOR]["listing"].clone()))
    }

    /// Who the client is, and what it connects to.
    pub fn ends(&self, number: usize) -> (Ipv4Addr, SocketAddr) {
        (self.sources[number % self.sources.len()], self.targets[number % self.targets.len()])
    }

    /// Loads it. The error is a word for the page: whoever cannot take a load is a result.
    pub fn load(&self, kind: Kind, each: Duration) -> Result<Outcome, String> {
        let outcome = load::run(kind, self.client.as_fd(), &self.sources, &self.targets, each);
        outcome.map_err(|error| error.to_string())
    }
}
