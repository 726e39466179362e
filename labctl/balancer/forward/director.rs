//! A director: its services, its connections, and the way of a frame through it. How a frame is read and what a forwarding
//! method does to it is said elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::{
    Conflict, Endpoint, Flow, Method, Protocol, Schedule, Scheduler, Service, Usage, check_together,
};
use super::counters::{Counters, Left};
use super::flows::{Key, Tables};
use super::frame::{self, Error, Ip, Read, Segment, Stage};
use super::nat::{self, Side};
use super::{Interface, MTU_MIN, Settings, Verdict, dr, icmp, tun};

/// A director with everything it remembers.
#[derive(Clone, Debug)]
pub struct Director {
    settings: Settings,
    active: bool,
    services: BTreeMap<Endpoint, Balanced>,
    /// By service and real server.
    posts: BTreeMap<(Endpoint, Endpoint), Post>,
    /// In `nat`, the one service that a real server's port answers for.
    answers_for: BTreeMap<Endpoint, Endpoint>,
    connections: Tables,
    fresh: Vec<Flow>,
    counters: Counters,
}

#[derive(Clone, Debug)]
struct Balanced {
    service: Service,
    schedule: Schedule,
    turn: u32,
}

/// A real server in the service of one virtual service.
#[derive(Clone, Copy, Debug)]
struct Post {
    takes_new: bool,
    usage: Usage,
}

/// What becomes of a frame, or why it is left to the kernel.
type Outcome = Result<(Vec<u8>, Verdict), Left>;

/// How packets of a service get to its real servers.
#[derive(Clone, Copy, Debug)]
enum Way {
    Nat,
    Dr,
    /// From this address.
    Tun(IpAddr),
}

impl Director {
    /// A director without services, not active.
    ///
    /// # Panics
    /// If an interface has an MTU below [`MTU_MIN`].
    pub fn new(settings: Settings) -> Self {
        let Settings { front, back, .. } = settings;
        assert!(front.mtu >= MTU_MIN && back.mtu >= MTU_MIN, "an MTU below {MTU_MIN}");
        Self {
            settings,
            active: false,
            services: BTreeMap::new(),
            posts: BTreeMap::new(),
            answers_for: BTreeMap::new(),
            connections: Tables::default(),
            fresh: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Says whether this director holds the virtual addresses. One that does not leaves everything to the kernel.
    pub fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    /// Balances these services from now on. Connections keep their real servers, real servers that stay keep their usage, and
    /// a service that is as it was keeps its place in the round.
    pub fn install(&mut self, services: &[Service]) -> Result<(), Conflict> {
        check_together(services)?;
        let mut services_before = std::mem::take(&mut self.services);
        let posts_before = std::mem::take(&mut self.posts);
        self.answers_for.clear();
        for service in services {
            for real in &service.reals {
                let place = (service.address, real.endpoint);
                let usage = posts_before.get(&place).map(|post| post.usage).unwrap_or_default();
                self.posts.insert(place, Post { takes_new: real.takes_new(), usage });
                if service.method == Method::Nat {
                    self.answers_for.insert(real.endpoint, service.address);
                }
            }
            let kept = services_before.remove(&service.address);
            let kept = kept.filter(|balanced| &balanced.service == service);
            let balanced = kept.unwrap_or_else(|| Balanced {
                service: service.clone(),
                schedule: Schedule::new(service.scheduler, &service.reals),
                turn: 0,
            });
            self.services.insert(service.address, balanced);
        }
        Ok(())
    }

    /// A frame that came in by the front.
    pub fn from_street(&mut self, frame: &[u8]) -> (Vec<u8>, Verdict) {
        let outcome = match self.read(frame, self.settings.front) {
            Read::Segment(segment) => self.request(frame, &segment),
            Read::Error(error) => self.error_to_real(frame, &error),
            Read::Fragment => Err(Left::Fragment),
            Read::Other => Err(Left::NotOurs),
        };
        self.concluded(frame, outcome)
    }

    /// A frame that came in by the back.
    pub fn from_reals(&mut self, frame: &[u8]) -> (Vec<u8>, Verdict) {
        let outcome = match self.read(frame, self.settings.back) {
            Read::Segment(segment) => self.answer(frame, &segment),
            Read::Error(error) => self.error_to_client(frame, &error),
            Read::Fragment => Err(Left::Fragment),
            Read::Other => Err(Left::NotOurs),
        };
        self.concluded(frame, outcome)
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What each real server did for each service, by service and real server.
    pub fn usage(&self) -> BTreeMap<(Endpoint, Endpoint), Usage> {
        self.posts.iter().map(|(place, post)| (*place, post.usage)).collect()
    }

    /// All connections that were seen to be more than a SYN, in order.
    pub fn flows(&self) -> Vec<Flow> {
        self.connections.flows()
    }

    /// Those that came to be since the last call: what another director is to be told.
    pub fn fresh_flows(&mut self) -> Vec<Flow> {
        std::mem::take(&mut self.fresh)
    }

    /// Enters flows that another director tells of, and returns how many. What it does not balance it ignores; and while it
    /// is active, what it has seen itself is newer than what it is told.
    pub fn adopt(&mut self, flows: &[Flow]) -> usize {
        let mut entered = 0;
        for flow in flows {
            let key = Key { client: flow.client, service: flow.service };
            let is_news = match self.connections.get(&key) {
                Some(entry) => !self.active && entry.real != flow.real,
                None => true,
            };
            if !is_news || !self.posts.contains_key(&(flow.service, flow.real)) {
                continue;
            }
            self.forget(key);
            self.enter(key, flow.real);
            entered += 1;
        }
        entered
    }

    fn read(&self, frame: &[u8], interface: Interface) -> Read {
        if self.active { frame::read(frame, interface.mac) } else { Read::Other }
    }

    fn concluded(&mut self, frame: &[u8], outcome: Outcome) -> (Vec<u8>, Verdict) {
        outcome.unwrap_or_else(|left| {
            self.counters.leave(left);
            (frame.to_vec(), Verdict::Kernel)
        })
    }

    /// What a client sends to a service.
    fn request(&mut self, frame: &[u8], segment: &Segment) -> Outcome {
        let (service, ip) = (segment.destination, &segment.ip);
        let (way, mtu) = self.way_to(service, ip)?;
        if !fits(ip, mtu)? {
            return Ok(self.too_big(frame, ip, service, mtu));
        }
        let key = Key { client: segment.source.into(), service };
        let real = self.kept(key, segment).or_else(|| self.chosen(key, segment)).ok_or(Left::NoReal)?;
        self.count_to_real(service, real, ip);
        let frame = match way {
            Way::Nat => nat::rewritten(frame, segment, Side::Destination, real),
            Way::Dr => dr::passed_on(frame, ip),
            Way::Tun(from) => tun::encapsulated(frame, ip, from, real.address),
        };
        Ok((frame, Verdict::ToReal(real.address)))
    }

    /// What a router or a client says about a packet that it had from a service: to the real server that sent it.
    fn error_to_real(&mut self, frame: &[u8], error: &Error) -> Outcome {
        let (service, ip) = (error.about_source, &error.ip);
        let (way, mtu) = self.way_to(service, ip)?;
        fits_or_is_lost(ip, mtu)?;
        let key = Key { client: error.about_destination.into(), service };
        let kept = self.connections.get(&key).map(|entry| entry.real);
        let kept = kept.filter(|real| self.posts.contains_key(&(service, *real)));
        let real = kept.or_else(|| self.by_source(&key)).ok_or(Left::NoReal)?;
        self.counters.errors += 1;
        self.count_to_real(service, real, ip);
        let frame = match way {
            Way::Nat => nat::rewritten_error(frame, error, Side::Source, real),
            Way::Dr => dr::passed_on(frame, ip),
            Way::Tun(from) => tun::encapsulated(frame, ip, from, real.address),
        };
        Ok((frame, Verdict::ToReal(real.address)))
    }

    /// What a real server answers.
    fn answer(&mut self, frame: &[u8], segment: &Segment) -> Outcome {
        let (real, ip, mtu) = (segment.source, &segment.ip, self.settings.front.mtu);
        let service = self.answered_by(real, ip)?;
        if !fits(ip, mtu)? {
            return Ok(self.too_big(frame, ip, service, mtu));
        }
        self.count_to_client(service, real, ip);
        Ok((nat::rewritten(frame, segment, Side::Source, service), Verdict::ToClient))
    }

    /// What a real server or a router before it says about a packet from a client.
    fn error_to_client(&mut self, frame: &[u8], error: &Error) -> Outcome {
        let (real, ip) = (error.about_destination, &error.ip);
        let service = self.answered_by(real, ip)?;
        fits_or_is_lost(ip, self.settings.front.mtu)?;
        self.counters.errors += 1;
        self.count_to_client(service, real, ip);
        let frame = nat::rewritten_error(frame, error, Side::Destination, service);
        Ok((frame, Verdict::ToClient))
    }

    /// How a packet gets to the real servers of a service, and how long it may be.
    fn way_to(&self, service: Endpoint, ip: &Ip) -> Result<(Way, u16), Left> {
        let method = self.services.get(&service).ok_or(Left::NotOurs)?.service.method;
        if ip.ttl <= 1 {
            return Err(Left::TtlEnded);
        }
        let mtu = self.settings.back.mtu;
        let (tunnel_from, overhead) = match service.address {
            IpAddr::V4(_) => (self.settings.tunnel_v4.map(IpAddr::V4), tun::OVERHEAD_V4),
            IpAddr::V6(_) => (self.settings.tunnel_v6.map(IpAddr::V6), tun::OVERHEAD_V6),
        };
        match method {
            Method::Nat => Ok((Way::Nat, mtu)),
            Method::Dr => Ok((Way::Dr, mtu)),
            Method::Tun => Ok((Way::Tun(tunnel_from.ok_or(Left::NoTunnel)?), mtu - overhead)),
        }
    }

    /// The service that a real server's port answers for, if this packet is to go to the street.
    fn answered_by(&self, real: Endpoint, ip: &Ip) -> Result<Endpoint, Left> {
        // What stays inside was never sent to the virtual service: above all, answers to health checks.
        if self.settings.inside.iter().any(|network| network.contains(&ip.destination)) {
            return Err(Left::NotOurs);
        }
        let service = *self.answers_for.get(&real).ok_or(Left::NotOurs)?;
        if ip.ttl <= 1 { Err(Left::TtlEnded) } else { Ok(service) }
    }

    fn too_big(&mut self, frame: &[u8], ip: &Ip, service: Endpoint, mtu: u16) -> (Vec<u8>, Verdict) {
        self.counters.answered += 1;
        (icmp::too_big(frame, ip, service.address, mtu), Verdict::Answer)
    }

    /// The real server that a connection has already. An opening may not stay with one that takes no new connections, nor with
    /// one that the connection before it of the same client and port had; nothing stays with one that has left.
    fn kept(&mut self, key: Key, segment: &Segment) -> Option<Endpoint> {
        let entry = self.connections.get(&key)?;
        let post = self.posts.get(&(key.service, entry.real))?;
        let opens = segment.stage == Stage::Opens;
        if opens && (entry.closed || !post.takes_new) {
            return None;
        }
        self.counters.kept += 1;
        // A RST after the SYN is the last of it: it never carried data.
        if matches!(segment.stage, Stage::GoesOn | Stage::Closes) && self.connections.settle(key) {
            self.fresh.push(Flow { client: key.client, service: key.service, real: entry.real });
        }
        self.note_end(key, entry.real, segment.stage);
        Some(entry.real)
    }

    /// A real server for a connection that has none here, or may not keep it.
    fn chosen(&mut self, key: Key, segment: &Segment) -> Option<Endpoint> {
        let opens = segment.stage == Stage::Opens || key.service.protocol == Protocol::Udp;
        let real = if opens { self.by_schedule(&key) } else { self.by_source(&key) }?;
        self.forget(key);
        match opens {
            true => self.counters.opened += 1,
            false => self.counters.missed += 1,
        }
        match segment.stage {
            // The same choice comes out again, so a flood of SYNs costs nothing.
            Stage::Opens if self.chooses_by_hash(key.service) => {}
            Stage::Opens => {
                self.connections.open(key, real);
                self.count_connection(key, real);
            }
            Stage::Resets => {}
            Stage::GoesOn | Stage::Closes => {
                self.enter(key, real);
                self.fresh.push(Flow { client: key.client, service: key.service, real });
            }
        }
        self.note_end(key, real, segment.stage);
        Some(real)
    }

    fn by_schedule(&mut self, key: &Key) -> Option<Endpoint> {
        let Balanced { service, schedule, turn } = self.services.get_mut(&key.service)?;
        let posts = &self.posts;
        let active = |index: usize| {
            let post = posts.get(&(key.service, service.reals[index].endpoint));
            post.map_or(0, |post| post.usage.active)
        };
        let index = schedule.choose(key.client, turn, active)?;
        Some(service.reals[index].endpoint)
    }

    fn by_source(&self, key: &Key) -> Option<Endpoint> {
        let Balanced { service, schedule, .. } = self.services.get(&key.service)?;
        schedule.by_source(key.client).map(|index| service.reals[index].endpoint)
    }

    fn chooses_by_hash(&self, service: Endpoint) -> bool {
        let scheduler = self.services.get(&service).map(|balanced| balanced.service.scheduler);
        matches!(scheduler, Some(Scheduler::SourceHash | Scheduler::Maglev))
    }

    fn enter(&mut self, key: Key, real: Endpoint) {
        self.connections.enter(key, real);
        self.count_connection(key, real);
    }

    /// Forgets a connection, if there is one.
    fn forget(&mut self, key: Key) {
        if let Some(entry) = self.connections.forget(&key).filter(|entry| !entry.closed) {
            self.count_end(key, entry.real);
        }
    }

    /// A client that says FIN or RST for the first time ends a connection.
    fn note_end(&mut self, key: Key, real: Endpoint, stage: Stage) {
        if matches!(stage, Stage::Closes | Stage::Resets) && self.connections.close(&key) {
            self.count_end(key, real);
        }
    }

    fn count_connection(&mut self, key: Key, real: Endpoint) {
        if let Some(post) = self.posts.get_mut(&(key.service, real)) {
            post.usage.connections += 1;
            post.usage.active += 1;
        }
    }

    /// A connection may have begun before its real server came back to the service, which then never counted it.
    fn count_end(&mut self, key: Key, real: Endpoint) {
        if let Some(post) = self.posts.get_mut(&(key.service, real)) {
            post.usage.active = post.usage.active.saturating_sub(1);
        }
    }

    fn count_to_real(&mut self, service: Endpoint, real: Endpoint, ip: &Ip) {
        self.counters.to_real += 1;
        if let Some(post) = self.posts.get_mut(&(service, real)) {
            post.usage.packets_in += 1;
            post.usage.bytes_in += ip.length as u64;
        }
    }

    fn count_to_client(&mut self, service: Endpoint, real: Endpoint, ip: &Ip) {
        self.counters.to_client += 1;
        if let Some(post) = self.posts.get_mut(&(service, real)) {
            post.usage.packets_out += 1;
            post.usage.bytes_out += ip.length as u64;
        }
    }
}

/// Whether a packet fits; one that may be fragmented is the kernel's if it does not.
fn fits(ip: &Ip, mtu: u16) -> Result<bool, Left> {
    match ip.length <= mtu.into() {
        true => Ok(true),
        false if ip.dont_fragment => Ok(false),
        false => Err(Left::TooLong),
    }
}

/// The same for an error, which is never answered with another one (RFC 1122 section 3.2.2).
fn fits_or_is_lost(ip: &Ip, mtu: u16) -> Result<(), Left> {
    if ip.length <= mtu.into() { Ok(()) } else { Err(Left::TooLong) }
}

#[cfg(test)]
mod tests;
