//! Labs of scenarios: each ends with the process that plays.

use std::time::Duration;

use crate::holder::client::{Lab, Leash};
use crate::kernel::process::SELF;
use crate::topology::{LabName, Topology};

/// How long a lab may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Builds a lab for a scenario of that suite.
pub(super) fn up(suite: &str, topology: &Topology) -> Result<(Lab, Leash), String> {
    let name = format!("{suite}{}", std::process::id());
    let name: LabName = name.parse().map_err(|error: crate::topology::NameError| error.to_string())?;
    let (lab, _, leash) = Lab::up_on_a_leash(SELF.as_ref(), name, topology, READY_WITHIN, |_| {})
        .map_err(|error| crate::holder::lab::chain(&error))?;
    Ok((lab, leash))
}
