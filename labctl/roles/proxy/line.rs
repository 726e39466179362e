//! A TCP connection that nobody can hold open for nothing. It knows no HTTP: whoever uses it says when an exchange is under
//! way, and only then does a byte give more time.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::libc;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// From the end of an answer, or the beginning of the connection, to the end of the next request's head. A visitor may think
/// for a while; one that sends a head byte by byte gains nothing.
const HEAD_MAX: Duration = Duration::from_secs(20);
/// From one byte to the next while an exchange is under way, in either direction: longer than a real server may take to
/// answer.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What is known of a connection outside of it.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// An exchange is under way.
    busy: AtomicBool,
    /// The connection ends with the answer that is under way, or has just been said.
    last: AtomicBool,
    /// Nobody hears what is still to be said.
    lost: AtomicBool,
}

impl Talk {
    /// A request came, or its answer has ended.
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// The connection ends after the answer to this request, as the answer must say.
    pub(super) fn end_with_this(&self) {
        self.last.store(true, Ordering::Relaxed);
    }

    /// All of the last answer is there, so that whatever is written now is followed by nothing but the end.
    fn is_farewell(&self) -> bool {
        self.last.load(Ordering::Relaxed) && !self.busy.load(Ordering::Relaxed)
    }

    /// The connection ends without a farewell: this machine no longer has the address that it would come from.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

/// Bytes that passed.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) read: AtomicU64,
    pub(super) written: AtomicU64,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    talk: Arc<Talk>,
    meter: Option<Arc<Meter>>,
    progress: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Line {
    /// A visitor's connection, in which the visitor speaks first. Its listener has set what is to be set.
    pub(super) fn accepted(stream: TcpStream, talk: Arc<Talk>) -> Self {
        Self::new(stream, talk, None)
    }

    /// A connection to a real server, which is there for exchanges only.
    pub(super) async fn connect(to: SocketAddr, meter: Arc<Meter>) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        // Without it the connection works all the same, only less well.
        let _ = stream.set_nodelay(true);
        let talk = Talk::default();
        talk.set_busy(true);
        Ok(Self::new(stream, Arc::new(talk), Some(meter)))
    }

    fn new(stream: TcpStream, talk: Arc<Talk>, meter: Option<Arc<Meter>>) -> Self {
        Self { stream, talk, meter, progress: Instant::now(), alarm: Box::pin(sleep(HEAD_MAX)) }
    }

    /// Takes note of what passed.
    fn passed(&mut self, bytes: usize, count: impl FnOnce(&Meter) -> &AtomicU64) {
        if bytes == 0 {
            return;
        }
        if self.talk.busy.load(Ordering::Relaxed) {
            self.progress = Instant::now();
        }
        if let Some(meter) = &self.meter {
            count(meter).fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Fails once nothing has passed for too long; until then the task is woken up for it.
    fn still_in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let busy = self.talk.busy.load(Ordering::Relaxed);
            let due = self.progress + if busy { STALL_MAX } else { HEAD_MAX };
            if due <= Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.alarm.as_mut().reset(due);
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.talk.lost.load(Ordering::Relaxed) {
            // What is not sent is forgotten, so that the kernel does not go on repeating it.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => {
                self.still_in_time(cx).map_or_else(|late| Poll::Ready(Err(late)), |()| Poll::Pending)
            }
            Poll::Ready(done) => {
                self.passed(buf.filled().len() - before, |meter| &meter.read);
                Poll::Ready(done)
            }
        }
    }
}

impl Line {
    /// Writes what the end of the connection follows at once, in the same packet (`MSG_MORE` in send(2)).
    fn poll_write_last(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let write = || {
            let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
            SockRef::from(&self.stream).send_vectored_with_flags(slices, flags)
        };
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, write) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn written(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if done.is_pending() {
            self.still_in_time(cx)?;
        }
        let bytes = ready!(done)?;
        self.passed(bytes, |meter| &meter.written);
        Poll::Ready(Ok(bytes))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = match self.talk.is_farewell() {
            true => self.poll_write_last(cx, slices),
            false => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.written(cx, done)
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
