//! What names a conversation, a turn and a state of the transcript. A value of these types is well formed; it knows
//! nothing of HTTP headers or of the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a conversation's identifier: it is also what the visitor's cookie holds, so nobody may guess it.
const ID_BYTES: usize = 16;
/// The longest idempotency key; a UUID in text is 36 bytes long.
pub const KEY_BYTES_MAX: usize = 64;

/// Why a word cannot name a conversation or a turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the 32 hexadecimal digits of an identifier.
    #[error("a conversation's identifier is {} hexadecimal digits in lower case", ID_BYTES * 2)]
    Id,
    /// Empty, too long, or with a character that does not belong into a header.
    #[error("an idempotency key is 1 to {KEY_BYTES_MAX} visible ASCII characters")]
    Key,
}

/// The identifier of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConversationId([u8; ID_BYTES]);

impl From<[u8; ID_BYTES]> for ConversationId {
    fn from(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }
}

impl ConversationId {
    /// As a database keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for ConversationId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.as_bytes();
        if digits.len() != ID_BYTES * 2 {
            return Err(NameError::Id);
        }
        let mut bytes = [0; ID_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn hex_digit(digit: u8) -> Result<u8, NameError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NameError::Id),
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// The key under which an author sends a turn, and sends it again if no answer came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TurnKey(String);

impl TurnKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TurnKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for TurnKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let fits = (1..=KEY_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text))
        } else {
            Err(NameError::Key)
        }
    }
}

impl From<TurnKey> for String {
    fn from(key: TurnKey) -> String {
        key.0
    }
}

impl fmt::Display for TurnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A fingerprint of a transcript up to and including one turn.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// As a database keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The fingerprint of a transcript without turns.
    pub const EMPTY: Self = Self([0; 32]);

    /// The fingerprint after one more turn: `H(previous, turn)`. Lengths go in before the texts, so that no two turns
    /// give the same bytes.
    pub fn then(&self, position: u64, key: &TurnKey, body: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(position.to_be_bytes());
        for text in [key.as_str(), body] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Self(hash.finalize().into())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
