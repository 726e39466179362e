//! A netlink route socket on which requests are pipelined: many messages in one `send`, then one acknowledgement each.
//! A socket belongs for ever to the network namespace that its thread was in when it was opened, so whoever holds it
//! can change that namespace from any thread. Message layout is the `rtnetlink` crates' business.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::wait;

/// Room for the largest datagram of a dump; the kernel never makes one of over 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Most bytes in one `send`; below the default socket buffer of 208 KiB, its bookkeeping included.
const SEND_BYTES: usize = 48 * 1024;

/// Most requests in one `send`: their acknowledgements wait in our receive buffer, at about 800 bytes of it each.
const REQUESTS_MAX: usize = 64;

/// `RTNLGRP_LINK`: what the kernel tells of links.
pub const LINK_GROUP: u32 = 1;

/// One change to ask of the kernel.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to change.
    pub message: RouteNetlinkMessage,
    /// `NLM_F_CREATE` and the like; request and acknowledgement flags are added.
    pub flags: u16,
}

/// Why there is no answer to be had at all (an error *in* the answer is an [`Errno`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be opened.
    #[error("open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel did not take the request.
    #[error("send a netlink request")]
    Send(#[source] io::Error),
    /// No answer came.
    #[error("receive a netlink answer")]
    Receive(#[source] io::Error),
    /// The answer makes no sense.
    #[error("understand a netlink answer: {0}")]
    Parse(String),
    /// The kernel refused a dump.
    #[error("the kernel refused a netlink dump")]
    Dump(#[source] Errno),
}

/// A socket in one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        Self::open_groups(&[])
    }

    /// Opens a socket that also hears what the kernel tells these multicast groups (`RTNLGRP_*`).
    pub fn open_groups(groups: &[u32]) -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(Error::Open)?;
        socket.bind_auto().map_err(Error::Open)?;
        for group in groups {
            socket.add_membership(*group).map_err(Error::Open)?;
        }
        socket.connect(&SocketAddr::new(0, 0)).map_err(Error::Open)?;
        // Errors then come without a copy of the request, which keeps answers short.
        socket.set_cap_ack(true).map_err(Error::Open)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Asks for all changes, in order, and returns one result each, in order. A refused change does not stop those
    /// after it.
    pub fn run(&mut self, requests: &[Request]) -> Result<Vec<Result<(), Errno>>, Error> {
        let mut results = Vec::with_capacity(requests.len());
        let mut bytes: Vec<u8> = Vec::new();
        let mut pending = 0;
        for request in requests {
            let message = self.number(request.message.clone(), request.flags | NLM_F_REQUEST | NLM_F_ACK);
            let at = bytes.len();
            if pending == REQUESTS_MAX || at > 0 && at + message.buffer_len() > SEND_BYTES {
                self.exchange(&bytes, pending, &mut results)?;
                bytes.clear();
                pending = 0;
            }
            let at = bytes.len();
            bytes.resize(at + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[at..]);
            pending += 1;
        }
        if pending > 0 {
            self.exchange(&bytes, pending, &mut results)?;
        }
        Ok(results)
    }

    /// Asks for a list, such as all links or all addresses.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let message = self.number(message, NLM_F_REQUEST | NLM_F_DUMP);
        let sequence = message.header.sequence_number;
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(Error::Send)?;
        let mut found = Vec::new();
        loop {
            for answer in self.receive(0)? {
                if answer.header.sequence_number != sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(error) => match error.code {
                        Some(code) => return Err(Error::Dump(Errno::from_raw(-code.get()))),
                        None => return Ok(found),
                    },
                    NetlinkPayload::InnerMessage(inner) => found.push(inner),
                    _ => {}
                }
            }
        }
    }

    /// What the kernel told this socket's groups since the last call; empty if nothing. Never blocks.
    pub fn notices(&mut self) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut found = Vec::new();
        loop {
            match self.receive(nix::libc::MSG_DONTWAIT) {
                Ok(messages) => {
                    found.extend(messages.into_iter().filter_map(|message| match message.payload {
                        NetlinkPayload::InnerMessage(inner) => Some(inner),
                        _ => None,
                    }))
                }
                Err(Error::Receive(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(found),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the kernel tells this socket's groups something, or the time is over, and forgets what it was: for
    /// whoever then looks for himself. A queue that overflowed only means that a lot happened.
    pub fn wait_for_notice(&mut self, within: Duration) {
        let _ = wait::readable(self.as_fd(), within);
        let _ = self.notices();
    }

    fn number(&mut self, message: RouteNetlinkMessage, flags: u16) -> NetlinkMessage<RouteNetlinkMessage> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        message
    }

    fn exchange(
        &mut self,
        bytes: &[u8],
        pending: usize,
        results: &mut Vec<Result<(), Errno>>,
    ) -> Result<(), Error> {
        self.socket.send(bytes, 0).map_err(Error::Send)?;
        let until = results.len() + pending;
        while results.len() < until {
            for answer in self.receive(0)? {
                if let NetlinkPayload::Error(error) = answer.payload {
                    results.push(match error.code {
                        None => Ok(()),
                        Some(code) => Err(Errno::from_raw(-code.get())),
                    });
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, flags: i32) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>, Error> {
        self.buffer.clear();
        let len = self.socket.recv(&mut self.buffer, flags).map_err(Error::Receive)?;
        let mut messages = Vec::new();
        let mut at = 0;
        while at < len {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.buffer[at..len])
                .map_err(|error| Error::Parse(error.to_string()))?;
            at += (message.header.length as usize).next_multiple_of(4).max(16);
            messages.push(message);
        }
        Ok(messages)
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket lives as long as `self`, which the returned borrow cannot outlive.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::link;

    #[test]
    fn ten_thousand_requests_get_ten_thousand_answers() {
        let mut netlink = Netlink::open().expect("a netlink socket");
        // An interface that does not exist: refused for everybody, and nothing is changed.
        let nowhere = u32::MAX >> 1;
        let results = netlink.run(&vec![link::up(nowhere); 10_000]).expect("answers");
        assert_eq!(results.len(), 10_000);
        assert!(results.iter().all(Result::is_err));
    }
}
