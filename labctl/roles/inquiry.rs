//! How a daemon is asked how it is: it listens on a socket in its node's own `/run`, and whoever connects is told one
//! JSON document, which ends with the connection. Whoever asks for something else says so in one line before; a daemon with
//! one thing to tell does not read it. It does not know what is told.
#![expect(clippy::disallowed_methods, reason = "whoever asks waits for a bounded time")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

/// Longest answer. A daemon with a dozen virtual routers of a hundred addresses each says less.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Room for what one read takes.
const PART_BYTES: usize = 64 * 1024;

/// The daemon's end. It never waits for anybody.
#[derive(Debug)]
pub struct Desk(UnixListener);

impl Desk {
    /// Listens from now on, also where an earlier run was killed and left its socket.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Answers one of those who wait, if there is one.
    pub fn answer_one(&self, answer: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        match self.0.accept() {
            Ok((stream, _)) => tell(stream, &answer()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The listener, for a daemon that waits in another way.
    pub fn into_listener(self) -> UnixListener {
        self.0
    }
}

impl AsFd for Desk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Answers whoever is at the other end, at once or not at all.
pub fn tell(mut stream: UnixStream, answer: &[u8]) {
    // The default buffer holds a fifth of the longest answer; where more is refused, the answer is shorter still.
    let _ = socket2::SockRef::from(&stream).set_send_buffer_size(ANSWER_BYTES_MAX);
    // Whoever is gone again, or takes no more, has less than an answer, and sees that it does not end as JSON does.
    let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(answer));
}

/// Asks the daemon behind a socket how it is. A daemon that hangs is an error after `within`, also one that tells a byte at a
/// time.
pub fn ask(path: &Path, within: Duration) -> io::Result<Vec<u8>> {
    converse(path, b"", within)
}

/// The same with a question: one line, short enough for the buffer of a socket.
pub fn converse(path: &Path, question: &[u8], within: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + within;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
    // Counts for connecting, too: a daemon that hangs has a full queue soon.
    socket.set_write_timeout(Some(within))?;
    let address = SockAddr::unix(path)?;
    let told = socket.connect(&address).and_then(|()| {
        let mut stream = UnixStream::from(socket);
        stream.write_all(question)?;
        stream.shutdown(Shutdown::Write)?;
        hear_out(&stream, end)
    });
    match told {
        Ok(answer) => Ok(answer),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
        }
        Err(error) => Err(error),
    }
}

/// All that is said before somebody hangs up.
fn hear_out(mut stream: &UnixStream, end: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut part = vec![0; PART_BYTES];
    while answer.len() < ANSWER_BYTES_MAX {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&part[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    #[test]
    fn everybody_who_asks_is_told_the_whole_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desk");
        // An earlier run left its socket.
        drop(Desk::open(&path).unwrap());
        let desk = Desk::open(&path).unwrap();
        desk.answer_one(|| unreachable!("nobody asks")).unwrap();
        let long = vec![b'x'; ANSWER_BYTES_MAX / 8];
        for _ in 0..2 {
            let asker = std::thread::spawn({
                let path = path.clone();
                move || ask(&path, WITHIN)
            });
            crate::kernel::wait::readable(desk.as_fd(), WITHIN).unwrap();
            desk.answer_one(|| long.clone()).unwrap();
            assert_eq!(asker.join().unwrap().unwrap(), long);
        }
    }

    #[test]
    fn a_daemon_that_tells_a_byte_at_a_time_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desk");
        let listener = UnixListener::bind(&path).unwrap();
        let teller = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Every byte comes within the time that is given to the whole.
            while stream.write_all(b"x").is_ok() {
                let _ = crate::kernel::wait::readable(listener.as_fd(), Duration::from_millis(5));
            }
        });
        let endless = ask(&path, Duration::from_millis(50)).unwrap_err();
        assert_eq!(endless.kind(), io::ErrorKind::TimedOut);
        teller.join().unwrap();
    }

    #[test]
    fn a_daemon_that_hangs_or_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desk");
        let desk = Desk::open(&path).unwrap();
        let silence = ask(&path, Duration::from_millis(1)).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        // Whoever gave up is no trouble for the daemon.
        let _ = desk.answer_one(|| b"late".to_vec());
        drop(desk);
        assert_eq!(ask(&path, WITHIN).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
