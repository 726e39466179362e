//! Echo requests to the VIP at a steady pace, on a thread of its own with real-time priority where that is permitted.
//! Everything is remembered and told in the end: telling meanwhile would disturb the pace. It measures who has the
//! address, whatever the balancer behind it does.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::journal::Journal;
use super::{Error, Spec};
use crate::kernel::clock;
use crate::report::{PROBE_PATIENCE, What};

/// Above all ordinary threads and below the election, which the observer must not hold up.
const PRIORITY: i32 = 5;
/// Room for answers that wait for this thread: a second of them.
const RECEIVE_BYTES: usize = 1 << 20;
/// The longest echo reply that can be one of ours, with IP options.
const DATAGRAM_BYTES: usize = 128;
/// Answers taken before the clock is looked at again.
const DRAIN_MAX: usize = 256;

/// What is asked of the prober.
#[derive(Clone, Copy, Debug)]
struct Plan {
    vip: Ipv4Addr,
    source: Ipv4Addr,
    begins_ns: u64,
    interval: Duration,
    count: usize,
    /// How long answers to the last probe are noted. Whether one came in time is for the report to say.
    listens: Duration,
}

/// One probe; zero stands for "did not happen", which no point on the clock is.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    sent_ns: u64,
    answered_ns: u64,
}

/// What came of it.
#[derive(Debug)]
struct Record {
    slots: Vec<Slot>,
    /// Why the thread has no real-time priority.
    ordinary: Option<io::Error>,
}

/// A prober at work.
#[derive(Debug)]
pub(super) struct Prober {
    plan: Plan,
    thread: JoinHandle<io::Result<Record>>,
}

/// Starts probing at a point in time.
pub(super) fn start(spec: &Spec, begins_ns: u64) -> Prober {
    let count = spec.duration.as_nanos() / spec.probe_interval.as_nanos().max(1);
    let plan = Plan {
        vip: spec.vip,
        source: spec.sources.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED),
        begins_ns,
        interval: spec.probe_interval,
        count: usize::try_from(count).unwrap_or(usize::MAX),
        listens: spec.timeout.max(PROBE_PATIENCE),
    };
    Prober { plan, thread: std::thread::spawn(move || probe(&plan)) }
}

/// Waits for the last answer, and tells everything.
pub(super) async fn finish(prober: Prober, journal: &Journal) -> Result<(), Error> {
    let Prober { plan, thread } = prober;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    let record = match joined {
        Ok(Ok(Ok(record))) => record,
        Ok(Ok(Err(error))) => {
            let text = format!("The VIP was not probed: {error}.");
            return journal.emit(What::Note { text }).await;
        }
        Ok(Err(_)) | Err(_) => {
            let text = "The VIP was not probed: the prober died.".to_owned();
            return journal.emit(What::Note { text }).await;
        }
    };
    if let Some(error) = record.ordinary {
        let text = format!("Probes were sent without real-time priority: {error}.");
        journal.emit(What::Note { text }).await?;
    }
    for (index, slot) in record.slots.iter().enumerate() {
        let what = What::Probe {
            intended_ns: plan.intended_ns(index),
            sent_ns: slot.sent_ns,
            answered_ns: (slot.answered_ns != 0).then_some(slot.answered_ns),
        };
        journal.emit_at(slot.sent_ns, what).await?;
    }
    Ok(())
}

impl Plan {
    fn intended_ns(&self, index: usize) -> u64 {
        super::after(self.begins_ns, self.interval.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX)))
    }
}

fn probe(plan: &Plan) -> io::Result<Record> {
    let socket = Echo::open(plan)?;
    let ordinary = take_priority().err();
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let first = TimeSpec::from(Duration::from_nanos(plan.begins_ns));
    let pace = Expiration::IntervalDelayed(first, TimeSpec::from(plan.interval));
    timer.set(pace, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;

    let mut slots = vec![Slot::default(); plan.count];
    let ends_ns = super::after(plan.intended_ns(plan.count.saturating_sub(1)), plan.listens);
    let (mut next, mut open) = (0, plan.count);
    while next < plan.count || (open > 0 && clock::monotonic_ns() < ends_ns) {
        // The timer ticks on after the last probe, so this wait is bounded by the interval.
        let mut ready = [
            PollFd::new(timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.socket.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::NONE)?;
        let [ticked, answered] = ready.map(|fd| fd.any().unwrap_or(false));
        if ticked {
            timer.wait()?;
        }
        while next < plan.count && plan.intended_ns(next) <= clock::monotonic_ns() {
            slots[next].sent_ns = clock::monotonic_ns();
            socket.send(plan.vip, next);
            next += 1;
        }
        if answered {
            open -= socket.receive(&mut slots);
        }
    }
    Ok(Record { slots, ordinary })
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
    fn send(&self, vip: Ipv4Addr, index: usize) {
        let mut payload = [0; 12];
        payload[..8].copy_from_slice(&self.mark);
        payload[8..].copy_from_slice(&(index as u32).to_be_bytes());
        let echo = IcmpEchoHeader { id: u16::from_be_bytes([self.mark[6], self.mark[7]]), seq: index as u16 };
        let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &payload);
        let mut packet = header.to_bytes().to_vec();
        packet.extend_from_slice(&payload);
        let _ = self.socket.send_to(&packet, &SockAddr::from(SocketAddrV4::new(vip, 0)));
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

fn take_priority() -> io::Result<()> {
    let wanted = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the call reads one structure that outlives it; 0 means the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const wanted) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
