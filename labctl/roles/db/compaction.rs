//! Keeps the log short in bytes. Raft counts entries, and of long ones its number of them would fill the disk. It knows
//! nothing of what the entries say.

use openraft::Raft;

use super::log::Log;
use super::protocol::TypeConfig;

/// Has the oldest entries let go, once a snapshot has them, whenever the log is longer than this. Half of it stays, for
/// members that are a little behind. Returns when raft has ended.
pub(super) async fn keep_short(raft: Raft<TypeConfig>, log: Log, bytes_max: u64) {
    let mut metrics = raft.metrics();
    // The last entry that is to go.
    let mut goal: Option<u64> = None;
    while metrics.changed().await.is_ok() {
        let (applied, snapshot, purged) = {
            let now = metrics.borrow_and_update();
            (now.last_applied, now.snapshot, now.purged)
        };
        if goal.is_some_and(|goal| purged.is_some_and(|purged| purged.index >= goal)) {
            goal = None;
        }
        if goal.is_none() && log.bytes() > bytes_max {
            goal = match log.last_before(bytes_max / 2) {
                // What is not decided yet cannot be in a snapshot.
                Ok(index) => index.min(applied.map(|applied| applied.index)),
                Err(error) => {
                    tracing::error!("look how long the log is: {error}");
                    return;
                }
            };
        }
        let Some(goal) = goal else { continue };
        let trigger = raft.trigger();
        let asked = match snapshot {
            Some(snapshot) if snapshot.index >= goal => trigger.purge_log(goal).await,
            _ => trigger.snapshot().await,
        };
        if asked.is_err() {
            return;
        }
    }
}
