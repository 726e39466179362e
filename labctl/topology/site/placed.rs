//! What a machine of the site is given, and what shares one with what.

use serde::{Deserialize, Serialize};

/// What one machine has at most. What is not limited is shared with all that runs on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Hundredths of a processor.
    pub cpu_hundredths: Option<u32>,
    /// Memory and swap together, files in memory included.
    pub memory_bytes: Option<u64>,
    /// Its disk.
    pub disk_bytes: Option<u64>,
}

/// Do web and database share machines?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Each has machines of its own.
    #[default]
    Separate,
    /// Every web runs a database as well.
    Colocated,
}
