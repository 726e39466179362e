//! Visitors with one connection each that stays open, who ask over it again and again: how much they get in a time, and whose
//! connection broke. It knows nothing of what happens meanwhile.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use labctl::kernel::namespace;

use super::http::Connection;
use super::lab::Error;
use super::load;
use super::rig::Rig;

/// How many they are.
pub const COUNT: usize = 16;
/// What each asks for.
pub const ANSWER_BYTES: usize = 16 * 1024;
/// At a steady pace each asks so often: together they want 26 MB a second, which leaves a machine of two processors idle half of
/// the time.
const EVERY: Duration = Duration::from_millis(10);
/// All are connected by then.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// How often visitors ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// A hundred times a second each, whatever the answers take.
    Steady,
    /// As soon as they have an answer.
    Greedy,
}

impl Pace {
    pub const ALL: [Self; 2] = [Self::Steady, Self::Greedy];

    pub fn word(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Greedy => "as fast as they can",
        }
    }
}

/// What they have so far.
#[derive(Default)]
pub struct Visitors {
    answers: AtomicU64,
    stop: AtomicBool,
    connected: Mutex<Vec<SocketAddr>>,
    broken: Mutex<Vec<String>>,
}

impl Visitors {
    /// Has them connect and ask until they are told to go; returns when all are connected.
    pub fn come<'scope>(
        &'scope self,
        rig: &'scope Rig,
        pace: Pace,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<(), Error> {
        for number in 0..COUNT {
            scope.spawn(move || {
                let stayed = namespace::inside(rig.client(), || self.stay(rig, number, pace));
                if let Err(error) = stayed.map_err(io::Error::other).and_then(|stayed| stayed) {
                    lock(&self.broken).push(error.to_string());
                }
            });
        }
        let until = Instant::now() + CONNECTED_WITHIN;
        while lock(&self.connected).len() < COUNT {
            if Instant::now() > until || !lock(&self.broken).is_empty() {
                self.go();
                return Err(Error::unfit(format!("not all visitors are connected: {:?}", self.broken())));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Tells them to go.
    pub fn go(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The ends of their connections.
    pub fn connected(&self) -> Vec<SocketAddr> {
        lock(&self.connected).clone()
    }

    /// How each connection broke that did.
    pub fn broken(&self) -> Vec<String> {
        lock(&self.broken).clone()
    }

    /// Answers a second, during this time from now on.
    pub fn rate(&self, during: Duration) -> f64 {
        let (before, began) = (self.answers.load(Ordering::Relaxed), Instant::now());
        thread::sleep(during);
        let got = self.answers.load(Ordering::Relaxed) - before;
        got as f64 / began.elapsed().as_secs_f64()
    }

    fn stay(&self, rig: &Rig, number: usize, pace: Pace) -> io::Result<()> {
        let (source, target) = rig.ends(number);
        let stream: TcpStream = load::connect(source, target)?;
        let end = stream.local_addr()?;
        let mut connection = Connection::new(stream)?;
        let head = format!("GET /{ANSWER_BYTES} HTTP/1.1\r\nHost: bench\r\n\r\n");
        connection.exchange(head.as_bytes(), &[], 0)?;
        lock(&self.connected).push(end);
        let mut due = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            if pace == Pace::Steady {
                due += EVERY;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            connection.exchange(head.as_bytes(), &[], 0)?;
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
