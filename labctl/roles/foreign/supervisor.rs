//! The process that stays beside a daemon that others wrote: it starts it, ends with it, passes on the wish to stop, and
//! tells the holder what the kernel says about the floating addresses, because the daemon would not.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkFlags, LinkMessage};

use super::Error;
use crate::kernel::clock;
use crate::kernel::netlink::{self, Netlink};
use crate::kernel::process::{self, Spawn};
use crate::report::What;
use crate::roles::Reporter;

/// How long a daemon that was asked to stop may take before it is killed. keepalived gives its own children 5 s.
const STOP_MAX: Duration = Duration::from_secs(8);

/// One program to run.
#[derive(Clone, Debug)]
pub(in crate::roles) struct Program {
    /// The file.
    pub(in crate::roles) path: PathBuf,
    /// What comes after it.
    pub(in crate::roles) args: Vec<String>,
}

/// A virtual router, and the addresses that tell who is its Active.
#[derive(Clone, Debug)]
pub(in crate::roles) struct Watched {
    /// Virtual router identifier.
    pub(in crate::roles) vrid: u8,
    /// Its addresses.
    pub(in crate::roles) addresses: Vec<IpAddr>,
}

/// Runs the programs until SIGTERM, or until one of them ends by itself, which is an error. They are ready once they run.
pub(in crate::roles) fn supervise(
    programs: &[Program],
    watched: Vec<Watched>,
    reporter: Reporter,
) -> Result<(), Error> {
    let ready = reporter.clone();
    supervise_until_ready(programs, watched, reporter, move || ready.emit(What::Ready))
}

/// The same for programs that are ready later, which somebody else finds out from when on they are `started`.
pub(in crate::roles) fn supervise_until_ready(
    programs: &[Program],
    watched: Vec<Watched>,
    reporter: Reporter,
    started: impl FnOnce(),
) -> Result<(), Error> {
    let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    let system = |act| move |source| Error::System { act, source };
    mask.thread_block().map_err(system("watch for signals"))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&mask, flags).map_err(system("watch for signals"))?;
    let mut watch = Watch::open(watched, reporter)?;
    let mut running = Vec::with_capacity(programs.len());
    for program in programs {
        running.push((program, start(program)?));
    }
    let own = pids(&running);
    started();
    watch.look("it started")?;
    loop {
        wait(&signals, &watch, None).map_err(system("wait"))?;
        watch.look("the kernel says so")?;
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                return stop(&mut running, &signals, &mut watch);
            }
        }
        for (program, child) in &mut running {
            if let Ok(Some(status)) = child.try_wait() {
                let program = program.path.display().to_string();
                return Err(Error::Ended { program, how: status.to_string() });
            }
        }
        // What a program has left to itself, where this process has asked for that.
        process::reap_orphans(&own);
    }
}

fn start(program: &Program) -> Result<Child, Error> {
    let spawn = Spawn {
        program: program.path.as_os_str(),
        args: program.args.iter().map(OsStr::new).collect(),
        // Without somebody to speak for it, the daemon would take part unseen.
        die_with_parent: true,
        ..Spawn::own(&[])
    };
    spawn.start().map_err(|source| Error::Start { program: program.path.display().to_string(), source })
}

fn pids(running: &[(&Program, Child)]) -> Vec<i32> {
    running.iter().map(|(_, child)| child.id() as i32).collect()
}

/// The last to start is the first to stop.
fn stop(running: &mut [(&Program, Child)], signals: &SignalFd, watch: &mut Watch) -> Result<(), Error> {
    let deadline = clock::monotonic_ns() + STOP_MAX.as_nanos() as u64;
    let own = pids(running);
    for (program, child) in running.iter_mut().rev() {
        let _ = process::signal(child.id() as i32, Signal::SIGTERM);
        loop {
            if let Ok(Some(_)) = child.try_wait() {
                break;
            }
            let left = Duration::from_nanos(deadline.saturating_sub(clock::monotonic_ns()));
            if left.is_zero() {
                tracing::warn!("{} does not stop, so it is killed", program.path.display());
                let _ = child.kill();
                let _ = child.wait();
                break;
            }
            wait(signals, watch, Some(left)).map_err(|source| Error::System { act: "wait", source })?;
            while let Ok(Some(_)) = signals.read_signal() {}
            // Whoever stops may wait for them to be gone.
            process::reap_orphans(&own);
            watch.look("it was told to stop")?;
        }
    }
    watch.look("it was told to stop")?;
    watch.over();
    Ok(())
}

fn wait(signals: &SignalFd, watch: &Watch, within: Option<Duration>) -> Result<(), Errno> {
    let timeout =
        within.map_or(PollTimeout::NONE, |within| PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX));
    let mut ready = [signals.as_fd(), watch.notices.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    match poll(&mut ready, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// What the kernel says about the floating addresses, told to the holder as it changes.
struct Watch {
    notices: Netlink,
    tables: Netlink,
    reporter: Reporter,
    routers: Vec<(Watched, &'static str)>,
    held: BTreeSet<IpAddr>,
}

impl Watch {
    fn open(watched: Vec<Watched>, reporter: Reporter) -> Result<Self, Error> {
        let groups = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
        Ok(Self {
            notices: Netlink::open_groups(&groups)?,
            tables: Netlink::open()?,
            reporter,
            routers: watched.into_iter().map(|router| (router, "initialize")).collect(),
            held: BTreeSet::new(),
        })
    }

    /// Compares the kernel's tables with what was told last. That is also right after notices were lost.
    fn look(&mut self, because: &str) -> Result<(), Error> {
        let _ = self.notices.notices();
        let at_ns = clock::monotonic_ns();
        let present = present(&mut self.tables)?;
        let floating = self.routers.iter().flat_map(|(router, _)| &router.addresses);
        let held: BTreeSet<IpAddr> = floating.filter(|address| present.contains(address)).copied().collect();
        for address in held.difference(&self.held) {
            self.reporter.emit_at(at_ns, What::AddressAdded { address: *address });
        }
        for address in self.held.difference(&held) {
            self.reporter.emit_at(at_ns, What::AddressRemoved { address: *address });
        }
        for (router, state) in &mut self.routers {
            // The last address of a series to come is the end of becoming active.
            let now = if router.addresses.iter().all(|one| held.contains(one)) { "active" } else { "backup" };
            if now != *state {
                self.reporter.emit_at(at_ns, transition(router.vrid, state, now, because));
                *state = now;
            }
        }
        self.held = held;
        Ok(())
    }

    fn over(&mut self) {
        for (router, state) in &mut self.routers {
            self.reporter.emit(transition(router.vrid, state, "initialize", "it was told to stop"));
            *state = "initialize";
        }
    }
}

fn transition(vrid: u8, from: &str, to: &str, because: &str) -> What {
    What::VrrpState { vrid, from: from.to_owned(), to: to.to_owned(), because: because.to_owned() }
}

/// Every address of both families on a link that carries packets: some daemons leave the addresses on a link of their own
/// and take that down instead.
fn present(netlink: &mut Netlink) -> Result<BTreeSet<IpAddr>, netlink::Error> {
    let links = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let carrying: BTreeSet<u32> = links
        .into_iter()
        .filter_map(|link| match link {
            RouteNetlinkMessage::NewLink(link) => Some(link.header),
            _ => None,
        })
        .filter(|header| header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp))
        .map(|header| header.index)
        .collect();
    let addresses = netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let on_a_carrying_link = addresses.into_iter().filter_map(|address| match address {
        RouteNetlinkMessage::NewAddress(address) if carrying.contains(&address.header.index) => Some(address),
        _ => None,
    });
    let one = |address: AddressMessage| {
        address.attributes.into_iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(address),
            _ => None,
        })
    };
    Ok(on_a_carrying_link.filter_map(one).collect())
}
