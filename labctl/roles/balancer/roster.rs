//! Who serves what, who of them is well, and what people changed about it while it runs. Time is an argument: it says
//! which checks are due and takes their outcomes, and what it comes to are services for the data plane. It neither checks
//! nor forwards.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::account::{RealAccount, ServiceAccount};
use super::layout::Layout;
use super::request::{Becomes, Change, ListedReal, ListedService};
use crate::balancer::{
    self, Check, Endpoint, Health, Method, Real, Service, SlowStart, Standing, Thresholds, Transition,
    availability, check_together,
};
use crate::topology::{HealthCheck, Protocol, Scheduler, ServiceName, VirtualService};

/// Why a change makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("there is no virtual service {0} here")]
    NoSuchService(ServiceName),
    #[error("{service} has no real server {real} here")]
    NoSuchReal { service: ServiceName, real: SocketAddr },
    #[error("{service} has the real server {real} already; `labctl balancer weight` changes its weight")]
    Known { service: ServiceName, real: SocketAddr },
    #[error("{service} has a real server named {name} already")]
    Named { service: ServiceName, name: String },
    #[error(
        "{service} has the port {port}, and nothing rewrites ports in tun and dr: {real} would be asked at {port}, too"
    )]
    Port { service: ServiceName, port: u16, real: SocketAddr },
    #[error("{real} is not on the network of the real servers of {service}")]
    Elsewhere { service: ServiceName, real: SocketAddr },
    #[error("{service} is {}, and {real} is not", if .service_address.is_ipv4() { "IPv4" } else { "IPv6" })]
    Family { service: ServiceName, service_address: IpAddr, real: SocketAddr },
    #[error(transparent)]
    Conflict(#[from] balancer::Conflict),
}

/// A check to be made now.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) member: MemberId,
    pub(super) name: String,
    pub(super) at: SocketAddr,
    pub(super) check: HealthCheck,
}

/// A real server as long as it is one: whoever is removed and added again is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemberId(u64);

/// A change that was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// The service and its real server.
    pub(super) pair: (Endpoint, Endpoint),
    pub(super) name: String,
    /// Its weight before; `None` if it was not there.
    pub(super) was: Option<u32>,
    /// Its weight now; `None` if it is there no more.
    pub(super) now: Option<u32>,
}

/// What an outcome changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turned {
    pub(super) service: ServiceName,
    pub(super) real: String,
    pub(super) transition: Transition,
}

/// All services.
#[derive(Debug)]
pub(super) struct Roster {
    method: Method,
    /// Where real servers must be; anywhere, if it is empty.
    within: Vec<IpNet>,
    entrances: Vec<Entrance>,
    next_id: u64,
}

/// One service: all of it but for the real servers that its topology names.
#[derive(Debug)]
struct Entrance {
    wanted: VirtualService,
    /// In order of name.
    members: Vec<Member>,
    fail_open: bool,
}

/// One real server of one service, under observation.
#[derive(Debug)]
struct Member {
    id: MemberId,
    name: String,
    at: SocketAddr,
    weight: u32,
    health: Health,
    in_flight: bool,
    /// It came back, and does not get its whole share yet.
    warming: Option<Warming>,
}

/// A real server that has to get used to its work again.
#[derive(Clone, Copy, Debug)]
struct Warming {
    since: Instant,
    /// How long it had been back when its share was last reckoned.
    back_for: Duration,
}

/// Who serves what and with which weights, without what only time can tell: what outlives a restart.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept(BTreeMap<ServiceName, Vec<KeptReal>>);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptReal {
    name: String,
    at: SocketAddr,
    weight: u32,
}

impl Roster {
    /// The services of the topology, in which nobody is known to be well yet.
    pub(super) fn of(layout: &Layout, now: Instant) -> Self {
        let (method, within) = (layout.method, layout.within());
        let mut roster = Self { method, within, entrances: Vec::new(), next_id: 0 };
        for wanted in &layout.services {
            let kept = wanted.reals.iter().map(|real| KeptReal {
                name: real.node.to_string(),
                at: SocketAddr::new(real.address, real.port),
                weight: real.weight,
            });
            let members = kept.map(|real| roster.member(wanted, real, now)).collect();
            roster.entrances.push(Entrance { wanted: wanted.clone(), members, fail_open: false });
        }
        roster.sort();
        roster
    }

    /// Puts what was changed in an earlier life in the place of what the topology says.
    pub(super) fn restore(&mut self, kept: Kept, now: Instant) -> Result<(), Refused> {
        let mut kept = kept.0;
        let mut entrances = std::mem::take(&mut self.entrances);
        for entrance in &mut entrances {
            if let Some(reals) = kept.remove(&entrance.wanted.name) {
                entrance.members =
                    reals.into_iter().map(|real| self.member(&entrance.wanted, real, now)).collect();
            }
        }
        self.entrances = entrances;
        self.sort();
        Ok(check_together(&self.services())?)
    }

    /// What a later life needs to go on with the changes of this one.
    pub(super) fn kept(&self) -> Kept {
        let real =
            |member: &Member| KeptReal { name: member.name.clone(), at: member.at, weight: member.weight };
        let reals = |entrance: &Entrance| entrance.members.iter().map(real).collect();
        let kept = self.entrances.iter().map(|entrance| (entrance.wanted.name.clone(), reals(entrance)));
        Kept(kept.collect())
    }

    /// Every check that is due and not under way, which it is from now on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        for entrance in &mut self.entrances {
            for member in &mut entrance.members {
                if member.in_flight || member.health.deadline() > now {
                    continue;
                }
                member.in_flight = true;
                let check = entrance.wanted.check.clone();
                due.push(Due { member: member.id, name: member.name.clone(), at: member.at, check });
            }
        }
        due
    }

    /// When there is something to do: a check, or a larger share for somebody who came back.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.members().filter(|(_, member)| !member.in_flight);
        let checks = idle.map(|(_, member)| member.health.deadline());
        let warming = self.members().filter_map(|(entrance, member)| {
            let Warming { since, back_for } = member.warming?;
            Some(since + entrance.slow_start().next_change(back_for)?)
        });
        checks.chain(warming).min()
    }

    /// Gives those who came back the share that is due to them by now. Says whether that is another one than before.
    pub(super) fn warm_up(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for entrance in &mut self.entrances {
            let slow_start = entrance.slow_start();
            for member in &mut entrance.members {
                let Some(Warming { since, back_for }) = member.warming else { continue };
                let now_back_for = now.saturating_duration_since(since);
                if slow_start.next_change(back_for).is_some_and(|change| change <= now_back_for) {
                    let is_whole = slow_start.next_change(now_back_for).is_none();
                    member.warming = (!is_whole).then_some(Warming { since, back_for: now_back_for });
                    changed = true;
                }
            }
        }
        changed
    }

    /// Takes the outcome of a check. Nothing, if it changes nothing, or if who was checked is not there any more.
    pub(super) fn judge(&mut self, id: MemberId, outcome: Check, now: Instant) -> Option<Turned> {
        let mut entrances = self.entrances.iter_mut();
        let (entrance, at) = entrances.find_map(|entrance| {
            let at = entrance.members.iter().position(|member| member.id == id)?;
            Some((entrance, at))
        })?;
        let member = &mut entrance.members[at];
        member.in_flight = false;
        // Whoever is there from the beginning has nothing to recover from.
        let is_back = member.health.is_known();
        let transition = member.health.handle(outcome, now)?;
        let warms_up = transition == Transition::Up && is_back && !entrance.wanted.slow_start.is_zero();
        member.warming = warms_up.then_some(Warming { since: now, back_for: Duration::ZERO });
        Some(Turned { service: entrance.wanted.name.clone(), real: member.name.clone(), transition })
    }

    /// Whether everybody was checked at least once.
    pub(super) fn is_known(&self) -> bool {
        self.members().all(|(_, member)| member.health.is_known())
    }

    /// Makes a change.
    pub(super) fn change(&mut self, change: &Change, now: Instant) -> Result<Made, Refused> {
        let Change { service, real, becomes } = change;
        let index = self.entrances.iter().position(|entrance| &entrance.wanted.name == service);
        let index = index.ok_or_else(|| Refused::NoSuchService(service.clone()))?;
        let entrance = &mut self.entrances[index];
        let pair = (entrance.address(), endpoint(*real, entrance.wanted.protocol));
        let place = entrance.members.iter().position(|member| member.at == *real);
        let made = |name, was, now| Made { pair, name, was, now };
        match (becomes, place) {
            (Becomes::Weight(_) | Becomes::Removed, None) => {
                Err(Refused::NoSuchReal { service: service.clone(), real: *real })
            }
            (Becomes::Added { .. }, Some(_)) => Err(Refused::Known { service: service.clone(), real: *real }),
            (&Becomes::Weight(weight), Some(place)) => {
                let member = &mut entrance.members[place];
                let was = std::mem::replace(&mut member.weight, weight);
                Ok(made(member.name.clone(), Some(was), Some(weight)))
            }
            (Becomes::Removed, Some(place)) => {
                let member = entrance.members.remove(place);
                Ok(made(member.name, Some(member.weight), None))
            }
            (Becomes::Added { name, weight }, None) => {
                self.add(index, KeptReal { name: name.clone(), at: *real, weight: *weight }, now)?;
                Ok(made(name.clone(), None, Some(*weight)))
            }
        }
    }

    fn add(&mut self, index: usize, real: KeptReal, now: Instant) -> Result<(), Refused> {
        let Entrance { wanted, members, .. } = &self.entrances[index];
        let service = || wanted.name.clone();
        if members.iter().any(|member| member.name == real.name) {
            return Err(Refused::Named { service: service(), name: real.name });
        }
        if real.at.is_ipv4() != wanted.address.is_ipv4() {
            let service_address = wanted.address;
            return Err(Refused::Family { service: service(), service_address, real: real.at });
        }
        if !self.within.is_empty() && !self.within.iter().any(|net| net.contains(&real.at.ip())) {
            return Err(Refused::Elsewhere { service: service(), real: real.at });
        }
        if self.method != Method::Nat && real.at.port() != wanted.port {
            return Err(Refused::Port { service: service(), port: wanted.port, real: real.at });
        }
        let wanted = wanted.clone();
        let (at, member) = (real.at, self.member(&wanted, real, now));
        self.entrances[index].members.push(member);
        self.sort();
        check_together(&self.services()).map_err(|conflict| {
            self.entrances[index].members.retain(|member| member.at != at);
            Refused::Conflict(conflict)
        })
    }

    /// The services as the data plane should balance them now.
    pub(super) fn services(&self) -> Vec<Service> {
        let service = |entrance: &Entrance| {
            let (available, _) = entrance.availability();
            let is_warming = entrance.members.iter().any(|member| member.warming.is_some());
            let real = |(member, available): (&Member, bool)| Real {
                name: member.name.clone(),
                endpoint: endpoint(member.at, entrance.wanted.protocol),
                // All weights are taken in parts while one warms up, so that its share has steps.
                weight: if is_warming { member.part(entrance.slow_start()) } else { member.weight },
                available,
            };
            Service {
                address: entrance.address(),
                method: self.method,
                scheduler: scheduler(entrance.wanted.scheduler),
                reals: entrance.members.iter().zip(available).map(real).collect(),
            }
        };
        self.entrances.iter().map(service).collect()
    }

    /// The services that have nobody who is well since the last call, so that everybody gets connections.
    pub(super) fn newly_open(&mut self) -> Vec<ServiceName> {
        let mut opened = Vec::new();
        for entrance in &mut self.entrances {
            let (_, fail_open) = entrance.availability();
            if fail_open && !entrance.fail_open {
                opened.push(entrance.wanted.name.clone());
            }
            entrance.fail_open = fail_open;
        }
        opened
    }

    /// Every service by name, for the account.
    pub(super) fn account(&self) -> BTreeMap<String, ServiceAccount> {
        let real = |member: &Member| {
            (member.name.clone(), RealAccount { up: member.health.is_up(), weight: member.weight })
        };
        let service = |entrance: &Entrance| {
            let reals = entrance.members.iter().map(real).collect();
            (entrance.wanted.name.to_string(), ServiceAccount { fail_open: entrance.fail_open, reals })
        };
        self.entrances.iter().map(service).collect()
    }

    /// Every service for the listing, with nothing counted yet.
    pub(super) fn listed(&self) -> Vec<ListedService> {
        let service = |entrance: &Entrance| ListedService {
            name: entrance.wanted.name.clone(),
            address: SocketAddr::new(entrance.wanted.address, entrance.wanted.port),
            protocol: entrance.wanted.protocol,
            scheduler: entrance.wanted.scheduler,
            fail_open: entrance.fail_open,
            reals: entrance.members.iter().map(Member::listed).collect(),
        };
        self.entrances.iter().map(service).collect()
    }

    fn members(&self) -> impl Iterator<Item = (&Entrance, &Member)> {
        self.entrances
            .iter()
            .flat_map(|entrance| entrance.members.iter().map(move |member| (entrance, member)))
    }

    fn member(&mut self, wanted: &VirtualService, real: KeptReal, now: Instant) -> Member {
        let check = &wanted.check;
        let thresholds = Thresholds { rise: check.rise, fall: check.fall, interval: check.interval };
        self.next_id += 1;
        Member {
            id: MemberId(self.next_id),
            name: real.name,
            at: real.at,
            weight: real.weight,
            health: Health::new(thresholds, now),
            in_flight: false,
            warming: None,
        }
    }

    /// By name, whoever came when: every director must have the same order.
    fn sort(&mut self) {
        for entrance in &mut self.entrances {
            entrance.members.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }
}

impl Entrance {
    fn address(&self) -> Endpoint {
        endpoint(SocketAddr::new(self.wanted.address, self.wanted.port), self.wanted.protocol)
    }

    /// Who is available, and whether that is so only because nobody is well.
    fn availability(&self) -> (Vec<bool>, bool) {
        let standing = |member: &Member| Standing { weight: member.weight, up: member.health.is_up() };
        let standings: Vec<Standing> = self.members.iter().map(standing).collect();
        availability(&standings, self.wanted.fail_open)
    }

    fn slow_start(&self) -> SlowStart {
        SlowStart(self.wanted.slow_start)
    }
}

impl Member {
    /// Its weight in parts, of which it gets them all unless it has just come back.
    fn part(&self, slow_start: SlowStart) -> u32 {
        let back_for = self.warming.map_or(slow_start.0, |warming| warming.back_for);
        slow_start.weight(self.weight, back_for)
    }

    fn listed(&self) -> ListedReal {
        ListedReal {
            name: self.name.clone(),
            address: self.at,
            weight: self.weight,
            up: self.health.is_up(),
            warming: self.warming.is_some(),
            active: 0,
            inactive: 0,
            connections: 0,
            packets_in: 0,
            packets_out: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

/// A port in the balancer's own terms.
pub(super) fn endpoint(at: SocketAddr, protocol: Protocol) -> Endpoint {
    match protocol {
        Protocol::Tcp => Endpoint::tcp(at.ip(), at.port()),
        Protocol::Udp => Endpoint::udp(at.ip(), at.port()),
    }
}

fn scheduler(wanted: Scheduler) -> balancer::Scheduler {
    match wanted {
        Scheduler::Rr => balancer::Scheduler::RoundRobin,
        Scheduler::Wrr => balancer::Scheduler::WeightedRoundRobin,
        Scheduler::Lc => balancer::Scheduler::LeastConnections,
        Scheduler::Wlc => balancer::Scheduler::WeightedLeastConnections,
        Scheduler::Sed => balancer::Scheduler::ShortestExpectedDelay,
        Scheduler::Nq => balancer::Scheduler::NeverQueue,
        Scheduler::Sh => balancer::Scheduler::SourceHash,
        Scheduler::Mh => balancer::Scheduler::Maglev,
    }
}

#[cfg(test)]
mod tests;
