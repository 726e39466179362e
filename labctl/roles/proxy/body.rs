//! The bodies that pass a proxy, in both directions. They are never copied, and of none is more kept than is needed to send
//! it once more.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::desk::Busy;
use super::line::Talk;
use super::pool::{Pool, Sender};

/// A request's body on its way to a real server.
#[derive(Debug)]
pub(super) enum Sent {
    /// As it comes from the visitor. It can be sent once.
    Passing(Incoming),
    /// All of it.
    Kept(Full<Bytes>),
}

impl Sent {
    /// A body that is there already.
    pub(super) fn kept(bytes: &Bytes) -> Self {
        Self::Kept(Full::new(bytes.clone()))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Passing(body) => Pin::new(body).poll_frame(cx),
            Self::Kept(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passing(body) => body.is_end_stream(),
            Self::Kept(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passing(body) => body.size_hint(),
            Self::Kept(body) => body.size_hint(),
        }
    }
}

/// An answer's body on its way to the visitor, and what is to be done after it.
#[derive(Debug)]
pub(super) struct Answer {
    body: Source,
    talk: Arc<Talk>,
}

#[derive(Debug)]
enum Source {
    /// What the proxy has to say itself.
    Own(Full<Bytes>),
    /// What a real server says.
    Relayed(Relayed),
}

/// A real server's answer, and the connection that it comes by.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) body: Incoming,
    pub(super) sender: Option<Sender>,
    pub(super) pool: Rc<Pool>,
    /// Counts as a request of that real server for as long as the answer lasts.
    pub(super) busy: Busy,
    pub(super) ended: bool,
}

impl Answer {
    pub(super) fn own(text: String, talk: Arc<Talk>) -> Self {
        Self { body: Source::Own(Full::new(text.into())), talk }
    }

    pub(super) fn relayed(relayed: Relayed, talk: Arc<Talk>) -> Self {
        Self { body: Source::Relayed(relayed), talk }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.talk.set_busy(false);
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        let Some(mut sender) = self.sender.take() else { return };
        // With half an answer still to come, the connection ends with this body.
        if !self.ended && !self.body.is_end_stream() {
            return;
        }
        let (pool, to) = (self.pool.clone(), self.busy.to());
        if sender.is_ready() {
            pool.put(to, sender);
        } else {
            // The request is still on its way although the answer is complete.
            tokio::task::spawn_local(async move {
                if sender.ready().await.is_ok() {
                    pool.put(to, sender);
                }
            });
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().body {
            Source::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Source::Relayed(relayed) => {
                let frame = ready!(Pin::new(&mut relayed.body).poll_frame(cx));
                relayed.ended = frame.is_none();
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Own(body) => body.is_end_stream(),
            Source::Relayed(relayed) => relayed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Own(body) => body.size_hint(),
            Source::Relayed(relayed) => relayed.body.size_hint(),
        }
    }
}
