//! The state machine of RFC 9568 section 6.4 for one virtual router: an input and the time in, actions out. It knows no
//! socket, no clock and no address of the virtual router; whoever drives it does.
//!
//! The driver calls [`Machine::handle`] for everything that happens and once [`Machine::deadline`] has come. It must
//! hand over every advertisement, answer and rival that already waits before it says [`Input::TimerExpired`]: a process
//! that ran late must not take over from an Active whose advertisements are in its own queue.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use super::{Interval, SkewRule};

/// A point in time: the span since a start that only the driver knows.
pub type Time = Duration;

/// The priority of the owner of the addresses (section 5.2.4).
const OWNER: u8 = 255;
/// Shortest time between two announcements because of conflicts: a peer that never gives in must not turn the holder
/// into a source of broadcasts, and a link that heals twice a second still gets its announcement.
const CONFLICT_ANNOUNCE_GAP: Duration = Duration::from_secs(1);

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
    /// Every link that has a public floating address but carries no adverts is up.
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
    /// Let the lease run until then. Until it is renewed for the first time, and after it has run out, the kernel neither
    /// answers for the addresses nor passes their traffic.
    ///
    /// It precedes [`Action::TakeAddresses`] where both are said. Without that it renews, and a lease that has run out must
    /// not be renewed any more: somebody may have asked for the addresses in the meantime, and taken them.
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

/// One virtual router.
#[derive(Clone, Debug)]
pub struct Machine {
    config: Config,
    phase: Phase,
}

/// A state with what only that state has, so that a timer cannot outlive it.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Initialize,
    Backup {
        /// Active_Adver_Interval: what the Active last said, and the own interval before that.
        active_interval: Interval,
        /// When the Active_Down_Timer fires.
        down_at: Time,
        /// What it means when it does.
        because: Cause,
    },
    Active {
        /// When the Adver_Timer fires.
        advert_at: Time,
        /// Conflicts before this are not announced.
        quiet_until: Time,
    },
}

impl Machine {
    /// A virtual router that waits for [`Input::Startup`].
    pub fn new(config: Config) -> Self {
        Self { config, phase: Phase::Initialize }
    }

    /// Its state now.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Initialize => State::Initialize,
            Phase::Backup { .. } => State::Backup,
            Phase::Active { .. } => State::Active,
        }
    }

    /// The priority that it takes part with, after the checks; 0 while one keeps it out of the election.
    pub fn effective_priority(&self) -> u8 {
        self.config.priority.get()
    }

    /// What is wrong although its state is right.
    pub fn degraded(&self) -> Option<Degraded> {
        None
    }

    /// When it wants [`Input::TimerExpired`]; it has one timer at most.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Initialize => None,
            Phase::Backup { down_at, .. } => Some(down_at),
            Phase::Active { advert_at, .. } => Some(advert_at),
        }
    }

    /// Takes one input and says what to do about it. The guards of an arm are tried in the order of the RFC's text.
    pub fn handle(&mut self, input: Input, now: Time) -> Vec<Action> {
        match (self.phase, input) {
            // 6.4.1: the owner is Active at once, anybody else listens first.
            (Phase::Initialize, Input::Startup) if self.is_owner() => {
                self.become_active(State::Initialize, Cause::StartedAsOwner, now)
            }
            (Phase::Initialize, Input::Startup) => {
                self.watch(self.config.interval, now);
                vec![transition(State::Initialize, State::Backup, Cause::Started)]
            }
            // 6.4.1 knows no other event; a timer of an earlier life may still come.
            (Phase::Initialize, Input::Shutdown | Input::TimerExpired | Input::Advert { .. }) => vec![],
            (
                _,
                Input::Probed
                | Input::Answered
                | Input::Rival { .. }
                | Input::Links(_)
                | Input::Health(_)
                | Input::GroupTook
                | Input::GroupReleased,
            ) => vec![],

            // 6.4.2: a backup leaves without a word.
            (Phase::Backup { .. }, Input::Shutdown) => {
                self.phase = Phase::Initialize;
                vec![transition(State::Backup, State::Initialize, Cause::Stopped)]
            }
            // A timer that was moved since it was set.
            (Phase::Backup { down_at, .. }, Input::TimerExpired) if now < down_at => vec![],
            // 6.4.2: Active_Down_Timer.
            (Phase::Backup { because, .. }, Input::TimerExpired) => {
                self.become_active(State::Backup, because, now)
            }
            // 6.4.2: the Active gives up; the skew decides between the backups.
            (Phase::Backup { active_interval, .. }, Input::Advert { from, priority: 0, .. }) => {
                let down_at = now + active_interval.skew(self.config.priority, self.config.skew);
                self.phase =
                    Phase::Backup { active_interval, down_at, because: Cause::Resigned { by: from } };
                vec![]
            }
            // 6.4.2: an Active to be content with, so its interval counts.
            (Phase::Backup { .. }, Input::Advert { priority, interval, .. })
                if !self.preempts() || priority >= self.config.priority.get() =>
            {
                self.watch(interval, now);
                vec![]
            }
            // 6.4.2: discarded. The timer runs on, and once it fires this is why.
            (Phase::Backup { active_interval, down_at, .. }, Input::Advert { from, priority, .. }) => {
                let because = Cause::Preempted { active: from, priority };
                self.phase = Phase::Backup { active_interval, down_at, because };
                vec![]
            }
            // Already started.
            (Phase::Backup { .. } | Phase::Active { .. }, Input::Startup) => vec![],

            // 6.4.3: the Active gives up, so that a backup need not wait for silence.
            (Phase::Active { .. }, Input::Shutdown) => {
                self.phase = Phase::Initialize;
                vec![
                    Action::SendAdvert { priority: 0 },
                    Action::ReleaseAddresses,
                    transition(State::Active, State::Initialize, Cause::Stopped),
                ]
            }
            // A timer that was moved since it was set.
            (Phase::Active { advert_at, .. }, Input::TimerExpired) if now < advert_at => vec![],
            // 6.4.3: Adver_Timer.
            (Phase::Active { advert_at, quiet_until }, Input::TimerExpired) => {
                let interval = self.config.interval.duration();
                // From when it was due, or a loop that is always a little late sends too few; but never a burst.
                let on_time = advert_at + interval;
                let advert_at = if on_time > now { on_time } else { now + interval };
                self.phase = Phase::Active { advert_at, quiet_until };
                vec![self.advert()]
            }
            // 6.4.3: somebody else gave up; the advertisement tells all that this router has not.
            (Phase::Active { quiet_until, .. }, Input::Advert { priority: 0, .. }) => {
                let advert_at = now + self.config.interval.duration();
                self.phase = Phase::Active { advert_at, quiet_until };
                vec![self.advert()]
            }
            // 6.4.3: a better Active.
            (Phase::Active { .. }, Input::Advert { from, priority, interval })
                if (priority, from) > (self.config.priority.get(), self.config.address) =>
            {
                self.watch(interval, now);
                let because = Cause::Outranked { by: from, priority };
                vec![Action::ReleaseAddresses, transition(State::Active, State::Backup, because)]
            }
            // 6.4.3: a worse Active hears at once that it is one. The timer runs on.
            (Phase::Active { quiet_until, .. }, Input::Advert { .. }) if now < quiet_until => {
                vec![self.advert()]
            }
            // The same; and what the other announced is set right, which the RFC leaves open.
            (Phase::Active { advert_at, .. }, Input::Advert { .. }) => {
                self.phase = Phase::Active { advert_at, quiet_until: now + CONFLICT_ANNOUNCE_GAP };
                vec![self.advert(), Action::Announce]
            }
        }
    }

    /// Section 6.1: an owner always preempts, whatever Preempt_Mode says.
    fn preempts(&self) -> bool {
        self.config.preempt || self.is_owner()
    }

    fn is_owner(&self) -> bool {
        self.config.priority.get() == OWNER
    }

    fn advert(&self) -> Action {
        Action::SendAdvert { priority: self.config.priority.get() }
    }

    /// Backup, with the whole Active_Down_Interval of that Active_Adver_Interval before it.
    fn watch(&mut self, interval: Interval, now: Time) {
        let down_at = now + interval.active_down(self.config.priority, self.config.skew);
        self.phase = Phase::Backup { active_interval: interval, down_at, because: Cause::AdvertsMissed };
    }

    fn become_active(&mut self, from: State, because: Cause, now: Time) -> Vec<Action> {
        let advert_at = now + self.config.interval.duration();
        self.phase = Phase::Active { advert_at, quiet_until: Time::ZERO };
        vec![self.advert(), Action::TakeAddresses, transition(from, State::Active, because)]
    }
}

fn transition(from: State, to: State, because: Cause) -> Action {
    Action::Transition { from, to, because }
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

#[cfg(test)]
mod tests;
