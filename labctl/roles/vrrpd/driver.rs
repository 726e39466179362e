//! The daemon's loop: what comes in goes to the machine, what the machine says is done. Here is the only clock of the
//! election, and every log line about it.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Error;
use super::announcer::Announcer;
use super::complaints::Complaints;
use super::holdings::{Change, Holdings, Object, Place, WayOut, is_absence};
use super::lookout::{Heard, Lookout};
use super::settings::{Floating, Settings};
use crate::dataplane::gate::{Lease, Leases};
use crate::kernel::clock;
use crate::kernel::netlink::Netlink;
use crate::kernel::packet::{GroupSocket, Port, QUEUE_PACKETS_MAX};
use crate::kernel::realtime::{self, Alarm};
use crate::report::What;
use crate::roles::Reporter;
use crate::vrrp::{
    self, Action, Advert, ChecksumRule, DATAGRAM_BYTES_MAX, Expected, Input, Machine, PROTOCOL, Received,
    State,
};

/// What checksums cover: what the RFC says. The other rule is for a peer that never heard of it.
const CHECKSUM: ChecksumRule = ChecksumRule::MessageOnly;
/// Most packets handled before the timer gets its turn: all that can have waited when the loop woke. A flood, which goes
/// on while they are handled, cannot keep the timer waiting for ever.
const DRAIN_MAX: usize = QUEUE_PACKETS_MAX;

/// The daemon with everything it owns.
pub(super) struct Driver {
    settings: Settings,
    machine: Machine,
    reporter: Reporter,
    socket: GroupSocket,
    stop: SignalFd,
    alarm: Alarm,
    holdings: Holdings,
    leases: Option<Leases>,
    lookout: Lookout,
    announcer: Announcer,
    complaints: Complaints,
    /// What it says as the Active.
    ours: Advert,
    /// The two messages that it ever sends.
    advert: Vec<u8>,
    goodbye: Vec<u8>,
    buffer: Vec<u8>,
}

impl Driver {
    /// Opens everything, so that nothing is left to fail in an election.
    pub(super) fn open(settings: Settings, reporter: Reporter) -> Result<Self, Error> {
        let stop = stop_signals().map_err(|source| Error::System { act: "watch for SIGTERM", source })?;
        let alarm = Alarm::new().map_err(|source| Error::System { act: "open a timer", source })?;
        let mut netlink = Netlink::open()?;
        let port = Port::find(&mut netlink, settings.interface.as_str())?;
        let socket = GroupSocket::open(&port, settings.own, PROTOCOL, vrrp::GROUP, vrrp::TTL)?;
        let mut ports = Vec::with_capacity(settings.floating.len());
        for floating in &settings.floating {
            ports.push(Port::find(&mut netlink, floating.interface.as_str())?);
        }
        let place = |(floating, link): (&Floating, Port)| Place {
            address: floating.address.into(),
            prefix_len: floating.prefix_len,
            link,
            macvlan: None,
        };
        let places: Vec<Place> = settings.floating.iter().zip(ports).map(place).collect();
        let announcer = Announcer::open(&places)?;
        let mut ways_out = Vec::new();
        if let Some(gateway) = &settings.gateway {
            let device = Port::find(&mut netlink, gateway.interface.as_str())?;
            ways_out.push(WayOut { gateway: gateway.address.into(), device });
        }
        let holdings = Holdings::new(netlink, &places, &ways_out);
        let message =
            |priority| vrrp::encode(&settings.advert(priority), CHECKSUM, settings.own, vrrp::GROUP);
        Ok(Self {
            machine: Machine::new(settings.config()),
            reporter,
            socket,
            stop,
            alarm,
            holdings,
            leases: Leases::from_env()?,
            lookout: Lookout::open()?,
            announcer,
            complaints: Complaints::default(),
            ours: settings.advert(settings.priority.get()),
            advert: message(settings.priority.get()),
            goodbye: message(0),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
            settings,
        })
    }

    /// Takes part until told to stop.
    pub(super) fn run(mut self) -> Result<(), Error> {
        if let Err(errno) = realtime::run_first() {
            tracing::warn!(
                "runs like any other process, so a busy machine can make it late: SCHED_FIFO: {errno}"
            );
        }
        if let Err(errno) = realtime::stay_in_memory() {
            tracing::warn!("may be paged out: mlockall: {errno}");
        }
        let ended = self.take_part();
        if ended.is_err() && self.machine.state() == State::Active {
            // It can no longer be the Active; the heir need not wait for silence.
            let _ = self.socket.send(&self.goodbye);
        }
        ended
    }

    fn take_part(&mut self) -> Result<(), Error> {
        // A run that was killed leaves its addresses behind, and two holders with it.
        self.release()?;
        self.feed(Input::Startup)?;
        self.reporter.emit(What::Ready);
        while !self.wait()? {
            self.turn(now())?;
        }
        self.feed(Input::Shutdown)
    }

    /// Handles all that had happened when the loop woke. A timer is due by that time and not by a later one: an advert
    /// that came after the queue was emptied must not be overtaken by the timer that it would have moved.
    fn turn(&mut self, woke: Duration) -> Result<(), Error> {
        self.receive()?;
        self.listen(woke)?;
        self.expire(woke)
    }

    /// Sleeps until something happens. True if that is the signal to stop.
    fn wait(&mut self) -> Result<bool, Error> {
        let deadline = [self.machine.deadline(), self.announcer.deadline(), self.lookout.deadline()];
        let deadline = deadline.into_iter().flatten().min();
        self.alarm.set(deadline).map_err(|source| Error::System { act: "set a timer", source })?;
        let mut ready = [self.stop.as_fd(), self.socket.as_fd(), self.alarm.as_fd(), self.lookout.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) => Ok(ready[0].any().unwrap_or(false)),
            Err(Errno::EINTR) => Ok(false),
            Err(source) => Err(Error::System { act: "wait", source }),
        }
    }

    /// Handles all packets that wait. This comes before the timer: a loop that woke late must not conclude from its own
    /// lateness that the Active is gone, while that one's adverts are in the queue.
    fn receive(&mut self) -> Result<(), Error> {
        let expected = Expected { vrid: self.settings.vrid, checksum: CHECKSUM, own: self.settings.own };
        for _ in 0..DRAIN_MAX {
            let len = match self.socket.receive(&mut self.buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.complain("receive", || format!("cannot receive: {error}"));
                    break;
                }
            };
            match vrrp::decode(&self.buffer[..len], &expected) {
                Ok(received) => {
                    self.compare(&received);
                    let advert = received.advert;
                    let (priority, interval) = (advert.priority, advert.interval);
                    self.feed(Input::Advert { from: received.from.into(), priority, interval })?;
                }
                Err(rejection) => self.complain(rejection.kind(), || format!("packet dropped: {rejection}")),
            }
        }
        Ok(())
    }

    /// Tells of a peer that is configured differently; its adverts count all the same (RFC 9568 section 7.1).
    fn compare(&mut self, Received { from, advert }: &Received) {
        let ours = &self.ours;
        let differences = [
            (advert.interval != ours.interval, "interval-differs"),
            (advert.addresses != ours.addresses, "addresses-differ"),
            (advert.priority == u8::MAX && ours.priority == u8::MAX, "two-owners"),
        ];
        for (_, kind) in differences.into_iter().filter(|&(differs, _)| differs) {
            if let Some(count) = self.complaints.count(kind, now()) {
                tracing::warn!(
                    "{kind}: {from} says {advert}; this router says {ours} ({count} of this kind so far)"
                );
            }
        }
    }

    /// Hears what changed in the kernel. That matters to the holder alone.
    fn listen(&mut self, woke: Duration) -> Result<(), Error> {
        let heard = self.lookout.hear()?;
        if heard.anything && self.machine.state() == State::Active {
            self.lookout.wish(heard, woke);
        }
        Ok(())
    }

    /// Handles the timers that were due at that time.
    fn expire(&mut self, woke: Duration) -> Result<(), Error> {
        if self.machine.deadline().is_some_and(|at| at <= woke) {
            self.feed(Input::TimerExpired)?;
        }
        if let Some(heard) = self.lookout.round(woke) {
            self.put_back(heard)?;
        }
        self.announce();
        Ok(())
    }

    /// Sees to it that the holder has what it holds: a link that goes down takes the default route along, and a person
    /// may take away anything. Says so to the neighbours if they may have missed something.
    fn put_back(&mut self, heard: Heard) -> Result<(), Error> {
        let mut gone = Vec::new();
        for Change { object, result } in self.holdings.put_back()? {
            match result {
                Ok(()) => {
                    gone.push(object.to_string());
                    if let Object::Address(IpAddr::V4(address)) = object {
                        self.reporter.emit(What::AddressAdded { address });
                    }
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => self.complain("put-back", || format!("cannot put back {object}: {errno}")),
            }
        }
        if !gone.is_empty() {
            tracing::warn!("put back what was gone: {}", gone.join(", "));
        }
        if !gone.is_empty() || heard.link_up {
            self.announcer.start(now());
        }
        Ok(())
    }

    fn feed(&mut self, input: Input) -> Result<(), Error> {
        let at = now();
        for action in self.machine.handle(input, at) {
            match action {
                Action::SendAdvert { priority } => self.advertise(priority),
                Action::Probe | Action::Lease { .. } | Action::Hush => {}
                Action::TakeAddresses => self.take()?,
                Action::ReleaseAddresses => self.release()?,
                Action::Announce if self.announcer.is_busy() => {}
                Action::Announce => {
                    self.announcer.start(now());
                    self.announce();
                }
                Action::Transition { from, to, because } => {
                    tracing::info!("{from} -> {to}, because {because}");
                    // Decided then, even though what follows from it is already done.
                    self.reporter.emit_at(
                        nanoseconds(at),
                        What::VrrpState {
                            vrid: self.settings.vrid.get(),
                            from: from.to_string(),
                            to: to.to_string(),
                            because: because.to_string(),
                        },
                    );
                }
            }
        }
        Ok(())
    }

    fn advertise(&mut self, priority: u8) {
        let message = if priority == 0 { &self.goodbye } else { &self.advert };
        if let Err(error) = self.socket.send(message) {
            self.complain("send", || format!("cannot send an advert: {error}"));
        }
    }

    /// Addresses and announcement first, for each is an end to the outage; then the holder's way out. Events are
    /// emitted last, with the time at which each thing was done.
    fn take(&mut self) -> Result<(), Error> {
        self.lease(Lease::FOR_EVER)?;
        let added = self.holdings.add_addresses()?;
        let added_at = nanoseconds(now());
        self.announcer.start(now());
        let announced = self.announcer.send_due(now());
        let announced_at = nanoseconds(now());
        let routed = self.holdings.add_routes()?;
        for Change { object, result } in added.into_iter().chain(routed) {
            match (object, result) {
                (Object::Address(IpAddr::V4(address)), Ok(())) => {
                    self.reporter.emit_at(added_at, What::AddressAdded { address });
                }
                (_, Ok(())) => {}
                (object, Err(errno)) => tracing::error!("cannot add {object}: {errno}"),
            }
        }
        for (address, sent) in announced {
            match (address, sent) {
                (IpAddr::V4(address), Ok(())) => {
                    self.reporter.emit_at(announced_at, What::Announced { address });
                }
                (_, Ok(())) => {}
                (_, Err(error)) => {
                    self.complain("announce", || format!("cannot announce {address}: {error}"))
                }
            }
        }
        Ok(())
    }

    fn lease(&mut self, lease: Lease) -> Result<(), Error> {
        for floating in &self.settings.floating {
            if let Some(leases) = &mut self.leases {
                leases.set(floating.address.into(), lease)?;
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), Error> {
        self.lease(Lease::NONE)?;
        self.announcer.stop();
        self.lookout.forget();
        let removed = self.holdings.remove()?;
        let removed_at = nanoseconds(now());
        for Change { object, result } in removed {
            match (object, result) {
                (Object::Address(IpAddr::V4(address)), Ok(())) => {
                    self.reporter.emit_at(removed_at, What::AddressRemoved { address });
                }
                (_, Ok(())) => {}
                (_, Err(errno)) if is_absence(errno) => {}
                (object, Err(errno)) => tracing::error!("cannot remove {object}: {errno}"),
            }
        }
        Ok(())
    }

    /// Sends what the series of announcements has for now.
    fn announce(&mut self) {
        for (address, sent) in self.announcer.send_due(now()) {
            if let Err(error) = sent {
                self.complain("announce", || format!("cannot announce {address}: {error}"));
            }
        }
    }

    fn complain(&mut self, kind: &'static str, words: impl FnOnce() -> String) {
        if let Some(count) = self.complaints.count(kind, now()) {
            tracing::warn!("{} ({count} of this kind so far)", words());
        }
    }
}

/// A descriptor for the signals that end the daemon. They are blocked for good: from here on they are input.
fn stop_signals() -> Result<SignalFd, Errno> {
    let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn now() -> Duration {
    Duration::from_nanos(clock::monotonic_ns())
}

fn nanoseconds(at: Duration) -> u64 {
    // Since boot, so the next 584 years fit.
    at.as_nanos() as u64
}

#[cfg(test)]
mod tests;
