//! A watch over a link: asks who has an address, and hears who else answers for it or announces it, in both families. It
//! sees every frame of that kind that arrives, whatever becomes of it later. It does not know who ought to have an address.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use socket2::{Domain, SockFilter, Socket, Type};

use super::packet::{Error, FrameSocket, Mac, PRIORITY_CONTROL, Port, link_address};
use super::{arp, ndp};

/// Receive buffer; over 512 bytes are charged for the shortest frame.
const QUEUE_BYTES: usize = 104 * 1024;
/// More frames than can ever wait on a [`NeighbourWatch`] at once.
pub const QUEUE_FRAMES_MAX: usize = 2 * QUEUE_BYTES / 512;
/// Room for an Ethernet frame with every option that neighbour discovery has a use for; what is longer is none of ours.
const FRAME_BYTES_MAX: usize = 1514;
/// Not to be told of what this machine sends: `PACKET_IGNORE_OUTGOING`, since Linux 4.20.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// What another machine said about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It has it.
    Has(Sighting),
    /// It probes for it: it is about to take it if nobody answers.
    Asks(Sighting),
}

/// An address, and another machine that has it or probes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The address.
    pub address: IpAddr,
    /// The hardware address that it answers or asks with.
    pub mac: Mac,
}

/// A socket on one link for the addresses that matter there.
#[derive(Debug)]
pub struct NeighbourWatch {
    socket: Socket,
    frames: FrameSocket,
    mac: Mac,
    watched: Vec<IpAddr>,
}

impl NeighbourWatch {
    /// Watches a physical link, not a macvlan on it.
    ///
    /// What this machine sends is not seen, whatever hardware address it bears. A frame that *arrives* with the virtual
    /// hardware address of a router is another router's: all of a group share it.
    pub fn open(port: &Port, watched: &[IpAddr]) -> Result<Self, Error> {
        // Bound to no protocol at first: nothing is queued before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)
            .map_err(port.error("open a packet socket"))?;
        let options = || {
            socket.attach_filter(&FILTER)?;
            ignore_outgoing(&socket)?;
            socket.set_priority(PRIORITY_CONTROL)?;
            socket.set_recv_buffer_size(QUEUE_BYTES)?;
            socket.bind(&link_address(port.index, libc::ETH_P_ALL as u16))
        };
        options().map_err(port.error("watch neighbours"))?;
        Ok(Self { socket, frames: FrameSocket::open(port)?, mac: port.mac, watched: watched.to_vec() })
    }

    /// Asks who has an address, by an ARP probe (RFC 5227 section 2.1.1) or by the solicitation of RFC 4862 section 5.4.2.
    /// Neither teaches anybody anything. When this returns the frame has left, as far as this machine goes.
    pub fn probe(&self, address: IpAddr) -> io::Result<()> {
        self.frames.send(&match address {
            IpAddr::V4(address) => arp::probe(address, self.mac),
            IpAddr::V6(address) => ndp::probe(address, self.mac),
        })
    }

    /// This machine's hardware address on the link.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The next other machine that has one of the watched addresses; `None` if nothing more is waiting.
    pub fn hear(&self) -> io::Result<Option<Sighting>> {
        let mut budget = QUEUE_FRAMES_MAX;
        while budget > 0 {
            match self.next_word(&mut budget)? {
                Some(Word::Has(sighting)) => return Ok(Some(sighting)),
                Some(Word::Asks(_)) => {}
                None => break,
            }
        }
        Ok(None)
    }

    /// The next word of another machine about one of the watched addresses; `None` if nothing more is waiting, or if as many
    /// frames were read as the budget had. Each counts, also one that says nothing about them and is skipped.
    pub fn next_word(&self, budget: &mut usize) -> io::Result<Option<Word>> {
        let mut buffer = [0; FRAME_BYTES_MAX];
        while *budget > 0 {
            *budget -= 1;
            let len = match (&self.socket).read(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Some(word) = self.word(&buffer[..len]) {
                return Ok(Some(word));
            }
        }
        Ok(None)
    }

    fn word(&self, frame: &[u8]) -> Option<Word> {
        let v4 = |(address, mac): (Ipv4Addr, Mac)| Sighting { address: address.into(), mac };
        let v6 = |(address, mac): (Ipv6Addr, Mac)| Sighting { address: address.into(), mac };
        let claim = || arp::claim(frame).map(v4).or_else(|| ndp::claim(frame).map(v6));
        let asked = || arp::asked(frame).map(v4).or_else(|| ndp::asked(frame).map(v6));
        let word = claim().map(Word::Has).or_else(|| asked().map(Word::Asks))?;
        let (Word::Has(sighting) | Word::Asks(sighting)) = word;
        (sighting.mac != self.mac && self.watched.contains(&sighting.address)).then_some(word)
    }
}

impl AsFd for NeighbourWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one integer, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(socket),
            libc::SOL_PACKET,
            PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(done).map(drop).map_err(io::Error::from)
}

/// ARP whole, and of IPv6 neighbour solicitations and advertisements without extension headers, which RFC 4861 has no use
/// for; everything else is dropped before it costs a wake.
static FILTER: [SockFilter; 10] = {
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    [
        SockFilter::new(LOAD_HALF, 0, 0, 12),      // EtherType
        SockFilter::new(EQUAL, 6, 0, 0x0806),      // ARP: take it
        SockFilter::new(EQUAL, 0, 6, 0x86dd),      // IPv6, or drop it
        SockFilter::new(LOAD_BYTE, 0, 0, 14 + 6),  // next header
        SockFilter::new(EQUAL, 0, 4, 58),          // ICMPv6, or drop it
        SockFilter::new(LOAD_BYTE, 0, 0, 14 + 40), // type
        SockFilter::new(EQUAL, 1, 0, 135),         // solicitation: take it
        SockFilter::new(EQUAL, 0, 1, 136),         // advertisement, or drop it
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
};

#[cfg(test)]
mod tests;
