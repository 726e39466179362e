//! One virtual router in one address family at work: its machine, its socket, what it holds, and what it remembers for
//! whoever asks. It carries out what its machine says, and knows nothing of the other instances.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;

use super::Error;
use super::account::{PeerAccount, RouterAccount, TransitionAccount};
use super::announcer::Announcer;
use super::common::{Common, NoLease, nanoseconds, now};
use super::holdings::{Change, Holdings, Object, is_absence};
use super::lookout::{Heard, Lookout};
use super::settings::Router;
use crate::dataplane::gate::Lease;
use crate::kernel::packet::Port;
use crate::kernel::protocol::ProtocolSocket;
use crate::report::What;
use crate::vrrp::{
    self, Action, Advert, Envelope, Expected, Input, Links, Machine, NewerPeers, Received, State,
};

/// Transitions that are remembered: enough to see a flapping election, and a screen of `labctl explain`.
const HISTORY_MAX: usize = 16;
/// Other routers that are remembered. An election has a handful; a flood of invented senders must not make this grow.
const PEERS_MAX: usize = 32;

/// One instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) router: Router,
    pub(super) machine: Machine,
    pub(super) socket: ProtocolSocket,
    own: IpAddr,
    expected: Expected,
    holdings: Holdings,
    announcer: Announcer,
    newer: NewerPeers,
    links: Option<Links>,
    /// The state that others were told of.
    told: State,
    /// The addresses are in the kernel.
    holds: bool,
    /// The addresses are no longer answered for.
    hushed: bool,
    leased_until: Option<Duration>,
    peers: BTreeMap<IpAddr, PeerAccount>,
    history: VecDeque<TransitionAccount>,
}

/// What follows from what an instance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Its probes have left.
    Probed,
    /// It was too late to open or renew its lease. The process stood still just then; somebody may have asked for the
    /// addresses in the meantime, and taken them.
    LeaseRefused,
    /// It became Active.
    Took,
    /// It is Active no more.
    Released,
}

/// What a socket had.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nothing more for now.
    Nothing,
    /// A packet that changes nothing here.
    Ignored,
    /// An advertisement that counts.
    Advert(Input),
}

impl Instance {
    /// Puts its parts together; `own` is the address that the socket sends from.
    pub(super) fn new(
        router: Router,
        own: IpAddr,
        socket: ProtocolSocket,
        holdings: Holdings,
        announcer: Announcer,
    ) -> Self {
        Self {
            machine: Machine::new(router.config(own)),
            expected: router.expected(own),
            router,
            socket,
            own,
            holdings,
            announcer,
            newer: NewerPeers::default(),
            links: None,
            told: State::Initialize,
            holds: false,
            hushed: false,
            leased_until: None,
            peers: BTreeMap::new(),
            history: VecDeque::new(),
        }
    }

    /// Whether it has its role no more and its addresses no more.
    pub(super) fn is_done(&self) -> bool {
        self.machine.state() == State::Initialize && !self.holds
    }

    /// When it wants [`Self::expire`]: for its machine, or for the next announcement.
    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.machine.deadline(), self.announcer.deadline()].into_iter().flatten().min()
    }

    /// Lets the machine handle an input, and does what it says.
    pub(super) fn feed(&mut self, input: Input, common: &mut Common) -> Result<Vec<After>, Error> {
        let at = now();
        let mut after = Vec::new();
        for action in self.machine.handle(input, at) {
            match action {
                Action::SendAdvert { priority } => self.advertise(priority, common),
                Action::Probe if common.probe(self.router.addresses()) => after.push(After::Probed),
                Action::Probe => {}
                Action::Grant { until, by } if self.grant(until, by, common) => {}
                Action::Grant { .. } => {
                    after.push(After::LeaseRefused);
                    break;
                }
                Action::Lease { until } if self.renew(until, common) => {}
                Action::Lease { .. } => after.push(After::LeaseRefused),
                Action::Hush => self.hush(common)?,
                Action::TakeAddresses => self.take(common)?,
                Action::ReleaseAddresses => self.release(common)?,
                Action::Announce if self.announcer.is_busy() => {}
                Action::Announce => {
                    self.announcer.start(now());
                    self.announce(common);
                }
                Action::Transition { to, because, .. } => {
                    after.extend(self.change(to, because.to_string(), at, common));
                }
            }
        }
        Ok(after)
    }

    /// Tells of another state. Nobody heard of an Active whose lease was refused, so nobody hears that it ceased to be one.
    fn change(&mut self, to: State, because: String, at: Duration, common: &mut Common) -> Option<After> {
        let from = std::mem::replace(&mut self.told, to);
        if from == to {
            return None;
        }
        self.note(from, to, because, at, common);
        match (from, to) {
            (_, State::Active) => Some(After::Took),
            (State::Active, _) => Some(After::Released),
            _ => None,
        }
    }

    /// The links, if they are news to it.
    pub(super) fn relink(&mut self, links: Links) -> Option<Input> {
        (self.links.replace(links) != Some(links)).then_some(Input::Links(links))
    }

    /// The interfaces of its addresses, as they are named in the site.
    pub(super) fn homes(&self) -> impl Iterator<Item = &str> {
        self.router.floating.iter().map(|floating| floating.interface.as_str())
    }

    /// The macvlans that its addresses live on.
    pub(super) fn macvlans(&self) -> &[Port] {
        self.holdings.macvlans()
    }

    /// Whether another router asks for its addresses, and goes first. One address decides that, the same on both: with an
    /// address on each of two links, each of two routers may have the lower hardware address on one.
    pub(super) fn rival(&self, asked: &BTreeMap<IpAddr, bool>) -> Option<Input> {
        rival(&self.expected.addresses, asked).map(|first| Input::Rival { first })
    }

    /// Whether the address is one of its own.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.expected.addresses.contains(&address)
    }

    /// Takes the next packet from its socket. `elsewhere` says whether another instance will answer for a VRID.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        elsewhere: impl FnOnce(u8) -> bool,
        common: &mut Common,
    ) -> Taken {
        let datagram = match self.socket.receive(buffer) {
            Ok(datagram) => datagram,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Taken::Nothing,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                common.complain("malformed", format!("{}: packet dropped: {error}", self.router));
                return Taken::Ignored;
            }
            Err(error) => {
                common.complain("receive", format!("{}: cannot receive: {error}", self.router));
                return Taken::Nothing;
            }
        };
        let envelope = Envelope {
            source: datagram.source,
            destination: datagram.destination,
            ttl: datagram.ttl,
            message: &buffer[datagram.message],
        };
        if envelope.vrid().is_some_and(|vrid| vrid != self.router.vrid.get() && elsewhere(vrid)) {
            return Taken::Ignored;
        }
        match vrrp::decode(&envelope, &self.expected) {
            Ok(received) if !self.has_member(&received.from) => {
                // It may be a member after all, which somebody forgot in the file or gave another address.
                self.compare(&received, common);
                let Received { from, advert } = received;
                let example =
                    format!("{}: packet dropped: {from} is not a peer, and says {advert}", self.router);
                common.complain("stranger", example);
                Taken::Ignored
            }
            Ok(received) => self.admit(received, common),
            Err(rejection) => {
                let example =
                    format!("{}: packet from {} dropped: {rejection}", self.router, envelope.source);
                common.complain(rejection.kind(), example);
                Taken::Ignored
            }
        }
    }

    fn has_member(&self, sender: &IpAddr) -> bool {
        self.router.members.as_ref().is_none_or(|members| members.contains(sender))
    }

    fn admit(&mut self, received: Received, common: &mut Common) -> Taken {
        if !self.newer.admit(&received, now()) {
            return Taken::Ignored;
        }
        self.compare(&received, common);
        self.remember(&received);
        let Received { from, advert: Advert { priority, interval, .. } } = received;
        Taken::Advert(Input::Advert { from, priority, interval })
    }

    /// Tells of a peer that is configured differently; its adverts count all the same (RFC 9568 section 7.1).
    fn compare(&self, Received { from, advert }: &Received, common: &mut Common) {
        let owner = self.router.priority.get() == u8::MAX;
        let differences = [
            (advert.interval != self.router.interval, "interval-differs"),
            (!advert.lists(&self.expected.addresses), "addresses-differ"),
            (advert.priority == u8::MAX && owner, "two-owners"),
        ];
        for (_, kind) in differences.into_iter().filter(|&(differs, _)| differs) {
            let ours = self.router.advert(advert.version, self.router.priority.get());
            common.complain(kind, format!("{kind}: {from} says {advert}; this router says {ours}"));
        }
    }

    fn remember(&mut self, Received { from, advert }: &Received) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(from) {
            let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.at_ns).map(|(&address, _)| address);
            oldest.and_then(|address| self.peers.remove(&address));
        }
        let adverts = self.peers.get(from).map_or(0, |peer| peer.adverts);
        let peer = PeerAccount {
            at_ns: nanoseconds(now()),
            adverts: adverts + 1,
            version: advert.version.to_string(),
            priority: advert.priority,
            interval_ms: milliseconds(advert.interval.duration()),
            addresses: advert.addresses.clone(),
        };
        self.peers.insert(*from, peer);
    }

    /// Handles its timers that were due at that time.
    pub(super) fn expire(&mut self, woke: Duration, common: &mut Common) -> Result<Vec<After>, Error> {
        let due = self.machine.deadline().is_some_and(|at| at <= woke);
        let after = if due { self.feed(Input::TimerExpired, common)? } else { Vec::new() };
        self.announce(common);
        Ok(after)
    }

    /// Sees to it that the holder has what it holds: a link that goes down takes the default route along, and a person
    /// may take away anything. Says so to the neighbours if they may have missed something.
    pub(super) fn put_back(
        &mut self,
        heard: Heard,
        lookout: &Lookout,
        common: &mut Common,
    ) -> Result<(), Error> {
        if !self.holds {
            return Ok(());
        }
        let mut gone = Vec::new();
        for Change { object, result } in self.holdings.put_back(|port| lookout.is_down(port))? {
            match result {
                Ok(()) => {
                    gone.push(object.to_string());
                    if let Object::Address(address) = object {
                        common.reporter.emit(What::AddressAdded { address });
                    }
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => {
                    common.complain("put-back", format!("{}: cannot put back {object}: {errno}", self.router))
                }
            }
        }
        if !gone.is_empty() {
            tracing::warn!("{}: put back what was gone: {}", self.router, gone.join(", "));
        }
        if !self.hushed && (!gone.is_empty() || heard.link_up) {
            self.announcer.start(now());
        }
        Ok(())
    }

    /// Says it in every version that is spoken here.
    fn advertise(&mut self, priority: u8, common: &mut Common) {
        for version in self.router.versions.sent(self.router.family) {
            let advert = self.router.advert(version, priority);
            for &to in self.socket.destinations() {
                let message = vrrp::encode(&advert, self.router.checksum, self.own, to);
                if let Err(error) = self.socket.send(to, &message) {
                    common
                        .complain("send", format!("{}: cannot send an advert to {to}: {error}", self.router));
                }
            }
        }
    }

    /// Opens the lease. False if that was too late, or is not possible.
    fn grant(&mut self, until: Duration, by: Duration, common: &mut Common) -> bool {
        if now() > by {
            return false;
        }
        match self.lease(until, common) {
            Ok(()) => self.was_in_time(by, common),
            Err(NoLease::Refused) => false,
            Err(NoLease::NoGate) => {
                common.complain("lease", format!("{}: there is no gate to open", self.router));
                false
            }
        }
    }

    /// Renews the open lease. False if there is none any more. What the kernel did not take is tried again with the next
    /// renewal, for as long as the lease runs.
    fn renew(&mut self, until: Duration, common: &mut Common) -> bool {
        let Some(open_until) = self.leased_until.filter(|open_until| now() < *open_until) else {
            return false;
        };
        match self.lease(until, common) {
            Ok(()) => self.was_in_time(open_until, common),
            Err(NoLease::Refused) => true,
            Err(NoLease::NoGate) => false,
        }
    }

    fn lease(&mut self, until: Duration, common: &mut Common) -> Result<(), NoLease> {
        let answers_until = if self.hushed { Duration::ZERO } else { until };
        common.lease(self.router.addresses(), Lease { answers_until, passes_until: until })?;
        self.leased_until = Some(until);
        Ok(())
    }

    /// Looks at the clock again once a lease is written: the process may have been stopped since it last looked. A lease
    /// that came too late ends at once, and not when it would run out.
    fn was_in_time(&mut self, by: Duration, common: &mut Common) -> bool {
        if now() <= by {
            return true;
        }
        self.leased_until = None;
        // What cannot be written was complained of.
        let _ = common.lease(self.router.addresses(), Lease::NONE);
        false
    }

    /// Where there is no gate, or it does not obey, it cannot serve without answering, so it ceases to do both: an heir that hears an answer
    /// does not take. That costs the few packets which the gate would have let pass.
    fn hush(&mut self, common: &mut Common) -> Result<(), Error> {
        self.hushed = true;
        self.announcer.stop();
        let passes_until = if self.router.leases() {
            self.leased_until.unwrap_or_default()
        } else {
            Lease::FOR_EVER.passes_until
        };
        let lease = Lease { answers_until: Duration::ZERO, passes_until };
        match common.lease(self.router.addresses(), lease) {
            Ok(()) => Ok(()),
            Err(NoLease::NoGate | NoLease::Refused) => self.release(common),
        }
    }

    /// Addresses and announcement first, for each is an end to the outage; then the holder's way out. Events are
    /// emitted last, with the time at which each thing was done.
    fn take(&mut self, common: &mut Common) -> Result<(), Error> {
        (self.holds, self.hushed) = (true, false);
        if !self.router.leases() {
            // Without a gate they live anyway; what the kernel did not take was complained of.
            let _ = common.lease(self.router.addresses(), Lease::FOR_EVER);
        }
        let added = self.holdings.add_addresses()?;
        let added_at = nanoseconds(now());
        self.announcer.start(now());
        let announced = self.announcer.send_due(now());
        let announced_at = nanoseconds(now());
        let routed = self.holdings.add_routes()?;
        for Change { object, result } in added.into_iter().chain(routed) {
            match (object, result) {
                (Object::Address(address), Ok(())) => {
                    common.reporter.emit_at(added_at, What::AddressAdded { address })
                }
                (_, Ok(())) => {}
                (object, Err(errno)) => tracing::error!("{}: cannot add {object}: {errno}", self.router),
            }
        }
        for (address, sent) in announced {
            match sent {
                Ok(()) => common.reporter.emit_at(announced_at, What::Announced { address }),
                Err(error) => common.complain("announce", format!("cannot announce {address}: {error}")),
            }
        }
        Ok(())
    }

    /// Falls silent first, then removes what it holds. There may be something to remove without that it took anything: a
    /// run that was killed leaves its addresses behind.
    pub(super) fn release(&mut self, common: &mut Common) -> Result<(), Error> {
        self.announcer.stop();
        self.leased_until = None;
        // Without a gate, or with one that does not obey, they live until they are removed.
        let _ = common.lease(self.router.addresses(), Lease::NONE);
        let removed = self.holdings.remove()?;
        (self.holds, self.hushed) = (false, false);
        let removed_at = nanoseconds(now());
        for Change { object, result } in removed {
            match (object, result) {
                (Object::Address(address), Ok(())) => {
                    common.reporter.emit_at(removed_at, What::AddressRemoved { address })
                }
                (_, Ok(())) => {}
                (_, Err(errno)) if is_absence(errno) => {}
                (object, Err(errno)) => tracing::error!("{}: cannot remove {object}: {errno}", self.router),
            }
        }
        Ok(())
    }

    /// Gives up without waiting for an heir. Nothing is left to be done if that fails.
    pub(super) fn abandon(&mut self, common: &mut Common) {
        if self.machine.state() == State::Active {
            self.advertise(0, common);
        }
        if self.holds
            && let Err(error) = self.release(common)
        {
            tracing::error!("{}: {}", self.router, crate::roles::described(&error));
        }
    }

    /// Sends what the announcements have for now.
    fn announce(&mut self, common: &mut Common) {
        for (address, sent) in self.announcer.send_due(now()) {
            if let Err(error) = sent {
                common.complain("announce", format!("cannot announce {address}: {error}"));
            }
        }
    }

    /// Tells of a transition, and remembers it. It was decided then, even though what follows from it is already done.
    fn note(&mut self, from: State, to: State, because: String, at: Duration, common: &mut Common) {
        tracing::info!("{}: {from} -> {to}, because {because}", self.router);
        let (at_ns, from, to) = (nanoseconds(at), from.to_string(), to.to_string());
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(TransitionAccount {
            at_ns,
            from: from.clone(),
            to: to.clone(),
            because: because.clone(),
        });
        let vrid = self.router.vrid.get();
        common.reporter.emit_at(at_ns, What::VrrpState { vrid, from, to, because });
    }

    /// All that is to be known of it.
    pub(super) fn account(&self) -> RouterAccount {
        let router = &self.router;
        RouterAccount {
            vrid: router.vrid.get(),
            family: router.family.to_string(),
            state: self.machine.state().to_string(),
            history: self.history.iter().cloned().collect(),
            degraded: self.machine.degraded().map(|degraded| degraded.to_string()),
            priority: router.priority.get(),
            effective_priority: self.machine.effective_priority(),
            interval_ms: milliseconds(router.interval.duration()),
            version: router.versions.to_string(),
            checksum: match router.checksum {
                vrrp::ChecksumRule::MessageOnly => "message",
                vrrp::ChecksumRule::PseudoHeader => "pseudo-header",
            }
            .to_owned(),
            preempt: router.preempt,
            own: self.own,
            addresses: self.expected.addresses.clone(),
            peers: self.peers.clone(),
            lease_until_ns: self.leased_until.map(nanoseconds),
        }
    }
}

/// Whether one of its own addresses was asked for, and whether the rival that asked goes first.
fn rival(own: &[IpAddr], asked: &BTreeMap<IpAddr, bool>) -> Option<bool> {
    let judge = own.iter().min()?;
    let concerned = own.iter().any(|address| asked.contains_key(address));
    concerned.then(|| asked.get(judge).copied().unwrap_or(false))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_rivals_with_a_lower_hardware_address_each_on_one_link_just_one_goes_first() {
        let [front, back, other]: [IpAddr; 3] =
            ["203.0.113.10", "10.10.1.1", "10.10.1.2"].map(|address| address.parse().unwrap());
        let first = |asked: &[(IpAddr, bool)]| rival(&[front, back], &asked.iter().copied().collect());
        // What each of the two hears of the other.
        assert_eq!(first(&[(front, true), (back, false)]), Some(false));
        assert_eq!(first(&[(front, false), (back, true)]), Some(true));
        // The frames of one round may come in two turns.
        assert_eq!(first(&[(front, true)]), Some(false));
        assert_eq!(first(&[(other, true)]), None);
    }
}
