//! A TCP listener for HTTP that nobody can wear out: it bounds how many connections are open, leaves room for visitors
//! that have none, and ends a connection that takes too long over a request or an answer. It knows no HTTP, only that
//! whoever connects speaks first and is answered.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

/// One address may have connections while there is room for this many times as many. So one visitor never has more
/// than 140 of 800, and of two that want more than there is, the one that came first does not have it all.
const FREE_PER_OWN: usize = 4;
/// This part of the room is for addresses that have no connection yet: 100 of 800, so that a health check finds room
/// however greedy 99 others are.
const RESERVED_PART: usize = 8;
/// Rest after a failed `accept`: it fails for want of descriptors, which come back when connections end.
const ACCEPT_REST: Duration = Duration::from_millis(20);
/// Quiet time after which the kernel asks whether the peer is still there, and from one question to the next.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Questions without an answer that end the connection.
const KEEPALIVE_RETRIES: u32 = 3;

/// What a visitor may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most open connections.
    pub connections: usize,
    /// From the beginning of a connection to the first byte of a request, and from there to the first of its answer.
    pub request: Duration,
    /// From the first byte of an answer to the first one of the next request: the visitor has to take the answer, and
    /// may then think for a while.
    pub answer: Duration,
}

impl Default for Limits {
    /// A load generator's worth of connections, below the usual 1,024 open files of a process. A request has as long
    /// as the application gives it, and as long again to arrive; an answer of some megabytes fits through a thin line.
    fn default() -> Self {
        Self { connections: 800, request: Duration::from_secs(10), answer: Duration::from_secs(30) }
    }
}

/// The listener.
pub(super) struct BoundedListener {
    listener: TcpListener,
    limits: Limits,
    room: Arc<Mutex<Room>>,
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener, limits: Limits) -> Self {
        Self { listener, limits, room: Arc::new(Mutex::new(Room::new(limits.connections))) }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else {
                sleep(ACCEPT_REST).await;
                continue;
            };
            // Without room a visitor is turned away at once, and may try the other web node.
            let Some(place) = Place::take(&self.room, peer.ip()) else { continue };
            // Without either option the connection works all the same, only less well.
            let _ = stream.set_nodelay(true);
            let keepalive = TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE)
                .with_retries(KEEPALIVE_RETRIES);
            let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
            return (Connection::new(stream, self.limits, place), peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who has how many connections.
#[derive(Debug)]
struct Room {
    free: usize,
    reserved: usize,
    taken: HashMap<IpAddr, usize>,
}

impl Room {
    fn new(connections: usize) -> Self {
        Self { free: connections, reserved: connections / RESERVED_PART, taken: HashMap::new() }
    }

    /// Whether one more connection from there has room; it is then counted.
    fn enter(&mut self, address: IpAddr) -> bool {
        let own = self.taken.get(&address).copied().unwrap_or(0);
        let welcome = match own {
            0 => self.free > 0,
            _ => own * FREE_PER_OWN < self.free.saturating_sub(self.reserved),
        };
        if welcome {
            self.free -= 1;
            self.taken.insert(address, own + 1);
        }
        welcome
    }

    fn leave(&mut self, address: IpAddr) {
        let Some(own) = self.taken.get_mut(&address) else { return };
        self.free += 1;
        *own -= 1;
        if *own == 0 {
            self.taken.remove(&address);
        }
    }
}

/// One connection's place in the room, free again when this is dropped.
#[derive(Debug)]
struct Place {
    room: Arc<Mutex<Room>>,
    address: IpAddr,
}

impl Place {
    fn take(room: &Arc<Mutex<Room>>, address: IpAddr) -> Option<Self> {
        // Made only for a visitor that was counted: dropping one counts down.
        lock(room).enter(address).then(|| Self { room: room.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.room).leave(self.address);
    }
}

fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    // Nothing in there panics half-way through a change.
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    Opened,
    /// A request has begun and no answer.
    Asking,
    /// An answer has begun and no other request.
    Answered,
}

/// A connection with a deadline, and with a place that another gets when it ends.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    limits: Limits,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    _place: Place,
}

impl Connection {
    fn new(stream: TcpStream, limits: Limits, place: Place) -> Self {
        let deadline = Box::pin(sleep(limits.request));
        Self { stream, limits, phase: Phase::Opened, deadline, _place: place }
    }

    /// Fails once the deadline has passed; until then the task is woken up for it.
    fn still_in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Only the first byte of a request or an answer gives time, so nobody gains any by trickling the others.
    fn turn_to(&mut self, phase: Phase) {
        if self.phase == phase {
            return;
        }
        self.phase = phase;
        let limit = match phase {
            Phase::Opened | Phase::Asking => self.limits.request,
            Phase::Answered => self.limits.answer,
        };
        self.deadline.as_mut().reset(Instant::now() + limit);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.still_in_time(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.turn_to(Phase::Asking);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.still_in_time(cx)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.turn_to(Phase::Answered);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.still_in_time(cx)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.turn_to(Phase::Answered);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
