//! The loads: bulk both ways, requests on connections that stay, and connections that come and go. Each is run by a few
//! threads inside the client node for a stated time. It knows nothing of who balances.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use labctl::kernel::namespace;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use super::contender::NAMES;
use super::http::Connection;

/// One transfer of bulk: long enough that its head does not count.
const BULK_BYTES: usize = 16 * 1024 * 1024;
/// Part of an upload that is written at once.
static PART: [u8; 256 * 1024] = [0; 256 * 1024];
/// No exchange takes so long, unless somebody has forgotten the connection.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(10);
/// Threads of the client. Two processors are shared with director and servers, so more would only wait.
const BULK_THREADS: usize = 2;
const REQUEST_THREADS: usize = 8;
const OPENING_THREADS: usize = 4;
/// How often a connection is tried that is to end at a certain real server: a hash misses one of two so often never.
const TRIES_MAX: usize = 64;
/// Clock ticks of `/proc/stat` (USER_HZ), the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// What is loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Download,
    Upload,
    Requests,
    Connections,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Download, Self::Upload, Self::Requests, Self::Connections];

    pub fn word(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Requests => "keep-alive requests",
            Self::Connections => "new connections",
        }
    }

    /// What is counted, for people.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Download | Self::Upload => "GB",
            Self::Requests => "request",
            Self::Connections => "connection",
        }
    }

    fn threads(self) -> usize {
        match self {
            Self::Download | Self::Upload => BULK_THREADS,
            Self::Requests => REQUEST_THREADS,
            Self::Connections => OPENING_THREADS,
        }
    }
}

/// How a load went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Gigabytes, requests or connections a second.
    pub rate: f64,
    /// Processor seconds of the whole machine for one of them.
    pub cpu_s: f64,
    /// How long all of it took.
    pub took_s: f64,
    /// How long an exchange took.
    pub latency_ns: Histogram<u64>,
}

/// Runs a load inside the client node.
pub fn run(
    kind: Kind,
    client: BorrowedFd,
    sources: &[Ipv4Addr],
    targets: &[SocketAddr],
    each: Duration,
) -> io::Result<Outcome> {
    let threads = kind.threads();
    let start = Barrier::new(threads + 1);
    let (began, busy, done) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (source, to) = (sources[number % sources.len()], targets[number % targets.len()]);
                let start = &start;
                scope.spawn(move || {
                    let work = || {
                        // Whoever fails here must not keep the others waiting.
                        let kept = match kind {
                            Kind::Connections => Ok(None),
                            _ => settled(source, to, NAMES[number % NAMES.len()]).map(Some),
                        };
                        start.wait();
                        let until = Instant::now() + each;
                        worker(kind, source, to, kept?, until)
                    };
                    namespace::inside(client, work).map_err(io::Error::other)?
                })
            })
            .collect();
        start.wait();
        let (began, busy) = (Instant::now(), busy_ticks());
        let join = |worker: thread::ScopedJoinHandle<_>| worker.join().expect("a load does not panic");
        (began, busy, workers.into_iter().map(join).collect::<Vec<io::Result<Done>>>())
    });
    let (took, busy) = (began.elapsed().as_secs_f64(), (busy_ticks()? - busy?) / TICKS_PER_S);
    let mut units = 0.0;
    let mut latency_ns = Histogram::new(3).map_err(io::Error::other)?;
    for done in done {
        let done = done?;
        units += done.units;
        latency_ns.add(&done.latency_ns).map_err(io::Error::other)?;
    }
    if units == 0.0 {
        return Err(io::Error::other("nothing came to its end in this time"));
    }
    Ok(Outcome { rate: units / took, cpu_s: busy / units, took_s: took, latency_ns })
}

struct Done {
    units: f64,
    latency_ns: Histogram<u64>,
}

/// A connection that ends at this real server: otherwise chance would say whether two bulk transfers share one. A director
/// that chooses for each request anew may choose another one later.
fn settled(source: Ipv4Addr, to: SocketAddr, real: &str) -> io::Result<Connection> {
    let mut tries = 0;
    loop {
        let mut connection = Connection::new(connect(source, to)?)?;
        let (_, from) = connection.exchange(b"GET /0 HTTP/1.1\r\nHost: bench\r\n\r\n", &[], 0)?;
        tries += 1;
        if from.as_deref() == Some(real) || tries == TRIES_MAX {
            return Ok(connection);
        }
    }
}

fn worker(
    kind: Kind,
    source: Ipv4Addr,
    to: SocketAddr,
    mut kept: Option<Connection>,
    until: Instant,
) -> io::Result<Done> {
    let mut done = Done { units: 0.0, latency_ns: Histogram::new(3).map_err(io::Error::other)? };
    let (head, body): (String, &[u8]) = match kind {
        Kind::Download => (format!("GET /{BULK_BYTES} HTTP/1.1\r\nHost: bench\r\n\r\n"), &[]),
        Kind::Upload => {
            (format!("POST /0 HTTP/1.1\r\nHost: bench\r\nContent-Length: {BULK_BYTES}\r\n\r\n"), &PART)
        }
        Kind::Requests => ("GET /64 HTTP/1.1\r\nHost: bench\r\n\r\n".to_owned(), &[]),
        Kind::Connections => ("GET /64 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".to_owned(), &[]),
    };
    let times = if kind == Kind::Upload { BULK_BYTES / PART.len() } else { 0 };
    while Instant::now() < until {
        let began = Instant::now();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::new(connect(source, to)?)?,
        };
        let (bytes, _) = connection.exchange(head.as_bytes(), body, times)?;
        let took = began.elapsed().as_nanos().try_into().unwrap_or(u64::MAX);
        done.latency_ns.record(took).map_err(io::Error::other)?;
        done.units += match kind {
            Kind::Download | Kind::Upload => bytes as f64 / 1e9,
            Kind::Requests | Kind::Connections => 1.0,
        };
        if kind != Kind::Connections {
            kept = Some(connection);
        }
    }
    Ok(done)
}

/// A connection from that address.
pub fn connect(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // The port is chosen when the connection is made: to choose one that is free for all destinations takes long.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&to.into(), EXCHANGE_WITHIN)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(EXCHANGE_WITHIN))?;
    stream.set_write_timeout(Some(EXCHANGE_WITHIN))?;
    Ok(stream)
}

/// Ticks in which a processor did something.
fn busy_ticks() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait), irq, softirq
    let [user, nice, system, _, _, irq, softirq, ..] = fields[..] else {
        return Err(io::Error::other("/proc/stat has no line of all processors"));
    };
    Ok(user + nice + system + irq + softirq)
}
