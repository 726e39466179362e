//! The state machine of RFC 9568 section 6.4 for one virtual router: an input and the time in, actions out. It knows no
//! socket, no clock and no address of the virtual router; whoever drives it does.
//!
//! The driver calls [`Machine::handle`] for everything that happens and once [`Machine::deadline`] has come. It must
//! hand over every advertisement, answer and rival that already waits before it says [`Input::TimerExpired`]: a process
//! that ran late must not take over from an Active whose advertisements are in its own queue.

mod active;
mod backup;
mod contract;
mod handover;
mod search;

use std::net::IpAddr;
use std::num::NonZeroU8;

use self::active::Hold;
use self::backup::Watch;
pub use self::contract::{
    Action, Cause, Config, Degraded, Health, Input, LabRules, Links, Profile, State, Time,
};
use self::handover::Handover;
use self::search::{InFlight, Rivals};
use super::{Interval, OWNER};

/// One virtual router.
#[derive(Clone, Debug)]
pub struct Machine {
    config: Config,
    links: Links,
    health: Health,
    /// Between Startup and Shutdown, whatever keeps it from taking part.
    started: bool,
    /// Before this it does not take over from a live Active of lower priority.
    preempts_from: Time,
    probes_in_flight: InFlight,
    rivals: Rivals,
    phase: Phase,
}

/// A state with what only that state has, so that a timer cannot outlive it.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Initialize,
    Backup(Watch),
    Active(Hold),
    /// Active still, but about to be no more: only [`Profile::Lab`] has it.
    Leaving(Handover),
}

impl Machine {
    /// A virtual router that waits for [`Input::Startup`]. All is well with its links and checks until it hears otherwise.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            links: Links { election: true, service: true },
            health: Health::default(),
            started: false,
            preempts_from: Time::ZERO,
            probes_in_flight: InFlight::default(),
            rivals: Rivals::default(),
            phase: Phase::Initialize,
        }
    }

    /// Its state now.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Initialize => State::Initialize,
            Phase::Backup(_) => State::Backup,
            Phase::Active(_) | Phase::Leaving(_) => State::Active,
        }
    }

    /// When it wants [`Input::TimerExpired`]; it has one timer at most.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Initialize => None,
            Phase::Backup(watch) => self.watch_deadline(watch),
            Phase::Active(hold) => Some(hold.advert_at),
            Phase::Leaving(handover) => Some(handover.ends_at()),
        }
    }

    /// The priority that it takes part with, after the checks; 0 while one keeps it out of the election.
    pub fn effective_priority(&self) -> u8 {
        if self.health.fault { 0 } else { self.priority().get() }
    }

    /// What is wrong although its state is right.
    pub fn degraded(&self) -> Option<Degraded> {
        let cut_off = (!self.links.election).then_some(Degraded::ElectionLinkDown);
        match self.phase {
            Phase::Initialize if !self.started || self.is_fit() => None,
            Phase::Initialize if self.health.fault => Some(Degraded::CheckFailed),
            Phase::Initialize => Some(Degraded::LinkDown),
            Phase::Backup(watch) => cut_off.or(watch.degraded),
            Phase::Active(hold) => cut_off.or(hold.contested_until.map(|_| Degraded::Contested)),
            Phase::Leaving(_) => cut_off,
        }
    }

    /// Takes one input and says what to do about it.
    pub fn handle(&mut self, input: Input, now: Time) -> Vec<Action> {
        let mut actions = self.step_down_if_lapsed(now);
        actions.extend(self.step(input, now));
        actions
    }

    /// The guards of an arm are tried in the order of the RFC's text. Arms without a section are not of the RFC; those of
    /// links, checks and groups are everybody's, all others are [`Profile::Lab`]'s.
    fn step(&mut self, input: Input, now: Time) -> Vec<Action> {
        match (self.phase, input) {
            // 6.4.1: the owner is Active at once, anybody else listens first.
            (Phase::Initialize, Input::Startup) => {
                self.started = true;
                self.begin_if_fit(now)
            }
            (Phase::Initialize, Input::Shutdown) => {
                self.started = false;
                vec![]
            }
            // 6.4.1 knows no other event; a timer of an earlier life may still come.
            (Phase::Initialize, Input::TimerExpired | Input::Advert { .. }) => vec![],
            // What kept it out may be over.
            (Phase::Initialize, Input::Links(links)) => {
                self.links = links;
                self.begin_if_fit(now)
            }
            (Phase::Initialize, Input::Health(health)) => {
                self.health = health;
                self.begin_if_fit(now)
            }
            (Phase::Initialize, Input::Answered | Input::GroupTook | Input::GroupReleased) => vec![],

            // 6.4.2: a backup leaves without a word.
            (Phase::Backup(_), Input::Shutdown) => {
                self.started = false;
                self.initialize(State::Backup, Cause::Stopped)
            }
            // 6.4.2: Active_Down_Timer.
            (Phase::Backup(watch), Input::TimerExpired) => self.watch_expired(watch, now),
            // 6.4.2: the Active gives up; the skew decides between the backups.
            (Phase::Backup(watch), Input::Advert { from, priority: 0, .. }) => self.succeed(watch, from, now),
            // 6.4.2: an Active to be content with, so its interval counts.
            (Phase::Backup(_), Input::Advert { from, priority, interval })
                if !self.preempts(now) || priority >= self.priority().get() =>
            {
                self.watch(interval, Some((from, priority)), now);
                vec![]
            }
            // 6.4.2: discarded. The timer runs on, and once it fires this is why.
            (Phase::Backup(watch), Input::Advert { from, priority, .. }) => {
                self.discard(watch, from, priority, now)
            }
            // The second silence, or its end.
            (Phase::Backup(watch), Input::Answered) => self.somebody_answers(watch, now),
            (Phase::Backup(watch), Input::Rival { first }) => self.give_way(watch, first, now),
            // Fit no more, or cut off, or able to hear again.
            (Phase::Backup(watch), Input::Links(links)) => self.backup_links(watch, links, now),
            (Phase::Backup(watch), Input::Health(health)) => self.backup_health(watch, health, now),
            // All of a group are Active together.
            (Phase::Backup(watch), Input::GroupTook) => self.follow(watch, now),
            (Phase::Backup(_), Input::GroupReleased) => vec![],

            // 6.4.3: the Active gives up, so that a backup need not wait for silence.
            (Phase::Active(hold), Input::Shutdown) => {
                self.started = false;
                self.resign(hold, Cause::Stopped, now)
            }
            // 6.4.3: Adver_Timer, unless it was moved since it was set.
            (Phase::Active(hold), Input::TimerExpired) if now < hold.advert_at => vec![],
            (Phase::Active(hold), Input::TimerExpired) => self.advertise(hold, now),
            // 6.4.3: somebody else gave up; the advertisement tells all that this router has not.
            (Phase::Active(hold), Input::Advert { priority: 0, .. }) => self.speak_up(hold, now),
            // 6.4.3: a better Active.
            (Phase::Active(hold), Input::Advert { from, priority, interval })
                if self.is_outranked_by(priority, from) =>
            {
                self.yield_to(hold, (from, priority), interval, now)
            }
            // 6.4.3: a worse Active hears at once that it is one. The timer runs on.
            (Phase::Active(hold), Input::Advert { .. }) => self.contradict(hold, now),
            // Somebody else announced the addresses.
            (Phase::Active(hold), Input::Answered) => self.defend(hold, now),
            // Said in time, and yet too late.
            (Phase::Active(_), Input::LeaseRefused) => self.step_down(Cause::LeaseLapsed, now),
            (Phase::Active(hold), Input::Links(links)) => self.active_links(hold, links, now),
            (Phase::Active(hold), Input::Health(health)) => self.active_health(hold, health, now),
            (Phase::Active(_), Input::GroupTook) => vec![],
            (Phase::Active(hold), Input::GroupReleased) => self.make_way(hold, Cause::Group, now),

            // Make before break: what it is heading for may still change.
            (Phase::Leaving(_), Input::Startup) => {
                self.started = true;
                vec![]
            }
            (Phase::Leaving(handover), Input::Shutdown) => {
                self.started = false;
                self.phase = Phase::Leaving(handover.for_good());
                vec![]
            }
            (Phase::Leaving(handover), Input::TimerExpired) if now < handover.ends_at() => vec![],
            (Phase::Leaving(handover), Input::TimerExpired) => self.let_go(handover, now),
            (Phase::Leaving(_), Input::Advert { priority: 0, .. }) => vec![],
            (Phase::Leaving(handover), Input::Advert { from, priority, .. }) => {
                self.heir_speaks(handover, (from, priority), now)
            }
            (Phase::Leaving(handover), Input::Answered) => self.heir_is_there(handover, now),
            (Phase::Leaving(handover), Input::LeaseRefused) => self.let_go(handover, now),
            (Phase::Leaving(handover), Input::Links(links)) => {
                self.links = links;
                if links.service { vec![] } else { self.let_go(handover, now) }
            }
            (Phase::Leaving(_), Input::Health(health)) => {
                self.health = health;
                vec![]
            }
            (Phase::Leaving(_), Input::GroupTook | Input::GroupReleased) => vec![],

            // Already released.
            (Phase::Initialize | Phase::Backup(_), Input::LeaseRefused) => vec![],
            // Already started.
            (Phase::Backup(_) | Phase::Active(_), Input::Startup) => vec![],
            // The kernel answers the rival if there is an answer. If there is none, it has the earlier claim.
            (Phase::Initialize | Phase::Active(_) | Phase::Leaving(_), Input::Rival { .. }) => {
                self.rivals.hear(now);
                vec![]
            }
            // A search may have ended while its probes were still in a queue.
            (Phase::Initialize | Phase::Active(_) | Phase::Leaving(_), Input::Probed) => {
                self.probes_in_flight.left();
                vec![]
            }
            (Phase::Backup(watch), Input::Probed) => self.probe_left(watch, now),
        }
    }

    /// Section 6.4.1, once nothing is in the way.
    fn begin_if_fit(&mut self, now: Time) -> Vec<Action> {
        if !self.started || !self.is_fit() {
            return vec![];
        }
        self.preempts_from = now + self.config.preempt_delay;
        if self.is_owner() && !self.searches() && self.can_take() {
            return self.become_active(State::Initialize, Cause::StartedAsOwner, now);
        }
        self.watch(self.config.interval, None, now);
        let mut actions = vec![transition(State::Initialize, State::Backup, Cause::Started)];
        if self.is_owner() {
            actions.extend(self.claim(Cause::StartedAsOwner, now));
        }
        actions
    }

    fn initialize(&mut self, from: State, because: Cause) -> Vec<Action> {
        self.phase = Phase::Initialize;
        vec![transition(from, State::Initialize, because)]
    }

    /// Can it take part at all?
    fn is_fit(&self) -> bool {
        let hears = match self.config.profile {
            Profile::Rfc9568 => self.links.election,
            Profile::Lab(_) => true,
        };
        hears && self.links.service && !self.health.fault
    }

    /// Why it cannot.
    fn unfit_because(&self) -> Cause {
        if self.health.fault { Cause::CheckFailed } else { Cause::LinkDown }
    }

    /// Who hears nobody must not conclude anything from that, and could not serve either.
    fn can_take(&self) -> bool {
        self.links.election
    }

    /// After the checks. They never lower it to 0, which says something else, nor that of an owner.
    fn priority(&self) -> NonZeroU8 {
        let configured = self.config.priority;
        let lowered = configured.get().saturating_sub(self.health.lowered_by);
        if self.is_owner() { configured } else { NonZeroU8::new(lowered).unwrap_or(NonZeroU8::MIN) }
    }

    fn is_owner(&self) -> bool {
        self.config.priority.get() == OWNER
    }

    /// Section 6.1: an owner always preempts, whatever Preempt_Mode says. The delay is not of the RFC.
    fn preempts(&self, now: Time) -> bool {
        self.is_owner() || (self.config.preempt && now >= self.preempts_from)
    }

    /// Section 6.4.3: the greater priority wins, and between equals the greater address.
    fn is_outranked_by(&self, priority: u8, from: IpAddr) -> bool {
        (priority, from) > (self.priority().get(), self.config.address)
    }

    fn lab(&self) -> Option<LabRules> {
        match self.config.profile {
            Profile::Rfc9568 => None,
            Profile::Lab(rules) => Some(rules),
        }
    }

    /// Does it take only after a second silence?
    fn searches(&self) -> bool {
        self.lab().is_some_and(|rules| rules.probes)
    }

    fn skew(&self, interval: Interval) -> Time {
        interval.skew(self.priority(), self.config.skew)
    }

    fn active_down(&self, interval: Interval) -> Time {
        interval.active_down(self.priority(), self.config.skew)
    }

    fn advert(&self) -> Action {
        Action::SendAdvert { priority: self.priority().get() }
    }
}

fn transition(from: State, to: State, because: Cause) -> Action {
    Action::Transition { from, to, because }
}

#[cfg(test)]
mod tests;
