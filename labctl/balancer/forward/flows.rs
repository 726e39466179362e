//! What a director remembers of connections, in two tables. A connection whose SYN was seen is an *opening*; the first
//! packet after it makes it a *flow*, and every UDP conversation is one at once. So a flood of SYNs fills the table of
//! openings, and never costs a connection that carries data its entry. It knows neither packets nor schedulers.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::super::{Endpoint, Flow};

/// A connection: who, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: SocketAddr,
    pub(super) service: Endpoint,
}

/// Who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) real: Endpoint,
    /// The client said FIN or RST, so it does not count as active any more. It is kept, since much may still follow: answers
    /// to a client that is only done with asking, and the last acknowledgements.
    pub(super) closed: bool,
}

/// Both tables. A connection is in one of them at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    openings: HashMap<Key, Entry>,
    flows: HashMap<Key, Entry>,
}

impl Tables {
    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.flows.get(key).or_else(|| self.openings.get(key)).copied()
    }

    pub(super) fn open(&mut self, key: Key, real: Endpoint) {
        self.openings.insert(key, Entry { real, closed: false });
    }

    pub(super) fn enter(&mut self, key: Key, real: Endpoint) {
        self.flows.insert(key, Entry { real, closed: false });
    }

    /// Makes a flow of an opening; says whether it was one.
    pub(super) fn settle(&mut self, key: Key) -> bool {
        match self.openings.remove(&key) {
            Some(entry) => self.flows.insert(key, entry).is_none(),
            None => false,
        }
    }

    /// Marks it closed; says whether it was open.
    pub(super) fn close(&mut self, key: &Key) -> bool {
        let entry = self.flows.get_mut(key).or_else(|| self.openings.get_mut(key));
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.closed, true))
    }

    pub(super) fn forget(&mut self, key: &Key) -> Option<Entry> {
        self.flows.remove(key).or_else(|| self.openings.remove(key))
    }

    /// How many connections each real server has that its clients did not close.
    #[cfg(test)]
    pub(super) fn open_ones(&self) -> std::collections::BTreeMap<(Endpoint, Endpoint), u64> {
        let mut counts = std::collections::BTreeMap::new();
        for (key, entry) in self.flows.iter().chain(&self.openings).filter(|(_, entry)| !entry.closed) {
            *counts.entry((key.service, entry.real)).or_default() += 1;
        }
        counts
    }

    /// All flows, in order. Openings are not told: their clients repeat the SYN.
    pub(super) fn flows(&self) -> Vec<Flow> {
        let flow = |(key, entry): (&Key, &Entry)| Flow {
            client: key.client,
            service: key.service,
            real: entry.real,
        };
        let mut flows: Vec<Flow> = self.flows.iter().map(flow).collect();
        flows.sort();
        flows
    }
}
