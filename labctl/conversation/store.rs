//! All conversations of one memory, and the commands that change them: the state machine that databases replicate, and
//! what a web node without databases keeps for itself. It knows nothing of replication, disks or HTTP.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::names::{ConversationId, TurnKey};
use super::transcript::{Outcome, TURN_BYTES_MAX, Transcript};

/// Most conversations in one store: 64 thousand visitors, a few megabytes of bookkeeping.
pub const CONVERSATIONS_MAX: usize = 65_536;
/// Most bytes of turns in one store: what a snapshot may cost in memory and on the wire.
pub const STORE_BYTES_MAX: usize = 256 * 1_024 * 1_024;

/// A change to the store. Key and turn travel in one command, so a turn is never stored without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A new conversation.
    Create {
        /// Chosen at random by whoever sends the command, so that sending it again is safe.
        id: ConversationId,
    },
    /// One more turn.
    AppendTurn {
        /// The conversation.
        id: ConversationId,
        /// The author's key.
        key: TurnKey,
        /// What was said.
        body: String,
    },
}

impl Command {
    /// Whether its text is longer than any turn may be, so that nobody has to be asked what becomes of it.
    pub fn is_too_long(&self) -> bool {
        match self {
            Self::Create { .. } => false,
            Self::AppendTurn { body, .. } => body.len() > TURN_BYTES_MAX,
        }
    }

    /// Bytes of text in the command, for bounds on batches.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Create { .. } => 0,
            Self::AppendTurn { key, body, .. } => key.as_str().len() + body.len(),
        }
    }
}

/// Conversations by identifier. Cloning is cheap enough for a snapshot: the transcripts are shared until one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    conversations: BTreeMap<ConversationId, Arc<Transcript>>,
    text_bytes: usize,
}

impl Store {
    /// The store with these conversations, as [`Store::iter`] gave them.
    pub fn from_conversations(conversations: impl IntoIterator<Item = (ConversationId, Transcript)>) -> Self {
        let conversations: BTreeMap<_, _> =
            conversations.into_iter().map(|(id, transcript)| (id, Arc::new(transcript))).collect();
        let turns = conversations.values().flat_map(|transcript| transcript.turns());
        let text_bytes = turns.map(|turn| turn.key.as_str().len() + turn.body.len()).sum();
        Self { conversations, text_bytes }
    }

    /// Applies one command, wholly or not at all.
    pub fn apply(&mut self, command: Command) -> Outcome {
        let full = match &command {
            Command::Create { id } => self.len() >= CONVERSATIONS_MAX && self.get(id).is_none(),
            Command::AppendTurn { id, key, body } => {
                self.text_bytes + command.text_bytes() > STORE_BYTES_MAX
                    && self.get(id).is_some_and(|transcript| transcript.settled(key, body).is_none())
            }
        };
        if full { Outcome::StoreFull } else { self.adopt(command) }
    }

    /// Applies what another store has decided on. The bounds of the whole store do not count: two stores that see the commands of
    /// several conversations in different order would disagree about the last of them.
    pub fn adopt(&mut self, command: Command) -> Outcome {
        let bytes = command.text_bytes();
        match command {
            Command::Create { id } => {
                self.conversations.entry(id).or_default();
                Outcome::Created
            }
            Command::AppendTurn { id, key, body } => {
                let Some(transcript) = self.conversations.get_mut(&id) else {
                    return Outcome::NoSuchConversation;
                };
                if let Some(outcome) = transcript.settled(&key, &body) {
                    return outcome;
                }
                self.text_bytes += bytes;
                Arc::make_mut(transcript).append(key, body)
            }
        }
    }

    /// One conversation.
    pub fn get(&self, id: &ConversationId) -> Option<&Arc<Transcript>> {
        self.conversations.get(id)
    }

    /// All conversations in order of identifier.
    pub fn iter(&self) -> impl Iterator<Item = (&ConversationId, &Transcript)> {
        self.conversations.iter().map(|(id, transcript)| (id, transcript.as_ref()))
    }

    /// The conversations behind this one in order of identifier, or all.
    pub fn iter_after(
        &self,
        id: Option<ConversationId>,
    ) -> impl Iterator<Item = (&ConversationId, &Arc<Transcript>)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.conversations.range((from, Bound::Unbounded))
    }

    /// How many conversations there are.
    pub fn len(&self) -> usize {
        self.conversations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }
}
