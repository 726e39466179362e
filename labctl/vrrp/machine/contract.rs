//! What goes into the state machine and what comes out of it, with the words that people read. It decides nothing.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use crate::vrrp::{Interval, SkewRule};

/// A point in time: the span since a start that only the driver knows.
pub type Time = Duration;

/// What is configured for a virtual router (section 6.1).
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This router's priority; 255 owns the addresses.
    pub priority: NonZeroU8,
    /// This router's advertisement interval.
    pub interval: Interval,
    /// Does this router take over from a live Active of lower priority (Preempt_Mode)? An owner always does.
    pub preempt: bool,
    /// How long after its start a router waits before it takes over from a live Active of lower priority.
    pub preempt_delay: Duration,
    /// What `Skew_Time` is a part of: VRRPv2 and VRRPv3 differ in it.
    pub skew: SkewRule,
    /// This router's primary address on the link, which breaks ties.
    pub address: IpAddr,
    /// What is added to the RFC.
    pub profile: Profile,
}

/// What a router does beyond RFC 9568.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Nothing.
    Rfc9568,
    /// Two silences before it takes, make before break, and a lease that must not lapse.
    Lab(LabRules),
}

/// The figures of [`Profile::Lab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabRules {
    /// How many configured routers would win against this one. One that resigns is not counted if its adverts showed that
    /// it is one of them; an heir of rank 0 does not wait.
    pub rank: u32,
    /// Can other holders be noticed on the links of the addresses? Without that there is only one silence.
    pub probes: bool,
    /// Is there a lease to renew, and to step down without?
    pub lease: bool,
}

/// The links of a router, as far as the election depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Adverts can be sent and received.
    pub election: bool,
    /// Every link that has a floating address but carries no adverts is up; if none has, that of the adverts is.
    pub service: bool,
}

/// What the tracked checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// By how much the priority is lowered.
    pub lowered_by: u8,
    /// Out of the election altogether.
    pub fault: bool,
}

/// The states of section 6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its start.
    Initialize,
    /// Watches the Active.
    Backup,
    /// Holds the addresses.
    Active,
}

/// What can happen to a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The interface is ready.
    Startup,
    /// The router shall stop. It has once its state is Initialize: [`Profile::Lab`] first waits for the heir.
    Shutdown,
    /// The deadline has come. Said too early it does nothing.
    TimerExpired,
    /// An advertisement passed the checks of section 7.1.
    Advert {
        /// Its sender's primary address.
        from: IpAddr,
        /// Its priority; 0 gives up the Active role.
        priority: u8,
        /// Its sender's advertisement interval.
        interval: Interval,
    },
    /// The frames of one [`Action::Probe`] have really left, at the time that is handed over with this. Said once for each
    /// action, and not at all if they could not be sent.
    Probed,
    /// Another machine answered for one of the addresses, or announced it.
    Answered,
    /// Another machine probes for one of the addresses: it is about to take them if nobody answers (RFC 5227 section 2.1.1
    /// has the same rule for hosts).
    Rival {
        /// Does it go first? Whoever has the lower hardware address does.
        first: bool,
    },
    /// A lease could not be opened or renewed, because it was too late when the driver got to it.
    LeaseRefused,
    /// The links changed.
    Links(Links),
    /// The checks changed.
    Health(Health),
    /// Another virtual router of the same group became Active.
    GroupTook,
    /// Another virtual router of the same group ceased to be Active.
    GroupReleased,
}

/// What the driver shall do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send one advertisement with this priority.
    SendAdvert {
        /// The own priority, or 0 to give up.
        priority: u8,
    },
    /// Ask who has the addresses, on their own links, and say [`Input::Probed`] once the frames have left.
    Probe,
    /// Open the lease: it precedes all else that a new Active does, where there are leases. Until then, and after a lease has run
    /// out, the kernel neither answers for the addresses nor passes their traffic.
    ///
    /// A process may be stopped between its decision and the deed. So this must not be done later than `by`: somebody else
    /// may have found the same silence since. The driver says [`Input::LeaseRefused`] then, and leaves out the rest.
    Grant {
        /// When it runs out.
        until: Time,
        /// When it is too late to open it.
        by: Time,
    },
    /// Let the open lease run until then. One that has run out must not be renewed, even if this was said in time: somebody
    /// may have asked for the addresses since, and taken them. The driver says [`Input::LeaseRefused`] then.
    Lease {
        /// When it runs out.
        until: Time,
    },
    /// Stop answering for the addresses, but go on serving those who know the way: the heir is about to announce them.
    Hush,
    /// Add the addresses, announce them, set the routes.
    TakeAddresses,
    /// Remove routes and addresses.
    ReleaseAddresses,
    /// Announce the addresses again: another router that thought itself Active may have announced them since.
    Announce,
    /// Tell whoever wants to know.
    Transition {
        /// The state before.
        from: State,
        /// The state from now on.
        to: State,
        /// Why.
        because: Cause,
    },
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was started.
    Started,
    /// It was started as the owner of the addresses.
    StartedAsOwner,
    /// It was told to stop.
    Stopped,
    /// Nobody advertised for the Active_Down_Interval.
    AdvertsMissed,
    /// The Active gave up by priority 0, and nobody was quicker.
    Resigned {
        /// Who gave up.
        by: IpAddr,
    },
    /// The Active has a lower priority than this router.
    Preempted {
        /// The Active.
        active: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// An Active with a higher priority, or as high and with a greater address, is there.
    Outranked {
        /// The other Active.
        by: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// A link without which it cannot serve went down.
    LinkDown,
    /// A tracked check failed.
    CheckFailed,
    /// It was not on time for its own lease.
    LeaseLapsed,
    /// It let go of the addresses, and nobody has taken them.
    NobodyElse,
    /// Another machine announced the addresses just after this one had taken them.
    Contested,
    /// Another virtual router of its group changed.
    Group,
}

/// What keeps a virtual router from its full duty although its state is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degraded {
    /// A link is down without which it cannot serve, so it waits in Initialize.
    LinkDown,
    /// A tracked check fails, so it waits in Initialize.
    CheckFailed,
    /// No advert comes or goes. An Active goes on, and a Backup does not take.
    ElectionLinkDown,
    /// A Backup that hears no adverts, while somebody answers for the addresses.
    AdvertsMissing,
    /// A Backup whose claim is not heeded.
    NotYielded,
    /// An Active that is not alone: another machine answers for the addresses too.
    Contested,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
        })
    }
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LinkDown => "a link is down without which it cannot serve",
            Self::CheckFailed => "a check keeps it out of the election",
            Self::ElectionLinkDown => "the link of the election is down",
            Self::AdvertsMissing => "adverts are missing, but somebody answers for the addresses",
            Self::NotYielded => "the active router does not yield",
            Self::Contested => "another machine answers for the addresses too",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => write!(f, "it started"),
            Self::StartedAsOwner => write!(f, "it started and owns the addresses"),
            Self::Stopped => write!(f, "it was told to stop"),
            Self::AdvertsMissed => write!(f, "3 adverts missed"),
            Self::Resigned { by } => write!(f, "{by} gave up"),
            Self::Preempted { active, priority } => {
                write!(f, "{active} is active with priority {priority} only")
            }
            Self::Outranked { by, priority } => write!(f, "{by} is active with priority {priority}"),
            Self::LinkDown => write!(f, "a link is down"),
            Self::CheckFailed => write!(f, "a check failed"),
            Self::LeaseLapsed => write!(f, "the lease lapsed"),
            Self::NobodyElse => write!(f, "nobody else has the addresses"),
            Self::Contested => write!(f, "another machine took the addresses at the same time"),
            Self::Group => write!(f, "its group did"),
        }
    }
}
