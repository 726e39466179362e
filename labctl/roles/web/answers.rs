//! What the application answers, as JSON with a status. The words of `error` are for programs, those of `detail` for
//! people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::download::DOWNLOAD_BYTES_MAX;
use super::memory::Unavailable;
use crate::conversation::peer::{Refusal, State};
use crate::conversation::{ConversationId, TURN_BYTES_MAX, TURNS_MAX, Transcript, Turn};

/// Seconds after which it is worth trying again: an election takes less, and mostly so does a request in work.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A new conversation.
#[derive(Serialize)]
pub(super) struct NewConversation {
    pub(super) id: String,
}

/// A turn that counts from now on, or did already.
#[derive(Serialize)]
pub(super) struct TurnReceipt {
    pub(super) position: u64,
    pub(super) digest: String,
    pub(super) key: String,
}

/// A whole conversation.
#[derive(Serialize)]
pub(super) struct WholeConversation {
    id: String,
    digest: String,
    turns: Vec<TurnText>,
}

#[derive(Serialize)]
struct TurnText {
    position: u64,
    key: String,
    text: String,
    digest: String,
}

impl WholeConversation {
    pub(super) fn new(id: ConversationId, transcript: &Transcript) -> Self {
        let text = |turn: &Turn| TurnText {
            position: turn.position,
            key: turn.key.to_string(),
            text: turn.body.clone(),
            digest: turn.digest.to_string(),
        };
        Self {
            id: id.to_string(),
            digest: transcript.digest().to_string(),
            turns: transcript.turns().iter().map(text).collect(),
        }
    }
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("send an Idempotency-Key, so that the turn counts once however often it is sent")]
    KeyMissing,
    #[error("{0}")]
    KeyInvalid(crate::conversation::NameError),
    #[error("the body is not {{\"text\": \"...\"}}: {0}")]
    BodyInvalid(String),
    #[error("there is no such conversation here")]
    NoSuchConversation,
    #[error("a request with this key is in work; wait for its answer")]
    KeyInFlight,
    #[error("the key belongs to a turn that said something else")]
    KeyReused,
    #[error("a turn has at most {TURN_BYTES_MAX} bytes")]
    TurnTooLong,
    #[error("a conversation has at most {TURNS_MAX} turns")]
    ConversationFull,
    #[error("the store has no room for more")]
    StoreFull,
    #[error("a download has at most {DOWNLOAD_BYTES_MAX} bytes: /bytes/1048576")]
    LengthInvalid,
    #[error("too many requests are in work")]
    Overloaded,
    #[error("the request was not complete in time")]
    TooSlow,
    #[error("{0}")]
    NoMemory(#[from] Unavailable),
    #[error("no randomness for an identifier: {0}")]
    NoRandomness(std::io::Error),
}

#[derive(Serialize)]
struct Explanation {
    error: &'static str,
    detail: String,
}

impl Failure {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::KeyMissing => (StatusCode::BAD_REQUEST, "key-missing"),
            Self::KeyInvalid(_) => (StatusCode::BAD_REQUEST, "key-invalid"),
            Self::BodyInvalid(_) => (StatusCode::BAD_REQUEST, "body-invalid"),
            Self::LengthInvalid => (StatusCode::BAD_REQUEST, "length-invalid"),
            Self::NoSuchConversation => (StatusCode::NOT_FOUND, "no-such-conversation"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow"),
            Self::KeyInFlight => (StatusCode::CONFLICT, "key-in-flight"),
            Self::TurnTooLong => (StatusCode::PAYLOAD_TOO_LARGE, "turn-too-long"),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key-reused"),
            // No conflict, which a client would wait for to pass: nothing ever leaves a conversation.
            Self::ConversationFull => (StatusCode::UNPROCESSABLE_ENTITY, "conversation-full"),
            Self::NoRandomness(_) => (StatusCode::INTERNAL_SERVER_ERROR, "no-randomness"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::NoMemory(Unavailable::Databases(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "databases-unavailable")
            }
            Self::NoMemory(Unavailable::Peer(refused)) => (StatusCode::SERVICE_UNAVAILABLE, word(refused)),
            Self::StoreFull => (StatusCode::INSUFFICIENT_STORAGE, "store-full"),
        }
    }
}

fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotServing(State::Joining) => "memory-joining",
        Refusal::NotServing(_) => "memory-fenced",
        Refusal::Busy => "overloaded",
        Refusal::TimedOut => "peer-silent",
        Refusal::Unknown => "in-doubt",
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = self.status();
        let mut response = (status, Json(Explanation { error, detail: self.to_string() })).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
