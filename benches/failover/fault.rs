//! What is broken, and how it is mended. It knows the lab's verbs; what follows is for others to see.

use std::time::Duration;

use clap::ValueEnum;
use labctl::holder::client::Lab;
use labctl::report::Cable;
use labctl::roles::init::Order;
use labctl::topology::ServiceName;
use nix::sys::signal::Signal;

use super::Error;
use super::site::{Names, Site};

/// How long a daemon hangs, at the least.
const HANG: Duration = Duration::from_secs(2);

/// One thing broken on the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// SIGTERM for the daemon; then it is started again
    Stop,
    /// SIGKILL for all processes of the daemon; then it is started again
    Kill,
    /// The machine loses its power; then it is switched on again
    PowerOff,
    /// SIGSTOP for all processes of the daemon, SIGCONT two seconds later
    Hang,
    /// Its link to the public network goes down, and up again
    FrontDown,
    /// Its link to the inner network, which carries the adverts, goes down, and up again
    BackDown,
    /// The inner network lets nothing through to it, with the carrier kept; then it heals
    Partition,
    /// Somebody deletes the VIP
    Delete,
    /// Nothing is broken, and two ordinary threads keep the processors busy
    Idle,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::Stop,
        Self::Kill,
        Self::PowerOff,
        Self::Hang,
        Self::FrontDown,
        Self::BackDown,
        Self::Partition,
        Self::Delete,
        Self::Idle,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::PowerOff => "power-off",
            Self::Hang => "hang",
            Self::FrontDown => "front-down",
            Self::BackDown => "back-down",
            Self::Partition => "partition",
            Self::Delete => "delete",
            Self::Idle => "idle",
        }
    }

    /// What its end is called; nothing mends what mends itself.
    pub fn mended(self) -> Option<&'static str> {
        match self {
            Self::Stop => Some("stop: failback"),
            Self::Kill => Some("kill: failback"),
            Self::PowerOff => Some("power-off: failback"),
            Self::Hang => Some("hang: resume"),
            Self::FrontDown => Some("front-down: link up"),
            Self::BackDown => Some("back-down: link up"),
            Self::Partition => Some("partition: heal"),
            Self::Delete | Self::Idle => None,
        }
    }

    /// How long it lasts if that does not depend on what is seen: two seconds, or so long that an election is due twice.
    pub fn lasts(self, formula: Duration) -> Option<Duration> {
        (self == Self::Hang).then(|| HANG.max(formula * 2))
    }

    pub fn inject(self, lab: &Lab, site: &Site) -> Result<(), Error> {
        let Names { primary, front, back, .. } = Names::new();
        let service = site.service();
        match self {
            Self::Stop => lab.order(&primary, Order::Stop { service })?,
            Self::Kill => lab.order(&primary, signal(service, Signal::SIGKILL))?,
            Self::PowerOff => lab.power_off(&primary)?,
            Self::Hang => lab.order(&primary, signal(service, Signal::SIGSTOP))?,
            Self::FrontDown => lab.cable(&primary, &front, Cable::Down)?,
            Self::BackDown => lab.cable(&primary, &back, Cable::Down)?,
            Self::Partition => lab.cable(&primary, &back, Cable::Partition)?,
            Self::Delete => lab.delete_floating(&primary, &front)?,
            Self::Idle => {}
        }
        Ok(())
    }

    pub fn mend(self, lab: &Lab, site: &Site) -> Result<(), Error> {
        let Names { primary, front, back, .. } = Names::new();
        let service = site.service();
        match self {
            Self::Stop | Self::Kill => lab.order(&primary, Order::Start { service })?,
            Self::PowerOff => lab.power_on(&primary)?,
            Self::Hang => lab.order(&primary, signal(service, Signal::SIGCONT))?,
            Self::FrontDown => lab.cable(&primary, &front, Cable::Up)?,
            Self::BackDown => lab.cable(&primary, &back, Cable::Up)?,
            Self::Partition => lab.cable(&primary, &back, Cable::Heal)?,
            Self::Delete | Self::Idle => {}
        }
        Ok(())
    }
}

fn signal(service: ServiceName, signal: Signal) -> Order {
    Order::Signal { service, signal: signal as i32 }
}
