//! What a scenario knows: the router under test, the lab around it, what passed on the wire, and from when on it matters.

use std::io::Read;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::frames::Advertisement;
use super::rival::Rival;
use super::sentry::Sentry;
use super::setup::{BACK, DUT, FRONT, PEER, PEER_BACK, Setup, VRID};
use super::wire::{self, Advert, Seen, What, Wire};
use crate::holder::client::{Lab, Leash};
use crate::kernel::clock;
use crate::kernel::packet::{Mac, Port};
use crate::roles::init::Order;
use crate::topology::{Engine, NodeName, ServiceName, Topology, VrrpVersion};

/// How late a daemon may be because the machine is busy. No requirement is about so little.
pub(super) const LATE_MAX: Duration = Duration::from_millis(400);
/// How early it may be because clocks are coarse: its own, and the one that stamps frames.
pub(super) const EARLY_MAX: Duration = Duration::from_millis(30);
/// How long anything may take that has no time of its own in the RFC.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);

/// What a scenario knows.
#[derive(Default, cucumber::World)]
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) setup: Option<Setup>,
    /// The lab ends with its leash.
    lab: Option<(Lab, Leash)>,
    wire: Option<Wire>,
    dut: Option<Port>,
    pub(super) rival: Option<Rival>,
    /// How often the other router speaks.
    pub(super) rival_interval: Duration,
    /// What was done last was done then.
    pub(super) mark: Duration,
    /// The advert that a step was about.
    pub(super) noted: Option<Duration>,
    /// Somebody who watches the public address of the whole site.
    pub(super) sentry: Option<Sentry>,
    /// Who held it when that began.
    pub(super) holder: Option<NodeName>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("setup", &self.setup).finish_non_exhaustive()
    }
}

impl World {
    /// Nothing yet but the engine.
    pub(super) fn of(engine: Engine) -> Self {
        Self { engine, ..Self::default() }
    }

    /// Builds a lab that ends with this process.
    pub(super) fn up(&mut self, topology: &Topology) -> Result<(), String> {
        self.lab = Some(crate::conformance::site::up("vrrp", topology)?);
        Ok(())
    }

    /// Builds the small lab, and listens.
    pub(super) fn up_small(&mut self, setup: Setup) -> Result<(), String> {
        self.up(&setup.topology().map_err(|error| error.to_string())?)?;
        let enter = |node: &str| {
            let node: NodeName = node.parse().map_err(|_| "a node's name")?;
            self.lab()?.enter(&node).map_err(|error| error.to_string())
        };
        let dut = wire::port(&enter(DUT)?, BACK)?;
        let wire = Wire::open(enter(PEER)?, [BACK, FRONT])?;
        self.rival_interval = setup.interval;
        (self.setup, self.dut, self.wire) = (Some(setup), Some(dut), Some(wire));
        self.mark = clock::calendar();
        Ok(())
    }

    /// The lab.
    pub(super) fn lab(&self) -> Result<&Lab, String> {
        self.lab.as_ref().map(|(lab, _)| lab).ok_or_else(|| "this scenario has no lab".to_owned())
    }

    /// What the node of the router under test has written; nothing if there is none.
    pub(super) fn log(&self) -> String {
        let mut text = String::new();
        let log = DUT.parse().ok().zip(self.lab().ok()).and_then(|(node, lab)| lab.log(&node).ok());
        if let Some(mut log) = log {
            let _ = log.read_to_string(&mut text);
        }
        text
    }

    /// The router under test.
    pub(super) fn setup(&self) -> Result<&Setup, String> {
        self.setup.as_ref().ok_or_else(|| "this scenario has no router under test".to_owned())
    }

    /// The wire.
    pub(super) fn wire(&mut self) -> Result<&mut Wire, String> {
        self.wire.as_mut().ok_or_else(|| "nobody listens".to_owned())
    }

    /// The interface of the router under test.
    pub(super) fn dut(&self) -> Result<&Port, String> {
        self.dut.as_ref().ok_or_else(|| "this scenario has no router under test".to_owned())
    }

    /// The hardware address of the suite.
    pub(super) fn own_mac(&mut self) -> Result<Mac, String> {
        Ok(self.wire()?.port(BACK)?.mac)
    }

    /// The suite's address in the family of the scenario.
    pub(super) fn own(&mut self) -> Result<IpAddr, String> {
        let mac = self.own_mac()?;
        Ok(if self.setup()?.ipv4 { PEER_BACK.into() } else { link_local(mac).into() })
    }

    /// What a router without fault would say with that priority.
    pub(super) fn advertisement(&mut self, priority: u8) -> Result<Advertisement, String> {
        let (mac, source, interval) = (self.own_mac()?, self.own()?, self.rival_interval);
        let setup = self.setup()?;
        Ok(Advertisement {
            mac,
            source,
            ttl: 255,
            version: if setup.version == VrrpVersion::V2 && setup.ipv4 { 2 } else { 3 },
            kind: 1,
            vrid: VRID,
            priority,
            interval,
            reserved: 0,
            addresses: setup.addresses(),
            missing: 0,
            authentication: 0,
            checksum: setup.checksum,
            damaged: false,
        })
    }

    /// Puts a frame on a link, now.
    pub(super) fn send(&mut self, link: &str, frame: &[u8]) -> Result<(), String> {
        self.mark = clock::calendar();
        self.wire()?.sender(link)?.send(frame).map_err(|error| format!("send on {link}: {error}"))
    }

    /// Starts or stops the daemon, and waits until it is.
    pub(super) fn order(&mut self, start: bool) -> Result<(), String> {
        let service = ServiceName::from(self.setup()?.engine.service());
        let node: NodeName = DUT.parse().map_err(|_| "a node's name")?;
        let order = match start {
            true => Order::Start { service: service.clone() },
            false => Order::Stop { service: service.clone() },
        };
        self.mark = clock::calendar();
        self.lab()?.order(&node, order).map_err(|error| error.to_string())?;
        let deadline = self.mark + WAIT_MAX;
        while clock::calendar() < deadline {
            let status = self.lab()?.status().map_err(|error| error.to_string())?;
            let seen = status.node(&node).and_then(|node| node.services.get(&service));
            if seen.is_some_and(|seen| seen.running == start) {
                return Ok(());
            }
            let soon = clock::calendar() + Duration::from_millis(10);
            self.wire()?.until(soon, |_| None::<()>)?;
        }
        Err(format!("{service} of {node} is not {}", if start { "started" } else { "stopped" }))
    }

    /// Listens for that long.
    pub(super) fn listen(&mut self, span: Duration) -> Result<(), String> {
        let until = clock::calendar() + span;
        self.wire()?.until(until, |_| None::<()>).map(drop)
    }

    /// The adverts of the router under test in the family of the scenario after that time, in order.
    pub(super) fn adverts(&mut self, after: Duration) -> Result<Vec<(Duration, Mac, Advert)>, String> {
        let ipv4 = self.setup()?.ipv4;
        let wire = self.wire()?;
        wire.look()?;
        let theirs = wire.seen.iter().filter(|seen| seen.at > after && is_theirs(seen, ipv4));
        Ok(theirs.filter_map(|seen| Some((seen.at, seen.mac, advert(seen)?.clone()))).collect())
    }

    /// Its next advert after that time that is no farewell.
    pub(super) fn next_advert(
        &mut self,
        after: Duration,
        within: Duration,
    ) -> Result<Option<(Duration, Mac, Advert)>, String> {
        let ipv4 = self.setup()?.ipv4;
        self.wire()?.until(after + within, |seen| {
            let mut theirs = seen.iter().filter(|seen| seen.at > after && is_theirs(seen, ipv4));
            theirs.find_map(|seen| {
                let advert = advert(seen).filter(|advert| advert.priority() > 0)?;
                Some((seen.at, seen.mac, advert.clone()))
            })
        })
    }

    /// When the suite last said something as a router.
    pub(super) fn last_said(&mut self) -> Result<Duration, String> {
        let wire = self.wire()?;
        wire.look()?;
        let ours = wire.seen.iter().filter(|seen| seen.ours && advert(seen).is_some());
        ours.map(|seen| seen.at).max().ok_or_else(|| "the other router never spoke".to_owned())
    }
}

/// The advert in a frame.
pub(super) fn advert(seen: &Seen) -> Option<&Advert> {
    match &seen.what {
        What::Advert(advert) => Some(advert),
        _ => None,
    }
}

fn is_theirs(seen: &Seen, ipv4: bool) -> bool {
    !seen.ours && seen.link == BACK && advert(seen).is_some_and(|advert| advert.source.is_ipv4() == ipv4)
}

/// The link-local address that the kernel makes of a hardware address (RFC 4291 appendix A).
pub(super) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
}
