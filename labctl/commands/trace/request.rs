//! One HTTP request by a connection of which both ends are known before its first packet leaves: that is why it is made by
//! hand. It goes by a socket of another network namespace and knows nothing of captures.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::kernel::namespace;
use crate::walk::Outcome;

/// Of an answer that is longer, the rest is not read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// By this header a proxy's own request is known again.
pub(super) const HEADER: &str = "X-Labctl-Trace";

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Whom.
    pub(super) to: SocketAddr,
    /// For what.
    pub(super) path: String,
    /// How long all of it may take.
    pub(super) timeout: Duration,
}

/// A socket that has not connected yet.
#[derive(Debug)]
pub(super) struct Ready {
    socket: Socket,
    /// Its own end.
    pub(super) from: SocketAddr,
}

/// Makes the socket in the network namespace of a process, where no route to there may be, too.
pub(super) fn ready(node: BorrowedFd, to: SocketAddr) -> Result<io::Result<Ready>, namespace::Error> {
    namespace::inside(node, || {
        // The kernel chooses the address as it would for a connection, and sends nothing.
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let scout = UdpSocket::bind(SocketAddr::new(any, 0))?;
        scout.connect(to)?;
        let own = SocketAddr::new(scout.local_addr()?.ip(), 0);
        let socket = Socket::new(Domain::for_address(to), Type::STREAM.cloexec(), None)?;
        socket.bind(&own.into())?;
        let from = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Ready { socket, from })
    })
}

impl Ready {
    /// Asks, and closes the connection.
    pub(super) fn ask(self, question: &Question, token: &str) -> Outcome {
        let answer = self.answer(question, token);
        answer.map_or_else(|error| Outcome::Failed(error.to_string()), Outcome::Answered)
    }

    #[expect(clippy::disallowed_methods, reason = "owns the clock of this request")]
    fn answer(self, question: &Question, token: &str) -> io::Result<u16> {
        let Question { to, path, timeout } = question;
        let until = Instant::now() + *timeout;
        self.socket.connect_timeout(&(*to).into(), *timeout)?;
        let mut stream = TcpStream::from(self.socket);
        // One segment, without waiting for a full one.
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: labctl/{}\r\n{HEADER}: {token}\r\nConnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => answer.extend_from_slice(&piece[..len]),
                // That is how a read that takes too long ends.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
            if answer.len() as u64 > ANSWER_BYTES_MAX {
                break;
            }
        }
        status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
    }
}

/// The status of an HTTP answer (RFC 9112 section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|octet| *octet == b'\r').next()?;
    let (version, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    version.starts_with("HTTP/1.").then(|| rest.get(..3)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_an_answer() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\nalive\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503 \r\n"), Some(503));
        for wrong in [&b""[..], b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 2\r\n"] {
            assert_eq!(status(wrong), None);
        }
    }
}
