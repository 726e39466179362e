//! Databases that others wrote, as a memory: each engine says how one of its databases is asked; what is common to all is here,
//! to ask the next one if that fails or is silent, within one budget of time. Asking twice is safe, since every command
//! carries the key that makes it count once.

mod etcd;
mod kept;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::etcd::Etcd;
#[cfg(feature = "postgres")]
use self::postgres::Postgres;
#[cfg(feature = "redis")]
use self::redis::Redis;
use super::databases::NoAnswer;
use crate::conversation::{Command, ConversationId, Outcome, Transcript};
use crate::roles::db::Directory;
use crate::topology::{StoreEngine, Topology};

/// All the time that one question has, as with our own databases: a visitor's patience. An election may take longer.
const BUDGET: Duration = Duration::from_secs(2);
/// Patience with one database.
const ATTEMPT_MAX: Duration = Duration::from_millis(300);
/// Rest after all databases were asked in vain, as during an election.
const REST: Duration = Duration::from_millis(25);

/// How one engine's databases are asked. The place of a database is that in order of names; a command that is repeated must
/// count once, and what was applied is [`Outcome::Replayed`] the second time.
pub(super) trait Engine {
    /// What an acknowledged turn survives, in a word.
    const DURABILITY: &'static str;
    /// Patience with one database.
    const ATTEMPT_MAX: Duration = ATTEMPT_MAX;

    /// Has a command carried out through the database of this place, wholly or not at all.
    fn apply(&self, place: usize, command: &Command)
    -> impl Future<Output = Result<Outcome, Trouble>> + Send;

    /// Reads a conversation through the database of this place, as fresh as the engine can promise.
    fn read(
        &self,
        place: usize,
        id: ConversationId,
    ) -> impl Future<Output = Result<Option<Transcript>, Trouble>> + Send;

    /// Whether a turn could be kept through the database of this place now.
    fn check(&self, place: usize) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// Why a database did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In words for people.
    why: String,
    /// Whether the work may have been done all the same.
    may_be_done: bool,
}

impl Trouble {
    /// The database refused before it did anything.
    fn refused(why: impl ToString) -> Self {
        Self { why: why.to_string(), may_be_done: false }
    }

    /// Nobody knows what became of the question.
    fn unknown(why: impl ToString) -> Self {
        Self { why: why.to_string(), may_be_done: true }
    }
}

/// The databases of a site, by engine.
pub(super) enum Store {
    Etcd(Client<Etcd>),
    #[cfg(feature = "redis")]
    Redis(Client<Redis>),
    #[cfg(feature = "postgres")]
    Postgres(Client<Postgres>),
    /// This build has no client for it.
    Unbuilt(StoreEngine),
}

impl Store {
    /// The databases of a site whose engine is not our own. `favourite` says which one is asked first, so that several webs
    /// spread over them.
    pub(super) fn of(topology: &Topology, favourite: usize) -> Self {
        let directory = Directory::of(topology);
        match topology.conversation.engine {
            StoreEngine::Etcd => Self::Etcd(Client::new(Etcd::new(&directory), &directory, favourite)),
            #[cfg(feature = "redis")]
            StoreEngine::Redis => Self::Redis(Client::new(Redis::new(&directory), &directory, favourite)),
            #[cfg(feature = "postgres")]
            StoreEngine::Postgres => {
                Self::Postgres(Client::new(Postgres::new(&directory), &directory, favourite))
            }
            other => Self::Unbuilt(other),
        }
    }

    pub(super) fn durability(&self) -> &'static str {
        match self {
            Self::Etcd(_) => Etcd::DURABILITY,
            #[cfg(feature = "redis")]
            Self::Redis(_) => Redis::DURABILITY,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Postgres::DURABILITY,
            Self::Unbuilt(_) => "none",
        }
    }

    /// Has a command carried out. On an error it may have been carried out all the same; asking again tells.
    pub(super) async fn apply(&self, command: Command) -> Result<Outcome, NoAnswer> {
        match self {
            Self::Etcd(client) => client.apply(command).await,
            #[cfg(feature = "redis")]
            Self::Redis(client) => client.apply(command).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(client) => client.apply(command).await,
            Self::Unbuilt(engine) => Err(NoAnswer::Unbuilt(*engine)),
        }
    }

    /// Reads a conversation.
    pub(super) async fn read(&self, id: ConversationId) -> Result<Option<Transcript>, NoAnswer> {
        match self {
            Self::Etcd(client) => client.read(id).await,
            #[cfg(feature = "redis")]
            Self::Redis(client) => client.read(id).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(client) => client.read(id).await,
            Self::Unbuilt(engine) => Err(NoAnswer::Unbuilt(*engine)),
        }
    }

    /// Whether a conversation could go on now.
    pub(super) async fn check(&self) -> Result<(), NoAnswer> {
        match self {
            Self::Etcd(client) => client.check().await,
            #[cfg(feature = "redis")]
            Self::Redis(client) => client.check().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(client) => client.check().await,
            Self::Unbuilt(engine) => Err(NoAnswer::Unbuilt(*engine)),
        }
    }
}

/// Whether this build has a client for it.
pub fn built(engine: StoreEngine) -> bool {
    match engine {
        StoreEngine::Embedded | StoreEngine::Etcd => true,
        StoreEngine::Redis => cfg!(feature = "redis"),
        StoreEngine::Postgres => cfg!(feature = "postgres"),
    }
}

enum Question {
    Apply(Command),
    Read(ConversationId),
    Check,
}

enum Answer {
    Applied(Outcome),
    Transcript(Option<Transcript>),
    Done,
}

/// A client of all databases of one engine.
pub(super) struct Client<E: Engine> {
    engine: E,
    count: usize,
    /// The place that is asked first: the last that answered.
    first: AtomicUsize,
}

impl<E: Engine> Client<E> {
    fn new(engine: E, directory: &Directory, favourite: usize) -> Self {
        let count = directory.seats().len();
        Self { engine, count, first: AtomicUsize::new(favourite % count.max(1)) }
    }

    async fn apply(&self, command: Command) -> Result<Outcome, NoAnswer> {
        match self.ask(&Question::Apply(command)).await? {
            // What an attempt of this very call has done is no replay to whoever called.
            (Answer::Applied(Outcome::Replayed { position, digest }), true) => {
                Ok(Outcome::Appended { position, digest })
            }
            (Answer::Applied(outcome), _) => Ok(outcome),
            _ => Err(NoAnswer::Odd),
        }
    }

    async fn read(&self, id: ConversationId) -> Result<Option<Transcript>, NoAnswer> {
        match self.ask(&Question::Read(id)).await?.0 {
            Answer::Transcript(transcript) => Ok(transcript),
            _ => Err(NoAnswer::Odd),
        }
    }

    async fn check(&self) -> Result<(), NoAnswer> {
        self.ask(&Question::Check).await.map(drop)
    }

    /// The answer, and whether an attempt before it may have done the work already.
    async fn ask(&self, question: &Question) -> Result<(Answer, bool), NoAnswer> {
        let deadline = Instant::now() + BUDGET;
        let mut last = NoAnswer::None;
        let mut done_before = false;
        loop {
            let first = self.first.load(Ordering::Relaxed);
            for place in (0..self.count).map(|at| (first + at) % self.count) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(last);
                }
                let attempt = timeout(E::ATTEMPT_MAX.min(left), self.put(place, question)).await;
                match attempt.unwrap_or_else(|_| Err(Trouble::unknown("no answer in time"))) {
                    Ok(answer) => {
                        self.first.store(place, Ordering::Relaxed);
                        return Ok((answer, done_before));
                    }
                    Err(trouble) => {
                        done_before |= trouble.may_be_done;
                        last = NoAnswer::Trouble(trouble.why);
                    }
                }
            }
            if self.count == 0 || Instant::now() + REST >= deadline {
                return Err(last);
            }
            sleep(REST).await;
        }
    }

    /// One question to one database.
    async fn put(&self, place: usize, question: &Question) -> Result<Answer, Trouble> {
        match question {
            Question::Apply(command) => self.engine.apply(place, command).await.map(Answer::Applied),
            Question::Read(id) => self.engine.read(place, *id).await.map(Answer::Transcript),
            Question::Check => self.engine.check(place).await.map(|()| Answer::Done),
        }
    }
}

#[cfg(test)]
mod tests;
