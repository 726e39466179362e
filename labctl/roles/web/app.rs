//! The routes of the application and what each does. It knows HTTP and the conversation, not where that is kept.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answers::{Failure, NewConversation, TurnReceipt, WholeConversation};
use super::download;
use super::memory::{Memory, Unavailable, Worth};
use crate::conversation::{Command, ConversationId, Digest, Outcome, TURN_BYTES_MAX, TurnKey};
use crate::roles::random;
use crate::topology::NodeName;

/// Most requests in work at once; the databases take as many from each of two web nodes.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// Longest life of a request, the reading of its body included: the databases' budget and a slow visitor.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// Most bytes of a body: JSON may write one byte as six, and there is something around the text.
const BODY_BYTES_MAX: usize = TURN_BYTES_MAX * 6 + 1_024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const MODE: HeaderName = HeaderName::from_static("x-lab-mode");
const DURABILITY: HeaderName = HeaderName::from_static("x-lab-durability");
const EPOCH: HeaderName = HeaderName::from_static("x-lab-epoch");
const OWNER: HeaderName = HeaderName::from_static("x-lab-owner");

/// The application of one web node.
pub(super) struct App {
    me: NodeName,
    memory: Memory,
    in_flight: Semaphore,
    keys_in_flight: Mutex<BTreeSet<(ConversationId, TurnKey)>>,
}

impl App {
    pub(super) fn new(me: NodeName, memory: Memory) -> Self {
        Self { me, memory, in_flight: Semaphore::new(IN_FLIGHT_MAX), keys_in_flight: Mutex::default() }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Reserves a key for the time of one request; nothing if another request has it.
    fn reserve(&self, id: ConversationId, key: &TurnKey) -> Option<Reservation<'_>> {
        let name = (id, key.clone());
        let mut keys = self.keys_in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        // Made only for a key that was free: dropping one frees the key.
        keys.insert(name.clone()).then(|| Reservation { app: self, name })
    }
}

/// A key that is in work until this is dropped, which happens when its visitor hangs up, too.
struct Reservation<'a> {
    app: &'a App,
    name: (ConversationId, TurnKey),
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut keys = self.app.keys_in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.name);
    }
}

/// All routes. Health checks stand outside of the bound, so that a busy node is not taken for a dead one.
pub(super) fn router(app: Arc<App>) -> Router {
    let bounded = Router::new()
        .route("/conversations", post(create))
        .route("/conversations/{id}", get(read))
        .route("/conversations/{id}/turns", post(append))
        .route("/bytes/{len}", get(bytes))
        .route("/readyz", get(ready))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), bound));
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .merge(bounded)
        .layer(middleware::from_fn_with_state(app.clone(), sign))
        .with_state(app)
}

/// Says on every answer who gave it, and what it is worth: what it tells of itself, else what the memory is worth now. An
/// answer of a memory that is worth nothing says nothing about it.
async fn sign(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let worth = response.extensions_mut().remove::<Worth>();
    let headers = response.headers_mut();
    if let Ok(me) = HeaderValue::from_str(app.me.as_str()) {
        headers.insert(SERVED_BY, me);
    }
    headers.insert(MODE, HeaderValue::from_static(app.memory.mode()));
    if let Some(durability) = worth.as_ref().map(|worth| worth.durability).or(app.memory.durability()) {
        headers.insert(DURABILITY, HeaderValue::from_static(durability));
    }
    if let Some(claim) = worth.and_then(|worth| worth.claim) {
        headers.insert(EPOCH, HeaderValue::from(claim.epoch));
        if let Ok(owner) = HeaderValue::from_str(claim.owner.as_str()) {
            headers.insert(OWNER, owner);
        }
    }
    response
}

async fn bound(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Failure> {
    let _permit = app.in_flight.try_acquire().map_err(|_| Failure::Overloaded)?;
    timeout(REQUEST_MAX, next.run(request)).await.map_err(|_| Failure::TooSlow)
}

async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Failure> {
    app.memory.check().await?;
    Ok("ready\n")
}

async fn bytes(Path(len): Path<String>) -> Result<Response, Failure> {
    let body = download::body(&len).ok_or(Failure::LengthInvalid)?;
    Ok(([(header::CONTENT_TYPE, "text/plain")], body).into_response())
}

async fn create(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let id = ConversationId::from(random::bytes().map_err(Failure::NoRandomness)?);
    let (outcome, worth) = app.memory.apply(Command::Create { id }).await?;
    match outcome {
        Outcome::Created => {}
        refused => return Err(refusal(&refused)),
    }
    let location = (header::LOCATION, format!("/conversations/{id}"));
    let cookie = (header::SET_COOKIE, format!("lab_sid={id}; Path=/; HttpOnly; SameSite=Lax"));
    let body = Json(NewConversation { id: id.to_string() });
    Ok((StatusCode::CREATED, Extension(worth), [location, cookie], body).into_response())
}

/// The body of a turn.
#[derive(Deserialize)]
struct Said {
    text: String,
}

async fn append(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let id = identify(&id)?;
    let key = headers.get(IDEMPOTENCY_KEY).ok_or(Failure::KeyMissing)?;
    let key: TurnKey = key.to_str().unwrap_or_default().parse().map_err(Failure::KeyInvalid)?;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TurnTooLong,
        _ => Failure::BodyInvalid(rejection.body_text()),
    })?;
    let said: Said =
        serde_json::from_slice(&body).map_err(|error| Failure::BodyInvalid(error.to_string()))?;

    let _reservation = app.reserve(id, &key).ok_or(Failure::KeyInFlight)?;
    let command = Command::AppendTurn { id, key: key.clone(), body: said.text };
    let (outcome, worth) = app.memory.apply(command).await?;
    let (status, position, digest) = match outcome {
        Outcome::Appended { position, digest } => (StatusCode::CREATED, position, digest),
        Outcome::Replayed { position, digest } => (StatusCode::OK, position, digest),
        refused => return Err(refusal(&refused)),
    };
    let receipt = TurnReceipt { position, digest: digest.to_string(), key: key.to_string() };
    Ok((status, Extension(worth), Json(receipt)).into_response())
}

async fn read(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let id = identify(&id)?;
    let (transcript, worth) = app.memory.read(id).await?;
    let transcript = transcript.ok_or(Failure::NoSuchConversation)?;
    let tag = [(header::ETAG, format!("\"{}\"", transcript.digest()))];
    if is_known(&headers, transcript.digest()) {
        return Ok((StatusCode::NOT_MODIFIED, Extension(worth), tag).into_response());
    }
    Ok((Extension(worth), tag, Json(WholeConversation::new(id, &transcript))).into_response())
}

/// Whether the visitor has this state already (RFC 9110 section 13.1.2: weak comparison).
fn is_known(headers: &HeaderMap, digest: Digest) -> bool {
    let tag = format!("\"{digest}\"");
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(|one| one.trim())
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// What cannot be an identifier names no conversation.
fn identify(id: &str) -> Result<ConversationId, Failure> {
    id.parse().map_err(|_| Failure::NoSuchConversation)
}

fn refusal(outcome: &Outcome) -> Failure {
    match outcome {
        Outcome::KeyReused => Failure::KeyReused,
        Outcome::NoSuchConversation => Failure::NoSuchConversation,
        Outcome::ConversationFull => Failure::ConversationFull,
        Outcome::TurnTooLong => Failure::TurnTooLong,
        Outcome::StoreFull => Failure::StoreFull,
        // An outcome of another command: no database of this version gives it.
        Outcome::Created | Outcome::Appended { .. } | Outcome::Replayed { .. } => {
            Failure::NoMemory(Unavailable::Databases(super::NoAnswer::Odd))
        }
    }
}
