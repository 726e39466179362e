//! Two to five machines of [`Profile::Rfc9568`] on a simulated bus that loses, delays, duplicates, reorders and partitions:
//! whenever the bus has been good for long enough, each connected part has exactly one Active.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Everybody's interval; the properties scale with it.
const INTERVAL_CS: u16 = 10;
/// Longest way over the bus; over a fifth of the interval, so that packets overtake one another.
const DELAY_MAX: Duration = Duration::from_millis(25);
/// Most packets and timers of one stretch of time. Four machines that all advertise need under a hundredth of it; two
/// that answer one another without end, on a bus without delay, would never let the time pass.
const STEPS_MAX: usize = 100_000;

/// Longest delay of a preemption.
const DELAY_MS_MAX: u64 = 700;

/// A machine's configuration.
#[derive(Clone, Copy, Debug)]
struct Router {
    priority: u8,
    preempt: bool,
    delay: Duration,
}

/// What happens to one packet for one receiver.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    twice: bool,
    delay: Duration,
}

/// A stretch of time under the same conditions.
#[derive(Clone, Debug)]
struct Weather {
    /// The part that each machine is in.
    parts: Vec<u8>,
    /// Does the bus lose packets? If not, the election must settle.
    lossy: bool,
    /// Who is stopped at the beginning, and started again at the end.
    stopped: Option<usize>,
    /// What the checks of each machine say.
    health: Vec<Health>,
    /// How long, on top of what an election takes.
    longer: Duration,
}

struct Bus {
    machines: Vec<Machine>,
    parts: Vec<u8>,
    lossy: bool,
    fates: Vec<Fate>,
    sent: usize,
    /// Packets under way, by arrival and then in the order of their sending.
    under_way: BTreeMap<(Time, usize), (usize, Input)>,
    now: Time,
}

impl Bus {
    fn new(routers: &[Router], fates: Vec<Fate>) -> Self {
        let machines = routers.iter().enumerate().map(|(at, &Router { priority, preempt, delay })| {
            Machine::new(Config {
                priority: NonZeroU8::new(priority).unwrap(),
                interval: cs(INTERVAL_CS),
                preempt,
                address: Ipv4Addr::new(10, 10, 1, 11 + at as u8).into(),
                preempt_delay: delay,
                skew: SkewRule::OfInterval,
                profile: Profile::Rfc9568,
            })
        });
        let parts = vec![0; routers.len()];
        let machines = machines.collect();
        Self { machines, parts, lossy: false, fates, sent: 0, under_way: BTreeMap::new(), now: Time::ZERO }
    }

    fn give(&mut self, to: usize, input: Input) {
        for action in self.machines[to].handle(input, self.now) {
            if let Action::SendAdvert { priority } = action {
                self.broadcast(to, priority);
            }
        }
    }

    fn broadcast(&mut self, from: usize, priority: u8) {
        let config = self.machines[from].config;
        let advert = Input::Advert { from: config.address, priority, interval: config.interval };
        for to in (0..self.machines.len()).filter(|&to| to != from) {
            if self.parts[to] != self.parts[from] {
                continue;
            }
            let fate = self.fates[self.sent % self.fates.len()];
            self.sent += 1;
            if self.lossy && fate.lost {
                continue;
            }
            self.under_way.insert((self.now + fate.delay, self.sent), (to, advert));
            if fate.twice {
                self.sent += 1;
                self.under_way.insert((self.now + fate.delay / 2, self.sent), (to, advert));
            }
        }
    }

    /// Lets time pass. Of a packet and a timer due together the packet comes first, as the driver has it.
    fn run_until(&mut self, end: Time) {
        for step in 0.. {
            assert!(step < STEPS_MAX, "the machines answer one another without end at {:?}", self.now);
            let arrival = self.under_way.first_key_value().map(|(&(at, _), _)| at);
            let timer =
                (0..self.machines.len()).filter_map(|at| Some((self.machines[at].deadline()?, at))).min();
            match (arrival, timer) {
                (Some(at), _) if at <= end && timer.is_none_or(|(due, _)| at <= due) => {
                    let (_, (to, input)) = self.under_way.pop_first().unwrap();
                    self.now = self.now.max(at);
                    self.give(to, input);
                }
                (_, Some((due, to))) if due <= end => {
                    self.now = self.now.max(due);
                    self.hand_out_stale_timers();
                    self.give(to, Input::TimerExpired);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Late timers of earlier states change nothing (V58).
    fn hand_out_stale_timers(&mut self) {
        let now = self.now;
        for machine in self.machines.iter_mut().filter(|one| one.deadline().is_none_or(|due| now < due)) {
            let before = format!("{machine:?}");
            assert_eq!(machine.handle(Input::TimerExpired, now), []);
            assert_eq!(format!("{machine:?}"), before);
        }
    }

    /// The Actives of each part that has a running machine at all.
    fn actives(&self) -> BTreeMap<u8, Vec<usize>> {
        let mut actives = BTreeMap::<u8, Vec<usize>>::new();
        for (at, machine) in self.machines.iter().enumerate() {
            match machine.state() {
                State::Initialize => {}
                State::Backup => drop(actives.entry(self.parts[at]).or_default()),
                State::Active => actives.entry(self.parts[at]).or_default().push(at),
            }
        }
        actives
    }
}

/// The longest that an election takes on a bus that loses nothing: a last packet of the time before arrives, the
/// slowest backup waits out its Active_Down_Interval, an Active that did not know of another sends its next advert,
/// and that arrives. Before that a
/// preemption may be put off.
fn settling(routers: &[Router]) -> Duration {
    let delay = routers.iter().map(|router| router.delay).max().unwrap_or_default();
    let lowest = NonZeroU8::new(1).unwrap();
    cs(INTERVAL_CS).active_down(lowest, SkewRule::OfInterval)
        + delay
        + cs(INTERVAL_CS).duration()
        + 3 * DELAY_MAX
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (prop::bool::weighted(0.3), prop::bool::weighted(0.2), 0..=DELAY_MAX.as_micros() as u64);
    let fate = fate.prop_map(|(lost, twice, us)| Fate { lost, twice, delay: Duration::from_micros(us) });
    prop::collection::vec(fate, 1..40)
}

fn weathers(machines: usize) -> impl Strategy<Value = Vec<Weather>> {
    let health = (prop_oneof![3 => Just(0u8), 1 => any::<u8>()], prop::bool::weighted(0.1));
    let health = health.prop_map(|(lowered_by, fault)| Health { lowered_by, fault });
    let health = prop::collection::vec(health, machines);
    let weather = (
        prop::collection::vec(0..2u8, machines),
        any::<bool>(),
        prop::option::of(0..machines),
        health,
        0..2000u64,
    )
        .prop_map(|(parts, lossy, stopped, health, ms)| Weather {
            parts,
            lossy,
            stopped,
            health,
            longer: Duration::from_millis(ms),
        });
    prop::collection::vec(weather, 1..6)
}

fn cases() -> impl Strategy<Value = (Vec<Router>, Vec<Fate>, Vec<Weather>)> {
    // Few priorities, so that ties are common.
    let priority = prop_oneof![1..=255u8, Just(1), Just(100), Just(254), Just(255)];
    let router = (priority, any::<bool>(), prop_oneof![Just(0), 0..=DELAY_MS_MAX]);
    let router = router.prop_map(|(priority, preempt, ms)| Router {
        priority,
        preempt,
        delay: Duration::from_millis(ms),
    });
    prop::collection::vec(router, 2..=5).prop_flat_map(|routers| {
        let machines = routers.len();
        (Just(routers), fates(), weathers(machines))
    })
}

proptest! {
    #[test]
    fn each_connected_part_settles_on_one_active((routers, fates, weathers) in cases()) {
        let mut bus = Bus::new(&routers, fates);
        for at in 0..routers.len() {
            bus.give(at, Input::Startup);
        }
        let healed = Weather {
            parts: vec![0; routers.len()],
            lossy: false,
            stopped: None,
            health: vec![Health::default(); routers.len()],
            longer: Duration::ZERO,
        };
        for weather in weathers.into_iter().chain([healed.clone()]) {
            bus.parts = weather.parts;
            bus.lossy = weather.lossy;
            for (at, health) in weather.health.into_iter().enumerate() {
                bus.give(at, Input::Health(health));
            }
            if let Some(at) = weather.stopped {
                bus.give(at, Input::Shutdown);
            }
            bus.run_until(bus.now + settling(&routers) + weather.longer);
            if !weather.lossy {
                for (part, actives) in bus.actives() {
                    prop_assert_eq!(actives.len(), 1, "part {}: actives {:?} at {:?}", part, actives, bus.now);
                }
            }
            if let Some(at) = weather.stopped {
                bus.give(at, Input::Startup);
            }
        }

        // On the whole bus, and with everybody preempting, it is the best of all.
        if routers.iter().all(|router| router.preempt || router.priority == 255) {
            let active = bus.actives()[&0][0];
            prop_assert_eq!(Some(routers[active].priority), routers.iter().map(|router| router.priority).max());
        }
    }

    /// Who is Active stays it while nothing is lost, however late and however often packets come.
    #[test]
    fn nobody_takes_over_from_a_live_active((routers, fates, _) in cases(), seconds in 1..20u64) {
        let mut bus = Bus::new(&routers, fates);
        for at in 0..routers.len() {
            bus.give(at, Input::Startup);
        }
        bus.run_until(settling(&routers));
        let before = bus.actives();
        bus.run_until(settling(&routers) + Duration::from_secs(seconds));
        prop_assert_eq!(bus.actives(), before);
    }
}
