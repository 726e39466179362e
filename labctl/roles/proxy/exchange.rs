//! One request and its answer: a real server is chosen and asked, and another one if that may be done and is needed. It knows
//! neither listeners nor health checks.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SET_COOKIE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::body::{Answer, Relayed, Sent};
use super::desk::{Desk, Real, Table};
use super::head::{self, Refusal};
use super::line::{Line, Talk};
use super::pool::{Pool, Sender};
use crate::balancer::layer7::{Asked, Choice};

/// How long a real server may take to accept a connection. It is on the next wire.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a real server may take from a request to the head of its answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long a visitor may take to send a body that is kept.
const BODY_MAX: Duration = Duration::from_secs(10);
/// Largest body that is kept to be sent again: a turn of a conversation is 16 KiB.
const KEPT_BYTES_MAX: u64 = 64 * 1024;
/// Real servers that are asked for one request.
const ATTEMPTS_MAX: usize = 3;
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Health checks take about as long to find out that somebody is back.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// A visitor, as long as its connection lasts.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) address: SocketAddr,
    /// The same as others are told.
    pub(super) forwarded: HeaderValue,
    pub(super) talk: Arc<Talk>,
    pub(super) desk: Arc<Desk>,
    pub(super) pool: Rc<Pool>,
}

/// Why a real server gave no answer.
#[derive(Debug)]
enum Trouble {
    Refused,
    Died,
    Silent,
    Gone,
}

/// An attempt without an answer, and the request, if nothing of it was sent.
struct Failed {
    trouble: Trouble,
    unsent: Option<Request<Sent>>,
    /// The connection had been used before, so it may have been about to end all by itself.
    reused: bool,
}

/// A request that may be sent more than once.
struct Original {
    parts: Parts,
    body: Bytes,
}

impl Original {
    fn copy(&self) -> Request<Sent> {
        Request::from_parts(self.parts.clone(), Sent::kept(&self.body))
    }
}

impl Visitor {
    /// Answers one request, whatever happens.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        self.talk.set_busy(true);
        let is_last = head::is_last(&request);
        let mut answer = self.pass(request).await.unwrap_or_else(|refusal| self.refuse(&refusal));
        if is_last {
            answer.headers_mut().insert(CONNECTION, CLOSE);
            self.talk.end_with_this();
        }
        answer
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Answer>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let host = head::to_real(&mut parts, &self.forwarded)?;
        let (original, mut request) = prepared(parts, body).await?;
        let table = self.desk.table();
        let (mut tried, mut last) = (Vec::new(), None);
        for _ in 0..ATTEMPTS_MAX {
            let asked = Asked {
                client: self.address,
                host: host.to_str().unwrap_or_default(),
                path: request.uri().path(),
                headers: request.headers(),
            };
            let Some(choice) = self.desk.choose(&table, &asked, &tried) else { break };
            let real = &table.reals[choice.real];
            let busy = real.busy();
            let failed = match self.ask(real, request, original.is_some()).await {
                Ok((answer, sender)) => {
                    let (parts, body) = answer.into_parts();
                    let pool = self.pool.clone();
                    let relayed = Relayed { body, sender: Some(sender), pool, busy, ended: false };
                    return self.relay(parts, relayed, &table, choice);
                }
                Err(failed) => failed,
            };
            self.pool.forget(busy.to());
            // A connection that ends between two requests tells nothing about its real server.
            if !(failed.reused && matches!(failed.trouble, Trouble::Died)) {
                tried.push(choice.real);
            }
            last = Some(failed.trouble);
            match failed.unsent.or_else(|| original.as_ref().map(Original::copy)) {
                Some(again) => request = again,
                None => break,
            }
        }
        Err(last.map_or(NOBODY, Refusal::from))
    }

    /// Asks one real server, over a connection that waits or a new one.
    async fn ask(
        &self,
        real: &Real,
        mut request: Request<Sent>,
        repeatable: bool,
    ) -> Result<(Response<Incoming>, Sender), Failed> {
        let gone = real.gone.notified();
        let waiting = self.pool.take(real.endpoint.into());
        let reused = waiting.is_some();
        let mut sender = match waiting {
            Some(sender) => sender,
            None => match timeout(CONNECT_MAX, connect(real)).await {
                Ok(Ok(sender)) => sender,
                Ok(Err(_)) => {
                    return Err(Failed { trouble: Trouble::Refused, unsent: Some(request), reused });
                }
                Err(_) => return Err(Failed { trouble: Trouble::Silent, unsent: Some(request), reused }),
            },
        };
        *request.version_mut() = http::Version::HTTP_11;
        let mut answer = pin!(timeout(ANSWER_MAX, sender.try_send_request(request)));
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = gone, if repeatable => return Err(Failed { trouble: Trouble::Gone, unsent: None, reused }),
        };
        match answered {
            Ok(Ok(answer)) => Ok((answer, sender)),
            Ok(Err(mut error)) => {
                Err(Failed { trouble: Trouble::Died, unsent: error.take_message(), reused })
            }
            Err(_) => Err(Failed { trouble: Trouble::Silent, unsent: None, reused }),
        }
    }

    /// Passes a real server's answer on.
    fn relay(
        &self,
        mut parts: http::response::Parts,
        relayed: Relayed,
        table: &Table,
        choice: Choice,
    ) -> Result<Response<Answer>, Refusal> {
        head::to_client(&mut parts)?;
        if let Some(cookie) = table.guide.cookie(choice) {
            parts.headers.append(SET_COOKIE, cookie.clone());
        }
        Ok(Response::from_parts(parts, Answer::relayed(relayed, self.talk.clone())))
    }

    /// Says why there is no answer of a real server.
    fn refuse(&self, refusal: &Refusal) -> Response<Answer> {
        let text = format!("{}: {}\n", refusal.status, refusal.why);
        let mut response = Response::new(Answer::own(text, self.talk.clone()));
        *response.status_mut() = refusal.status;
        response.headers_mut().insert(CONTENT_TYPE, TEXT);
        if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, SOON);
        }
        response
    }
}

const NOBODY: Refusal =
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, why: "no real server for this is available" };

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        let (status, why) = match trouble {
            Trouble::Refused => (StatusCode::BAD_GATEWAY, "the real server refused the connection"),
            Trouble::Died => (StatusCode::BAD_GATEWAY, "the real server hung up before it answered"),
            Trouble::Gone => {
                (StatusCode::BAD_GATEWAY, "the real server became unavailable before it answered")
            }
            Trouble::Silent => (StatusCode::GATEWAY_TIMEOUT, "the real server did not answer in time"),
        };
        Self { status, why }
    }
}

/// A request that is ready to be sent, and its original, if it may be sent more than once.
async fn prepared(parts: Parts, body: Incoming) -> Result<(Option<Original>, Request<Sent>), Refusal> {
    let small = body.size_hint().upper().is_some_and(|bytes| bytes <= KEPT_BYTES_MAX);
    if !head::is_idempotent(&parts) || !small {
        return Ok((None, Request::from_parts(parts, Sent::Passing(body))));
    }
    let body = match body.is_end_stream() {
        true => Bytes::new(),
        false => {
            let all = timeout(BODY_MAX, Limited::new(body, KEPT_BYTES_MAX as usize).collect()).await;
            let why = "the request's body did not arrive in time";
            let late = Refusal { status: StatusCode::REQUEST_TIMEOUT, why };
            // Whoever hung up in the middle of it hears nothing of this.
            all.ok().and_then(Result::ok).ok_or(late)?.to_bytes()
        }
    };
    let original = Original { parts, body };
    let request = original.copy();
    Ok((Some(original), request))
}

/// Opens a connection to a real server.
async fn connect(real: &Real) -> io::Result<Sender> {
    let line = Line::connect(real.endpoint.into(), real.meter.clone()).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(line)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // How it ends, those hear who wait for an answer.
        let _ = connection.await;
    });
    Ok(sender)
}
