//! Every order of a small history, tried one after the other. It knows what a list is, that a key is appended once, and who
//! was done before whom began; no ranks, no longest telling, no turns made of attempts.

use crate::conversation::history::{Ended, History, MonotonicNs};
use crate::conversation::names::TurnKey;

enum Operation<'h> {
    Append { key: &'h TurnKey, position: Option<u64> },
    Tell(&'h [TurnKey]),
}

struct Item<'h> {
    operation: Operation<'h>,
    began: MonotonicNs,
    /// Nothing for an operation that may never take effect.
    done: Option<MonotonicNs>,
}

/// Whether some order of the operations, with or without each of the unknown ones, explains all answers.
pub(super) fn is_linearizable(history: &History) -> bool {
    let appends = history.appends.iter().filter_map(|append| {
        let (done, position) = match append.ended {
            Ended::Acknowledged { at_ns, position } => (Some(at_ns), position),
            Ended::Unknown => (None, None),
            Ended::Refused => return None,
        };
        Some(Item {
            operation: Operation::Append { key: &append.key, position },
            began: append.invoked_ns,
            done,
        })
    });
    let tellings = history.tellings.iter().map(|telling| Item {
        operation: Operation::Tell(&telling.keys),
        began: telling.invoked_ns,
        done: Some(telling.completed_ns),
    });
    let mut items: Vec<Item> = appends.chain(tellings).collect();
    search(&mut items, &mut Vec::new())
}

fn search<'h>(left: &mut Vec<Item<'h>>, list: &mut Vec<&'h TurnKey>) -> bool {
    if left.iter().all(|item| item.done.is_none()) {
        return true;
    }
    (0..left.len()).any(|index| {
        let began = left[index].began;
        if left.iter().any(|other| other.done.is_some_and(|done| done < began)) {
            return false;
        }
        let item = left.remove(index);
        let length = list.len();
        let explained = apply(&item.operation, list) && search(left, list);
        list.truncate(length);
        left.insert(index, item);
        explained
    })
}

fn apply<'h>(operation: &Operation<'h>, list: &mut Vec<&'h TurnKey>) -> bool {
    match operation {
        Operation::Tell(keys) => list.iter().copied().eq(keys.iter()),
        Operation::Append { key, position } => {
            let place = list.iter().position(|known| known == key).unwrap_or_else(|| {
                list.push(key);
                list.len() - 1
            });
            position.is_none_or(|position| position == place as u64)
        }
    }
}
