//! Who listens: TCP ports of one network namespace, asked of the kernel's socket diagnosis. `/proc/net/tcp` would say the
//! same, but walks every connection of the machine for it, which takes a hundred times as long.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;
use rtnetlink::sys::{Socket, SocketAddr};

/// Room for the largest datagram of a dump; the kernel never makes one of over 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Why listeners cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket.
    #[error("ask the kernel who listens")]
    Socket(#[source] io::Error),
    /// The answer makes no sense.
    #[error("understand who listens: {0}")]
    Parse(String),
}

/// A diagnosis socket in one network namespace.
#[derive(Debug)]
pub struct Listeners {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Listeners {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(Error::Socket)?;
        socket.bind_auto().map_err(Error::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(Error::Socket)?;
        Ok(Self { socket, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// The TCP ports, over IPv4 or IPv6, that somebody listens on.
    pub fn ports(&mut self) -> Result<BTreeSet<u16>, Error> {
        let mut ports = BTreeSet::new();
        for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let request = InetRequest {
                family,
                protocol: IPPROTO_TCP,
                extensions: ExtensionFlags::empty(),
                states: StateFlags::LISTEN,
                socket_id,
            };
            self.dump(request, &mut ports)?;
        }
        Ok(ports)
    }

    fn dump(&mut self, request: InetRequest, ports: &mut BTreeSet<u16>) -> Result<(), Error> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(Error::Socket)?;
        loop {
            self.buffer.clear();
            let len = self.socket.recv(&mut self.buffer, 0).map_err(Error::Socket)?;
            let mut at = 0;
            while at < len {
                let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&self.buffer[at..len])
                    .map_err(|error| Error::Parse(error.to_string()))?;
                at += (answer.header.length as usize).next_multiple_of(4).max(16);
                match answer.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        ports.insert(response.header.socket_id.source_port);
                    }
                    // A kernel without one of the families has no listeners of it.
                    NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_while_somebody_listens_on_it() {
        let mut listeners = Listeners::open().expect("a diagnosis socket");
        let one = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = one.local_addr().expect("an address").port();
        assert!(listeners.ports().expect("ports").contains(&port));
        drop(one);
        assert!(!listeners.ports().expect("ports").contains(&port));
    }
}
