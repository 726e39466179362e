//! The router under test as a scenario wants it, and the small lab around it: `dut` runs the daemon, `peer` is where the
//! suite sends and listens. Both are on `back`, which carries the election, and on `front`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::topology::{
    self, Checksum, Conversation, Engine, Failover, FloatingAddress, FloatingAddress6, Interface, LabName,
    MacMode, Memory, NameError, NetworkName, Node, NodeName, Profile, Restart, Role, Run, Service,
    StoreEngine, Topology, Vrid, VrrpVersion,
};

/// The node with the router under test.
pub(super) const DUT: &str = "dut";
/// The node that the suite speaks from.
pub(super) const PEER: &str = "peer";
/// The link of the election.
pub(super) const BACK: &str = "back";
/// The other side.
pub(super) const FRONT: &str = "front";
/// The virtual router.
pub(super) const VRID: u8 = 51;
pub(super) const DUT_BACK: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 11);
pub(super) const PEER_BACK: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 12);
const DUT_FRONT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
pub(super) const PEER_FRONT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 12);
const FLOATING: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 10, 1, 1), Ipv4Addr::new(10, 10, 1, 2)];
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x51);
const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 1);
const PREFIX_BACK6: &str = "2001:db8:10::/64";
const PREFIX_FRONT6: &str = "2001:db8:113::/64";
/// Short, so that scenarios are; long enough for a machine that is late by some tens of milliseconds.
const INTERVAL: Duration = Duration::from_millis(100);
/// VRRPv2 knows whole seconds only.
const INTERVAL_V2: Duration = Duration::from_secs(1);

/// The router under test.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) engine: Engine,
    pub(super) priority: u8,
    pub(super) interval: Duration,
    pub(super) preempt: bool,
    pub(super) version: VrrpVersion,
    pub(super) mac: MacMode,
    pub(super) accept: bool,
    pub(super) checksum: Checksum,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}

impl Setup {
    /// What a scenario gets that asks for nothing.
    pub(super) fn of(engine: Engine) -> Self {
        Self {
            engine,
            priority: 100,
            interval: INTERVAL,
            preempt: true,
            version: VrrpVersion::V3,
            mac: if engine == Engine::Frr { MacMode::Virtual } else { MacMode::Physical },
            accept: true,
            // The others have no other; scenarios about the checksum ask for the one that they are about.
            checksum: if engine == Engine::Labctl { Checksum::Message } else { Checksum::PseudoHeader },
            ipv4: true,
            ipv6: false,
        }
    }

    /// Changed by the words of a scenario, parted by `and`.
    pub(super) fn with(mut self, words: &str) -> Result<Self, String> {
        for phrase in words.split(" and ") {
            let number = |text: &str| text.parse::<u8>().map_err(|_| format!("{text:?} is no number"));
            match phrase.split_once(' ').unwrap_or((phrase, "")) {
                ("priority", value) => self.priority = number(value)?,
                ("interval", value) => self.interval = duration(value)?,
                ("no", "preemption") => self.preempt = false,
                ("no", "accept mode") => self.accept = false,
                ("a", "virtual MAC") => self.mac = MacMode::Virtual,
                ("its", "own MAC") => self.mac = MacMode::Physical,
                ("checksums", "of the message alone") => self.checksum = Checksum::Message,
                ("checksums", "with a pseudo-header") => self.checksum = Checksum::PseudoHeader,
                ("both", "versions") => (self.version, self.interval) = (VrrpVersion::Both, INTERVAL_V2),
                ("both", "families") => self.ipv6 = true,
                ("VRRPv2", "") => (self.version, self.interval) = (VrrpVersion::V2, INTERVAL_V2),
                ("IPv6", "") => (self.ipv4, self.ipv6) = (false, true),
                _ => return Err(format!("nobody knows how a router is one with {phrase:?}")),
            }
        }
        Ok(self)
    }

    /// Its virtual addresses in the family of the scenario, in the order of the advertisement.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        Self::addresses_of(self.ipv4)
    }

    /// The virtual addresses in a family.
    pub(super) fn addresses_of(ipv4: bool) -> Vec<IpAddr> {
        if ipv4 { FLOATING.map(IpAddr::V4).into() } else { [LINK_LOCAL, GLOBAL].map(IpAddr::V6).into() }
    }

    /// The virtual MAC of that family (RFC 9568 section 7.3).
    pub(super) fn virtual_mac(&self) -> [u8; 6] {
        [0, 0, 0x5e, 0, if self.ipv4 { 1 } else { 2 }, VRID]
    }

    /// Skew_Time for an Active that advertises at this interval (section 6.1; RFC 3768 section 6.1 counts in seconds).
    pub(super) fn skew(&self, active: Duration) -> Duration {
        let unit = if self.version == VrrpVersion::V3 { active } else { INTERVAL_V2 };
        unit * (256 - u32::from(self.priority)) / 256
    }

    /// The lab.
    pub(super) fn topology(&self) -> Result<Topology, NameError> {
        let networks = [(BACK, "10.10.1.0/24", PREFIX_BACK6), (FRONT, "203.0.113.0/24", PREFIX_FRONT6)];
        let mut topology = Topology {
            name: LabName::try_from("conformance".to_owned())?,
            networks: BTreeMap::new(),
            networks6: BTreeMap::new(),
            nodes: vec![
                self.node(DUT, Role::Router, [(BACK, DUT_BACK), (FRONT, DUT_FRONT)])?,
                self.node(PEER, Role::Remote, [(BACK, PEER_BACK), (FRONT, PEER_FRONT)])?,
            ],
            failover: Some(self.failover()?),
            balancer: None,
            conversation: Conversation {
                memory: Memory::None,
                engine: StoreEngine::default(),
                web_port: 8080,
                db_port: 5432,
                peers: None,
            },
        };
        for (name, prefix, prefix6) in networks {
            let name: NetworkName = name.parse()?;
            topology.networks.extend(prefix.parse().map(|prefix| (name.clone(), prefix)));
            if self.ipv6 {
                topology.networks6.extend(prefix6.parse().map(|prefix| (name, prefix)));
            }
        }
        let builtin = self.engine.service();
        let (name, run) = (builtin.into(), Run::Builtin(builtin));
        let service = Service { name, run, listen: vec![], restart: Restart::Always };
        topology.nodes[0].services.push(service);
        Ok(topology)
    }

    /// No proxy, whose border would put a virtual address on every packet that leaves, adverts among them; a router does
    /// all that the RFC asks for.
    fn node(&self, name: &str, role: Role, on: [(&str, Ipv4Addr); 2]) -> Result<Node, NameError> {
        let mut interfaces = Vec::new();
        for (network, address) in on {
            let host = u16::from(address.octets()[3]);
            let net = if network == BACK { 0x10 } else { 0x113 };
            let address6 = Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host);
            interfaces.push(Interface {
                network: network.parse()?,
                addresses: vec![address],
                addresses6: if self.ipv6 { vec![address6] } else { vec![] },
            });
        }
        let name: NodeName = name.parse()?;
        let limits = Default::default();
        Ok(Node { name, role, interfaces, gateway: None, gateway6: None, services: vec![], limits })
    }

    fn failover(&self) -> Result<Failover, NameError> {
        let network: NetworkName = BACK.parse()?;
        let dut: NodeName = DUT.parse()?;
        let floating = FLOATING.map(|address| FloatingAddress { network: network.clone(), address });
        let floating6 =
            [LINK_LOCAL, GLOBAL].map(|address| FloatingAddress6 { network: network.clone(), address });
        Ok(Failover {
            advert_interval: self.interval,
            preempt: self.preempt,
            addresses: if self.ipv4 { floating.into() } else { vec![] },
            addresses6: if self.ipv6 { floating6.into() } else { vec![] },
            priorities: [(dut.clone(), self.priority)].into(),
            engines: [(dut, self.engine)].into(),
            profile: Profile::Rfc9568,
            version: self.version,
            checksum: self.checksum,
            mac: self.mac,
            accept: self.accept,
            ..Failover::new(Vrid::try_from(i64::from(VRID))?, network)
        })
    }
}

/// `100 ms`, `1 s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    topology::duration(text).map_err(|error| format!("{text:?}: {error}"))
}
