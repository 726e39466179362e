//! A client of the replicated database as a whole: asks one member, and the next if that one fails or is silent, within
//! one budget of time. Asking twice is safe, since every command carries the key that makes it count once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::conversation::{Command, ConversationId, Outcome, Transcript};
use crate::roles::db::{Ask, Directory, Link, LinkError, Reply, Request, Unavailable};
use crate::topology::StoreEngine;

/// All the time that one question has: longer than an election (about 0.6 s), shorter than a visitor's patience.
const BUDGET: Duration = Duration::from_secs(2);
/// Patience with one database. A live one answers within 250 ms, if only to say why it cannot; the rest is the way.
const ATTEMPT_MAX: Duration = Duration::from_millis(300);
/// Rest after all databases were asked in vain, as during an election.
const REST: Duration = Duration::from_millis(25);
/// How often every database is asked whether it is there, so that a dead one costs no visitor more than one wait, and
/// one that comes back gets questions again.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Why no database gave an answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The last one that was asked said why.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The last one that was asked could not be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The answer belongs to another question; two versions of the program talk to each other.
    #[error("a database answers another question")]
    Odd,
    /// The last of somebody else's databases that was asked: in words for people.
    #[error("a database could not do it: {0}")]
    Trouble(String),
    /// The topology wants a database that this program has no client for.
    #[error("this labctl is built without {}", .0.word())]
    Unbuilt(StoreEngine),
    /// The site has no database, or no network leads to one.
    #[error("the site has no databases")]
    None,
}

impl NoAnswer {
    /// Whether the work may have been done all the same.
    fn may_be_done(&self) -> bool {
        match self {
            Self::Unavailable(why) => match why {
                Unavailable::TimedOut | Unavailable::LeaderSilent | Unavailable::NoQuorum => true,
                Unavailable::Joining | Unavailable::NoLeader | Unavailable::NotLeader | Unavailable::Busy => {
                    false
                }
            },
            Self::Link(LinkError::Silent(_) | LinkError::Frame { .. }) => true,
            Self::Link(LinkError::Connect { .. }) | Self::Odd | Self::None => false,
            // These are no answers of our own databases.
            Self::Trouble(_) | Self::Unbuilt(_) => false,
        }
    }
}

/// One database and whether it answered lately.
#[derive(Debug)]
struct Database {
    link: Link,
    answers: AtomicBool,
}

impl Database {
    /// One question to this database.
    async fn call(&self, request: &Request, limit: Duration) -> Result<Reply, NoAnswer> {
        let reply = self.link.call(request, limit).await;
        self.answers.store(reply.is_ok(), Ordering::Relaxed);
        match reply? {
            Reply::Unavailable(why) => Err(why.into()),
            reply => Ok(reply),
        }
    }
}

/// All databases of a site.
#[derive(Debug)]
pub struct Databases {
    databases: Vec<Database>,
    first: usize,
}

impl Databases {
    /// A client of these databases. `first` says which one it likes best, so that several clients spread over them.
    pub fn new(directory: &Directory, first: usize) -> Self {
        let database = |seat: &crate::roles::db::Seat| Database {
            link: Link::new(seat.address),
            answers: AtomicBool::new(true),
        };
        Self { databases: directory.seats().iter().map(database).collect(), first }
    }

    /// Has a command carried out. On an error it may have been carried out all the same; asking again tells.
    pub async fn apply(&self, command: Command) -> Result<Outcome, NoAnswer> {
        match self.ask(Ask::Apply(command)).await? {
            // What an attempt of this very call has done is no replay to whoever called.
            (Reply::Applied(Outcome::Replayed { position, digest }), true) => {
                Ok(Outcome::Appended { position, digest })
            }
            (Reply::Applied(outcome), _) => Ok(outcome),
            _ => Err(NoAnswer::Odd),
        }
    }

    /// Reads a conversation as it is now, with every turn that was acknowledged before this call.
    pub async fn read(&self, id: ConversationId) -> Result<Option<Transcript>, NoAnswer> {
        match self.ask(Ask::Read(id)).await?.0 {
            Reply::Transcript(transcript) => Ok(transcript),
            _ => Err(NoAnswer::Odd),
        }
    }

    /// Asks whether there is a leader that a majority follows.
    pub async fn check(&self) -> Result<(), NoAnswer> {
        match self.ask(Ask::Check).await?.0 {
            Reply::Done => Ok(()),
            _ => Err(NoAnswer::Odd),
        }
    }

    /// Keeps track of who answers, until the future is dropped.
    pub async fn watch(&self) {
        let mut tick = interval(PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for database in &self.databases {
                let before = database.answers.load(Ordering::Relaxed);
                let now = database.call(&Request::Ping, ATTEMPT_MAX).await;
                match (before, now) {
                    (true, Err(error)) => tracing::warn!("ask other databases first: {error}"),
                    (false, Ok(_)) => tracing::info!("a database answers again"),
                    (true, Ok(_)) | (false, Err(_)) => {}
                }
            }
        }
    }

    /// The answer, and whether an attempt before it may have done the work already.
    async fn ask(&self, ask: Ask) -> Result<(Reply, bool), NoAnswer> {
        let request = Request::Leader { ask, forwarded: false };
        let deadline = Instant::now() + BUDGET;
        let mut last = NoAnswer::None;
        let mut done_before = false;
        loop {
            for database in self.in_order() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(last);
                }
                match database.call(&request, ATTEMPT_MAX.min(left)).await {
                    Ok(reply) => return Ok((reply, done_before)),
                    Err(error) => {
                        done_before |= error.may_be_done();
                        last = error;
                    }
                }
            }
            if self.databases.is_empty() || Instant::now() + REST >= deadline {
                return Err(last);
            }
            sleep(REST).await;
        }
    }

    /// Those that answer, from the favourite on, then the others: one of them may be back.
    fn in_order(&self) -> Vec<&Database> {
        let count = self.databases.len();
        let all = (0..count).map(|at| &self.databases[(self.first + at) % count]);
        let (mut order, silent): (Vec<_>, Vec<_>) = all.partition(|one| one.answers.load(Ordering::Relaxed));
        order.extend(silent);
        order
    }
}
