//! Somebody else's linearizability checker (Wing, Gong and Lowe's algorithm in `todc-utils`), told what a conversation is: a
//! list without repetitions whose appends answer with a position and whose reads answer with everything. An operation of
//! unknown outcome is over only after everything else: to stand behind everything is as good as never to have happened.

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History as Actions};
use todc_utils::specifications::Specification;

use crate::conversation::history::{Ended, History, MonotonicNs};
use crate::conversation::names::TurnKey;

#[derive(Clone, Debug)]
enum Operation {
    Append { key: TurnKey, position: Option<u64> },
    Tell(Vec<TurnKey>),
}

struct Conversation;

impl Specification for Conversation {
    type State = Vec<TurnKey>;
    type Operation = Operation;

    fn init() -> Self::State {
        Vec::new()
    }

    fn apply(operation: &Operation, state: &Self::State) -> (bool, Self::State) {
        let mut list = state.clone();
        let explained = match operation {
            Operation::Tell(keys) => keys == state,
            Operation::Append { key, position } => {
                let known = state.iter().position(|known| known == key);
                if known.is_none() {
                    list.push(key.clone());
                }
                position.is_none_or(|position| position == known.unwrap_or(state.len()) as u64)
            }
        };
        (explained, list)
    }
}

/// When something happens, and what comes first of what happens at once: beginnings, so that what touches overlaps.
type Moment = (MonotonicNs, bool);

pub(super) fn is_linearizable(history: &History) -> bool {
    let mut operations: Vec<(MonotonicNs, MonotonicNs, Operation)> = Vec::new();
    for append in &history.appends {
        let (done, position) = match append.ended {
            Ended::Acknowledged { at_ns, position } => (at_ns, position),
            Ended::Unknown => (MonotonicNs::MAX, None),
            Ended::Refused => continue,
        };
        operations.push((append.invoked_ns, done, Operation::Append { key: append.key.clone(), position }));
    }
    for telling in &history.tellings {
        operations.push((telling.invoked_ns, telling.completed_ns, Operation::Tell(telling.keys.clone())));
    }
    let mut actions: Vec<(Moment, usize, Action<Operation>)> = Vec::new();
    for (process, (began, done, operation)) in operations.into_iter().enumerate() {
        actions.push(((began, false), process, Action::Call(operation.clone())));
        actions.push(((done, true), process, Action::Response(operation)));
    }
    actions.sort_by_key(|(moment, ..)| *moment);
    let actions = actions.into_iter().map(|(_, process, action)| (process, action)).collect();
    WGLChecker::<Conversation>::is_linearizable(Actions::from_actions(actions))
}
