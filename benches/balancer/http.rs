//! As much HTTP/1.1 as the loads need: the head of a message, and an exchange over a blocking connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// No head of ours is longer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// In an answer: the name of the real server.
pub const REAL: &str = "X-Real";

/// The beginning of a message.
pub struct Head {
    /// Request line or status line.
    pub first: String,
    /// Bytes up to the body.
    pub bytes: usize,
    /// Bytes of the body.
    pub body: usize,
    /// The connection ends with this message.
    pub closes: bool,
    /// Which real server it is from.
    pub real: Option<String>,
}

impl Head {
    /// The head at the beginning of these bytes, if it is there in full.
    pub fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            let too_long = bytes.len() >= HEAD_BYTES_MAX;
            return if too_long { Err(io::Error::other("a head without an end")) } else { Ok(None) };
        };
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let (mut body, mut closes, mut real) = (0, false, None);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body = value.trim().parse().map_err(io::Error::other)?;
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.trim().eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(io::Error::other("a body without a stated length"));
            } else if name.eq_ignore_ascii_case(REAL) {
                real = Some(value.trim().to_owned());
            }
        }
        Ok(Some(Self { first, bytes: end + 4, body, closes, real }))
    }
}

/// How many bytes a request line asks for.
pub fn wanted(first: &str) -> usize {
    let path = first.split(' ').nth(1).unwrap_or_default();
    path.trim_start_matches('/').parse().unwrap_or(0)
}

/// A connection of the client.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 256 * 1024] })
    }

    /// Sends a request and reads the whole answer. Returns the bytes of both bodies together, and who answered.
    pub fn exchange(
        &mut self,
        head: &[u8],
        body: &[u8],
        times: usize,
    ) -> io::Result<(usize, Option<String>)> {
        self.stream.write_all(head)?;
        for _ in 0..times {
            self.stream.write_all(body)?;
        }
        let mut filled = 0;
        let head = loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
            if let Some(head) = Head::read(&self.buffer[..filled])? {
                break head;
            }
        };
        if head.first.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(head.first));
        }
        let mut left = head.body.saturating_sub(filled - head.bytes);
        while left > 0 {
            let room = left.min(self.buffer.len());
            match self.stream.read(&mut self.buffer[..room])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => left -= count,
            }
        }
        Ok((head.body + body.len() * times, head.real))
    }
}
