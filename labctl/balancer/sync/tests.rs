//! Two directors and a network between them that loses what it is told to lose.
#![expect(clippy::disallowed_methods, reason = "any point in time will do as the origin")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::super::{Endpoint, Protocol};
use super::*;

fn flow(number: u16) -> Flow {
    Flow {
        client: SocketAddr::from(([198, 51, 100, 10], number)),
        service: Endpoint::tcp([203, 0, 113, 10], 80),
        real: Endpoint::tcp([10, 10, 1, 21], 80),
    }
}

fn flows(numbers: std::ops::Range<u16>) -> Vec<Flow> {
    numbers.map(flow).collect()
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let socket = || (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
    (any::<bool>(), socket(), socket(), socket()).prop_map(|(udp, client, service, real)| {
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let endpoint = |at: SocketAddr| Endpoint { address: at.ip(), port: at.port(), protocol };
        Flow { client, service: endpoint(service), real: endpoint(real) }
    })
}

/// One director as seen by the other: what it has, and the machine that speaks to the other.
struct Director {
    has: BTreeSet<Flow>,
    peer: Peer,
}

impl Director {
    fn new(life: u64, now: Instant) -> Self {
        Self { has: BTreeSet::new(), peer: Peer::new(life, now) }
    }

    /// New connections, told at once.
    fn begin(&mut self, new: &[Flow]) -> Vec<Vec<u8>> {
        self.has.extend(new);
        batches(new).map(|batch| self.peer.tell(batch, Part::Fresh)).collect()
    }

    /// Takes a datagram, and says what it answers.
    fn hear(&mut self, bytes: &[u8], now: Instant) -> Vec<Vec<u8>> {
        match self.peer.hear(bytes, now).expect("a datagram of ours") {
            Heard::Flows(flows) => {
                self.has.extend(flows);
                Vec::new()
            }
            Heard::Asked => {
                let all: Vec<Flow> = self.has.iter().copied().collect();
                let mut said: Vec<_> = batches(&all).map(|batch| self.peer.tell(batch, Part::Bulk)).collect();
                said.push(self.peer.tell(&[], Part::BulkEnd));
                said
            }
        }
    }
}

/// Beats of both and all that follows from them, in which the network loses what `lose` says.
fn turn(pair: &mut [Director; 2], now: Instant, lose: &mut impl FnMut() -> bool) {
    for _ in 0..2 {
        for speaker in 0..2 {
            if pair[speaker].peer.deadline() > now {
                continue;
            }
            let beat = pair[speaker].peer.beat(now);
            exchange(pair, speaker, vec![beat], now, lose);
        }
    }
}

fn exchange(
    pair: &mut [Director; 2],
    mut speaker: usize,
    mut said: Vec<Vec<u8>>,
    now: Instant,
    lose: &mut impl FnMut() -> bool,
) {
    while !said.is_empty() {
        let listener = &mut pair[1 - speaker];
        said = said.iter().filter(|_| !lose()).flat_map(|bytes| listener.hear(bytes, now)).collect();
        speaker = 1 - speaker;
    }
}

fn pair(now: Instant) -> [Director; 2] {
    [Director::new(1, now), Director::new(2, now)]
}

#[test]
fn whoever_joins_is_told_everything_and_then_whatever_is_new() {
    let mut now = Instant::now();
    let mut pair = pair(now);
    pair[0].has.extend(flows(0..1000));
    for _ in 0..3 {
        turn(&mut pair, now, &mut || false);
        now += BEAT;
    }
    assert_eq!(pair[1].has.len(), 1000);
    let news = pair[0].begin(&flows(1000..1100));
    exchange(&mut pair, 0, news, now, &mut || false);
    assert_eq!(pair[1].has, pair[0].has);
    let tally = pair[1].peer.tally();
    // Asked in turn, it told what it knew by then.
    assert_eq!(tally, Tally { told: 1000, heard: 1100, lost: 0, late: 0, malformed: 0, bulks: 1 });
    assert!(pair.iter().all(|director| director.peer.is_known()));
}

#[test]
fn a_loss_is_counted_and_made_good() {
    let mut now = Instant::now();
    let mut pair = pair(now);
    for _ in 0..3 {
        turn(&mut pair, now, &mut || false);
        now += BEAT;
    }
    let news = pair[0].begin(&flows(0..10));
    exchange(&mut pair, 0, news, now, &mut || true);
    assert!(pair[1].has.is_empty());
    for _ in 0..3 {
        turn(&mut pair, now, &mut || false);
        now += BEAT;
    }
    assert_eq!((pair[1].peer.tally().lost, pair[1].has.len()), (1, 10));
}

#[test]
fn whoever_begins_anew_is_asked_and_asks() {
    let mut now = Instant::now();
    let mut pair = pair(now);
    pair[0].has.extend(flows(0..10));
    for _ in 0..3 {
        turn(&mut pair, now, &mut || false);
        now += BEAT;
    }
    pair[1] = Director::new(3, now);
    for _ in 0..3 {
        turn(&mut pair, now, &mut || false);
        now += BEAT;
    }
    assert_eq!(pair[1].has.len(), 10);
    assert_eq!(pair[0].peer.tally().bulks, 2);
    assert_eq!(pair[0].peer.tally().lost, 0, "a new life counts from nought");
}

#[test]
fn what_comes_behind_is_passed_over() {
    let now = Instant::now();
    let [mut one, mut other] = pair(now);
    let first = one.peer.tell(&flows(0..1), Part::Fresh);
    let second = one.peer.tell(&flows(1..2), Part::Fresh);
    let third = one.peer.tell(&flows(2..3), Part::Fresh);
    for datagram in [&first, &third, &second, &third] {
        other.hear(datagram, now);
    }
    assert_eq!(other.has, BTreeSet::from([flow(0), flow(2)]));
    assert_eq!((other.peer.tally().lost, other.peer.tally().late), (1, 2));
}

#[test]
fn another_version_is_told_apart_from_noise() {
    let now = Instant::now();
    let mut peer = Peer::new(1, now);
    let mut datagram = peer.beat(now);
    datagram[0] = 9;
    assert_eq!(peer.hear(&datagram, now), Err(Malformed::Version(9)));
    assert_eq!(peer.hear(b"\x01", now), Err(Malformed::Shape));
    assert_eq!(peer.hear(b"", now), Err(Malformed::Shape));
    assert_eq!(peer.tally().malformed, 3);
    assert_eq!(peer.heard_at(), None, "noise is no sign of life");
}

proptest! {
    #[test]
    fn flows_come_as_they_were_told(told in proptest::collection::vec(any_flow(), 0..300)) {
        let now = Instant::now();
        let [mut one, mut other] = pair(now);
        let mut heard = Vec::new();
        for batch in batches(&told) {
            let datagram = one.peer.tell(batch, Part::Fresh);
            prop_assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "{}", datagram.len());
            match other.peer.hear(&datagram, now) {
                Ok(Heard::Flows(flows)) => heard.extend(flows),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(heard, told);
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        let now = Instant::now();
        let mut bytes = bytes;
        if version && !bytes.is_empty() {
            bytes[0] = 1;
        }
        let _ = Peer::new(1, now).hear(&bytes, now);
    }

    #[test]
    fn a_datagram_that_was_cut_off_or_prolonged_is_none(extra in 1usize..20) {
        let now = Instant::now();
        let whole = Peer::new(1, now).tell(&flows(0..20), Part::Bulk);
        let mut long = whole.clone();
        long.extend(vec![0; extra]);
        for wrong in [&whole[..whole.len() - extra], &long] {
            prop_assert_eq!(Peer::new(2, now).hear(wrong, now), Err(Malformed::Shape));
        }
    }

    /// However much is lost at first: as soon as the network is well, both come to know the same.
    #[test]
    fn in_the_end_both_know_the_same(losses in proptest::collection::vec(any::<bool>(), 1..200), count in 0u16..400) {
        let mut now = Instant::now();
        let mut pair = pair(now);
        let mut fates = losses.into_iter();
        let mut lose = || fates.next().unwrap_or(false);
        pair[0].has.extend(flows(0..count));
        for round in 0..20 {
            turn(&mut pair, now, &mut lose);
            for speaker in 0..2 {
                let begun = 1000 + round * 20 + 10 * speaker as u16;
                let news = pair[speaker].begin(&flows(begun..begun + 10));
                exchange(&mut pair, speaker, news, now, &mut lose);
            }
            now += BEAT;
        }
        for _ in 0..80 {
            turn(&mut pair, now, &mut || false);
            now += BEAT;
        }
        prop_assert_eq!(&pair[0].has, &pair[1].has);
        prop_assert!(pair.iter().all(|director| director.peer.is_known()));
    }
}
