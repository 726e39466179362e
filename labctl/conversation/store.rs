//! All conversations of one memory, and the commands that change them: the state machine that databases replicate, and
//! what a web node without databases keeps for itself. It knows nothing of replication, disks or HTTP.

use std::collections::BTreeMap;
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
        let bytes = command.text_bytes();
        let outcome = match command {
            Command::Create { id } => self.create(id),
            Command::AppendTurn { id, key, body } => self.append(id, key, body),
        };
        if let Outcome::Appended { .. } = outcome {
            self.text_bytes += bytes;
        }
        outcome
    }

    fn create(&mut self, id: ConversationId) -> Outcome {
        if !self.conversations.contains_key(&id) && self.conversations.len() >= CONVERSATIONS_MAX {
            return Outcome::StoreFull;
        }
        self.conversations.entry(id).or_default();
        Outcome::Created
    }

    fn append(&mut self, id: ConversationId, key: TurnKey, body: String) -> Outcome {
        let Some(transcript) = self.conversations.get_mut(&id) else { return Outcome::NoSuchConversation };
        if let Some(outcome) = transcript.settled(&key, &body) {
            return outcome;
        }
        if self.text_bytes + key.as_str().len() + body.len() > STORE_BYTES_MAX {
            return Outcome::StoreFull;
        }
        Arc::make_mut(transcript).append(key, body)
    }

    /// One conversation.
    pub fn get(&self, id: &ConversationId) -> Option<&Arc<Transcript>> {
        self.conversations.get(id)
    }

    /// All conversations in order of identifier.
    pub fn iter(&self) -> impl Iterator<Item = (&ConversationId, &Transcript)> {
        self.conversations.iter().map(|(id, transcript)| (id, transcript.as_ref()))
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
