//! Sees every frame on an interface, in both directions, with the kernel's own time of each. It knows nothing of what is
//! in them.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, SockaddrLike, bind, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use super::packet::Port;

/// Frames that wait until somebody looks: some minutes of a busy election.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Longest frame that is kept whole.
const FRAME_BYTES_MAX: usize = 2048;

/// A frame that passed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When, by the calendar's clock, since 1970.
    pub at: Duration,
    /// Did it leave by this interface, or come in?
    pub outgoing: bool,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// Sees frames.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// Sees what passes an interface from now on.
    pub fn open(port: &Port) -> io::Result<Self> {
        let every = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: socket takes three integers and returns a new descriptor or -1.
        let fd = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                // Nothing until it is bound: frames of other interfaces must not get in before that.
                0,
            )
        };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel has just opened it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        setsockopt(&fd, sockopt::RcvBufForce, &QUEUE_BYTES)?;
        setsockopt(&fd, sockopt::ReceiveTimestampns, &true)?;
        // SAFETY: a `sockaddr_ll` is plain integers, for which zeros are values.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every;
        address.sll_ifindex = port.index as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is whole and of that length.
        let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(len)) };
        bind(fd.as_raw_fd(), &address.ok_or(Errno::EINVAL)?)?;
        Ok(Self(fd))
    }

    /// The next frame, if one waits.
    pub fn next(&self) -> io::Result<Option<Frame>> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut control = cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = match recvmsg::<LinkAddr>(
            self.0.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        ) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let at = message.cmsgs()?.find_map(|part| match part {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let outgoing = message.address.is_some_and(|from| from.as_ref().sll_pkttype == libc::PACKET_OUTGOING);
        let len = message.bytes;
        buffer.truncate(len);
        Ok(Some(Frame { at: at.unwrap_or_default(), outgoing, bytes: buffer }))
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
