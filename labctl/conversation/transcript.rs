//! One conversation: its turns in order. It decides what sending a turn means, and knows nothing of other
//! conversations or of who keeps it.

use serde::{Deserialize, Serialize};

use super::names::{Digest, TurnKey};

/// Most turns in one conversation: more than a person types, and few enough that a key is found by looking at all.
pub const TURNS_MAX: usize = 1_024;
/// Most bytes in one turn, so that a whole transcript stays below a frame between databases (16 MiB).
pub const TURN_BYTES_MAX: usize = 8 * 1_024;

/// Something that somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The key under which it was sent.
    pub key: TurnKey,
    /// What was said.
    pub body: String,
    /// Its place, from 0.
    pub position: u64,
    /// The fingerprint of the transcript up to and including this turn.
    pub digest: Digest,
}

/// The turns of one conversation, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    turns: Vec<Turn>,
}

/// What became of a command. Two databases that apply the same commands give the same outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The conversation exists from now on, or existed already: identifiers are never given out twice.
    Created,
    /// The turn is the newest of the conversation.
    Appended {
        /// Its place.
        position: u64,
        /// The transcript's fingerprint with it.
        digest: Digest,
    },
    /// The turn was there already; this is the answer of the first time.
    Replayed {
        /// Its place.
        position: u64,
        /// The transcript's fingerprint with it.
        digest: Digest,
    },
    /// The key belongs to a turn that said something else.
    KeyReused,
    /// There is no such conversation.
    NoSuchConversation,
    /// The conversation has [`TURNS_MAX`] turns.
    ConversationFull,
    /// The turn has more than [`TURN_BYTES_MAX`] bytes.
    TurnTooLong,
    /// The store has no room for another conversation or turn.
    StoreFull,
}

impl Transcript {
    /// The turns, in order.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The fingerprint of the whole transcript.
    pub fn digest(&self) -> Digest {
        self.turns.last().map_or(Digest::EMPTY, |turn| turn.digest)
    }

    /// What sending this turn leads to if it adds nothing: a replay or a refusal.
    pub fn settled(&self, key: &TurnKey, body: &str) -> Option<Outcome> {
        match self.turns.iter().find(|turn| &turn.key == key) {
            Some(turn) if turn.body == body => {
                Some(Outcome::Replayed { position: turn.position, digest: turn.digest })
            }
            Some(_) => Some(Outcome::KeyReused),
            None if body.len() > TURN_BYTES_MAX => Some(Outcome::TurnTooLong),
            None if self.turns.len() >= TURNS_MAX => Some(Outcome::ConversationFull),
            None => None,
        }
    }

    /// Adds a turn, unless its key is known or a bound is reached.
    pub fn append(&mut self, key: TurnKey, body: String) -> Outcome {
        if let Some(outcome) = self.settled(&key, &body) {
            return outcome;
        }
        let position = self.turns.len() as u64;
        let digest = self.digest().then(position, &key, &body);
        self.turns.push(Turn { key, body, position, digest });
        Outcome::Appended { position, digest }
    }
}
