//! Which frames are the same packet, though it is rewritten on its way, and which packets are one conversation. It goes by
//! what nobody rewrites: sequence numbers, flags and payload; and by the order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::change::{self, Change, Headers};
use super::packet::{self, Content, IpHeader, Packet, TcpHeader, Transport};
use super::record::{Record, Way};
use crate::topology::NodeName;

/// Most conversations that one request is followed through: each proxy on its way adds one.
const CONVERSATIONS_MAX: usize = 8;

/// What became of a request, packet by packet.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    /// What it was made of.
    pub record: &'a Record,
    /// That of the client first; each further one was opened by somebody who had read the request.
    pub conversations: Vec<Conversation>,
    /// Who asked for whose hardware address meanwhile.
    pub neighbours: Vec<Neighbours>,
}

/// A TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Conversation {
    /// Who opened it, as he calls himself.
    pub from: SocketAddr,
    /// What he asked for.
    pub to: SocketAddr,
    /// The node that opened it.
    #[schemars(with = "String")]
    pub client: NodeName,
    /// Its packets, in order of time.
    pub steps: Vec<Step>,
}

/// One packet of a conversation, from hop to hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// Who sent it.
    pub side: Side,
    /// What it is for.
    pub kind: Kind,
    /// The same in words: `SYN`, `GET / HTTP/1.1`.
    pub what: String,
    /// Had it been sent before?
    pub again: bool,
    /// Every interface that it passed, in order of time.
    pub hops: Vec<Hop>,
    /// What became of it.
    pub end: End,
}

/// Whose packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Of who opened the conversation.
    Client,
    /// Of who answered.
    Server,
}

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It opens.
    Syn,
    /// It accepts.
    SynAck,
    /// The first data of the client.
    Request,
    /// The first data of the server.
    Answer,
    /// Further data.
    Data,
    /// It only acknowledges.
    Ack,
    /// It closes.
    Fin,
    /// It refuses or gives up.
    Rst,
    /// An ICMP error about a packet of the conversation.
    Error,
}

/// A packet at one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hop {
    /// When, in nanoseconds since the first packet of the walk.
    pub at_ns: i64,
    /// The node.
    #[schemars(with = "String")]
    pub node: NodeName,
    /// Its interface.
    pub interface: String,
    /// In or out.
    pub way: Way,
    /// The place of its frame in the record.
    pub frame: usize,
    /// Hardware address of the sender.
    pub source_mac: String,
    /// Hardware address of the receiver.
    pub destination_mac: String,
    /// The header of the packet that it travels in, if it does.
    pub tunnel: Option<IpHeader>,
    /// Its own IP header.
    pub ip: IpHeader,
    /// Its TCP header; null for an ICMP error.
    pub tcp: Option<TcpHeader>,
    /// What has changed since the hop before.
    pub changed: Vec<Change>,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It came to a node that has the address it was sent to.
    Arrived,
    /// It opened a conversation at a node that has the address, and that node neither answered nor handed it on.
    Unanswered,
    /// It was seen at its last hop and nowhere after, and that is not where it was sent to.
    Lost,
}

/// A question after a hardware address, or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// In words.
    pub what: String,
    /// Where it was seen: the frame and, in nanoseconds since the first packet of the walk, when.
    pub seen: Vec<(usize, i64)>,
}

/// What a packet keeps, whatever is done to it on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Tcp { seq: u32, ack: u32, flags: String, payload: &'a [u8] },
    Error { kind: (u8, u8), seq: u32 },
}

/// A packet in a frame of the record.
struct Seen<'a> {
    frame: usize,
    key: Key<'a>,
    packet: Packet<'a>,
}

impl<'a> Walk<'a> {
    /// Finds the client's conversation in a record, and those that grew out of it.
    pub fn of(record: &'a Record) -> Self {
        let mut order: Vec<usize> = (0..record.frames.len()).collect();
        // Of two frames of the same nanosecond, the one that leaves is the earlier.
        order.sort_by_key(|&at| (record.frames[at].at_ns, record.frames[at].way));
        let (mut all, mut asked): (Vec<Seen>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
        for frame in order {
            match packet::read(&record.frames[frame].bytes) {
                Some(Content::Packet(packet)) => all.extend(Seen::of(frame, packet)),
                Some(Content::Neighbours(words)) => asked.push((frame, words)),
                None => {}
            }
        }
        let mut conversations = Vec::new();
        let mut known = Ends::default();
        let mut next = Some((record.from, record.to));
        let began =
            all.iter().find(|it| it.packet.ends() == next).map_or(0, |it| record.frames[it.frame].at_ns);
        while let Some((from, to)) = next.filter(|_| conversations.len() < CONVERSATIONS_MAX) {
            let ends = Ends::of(&all, from, to);
            conversations.extend(Conversation::of(record, &all, &ends, began));
            known.0.extend(ends.0);
            next = reader(&all, &known, record.token.as_bytes());
        }
        Self { record, conversations, neighbours: neighbours(record, asked, began) }
    }

    /// The frames that the walk is about, in order; those after neighbours too, where they are wanted.
    pub fn frames(&self, neighbours: bool) -> BTreeSet<usize> {
        let steps = self.conversations.iter().flat_map(|it| &it.steps);
        let hops = steps.flat_map(|step| step.hops.iter().map(|hop| hop.frame));
        let asked =
            self.neighbours.iter().filter(|_| neighbours).flat_map(|it| it.seen.iter().map(|seen| seen.0));
        hops.chain(asked).collect()
    }
}

impl<'a> Seen<'a> {
    fn of(frame: usize, packet: Packet<'a>) -> Option<Self> {
        let key = match &packet.transport {
            Transport::Tcp(tcp, payload) => {
                Key::Tcp { seq: tcp.seq, ack: tcp.ack, flags: tcp.flags.clone(), payload }
            }
            Transport::Error { kind, seq, .. } => Key::Error { kind: *kind, seq: *seq },
            Transport::Other => return None,
        };
        Some(Self { frame, key, packet })
    }

    /// Who sent what it is about, and to whom.
    fn about(&self) -> Option<(SocketAddr, SocketAddr)> {
        match &self.packet.transport {
            Transport::Error { about, .. } => Some(*about),
            _ => self.packet.ends(),
        }
    }
}

/// By what addresses a conversation goes: it has others behind each who rewrites them. The side of whoever sends from the
/// first to the second.
#[derive(Default)]
struct Ends(BTreeMap<(SocketAddr, SocketAddr), Side>);

impl Ends {
    fn of(all: &[Seen], from: SocketAddr, to: SocketAddr) -> Self {
        let mut ends = Self::default();
        ends.enter(from, to, Side::Client);
        loop {
            let known: BTreeMap<&Key, Side> =
                all.iter().filter_map(|it| Some((&it.key, ends.side(it.packet.ends()?)?))).collect();
            let fresh: Vec<_> = all
                .iter()
                .filter_map(|it| Some((it.packet.ends()?, *known.get(&it.key)?)))
                .filter(|(pair, _)| ends.side(*pair).is_none())
                .collect();
            if fresh.is_empty() {
                return ends;
            }
            fresh.into_iter().for_each(|((from, to), side)| ends.enter(from, to, side));
        }
    }

    fn enter(&mut self, from: SocketAddr, to: SocketAddr, side: Side) {
        self.0.insert((from, to), side);
        self.0.insert((to, from), side.other());
    }

    fn side(&self, pair: (SocketAddr, SocketAddr)) -> Option<Side> {
        self.0.get(&pair).copied()
    }

    /// Whose packet it is, if it is one of the conversation. An error is of the other side than what it is about.
    fn side_of(&self, seen: &Seen) -> Option<Side> {
        let side = self.side(seen.about()?)?;
        Some(if matches!(seen.key, Key::Error { .. }) { side.other() } else { side })
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Who asks for the same by a conversation that is not known yet: he has read the request.
fn reader(all: &[Seen], known: &Ends, token: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let has_token = |it: &&Seen| match &it.key {
        Key::Tcp { payload, .. } => {
            !token.is_empty() && payload.windows(token.len()).any(|part| part == token)
        }
        Key::Error { .. } => false,
    };
    let pairs = all.iter().filter(has_token).filter_map(|it| it.packet.ends());
    pairs.into_iter().find(|pair| known.side(*pair).is_none())
}

impl Conversation {
    fn of(record: &Record, all: &[Seen], ends: &Ends, began: u64) -> Option<Self> {
        let mut drafts: Vec<Draft> = Vec::new();
        for seen in all {
            let Some(side) = ends.side_of(seen) else { continue };
            let frame = &record.frames[seen.frame];
            if frame.way == Way::Overheard {
                continue;
            }
            // A packet may come back to an interface, as one that a director on the same network has put into another does; but it
            // has changed by then. One that has not was sent once more.
            let outer = seen.packet.tunnel.as_ref().unwrap_or(&seen.packet.ip);
            let place = Place {
                interface: frame.interface,
                way: frame.way,
                tunnelled: seen.packet.tunnel.is_some(),
                ttl: outer.ttl,
            };
            let same = drafts.iter_mut().rev().find(|draft| draft.seen[0].key == seen.key);
            match same {
                Some(draft) if !draft.places.contains(&place) => {
                    draft.places.push(place);
                    draft.seen.push(seen);
                }
                same => {
                    let again = same.is_some();
                    drafts.push(Draft { side, again, places: vec![place], seen: vec![seen] });
                }
            }
        }
        let first = drafts.first()?;
        let (from, to) = first.seen[0].packet.ends()?;
        let client = record.interfaces[first.places[0].interface].node.clone();
        let mut steps: Vec<Step> = Vec::new();
        for draft in &drafts {
            let step = draft.step(record, began, &steps);
            steps.push(step);
        }
        notice_silence(record, &mut steps);
        Some(Self { from, to, client, steps })
    }
}

/// A packet at the interfaces where it was seen so far.
struct Draft<'a> {
    side: Side,
    again: bool,
    places: Vec<Place>,
    seen: Vec<&'a Seen<'a>>,
}

/// Where a packet was seen, and in what state.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    interface: usize,
    way: Way,
    tunnelled: bool,
    ttl: u8,
}

impl Draft<'_> {
    fn step(&self, record: &Record, began: u64, before: &[Step]) -> Step {
        let mut hops: Vec<Hop> = Vec::new();
        let mut last: Option<&Packet> = None;
        for seen in &self.seen {
            hops.push(hop(record, seen, last, began));
            last = Some(&seen.packet);
        }
        let is_first = |kind: Kind| !before.iter().any(|step| step.kind == kind);
        let (kind, what) = name(&self.seen[0].key, self.side, is_first);
        let arrived =
            hops.last().is_some_and(|hop| hop.way == Way::In && record.has(&hop.node, hop.ip.destination));
        let end = if arrived { End::Arrived } else { End::Lost };
        Step { side: self.side, kind, what, again: self.again, hops, end }
    }
}

fn hop(record: &Record, seen: &Seen, before: Option<&Packet>, began: u64) -> Hop {
    let (frame, packet) = (&record.frames[seen.frame], &seen.packet);
    let interface = &record.interfaces[frame.interface];
    let now = headers(packet);
    Hop {
        at_ns: frame.at_ns as i64 - began as i64,
        node: interface.node.clone(),
        interface: interface.name.clone(),
        way: frame.way,
        frame: seen.frame,
        source_mac: packet::mac(packet.mac[0]),
        destination_mac: packet::mac(packet.mac[1]),
        tunnel: packet.tunnel.clone(),
        ip: packet.ip.clone(),
        tcp: now.tcp.cloned(),
        changed: before.map(|before| change::between(&headers(before), &now)).unwrap_or_default(),
    }
}

fn headers<'p>(packet: &'p Packet) -> Headers<'p> {
    let tcp = match &packet.transport {
        Transport::Tcp(tcp, _) => Some(tcp),
        _ => None,
    };
    Headers { mac: packet.mac, tunnel: packet.tunnel.as_ref(), ip: &packet.ip, tcp }
}

fn name(key: &Key, side: Side, is_first: impl Fn(Kind) -> bool) -> (Kind, String) {
    let (flags, payload) = match key {
        Key::Tcp { flags, payload, .. } => (flags, *payload),
        Key::Error { kind: (kind, code), .. } => {
            return (Kind::Error, format!("ICMP error of type {kind}, code {code}"));
        }
    };
    let has = |letter| flags.contains(letter);
    if has('S') {
        return if has('A') { (Kind::SynAck, "SYN ACK".to_owned()) } else { (Kind::Syn, "SYN".to_owned()) };
    }
    if has('R') {
        return (Kind::Rst, "RST".to_owned());
    }
    if payload.is_empty() {
        return if has('F') { (Kind::Fin, "FIN".to_owned()) } else { (Kind::Ack, "ACK".to_owned()) };
    }
    let first = if side == Side::Client { Kind::Request } else { Kind::Answer };
    let kind = if is_first(first) { first } else { Kind::Data };
    let fin = if has('F') { ", FIN" } else { "" };
    (kind, format!("{}{} octets{fin}", first_line(payload), payload.len()))
}

/// The first line of an HTTP message and a comma, or nothing.
fn first_line(payload: &[u8]) -> String {
    let line = payload.split(|octet| *octet == b'\r').next().unwrap_or_default();
    match std::str::from_utf8(line) {
        Ok(line) if line.contains("HTTP/1.") && !line.contains(char::is_control) => format!("{line}, "),
        _ => String::new(),
    }
}

/// An opening packet that came to a node with its address is at its goal only if that node does something about it.
fn notice_silence(record: &Record, steps: &mut [Step]) {
    let speaks = |node: &NodeName| {
        let hops = steps.iter().flat_map(|step| &step.hops);
        hops.into_iter().any(|hop| hop.node == *node && hop.way == Way::Out)
    };
    let silent: Vec<usize> = (0..steps.len())
        .filter(|&at| steps[at].kind == Kind::Syn && steps[at].end == End::Arrived)
        .filter(|&at| {
            steps[at].hops.last().is_some_and(|hop| hop.node != record.client && !speaks(&hop.node))
        })
        .collect();
    silent.into_iter().for_each(|at| steps[at].end = End::Unanswered);
}

fn neighbours(record: &Record, asked: Vec<(usize, String)>, began: u64) -> Vec<Neighbours> {
    let mut found: Vec<Neighbours> = Vec::new();
    for (frame, what) in asked {
        let at = &record.frames[frame];
        let seen = (frame, at.at_ns as i64 - began as i64);
        // What leaves an interface is said anew; all that comes in was said before.
        match found.iter_mut().rev().find(|it| at.way != Way::Out && it.what == what) {
            Some(same) => same.seen.push(seen),
            None => found.push(Neighbours { what, seen: vec![seen] }),
        }
    }
    found
}
