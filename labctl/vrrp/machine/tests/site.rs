//! A simulated site for [`Profile::Lab`]: machines with kernels and leases, a network for adverts that may do anything to
//! them, and one for the addresses that delivers every frame in time. After every event, at most one kernel of each
//! connected part answers for the addresses.

use std::collections::BTreeMap;

use super::*;

/// Longest way of a frame over the network of the addresses; the search is safe below half of its silence.
pub(super) const FRAME_DELAY_MAX: Duration = Duration::from_micros(1900);
/// Longest way of an advert over a bad network: several intervals.
const ADVERT_DELAY_MAX: Duration = Duration::from_millis(60);
/// Longest way of an advert over a good one.
const ADVERT_DELAY_GOOD: Duration = Duration::from_micros(500);
/// How late a process that may run wakes at most.
const LATE_MAX: Duration = Duration::from_millis(2);
/// Most events of a run; machines that answer one another without end would never let the time pass.
const EVENTS_MAX: usize = 200_000;

/// What chance has for one packet or one wake, in thousandths of what is possible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    pub(super) lost: bool,
    pub(super) twice: bool,
    /// How slow a packet is.
    pub(super) part: u16,
    /// How late a process wakes.
    pub(super) late: u16,
}

/// What somebody does to the site.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Adverts get lost, late, doubled and out of order; or no more.
    Weather {
        bad: bool,
    },
    /// The node's adverts are in that part of the network.
    Partition {
        node: usize,
        part: u8,
    },
    /// The daemon is stopped, its kernel is not.
    Pause {
        node: usize,
        ms: u16,
    },
    /// The daemon is stopped between reading the clock and acting the next time.
    Stall {
        node: usize,
        ms: u16,
    },
    /// The daemon is killed and started again.
    Kill {
        node: usize,
        ms: u16,
    },
    /// It is told to stop, or to start.
    Stop {
        node: usize,
    },
    Start {
        node: usize,
    },
    /// The node's own links, as its daemon sees them.
    Links {
        node: usize,
        links: Links,
    },
    Health {
        node: usize,
        health: Health,
    },
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A daemon hears something.
    Hear { node: usize, input: Input },
    /// A probe has left.
    Left { node: usize, life: u32 },
    /// A probe arrives at a kernel.
    Asked { node: usize, by: usize },
    /// A daemon goes on after a pause.
    Resume { node: usize },
    /// A daemon that was killed starts anew.
    Restart { node: usize },
    /// A fault.
    Fault(Fault),
}

/// A machine, the daemon on it and its kernel.
struct Node {
    config: Config,
    machine: Machine,
    /// Counts the starts of the daemon: what one asked for is not told to the next.
    life: u32,
    killed: bool,
    paused_until: Option<Time>,
    stall: Option<Duration>,
    /// What waits for a daemon that is paused.
    queue: Vec<(Time, Input)>,
    late_actions: Vec<Action>,
    late: Duration,
    links: Links,
    part: u8,
    holds: bool,
    hushed: bool,
    lease_until: Time,
    /// Somebody asked after the lease had run out: no renewal opens it again.
    shut: bool,
}

impl Node {
    fn answers(&self, now: Time) -> bool {
        self.links.service && self.holds && !self.hushed && !self.shut && now < self.lease_until
    }
}

pub(super) struct Site {
    nodes: Vec<Node>,
    chances: Vec<Chance>,
    used: usize,
    bad: bool,
    events: BTreeMap<(Time, usize), Event>,
    made: usize,
    pub(super) now: Time,
    log: Option<Vec<String>>,
}

impl Site {
    pub(super) fn new(configs: Vec<Config>, chances: Vec<Chance>) -> Self {
        let node = |config| Node {
            config,
            machine: Machine::new(config),
            life: 0,
            killed: false,
            paused_until: None,
            stall: None,
            queue: vec![],
            late_actions: vec![],
            late: Duration::ZERO,
            links: Links { election: true, service: true },
            part: 0,
            holds: false,
            hushed: false,
            lease_until: Time::ZERO,
            shut: false,
        };
        Self {
            nodes: configs.into_iter().map(node).collect(),
            chances,
            used: 0,
            bad: false,
            events: BTreeMap::new(),
            made: 0,
            now: Time::ZERO,
            log: None,
        }
    }

    /// Keeps one line for each thing that a daemon does, from now on.
    pub(super) fn record(&mut self) {
        self.log = Some(vec![]);
    }

    pub(super) fn told(&mut self) -> String {
        self.log.take().unwrap_or_default().join("\n")
    }

    pub(super) fn plan(&mut self, at: Time, fault: Fault) {
        self.event(at, Event::Fault(fault));
    }

    /// Everything is well from now on.
    pub(super) fn heal(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Fault(_)));
        self.plan(self.now, Fault::Weather { bad: false });
        for node in 0..self.nodes.len() {
            self.nodes[node].stall = None;
            self.plan(self.now, Fault::Partition { node, part: 0 });
            self.plan(self.now, Fault::Links { node, links: Links { election: true, service: true } });
            self.plan(self.now, Fault::Health { node, health: Health::default() });
            self.plan(self.now, Fault::Start { node });
        }
    }

    /// Who answers for the addresses.
    pub(super) fn holders(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&node| self.nodes[node].answers(self.now)).collect()
    }

    pub(super) fn states(&self) -> Vec<State> {
        self.nodes.iter().map(|node| node.machine.state()).collect()
    }

    pub(super) fn degraded(&self, node: usize) -> Option<Degraded> {
        self.nodes[node].machine.degraded()
    }

    /// Lets time pass. What waits in a queue comes before a timer that is due at the same time, as the driver has it.
    pub(super) fn run_until(&mut self, end: Time) -> Result<(), String> {
        for step in 0.. {
            if step == EVENTS_MAX {
                return Err(format!("the machines answer one another without end at {:?}", self.now));
            }
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let timer = (0..self.nodes.len()).filter_map(|node| Some((self.wakes_at(node)?, node))).min();
            match (event, timer) {
                (Some(at), _) if at <= end && timer.is_none_or(|(due, _)| at <= due) => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.now = self.now.max(at);
                    self.happen(event);
                }
                (_, Some((due, node))) if due <= end => {
                    self.now = self.now.max(due);
                    self.nodes[node].late = LATE_MAX * u32::from(self.chance().late) / 1000;
                    self.check_stale_timers()?;
                    self.give(node, Input::TimerExpired, self.now);
                }
                _ => break,
            }
            self.check_holders()?;
        }
        self.now = end;
        Ok(())
    }

    fn check_holders(&self) -> Result<(), String> {
        match self.holders() {
            holders if holders.len() > 1 => Err(format!("{holders:?} all answer at {:?}", self.now)),
            _ => Ok(()),
        }
    }

    fn check_stale_timers(&mut self) -> Result<(), String> {
        for node in &mut self.nodes {
            let stale = node.machine.deadline().is_none_or(|due| self.now < due);
            if stale && node.paused_until.is_none() && !node.killed {
                let before = format!("{:?}", node.machine);
                let overdue =
                    matches!(node.machine.phase, Phase::Active(hold) if self.now >= hold.lease_until);
                let done = node.machine.handle(Input::TimerExpired, self.now);
                if !overdue && (!done.is_empty() || format!("{:?}", node.machine) != before) {
                    return Err(format!("a stale timer did {done:?} to {before}"));
                }
            }
        }
        Ok(())
    }

    fn wakes_at(&self, node: usize) -> Option<Time> {
        let node = &self.nodes[node];
        let waits = node.killed || node.paused_until.is_some();
        node.machine.deadline().filter(|_| !waits).map(|due| due + node.late)
    }

    fn chance(&mut self) -> Chance {
        self.used += 1;
        self.chances[self.used % self.chances.len()]
    }

    fn event(&mut self, at: Time, event: Event) {
        self.made += 1;
        self.events.insert((at, self.made), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hear { node, input } => self.give(node, input, self.now),
            Event::Left { node, life } if self.nodes[node].life != life => {}
            Event::Left { node, .. } => self.give(node, Input::Probed, self.now),
            Event::Asked { node, by } => self.ask(node, by),
            Event::Resume { node } => self.resume(node),
            Event::Restart { node } => self.restart(node),
            Event::Fault(fault) => self.strike(fault),
        }
    }

    fn ask(&mut self, node: usize, by: usize) {
        if !self.nodes[node].links.service {
            return;
        }
        if self.nodes[node].answers(self.now) {
            let at = self.now + self.frame_delay();
            self.event(at, Event::Hear { node: by, input: Input::Answered });
        } else if self.now >= self.nodes[node].lease_until {
            self.nodes[node].shut = true;
        }
        self.give(node, Input::Rival { first: by < node }, self.now);
    }

    fn resume(&mut self, node: usize) {
        if self.nodes[node].killed || self.nodes[node].paused_until.is_some_and(|until| until > self.now) {
            return;
        }
        self.nodes[node].paused_until = None;
        let late = std::mem::take(&mut self.nodes[node].late_actions);
        self.act(node, late);
        for (at, input) in std::mem::take(&mut self.nodes[node].queue) {
            // A probe's time is that at which it left; everything else is news only now.
            let at = if input == Input::Probed { at } else { self.now };
            self.give(node, input, at);
        }
        if self.nodes[node].machine.deadline().is_some_and(|due| due <= self.now) {
            self.give(node, Input::TimerExpired, self.now);
        }
    }

    fn restart(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.killed = false;
        node.holds = false;
        node.hushed = false;
        node.machine = Machine::new(node.config);
        let links = node.links;
        self.give(at, Input::Links(links), self.now);
        self.give(at, Input::Startup, self.now);
    }

    fn strike(&mut self, fault: Fault) {
        let ms = |ms: u16| Duration::from_millis(ms.into());
        match fault {
            Fault::Weather { bad } => self.bad = bad,
            Fault::Partition { node, part } => self.nodes[node].part = part,
            Fault::Pause { node, ms: span } => {
                let until = self.now + ms(span);
                self.pause(node, until);
            }
            Fault::Stall { node, ms: span } => self.nodes[node].stall = Some(ms(span)),
            Fault::Kill { node, ms: span } => {
                let killed = &mut self.nodes[node];
                if !killed.killed {
                    killed.killed = true;
                    killed.life += 1;
                    killed.paused_until = None;
                    killed.queue.clear();
                    killed.late_actions.clear();
                    self.event(self.now + ms(span), Event::Restart { node });
                }
            }
            Fault::Stop { node } => self.give(node, Input::Shutdown, self.now),
            Fault::Start { node } => self.give(node, Input::Startup, self.now),
            Fault::Links { node, links } => {
                self.nodes[node].links = links;
                self.give(node, Input::Links(links), self.now);
            }
            Fault::Health { node, health } => self.give(node, Input::Health(health), self.now),
        }
    }

    fn pause(&mut self, node: usize, until: Time) {
        if !self.nodes[node].killed {
            let until = self.nodes[node].paused_until.map_or(until, |before| before.max(until));
            self.nodes[node].paused_until = Some(until);
            self.event(until, Event::Resume { node });
        }
    }

    fn give(&mut self, node: usize, input: Input, at: Time) {
        let receiver = &mut self.nodes[node];
        if receiver.killed {
            return;
        }
        if receiver.paused_until.is_some() {
            receiver.queue.push((at, input));
            return;
        }
        let actions = receiver.machine.handle(input, at);
        self.tell(node, input, &actions);
        let receiver = &mut self.nodes[node];
        match receiver.stall.take_if(|_| !actions.is_empty()) {
            Some(stall) => {
                receiver.late_actions = actions;
                let until = self.now + stall;
                self.pause(node, until);
            }
            None => self.act(node, actions),
        }
    }

    /// One line for whatever is not everyday business.
    fn tell(&mut self, node: usize, input: Input, actions: &[Action]) {
        let everyday = |action: &Action| match action {
            Action::SendAdvert { priority } => *priority != 0 && input == Input::TimerExpired,
            Action::Lease { .. } => true,
            _ => false,
        };
        if actions.iter().all(everyday) {
            return;
        }
        let heard = match input {
            Input::Advert { priority, .. } => format!("advert {priority}"),
            Input::TimerExpired => "timer".to_owned(),
            other => format!("{other:?}"),
        };
        let line = format!("{:7.3} ms {node}: {heard}: {}", self.now.as_secs_f64() * 1e3, words(actions));
        if let Some(log) = &mut self.log {
            log.push(line);
        }
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            let now = self.now;
            let own = &mut self.nodes[node];
            match action {
                Action::SendAdvert { priority } => self.advertise(node, priority),
                Action::Probe => self.probe(node),
                Action::Grant { by, .. } if now > by => {
                    self.event(now, Event::Hear { node, input: Input::LeaseRefused });
                    return;
                }
                Action::Grant { until, .. } => {
                    own.lease_until = until;
                    own.shut = false;
                }
                Action::Lease { until } if !own.shut && now < own.lease_until => own.lease_until = until,
                Action::Lease { .. } => self.event(now, Event::Hear { node, input: Input::LeaseRefused }),
                Action::Hush => own.hushed = true,
                Action::TakeAddresses => {
                    own.holds = true;
                    own.hushed = false;
                    self.announce(node);
                }
                Action::ReleaseAddresses => own.holds = false,
                Action::Announce => self.announce(node),
                Action::Transition { .. } => {}
            }
        }
    }

    fn advertise(&mut self, from: usize, priority: u8) {
        let Node { config, links, part, .. } = self.nodes[from];
        let input = Input::Advert { from: config.address, priority, interval: config.interval };
        for to in (0..self.nodes.len()).filter(|&to| to != from) {
            let chance = self.chance();
            let reaches = links.election && self.nodes[to].links.election && self.nodes[to].part == part;
            if !reaches || (self.bad && chance.lost) {
                continue;
            }
            let most = if self.bad { ADVERT_DELAY_MAX } else { ADVERT_DELAY_GOOD };
            let delay = most * u32::from(chance.part) / 1000;
            self.event(self.now + delay, Event::Hear { node: to, input });
            if self.bad && chance.twice {
                self.event(self.now + 3 * delay, Event::Hear { node: to, input });
            }
        }
    }

    fn probe(&mut self, from: usize) {
        if !self.nodes[from].links.service {
            return;
        }
        let left_at = self.now + Duration::from_micros(u64::from(self.chance().late) / 4);
        let life = self.nodes[from].life;
        self.event(left_at, Event::Left { node: from, life });
        for to in (0..self.nodes.len()).filter(|&to| to != from) {
            let at = left_at + self.frame_delay();
            self.event(at, Event::Asked { node: to, by: from });
        }
    }

    fn announce(&mut self, from: usize) {
        if !self.nodes[from].answers(self.now) {
            return;
        }
        for to in (0..self.nodes.len()).filter(|&to| to != from) {
            let at = self.now + self.frame_delay();
            if self.nodes[to].links.service {
                self.event(at, Event::Hear { node: to, input: Input::Answered });
            }
        }
    }

    fn frame_delay(&mut self) -> Duration {
        FRAME_DELAY_MAX * u32::from(self.chance().part) / 1000
    }
}
