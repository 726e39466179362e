//! A memory that is given away while it changes: the joiner has the same in the end, and no frame is too long.

use proptest::prelude::*;

use super::super::memory::{Cursor, Decision, Memory};
use super::super::*;
use super::properties::cases;
use crate::conversation::{Command, ConversationId, TURN_BYTES_MAX};

/// What happens between two pieces.
#[derive(Clone, Debug)]
struct Said {
    conversation: u8,
    begins: bool,
    bytes: usize,
    /// Is the next piece given before this?
    gives: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let bytes = prop_oneof![4 => 0..20usize, 1 => 0..=TURN_BYTES_MAX];
    (0..12u8, prop::bool::weighted(0.3), bytes, any::<bool>())
        .prop_map(|(conversation, begins, bytes, gives)| Said { conversation, begins, bytes, gives })
}

fn command(said: &Said, number: usize) -> Command {
    let id = ConversationId::from([said.conversation; 16]);
    match said.begins {
        true => Command::Create { id },
        false => Command::AppendTurn {
            id,
            key: format!("{number}").parse().unwrap(),
            body: "x".repeat(said.bytes),
        },
    }
}

fn everything(memory: &Memory) -> Vec<(ConversationId, Option<Ownership>, crate::conversation::Digest)> {
    let ids = (0..12u8).map(|n| ConversationId::from([n; 16]));
    ids.filter_map(|id| Some((id, memory.ownership(&id), memory.get(&id)?.digest()))).collect()
}

fn assert_short(message: Message) -> Result<(), TestCaseError> {
    let frame = Frame { version: PEER_VERSION, number: u64::MAX, message };
    let bytes = postcard::to_stdvec(&frame).unwrap();
    prop_assert!(bytes.len() <= FRAME_BYTES_MAX, "{} bytes", bytes.len());
    prop_assert_eq!(postcard::from_bytes::<Frame>(&bytes).unwrap(), frame);
    Ok(())
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn the_joiner_has_everything_in_the_end(
        before in prop::collection::vec(said(), 0..60),
        meanwhile in prop::collection::vec(said(), 0..60),
        bytes_max in prop_oneof![1..800usize, Just(PIECE_BYTES_MAX)],
    ) {
        let (mut source, mut joiner) = (Memory::default(), Memory::default());
        let mut number = 0;
        for said in before {
            number += 1;
            // Both webs own some.
            let me = if said.conversation % 3 == 0 { Side::Second } else { Side::First };
            source.decide(me, me, command(&said, number));
        }
        let mut cursor = Cursor::default();
        let give = |source: &Memory, joiner: &mut Memory, cursor: &mut Cursor| {
            let parts = source.piece(cursor, bytes_max);
            assert_short(Message::Piece { number: u64::MAX, parts: parts.clone() })?;
            parts.into_iter().try_for_each(|part| joiner.take(part)).map_err(|_| TestCaseError::fail("misfit"))
        };
        for said in meanwhile {
            number += 1;
            if said.gives {
                give(&source, &mut joiner, &mut cursor)?;
            }
            let Decision::Changed(_, entry) = source.decide(Side::First, Side::First, command(&said, number)) else {
                continue;
            };
            assert_short(Message::Tail { entry: entry.clone() })?;
            if cursor.is_past(&entry) {
                prop_assert!(joiner.adopt(Side::First, entry).is_ok());
            }
        }
        while !cursor.has_ended() {
            give(&source, &mut joiner, &mut cursor)?;
        }
        prop_assert_eq!(everything(&joiner), everything(&source));
        prop_assert_eq!(source.turns_missing_in(&joiner), 0);
    }
}

/// It comes before the one of which the next piece brings the rest.
#[test]
fn a_conversation_begins_before_one_that_is_half_given() {
    let said = |conversation, begins| Said { conversation, begins, bytes: 0, gives: false };
    let (mut source, mut joiner, mut cursor) = (Memory::default(), Memory::default(), Cursor::default());
    let say = |source: &mut Memory, number, said| match source.decide(
        Side::First,
        Side::First,
        command(&said, number),
    ) {
        Decision::Changed(_, entry) => entry,
        Decision::Settled(outcome) => panic!("{outcome:?}"),
    };
    for number in 1..4 {
        say(&mut source, number, said(3, number == 1));
    }
    let give = |source: &Memory, joiner: &mut Memory, cursor: &mut Cursor| {
        source.piece(cursor, 1).into_iter().try_for_each(|part| joiner.take(part)).unwrap();
    };
    give(&source, &mut joiner, &mut cursor);
    for number in 4..6 {
        let entry = say(&mut source, number, said(1, number == 4));
        assert!(cursor.is_past(&entry));
        joiner.adopt(Side::First, entry).unwrap();
    }
    while !cursor.has_ended() {
        give(&source, &mut joiner, &mut cursor);
    }
    assert_eq!(everything(&joiner), everything(&source));
}
