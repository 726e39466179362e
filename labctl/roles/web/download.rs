//! A download of whatever length the visitor wants: for looking at how bytes travel. It knows nothing of conversations, and
//! costs no memory however much is asked for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

/// Longest download.
pub(super) const DOWNLOAD_BYTES_MAX: u64 = 1 << 30;
/// What is handed to the connection at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Every download is these digits over and over, so that it can be looked at and checked.
const DIGITS: &[u8; 16] = b"0123456789abcdef";
static BLOCK: [u8; BLOCK_BYTES] = block();

const fn block() -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut at = 0;
    while at < BLOCK_BYTES {
        block[at] = DIGITS[at % DIGITS.len()];
        at += 1;
    }
    block
}

/// A body of that many bytes, made while it is sent. `None` if there is no such length, or it is too long.
pub(super) fn body(len: &str) -> Option<Body> {
    let left: u64 = len.parse().ok()?;
    (left <= DOWNLOAD_BYTES_MAX).then(|| Body::new(Filler { left }))
}

struct Filler {
    left: u64,
}

impl hyper::body::Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let len = self.left.min(BLOCK_BYTES as u64);
        self.left -= len;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLOCK[..len as usize])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    /// Known beforehand, so that the visitor is told it.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
