//! One IP protocol on one interface, in one address family: to a multicast group, or to each of a list of peers. Messages
//! go out with the interface's own hardware address or, as whole frames, with another one. It knows nothing of what
//! is in a message.

use std::io::{self, IoSliceMut, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, PacketBuilder};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use super::packet::{Error, FrameSocket, Mac, PRIORITY_CONTROL, Port};
use crate::vrrp::Envelope;

/// Receive buffer. The kernel doubles it and charges over 512 bytes for the shortest packet.
const QUEUE_BYTES: usize = 104 * 1024;
/// More packets than can ever wait on a [`ProtocolSocket`] at once.
pub const QUEUE_PACKETS_MAX: usize = 2 * QUEUE_BYTES / 512;

/// What is spoken on a [`ProtocolSocket`], and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// IP protocol number, or IPv6 next header.
    pub protocol: u8,
    /// The interface's address that messages come from: its primary IPv4 address or its link-local IPv6 one. It decides
    /// the family.
    pub own: IpAddr,
    /// Whom messages go to.
    pub destination: Destination,
    /// TTL or hop limit of what is sent.
    pub ttl: u8,
    /// Another hardware address than the interface's, for what goes to a group. What goes to a peer leaves with the
    /// interface's own: only who has the peer's hardware address could write its frame.
    pub source_mac: Option<Mac>,
}

/// Whom messages go to. All addresses are of the family of [`Wire::own`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A multicast group, which is joined.
    Group(IpAddr),
    /// Each of these routers by itself. Then nothing that goes to a group is heard.
    Peers(Vec<IpAddr>),
}

/// A datagram in the buffer that it was received into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub source: IpAddr,
    /// To what address.
    pub destination: IpAddr,
    /// Its TTL or hop limit on arrival.
    pub ttl: u8,
    /// Where in the buffer its message is.
    pub message: Range<usize>,
}

/// A raw socket. What it sends does not come back to it. It hears all that is said in its protocol, whoever else in this
/// namespace speaks it too.
#[derive(Debug)]
pub struct ProtocolSocket {
    socket: Socket,
    port: Port,
    wire: Wire,
    frames: Option<FrameSocket>,
}

impl ProtocolSocket {
    /// Opens a socket on one interface. Its own address must be there: an IPv6 one that is still being checked for
    /// duplicates is not.
    pub fn open(port: &Port, wire: Wire) -> Result<Self, Error> {
        let domain = if wire.own.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::from(i32::from(wire.protocol))))
            .map_err(port.error("open a raw socket"))?;
        let prepared = match wire.own {
            IpAddr::V4(own) => prepare_v4(&socket, port, &wire, own),
            IpAddr::V6(own) => prepare_v6(&socket, port, &wire, own),
        };
        prepared.map_err(port.error("prepare a raw socket"))?;
        let frames = match (&wire.destination, wire.source_mac) {
            (Destination::Group(_), Some(_)) => Some(FrameSocket::open(port)?),
            _ => None,
        };
        Ok(Self { socket, port: port.clone(), wire, frames })
    }

    /// Whom a message goes to: one group, or every peer.
    pub fn destinations(&self) -> &[IpAddr] {
        match &self.wire.destination {
            Destination::Group(group) => std::slice::from_ref(group),
            Destination::Peers(peers) => peers,
        }
    }

    /// Sends one message to one of [`Self::destinations`], or says at once that it cannot. A checksum over a pseudo-header
    /// is another one for each destination, so each has a message of its own.
    pub fn send(&self, to: IpAddr, message: &[u8]) -> io::Result<()> {
        match (&self.frames, self.wire.source_mac) {
            (Some(frames), Some(mac)) => frames.send(&self.frame(mac, to, message)?),
            _ => self.socket.send_to(message, &self.address(to)).map(drop),
        }
    }

    /// Takes the next datagram; `WouldBlock` if there is none. One that does not fit the buffer is cut off.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        match self.wire.own {
            IpAddr::V4(_) => {
                let len = (&self.socket).read(buffer)?;
                datagram_of_ipv4(&buffer[..len])
            }
            IpAddr::V6(_) => receive_v6(&self.socket, buffer),
        }
    }

    fn address(&self, to: IpAddr) -> SockAddr {
        match to {
            IpAddr::V4(to) => SocketAddrV4::new(to, 0).into(),
            IpAddr::V6(to) => SocketAddrV6::new(to, 0, 0, self.port.index).into(),
        }
    }

    fn frame(&self, mac: Mac, to: IpAddr, message: &[u8]) -> io::Result<Vec<u8>> {
        frame(&self.wire, mac, to, message).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{to} and a message for it fit no frame"))
        })
    }
}

impl AsFd for ProtocolSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn prepare_v4(socket: &Socket, port: &Port, wire: &Wire, own: Ipv4Addr) -> io::Result<()> {
    socket.bind_device(Some(port.name.as_bytes()))?;
    socket.set_priority(PRIORITY_CONTROL)?;
    socket.set_recv_buffer_size(QUEUE_BYTES)?;
    match &wire.destination {
        Destination::Group(IpAddr::V4(group)) => {
            // Decides the source address of what is sent, too, when the interface has further addresses. Binding would do
            // that as well, but a bound socket hears no group.
            socket.set_multicast_if_v4(&own)?;
            socket.set_multicast_ttl_v4(u32::from(wire.ttl))?;
            socket.set_multicast_loop_v4(false)?;
            // Without this the socket hears groups that other processes joined.
            socket.set_multicast_all_v4(false)?;
            socket.join_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(port.index))
        }
        Destination::Group(IpAddr::V6(_)) => Err(Errno::EAFNOSUPPORT.into()),
        Destination::Peers(_) => {
            socket.set_ttl_v4(u32::from(wire.ttl))?;
            socket.bind(&SocketAddr::from((own, 0)).into())
        }
    }
}

fn prepare_v6(socket: &Socket, port: &Port, wire: &Wire, own: Ipv6Addr) -> io::Result<()> {
    socket.bind_device(Some(port.name.as_bytes()))?;
    socket.set_priority(PRIORITY_CONTROL)?;
    socket.set_recv_buffer_size(QUEUE_BYTES)?;
    setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    socket.set_recv_hoplimit_v6(true)?;
    socket.bind(&SocketAddrV6::new(own, 0, 0, port.index).into())?;
    match &wire.destination {
        Destination::Group(IpAddr::V6(group)) => {
            socket.set_multicast_if_v6(port.index)?;
            socket.set_multicast_hops_v6(u32::from(wire.ttl))?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_all_v6(false)?;
            socket.join_multicast_v6(group, port.index)
        }
        Destination::Group(IpAddr::V4(_)) => Err(Errno::EAFNOSUPPORT.into()),
        Destination::Peers(_) => socket.set_unicast_hops_v6(u32::from(wire.ttl)),
    }
}

/// What an IPv4 raw socket hands over: the header too. The codec opens it, whose fuzzer throws whole packets at it.
fn datagram_of_ipv4(packet: &[u8]) -> io::Result<Datagram> {
    let envelope =
        Envelope::of_ipv4(packet).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    // A header that was opened is there as a whole; its first octet ends with how many words of four octets it has.
    let start = usize::from(packet[0] & 0x0f) * 4;
    Ok(Datagram {
        source: envelope.source,
        destination: envelope.destination,
        ttl: envelope.ttl,
        message: start..start + envelope.message.len(),
    })
}

/// An IPv6 raw socket hands over the message, and of the header what was asked for.
fn receive_v6(socket: &Socket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let (mut destination, mut ttl) = (None, None);
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => ttl = u8::try_from(limit).ok(),
            _ => {}
        }
    }
    let source = message.address.map(|address| address.ip());
    let (Some(source), Some(destination), Some(ttl)) = (source, destination, ttl) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram without its addresses"));
    };
    let message = 0..message.bytes;
    Ok(Datagram { source: source.into(), destination: destination.into(), ttl, message })
}

/// A whole frame to a multicast group.
fn frame(wire: &Wire, mac: Mac, to: IpAddr, message: &[u8]) -> Option<Vec<u8>> {
    let protocol = IpNumber(wire.protocol);
    let builder = PacketBuilder::ethernet2(mac, group_mac(to));
    let builder = match (wire.own, to) {
        (IpAddr::V4(own), IpAddr::V4(to)) => {
            let len = u16::try_from(message.len()).ok()?;
            let header = Ipv4Header::new(len, wire.ttl, protocol, own.octets(), to.octets()).ok()?;
            builder.ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        }
        (IpAddr::V6(own), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                payload_length: u16::try_from(message.len()).ok()?,
                next_header: protocol,
                hop_limit: wire.ttl,
                source: own.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            builder.ip(etherparse::IpHeaders::Ipv6(header, Default::default()))
        }
        _ => return None,
    };
    let mut frame = Vec::with_capacity(builder.size(message.len()));
    builder.write(&mut frame, protocol, message).ok()?;
    Some(frame)
}

/// The hardware address of a multicast group (RFC 1112 section 6.4, RFC 2464 section 7).
fn group_mac(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(group) => {
            let [_, a, b, c] = group.octets();
            [0x01, 0x00, 0x5e, a & 0x7f, b, c]
        }
        IpAddr::V6(group) => {
            let octets = group.octets();
            [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
        }
    }
}

#[cfg(test)]
mod tests;
