//! Section 6.4.2: a Backup watches the Active and takes once that is silent. In [`super::Profile::Lab`] it takes only if nobody
//! answers for the addresses either, and if the Active is alive it claims them first. It does not know how an Active goes.

use std::net::IpAddr;
use std::time::Duration;

use super::search::{HEIR_PROBES, InFlight, Next, PROBES, Search};
use super::{Action, Cause, Degraded, Health, Interval, Links, Machine, Phase, State, Time};

/// How long each heir waits for the one that would win against it: for its probe, its silence and its advert, on a busy
/// machine too. A multiple of the interval would be longer than the one that resigns can wait.
const RANK_STEP: Duration = Duration::from_millis(20);
/// How long a claim goes on at least, however short the interval: the Active must hear it and stop answering.
const CLAIM_MIN: Duration = Duration::from_millis(20);
/// From the first answer to the next round of a claim; from each further one it is twice as long.
const CLAIM_RETRY: Duration = Duration::from_millis(5);

/// That a router wants the addresses of a live Active.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// It is given up then.
    until: Time,
    /// From the next answer to the next round.
    retry: Duration,
}

/// What a Backup knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Active_Adver_Interval: what the Active last said, and the own interval before that.
    pub(super) active_interval: Interval,
    /// When the Active_Down_Timer fires.
    pub(super) down_at: Time,
    /// What it means when it does.
    pub(super) because: Cause,
    /// Who advertised last, and its priority.
    active: Option<(IpAddr, u8)>,
    /// The Active has given up in favour of whoever takes.
    is_heir: bool,
    /// The claim that is under way.
    claim: Option<Claim>,
    search: Search,
    pub(super) degraded: Option<Degraded>,
}

impl Machine {
    /// Backup, with the whole Active_Down_Interval of that Active_Adver_Interval before it.
    pub(super) fn watch(&mut self, interval: Interval, active: Option<(IpAddr, u8)>, now: Time) {
        let down_at = now + self.active_down(interval);
        let search = Search::before(down_at, now);
        let watch = Watch::new(interval, down_at, Cause::AdvertsMissed);
        self.phase = Phase::Backup(Watch { active, search, ..watch });
    }

    /// Backup of a router that has no reason to wait for adverts: it looks for another holder at once.
    pub(super) fn look_around(&mut self, interval: Interval, now: Time) {
        if !self.searches() {
            return self.watch(interval, None, now);
        }
        self.phase = Phase::Backup(Watch::new(interval, now, Cause::NobodyElse));
    }

    pub(super) fn watch_deadline(&self, watch: Watch) -> Option<Time> {
        if !self.can_take() {
            return None;
        }
        if !self.searches() {
            return Some(watch.down_at);
        }
        Some(match watch.search.next(self.probes_in_flight, self.rivals.until()) {
            Next::Probe(at) | Next::Lost(at) => at,
            Next::Silence(at) => at.max(watch.down_at),
        })
    }

    pub(super) fn watch_expired(&mut self, mut watch: Watch, now: Time) -> Vec<Action> {
        if self.watch_deadline(watch).is_none_or(|at| now < at) {
            return vec![];
        }
        if !self.searches() {
            return self.become_active(State::Backup, watch.because, now);
        }
        match watch.search.next(self.probes_in_flight, self.rivals.until()) {
            Next::Silence(_) if !watch.search.is_stale(now) => {
                return self.become_active(State::Backup, watch.because, now);
            }
            Next::Probe(_) => {}
            Next::Silence(_) | Next::Lost(_) => {
                self.probes_in_flight = InFlight::default();
                watch.search = Search::at(now, PROBES);
            }
        }
        let mut actions = vec![];
        if watch.must_claim() {
            let until = now + self.config.interval.duration().max(CLAIM_MIN);
            watch.claim = Some(Claim { until, retry: CLAIM_RETRY });
            actions.push(self.advert());
        }
        self.probes_in_flight.ask(now);
        watch.search.ask(now);
        self.phase = Phase::Backup(watch);
        actions.push(Action::Probe);
        actions
    }

    /// Takes over from a live Active, as if the timer had fired.
    pub(super) fn claim(&mut self, because: Cause, now: Time) -> Vec<Action> {
        let Phase::Backup(watch) = self.phase else { return vec![] };
        let search = Search::at(now, PROBES);
        let watch = Watch { down_at: now, because, search, claim: None, is_heir: false, ..watch };
        self.phase = Phase::Backup(watch);
        self.watch_expired(watch, now)
    }

    /// Another virtual router of its group took.
    pub(super) fn follow(&mut self, watch: Watch, now: Time) -> Vec<Action> {
        if watch.claim.is_some() { vec![] } else { self.claim(Cause::Group, now) }
    }

    /// The Active gives up.
    pub(super) fn succeed(&mut self, watch: Watch, from: IpAddr, now: Time) -> Vec<Action> {
        let Some(rules) = self.lab() else {
            let down_at = now + self.skew(watch.active_interval);
            self.phase = Phase::Backup(Watch { down_at, because: Cause::Resigned { by: from }, ..watch });
            return vec![];
        };
        if watch.is_heir {
            return vec![];
        }
        // Whoever claims has beaten the others to it: they heard its claim.
        let claims = watch.claim.is_some();
        let resigns_first = watch
            .active
            .is_some_and(|(active, priority)| active == from && self.is_outranked_by(priority, active));
        let steps = if claims { 0 } else { rules.rank.saturating_sub(resigns_first.into()) };
        let down_at = now + steps * RANK_STEP;
        let search = Search::at(down_at, HEIR_PROBES);
        let because = if claims { watch.because } else { Cause::Resigned { by: from } };
        let watch = Watch { down_at, because, is_heir: true, search, degraded: None, ..watch };
        self.phase = Phase::Backup(watch);
        self.watch_expired(watch, now)
    }

    /// An Active of lower priority is alive.
    pub(super) fn discard(&mut self, watch: Watch, from: IpAddr, priority: u8, now: Time) -> Vec<Action> {
        let mut watch = Watch {
            because: Cause::Preempted { active: from, priority },
            active: Some((from, priority)),
            is_heir: false,
            ..watch
        };
        // It would answer the probes that look for a holder while adverts are missing; those of a claim come later.
        if watch.claim.is_none() {
            watch.search = watch.planned_search(now);
            watch.degraded = watch.degraded.filter(|degraded| *degraded != Degraded::AdvertsMissing);
        }
        self.phase = Phase::Backup(watch);
        vec![]
    }

    pub(super) fn probe_left(&mut self, mut watch: Watch, at: Time) -> Vec<Action> {
        self.probes_in_flight.left();
        watch.search.left(at);
        self.phase = Phase::Backup(watch);
        vec![]
    }

    /// There is a holder. Without a round under way that is nothing new.
    pub(super) fn somebody_answers(&mut self, mut watch: Watch, now: Time) -> Vec<Action> {
        if !watch.search.has_begun() {
            return vec![];
        }
        watch.is_heir = false;
        match watch.claim {
            Some(Claim { until, retry }) if now + retry < until => {
                watch.claim = Some(Claim { until, retry: 2 * retry });
                watch.search = Search::at(now + retry, PROBES);
            }
            Some(_) => {
                self.watch(watch.active_interval, watch.active, now);
                if let Phase::Backup(watch) = &mut self.phase {
                    watch.degraded = Some(Degraded::NotYielded);
                }
                return vec![];
            }
            None => {
                watch.degraded = Some(Degraded::AdvertsMissing);
                watch.search = Search::at(now + watch.active_interval.duration(), PROBES);
            }
        }
        self.phase = Phase::Backup(watch);
        vec![]
    }

    /// A rival that began earlier has its turn, and so has one that began at the same time and goes first.
    pub(super) fn give_way(&mut self, mut watch: Watch, first: bool, now: Time) -> Vec<Action> {
        let gives_way = self.rivals.hear(now);
        if first && gives_way && watch.search.has_begun() {
            watch.search = watch.search.again(now);
            self.phase = Phase::Backup(watch);
        }
        vec![]
    }

    pub(super) fn backup_links(&mut self, watch: Watch, links: Links, now: Time) -> Vec<Action> {
        let heard = self.links.election;
        self.links = links;
        if !self.is_fit() {
            return self.initialize(State::Backup, self.unfit_because());
        }
        // What was silence until now was its own deafness.
        if links.election && !heard {
            self.watch(watch.active_interval, watch.active, now);
        }
        vec![]
    }

    pub(super) fn backup_health(&mut self, mut watch: Watch, health: Health, now: Time) -> Vec<Action> {
        let skew = self.skew(watch.active_interval);
        self.health = health;
        if !self.is_fit() {
            return self.initialize(State::Backup, self.unfit_because());
        }
        // The skew is that of the priority that counts now. A claim and a lab's heir have none.
        if !watch.is_heir && !watch.is_impatient() {
            watch.down_at = (watch.down_at + self.skew(watch.active_interval)).saturating_sub(skew);
            if !watch.search.has_begun() && watch.degraded.is_none() {
                watch.search = watch.planned_search(now);
            }
            self.phase = Phase::Backup(watch);
        }
        vec![]
    }
}

impl Watch {
    /// With a first round once the Active_Down_Timer has fired.
    fn new(active_interval: Interval, down_at: Time, because: Cause) -> Self {
        Self {
            active_interval,
            down_at,
            because,
            active: None,
            is_heir: false,
            claim: None,
            search: Search::at(down_at, PROBES),
            degraded: None,
        }
    }

    /// When the first round begins: before the timer fires, or after it if it needs a claim.
    fn planned_search(&self, now: Time) -> Search {
        if matches!(self.because, Cause::Preempted { .. }) {
            return Search::at(self.down_at.max(now), PROBES);
        }
        Search::before(self.down_at, now)
    }

    /// Is somebody alive who must hear that this router wants the addresses?
    fn must_claim(&self) -> bool {
        let lives = matches!(self.because, Cause::Preempted { .. } | Cause::StartedAsOwner | Cause::Group);
        lives && self.claim.is_none() && !self.is_heir
    }

    /// Does it not wait for silence at all?
    fn is_impatient(&self) -> bool {
        self.claim.is_some()
            || matches!(self.because, Cause::NobodyElse | Cause::StartedAsOwner | Cause::Group)
    }
}
