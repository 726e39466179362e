//! What a database that others wrote keeps of a conversation, and what follows from it: how long the conversation is under
//! its own name, and each turn under the turn's. It knows no database.

use serde::{Deserialize, Serialize};

use super::Trouble;
use crate::conversation::{Digest, Outcome, TURN_BYTES_MAX, TURNS_MAX, Transcript, TurnKey};

/// How long a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) turns: u64,
    pub(super) digest: Digest,
}

impl Head {
    /// That of a new conversation.
    pub(super) const NEW: Self = Self { turns: 0, digest: Digest::EMPTY };

    /// The turn that comes next and the head with it, or why there is none.
    pub(super) fn next(self, key: &TurnKey, body: &str) -> Result<(Kept, Self), Outcome> {
        if body.len() > TURN_BYTES_MAX {
            return Err(Outcome::TurnTooLong);
        }
        if self.turns >= TURNS_MAX as u64 {
            return Err(Outcome::ConversationFull);
        }
        let digest = self.digest.then(self.turns, key, body);
        let turn = Kept { position: self.turns, body: body.to_owned(), digest };
        Ok((turn, Self { turns: self.turns + 1, digest }))
    }

    /// The whole conversation, if these turns are all of it.
    pub(super) fn whole(self, mut turns: Vec<(TurnKey, Kept)>) -> Result<Transcript, Trouble> {
        turns.sort_by_key(|(_, turn)| turn.position);
        let mut transcript = Transcript::default();
        for (key, turn) in turns {
            transcript.append(key, turn.body);
        }
        let as_promised = transcript.turns().len() as u64 == self.turns && transcript.digest() == self.digest;
        if as_promised {
            Ok(transcript)
        } else {
            Err(Trouble::refused("a conversation is not what its digest says"))
        }
    }
}

/// A turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) position: u64,
    pub(super) body: String,
    pub(super) digest: Digest,
}

impl Kept {
    /// What sending a turn under the same key once more leads to.
    pub(super) fn again(&self, body: &str) -> Outcome {
        if self.body == body {
            Outcome::Replayed { position: self.position, digest: self.digest }
        } else {
            Outcome::KeyReused
        }
    }
}

/// As a database keeps it.
pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(value).map_err(Trouble::refused)
}

/// The other way.
pub(super) fn from_json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(bytes).map_err(Trouble::refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Command, ConversationId, Store};

    fn key(number: usize) -> TurnKey {
        format!("key-{number}").parse().unwrap()
    }

    /// The embedded store is the specification: the same turns give the same positions, digests and refusals.
    #[test]
    fn it_counts_as_our_own_store_does() {
        let id = ConversationId::from([7; 16]);
        let mut store = Store::default();
        store.apply(Command::Create { id });
        let (mut head, mut turns) = (Head::NEW, Vec::new());
        for number in 0..TURNS_MAX + 1 {
            let (key, body) = (key(number), format!("words {number}"));
            let wanted = store.apply(Command::AppendTurn { id, key: key.clone(), body: body.clone() });
            match head.next(&key, &body) {
                Ok((turn, next)) => {
                    assert_eq!(wanted, Outcome::Appended { position: turn.position, digest: turn.digest });
                    head = next;
                    turns.push((key, turn));
                }
                Err(refused) => assert_eq!(refused, wanted),
            }
        }
        let too_long = "x".repeat(TURN_BYTES_MAX + 1);
        assert_eq!(Head::NEW.next(&key(0), &too_long).unwrap_err(), Outcome::TurnTooLong);
        let (first, turn) = turns[3].clone();
        for body in [turn.body.clone(), "other words".to_owned()] {
            let command = Command::AppendTurn { id, key: first.clone(), body: body.clone() };
            assert_eq!(turn.again(&body), store.apply(command));
        }
        turns.reverse();
        assert_eq!(&head.whole(turns.clone()).unwrap(), store.get(&id).unwrap().as_ref());
        turns.remove(500);
        assert!(head.whole(turns).is_err(), "a gap shows");
    }

    #[test]
    fn it_survives_json() {
        let (turn, head) = Head::NEW.next(&key(1), "wörds \" \\ \0").unwrap();
        assert_eq!(from_json::<Head>(&to_json(&head).unwrap()), Ok(head));
        assert_eq!(from_json::<Kept>(&to_json(&turn).unwrap()), Ok(turn));
    }
}
