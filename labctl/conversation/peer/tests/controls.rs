//! The judges must bite: a memory that is wrong on purpose, or that promises less, is found out.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use std::collections::VecDeque;
use std::time::Duration;

use super::super::*;
use super::Flaw;
use super::properties::{Case, case, play};
use super::world::{Deed, Fault, Moment};

/// How many random cases it takes until somebody finds something wrong; nothing if that is more than these.
fn found_in(tries: u32, degrade: Degrade, flaw: Option<Flaw>) -> Option<(u32, String)> {
    let mut runner = TestRunner::deterministic();
    (1..=tries).find_map(|count| {
        let case = case().new_tree(&mut runner).unwrap().current();
        let (_, result) = play(&case, degrade, flaw, false);
        result.err().map(|wrong| (count, wrong))
    })
}

#[test]
fn an_early_acknowledgement_is_found_out() {
    let found = found_in(400, Degrade::Witness, Some(Flaw::AcknowledgesEarly));
    let (_, wrong) = found.expect("a contradiction");
    assert!(wrong.contains("claim"), "{wrong}");
}

#[test]
fn a_read_that_asks_nobody_is_found_out() {
    let found = found_in(400, Degrade::Witness, Some(Flaw::ReadsLocally));
    let (_, wrong) = found.expect("a contradiction");
    assert!(wrong.contains("claim"), "{wrong}");
}

/// The joiner's word that it has everything does not arrive.
#[test]
fn who_goes_back_to_be_the_sole_holder_loses_turns() {
    let ambush = Fault::Ambush { at: Moment::Joined, deed: Deed::Cut, ms: 2_000 };
    // What comes last keeps everything else from being mended before.
    let killed = Fault::Restart { web: Side::First, ms: 200, loud: true };
    let faults = vec![(300, killed), (0, ambush), (3_000, Fault::Reset)];
    let wrong = |flaw| {
        let cases = (0..40).map(|seed| Case { seed, faults: faults.clone() });
        cases.filter(|case| play(case, Degrade::Witness, flaw, false).1.is_err()).count()
    };
    assert_eq!(wrong(None), 0);
    assert!(wrong(Some(Flaw::GoesBack)) > 0);
}

#[test]
fn going_on_without_permission_loses_turns() {
    let found = found_in(400, Degrade::Always, None);
    let (_, wrong) = found.expect("a contradiction");
    assert!(wrong.contains("claim"), "{wrong}");
}

/// Two webs and a witness on a table: everything arrives at once, but for what the witness says yes to, where
/// that is kept from the first web.
struct Table {
    peers: [Peer; 2],
    witness: Witness,
    now: Time,
    connection: u64,
    keeps_back: bool,
    kept_back: Vec<WitnessReply>,
    /// What the webs asked the witness for, and said to each other.
    log: Vec<String>,
}

impl Table {
    fn new(flaw: Option<Flaw>) -> Self {
        let web = |side| {
            let me = Member { side, incarnation: Incarnation(1) };
            let mut peer = Peer::new(Config::lab(me, Degrade::Witness), Time::ZERO);
            peer.flaw = flaw;
            peer
        };
        let witness = Witness::new(WitnessConfig::lab(), Record::default(), Time::ZERO);
        let peers = [web(Side::First), web(Side::Second)];
        Self {
            peers,
            witness,
            now: Duration::from_millis(1_500),
            connection: 0,
            keeps_back: false,
            kept_back: vec![],
            log: vec![],
        }
    }

    fn connect(&mut self) {
        self.connection += 1;
        let connection = ConnectionId(self.connection);
        self.run((0..2).map(|web| (web, Event::PeerConnected { connection })).collect());
    }

    fn part(&mut self) {
        let connection = ConnectionId(self.connection);
        self.run((0..2).map(|web| (web, Event::PeerLost { connection })).collect());
    }

    /// Time passes for one web.
    fn wait(&mut self, web: usize, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.run(VecDeque::from([(web, Event::Tick)]));
    }

    fn run(&mut self, mut events: VecDeque<(usize, Event)>) {
        while let Some((web, event)) = events.pop_front() {
            for action in self.peers[web].handle(self.now, event) {
                match action {
                    Action::SendPeer { connection, frame } => {
                        let text = format!("{:?}", frame.message);
                        let word = text.split([' ', '(']).next().unwrap();
                        self.log.push(format!("{web} says {word}"));
                        events.push_back((1 - web, Event::PeerMessage { connection, frame }));
                    }
                    Action::AskWitness(ask) => {
                        self.log.push(format!("{web} asks {:?}", ask.want));
                        for action in self.witness.handle(self.now, ask) {
                            let WitnessAction::Reply(reply) = action else { continue };
                            let refuses = matches!(reply.verdict, Verdict::Refused(_));
                            match self.keeps_back && web == 0 && !refuses {
                                true => self.kept_back.push(reply),
                                false => events.push_back((web, Event::WitnessReply(reply))),
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn states(&self) -> [State; 2] {
        [self.peers[0].state(), self.peers[1].state()]
    }
}

/// The first web asked to go on alone, and was given leave; but before it heard of that, the two were a pair again, and parted
/// again, and now the second web is alone.
fn after_an_old_grant(flaw: Option<Flaw>) -> [State; 2] {
    let mut table = Table::new(flaw);
    table.connect();
    assert_eq!(table.states(), [State::Paired, State::Paired]);
    table.part();
    table.keeps_back = true;
    table.wait(0, 150);
    let old = table.kept_back.pop().unwrap();
    assert!(matches!(old.verdict, Verdict::Granted { .. }), "{old:?}");
    table.connect();
    table.wait(0, 1);
    assert_eq!(table.states(), [State::Paired, State::Paired]);
    table.part();
    table.wait(1, 150);
    assert_eq!(table.states()[1], State::Alone);
    table.run(VecDeque::from([(0, Event::WitnessReply(old))]));
    table.states()
}

#[test]
fn an_old_grant_permits_nothing() {
    let [first, second] = after_an_old_grant(None);
    assert!(first != State::Alone && second == State::Alone, "{first} {second}");
    // The test would notice.
    let both = after_an_old_grant(Some(Flaw::BelievesOldGrants));
    assert_eq!(both, [State::Alone, State::Alone]);
}

/// Does the source have the joiner written down as a holder before that has said that it has everything?
fn vouches_early(flaw: Option<Flaw>) -> bool {
    let mut table = Table::new(flaw);
    table.connect();
    let at = |words: &str| table.log.iter().position(|line| line.starts_with(words)).unwrap();
    at("0 asks Pair") < at("1 says Joined")
}

#[test]
fn nobody_is_vouched_for_before_it_has_everything() {
    assert!(!vouches_early(None));
    assert!(vouches_early(Some(Flaw::VouchesEarly)));
}
