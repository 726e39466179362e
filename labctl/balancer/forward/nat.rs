//! VS/NAT: what clients send to a virtual service gets a real server as its destination, and what that answers gets
//! the virtual service back as its source. The director is a router: every packet it passes on is one hop older.

use std::collections::{BTreeMap, HashMap};

use ipnet::{IpNet, Ipv4Net};

use super::super::{Conflict, Endpoint, Schedule, Service, check_together};
use super::Verdict;
use super::frame::{Mac, Segment, Side};

/// A director with everything it remembers.
#[derive(Clone, Debug)]
pub struct Director {
    own: Mac,
    inside: Ipv4Net,
    active: bool,
    services: BTreeMap<Endpoint, Balanced>,
    reals: BTreeMap<Endpoint, Claim>,
    flows: HashMap<(Endpoint, Endpoint), Endpoint>,
}

#[derive(Clone, Debug)]
struct Balanced {
    service: Service,
    schedule: Schedule,
    turn: u32,
}

/// Whom a real server's port works for, and whether it gets new connections from there.
#[derive(Clone, Copy, Debug)]
struct Claim {
    service: Endpoint,
    takes_new: bool,
}

impl Director {
    /// A director without services, not active. `own` is the hardware address that frames for it have; `inside` is the
    /// network that it shares with the real servers.
    pub fn new(own: Mac, inside: Ipv4Net) -> Self {
        Self {
            own,
            inside,
            active: false,
            services: BTreeMap::new(),
            reals: BTreeMap::new(),
            flows: HashMap::new(),
        }
    }

    /// Says whether this director holds the virtual address. One that does not leaves everything to the kernel.
    pub fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    /// Balances these services from now on. Connections keep their real servers; a service that is as it was keeps its
    /// place in the round.
    pub fn install(&mut self, services: &[Service]) -> Result<(), Conflict> {
        check_together(services)?;
        let mut before = std::mem::take(&mut self.services);
        self.reals.clear();
        for service in services {
            for real in &service.reals {
                let claim = Claim { service: service.address, takes_new: real.takes_new() };
                self.reals.insert(real.endpoint, claim);
            }
            let kept = before.remove(&service.address).filter(|balanced| &balanced.service == service);
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
    pub fn to_real(&mut self, frame: &[u8]) -> (Vec<u8>, Verdict) {
        let kernel = (frame.to_vec(), Verdict::Kernel);
        let Some(segment) = self.read(frame) else { return kernel };
        if !self.services.contains_key(&segment.destination) || segment.ttl <= 1 {
            return kernel;
        }
        match self.kept(&segment).or_else(|| self.chosen(&segment)) {
            Some(real) => {
                let frame = segment.rewritten(frame, Side::Destination, real);
                (frame, Verdict::ToReal(real.address))
            }
            // The kernel refuses the connection, since nothing of its own listens on the port.
            None => kernel,
        }
    }

    /// A frame that came in by the back.
    pub fn to_client(&self, frame: &[u8]) -> (Vec<u8>, Verdict) {
        let kernel = (frame.to_vec(), Verdict::Kernel);
        let Some(segment) = self.read(frame) else { return kernel };
        let Some(claim) = self.reals.get(&segment.source) else { return kernel };
        // What stays inside was never sent to the virtual service: above all, answers to health checks.
        if IpNet::V4(self.inside).contains(&segment.destination.address) || segment.ttl <= 1 {
            return kernel;
        }
        (segment.rewritten(frame, Side::Source, claim.service), Verdict::ToClient)
    }

    fn read(&self, frame: &[u8]) -> Option<Segment> {
        if self.active { Segment::read(frame, self.own) } else { None }
    }

    /// The real server that a connection has already. A SYN may not stay with one that takes no new connections, and
    /// nothing stays with one that serves somebody else now.
    fn kept(&self, segment: &Segment) -> Option<Endpoint> {
        let real = *self.flows.get(&(segment.source, segment.destination))?;
        let claim = self.reals.get(&real)?;
        let may_stay = claim.service == segment.destination && (claim.takes_new || !segment.opens);
        may_stay.then_some(real)
    }

    /// A real server for a connection that has none here.
    fn chosen(&mut self, segment: &Segment) -> Option<Endpoint> {
        let balanced = self.services.get_mut(&segment.destination)?;
        let index = balanced.schedule.choose(segment.source.address, segment.opens, &mut balanced.turn)?;
        let real = balanced.service.reals[index].endpoint;
        self.flows.insert((segment.source, segment.destination), real);
        Some(real)
    }
}

#[cfg(test)]
mod tests;
