//! The line between two webs: one TCP connection, made anew whenever it breaks. The second web dials and the first one
//! listens, so that there are never two that both believe in. It carries frames and does not know what they mean.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::keeper::Heard;
use crate::conversation::peer::{ConnectionId, FRAME_BYTES_MAX, Frame};
use crate::roles::db::frame::{self, FrameError};

/// The first bytes of a connection, so that a stranger or another version of the framing is known at once.
const PREAMBLE: &[u8; 4] = b"LPE1";
/// How long a connection may take. The other web is one switch away.
const CONNECT_MAX: Duration = Duration::from_millis(150);
/// Rest between two attempts, so that a web that comes back is found at once and one that is gone costs little.
const REST: Duration = Duration::from_millis(50);
/// How long sent bytes may go without an acknowledgement. The kernel sends them again at growing intervals, and would
/// find a cable that was mended seconds late; a new connection finds it within [`CONNECT_MAX`] and [`REST`].
const UNACKNOWLEDGED_MAX: Duration = Duration::from_millis(500);
/// How long the other web may take to say the preamble.
const PREAMBLE_MAX: Duration = Duration::from_secs(1);
/// Most connections at once: one, those that it takes the place of, and some that have not said who they are.
const CONNECTIONS_MAX: usize = 8;
/// Most frames that wait to be sent: all requests that a web has in work at once, several times over.
const UNSENT_MAX: usize = 2_048;
/// Bytes that go out in one write, if that many wait.
const BATCH_BYTES: usize = 64 * 1024;
/// Rest after a failed `accept`: it fails for want of descriptors, which come back when connections end.
const ACCEPT_REST: Duration = Duration::from_millis(20);

/// This end of a connection. The connection ends with it.
#[derive(Debug)]
pub(super) struct Wire {
    connection: ConnectionId,
    unsent: mpsc::Sender<Frame>,
    _end: oneshot::Sender<()>,
}

impl Wire {
    /// Its number.
    pub(super) fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Puts a frame into the queue, if there is room.
    pub(super) fn send(&self, frame: Frame) -> Result<(), WireFull> {
        match self.unsent.try_send(frame) {
            // One that has ended says so by itself.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(WireFull),
        }
    }
}

/// The other web takes frames too slowly.
#[derive(Debug)]
pub(super) struct WireFull;

/// Connects to the other web again and again, until the future is dropped or nobody listens to what is heard.
pub(super) async fn dial(from: IpAddr, to: SocketAddr, heard: mpsc::Sender<Heard>) {
    let mut reachable = true;
    let numbers = AtomicU64::new(1);
    while !heard.is_closed() {
        match connect(from, to).await {
            Ok(stream) => {
                reachable = true;
                let connection = ConnectionId(numbers.fetch_add(1, Ordering::Relaxed));
                carry(connection, stream, &heard).await;
            }
            Err(error) => {
                if std::mem::replace(&mut reachable, false) {
                    tracing::warn!("connect to the other web at {to}: {error}");
                }
            }
        }
        sleep(REST).await;
    }
}

async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The other web knows us by this address.
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = timeout(CONNECT_MAX, socket.connect(to)).await??;
    stream.write_all(PREAMBLE).await?;
    Ok(stream)
}

/// Waits for the other web to connect, until the future is dropped or nobody listens to what is heard.
pub(super) async fn listen(listener: TcpListener, from: IpAddr, heard: mpsc::Sender<Heard>) {
    let numbers = Arc::new(AtomicU64::new(1));
    let mut connections = JoinSet::new();
    while !heard.is_closed() {
        while connections.try_join_next().is_some() {}
        let Ok((stream, who)) = listener.accept().await else {
            sleep(ACCEPT_REST).await;
            continue;
        };
        if who.ip() != from {
            tracing::warn!("{who} is not the other web");
            continue;
        }
        if connections.len() >= CONNECTIONS_MAX {
            continue;
        }
        let (numbers, heard) = (numbers.clone(), heard.clone());
        connections.spawn(async move {
            if let Ok(stream) = admit(stream).await {
                let connection = ConnectionId(numbers.fetch_add(1, Ordering::Relaxed));
                carry(connection, stream, &heard).await;
            }
        });
    }
}

async fn admit(mut stream: TcpStream) -> io::Result<TcpStream> {
    let mut preamble = [0; PREAMBLE.len()];
    timeout(PREAMBLE_MAX, stream.read_exact(&mut preamble)).await??;
    if &preamble == PREAMBLE { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// From the first frame of a connection to its end.
async fn carry(connection: ConnectionId, mut stream: TcpStream, heard: &mpsc::Sender<Heard>) {
    let (unsent, queue) = mpsc::channel(UNSENT_MAX);
    let (end, mut ended) = oneshot::channel();
    // Whoever does not listen any more is about to end.
    if heard.send(Heard::Connected(Wire { connection, unsent, _end: end })).await.is_err() {
        return;
    }
    let why = match prepare(&stream) {
        Err(error) => error.into(),
        Ok(()) => {
            let (incoming, outgoing) = stream.split();
            tokio::select! {
                why = read(connection, incoming, heard) => why,
                why = write(outgoing, queue) => why.into(),
                _ = &mut ended => FrameError::Io(io::Error::other("this web gave it up")),
            }
        }
    };
    tracing::info!("the connection to the other web ended: {}", crate::roles::described(&why));
    let _ = heard.send(Heard::Lost(connection)).await;
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Nagle's algorithm would hold a small frame back until the answer to the one before.
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

async fn read(
    connection: ConnectionId,
    incoming: impl tokio::io::AsyncRead + Unpin,
    heard: &mpsc::Sender<Heard>,
) -> FrameError {
    let mut incoming = BufReader::new(incoming);
    loop {
        match frame::read_within(FRAME_BYTES_MAX, &mut incoming).await {
            // A full queue holds this up, then the kernel's window, and then the other web's queue is full.
            Ok(frame) => drop(heard.send(Heard::Said(connection, frame)).await),
            Err(error) => return error,
        }
    }
}

async fn write(
    mut outgoing: impl tokio::io::AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Frame>,
) -> io::Error {
    while let Some(frame) = queue.recv().await {
        let mut frames = vec![frame];
        let mut batch = Vec::new();
        while let Some(frame) = frames.pop() {
            match frame::encode(&frame) {
                Ok(mut bytes) => batch.append(&mut bytes),
                Err(error) => return io::Error::other(error),
            }
            if batch.len() < BATCH_BYTES {
                frames.extend(queue.try_recv());
            }
        }
        if let Err(error) = outgoing.write_all(&batch).await {
            return error;
        }
    }
    io::Error::other("this web gave it up")
}
