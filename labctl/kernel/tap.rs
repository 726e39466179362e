//! Sees every frame on an interface, or on all of a network namespace, in both directions, with the kernel's own time of
//! each. It knows nothing of what is in them.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, SockaddrLike, bind, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use super::packet::Port;
use super::{clock, wait};

/// Frames that wait until somebody looks: some minutes of a busy election.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Longest frame that is kept whole: a segment that the kernel has not cut up yet, and its headers.
const FRAME_BYTES_MAX: usize = (64 << 10) + 256;
/// The kernel begins to stamp frames some microseconds after somebody first asks for it, on a machine under load later.
const STAMPS_WITHIN: Duration = Duration::from_secs(2);
/// From one question whether it does to the next.
const STAMPS_LOOK: Duration = Duration::from_millis(1);

/// A frame that passed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When, by the calendar's clock, since 1970.
    pub at: Duration,
    /// The interface's number.
    pub index: u32,
    /// In which direction.
    pub way: Way,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// How a frame passed an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It left.
    Out,
    /// It came in, for this interface, a group or everybody.
    In,
    /// It came in for somebody else: a bridge that does not know where that is tells everybody.
    Overheard,
}

/// Sees frames.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// Sees what passes an interface from now on.
    pub fn open(port: &Port) -> io::Result<Self> {
        Self::on(port.index)
    }

    /// Sees what passes any interface of the network namespace of the calling thread from now on, also one that comes later.
    pub fn open_all() -> io::Result<Self> {
        Self::on(0)
    }

    fn on(index: u32) -> io::Result<Self> {
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
        address.sll_ifindex = index as i32;
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
        let from = message.address.ok_or(Errno::EINVAL)?;
        let way = match from.as_ref().sll_pkttype {
            libc::PACKET_OUTGOING => Way::Out,
            libc::PACKET_OTHERHOST => Way::Overheard,
            _ => Way::In,
        };
        let (index, len) = (from.as_ref().sll_ifindex as u32, message.bytes);
        // The buffer is long and most frames are short: whoever keeps many must not keep their buffers.
        Ok(Some(Frame { at: at.unwrap_or_default(), index, way, bytes: buffer[..len].to_vec() }))
    }

    /// How many frames passed since the last call that nobody will see, because too many were waiting.
    pub fn lost(&self) -> io::Result<u32> {
        // SAFETY: the structure is plain integers, for which zeros are values.
        let mut seen: libc::tpacket_stats = unsafe { std::mem::zeroed() };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        let option = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        let into = (&raw mut seen).cast();
        // SAFETY: the kernel writes at most `len` bytes into the structure, which is that long.
        Errno::result(unsafe { libc::getsockopt(self.0.as_raw_fd(), option.0, option.1, into, &mut len) })?;
        Ok(seen.tp_drops)
    }

    /// Waits until frames are stamped when they pass, and not when they are read: the kernel only begins to do so once
    /// somebody asks, and takes its time. For a tap of the calling thread's namespace, whose loopback must be up; frames
    /// that passed before are forgotten.
    pub fn wait_for_stamps(&self) -> io::Result<()> {
        let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let until = clock::calendar() + STAMPS_WITHIN;
        while clock::calendar() < until {
            own.send_to(&[], own.local_addr()?)?;
            let read_from = clock::calendar();
            let mut stamped = false;
            while let Some(frame) = self.next()? {
                stamped |= frame.at < read_from;
            }
            if stamped {
                return Ok(());
            }
            wait::readable(self.as_fd(), STAMPS_LOOK)?;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not stamp frames"))
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
