//! What passes on the links of the node that the suite listens from, read into values. It judges nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use super::frames::{PROTOCOL, checksum, pseudo_header};
use crate::kernel::packet::{FrameSocket, Mac, Port};
use crate::kernel::process::PidFd;
use crate::kernel::tap::{Frame, Tap, Way};
use crate::kernel::{clock, namespace, wait};

/// Longest time between two looks at the taps.
const LOOK: Duration = Duration::from_millis(5);

/// A frame, and what it is.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// When, by the calendar's clock.
    pub(super) at: Duration,
    /// On which link.
    pub(super) link: &'static str,
    /// Sent by the suite or its node?
    pub(super) ours: bool,
    /// Hardware source.
    pub(super) mac: Mac,
    /// What it is.
    pub(super) what: What,
}

/// What a frame is.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A VRRP message, whatever is in it.
    Advert(Advert),
    /// An ARP packet.
    Arp {
        /// Is it an answer?
        reply: bool,
        /// Sender hardware address.
        sha: Mac,
        /// Sender protocol address.
        spa: Ipv4Addr,
        /// Target protocol address.
        tpa: Ipv4Addr,
    },
    /// A neighbour advertisement.
    Advertised {
        /// For whom.
        target: Ipv6Addr,
        /// Router, Solicited and Override, as in the message.
        flags: u8,
        /// Target link-layer address.
        mac: Option<Mac>,
        /// Sent to everybody?
        to_all: bool,
    },
    /// Another IP packet.
    Ip {
        /// To.
        destination: IpAddr,
        /// Protocol, and the first octet of what it carries: the type of an ICMP message.
        protocol: (u8, u8),
    },
    /// Anything else.
    Other,
}

/// A VRRP message and its envelope.
#[derive(Clone, Debug)]
pub(super) struct Advert {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ttl: u8,
    pub(super) message: Vec<u8>,
}

impl Advert {
    fn octet(&self, at: usize) -> u8 {
        self.message.get(at).copied().unwrap_or_default()
    }

    pub(super) fn version(&self) -> u8 {
        self.octet(0) >> 4
    }

    pub(super) fn kind(&self) -> u8 {
        self.octet(0) & 0xf
    }

    pub(super) fn vrid(&self) -> u8 {
        self.octet(1)
    }

    pub(super) fn priority(&self) -> u8 {
        self.octet(2)
    }

    pub(super) fn count(&self) -> u8 {
        self.octet(3)
    }

    /// The upper nibble of VRRPv3's interval.
    pub(super) fn reserved(&self) -> u8 {
        self.octet(4) >> 4
    }

    pub(super) fn interval(&self) -> Duration {
        match self.version() {
            2 => Duration::from_secs(self.octet(5).into()),
            _ => Duration::from_millis(
                u64::from(u16::from_be_bytes([self.octet(4) & 0xf, self.octet(5)])) * 10,
            ),
        }
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let body = self.message.get(8..).unwrap_or_default();
        let count = usize::from(self.count());
        match self.source {
            IpAddr::V4(_) => {
                body.as_chunks::<4>().0.iter().take(count).map(|one| Ipv4Addr::from(*one).into()).collect()
            }
            IpAddr::V6(_) => {
                body.as_chunks::<16>().0.iter().take(count).map(|one| Ipv6Addr::from(*one).into()).collect()
            }
        }
    }

    /// What follows the addresses.
    pub(super) fn tail(&self) -> &[u8] {
        let size = if self.source.is_ipv4() { 4 } else { 16 };
        self.message.get(8 + usize::from(self.count()) * size..).unwrap_or_default()
    }

    /// Authentication type of VRRPv2.
    pub(super) fn authentication(&self) -> u8 {
        self.octet(4)
    }

    /// A sum over everything, the field itself included, is nothing if the field is right.
    pub(super) fn is_sound(&self, with_pseudo_header: bool) -> bool {
        let len = self.message.len();
        let mut covered =
            if with_pseudo_header { pseudo_header(self.source, self.destination, len) } else { vec![] };
        covered.extend(&self.message);
        checksum(&covered) == 0
    }
}

/// The links of a node.
pub(super) struct Wire {
    node: PidFd,
    links: Vec<(&'static str, Port, Tap)>,
    /// Everything so far, in the order of each link.
    pub(super) seen: Vec<Seen>,
}

impl Wire {
    /// Listens on those links of a node from now on.
    pub(super) fn open(node: PidFd, names: [&'static str; 2]) -> Result<Self, String> {
        let mut links = Vec::new();
        for name in names {
            let port = port(&node, name)?;
            let tap = namespace::inside(node.as_fd(), || Tap::open(&port));
            let tap = tap.map_err(|error| error.to_string())?;
            let tap = tap.map_err(|error| format!("listen on {name}: {error}"))?;
            links.push((name, port, tap));
        }
        Ok(Self { node, links, seen: Vec::new() })
    }

    /// An interface of the node.
    pub(super) fn port(&self, name: &str) -> Result<&Port, String> {
        let link = self.links.iter().find(|(link, ..)| *link == name);
        link.map(|(_, port, _)| port).ok_or_else(|| format!("nobody listens on {name}"))
    }

    /// Somebody who sends frames out of an interface of the node.
    pub(super) fn sender(&self, name: &str) -> Result<FrameSocket, String> {
        let port = self.port(name)?;
        let socket = namespace::inside(self.node.as_fd(), || FrameSocket::open(port));
        socket.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Takes what has passed since the last look.
    pub(super) fn look(&mut self) -> Result<(), String> {
        for (name, _, tap) in &self.links {
            let next = || tap.next().map_err(|error: io::Error| format!("listen on {name}: {error}"));
            while let Some(frame) = next()? {
                self.seen.extend(read(name, &frame));
            }
        }
        Ok(())
    }

    /// Listens until then, or until the question has an answer.
    pub(super) fn until<T>(
        &mut self,
        deadline: Duration,
        mut answer: impl FnMut(&[Seen]) -> Option<T>,
    ) -> Result<Option<T>, String> {
        loop {
            self.look()?;
            let left = deadline.saturating_sub(clock::calendar());
            match answer(&self.seen) {
                Some(found) => return Ok(Some(found)),
                None if left.is_zero() => return Ok(None),
                None => {}
            }
            if let Some((_, _, tap)) = self.links.first() {
                let _ = wait::readable(tap.as_fd(), left.min(LOOK));
            }
        }
    }
}

/// An interface of a node.
pub(super) fn port(node: &PidFd, name: &str) -> Result<Port, String> {
    Port::inside(node.as_fd(), name).map_err(|error| error.to_string())
}

fn read(link: &'static str, frame: &Frame) -> Option<Seen> {
    let (header, payload) = frame.bytes.split_at_checked(14)?;
    let mac: Mac = header[6..12].try_into().ok()?;
    let what = match u16::from_be_bytes([header[12], header[13]]) {
        0x0806 => arp(payload),
        0x0800 => ipv4(payload),
        0x86dd => ipv6(payload),
        _ => None,
    };
    Some(Seen { at: frame.at, link, ours: frame.way == Way::Out, mac, what: what.unwrap_or(What::Other) })
}

fn arp(packet: &[u8]) -> Option<What> {
    let packet = packet.first_chunk::<28>()?;
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let sha = packet[8..14].try_into().ok()?;
    Some(What::Arp { reply: packet[7] == 2, sha, spa: address(14), tpa: address(24) })
}

fn ipv4(packet: &[u8]) -> Option<What> {
    let header = packet.first_chunk::<20>()?;
    let address =
        |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let payload = packet.get(usize::from(header[0] & 0xf) * 4..len.min(packet.len()))?;
    Some(of_ip(address(12), address(16), header[8], header[9], payload))
}

fn ipv6(packet: &[u8]) -> Option<What> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let address = |at: usize| header[at..at + 16].try_into().ok().map(<Ipv6Addr as From<[u8; 16]>>::from);
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = rest.get(..len.min(rest.len()))?;
    let (source, destination) = (address(8)?, address(24)?);
    if header[6] == 58 && payload.first() == Some(&136) {
        let target: [u8; 16] = payload.get(8..24)?.try_into().ok()?;
        let option = payload.get(24..32).filter(|option| option[0] == 2);
        return Some(What::Advertised {
            target: target.into(),
            flags: payload[4] >> 5,
            mac: option.and_then(|option| option[2..8].try_into().ok()),
            to_all: destination.is_multicast(),
        });
    }
    Some(of_ip(source.into(), destination.into(), header[7], header[6], payload))
}

fn of_ip(source: IpAddr, destination: IpAddr, ttl: u8, protocol: u8, payload: &[u8]) -> What {
    match protocol {
        PROTOCOL => What::Advert(Advert { source, destination, ttl, message: payload.to_vec() }),
        _ => What::Ip { destination, protocol: (protocol, payload.first().copied().unwrap_or_default()) },
    }
}
