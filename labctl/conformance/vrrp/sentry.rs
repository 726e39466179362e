//! Who answers for the public address, and whether it can be reached from the street: a question to everybody on its
//! network and a ping, again and again, from two threads that no machine of the site knows of. It judges nothing.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::frames;
use super::wire::{Seen, What, Wire};
use crate::holder::client::Lab;
use crate::kernel::packet::Mac;
use crate::kernel::{clock, namespace, wait};
use crate::topology::NodeName;

/// Where questions are asked, and the link of the public address there.
const ROUTER: (&str, [&str; 2]) = ("router", ["front", "street"]);
/// Where pings come from.
const CLIENT: &str = "client";
/// From one question, or ping, to the next.
const INTERVAL: Duration = Duration::from_millis(5);
/// Questions are asked in the names of so many addresses in turn, so that an answer is known for its question: those of the
/// public network from .128 on, which nobody has. An answer that is later than the next turn is none.
const ASKERS: u8 = 100;
const FIRST_ASKER: u8 = 128;
/// Answers that follow one question by more than this belong to another.
const ANSWER_MAX: Duration = Duration::from_millis(200);
/// A ping that takes longer is lost: it waited in a queue until somebody took the address over. An answer takes less than a
/// millisecond, and the shortest takeover by a time-out some three hundred.
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);
/// The last ping gets that long for its answer.
const LAST_WAIT: Duration = Duration::from_millis(500);
/// Longest answer to a ping: headers and nothing else.
const ECHO_BYTES_MAX: usize = 128;
const ECHO_REPLY: u8 = 0;

/// Somebody who asks and pings until it is told to stop.
pub(super) struct Sentry {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Result<Vec<Seen>, String>>,
    pinging: JoinHandle<io::Result<Vec<Ping>>>,
    vip: Ipv4Addr,
}

/// A ping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    /// When it left.
    pub(super) sent: Duration,
    /// How long it was under way, if it came back.
    pub(super) took: Option<Duration>,
}

impl Ping {
    /// Did it come back in time? One that waited in a queue until somebody took the address over was lost to its sender.
    pub(super) fn is_answered(&self) -> bool {
        self.took.is_some_and(|took| took <= ANSWERED_WITHIN)
    }
}

/// All that was seen.
#[derive(Debug)]
pub(super) struct Sightings {
    /// Answers to questions about the address, in order: when, by whom, to which asker.
    pub(super) answers: Vec<(Duration, Mac, Ipv4Addr)>,
    /// Announcements of it that nobody asked for: when, and by whom.
    pub(super) announcements: Vec<(Duration, Mac)>,
    /// Adverts on its network, where none belongs.
    pub(super) adverts: usize,
    /// In order.
    pub(super) pings: Vec<Ping>,
}

impl Sentry {
    /// Begins; one that does not ask only listens, and so teaches nobody where the address is.
    pub(super) fn start(lab: &Lab, vip: Ipv4Addr, asks: bool) -> Result<Self, String> {
        let enter = |node: &str| {
            let node: NodeName = node.parse().map_err(|_| "a node's name")?;
            lab.enter(&node).map_err(|error| error.to_string())
        };
        let wire = Wire::open(enter(ROUTER.0)?, ROUTER.1)?;
        let echoes = namespace::inside(enter(CLIENT)?.as_fd(), || {
            Socket::new(Domain::IPV4, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV4))
        });
        let echoes = echoes.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let (listens, pings) = (stop.clone(), stop.clone());
        Ok(Self {
            asking: thread::spawn(move || ask(wire, vip, asks, &listens)),
            pinging: thread::spawn(move || ping(&echoes, vip, &pings)),
            stop,
            vip,
        })
    }

    /// Ends, and tells.
    pub(super) fn finish(self) -> Result<Sightings, String> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.asking.join().map_err(|_| "whoever asked panicked")??;
        let pings = self.pinging.join().map_err(|_| "whoever pinged panicked")?;
        let mut sightings = Sightings {
            answers: Vec::new(),
            announcements: Vec::new(),
            adverts: 0,
            pings: pings.map_err(|error| format!("ping {}: {error}", self.vip))?,
        };
        for one in seen.iter().filter(|one| one.link == ROUTER.1[0] && !one.ours) {
            match one.what {
                What::Arp { spa, tpa, sha, .. } if spa == self.vip && tpa == spa => {
                    sightings.announcements.push((one.at, sha));
                }
                What::Arp { reply: true, spa, tpa, sha } if spa == self.vip => {
                    sightings.answers.push((one.at, sha, tpa));
                }
                What::Advert(_) => sightings.adverts += 1,
                _ => {}
            }
        }
        Ok(sightings)
    }
}

impl Sightings {
    /// Two machines that answered the same question, if that ever happened.
    pub(super) fn two_at_once(&self) -> Option<(Duration, Mac, Mac)> {
        let mut last: BTreeMap<Ipv4Addr, (Duration, Mac)> = BTreeMap::new();
        self.answers.iter().find_map(|&(at, mac, asker)| {
            let before = last.insert(asker, (at, mac));
            let (then, other) = before?;
            (other != mac && at.saturating_sub(then) < ANSWER_MAX).then_some((at, other, mac))
        })
    }

    /// Who answered, in turn.
    pub(super) fn holders(&self) -> Vec<Mac> {
        let mut macs: Vec<Mac> = self.answers.iter().map(|&(_, mac, _)| mac).collect();
        macs.dedup();
        macs
    }

    /// Pings that did not come back in time, and the longest time between two that did.
    pub(super) fn losses(&self) -> (usize, Duration) {
        let lost = self.pings.iter().filter(|ping| !ping.is_answered()).count();
        let answered: Vec<Duration> =
            self.pings.iter().filter(|ping| ping.is_answered()).map(|ping| ping.sent).collect();
        let gaps = answered.windows(2).map(|pair| pair[1] - pair[0]);
        (lost, gaps.max().unwrap_or(Duration::MAX))
    }
}

fn ask(mut wire: Wire, vip: Ipv4Addr, asks: bool, stop: &AtomicBool) -> Result<Vec<Seen>, String> {
    let (mac, mouth) = (wire.port(ROUTER.1[0])?.mac, wire.sender(ROUTER.1[0])?);
    let [a, b, c, _] = vip.octets();
    for turn in (0..ASKERS).cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let asker: IpAddr = Ipv4Addr::new(a, b, c, FIRST_ASKER + turn).into();
        // A question that did not leave is one that nobody answers.
        let _ = asks.then(|| mouth.send(&frames::question(mac, asker, vip.into())));
        wire.until(clock::calendar() + INTERVAL, |_| None::<()>)?;
    }
    Ok(wire.seen)
}

fn ping(socket: &Socket, vip: Ipv4Addr, stop: &AtomicBool) -> io::Result<Vec<Ping>> {
    let to = SockAddr::from(SocketAddrV4::new(vip, 0));
    let mut pings: Vec<Ping> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        // A ping that could not leave for want of a route is a ping that was not answered.
        let _ = socket.send_to(&echo(pings.len() as u16), &to);
        pings.push(Ping { sent: clock::calendar(), took: None });
        collect(socket, &mut pings, INTERVAL)?;
    }
    let unanswered = pings.last().is_some_and(|last| last.took.is_none());
    collect(socket, &mut pings, if unanswered { LAST_WAIT } else { Duration::ZERO })?;
    Ok(pings)
}

/// Takes the answers that come within that time.
fn collect(socket: &Socket, pings: &mut [Ping], within: Duration) -> io::Result<()> {
    let until = clock::calendar() + within;
    let mut buffer = [0; ECHO_BYTES_MAX];
    let mut socket = socket;
    loop {
        let left = until.saturating_sub(clock::calendar());
        if !wait::readable(socket.as_fd(), left)? {
            return Ok(());
        }
        let len = match socket.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let header = usize::from(buffer[0] & 0xf) * 4;
        if let Some(&[ECHO_REPLY, _, _, _, _, _, high, low]) = buffer.get(header..len.min(header + 8)) {
            // Numbers come round after five minutes, and no scenario lasts that long.
            if let Some(ping) = pings.get_mut(usize::from(u16::from_be_bytes([high, low]))) {
                ping.took.get_or_insert(clock::calendar().saturating_sub(ping.sent));
            }
        }
    }
}

fn echo(number: u16) -> [u8; 8] {
    let [high, low] = number.to_be_bytes();
    let mut message = [8, 0, 0, 0, 0x4c, 0x42, high, low];
    let sum = frames::checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}
