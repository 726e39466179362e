//! Tells other directors of connections and hears of theirs, over UDP on the network between them. What is told when, and
//! what was lost, is decided by [`crate::balancer::sync`]; here are the socket and the clock.
#![expect(clippy::disallowed_methods, reason = "owns the clock of the exchange")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::layout::Others;
use super::request::ListedPeer;
use crate::balancer::Flow;
use crate::balancer::sync::{BEAT, DATAGRAM_BYTES_MAX, Heard, Part, Peer, batches, fitting};
use crate::topology::NodeName;

/// Where the synchronization daemon of IPVS listens, too.
const PORT: u16 = 8848;
/// Somebody who asked for everything is told this many datagrams in a row, which fit any receive buffer, ...
const BULK_BURST: usize = 32;
/// ... with so much time in between: a million connections take some seconds.
const BULK_EVERY: Duration = Duration::from_millis(5);

/// The other directors, and the way to them.
#[derive(Debug)]
pub(super) struct Exchange {
    socket: UdpSocket,
    others: BTreeMap<IpAddr, Other>,
    /// Those who asked for everything, which is still to be looked up.
    asked: BTreeSet<IpAddr>,
    bulk: Option<Bulk>,
    /// When something was wrong with the socket, it has a rest.
    rest_until: Option<Instant>,
}

#[derive(Debug)]
struct Other {
    node: NodeName,
    peer: Peer,
    adopted: u64,
}

/// Everything, on its way to those who asked for it.
#[derive(Debug)]
struct Bulk {
    flows: Vec<Flow>,
    told: usize,
    to: BTreeSet<IpAddr>,
    next_at: Instant,
}

/// What another director said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has these connections.
    Flows(IpAddr, Vec<Flow>),
    /// It wants to be told everything, by [`Exchange::tell_everything`].
    Asked,
}

impl Exchange {
    /// Speaks to the others from now on. `life` is another number after each start.
    pub(super) fn open(others: &Others, life: u64) -> io::Result<Self> {
        Self::at(others, PORT, life)
    }

    fn at(others: &Others, port: u16, life: u64) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((others.from, port))?;
        socket.set_nonblocking(true)?;
        let now = Instant::now();
        let other = |(address, node): (&IpAddr, &NodeName)| {
            (*address, Other { node: node.clone(), peer: Peer::new(life, now), adopted: 0 })
        };
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            others: others.to.iter().map(other).collect(),
            asked: BTreeSet::new(),
            bulk: None,
            rest_until: None,
        })
    }

    /// Waits until another director says something that matters, and keeps up the talk meanwhile. May be given up and called
    /// again.
    pub(super) async fn said(&mut self) -> Said {
        // Longer ones are no datagrams of ours, and look like that when they are cut off.
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        loop {
            let due = self.speak(Instant::now());
            tokio::select! {
                received = self.socket.recv_from(&mut buffer), if self.rest_until.is_none() => match received {
                    Ok((len, from)) => {
                        if let Some(said) = self.hear(&buffer[..len], from) {
                            return said;
                        }
                    }
                    Err(error) => {
                        tracing::warn!("hear other directors again in {BEAT:?}, because of: {error}");
                        self.rest_until = Some(Instant::now() + BEAT);
                    }
                },
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    /// Tells everybody of these connections, which are new.
    pub(super) fn tell(&mut self, flows: &[Flow]) {
        for batch in batches(flows) {
            for (&address, other) in &mut self.others {
                send(&self.socket, address, &other.peer.tell(batch, Part::Fresh));
            }
        }
    }

    /// Whether somebody asked for everything who is not being told yet.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty() && self.bulk.is_none()
    }

    /// Tells everything to those who asked for it.
    pub(super) fn tell_everything(&mut self, flows: Vec<Flow>) {
        if self.is_asked() {
            let to = std::mem::take(&mut self.asked);
            self.bulk = Some(Bulk { flows, told: 0, to, next_at: Instant::now() });
        }
    }

    /// Counts what the data plane took over.
    pub(super) fn adopted(&mut self, from: IpAddr, count: usize) {
        if let Some(other) = self.others.get_mut(&from) {
            other.adopted += count as u64;
        }
    }

    /// What went to and fro, by node.
    pub(super) fn listed(&self, now: Instant) -> BTreeMap<String, ListedPeer> {
        let listed = |(&address, other): (&IpAddr, &Other)| {
            let tally = other.peer.tally();
            let heard_at = other.peer.heard_at();
            let listed = ListedPeer {
                address,
                heard_ms_ago: heard_at.map(|at| now.saturating_duration_since(at).as_millis() as u64),
                complete: other.peer.is_known(),
                told: tally.told,
                heard: tally.heard,
                adopted: other.adopted,
                lost: tally.lost,
                late: tally.late,
                malformed: tally.malformed,
            };
            (other.node.to_string(), listed)
        };
        self.others.iter().map(listed).collect()
    }

    /// Says what is due, and when the next thing is.
    fn speak(&mut self, now: Instant) -> Instant {
        self.rest_until = self.rest_until.filter(|until| *until > now);
        for (&address, other) in &mut self.others {
            if other.peer.deadline() <= now {
                send(&self.socket, address, &other.peer.beat(now));
            }
        }
        self.tell_part(now);
        let beats = self.others.values().map(|other| other.peer.deadline());
        let bulk = self.bulk.iter().map(|bulk| bulk.next_at);
        beats.chain(bulk).chain(self.rest_until).min().unwrap_or(now + BEAT)
    }

    /// Goes on with telling everything.
    fn tell_part(&mut self, now: Instant) {
        let Some(bulk) = self.bulk.as_mut().filter(|bulk| bulk.next_at <= now) else { return };
        bulk.next_at = now + BULK_EVERY;
        for _ in 0..BULK_BURST {
            let rest = &bulk.flows[bulk.told..];
            let batch = &rest[..fitting(rest)];
            bulk.told += batch.len();
            let is_end = bulk.told == bulk.flows.len();
            for address in &bulk.to {
                let Some(other) = self.others.get_mut(address) else { continue };
                let part = if is_end { Part::BulkEnd } else { Part::Bulk };
                send(&self.socket, *address, &other.peer.tell(batch, part));
            }
            if is_end {
                self.bulk = None;
                return;
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], from: SocketAddr) -> Option<Said> {
        // Nobody else has a say. The port is that of a director, too: anybody on its node could use another.
        let port = self.socket.local_addr().ok()?.port();
        let other = self.others.get_mut(&from.ip()).filter(|_| from.port() == port)?;
        match other.peer.hear(bytes, Instant::now()) {
            Ok(Heard::Flows(flows)) => (!flows.is_empty()).then_some(Said::Flows(from.ip(), flows)),
            Ok(Heard::Asked) => {
                self.asked.insert(from.ip());
                Some(Said::Asked)
            }
            Err(malformed) => {
                tracing::debug!("{} ({}) says {malformed}", other.node, from.ip());
                None
            }
        }
    }
}

/// What cannot be sent is lost, and the other side counts that.
fn send(socket: &UdpSocket, address: IpAddr, datagram: &[u8]) {
    if let Ok(own) = socket.local_addr() {
        let _ = socket.try_send_to(datagram, SocketAddr::new(address, own.port()));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::timeout;

    use super::*;
    use crate::balancer::Endpoint;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn others(from: u8, to: u8) -> Others {
        let address = |host| IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
        let node = format!("proxy{to}").parse().expect("a name");
        Others { from: address(from), to: BTreeMap::from([(address(to), node)]) }
    }

    /// Two directors on addresses of the loopback, on one port that is free on both.
    fn pair() -> (Exchange, Exchange) {
        for _ in 0..PORTS_MAX {
            let one = Exchange::at(&others(1, 2), 0, 1).expect("a port");
            let port = one.socket.local_addr().expect("an address").port();
            if let Ok(other) = Exchange::at(&others(2, 1), port, 2) {
                return (one, other);
            }
        }
        panic!("no port that is free on both addresses");
    }

    /// Tries for a port that nobody has on either address.
    const PORTS_MAX: usize = 16;

    fn flows(count: u16) -> Vec<Flow> {
        let flow = |port| Flow {
            client: SocketAddr::from(([198, 51, 100, 10], port)),
            service: Endpoint::tcp([203, 0, 113, 10], 80),
            real: Endpoint::tcp([10, 10, 1, 21], 80),
        };
        (0..count).map(flow).collect()
    }

    #[tokio::test]
    async fn whoever_joins_is_told_everything_that_the_other_has() {
        let (mut one, mut other) = pair();
        let all = flows(5000);
        let answer = all.clone();
        tokio::spawn(async move {
            loop {
                if one.said().await == Said::Asked {
                    one.tell_everything(answer.clone());
                }
            }
        });
        let hear = async {
            let mut heard = BTreeSet::new();
            while heard.len() < all.len() {
                if let Said::Flows(_, flows) = other.said().await {
                    heard.extend(flows);
                }
            }
            heard
        };
        let heard = timeout(PATIENCE, hear).await.expect("everything");
        assert!(heard.iter().eq(all.iter().collect::<BTreeSet<_>>()));
    }

    #[tokio::test]
    async fn strangers_have_no_say() {
        let (mut one, other) = pair();
        let to = other.socket.local_addr().expect("an address");
        let mut other = other;
        let stranger = UdpSocket::bind("127.0.0.3:0").await.expect("a port");
        let neighbour = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let mut forged = Peer::new(7, Instant::now());
        for socket in [&stranger, &neighbour] {
            let datagram = forged.tell(&flows(1), Part::Fresh);
            socket.send_to(&datagram, to).await.expect("sent");
        }
        one.tell(&flows(2)[1..]);
        let said = timeout(PATIENCE, other.said()).await.expect("the other director is heard");
        assert_eq!(said, Said::Flows(IpAddr::from([127, 0, 0, 1]), flows(2)[1..].to_vec()));
    }
}
