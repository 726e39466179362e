//! One conversation: turn after turn by the timetable, each retried under the same key until it is acknowledged, and
//! read back in the end. It knows the application's HTTP interface and nothing of other conversations.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

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
/// The header by which a web node says who it is.
const SERVED_BY: &str = "x-served-by";
/// The header that makes a retry the same turn.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One side of a conversation.
#[derive(Debug)]
pub(super) struct Talker {
    index: u32,
    id: String,
    source: Ipv4Addr,
    line: Line,
    alarm: Alarm,
    journal: Journal,
}

/// A connection that is replaced when it fails.
#[derive(Debug)]
struct Line {
    client: Client,
    base: String,
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
            };
            journal.emit(what).await?;
            if let Some(id) = id {
                return Ok(Self { index, id, source, line, alarm, journal });
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
        }
        Ok(())
    }

    async fn say(&mut self, spec: &Spec, turn: u64, intended_ns: u64, settled_ns: u64) -> Result<(), Error> {
        let key = format!("{}-{turn}", self.id);
        for retry in 0.. {
            let started_ns = clock::monotonic_ns();
            let (outcome, served_by) = self.line.say(&self.id, &key, turn).await;
            let what = What::Request {
                intended_ns,
                started_ns,
                outcome: outcome.clone(),
                conversation: Some(self.id.clone()),
                key: Some(key.clone()),
                served_by,
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
            match Line::new(spec, source)?.read(&self.id).await {
                Ok((served_by, keys)) => {
                    if asked.insert(served_by.clone()) {
                        let what = What::Transcript { conversation: self.id.clone(), served_by, keys };
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
        let client = Client::builder()
            .local_address(std::net::IpAddr::V4(source))
            .timeout(spec.timeout)
            // Else the kernel says good-bye to a dead node for half a minute more, which keeps a lab that ends from
            // being gone.
            .tcp_user_timeout(spec.timeout)
            .no_proxy()
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| Error::Client { address: source, source: error })?;
        Ok(Self { client, base: format!("http://{}:{}/conversations", spec.vip, spec.port) })
    }

    async fn open_conversation(&self) -> Result<String, Outcome> {
        let answer = success(self.client.post(&self.base).send().await)?;
        let opened: Opened = answer.json().await.map_err(|error| outcome_of(&error))?;
        Ok(opened.id)
    }

    async fn say(&self, id: &str, key: &str, turn: u64) -> (Outcome, Option<String>) {
        let request = self
            .client
            .post(format!("{}/{id}/turns", self.base))
            .header(IDEMPOTENCY_KEY, key)
            .json(&serde_json::json!({ "text": format!("turn {turn}") }));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return (outcome_of(&error), None),
        };
        let (status, served_by) = (answer.status(), served_by(&answer));
        // A turn counts once its whole answer is here; reading it to the end also frees the connection.
        match answer.bytes().await {
            Err(error) => (outcome_of(&error), served_by),
            Ok(_) if status.is_success() => (Outcome::Ok, served_by),
            Ok(_) => (Outcome::Status(status.as_u16()), served_by),
        }
    }

    /// Who answered, and the keys of the turns that it knows of.
    async fn read(&self, id: &str) -> Result<(String, Vec<String>), Outcome> {
        let answer = self.client.get(format!("{}/{id}", self.base)).send().await;
        let answer = answer.map_err(|error| outcome_of(&error))?;
        let served_by = served_by(&answer);
        match (answer.status(), &served_by) {
            // The application itself says that nothing is left, which is an answer; asking again would not bring it back.
            (StatusCode::NOT_FOUND, Some(web)) => return Ok((web.clone(), Vec::new())),
            (status, _) if !status.is_success() => return Err(Outcome::Status(status.as_u16())),
            _ => {}
        }
        let served_by = served_by.unwrap_or_else(|| "unnamed".to_owned());
        let transcript: Transcript = answer.json().await.map_err(|error| outcome_of(&error))?;
        Ok((served_by, transcript.turns.into_iter().map(|turn| turn.key).collect()))
    }
}

fn success(answer: reqwest::Result<Response>) -> Result<Response, Outcome> {
    let answer = answer.map_err(|error| outcome_of(&error))?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(Outcome::Status(status.as_u16())),
    }
}

fn served_by(answer: &Response) -> Option<String> {
    answer.headers().get(SERVED_BY)?.to_str().ok().map(str::to_owned)
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
