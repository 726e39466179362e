//! Keeps what people changed for the next life of the daemon. It is in the node's own `/run`: a daemon that was restarted
//! goes on with it, and a node that was switched off begins with the topology again.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use super::layout::Layout;
use super::roster::{Kept, Roster};

/// Where changes are kept.
const PATH: &str = "/run/labctl/balancer.json";

/// The services of the topology, with what an earlier life of this daemon was asked to change.
pub(super) fn roster(layout: &Layout, now: Instant) -> Roster {
    match restored(Path::new(PATH), layout, now) {
        Ok(Some(roster)) => {
            tracing::info!("goes on with what was changed before, as {PATH} says");
            roster
        }
        Ok(None) => Roster::of(layout, now),
        Err(because) => {
            tracing::warn!("goes by the topology, because {PATH} is of no use: {because}");
            Roster::of(layout, now)
        }
    }
}

/// Keeps the services as they are now, the whole file or none of it.
pub(super) fn keep(roster: &Roster) -> io::Result<()> {
    write(Path::new(PATH), &roster.kept())
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(kept)?)?;
    fs::rename(new, path)
}

fn restored(path: &Path, layout: &Layout, now: Instant) -> Result<Option<Roster>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let mut roster = Roster::of(layout, now);
    roster.restore(kept, now).map_err(|refused| refused.to_string())?;
    Ok(Some(roster))
}
