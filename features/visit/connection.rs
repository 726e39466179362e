//! One TCP connection to a site, from an address of one's own, and what a visitor does over it: download, draw a file slowly,
//! converse. HTTP is written by hand, because every client library would open another connection where this one broke, and
//! that it broke is what is looked for. It knows nothing of scenarios.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use labctl::kernel::wait;
use serde_json::{Value, json};
use socket2::{Domain, Socket, TcpKeepalive, Type};

use crate::world::WAIT_MAX;

/// What the kernel keeps for a visitor that reads slowly, so that there is always more on the way.
const KEPT_BYTES: usize = 128 * 1024;
/// A visitor that only listens asks this soon whether there is still somebody, and again after as long.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Most that is read at once.
const READ_BYTES: usize = 64 * 1024;
/// Drawn slowly, a file comes in sips of this many bytes, one in each rest: 1.6 MB/s.
const SIP_BYTES: usize = 8 * 1024;
const SIP_REST: Duration = Duration::from_millis(5);
/// A conversation has at most 1,024 turns; with this rest between them it can go on for 25 seconds.
const TURN_REST: Duration = Duration::from_millis(25);
/// Longest line of a head, and most lines.
const HEAD_LINE_BYTES_MAX: u64 = 4096;
const HEAD_LINES_MAX: usize = 64;
/// Longest body that is kept.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Downloads so many bytes when told to; says who sent them.
pub fn download(source: &str, target: &str, len: &str) -> Result<(), String> {
    let mut connection = Connection::open(source, target)?;
    println!("ready");
    hear_the_word()?;
    let head = connection.ask("GET", &format!("/bytes/{len}"), None).map_err(broken)?;
    head.is_good()?;
    let mut left = head.len;
    while left > 0 {
        left -= connection.read_some(READ_BYTES.min(left as usize)).map_err(broken)? as u64;
    }
    println!("{} {}", head.by, head.len);
    Ok(())
}

/// Draws a file slowly until told to go on, then quickly to its end. Says who sends it and by which
/// port, and then that it has it whole.
pub fn draw(source: &str, target: &str, len: &str) -> Result<(), String> {
    let mut connection = Connection::open(source, target)?;
    let head = connection.ask("GET", &format!("/bytes/{len}"), None).map_err(broken)?;
    head.is_good()?;
    connection.introduce(&head)?;
    let (mut left, mut told) = (head.len as usize, false);
    while left > 0 {
        let sip = if told { READ_BYTES } else { SIP_BYTES };
        let read = connection.read_some(sip.min(left)).map_err(broken)?;
        left -= read;
        told = told || is_told(SIP_REST)?;
    }
    if !told {
        return Err("it had the whole file before anything happened".to_owned());
    }
    println!("whole");
    Ok(())
}

/// Says one thing after another in one conversation until told to go on, then one thing more, and reads it all back. Says who
/// answered first and by which port, and in the end that everything was remembered.
pub fn converse(source: &str, target: &str) -> Result<(), String> {
    let mut connection = Connection::open(source, target)?;
    let begun = connection.ask("POST", "/conversations", None).map_err(broken)?;
    begun.is_good()?;
    let body: Value = connection.read_body(&begun).map_err(broken)?;
    let path = format!("/conversations/{}", body["id"].as_str().unwrap_or_default());
    connection.introduce(&begun)?;
    let (mut turns, mut told) = (0_u64, false);
    while !told {
        told = is_told(TURN_REST)?;
        let turn = json!({ "text": format!("turn {turns} from {source}") }).to_string();
        let head = connection.ask("POST", &format!("{path}/turns"), Some((turns, &turn))).map_err(broken)?;
        head.is_good()?;
        let receipt = connection.read_body(&head).map_err(broken)?;
        if receipt["position"] != turns {
            return Err(format!("turn {turns} is answered with {receipt}"));
        }
        turns += 1;
    }
    let head = connection.ask("GET", &path, None).map_err(broken)?;
    head.is_good()?;
    let remembered = connection.read_body(&head).map_err(broken)?;
    match remembered["turns"].as_array().map(Vec::len) {
        Some(count) if count as u64 == turns => println!("whole"),
        other => return Err(format!("{turns} turns were said, and it remembers {other:?}")),
    }
    Ok(())
}

/// Somebody who says one thing after another in one conversation over one connection, and looks at nothing else.
pub struct Speaker {
    connection: Connection,
    turns: String,
    said: u64,
}

impl Speaker {
    /// Begins a conversation.
    pub fn begin(source: &str, target: &str) -> Result<Self, String> {
        let mut connection = Connection::open(source, target)?;
        let head = connection.ask("POST", "/conversations", None).map_err(broken)?;
        head.is_good()?;
        let body = connection.read_body(&head).map_err(broken)?;
        let turns = format!("/conversations/{}/turns", body["id"].as_str().unwrap_or_default());
        Ok(Self { connection, turns, said: 0 })
    }

    /// Asks whether the web is well, which it can say without any database.
    pub fn greet(&mut self) -> Result<(), String> {
        let head = self.connection.ask("GET", "/healthz", None).map_err(broken)?;
        head.is_good()?;
        let mut left = head.len as usize;
        while left > 0 {
            left -= self.connection.read_some(left).map_err(broken)?;
        }
        Ok(())
    }

    /// Says one thing, and returns when it is acknowledged.
    pub fn say(&mut self) -> Result<(), String> {
        let turn = json!({ "text": format!("turn {}", self.said) }).to_string();
        let head = self.connection.ask("POST", &self.turns, Some((self.said, &turn))).map_err(broken)?;
        head.is_good()?;
        self.connection.read_body(&head).map_err(broken)?;
        self.said += 1;
        Ok(())
    }
}

/// How a connection ended, in a word that no other outcome begins with.
pub const BROKEN: &str = "broken: ";

fn broken(error: io::Error) -> String {
    let how = match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => "reset",
        ErrorKind::UnexpectedEof => "closed",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "silent",
        _ => return format!("{BROKEN}{error}"),
    };
    format!("{BROKEN}{how}")
}

/// Waits until somebody says that it may go on.
fn hear_the_word() -> Result<(), String> {
    match is_told(WAIT_MAX)? {
        true => Ok(()),
        false => Err(format!("not told to go on within {WAIT_MAX:?}")),
    }
}

/// Whether somebody says within this time that it may go on; whoever is gone says so, too.
fn is_told(within: Duration) -> Result<bool, String> {
    wait::readable(io::stdin().as_fd(), within).map_err(|errno| errno.to_string())
}

/// What the head of an answer says.
struct Head {
    status: u16,
    by: String,
    len: u64,
}

impl Head {
    fn is_good(&self) -> Result<(), String> {
        if (200..300).contains(&self.status) { Ok(()) } else { Err(format!("answered {}", self.status)) }
    }
}

/// A connection that is never opened a second time.
struct Connection {
    stream: BufReader<TcpStream>,
    target: SocketAddrV4,
    cookies: BTreeMap<String, String>,
}

impl Connection {
    fn open(source: &str, target: &str) -> Result<Self, String> {
        let source: Ipv4Addr = source.parse().map_err(|error| format!("{source}: {error}"))?;
        let target: SocketAddrV4 = target.parse().map_err(|error| format!("{target}: {error}"))?;
        let stream = connect(source, target).map_err(|error| format!("connect to {target}: {error}"))?;
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        Ok(Self { stream, target, cookies: BTreeMap::new() })
    }

    /// Says who answers, and by which port of one's own.
    fn introduce(&self, head: &Head) -> Result<(), String> {
        let own = self.stream.get_ref().local_addr().map_err(|error| error.to_string())?;
        println!("{} {own}", head.by);
        Ok(())
    }

    /// Sends a request, with a body and the key that makes it count once if it has one, and reads the head of the answer.
    fn ask(&mut self, method: &str, path: &str, body: Option<(u64, &str)>) -> io::Result<Head> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.target);
        if !self.cookies.is_empty() {
            let cookies: Vec<_> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request += &format!("Cookie: {}\r\n", cookies.join("; "));
        }
        let (key, body) = body.map_or((None, ""), |(key, body)| (Some(key), body));
        if let Some(key) = key {
            request += &format!("Idempotency-Key: {key}\r\nContent-Type: application/json\r\n");
        }
        request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read_head()
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let status = self.read_line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut head = Head { status: status.ok_or(ErrorKind::InvalidData)?, by: String::new(), len: 0 };
        for _ in 0..HEAD_LINES_MAX {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(head) };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("x-served-by", by) => head.by = by.to_owned(),
                ("content-length", len) => head.len = len.parse().map_err(|_| ErrorKind::InvalidData)?,
                ("set-cookie", cookie) => {
                    let pair = cookie.split(';').next().and_then(|pair| pair.split_once('='));
                    self.cookies.extend(pair.map(|(name, value)| (name.to_owned(), value.to_owned())));
                }
                _ => {}
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.by_ref().take(HEAD_LINE_BYTES_MAX).read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn read_body(&mut self, head: &Head) -> io::Result<Value> {
        let mut body = vec![0; head.len.min(BODY_BYTES_MAX) as usize];
        self.stream.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Reads and forgets some bytes, at least one.
    fn read_some(&mut self, most: usize) -> io::Result<usize> {
        let read = self.stream.fill_buf()?.len().min(most);
        self.stream.consume(read);
        if read == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
    }
}

fn connect(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Before it connects: afterwards it is too late for the window that the other side is told.
    socket.set_recv_buffer_size(KEPT_BYTES)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddrV4::new(source, 0).into())?;
    socket.connect_timeout(&target.into(), WAIT_MAX)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WAIT_MAX))?;
    Ok(stream)
}
