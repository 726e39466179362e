//! The network of a topology by the tool that everybody has: `ip -batch`. Namespaces, bridges, cables, addresses, static
//! routes, all links up; no daemons and no settings. Everything has a prefix of its own, and goes with the value.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use labctl::plan::Wanted;
use labctl::topology::Topology;
use tempfile::TempDir;

use super::shell::{Error, Shell};

/// One call of `ip`; a whole network by it takes a tenth of a second.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// What `ip` is told to make a network, and how to remove it.
pub struct Network<'a> {
    shell: &'a Shell,
    ip: PathBuf,
    /// The calls in order: the namespace in which, if not the machine's, and the file of commands.
    calls: Vec<(Option<String>, String)>,
    /// Commands that delete every namespace.
    remove: String,
    up: bool,
    _scratch: TempDir,
}

/// Where iproute2 is, if it is installed.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("ip")).find(|ip| ip.is_file())
}

impl<'a> Network<'a> {
    /// Writes the commands, and runs none.
    pub fn of(topology: &Topology, shell: &'a Shell, ip: PathBuf) -> io::Result<Self> {
        let wanted = Wanted::of(topology);
        let prefix = format!("bench-{}", std::process::id());
        let fabric = format!("{prefix}-fabric");
        let (mut namespaces, mut cables, mut remove) =
            (format!("netns add {fabric}\n"), String::new(), String::new());
        let mut nodes = BTreeMap::new();
        for network in &wanted.bridges {
            let _ = writeln!(cables, "link add {network} up type bridge");
        }
        let mut ports = 0..;
        for node in &wanted.nodes {
            let namespace = format!("{prefix}-{}", node.name);
            let _ = writeln!(namespaces, "netns add {namespace}");
            let _ = writeln!(remove, "netns del {namespace}");
            let mut own = "link set lo up\n".to_owned();
            for ((network, addresses), port) in node.interfaces.iter().zip(&mut ports) {
                let peer = format!("peer name {network} netns {namespace}");
                let _ = writeln!(cables, "link add port{port} master {network} up type veth {peer}");
                for (address, length) in addresses {
                    let _ = writeln!(own, "addr add {address}/{length} dev {network}");
                }
                let _ = writeln!(own, "link set {network} up");
            }
            for gateway in &node.gateways {
                let _ = writeln!(own, "route add default via {gateway}");
            }
            nodes.insert(namespace, own);
        }
        let _ = writeln!(remove, "netns del {fabric}");

        let scratch = tempfile::tempdir()?;
        let file = |name: &str, commands: &str| {
            let path = scratch.path().join(name);
            fs::write(&path, commands).map(|()| path.display().to_string())
        };
        let mut calls =
            vec![(None, file("namespaces", &namespaces)?), (Some(fabric), file("cables", &cables)?)];
        for (namespace, commands) in nodes {
            let path = file(&namespace, &commands)?;
            calls.push((Some(namespace), path));
        }
        let remove = file("remove", &remove)?;
        Ok(Self { shell, ip, calls, remove, up: false, _scratch: scratch })
    }

    /// How many times `ip` is called for it; a batch is for one namespace.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Makes it. The time is that of the calls of `ip`, one after the other.
    pub fn up(&mut self) -> Result<Duration, Error> {
        self.up = true;
        let mut took = Duration::ZERO;
        for (namespace, file) in &self.calls {
            let inside = namespace.iter().flat_map(|namespace| ["-n", namespace.as_str()]);
            let args: Vec<&str> = inside.chain(["-batch", file.as_str()]).collect();
            took += self.shell.run(self.ip.as_os_str(), &args, CALL_WITHIN)?.well()?.took;
        }
        Ok(took)
    }

    /// Deletes every namespace of it. The time is until `ip` returns; the kernel goes on a while.
    pub fn down(&mut self) -> Result<Duration, Error> {
        let done = self.shell.run(self.ip.as_os_str(), &["-batch", &self.remove], CALL_WITHIN)?.well()?;
        self.up = false;
        Ok(done.took)
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        if self.up {
            // Whatever is missing must not keep the rest.
            let args = ["-force", "-batch", &self.remove];
            self.shell.tidy(OsStr::new(self.ip.as_os_str()), &args, CALL_WITHIN);
        }
    }
}
