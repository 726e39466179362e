//! The site that everything is measured on, for one engine and one interval. It knows the file beside it and the names
//! in there.

use std::net::Ipv4Addr;
use std::time::Duration;

use labctl::topology::{Engine, NetworkName, NodeName, Restart, ServiceName, Topology, parse};

use super::Error;

const FILE: &str = include_str!("site.yaml");
/// The interval on file, which is replaced.
const ADVERT_ON_FILE: &str = "advert: 100ms";
/// Addresses of nobody, that the watcher asks in the name of: which one says to which question an answer belongs.
pub const ASKERS: u8 = 32;
const FIRST_ASKER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 192);

/// A site to be built.
pub struct Site {
    pub topology: Topology,
    pub advert: Duration,
    pub vip: Ipv4Addr,
    pub client: Ipv4Addr,
    engine: Engine,
}

/// The nodes that matter.
pub struct Names {
    pub client: NodeName,
    pub router: NodeName,
    pub watcher: NodeName,
    /// Holds the VIP unless something is broken.
    pub primary: NodeName,
    pub backup: NodeName,
    pub front: NetworkName,
    pub back: NetworkName,
}

impl Names {
    pub fn new() -> Self {
        let node = |name: &str| name.parse().expect("a good name");
        let network = |name: &str| name.parse().expect("a good name");
        Self {
            client: node("client"),
            router: node("router"),
            watcher: node("watcher"),
            primary: node("proxy1"),
            backup: node("proxy2"),
            front: network("front"),
            back: network("back"),
        }
    }
}

impl Site {
    pub fn build(engine: Engine, advert: Duration) -> Result<Self, Error> {
        let text = FILE.replace(ADVERT_ON_FILE, &format!("advert: {}ms", advert.as_millis()));
        let mut topology = parse("site.yaml", &text).map_err(Error::unfit)?;
        let names = Names::new();
        topology.elect_with(engine);
        // A daemon that is killed stays dead until somebody starts it: how soon PID 1 would is not what is measured.
        let services = topology.nodes.iter_mut().flat_map(|node| &mut node.services);
        services.filter(|service| service.run.elects()).for_each(|service| service.restart = Restart::Never);
        let failover = topology.failover.as_ref().ok_or_else(|| Error::unfit("the site elects nobody"))?;
        let vip = failover.addresses.iter().find(|floating| floating.network == names.front);
        let client =
            topology.node(&names.client).and_then(|node| node.interfaces.first()?.addresses.first().copied());
        let lacks = || Error::unfit("the site has no VIP on `front` or no client");
        Ok(Self {
            vip: vip.ok_or_else(lacks)?.address,
            client: client.ok_or_else(lacks)?,
            topology,
            advert,
            engine,
        })
    }

    /// The service that takes part in the election.
    pub fn service(&self) -> ServiceName {
        self.engine.service().into()
    }

    pub fn engine(&self) -> &'static str {
        self.engine.word()
    }

    /// `Active_Down_Interval` of the backup (RFC 9568 section 6.1): three intervals and its skew.
    pub fn formula(&self) -> Duration {
        let failover = self.topology.failover.as_ref();
        let priority =
            failover.and_then(|it| it.priorities.get(&Names::new().backup)).copied().unwrap_or(100);
        self.advert * 3 + self.advert * (256 - u32::from(priority)) / 256
    }
}

/// In whose name the question of this number is asked.
pub fn asker(number: u64) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST_ASKER) + (number % u64::from(ASKERS)) as u32)
}

/// Which of the askers has this address.
pub fn asker_of(address: Ipv4Addr) -> Option<u64> {
    let place = u32::from(address).checked_sub(u32::from(FIRST_ASKER))?;
    (place < u32::from(ASKERS)).then_some(u64::from(place))
}
