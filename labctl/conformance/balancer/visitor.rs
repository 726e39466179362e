//! A visitor: one of the client's addresses, one connection to the public address, and requests over that. It knows nothing
//! of who is behind it.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// How long a connection may take to be accepted.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take: a takeover, and the pause that TCP makes after it lost a segment.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest line of a head, and most lines of one.
const LINE_BYTES_MAX: u64 = 8 * 1024;
const LINES_MAX: usize = 64;

/// What an answer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The web that it comes from.
    pub(super) by: String,
    /// A cookie to keep.
    pub(super) cookie: Option<String>,
    /// Bytes of its body.
    pub(super) len: u64,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Visitor(BufReader<TcpStream>);

impl Visitor {
    /// Connects from that address. To be called in the client's network.
    pub(super) fn connect(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        socket.connect_timeout(&target.into(), CONNECT_MAX)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for a path, and reads the whole answer.
    pub(super) fn ask(&mut self, path: &str, cookie: Option<&str>) -> io::Result<Answer> {
        let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: site\r\n{cookie}\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        if status.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(status));
        }
        let mut answer = Answer::default();
        for _ in 0..LINES_MAX {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return self.body(answer) };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("x-served-by", by) => answer.by = by.to_owned(),
                ("set-cookie", cookie) => answer.cookie = cookie.split(';').next().map(str::to_owned),
                ("content-length", len) => answer.len = len.parse().map_err(|_| ErrorKind::InvalidData)?,
                _ => {}
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn body(&mut self, answer: Answer) -> io::Result<Answer> {
        match io::copy(&mut self.0.by_ref().take(answer.len), &mut io::sink())? {
            read if read == answer.len => Ok(answer),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
