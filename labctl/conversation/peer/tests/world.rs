//! A simulated site: two webs with clocks of their own, a witness with a disk, clients, and the networks between them. Everything
//! that chance decides comes from one seed.

mod third;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::super::machine::{Footing, Phase};
use super::super::message::Message;
use super::super::*;
use super::Flaw;
use super::clients::{Asked, CLIENT_PATIENCE, CLIENTS, Client, Doing};
use crate::conversation::history::History;
use crate::conversation::{ConversationId, Outcome};

/// Most events of a run; webs that answer one another without end would never let the time pass.
const EVENTS_MAX: usize = 400_000;
/// How soon a web that has lost its connection tries again.
const DIAL_EVERY: Duration = Duration::from_millis(30);

/// Which cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cable {
    /// Between the webs.
    Webs,
    /// Between this web and the witness.
    Witness(Side),
}

/// What is done to the site.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A cable carries nothing for a while.
    Cut { cable: Cable, ms: u16 },
    /// The connection between the webs breaks, and what is on its way is lost.
    Reset,
    /// A frame between the webs gets lost, comes twice, or late, and the connection does not notice.
    Mangle { how: u8 },
    /// A web's process is stopped for a while, between two events, or between a decision and what it leads to.
    Freeze { web: Side, ms: u16, mid: bool },
    /// A web is killed, with or without a reset of its connections, and started anew.
    Restart { web: Side, ms: u16, loud: bool },
    /// The same for the witness, which keeps its disk.
    RestartWitness { ms: u16 },
    /// The same, with an empty disk. Questions that are on their way end with its connections.
    WipeWitness { ms: u16 },
    /// Something happens when a web says something of this kind the next time: chance alone seldom finds such a moment.
    Ambush { at: Moment, deed: Deed, ms: u16 },
}

/// When an ambush springs: right after this was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Hello,
    Snapshot,
    Piece,
    PairUp,
    Joined,
    Replicate,
    Applied,
    AsksAlone,
    AsksPair,
    AsksFound,
}

/// To whom: the one that spoke, or the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Cut,
    Reset,
    CutFromWitness { speaker: bool },
    Freeze { speaker: bool },
    Kill { speaker: bool },
}

impl Moment {
    fn of_message(message: &Message) -> Option<Self> {
        match message {
            Message::Hello { .. } => Some(Self::Hello),
            Message::Snapshot => Some(Self::Snapshot),
            Message::Piece { .. } => Some(Self::Piece),
            Message::PairUp { .. } => Some(Self::PairUp),
            Message::Joined { .. } => Some(Self::Joined),
            Message::Replicate { .. } => Some(Self::Replicate),
            Message::Applied { .. } => Some(Self::Applied),
            _ => None,
        }
    }

    fn of_ask(want: Want) -> Option<Self> {
        match want {
            Want::Alone => Some(Self::AsksAlone),
            Want::Pair { .. } => Some(Self::AsksPair),
            Want::Found { .. } => Some(Self::AsksFound),
            Want::Renew => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Something reaches a web.
    Web {
        web: Side,
        life: u64,
        event: Event,
    },
    /// A web's timer.
    Timer {
        web: Side,
        life: u64,
        set: u64,
    },
    /// Somebody dials.
    Dial,
    /// A frame reaches the other end of its connection.
    Frame {
        to: Side,
        connection: u64,
        frame: Frame,
    },
    /// The end of a connection reaches the other end.
    Lost {
        to: Side,
        connection: u64,
    },
    /// A question reaches the witness.
    Asked(Ask),
    /// An answer of the witness reaches a web.
    Replied(WitnessReply),
    /// An answer reaches a client.
    Answered {
        asked: Asked,
        answer: Result<Answer, Refusal>,
        by: Side,
    },
    /// A client's patience ends.
    GivesUp {
        asked: Asked,
        of: Side,
    },
    /// A client does something.
    Acts {
        client: usize,
    },
    Fault(Fault),
    Mended {
        cable: Cable,
        cut: u64,
    },
    Thaws {
        web: Side,
        life: u64,
    },
    Starts {
        web: Side,
    },
    WitnessStarts,
}

/// A machine with one of the webs on it.
pub(super) struct Web {
    pub(super) peer: Option<Peer>,
    config: Config,
    pub(super) life: u64,
    began: Duration,
    frozen: bool,
    stalls: bool,
    inbox: VecDeque<Event>,
    held: Vec<Action>,
    clock: Clock,
    timer_set: u64,
    pub(super) next_request: u64,
    /// Requests in work.
    pub(super) asked: HashMap<RequestId, Asked>,
}

/// A clock that began at its own time and runs at its own pace.
#[derive(Clone, Copy)]
struct Clock {
    ahead: Duration,
    /// In millionths.
    drift: i64,
}

impl Clock {
    fn read(&self, now: Duration) -> Duration {
        let skew = now.as_nanos() as i64 / 1_000_000 * self.drift;
        Duration::from_nanos((now.as_nanos() as i64 + skew) as u64) + self.ahead
    }

    /// When it shows this, or a little later.
    fn when(&self, shown: Duration) -> Duration {
        let shown = shown.saturating_sub(self.ahead).as_nanos() as i64;
        let pace = 1_000_000 + self.drift;
        Duration::from_nanos((shown / pace * 1_000_000) as u64) + Duration::from_millis(2)
    }
}

/// A connection between the webs.
struct Connection {
    number: u64,
    /// Is this end open?
    open: [bool; 2],
    /// When the last frame arrives at this end.
    last: [Duration; 2],
    /// What waits for the cable to be mended.
    stuck: [Vec<Happening>; 2],
}

pub(super) struct Site {
    pub(super) now: Duration,
    dice: u64,
    queue: BTreeMap<(Duration, u64), Happening>,
    made: u64,
    pub(super) webs: [Web; 2],
    witness: Option<Witness>,
    witness_config: WitnessConfig,
    witness_clock: Clock,
    disk: Record,
    /// What stood on its disk last, before that was wiped.
    written: Record,
    cut: HashMap<u8, u64>,
    cuts: u64,
    connection: Option<Connection>,
    connections: u64,
    mangle: Option<u8>,
    ambushes: Vec<(Moment, Deed, u16)>,
    pub(super) clients: Vec<Client>,
    pub(super) quiet: bool,
    pub(super) created: BTreeSet<ConversationId>,
    pub(super) finals: Vec<(Side, ConversationId)>,
    pub(super) history: History,
    pub(super) told: Vec<(Side, Notice)>,
    owners: HashMap<(ConversationId, u64), Side>,
    flaw: Option<Flaw>,
    degrade: Degrade,
    log: Option<Vec<String>>,
    /// What may never be.
    pub(super) wrong: Option<String>,
    pub(super) pair_acks: u64,
    pub(super) solo_acks: u64,
}

pub(super) fn index(side: Side) -> usize {
    match side {
        Side::First => 0,
        Side::Second => 1,
    }
}

const SIDES: [Side; 2] = [Side::First, Side::Second];

fn cable_key(cable: Cable) -> u8 {
    match cable {
        Cable::Webs => 0,
        Cable::Witness(Side::First) => 1,
        Cable::Witness(Side::Second) => 2,
    }
}

impl Site {
    pub(super) fn new(degrade: Degrade, seed: u64) -> Self {
        let mut site = Self {
            now: Duration::from_millis(1),
            dice: seed,
            queue: BTreeMap::new(),
            made: 0,
            webs: SIDES.map(|side| Web {
                peer: None,
                // Pieces of two or three turns, so that giving everything takes a while.
                config: Config {
                    piece_bytes: 400,
                    ..Config::lab(Member { side, incarnation: Incarnation(0) }, degrade)
                },
                life: 0,
                began: Duration::ZERO,
                frozen: false,
                stalls: false,
                inbox: VecDeque::new(),
                held: Vec::new(),
                clock: Clock { ahead: Duration::ZERO, drift: 0 },
                timer_set: 0,
                next_request: 0,
                asked: HashMap::new(),
            }),
            witness: None,
            witness_config: WitnessConfig::lab(),
            witness_clock: Clock { ahead: Duration::ZERO, drift: 0 },
            disk: Record::default(),
            written: Record::default(),
            cut: HashMap::new(),
            cuts: 0,
            connection: None,
            connections: 0,
            mangle: None,
            ambushes: Vec::new(),
            clients: Vec::new(),
            quiet: false,
            created: BTreeSet::new(),
            finals: Vec::new(),
            history: History::default(),
            told: Vec::new(),
            owners: HashMap::new(),
            flaw: None,
            degrade,
            log: None,
            wrong: None,
            pair_acks: 0,
            solo_acks: 0,
        };
        for web in 0..2 {
            site.webs[web].clock = site.random_clock();
        }
        site.witness_clock = site.random_clock();
        site.push(Duration::ZERO, Happening::WitnessStarts);
        for web in SIDES {
            let after = site.between(0, 80_000);
            site.push(after, Happening::Starts { web });
        }
        site.push(Duration::from_millis(1), Happening::Dial);
        site
    }

    pub(super) fn with_flaw(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    pub(super) fn record(&mut self) {
        self.log = Some(Vec::new());
    }

    pub(super) fn story(&self) -> String {
        self.log.as_deref().unwrap_or_default().join("\n")
    }

    /// What happened since it was asked last, without what was said and when.
    pub(super) fn events(&mut self) -> String {
        let log = std::mem::take(self.log.get_or_insert_default());
        let lines = log.iter().filter_map(|line| Some(line.trim_start().split_once(' ')?.1));
        lines.filter(|line| !line.starts_with(' ')).collect::<Vec<_>>().join("\n")
    }

    /// Has clients begin.
    pub(super) fn open(&mut self) {
        for client in 0..CLIENTS {
            self.clients.push(Client::default());
            let after = self.between(0, 20_000);
            self.push(after, Happening::Acts { client });
        }
    }

    pub(super) fn random(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Some microseconds.
    pub(super) fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.random() % (to - from))
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.random().is_multiple_of(n)
    }

    fn random_clock(&mut self) -> Clock {
        let ahead = self.between(0, 9_000_000);
        // A hundredth, either way.
        let drift = (self.random() % 20_001) as i64 - 10_000;
        Clock { ahead, drift }
    }

    pub(super) fn push(&mut self, after: Duration, happening: Happening) {
        self.made += 1;
        self.queue.insert((self.now + after, self.made), happening);
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:9.3} {}", self.now.as_secs_f64() * 1e3, text()));
        }
    }

    pub(super) fn must(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            let text = text();
            self.note(|| format!("WRONG: {text}"));
            self.wrong = Some(text);
        }
    }

    pub(super) fn plan(&mut self, after: Duration, fault: Fault) {
        self.push(after, Happening::Fault(fault));
    }

    pub(super) fn run_for(&mut self, span: Duration) -> Result<(), String> {
        let until = self.now + span;
        for _ in 0..EVENTS_MAX {
            let Some((&(at, _), _)) = self.queue.first_key_value() else { break };
            if at > until {
                self.now = until;
                return Ok(());
            }
            let ((at, _), happening) = self.queue.pop_first().unwrap();
            self.now = at;
            self.happen(happening);
            self.check_state();
            if let Some(wrong) = &self.wrong {
                return Err(wrong.clone());
            }
        }
        Err("it never comes to rest".to_owned())
    }

    /// Mends everything, and lets clients come to an end.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        for cable in [Cable::Webs, Cable::Witness(Side::First), Cable::Witness(Side::Second)] {
            self.mend(cable);
        }
        self.mangle = None;
        self.ambushes.clear();
        // Whoever is stopped or down comes back by itself.
        self.run_for(Duration::from_millis(5_500))?;
        self.quiet = true;
        self.run_for(CLIENT_PATIENCE + Duration::from_millis(1_500))
    }

    pub(super) fn state(&self, web: Side) -> Option<State> {
        self.webs[index(web)].peer.as_ref().map(|peer| peer.state())
    }

    /// Reads every conversation through both webs.
    pub(super) fn read_back(&mut self) -> Result<(), String> {
        let ids: Vec<_> = self.created.iter().copied().collect();
        for web in SIDES {
            for id in &ids {
                self.finals.push((web, *id));
                let (number, what) = (self.finals.len() as u64, Doing::Reads { id: *id });
                self.request(web, Asked { client: None, number, at: self.now, what });
            }
        }
        let expected = self.history.tellings.len() + self.finals.len();
        self.run_for(Duration::from_millis(500))?;
        if self.history.tellings.len() == expected {
            Ok(())
        } else {
            Err("a final read was not answered".to_owned())
        }
    }

    fn is_cut(&self, cable: Cable) -> bool {
        self.cut.contains_key(&cable_key(cable))
    }

    fn mend(&mut self, cable: Cable) {
        if self.cut.remove(&cable_key(cable)).is_none() {
            return;
        }
        self.note(|| format!("{cable:?} is mended"));
        if cable == Cable::Webs
            && let Some(connection) = &mut self.connection
        {
            let stuck = [std::mem::take(&mut connection.stuck[0]), std::mem::take(&mut connection.stuck[1])];
            for happening in stuck.into_iter().flatten() {
                self.made += 1;
                self.queue.insert((self.now + Duration::from_micros(300), self.made), happening);
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Web { web, life, event } => {
                if self.webs[index(web)].life == life {
                    self.hand(web, event);
                }
            }
            Happening::Timer { web, life, set } => {
                let it = &self.webs[index(web)];
                if it.life == life && it.timer_set == set {
                    self.hand(web, Event::Tick);
                }
            }
            Happening::Dial => self.dial(),
            Happening::Frame { to, connection, frame } => self.frame_arrives(to, connection, frame),
            Happening::Lost { to, connection } => self.end_arrives(to, connection),
            Happening::Asked(ask) => self.asked(ask),
            Happening::Replied(reply) => {
                if !self.is_cut(Cable::Witness(reply.to.side)) {
                    self.hand(reply.to.side, Event::WitnessReply(reply));
                }
            }
            Happening::Answered { asked, answer, by } => self.answered(asked, Some(answer), by),
            Happening::GivesUp { asked, of } => self.answered(asked, None, of),
            Happening::Acts { client } => self.act(client),
            Happening::Fault(fault) => self.break_something(fault),
            Happening::Mended { cable, cut } => {
                if self.cut.get(&cable_key(cable)) == Some(&cut) {
                    self.mend(cable);
                }
            }
            Happening::Thaws { web, life } => self.thaw(web, life),
            Happening::Starts { web } => self.start(web),
            Happening::WitnessStarts => {
                let now = self.witness_clock.read(self.now);
                self.witness = Some(Witness::new(self.witness_config, self.disk, now));
            }
        }
    }

    fn start(&mut self, web: Side) {
        let incarnation = Incarnation(self.now.as_nanos() as u64);
        let now = self.webs[index(web)].clock.read(self.now);
        let it = &mut self.webs[index(web)];
        if it.peer.is_some() {
            return;
        }
        it.config.me = Member { side: web, incarnation };
        it.life += 1;
        it.began = self.now;
        let mut peer = Peer::new(it.config, now);
        peer.flaw = self.flaw;
        it.peer = Some(peer);
        self.note(|| format!("{web} starts"));
        self.set_timer(web);
    }

    fn hand(&mut self, web: Side, event: Event) {
        let now = self.webs[index(web)].clock.read(self.now);
        let it = &mut self.webs[index(web)];
        if it.frozen {
            it.inbox.push_back(event);
            return;
        }
        let Some(peer) = &mut it.peer else { return };
        let actions = peer.handle(now, event);
        if std::mem::take(&mut it.stalls) {
            it.frozen = true;
            it.held = actions;
            return;
        }
        self.carry_out(web, actions);
        self.set_timer(web);
    }

    fn set_timer(&mut self, web: Side) {
        let it = &mut self.webs[index(web)];
        it.timer_set += 1;
        let (life, set) = (it.life, it.timer_set);
        let Some(deadline) = it.peer.as_ref().and_then(|peer| peer.next_deadline()) else { return };
        let after = it.clock.when(deadline).saturating_sub(self.now);
        self.push(after, Happening::Timer { web, life, set });
    }

    fn thaw(&mut self, web: Side, life: u64) {
        let it = &mut self.webs[index(web)];
        if it.life != life || !(it.frozen || it.stalls) {
            return;
        }
        it.stalls = false;
        it.frozen = false;
        let held = std::mem::take(&mut it.held);
        let inbox = std::mem::take(&mut it.inbox);
        self.note(|| format!("{web} goes on"));
        self.carry_out(web, held);
        for event in inbox {
            self.hand(web, event);
        }
        self.set_timer(web);
    }

    fn break_something(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        let ms = |ms: u16| Duration::from_millis(ms.into());
        match fault {
            Fault::Cut { cable, ms: span } => {
                self.cuts += 1;
                self.cut.insert(cable_key(cable), self.cuts);
                self.push(ms(span), Happening::Mended { cable, cut: self.cuts });
            }
            Fault::Reset => self.reset(),
            Fault::Mangle { how } => self.mangle = Some(how),
            Fault::Freeze { web, ms: span, mid } => {
                let it = &mut self.webs[index(web)];
                if it.peer.is_none() || it.frozen || it.stalls {
                    return;
                }
                it.stalls = mid;
                it.frozen = !mid;
                let life = it.life;
                self.push(ms(span), Happening::Thaws { web, life });
            }
            Fault::Restart { web, ms: span, loud } => {
                let it = &mut self.webs[index(web)];
                if it.peer.take().is_none() {
                    return;
                }
                it.life += 1;
                it.frozen = false;
                it.stalls = false;
                it.inbox.clear();
                it.held.clear();
                it.asked.clear();
                self.close(web, loud);
                self.push(ms(span), Happening::Starts { web });
            }
            Fault::Ambush { at, deed, ms } => self.ambushes.push((at, deed, ms)),
            Fault::RestartWitness { ms: span } => {
                if self.witness.take().is_some() {
                    self.push(ms(span), Happening::WitnessStarts);
                }
            }
            Fault::WipeWitness { ms: span } => {
                if self.witness.take().is_some() {
                    self.queue.retain(|_, happening| !matches!(happening, Happening::Asked(_)));
                    self.disk = Record::default();
                    self.push(ms(span), Happening::WitnessStarts);
                }
            }
        }
    }

    /// Somebody said something of this kind.
    fn spring(&mut self, speaker: Side, moment: Option<Moment>) {
        let Some(at) = self.ambushes.iter().position(|(at, ..)| Some(*at) == moment) else { return };
        let (_, deed, ms) = self.ambushes.remove(at);
        let whom = |speaks| if speaks { speaker } else { speaker.other() };
        let fault = match deed {
            Deed::Cut => Fault::Cut { cable: Cable::Webs, ms },
            Deed::Reset => Fault::Reset,
            Deed::CutFromWitness { speaker } => Fault::Cut { cable: Cable::Witness(whom(speaker)), ms },
            Deed::Freeze { speaker } => Fault::Freeze { web: whom(speaker), ms, mid: false },
            Deed::Kill { speaker } => Fault::Restart { web: whom(speaker), ms, loud: ms.is_multiple_of(2) },
        };
        let after = self.between(0, 900);
        self.push(after, Happening::Fault(fault));
    }

    // The network between the webs.

    fn dial(&mut self) {
        let after = DIAL_EVERY + self.between(0, 10_000);
        self.push(after, Happening::Dial);
        let dials = &self.webs[0];
        let can = dials.peer.is_some() && !dials.frozen && self.webs[1].peer.is_some();
        let has = self.connection.as_ref().is_some_and(|connection| connection.open[0]);
        if !can || has || self.is_cut(Cable::Webs) {
            return;
        }
        self.connections += 1;
        let number = self.connections;
        self.connection = Some(Connection {
            number,
            open: [true; 2],
            last: [self.now; 2],
            stuck: [Vec::new(), Vec::new()],
        });
        for web in SIDES {
            let after = self.between(50, 800);
            let life = self.webs[index(web)].life;
            let event = Event::PeerConnected { connection: ConnectionId(number) };
            self.connection.as_mut().unwrap().last[index(web)] = self.now + after;
            self.push(after, Happening::Web { web, life, event });
        }
    }

    /// On its way in the order of this direction.
    fn travel(&mut self, to: Side, happening: Happening) {
        let slow = self.one_in(50);
        let delay = if slow { self.between(1_000, 40_000) } else { self.between(40, 600) };
        let now = self.now;
        let Some(connection) = &mut self.connection else { return };
        let last = &mut connection.last[index(to)];
        *last = (*last).max(now + delay);
        let after = *last - now;
        self.push(after, happening);
    }

    fn send(&mut self, from: Side, number: u64, frame: Frame) {
        let open = |it: &Connection| it.number == number && it.open[index(from)];
        if !self.connection.as_ref().is_some_and(open) {
            return;
        }
        let to = from.other();
        let happening = Happening::Frame { to, connection: number, frame };
        match self.mangle.take() {
            Some(0) => {}
            Some(1) => {
                self.travel(to, happening.clone());
                self.travel(to, happening);
            }
            Some(_) => self.push(Duration::from_millis(3), happening),
            None => self.travel(to, happening),
        }
    }

    /// It waits for the cable, or comes to nothing with its connection.
    fn may_arrive(&mut self, to: Side, number: u64, happening: impl FnOnce() -> Happening) -> bool {
        let cut = self.is_cut(Cable::Webs);
        match &mut self.connection {
            Some(connection) if connection.number == number => {
                if cut {
                    connection.stuck[index(to)].push(happening());
                }
                !cut && connection.open[index(to)]
            }
            _ => false,
        }
    }

    fn frame_arrives(&mut self, to: Side, connection: u64, frame: Frame) {
        let again = frame.clone();
        if self.may_arrive(to, connection, || Happening::Frame { to, connection, frame: again }) {
            self.hand(to, Event::PeerMessage { connection: ConnectionId(connection), frame });
        }
    }

    fn end_arrives(&mut self, to: Side, number: u64) {
        if self.may_arrive(to, number, || Happening::Lost { to, connection: number }) {
            self.connection.as_mut().unwrap().open[index(to)] = false;
            self.hand(to, Event::PeerLost { connection: ConnectionId(number) });
        }
    }

    /// A web closes its end; the other hears of it, unless the machine went silent.
    fn close(&mut self, web: Side, loud: bool) {
        let Some(connection) = &mut self.connection else { return };
        if std::mem::take(&mut connection.open[index(web)]) && loud {
            let number = connection.number;
            self.travel(web.other(), Happening::Lost { to: web.other(), connection: number });
        }
    }

    /// Both ends find out, each in its own time, and nothing arrives any more.
    fn reset(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        for web in SIDES {
            if connection.open[index(web)] {
                let after = self.between(50, 90_000);
                let life = self.webs[index(web)].life;
                let event = Event::PeerLost { connection: ConnectionId(connection.number) };
                self.push(after, Happening::Web { web, life, event });
            }
        }
    }

    // What webs do.

    fn carry_out(&mut self, web: Side, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::SendPeer { connection, frame } => {
                    if !matches!(frame.message, Message::Alive) {
                        self.note(|| format!("    {web}: {:?}", frame.message));
                    }
                    let moment = Moment::of_message(&frame.message);
                    self.send(web, connection.0, frame);
                    self.spring(web, moment);
                }
                Action::DropPeer { connection, because } => {
                    self.note(|| format!("{web} drops its connection: {because}"));
                    let open = |it: &Connection| it.number == connection.0 && it.open[index(web)];
                    if self.connection.as_ref().is_some_and(open) {
                        self.close(web, true);
                    }
                }
                Action::AskWitness(ask) => {
                    self.note(|| format!("    {web} asks {}: {:?}, term {}", ask.number, ask.want, ask.term));
                    self.ask(web, ask);
                    self.spring(web, Moment::of_ask(ask.want));
                }
                Action::Answer { request, answer } => self.answer(web, request, answer),
                Action::SetState { from, to, because } => {
                    self.note(|| format!("{web}: {from} -> {to}, because {because}"));
                }
                Action::Tell(notice) => {
                    self.note(|| format!("{web}: {notice}"));
                    self.told.push((web, notice));
                }
            }
        }
    }

    /// After every event: what may never be, whatever clients see of it.
    fn check_state(&mut self) {
        if self.degrade == Degrade::Always {
            return;
        }
        let alone = |it: &Web| {
            let Some(peer) = &it.peer else { return false };
            let Phase::Sole(sole) = &peer.phase else { return false };
            let leased = sole.lease.is_some_and(|lease| it.clock.read(self.now) < lease.until);
            peer.footing() == Footing::Alone && leased
        };
        let both = self.webs.iter().all(alone);
        self.must(!both, || "both webs are alone, with a lease each".to_owned());
    }

    fn answer(&mut self, web: Side, request: RequestId, answer: Result<Answer, Refusal>) {
        let asked = self.webs[index(web)].asked.remove(&request);
        self.must(asked.is_some(), || format!("{web} answers {request:?} twice, or nobody"));
        let Some(asked) = asked else { return };
        self.note(|| format!("    {web} answers {:?}: {answer:?}", asked.what));
        if let Ok(answer) = &answer {
            self.check_answer(web, &asked, answer);
        }
        let after = self.between(40, 500);
        self.push(after, Happening::Answered { asked, answer, by: web });
    }

    fn check_answer(&mut self, web: Side, asked: &Asked, answer: &Answer) {
        let exempt = self.degrade == Degrade::Always || self.flaw.is_some();
        let (Doing::Says { id, .. } | Doing::Reads { id } | Doing::Creates { id }) = asked.what;
        if let Some(Ownership { owner, epoch }) = answer.ownership {
            let known = *self.owners.entry((id, epoch)).or_insert(owner);
            let fine = known == owner || exempt || self.lost_memory();
            self.must(fine, || format!("epoch {epoch} of {id} belongs to both webs"));
        }
        let Reply::Outcome(Outcome::Appended { .. } | Outcome::Replayed { .. }) = &answer.reply else {
            return;
        };
        match answer.durability {
            Durability::Pair => self.pair_acks += 1,
            Durability::Solo => return self.solo_acks += 1,
        }
        let Doing::Says { key, .. } = &asked.what else { return };
        let other = &self.webs[index(web.other())];
        let restarted = other.began > asked.at || other.peer.is_none();
        let has = other.peer.as_ref().and_then(|peer| peer.memory.get(&id));
        let has = has.is_some_and(|transcript| transcript.turns().iter().any(|turn| turn.key == *key));
        self.must(has || restarted || exempt, || {
            format!("{web} says that both have {key}, and the other has not")
        });
    }

    pub(super) fn lost_memory(&self) -> bool {
        self.written.founding > 1 || self.began_again()
    }

    /// Has memory begun for the first time twice? If both webs and the witness lose everything, nobody knows better.
    pub(super) fn began_again(&self) -> bool {
        self.told.iter().filter(|(_, notice)| *notice == Notice::Founded).count() > 1
    }
}
