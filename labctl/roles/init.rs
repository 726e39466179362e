//! PID 1 of a node: makes the node's private view of the machine, starts its services, reaps whatever ends, restarts
//! what should live, and obeys its holder. It is one thread, and it is the only process that knows a node from inside.

mod border;
mod gate;
mod hosts;
mod tunnels;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};
use serde::{Deserialize, Serialize};

use self::gate::Guard;
use self::tunnels::Tunnels;
use super::{DISK_PATH, EVENTS_FD, Reporter, SITE_PATH};
use crate::dataplane::{self, gate::LEASES_FD};
use crate::kernel::nft::Border;
use crate::kernel::process::{self, Spawn, describe_exit};
use crate::kernel::{mount, netlink, nft, packet};
use crate::report::What;
use crate::topology::{Node, NodeName, Restart, Run, Service, ServiceName, Topology};

/// What a node may write to `/run` and to `/tmp`.
const RUN_MIB: u32 = 16;
const TMP_MIB: u32 = 64;
/// First wait before a service that ended is started again; doubled each time it ends soon, up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A service that lived this long is healthy again: its next end counts as the first.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// Largest order.
const ORDER_BYTES_MAX: usize = 4096;
/// Above the descriptors that a service opens first, and below the usual limit of 1024.
const LAST_FD: RawFd = 1000;
/// What the holder writes to the standard input of a node's PID 1. Descriptors are inherited under these numbers.
#[derive(Debug, Serialize, Deserialize)]
pub struct InitSpec {
    /// Which node this is.
    pub node: NodeName,
    /// The site.
    pub topology: Topology,
    /// The node's disk in the holder's view.
    pub disk: PathBuf,
    /// The node's network namespace.
    pub netns_fd: RawFd,
    /// Where events go, one a datagram.
    pub events_fd: RawFd,
    /// Where orders come from, one a packet, each answered.
    pub orders_fd: RawFd,
    /// The namespace of the lab's bridges, see [`Init::fabric`].
    pub fabric_fd: RawFd,
}

/// What a holder asks of a node's PID 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Send a signal to a service; what happens when it ends is its restart policy's business. SIGKILL, SIGSTOP and
    /// SIGCONT reach every process of it, others the one that PID 1 started, which knows its children.
    Signal {
        /// The service.
        service: ServiceName,
        /// Signal number.
        signal: i32,
    },
    /// End a service by SIGTERM and leave it ended.
    Stop {
        /// The service.
        service: ServiceName,
    },
    /// Start a service that is not running.
    Start {
        /// The service.
        service: ServiceName,
    },
}

/// An order or its answer, with a number that says which belongs to which.
#[derive(Debug, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// Counted by the holder.
    pub number: u64,
    /// The order or the answer.
    pub content: T,
}

/// Why a node cannot come up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No specification on standard input.
    #[error("read the node's specification")]
    Spec(#[source] io::Error),
    /// It makes no sense.
    #[error("understand the node's specification")]
    Parse(#[source] serde_json::Error),
    /// The topology has no such node.
    #[error("the topology has no node {0}")]
    NoSuchNode(NodeName),
    /// The kernel refused.
    #[error("{act}")]
    Kernel {
        /// What was tried.
        act: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A mount was refused.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// A file of the node cannot be written.
    #[error("write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No netfilter rules.
    #[error(transparent)]
    Nft(#[from] nft::Error),
    /// No leases.
    #[error("put the floating addresses behind the lease gate")]
    Gate(#[from] dataplane::Error),
    /// No tunnels.
    #[error("open the tunnels that directors send")]
    Tunnels(#[source] dataplane::Error),
    /// A link of the site is not there.
    #[error("find the public interface")]
    Link(#[from] packet::Error),
    /// The kernel does not answer.
    #[error("look at the node's links")]
    Netlink(#[from] netlink::Error),
}

/// Does any node of this site put its floating addresses behind the lease gate, which is an eBPF program?
pub fn has_gate(topology: &Topology) -> bool {
    topology.nodes.iter().any(|node| gate::wanted(topology, node).is_some())
}

fn kernel(act: &'static str) -> impl FnOnce(Errno) -> Error {
    move |source| Error::Kernel { act, source }
}

/// Runs a node until it is killed: PID 1 of a machine never ends by itself.
pub fn run() -> Result<std::convert::Infallible, Error> {
    let spec = read_spec()?;
    let node = spec.topology.node(&spec.node).ok_or_else(|| Error::NoSuchNode(spec.node.clone()))?;
    // SAFETY: the holder left these descriptors open for this process alone, and this is the only use of them.
    let [netns, events, orders, fabric] = [spec.netns_fd, spec.events_fd, spec.orders_fd, spec.fabric_fd]
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    for fd in [&netns, &events, &orders] {
        // Inherited open; a service gets what it needs, and no more.
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(kernel("keep descriptors from services"))?;
    }
    let fabric = last_to_be_closed(fabric)?;
    move_in(&spec, netns.as_fd())?;
    drop(netns);
    furnish(&spec, node)?;
    let reporter = Reporter::new(Some(node.name.to_string()), "init", Some(UnixDatagram::from(events)));
    let guard = Guard::of(&spec.topology, node)?;
    // Open as long as this process lives, which is as long as the machine does.
    let _tunnels = Tunnels::open(&spec.topology, node).map_err(Error::Tunnels)?;
    let mut init = Init::new(node, reporter, orders, fabric, guard)?;
    init.serve()
}

/// The same descriptor under a high number: a process that ends closes its descriptors from the lowest up.
fn last_to_be_closed(fd: OwnedFd) -> Result<OwnedFd, Error> {
    let failed = || kernel("keep hold of the fabric");
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed())?;
    let last = LAST_FD.min(RawFd::try_from(soft).unwrap_or(RawFd::MAX).saturating_sub(1));
    let high = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(last)).map_err(failed())?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(high) })
}

fn read_spec() -> Result<InitSpec, Error> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(Error::Spec)?;
    serde_json::from_str(&text).map_err(Error::Parse)
}

/// Enters the namespaces that make this process a machine of its own.
fn move_in(spec: &InitSpec, netns: BorrowedFd) -> Result<(), Error> {
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(kernel("enter the node's network namespace"))?;
    let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(own).map_err(kernel("make the node's mount, UTS and IPC namespaces"))?;
    sethostname(spec.node.as_str()).map_err(kernel("set the host name"))
}

/// The node's own `/proc`, `/sys`, `/run`, `/tmp`, disk, hosts, resolver, and its boot-time netfilter rules.
fn furnish(spec: &InitSpec, node: &Node) -> Result<(), Error> {
    mount::make_slave()?;
    mount::proc()?;
    mount::sysfs()?;
    // The disk lies below the holder's /run, which the node's own /run is about to hide: hold on to it.
    let disk =
        fs::File::open(&spec.disk).map_err(|source| Error::File { path: spec.disk.clone(), source })?;
    mount::tmpfs(Path::new("/run"), "755", RUN_MIB)?;
    for shared in ["/tmp", "/dev/shm"].map(Path::new).into_iter().filter(|path| path.is_dir()) {
        mount::tmpfs(shared, "1777", TMP_MIB)?;
    }
    let make =
        |path: &str| fs::create_dir_all(path).map_err(|source| Error::File { path: path.into(), source });
    make("/run/lock")?;
    make(DISK_PATH)?;
    mount::bind(Path::new(&format!("/proc/self/fd/{}", disk.as_raw_fd())), Path::new(DISK_PATH))?;
    let write = |path: &str, text: &str| {
        fs::write(path, text).map_err(|source| Error::File { path: path.into(), source })
    };
    let site = serde_json::to_string(&spec.topology).map_err(Error::Parse)?;
    write(SITE_PATH, &site)?;
    replace("/etc/hosts", "/run/labctl/hosts", &hosts::text(&spec.topology, node), write)?;
    replace("/etc/resolv.conf", "/run/labctl/resolv.conf", "# A lab has no name server.\n", write)?;
    replace("/etc/hostname", "/run/labctl/hostname", &format!("{}\n", node.name), write)?;
    let border = border::of(&spec.topology, node)?;
    if border != Border::default() {
        nft::guard(&border)?;
    }
    Ok(())
}

/// Shows `text` at `path`, which must exist on the machine for something to be mounted on; the machine's own file is
/// not touched.
fn replace(
    path: &str,
    copy: &str,
    text: &str,
    write: impl FnOnce(&str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    write(copy, text)?;
    if Path::new(path).exists() {
        mount::bind(Path::new(copy), Path::new(path))?;
    }
    Ok(())
}

/// What PID 1 knows of one service.
#[derive(Debug)]
struct State {
    service: Service,
    pid: Option<i32>,
    started: Option<Instant>,
    backoff: Duration,
    /// When it is started again.
    due: Option<Instant>,
    /// Told to stay down.
    stopped: bool,
}

struct Init {
    node: NodeName,
    services: BTreeMap<ServiceName, State>,
    reporter: Reporter,
    orders: OwnedFd,
    signals: SignalFd,
    /// Every process of every node holds on to the lab's bridges, so that they carry the last packets of whoever dies:
    /// a connection that cannot say goodbye keeps its namespace alive for a minute.
    fabric: OwnedFd,
    /// Stays where it is until this machine dies.
    guard: Option<Guard>,
}

#[expect(clippy::disallowed_methods, reason = "PID 1 owns the clock of restarts")]
impl Init {
    fn new(
        node: &Node,
        reporter: Reporter,
        orders: OwnedFd,
        fabric: OwnedFd,
        guard: Option<Guard>,
    ) -> Result<Self, Error> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().map_err(kernel("block SIGCHLD"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).map_err(kernel("make a signalfd"))?;
        let now = Instant::now();
        let services = node.services.iter().map(|service| {
            let state = State {
                service: service.clone(),
                pid: None,
                started: None,
                backoff: BACKOFF_MIN,
                due: Some(now),
                stopped: false,
            };
            (service.name.clone(), state)
        });
        let (node, services) = (node.name.clone(), services.collect());
        Ok(Self { node, services, reporter, orders, signals, fabric, guard })
    }

    fn serve(&mut self) -> Result<std::convert::Infallible, Error> {
        self.reporter.emit(What::NodeUp);
        loop {
            self.start_due(Instant::now());
            let wait = self.services.values().filter_map(|state| state.due).min();
            let timeout = wait.map_or(PollTimeout::NONE, |due| {
                // A millisecond more, so that poll does not round down to a wake that comes too early.
                let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            let (child_ended, order_came) = {
                let mut ready = [
                    PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.orders.as_fd(), PollFlags::POLLIN),
                ];
                match poll(&mut ready, timeout) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(source) => return Err(Error::Kernel { act: "wait for events", source }),
                }
                (ready[0].any().unwrap_or(false), ready[1].any().unwrap_or(false))
            };
            if child_ended {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap(Instant::now());
            }
            if order_came {
                self.obey();
            }
        }
    }

    fn start_due(&mut self, now: Instant) {
        for state in self.services.values_mut().filter(|state| state.due.is_some_and(|due| due <= now)) {
            state.due = None;
            let leases = self.guard.as_ref().and_then(|guard| guard.leases_for(&state.service.run));
            match start(&self.node, &state.service, &self.reporter, self.fabric.as_fd(), leases) {
                Ok(pid) => {
                    state.pid = Some(pid);
                    state.started = Some(now);
                    self.reporter.of(state.service.name.as_str()).emit(What::ServiceStarted { pid });
                }
                Err(error) => {
                    log(&format!("start {}: {error}", state.service.name));
                    let how = format!("cannot start: {error}");
                    self.reporter.of(state.service.name.as_str()).emit(What::ServiceExited { how });
                    schedule_restart(state, now, false);
                }
            }
        }
    }

    fn reap(&mut self, now: Instant) {
        loop {
            let status = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(status) => status,
            };
            let Some(pid) = status.pid().map(Pid::as_raw) else { continue };
            let Some(state) = self.services.values_mut().find(|state| state.pid == Some(pid)) else {
                continue;
            };
            state.pid = None;
            let how = describe_exit(status);
            log(&format!("{} ended, {how}", state.service.name));
            self.reporter.of(state.service.name.as_str()).emit(What::ServiceExited { how });
            schedule_restart(state, now, matches!(status, WaitStatus::Exited(_, 0)));
        }
    }

    fn obey(&mut self) {
        let mut buffer = [0; ORDER_BYTES_MAX];
        let Ok(len @ 1..) = recv(self.orders.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) else {
            return;
        };
        let Ok(Numbered { number, content }) = serde_json::from_slice::<Numbered<Order>>(&buffer[..len])
        else {
            log("an order that makes no sense");
            return;
        };
        let answer = Numbered { number, content: self.carry_out(content) };
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        let _ = send(self.orders.as_raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    fn carry_out(&mut self, order: Order) -> Result<(), String> {
        let name = match &order {
            Order::Signal { service, .. } | Order::Stop { service } | Order::Start { service } => {
                service.clone()
            }
        };
        let node = self.node.clone();
        let known: Vec<String> = self.services.keys().map(ToString::to_string).collect();
        let state = self
            .services
            .get_mut(&name)
            .ok_or_else(|| format!("{node} has no service {name}; it has {}", known.join(", ")))?;
        let running = state.pid.ok_or_else(|| format!("{name} of {node} is not running"));
        match order {
            Order::Signal { signal, .. } => {
                let signal = Signal::try_from(signal).map_err(|_| format!("there is no signal {signal}"))?;
                send_to_service(running?, signal).map_err(|error| format!("signal {name}: {error}"))?;
                let signal = signal.as_str().trim_start_matches("SIG").to_owned();
                self.reporter.of(name.as_str()).emit(What::Signalled { signal });
                Ok(())
            }
            Order::Stop { .. } => {
                let running = running?;
                state.stopped = true;
                state.due = None;
                process::signal(running, Signal::SIGTERM).map_err(|error| format!("stop {name}: {error}"))
            }
            Order::Start { .. } if state.pid.is_some() => Err(format!("{name} of {node} is running")),
            Order::Start { .. } => {
                state.stopped = false;
                state.backoff = BACKOFF_MIN;
                state.due = Some(Instant::now());
                Ok(())
            }
        }
    }
}

/// What no process can refuse is for all of a service: a daemon whose parent alone is stopped is not stopped. Any other
/// signal is a request, and the first process of a service is the one to ask.
fn send_to_service(pid: i32, signal: Signal) -> io::Result<()> {
    match signal {
        Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGCONT => process::signal_family(pid, signal),
        _ => Ok(process::signal(pid, signal)?),
    }
}

/// One line in the node's log. A log that is full is no reason for PID 1 to die.
fn log(line: &str) {
    let _ = writeln!(io::stderr(), "init: {line}");
}

fn schedule_restart(state: &mut State, now: Instant, success: bool) {
    let wanted = match state.service.restart {
        Restart::Always => true,
        Restart::OnFailure => !success,
        Restart::Never => false,
    };
    if !wanted || state.stopped {
        return;
    }
    let lived = state.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started));
    if lived >= HEALTHY_AFTER {
        state.backoff = BACKOFF_MIN;
    }
    state.due = Some(now + state.backoff);
    state.backoff = (state.backoff * 2).min(BACKOFF_MAX);
}

fn start(
    node: &NodeName,
    service: &Service,
    reporter: &Reporter,
    fabric: BorrowedFd,
    leases: Option<BorrowedFd>,
) -> io::Result<i32> {
    let own = |word| Spawn::own(&["__role", word, "--node", node.as_str()]);
    let mut spawn = match &service.run {
        Run::Builtin(builtin) => own(builtin.word()),
        Run::Command(argv) => {
            let mut words = argv.iter().map(OsStr::new);
            let program = words.next().ok_or_else(|| io::Error::other("the command is empty"))?;
            Spawn { program, args: words.collect(), ..Spawn::own(&[]) }
        }
    };
    spawn.stdin = Stdio::null();
    spawn.keep.push(fabric);
    // Where memory is limited, the kernel looks for somebody to kill: as on any machine, not for PID 1.
    spawn.expendable = true;
    for (variable, fd) in [(EVENTS_FD, reporter.fd()), (LEASES_FD, leases)] {
        if let Some(fd) = fd {
            spawn.env.push((variable, fd.as_raw_fd().to_string()));
            spawn.keep.push(fd);
        }
    }
    Ok(spawn.start()?.id() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a service waits to be started again after each of its lives.
    #[expect(clippy::disallowed_methods, reason = "any moment will do to begin with")]
    fn waits(restart: Restart, lives: &[Duration], success: bool) -> Vec<Option<Duration>> {
        let service = Service {
            name: "db".parse().unwrap(),
            run: Run::Command(Vec::new()),
            listen: Vec::new(),
            restart,
        };
        let mut now = Instant::now();
        let mut state =
            State { service, pid: None, started: None, backoff: BACKOFF_MIN, due: None, stopped: false };
        let wait = |life: &Duration| {
            (state.started, state.due) = (Some(now), None);
            now += *life;
            schedule_restart(&mut state, now, success);
            state.due.map(|due| due - now)
        };
        lives.iter().map(wait).collect()
    }

    #[test]
    fn a_service_that_cannot_work_is_started_ever_less_often() {
        let at_once = [Duration::from_millis(5); 9];
        let ms: Vec<_> = waits(Restart::Always, &at_once, false)
            .into_iter()
            .map(|wait| wait.unwrap().as_millis())
            .collect();
        assert_eq!(ms, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn a_service_that_worked_for_a_while_is_started_soon() {
        let lives = [Duration::ZERO, Duration::ZERO, HEALTHY_AFTER, Duration::ZERO];
        let waits: Vec<_> = waits(Restart::OnFailure, &lives, false).into_iter().flatten().collect();
        assert_eq!(waits, [BACKOFF_MIN, BACKOFF_MIN * 2, BACKOFF_MIN, BACKOFF_MIN * 2]);
        assert_eq!(super::tests::waits(Restart::OnFailure, &lives, true), [None; 4]);
        assert_eq!(super::tests::waits(Restart::Never, &lives, false), [None; 4]);
    }
}
