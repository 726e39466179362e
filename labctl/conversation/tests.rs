//! What must hold after any sequence of commands, repetitions included.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn id(n: u8) -> ConversationId {
    [n; 16].into()
}

fn key(text: &str) -> TurnKey {
    text.parse().unwrap()
}

fn append(n: u8, key_text: &str, body: &str) -> Command {
    Command::AppendTurn { id: id(n), key: key(key_text), body: body.to_owned() }
}

/// Few identifiers, keys and bodies, so that repetitions and reused keys are the rule and not the exception.
fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => (0u8..4).prop_map(|n| Command::Create { id: id(n) }),
        6 => (0u8..4, 0u8..6, 0u8..3).prop_map(|(n, k, b)| append(n, &format!("key-{k}"), &format!("body {b}"))),
    ]
}

fn assert_sound(transcript: &Transcript) -> Result<(), TestCaseError> {
    let mut keys = BTreeSet::new();
    let mut digest = Digest::EMPTY;
    for (position, turn) in transcript.turns().iter().enumerate() {
        prop_assert!(keys.insert(turn.key.clone()), "key {} twice", turn.key);
        prop_assert_eq!(turn.position, position as u64);
        digest = digest.then(turn.position, &turn.key, &turn.body);
        prop_assert_eq!(turn.digest, digest);
    }
    prop_assert_eq!(transcript.digest(), digest);
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_leaves_sound_transcripts(commands in prop::collection::vec(command(), 0..80)) {
        let mut store = Store::default();
        for command in commands {
            store.apply(command);
        }
        for (_, transcript) in store.iter() {
            assert_sound(transcript)?;
        }
    }

    #[test]
    fn a_second_time_changes_nothing_and_answers_as_the_first(commands in prop::collection::vec(command(), 1..60)) {
        let mut store = Store::default();
        for command in commands {
            let first = store.apply(command.clone());
            let before = store.clone();
            let second = store.apply(command);
            let expected = match first {
                Outcome::Appended { position, digest } => Outcome::Replayed { position, digest },
                settled => settled,
            };
            prop_assert_eq!(second, expected);
            prop_assert_eq!(&store, &before);
        }
    }

    #[test]
    fn the_first_body_of_a_key_is_the_one_that_stays(commands in prop::collection::vec(command(), 1..80)) {
        let mut store = Store::default();
        let mut firsts: BTreeMap<(ConversationId, TurnKey), String> = BTreeMap::new();
        for command in commands {
            let outcome = store.apply(command.clone());
            let Command::AppendTurn { id, key, body } = command else { continue };
            let known = firsts.get(&(id, key.clone())).cloned();
            match outcome {
                Outcome::Appended { .. } => {
                    prop_assert_eq!(known, None);
                    firsts.insert((id, key), body);
                }
                Outcome::Replayed { .. } => prop_assert_eq!(known, Some(body)),
                Outcome::KeyReused => prop_assert!(known.is_some_and(|first| first != body)),
                Outcome::NoSuchConversation => prop_assert!(store.get(&id).is_none()),
                other => prop_assert!(false, "unexpected {:?}", other),
            }
        }
        let kept: usize = store.iter().map(|(_, transcript)| transcript.turns().len()).sum();
        prop_assert_eq!(kept, firsts.len());
    }

    #[test]
    fn a_store_rebuilt_from_its_conversations_is_the_same(commands in prop::collection::vec(command(), 0..60)) {
        let mut store = Store::default();
        for command in commands {
            store.apply(command);
        }
        let copies = store.iter().map(|(id, transcript)| (*id, transcript.clone()));
        prop_assert_eq!(&Store::from_conversations(copies), &store);
    }

    #[test]
    fn an_identifier_reads_back(bytes: [u8; 16]) {
        let id = ConversationId::from(bytes);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }
}

#[test]
fn a_turn_at_the_bounds_fits_and_one_beyond_does_not() {
    let mut store = Store::default();
    store.apply(Command::Create { id: id(1) });
    assert_eq!(store.apply(append(1, "long", &"x".repeat(TURN_BYTES_MAX + 1))), Outcome::TurnTooLong);
    for n in 0..TURNS_MAX {
        let outcome = store.apply(append(1, &n.to_string(), "x"));
        assert!(matches!(outcome, Outcome::Appended { .. }), "turn {n}: {outcome:?}");
    }
    assert_eq!(store.apply(append(1, "one-more", "x")), Outcome::ConversationFull);
    assert!(matches!(store.apply(append(1, "0", "x")), Outcome::Replayed { position: 0, .. }));
    store.apply(Command::Create { id: id(2) });
    let outcome = store.apply(append(2, "long", &"x".repeat(TURN_BYTES_MAX)));
    assert!(matches!(outcome, Outcome::Appended { position: 0, .. }), "{outcome:?}");
}

#[test]
fn swapped_texts_do_not_share_a_digest() {
    let digests = [
        Digest::EMPTY.then(0, &key("ab"), "c"),
        Digest::EMPTY.then(0, &key("a"), "bc"),
        Digest::EMPTY.then(1, &key("ab"), "c"),
    ];
    assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
}

#[test]
fn words_that_name_nothing_are_refused() {
    for text in ["", "0", "0123456789abcdef0123456789abcdeF", "0123456789abcdef0123456789abcdef0"] {
        assert_eq!(text.parse::<ConversationId>(), Err(NameError::Id), "{text}");
    }
    for text in ["", "two words", "tab\t", "\u{e9}", &"k".repeat(KEY_BYTES_MAX + 1)] {
        assert_eq!(text.parse::<TurnKey>(), Err(NameError::Key), "{text}");
    }
}
