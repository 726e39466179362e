//! Ethernet interfaces, and whole frames out of one. It knows nothing of what is in them.

use std::io;
use std::os::fd::BorrowedFd;

use nix::libc;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use socket2::{Domain, SockAddr, Socket, Type};

use super::namespace;
use super::netlink::{self, Netlink};

pub use super::link::Mac;

/// Queueing priority of control traffic, `TC_PRIO_CONTROL`: before all data wherever the kernel keeps queues by priority.
pub(super) const PRIORITY_CONTROL: u32 = 7;

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
    /// The namespace that it is in cannot be entered.
    #[error(transparent)]
    Namespace(namespace::Error),
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
        let list = |source| Error::List { interface: name.to_owned(), source };
        let port = Self::all(netlink).map_err(list)?.into_iter().find(|port| port.name == name);
        port.ok_or_else(|| Error::NoInterface(name.to_owned()))
    }

    /// Finds an interface in the network namespace of a process, by its descriptor.
    pub fn inside(process: BorrowedFd, name: &str) -> Result<Self, Error> {
        namespace::inside(process, || {
            let failed = |source| Error::List { interface: name.to_owned(), source };
            Self::find(&mut Netlink::open().map_err(failed)?, name)
        })
        .map_err(Error::Namespace)?
    }

    /// All interfaces of a namespace with a hardware address; that of loopback is zeros.
    pub fn all(netlink: &mut Netlink) -> Result<Vec<Self>, netlink::Error> {
        let links = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let ports = links.into_iter().filter_map(|link| match link {
            RouteNetlinkMessage::NewLink(link) => Self::of(link),
            _ => None,
        });
        Ok(ports.collect())
    }

    fn of(link: LinkMessage) -> Option<Self> {
        let (mut name, mut mac) = (None, None);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(found) => name = Some(found),
                LinkAttribute::Address(address) => mac = Mac::try_from(address).ok(),
                _ => {}
            }
        }
        Some(Self { name: name?, index: link.header.index, mac: mac? })
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
