//! Echo requests to one address at a steady pace, from the calling thread, with real-time priority where that is
//! permitted. Everything is remembered and returned in the end: telling meanwhile would disturb the pace. It measures who
//! has an address, whatever else is there, and knows neither why it is probed nor what a lost probe means.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{clock, realtime};

/// Room for answers that wait for this thread: a second of them.
const RECEIVE_BYTES: usize = 1 << 20;
/// The longest echo reply that can be one of ours, with IP options.
const DATAGRAM_BYTES: usize = 128;
/// Answers taken before the clock is looked at again.
const DRAIN_MAX: usize = 256;

/// What is asked of the prober.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The address that is probed.
    pub target: Ipv4Addr,
    /// The address of this node that probes come from.
    pub source: Ipv4Addr,
    /// When the first probe leaves (`CLOCK_MONOTONIC`).
    pub begins_ns: u64,
    /// From one probe to the next.
    pub interval: Duration,
    /// How many, unless the prober is stopped before.
    pub count: usize,
    /// How long answers to the last probe are noted. Whether one came in time is for others to say.
    pub listens: Duration,
}

/// One probe; zero stands for "did not happen", which no point on the clock is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// When it left.
    pub sent_ns: u64,
    /// When its answer came.
    pub answered_ns: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Record {
    /// The probes that left, in order.
    pub slots: Vec<Slot>,
    /// Why the thread has no real-time priority.
    pub ordinary: Option<io::Error>,
}

/// What others may see and do while the prober works.
#[derive(Debug, Default)]
pub struct Desk {
    /// No more probes are sent from when this is set.
    pub stop: AtomicBool,
    /// Probes that left.
    pub sent: AtomicU64,
    /// Probes that were answered.
    pub answered: AtomicU64,
}

impl Plan {
    /// When this probe should leave.
    pub fn intended_ns(&self, index: usize) -> u64 {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        self.begins_ns.saturating_add(nanos(self.interval).saturating_mul(index))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Probes, and returns when all is known or nothing more is awaited.
pub fn probe(plan: &Plan, desk: &Desk) -> io::Result<Record> {
    let socket = Echo::open(plan)?;
    let ordinary = realtime::observe_first().err().map(io::Error::from);
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let first = TimeSpec::from(Duration::from_nanos(plan.begins_ns));
    let pace = Expiration::IntervalDelayed(first, TimeSpec::from(plan.interval));
    timer.set(pace, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;

    let mut slots = vec![Slot::default(); plan.count];
    let (mut next, mut answered) = (0, 0);
    loop {
        if desk.stop.load(Ordering::Relaxed) {
            slots.truncate(next);
        }
        let ends_ns = plan.intended_ns(slots.len().saturating_sub(1)).saturating_add(nanos(plan.listens));
        if next == slots.len() && (answered == next || clock::monotonic_ns() >= ends_ns) {
            return Ok(Record { slots, ordinary });
        }
        // The timer ticks on after the last probe, so this wait is bounded by the interval.
        let mut ready = [
            PollFd::new(timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.socket.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::NONE)?;
        let [ticked, heard] = ready.map(|fd| fd.any().unwrap_or(false));
        if ticked {
            timer.wait()?;
        }
        while next < slots.len() && plan.intended_ns(next) <= clock::monotonic_ns() {
            slots[next].sent_ns = clock::monotonic_ns();
            socket.send(plan.target, next);
            next += 1;
        }
        if heard {
            answered += socket.receive(&mut slots);
        }
        desk.sent.store(next as u64, Ordering::Relaxed);
        desk.answered.store(answered as u64, Ordering::Relaxed);
    }
}

/// A socket for echo requests, and the mark by which their answers are known.
struct Echo {
    socket: Socket,
    /// A raw socket hears every ICMP message of the node, each with its IP header.
    raw: bool,
    mark: [u8; 8],
}

impl Echo {
    /// A raw socket needs CAP_NET_RAW; without it the kernel's ping sockets may be open to us.
    fn open(plan: &Plan) -> io::Result<Self> {
        let open = |kind| Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4));
        let (socket, raw) = match open(Type::RAW) {
            Ok(socket) => (socket, true),
            Err(_) => (open(Type::DGRAM)?, false),
        };
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(plan.source, 0)))?;
        let mark = (plan.begins_ns ^ u64::from(std::process::id()) << 40).to_be_bytes();
        Ok(Self { socket, raw, mark })
    }

    /// A request that cannot be sent is a lost probe; there is nothing else to do about it.
    fn send(&self, target: Ipv4Addr, index: usize) {
        let mut payload = [0; 12];
        payload[..8].copy_from_slice(&self.mark);
        payload[8..].copy_from_slice(&(index as u32).to_be_bytes());
        let echo = IcmpEchoHeader { id: u16::from_be_bytes([self.mark[6], self.mark[7]]), seq: index as u16 };
        let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &payload);
        let mut packet = header.to_bytes().to_vec();
        packet.extend_from_slice(&payload);
        let _ = self.socket.send_to(&packet, &SockAddr::from(SocketAddrV4::new(target, 0)));
    }

    /// Takes the answers that are here, and says how many probes they are for.
    fn receive(&self, slots: &mut [Slot]) -> usize {
        let mut answers = 0;
        for _ in 0..DRAIN_MAX {
            let mut buffer = [MaybeUninit::uninit(); DATAGRAM_BYTES];
            let Ok(length) = self.socket.recv(&mut buffer) else { break };
            let now = clock::monotonic_ns();
            // SAFETY: the kernel has written the first `length` bytes.
            let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
            let slot = self.index_of(bytes).and_then(|index| slots.get_mut(index));
            if let Some(slot) = slot.filter(|slot| slot.answered_ns == 0 && slot.sent_ns != 0) {
                slot.answered_ns = now;
                answers += 1;
            }
        }
        answers
    }

    /// The probe that this datagram answers, if it answers one of ours.
    fn index_of(&self, datagram: &[u8]) -> Option<usize> {
        let message = match self.raw {
            true => datagram.get(Ipv4HeaderSlice::from_slice(datagram).ok()?.slice().len()..)?,
            false => datagram,
        };
        let message = Icmpv4Slice::from_slice(message).ok()?;
        let Icmpv4Type::EchoReply(_) = message.icmp_type() else { return None };
        let index = message.payload().strip_prefix(&self.mark)?;
        Some(u32::from_be_bytes(index.try_into().ok()?) as usize)
    }
}
