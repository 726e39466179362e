//! What becomes of a node that has lost its life: silent at once, dead when its time has come, and then cleared away. It
//! does not know why a node dies.
#![expect(clippy::disallowed_methods, reason = "owns the clock of burials")]

use std::time::{Duration, Instant};

use super::{Error, Lab};
use crate::holder::node::Running;
use crate::report::What;
use crate::topology::NodeName;

/// How long a dead node lies there, silent, before its processes, its cables and its namespace are removed. The kernel has
/// one lock for all network namespaces, and removing takes it for tens of milliseconds: just those in which the other
/// nodes notice the death and change addresses and routes.
const BURIAL_AFTER: Duration = Duration::from_secs(1);

/// A dead node that is still to be cleared away.
#[derive(Debug)]
pub(super) struct Grave {
    due: Instant,
    /// Processes that were stopped and not killed: with them go eBPF programs, under the lock.
    remains: Option<Running>,
}

impl Lab {
    /// Kills the processes of a node, and silences it.
    pub(super) fn kill(&mut self, node: &NodeName, how: &str) -> Result<(), Error> {
        self.running(node)?.kill()?;
        self.network.silence(node, None)?;
        self.running.remove(node);
        self.bury(node, how, None);
        Ok(())
    }

    /// Takes the power from a silent node: none of its processes ever runs again.
    pub(super) fn freeze(&mut self, node: &NodeName, how: &str) -> Result<(), Error> {
        self.running(node)?.stop()?;
        self.network.silence(node, None)?;
        let remains = self.running.remove(node);
        self.bury(node, how, remains);
        Ok(())
    }

    /// Takes note of a node's end. What is left of it is its disk and its log, once it is cleared away.
    pub(super) fn bury(&mut self, name: &NodeName, how: &str, remains: Option<Running>) {
        self.on.remove(name);
        self.down.insert(name.clone(), how.to_owned());
        self.record.forget(name);
        self.note(name, What::NodeDown { how: how.to_owned() });
        self.graves.insert(name.clone(), Grave { due: Instant::now() + BURIAL_AFTER, remains });
    }

    /// When the next dead node is cleared away.
    pub fn next_burial(&self) -> Option<Instant> {
        self.graves.values().map(|grave| grave.due).min()
    }

    /// Clears away the dead nodes whose time has come.
    pub fn bury_due(&mut self, now: Instant) -> Result<(), Error> {
        let due: Vec<NodeName> =
            self.graves.iter().filter(|(_, grave)| grave.due <= now).map(|(name, _)| name.clone()).collect();
        due.iter().try_for_each(|name| self.clear_away(name))
    }

    /// Clears away all dead nodes, due or not.
    pub(super) fn clear_all_away(&mut self) -> Result<(), Error> {
        let dead: Vec<NodeName> = self.graves.keys().cloned().collect();
        dead.iter().try_for_each(|name| self.clear_away(name))
    }

    /// Removes the processes, the cables and the namespace of a dead node, if that is still to be done.
    pub(super) fn clear_away(&mut self, name: &NodeName) -> Result<(), Error> {
        let Some(grave) = self.graves.remove(name) else { return Ok(()) };
        if let Some(remains) = grave.remains {
            remains.kill()?;
        }
        self.settle(name)
    }
}
