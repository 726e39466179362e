//! Local sockets of a lab: abstract addresses, which end with their owner and leave no file; descriptors sent along;
//! and who is at the other end.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg, sockopt};

/// Most descriptors in one message; the kernel stops at 253 (SCM_MAX_FD).
pub const DESCRIPTORS_MAX: usize = 250;

/// Listens on an abstract address; `AddrInUse` if somebody does already.
pub fn listen(address: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(address)?)
}

/// Connects to an abstract address; `ConnectionRefused` if nobody listens.
pub fn connect(address: &str) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(address)?)
}

/// The abstract addresses of this network namespace that somebody listens on and that begin with `prefix`.
pub fn listening(prefix: &str) -> io::Result<Vec<String>> {
    /// `__SO_ACCEPTCON` in the flags column: a listener, not one of its connections.
    const LISTENING: &str = "00010000";
    let table = std::fs::read_to_string("/proc/net/unix")?;
    let mut found: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let flags = columns.nth(3)?;
            let address = columns.nth(3)?.strip_prefix('@')?;
            (flags == LISTENING && address.starts_with(prefix)).then(|| address.to_owned())
        })
        .collect();
    found.sort();
    Ok(found)
}

/// The user at the other end of a connection.
pub fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let credentials = nix::sys::socket::getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(credentials.uid())
}

/// Whether the other end is ours or root's: anybody may listen on an abstract address.
pub fn peer_is_trusted(stream: &UnixStream) -> io::Result<bool> {
    let uid = peer_uid(stream)?;
    Ok(uid == 0 || uid == nix::unistd::getuid().as_raw())
}

/// The process that listens at the other end of a connection, as this PID namespace numbers it.
pub fn peer_pid(stream: &UnixStream) -> io::Result<i32> {
    let credentials = nix::sys::socket::getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(credentials.pid())
}

/// Sends bytes with descriptors attached to the first of them.
pub fn send_with(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd]) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage] = if raw.is_empty() { &[] } else { &rights };
    let sent =
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    io::Write::write_all(&mut &*stream, &bytes[sent..])
}

/// Receives some bytes and the descriptors that came with them. No bytes means that the other end is closed.
pub fn receive_with(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just installed these descriptors for this process alone.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, descriptors))
}
