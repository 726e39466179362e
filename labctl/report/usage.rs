//! What a site used before anything was broken: the difference of what each node had used at the first fault, or at the end of
//! the timetable, and at its beginning. It knows nothing of turns.

use std::collections::BTreeMap;

use super::event::{Event, Usage, What};
use crate::topology::Role;

/// What one node used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUsage {
    /// The node.
    pub node: String,
    /// What it is for.
    pub role: Role,
    /// Processor time; `None` if the node was off in between, since what it had used is gone with it.
    pub cpu_us: Option<u64>,
    /// Memory in the end.
    pub memory_bytes: u64,
    /// Bytes that its processes wrote, to files and in some programs to sockets; `None` as above.
    pub written_bytes: Option<u64>,
    /// Bytes that came in; `None` as above.
    pub received_bytes: Option<u64>,
    /// Bytes that left; `None` as above.
    pub sent_bytes: Option<u64>,
}

/// By role, then by name. A node that was not there at the end is not in it.
pub(super) fn usage(events: &[Event]) -> Vec<NodeUsage> {
    let mut spans: BTreeMap<(Role, &str), (&Usage, Option<&Usage>)> = BTreeMap::new();
    for event in events {
        let (What::Usage(usage), Some(node)) = (&event.what, &event.node) else { continue };
        let span = spans.entry((usage.role, node.as_str())).or_insert((usage, None));
        if !std::ptr::eq(span.0, usage) {
            span.1 = Some(usage);
        }
    }
    spans
        .into_iter()
        .filter_map(|((role, node), (first, last))| {
            let last = last?;
            let same = first.init == last.init;
            let spent = |of: fn(&Usage) -> u64| same.then(|| of(last).saturating_sub(of(first)));
            Some(NodeUsage {
                node: node.to_owned(),
                role,
                cpu_us: spent(|usage| usage.cpu_us),
                memory_bytes: last.memory_bytes,
                written_bytes: spent(|usage| usage.written_bytes),
                received_bytes: spent(|usage| usage.received_bytes),
                sent_bytes: spent(|usage| usage.sent_bytes),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ns: u64, node: &str, role: Role, init: i32, used: u64) -> Event {
        let usage = Usage {
            role,
            init,
            cpu_us: used,
            memory_bytes: used,
            written_bytes: used * 1_000,
            received_bytes: used * 10,
            sent_bytes: used * 100,
        };
        Event { at_ns, node: Some(node.to_owned()), source: "drill".to_owned(), what: What::Usage(usage) }
    }

    #[test]
    fn a_node_used_what_it_has_more_in_the_end() {
        let events = [
            sample(1, "web1", Role::Web, 7, 5),
            sample(1, "db1", Role::Db, 8, 1),
            sample(9, "web1", Role::Web, 7, 9),
            sample(9, "db1", Role::Db, 8, 3),
        ];
        let all = usage(&events);
        assert_eq!(all.iter().map(|one| one.node.as_str()).collect::<Vec<_>>(), ["web1", "db1"]);
        assert_eq!((all[0].cpu_us, all[0].received_bytes, all[0].sent_bytes), (Some(4), Some(40), Some(400)));
        assert_eq!((all[1].cpu_us, all[1].memory_bytes, all[1].written_bytes), (Some(2), 3, Some(2_000)));
    }

    #[test]
    fn what_a_node_had_used_goes_when_it_is_switched_off() {
        let events = [
            sample(1, "web1", Role::Web, 7, 5),
            sample(1, "web2", Role::Web, 8, 5),
            sample(9, "web1", Role::Web, 70, 2),
        ];
        let all = usage(&events);
        assert_eq!(all.len(), 1, "web2 is not there in the end");
        assert_eq!((all[0].cpu_us, all[0].sent_bytes, all[0].memory_bytes), (None, None, 2));
    }
}
