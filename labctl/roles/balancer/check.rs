//! Asks one real server whether it is well, from the proxy's own address and within a time limit. It does not judge: one
//! answer is no state.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use reqwest::header::{CONNECTION, HeaderValue};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::layout::Own;
use crate::kernel::process::{PidFd, Spawn, kill_group};
use crate::topology::{HealthCheck, Probe};

/// Makes checks. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    own: Own,
    /// A client for each family that this node has an address of.
    v4: Option<reqwest::Client>,
    v6: Option<reqwest::Client>,
}

impl Prober {
    /// A prober that speaks from these addresses.
    pub(super) fn new(own: Own) -> Result<Self, reqwest::Error> {
        let client = |from: IpAddr| {
            reqwest::Client::builder()
                .local_address(from)
                .no_proxy()
                // A redirect is not the 2xx that was asked for.
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(0)
                .build()
        };
        let v4 = own.v4.map(|own| client(own.into())).transpose()?;
        let v6 = own.v6.map(|own| client(own.into())).transpose()?;
        Ok(Self { own, v4, v6 })
    }

    /// Checks the real server of this name once. The error says why not, in words for people.
    pub(super) async fn check(&self, check: &HealthCheck, name: &str, at: SocketAddr) -> Result<(), String> {
        let within = check.timeout;
        let late = |_| Err(format!("no answer in {within:?}"));
        match &check.probe {
            Probe::Tcp => timeout(within, self.connect(at)).await.unwrap_or_else(late),
            Probe::Http(path) => timeout(within, self.get(at, path)).await.unwrap_or_else(late),
            Probe::Command(argv) => run(argv, name, at, within).await,
        }
    }

    async fn connect(&self, to: SocketAddr) -> Result<(), String> {
        let from = self.own.towards(to.ip()).ok_or_else(|| no_address(to))?;
        let connect = async {
            let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(SocketAddr::new(from, 0))?;
            let stream = socket.connect(to).await?;
            // Ends with a reset: checks many times a second would use up our ports by TIME-WAIT.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))
        };
        connect.await.map_err(|error: io::Error| error.to_string())
    }

    async fn get(&self, to: SocketAddr, path: &str) -> Result<(), String> {
        let client = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let client = client.as_ref().ok_or_else(|| no_address(to))?;
        let request = client.get(format!("http://{to}{path}"));
        // The server closes first, so that TIME-WAIT is on its side.
        let request = request.header(CONNECTION, HeaderValue::from_static("close"));
        let answer = request.send().await.map_err(|error| innermost(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("answered {status}")),
        }
    }
}

fn no_address(to: SocketAddr) -> String {
    format!("this node has no address of its own to speak to {} from", to.ip())
}

/// A program and all that it started. They end with this value at the latest, and the program is collected.
struct Script {
    child: Child,
    collected: bool,
}

impl Script {
    /// Ends whatever is left of it. The program itself, if it has ended, keeps its number until it is collected, so nobody
    /// else can be meant.
    fn collect(&mut self) -> io::Result<ExitStatus> {
        if !self.collected {
            // Fails only if nobody is left.
            let _ = kill_group(&self.child);
            self.collected = true;
        }
        self.child.wait()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.collect();
    }
}

/// Runs a program, which does not outlive its time, and leaves nothing behind.
async fn run(argv: &[String], name: &str, at: SocketAddr, within: Duration) -> Result<(), String> {
    let [program, arguments @ ..] = argv else { return Err("there is no program to run".to_owned()) };
    let mut spawn = Spawn {
        program: OsStr::new(program),
        args: arguments.iter().map(OsStr::new).collect(),
        die_with_parent: true,
        own_group: true,
        stdout: Stdio::null(),
        stderr: Stdio::null(),
        ..Spawn::own(&[])
    };
    spawn.clean_environment();
    spawn.env.push(("LABCTL_REAL_NODE", name.to_owned()));
    spawn.env.push(("LABCTL_REAL_ADDRESS", at.ip().to_string()));
    spawn.env.push(("LABCTL_REAL_PORT", at.port().to_string()));
    let child = spawn.start().map_err(|error| format!("run {program}: {error}"))?;
    let mut script = Script { child, collected: false };
    let ended = ended(&script.child).map_err(|error| format!("watch {program}: {error}"))?;
    if timeout(within, ended.readable()).await.is_err() {
        let _ = kill_group(&script.child);
        // SIGKILL is not refused; a process that the kernel holds up must not hold up the loop.
        let _ = ended.readable().await;
        return Err(format!("{program} has not ended in {within:?}"));
    }
    match script.collect() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("wait for {program}: {error}")),
    }
}

/// Readable when the program has ended.
fn ended(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    let process = PidFd::open(child.id() as i32)?.as_fd().try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` is open until it is dropped, which the `AsyncFd` does last, and is always the same one.
    Ok(unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?)
}

/// The cause at the bottom: `Connection refused` tells more than `error sending request`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests;
