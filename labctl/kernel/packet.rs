//! Packets below TCP and UDP: whole Ethernet frames out of one interface, and one IP protocol in one multicast group
//! on one interface. It knows nothing of what is in them.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use super::netlink::{self, Netlink};

pub use super::link::Mac;

/// Queueing priority of control traffic, `TC_PRIO_CONTROL`: before all data wherever the kernel keeps queues by priority.
pub(super) const PRIORITY_CONTROL: u32 = 7;
/// Receive buffer of a [`GroupSocket`]. The kernel doubles it and charges over 512 bytes for the shortest packet.
const QUEUE_BYTES: usize = 104 * 1024;
/// More packets than can ever wait on a [`GroupSocket`] at once.
pub const QUEUE_PACKETS_MAX: usize = 2 * QUEUE_BYTES / 512;

/// Why packets cannot be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The interfaces cannot be listed.
    #[error("look for the interface {interface}")]
    List {
        /// The interface.
        interface: String,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
    /// It is not there, or it is not Ethernet.
    #[error("there is no Ethernet interface {0}")]
    NoInterface(String),
    /// A socket cannot be had.
    #[error("{act} on {interface}")]
    Socket {
        /// What could not be done.
        act: &'static str,
        /// The interface.
        interface: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// An Ethernet interface as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub mac: Mac,
}

impl Port {
    /// Finds an interface by name.
    pub fn find(netlink: &mut Netlink, name: &str) -> Result<Self, Error> {
        let links = netlink
            .dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .map_err(|source| Error::List { interface: name.to_owned(), source })?;
        let port = links.into_iter().find_map(|link| match link {
            RouteNetlinkMessage::NewLink(link) => Self::of(link, name),
            _ => None,
        });
        port.ok_or_else(|| Error::NoInterface(name.to_owned()))
    }

    fn of(link: LinkMessage, wanted: &str) -> Option<Self> {
        let mut found = false;
        let mut mac = None;
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => found = name == wanted,
                LinkAttribute::Address(address) => mac = Mac::try_from(address).ok(),
                _ => {}
            }
        }
        (found && mac.is_some()).then_some(Self {
            name: wanted.to_owned(),
            index: link.header.index,
            mac: mac?,
        })
    }

    pub(super) fn error(&self, act: &'static str) -> impl FnOnce(io::Error) -> Error {
        let interface = self.name.clone();
        move |source| Error::Socket { act, interface, source }
    }
}

/// Sends whole Ethernet frames out of one interface, which needs no address for that. Receives none.
#[derive(Debug)]
pub struct FrameSocket(Socket);

impl FrameSocket {
    /// Opens a socket for one interface.
    pub fn open(port: &Port) -> Result<Self, Error> {
        // Protocol 0: the kernel queues no frame on this socket.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)
            .map_err(port.error("open a packet socket"))?;
        socket.bind(&link_address(port.index, 0)).map_err(port.error("bind a packet socket"))?;
        socket.set_priority(PRIORITY_CONTROL).map_err(port.error("raise the priority of a packet socket"))?;
        Ok(Self(socket))
    }

    /// Sends one frame, or says at once that it cannot.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(drop)
    }
}

/// An interface, for frames of this type in host order; 0 for none at all.
pub(super) fn link_address(index: u32, protocol: u16) -> SockAddr {
    let init = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
        // SAFETY: the storage is zeroed, aligned and large enough for every kind of socket address, and ours alone
        // until this function returns.
        let (address, len) = unsafe { (&mut *storage.cast::<libc::sockaddr_ll>(), &mut *len) };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = index as i32;
        *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        io::Result::Ok(())
    };
    // SAFETY: the closure fills in a whole `sockaddr_ll` and its length.
    unsafe { SockAddr::try_init(init) }.expect("the closure cannot fail").1
}

/// One IP protocol in one multicast group on one interface. What it sends does not come back to it.
#[derive(Debug)]
pub struct GroupSocket {
    socket: Socket,
    group: SockAddr,
}

impl GroupSocket {
    /// Opens a socket that sends from the address `own` of the interface with that TTL, and joins the group.
    pub fn open(port: &Port, own: Ipv4Addr, protocol: u8, group: Ipv4Addr, ttl: u8) -> Result<Self, Error> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::from(i32::from(protocol))))
            .map_err(port.error("open a raw socket"))?;
        let options = || {
            socket.bind_device(Some(port.name.as_bytes()))?;
            // Decides the source address of what is sent, too, when the interface has further addresses.
            socket.set_multicast_if_v4(&own)?;
            socket.set_multicast_ttl_v4(u32::from(ttl))?;
            socket.set_multicast_loop_v4(false)?;
            // Without this the socket hears groups that other processes joined.
            socket.set_multicast_all_v4(false)?;
            socket.set_priority(PRIORITY_CONTROL)?;
            socket.set_recv_buffer_size(QUEUE_BYTES)?;
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(port.index))
        };
        options().map_err(port.error("join a multicast group"))?;
        Ok(Self { socket, group: SockAddr::from(SocketAddrV4::new(group, 0)) })
    }

    /// Sends one message to the group, or says at once that it cannot. The kernel puts the IP header before it.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_to(message, &self.group).map(drop)
    }

    /// Takes the next packet, IP header included, and returns its length; `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }
}

impl AsFd for GroupSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
