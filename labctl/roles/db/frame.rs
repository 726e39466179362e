//! Frames between databases and those who ask them, and between webs and their witness: a length of four bytes, then a
//! value in postcard. It knows bytes and bounds, not what the values mean.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a connection, so that a stranger or another version of the protocol is known at once.
pub(super) const PREAMBLE: &[u8; 4] = b"LDB1";
/// Most bytes in one frame: a transcript at all its bounds is 8.6 MiB, everything else much less.
pub(super) const FRAME_MAX: usize = 16 * 1024 * 1024;
/// Room made before the first byte of a frame came; more only as it comes, so a length alone costs nothing.
const FIRST_ROOM: usize = 64 * 1024;
/// Bytes of the length.
const LENGTH_BYTES: usize = 4;

/// Why a frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed or ended.
    #[error("carry a frame")]
    Io(#[from] io::Error),
    /// Longer than anybody may send.
    #[error("a frame of {0} bytes is over the limit")]
    TooLong(usize),
    /// The bytes are not a value of the expected type.
    #[error("understand a frame")]
    Codec(#[from] postcard::Error),
}

/// A value as a frame, ready for one write.
pub(in crate::roles) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(value, vec![0; LENGTH_BYTES])?;
    let len = frame.len() - LENGTH_BYTES;
    if len > FRAME_MAX {
        return Err(FrameError::TooLong(len));
    }
    frame[..LENGTH_BYTES].copy_from_slice(&(len as u32).to_be_bytes());
    Ok(frame)
}

/// The next value on a connection.
pub(super) async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    read_within(FRAME_MAX, from).await
}

/// The same where no value is longer than this.
pub(in crate::roles) async fn read_within<T: DeserializeOwned>(
    max: usize,
    from: &mut (impl AsyncRead + Unpin),
) -> Result<T, FrameError> {
    let len = from.read_u32().await? as usize;
    if len > max {
        return Err(FrameError::TooLong(len));
    }
    let mut bytes = Vec::with_capacity(len.min(FIRST_ROOM));
    from.take(len as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(postcard::from_bytes(&bytes)?)
}
