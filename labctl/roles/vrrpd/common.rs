//! What all virtual routers of a node share: the way out for events and complaints, the map of leases, the watches over
//! the links of the addresses. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::complaints::Complaints;
use crate::dataplane::gate::{Lease, Leases};
use crate::kernel::clock;
use crate::kernel::neighbour::{NeighbourWatch, QUEUE_FRAMES_MAX, Word};
use crate::roles::Reporter;

/// Most frames taken from one watch in one turn, whatever is in them: all that can have waited when the loop woke. What a
/// flood brings in the meantime wakes the loop once more.
const FRAMES_MAX: usize = QUEUE_FRAMES_MAX;

/// Shared by the instances, used by one at a time.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) reporter: Reporter,
    pub(super) complaints: Complaints,
    /// None where the addresses are not behind a gate.
    pub(super) leases: Option<Leases>,
    /// One for each link that has floating addresses.
    pub(super) watches: Vec<Watch>,
}

/// A watch over a link, and the floating addresses there.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) neighbours: NeighbourWatch,
    pub(super) addresses: BTreeSet<IpAddr>,
}

/// What was heard of other machines on the links of the addresses.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What another machine said to have.
    pub(super) had: BTreeSet<IpAddr>,
    /// What another machine probed for, and whether one with a lower hardware address did.
    pub(super) asked: BTreeMap<IpAddr, bool>,
}

/// Why addresses have no such lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLease {
    /// They are not behind a gate, and live anyway.
    NoGate,
    /// The kernel did not take it, perhaps for some of them only; that was complained of.
    Refused,
}

impl Common {
    /// Counts something that is wrong, and logs it seldom.
    pub(super) fn complain(&mut self, kind: &'static str, example: String) {
        if let Some(line) = self.complaints.count(kind, example, now()) {
            tracing::warn!("{line}");
        }
    }

    /// Asks on their links who has these addresses. When this returns, the frames have left as far as this machine goes;
    /// false if some could not.
    pub(super) fn probe(&mut self, addresses: impl Iterator<Item = IpAddr>) -> bool {
        let mut left = true;
        for address in addresses {
            let mut homes = self.watches.iter().filter(|watch| watch.addresses.contains(&address));
            let failed = homes.find_map(|watch| watch.neighbours.probe(address).err());
            if let Some(error) = failed {
                left = false;
                self.complain("probe", format!("cannot ask who has {address}: {error}"));
            }
        }
        left
    }

    /// Lets addresses live until then.
    pub(super) fn lease(
        &mut self,
        addresses: impl Iterator<Item = IpAddr>,
        lease: Lease,
    ) -> Result<(), NoLease> {
        let leases = self.leases.as_mut().ok_or(NoLease::NoGate)?;
        let failed =
            addresses.filter_map(|address| Some((address, leases.set(address, lease).err()?))).last();
        if let Some((address, error)) = failed {
            let because = crate::roles::described(&error);
            self.complain("lease", format!("cannot change the lease of {address}: {because}"));
            return Err(NoLease::Refused);
        }
        Ok(())
    }

    /// What other machines said about floating addresses since the last call. Never waits.
    pub(super) fn neighbours(&mut self) -> Seen {
        let mut seen = Seen::default();
        let mut failed = None;
        for watch in &self.watches {
            let mut budget = FRAMES_MAX;
            loop {
                match watch.neighbours.next_word(&mut budget) {
                    Ok(Some(Word::Has(other))) => drop(seen.had.insert(other.address)),
                    Ok(Some(Word::Asks(other))) => {
                        let first = seen.asked.entry(other.address).or_insert(false);
                        *first |= other.mac < watch.neighbours.mac();
                    }
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = failed {
            self.complain("watch", format!("cannot hear neighbours: {error}"));
        }
        seen
    }
}

/// The clock of the election.
pub(super) fn now() -> Duration {
    Duration::from_nanos(clock::monotonic_ns())
}

/// A time of the election as events have it.
pub(super) fn nanoseconds(at: Duration) -> u64 {
    // Since boot, so the next 584 years fit.
    at.as_nanos() as u64
}
