//! One conversation: turn after turn by the timetable, each retried under the same key until it is acknowledged, read now
//! and then meanwhile, and read back in the end. It knows the application's HTTP interface and nothing of other conversations.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::alarm::Alarm;
use super::journal::Journal;
use super::{Error, Spec};
use crate::kernel::clock;
use crate::report::{Outcome, What};

/// The longest wait before the first retry of a turn; it doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// The longest wait before any retry: short against an outage, so that the pause is the site's and not ours.
const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// How often a conversation is read back at most to meet every web node; a balancer that leads to each by turns or by
/// address needs far less.
const READS_MAX: usize = 32;
/// Most reads of one conversation under way: a site that does not answer is not asked ever more.
const READS_IN_FLIGHT_MAX: usize = 2;
/// The header by which a web node says who it is.
const SERVED_BY: &str = "x-served-by";
/// The header by which it says in which epoch its owner holds the conversation, where there is such a thing.
const EPOCH: &str = "x-lab-epoch";
/// The header by which it says where what it acknowledges is kept.
const DURABILITY: &str = "x-lab-durability";
/// The header that makes a retry the same turn.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Who answered, where the answer does not say it.
const UNNAMED: &str = "unnamed";

/// One side of a conversation.
#[derive(Debug)]
pub(super) struct Talker {
    index: u32,
    id: String,
    source: Ipv4Addr,
    line: Line,
    /// Reads come from another address, which a balancer may lead to another web.
    reader: Line,
    reads: JoinSet<Result<(), Error>>,
    alarm: Alarm,
    journal: Journal,
}

/// A connection that is replaced when it fails.
#[derive(Clone, Debug)]
struct Line {
    client: Client,
    base: String,
}

/// What an answer says of itself.
#[derive(Debug, Default)]
struct Signature {
    served_by: Option<String>,
    epoch: Option<u64>,
    durability: Option<String>,
}

/// How an attempt to say a turn ended.
#[derive(Debug)]
struct Said {
    outcome: Outcome,
    by: Signature,
    position: Option<u64>,
}

/// A conversation as it was told.
#[derive(Debug)]
struct Told {
    by: Signature,
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct Receipt {
    position: Option<u64>,
}

#[derive(Deserialize)]
struct Opened {
    id: String,
}

#[derive(Deserialize)]
struct Transcript {
    turns: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    key: String,
}

impl Talker {
    /// Opens a conversation, with retries until a point in time.
    pub(super) async fn open(
        spec: &Spec,
        index: u32,
        source: Ipv4Addr,
        journal: Journal,
        until_ns: u64,
    ) -> Result<Self, Error> {
        let mut alarm = Alarm::new().map_err(Error::Prepare)?;
        let mut line = Line::new(spec, source)?;
        let other = spec.sources.iter().cycle().skip_while(|&&it| it != source).nth(1);
        let reader = Line::to_read(spec, other.copied().unwrap_or(source))?;
        for retry in 0.. {
            let started_ns = clock::monotonic_ns();
            let opened = line.open_conversation().await;
            let (outcome, id) = match opened {
                Ok(id) => (Outcome::Ok, Some(id)),
                Err(outcome) => (outcome, None),
            };
            let what = What::Request {
                intended_ns: started_ns,
                started_ns,
                outcome: outcome.clone(),
                conversation: id.clone(),
                key: None,
                served_by: None,
                position: None,
                epoch: None,
                durability: None,
            };
            journal.emit(what).await?;
            if let Some(id) = id {
                return Ok(Self { index, id, source, line, reader, reads: JoinSet::new(), alarm, journal });
            }
            if clock::monotonic_ns() >= until_ns {
                return Err(Error::Open { index, address: source, last: outcome });
            }
            line = Line::new(spec, source)?;
            alarm.until(next_try(retry)).await.map_err(Error::Prepare)?;
        }
        unreachable!("the loop above only ends by returning")
    }

    /// Its place in the timetable.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Says every turn of the timetable. A turn waits for the one before it, since their order matters, and its latency
    /// counts from its own place on the timetable all the same.
    pub(super) async fn talk(&mut self, spec: &Spec, begins_ns: u64, settled_ns: u64) -> Result<(), Error> {
        for turn in 0.. {
            let due = spec.due(self.index, turn);
            if due >= spec.duration {
                break;
            }
            let intended_ns = super::after(begins_ns, due);
            self.alarm.until(intended_ns).await.map_err(Error::Prepare)?;
            self.say(spec, turn, intended_ns, settled_ns).await?;
            if clock::monotonic_ns() >= settled_ns {
                break;
            }
            if spec.reads_after(self.index, turn) {
                self.look()?;
            }
        }
        while let Some(done) = self.reads.join_next().await {
            done.map_err(|error| Error::Prepare(io::Error::other(error)))??;
        }
        Ok(())
    }

    /// Has the conversation read beside the turns, which do not wait for it.
    fn look(&mut self) -> Result<(), Error> {
        while let Some(done) = self.reads.try_join_next() {
            done.map_err(|error| Error::Prepare(io::Error::other(error)))??;
        }
        if self.reads.len() < READS_IN_FLIGHT_MAX {
            let (reader, id, journal) = (self.reader.clone(), self.id.clone(), self.journal.clone());
            self.reads.spawn(async move {
                let started_ns = clock::monotonic_ns();
                let (outcome, by, keys) = match reader.read(&id).await {
                    Ok(told) => (Outcome::Ok, told.by, Some(told.keys)),
                    Err(outcome) => (outcome, Signature::default(), None),
                };
                let Signature { served_by, epoch, durability } = by;
                let what =
                    What::Read { started_ns, outcome, conversation: id, served_by, epoch, durability, keys };
                journal.emit(what).await
            });
        }
        Ok(())
    }

    async fn say(&mut self, spec: &Spec, turn: u64, intended_ns: u64, settled_ns: u64) -> Result<(), Error> {
        let key = format!("{}-{turn}", self.id);
        for retry in 0.. {
            let started_ns = clock::monotonic_ns();
            let Said { outcome, by, position } = self.line.say(&self.id, &key, turn).await;
            let what = What::Request {
                intended_ns,
                started_ns,
                outcome: outcome.clone(),
                conversation: Some(self.id.clone()),
                key: Some(key.clone()),
                served_by: by.served_by,
                position,
                epoch: by.epoch,
                durability: by.durability,
            };
            self.journal.emit(what).await?;
            if !worth_a_retry(&outcome) || clock::monotonic_ns() >= settled_ns {
                break;
            }
            if !matches!(outcome, Outcome::Status(_)) {
                self.line = Line::new(spec, self.source)?;
            }
            self.alarm.until(next_try(retry)).await.map_err(Error::Prepare)?;
        }
        Ok(())
    }

    /// Reads the conversation back over fresh connections from one address after the other, until as many web nodes
    /// have answered as there are. A node that knows of no such conversation has answered, too.
    pub(super) async fn read_back(&mut self, spec: &Spec, until_ns: u64) -> Result<(), Error> {
        let mut asked = BTreeSet::new();
        let mut failures = 0;
        for &source in spec.sources.iter().cycle().take(READS_MAX) {
            if asked.len() >= spec.webs.max(1) || clock::monotonic_ns() >= until_ns {
                break;
            }
            let asked_ns = clock::monotonic_ns();
            match Line::new(spec, source)?.read(&self.id).await {
                Ok(Told { by, keys }) => {
                    let served_by = by.served_by.unwrap_or_else(|| UNNAMED.to_owned());
                    if asked.insert(served_by.clone()) {
                        let (conversation, asked_ns) = (self.id.clone(), Some(asked_ns));
                        let what = What::Transcript { conversation, served_by, asked_ns, keys };
                        self.journal.emit(what).await?;
                    }
                }
                Err(outcome) => {
                    if failures == 0 {
                        let text = format!("Reading conversation {} back from {source}: {outcome}.", self.id);
                        self.journal.emit(What::Note { text }).await?;
                    }
                    self.alarm.until(next_try(failures)).await.map_err(Error::Prepare)?;
                    failures += 1;
                }
            }
        }
        Ok(())
    }
}

impl Line {
    fn new(spec: &Spec, source: Ipv4Addr) -> Result<Self, Error> {
        Self::keeping(spec, source, 1)
    }

    /// A new connection for each request: nobody would notice that a kept one has failed.
    fn to_read(spec: &Spec, source: Ipv4Addr) -> Result<Self, Error> {
        Self::keeping(spec, source, 0)
    }

    fn keeping(spec: &Spec, source: Ipv4Addr, idle: usize) -> Result<Self, Error> {
        let client = Client::builder()
            .local_address(std::net::IpAddr::V4(source))
            .timeout(spec.timeout)
            // Else the kernel says good-bye to a dead node for half a minute more, which keeps a lab that ends from
            // being gone.
            .tcp_user_timeout(spec.timeout)
            .no_proxy()
            .pool_max_idle_per_host(idle)
            .build()
            .map_err(|error| Error::Client { address: source, source: error })?;
        Ok(Self { client, base: format!("http://{}:{}/conversations", spec.vip, spec.port) })
    }

    async fn open_conversation(&self) -> Result<String, Outcome> {
        let answer = success(self.client.post(&self.base).send().await)?;
        let opened: Opened = answer.json().await.map_err(|error| outcome_of(&error))?;
        Ok(opened.id)
    }

    async fn say(&self, id: &str, key: &str, turn: u64) -> Said {
        let request = self
            .client
            .post(format!("{}/{id}/turns", self.base))
            .header(IDEMPOTENCY_KEY, key)
            .json(&serde_json::json!({ "text": format!("turn {turn}") }));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                return Said { outcome: outcome_of(&error), by: Signature::default(), position: None };
            }
        };
        let (status, by) = (answer.status(), Signature::of(&answer));
        // A turn counts once its whole answer is here; reading it to the end also frees the connection.
        let (outcome, position) = match answer.bytes().await {
            Err(error) => (outcome_of(&error), None),
            Ok(body) if status.is_success() => {
                let receipt = serde_json::from_slice::<Receipt>(&body).ok();
                (Outcome::Ok, receipt.and_then(|receipt| receipt.position))
            }
            Ok(_) => (Outcome::Status(status.as_u16()), None),
        };
        Said { outcome, by, position }
    }

    /// Who answered, and the keys of the turns that it knows of.
    async fn read(&self, id: &str) -> Result<Told, Outcome> {
        let answer = self.client.get(format!("{}/{id}", self.base)).send().await;
        let answer = answer.map_err(|error| outcome_of(&error))?;
        let by = Signature::of(&answer);
        match (answer.status(), &by.served_by) {
            // The application itself says that nothing is left, which is an answer; asking again would not bring it back.
            (StatusCode::NOT_FOUND, Some(_)) => return Ok(Told { by, keys: Vec::new() }),
            (status, _) if !status.is_success() => return Err(Outcome::Status(status.as_u16())),
            _ => {}
        }
        let transcript: Transcript = answer.json().await.map_err(|error| outcome_of(&error))?;
        Ok(Told { by, keys: transcript.turns.into_iter().map(|turn| turn.key).collect() })
    }
}

fn success(answer: reqwest::Result<Response>) -> Result<Response, Outcome> {
    let answer = answer.map_err(|error| outcome_of(&error))?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(Outcome::Status(status.as_u16())),
    }
}

impl Signature {
    fn of(answer: &Response) -> Self {
        let word = |name| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        Self {
            served_by: word(SERVED_BY),
            epoch: word(EPOCH).and_then(|epoch| epoch.parse().ok()),
            durability: word(DURABILITY),
        }
    }
}

/// Whether another attempt may succeed: not where the site understood and refused.
fn worth_a_retry(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Ok => false,
        Outcome::Timeout | Outcome::Refused | Outcome::Reset | Outcome::Unreachable => true,
        Outcome::Status(code) => {
            let passing = [
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::CONFLICT,
                StatusCode::TOO_EARLY,
                StatusCode::TOO_MANY_REQUESTS,
            ];
            *code >= 500 || passing.iter().any(|status| status.as_u16() == *code)
        }
    }
}

fn outcome_of(error: &reqwest::Error) -> Outcome {
    if error.is_timeout() {
        return Outcome::Timeout;
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let kind = inner.downcast_ref::<io::Error>().map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::ConnectionRefused) => return Outcome::Refused,
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                return Outcome::Unreachable;
            }
            Some(io::ErrorKind::TimedOut) => return Outcome::Timeout,
            _ => cause = inner.source(),
        }
    }
    // Whatever else there is happens in the middle: closed early, reset, an answer that is none.
    Outcome::Reset
}

/// When to try again: at a random point of a span that doubles with each retry, so that conversations that failed
/// together do not come back together.
fn next_try(retry: u32) -> u64 {
    let span = BACKOFF_FIRST.saturating_mul(2u32.saturating_pow(retry)).min(BACKOFF_MAX);
    let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let dice = RandomState::new().hash_one(retry);
    clock::monotonic_ns() + dice % span_ns
}
