//! The topology: from a file that a person wrote to a [`Topology`] in which nothing can be wrong any more.
//! Pure: it reads text that it is given, never a file or the kernel.
//!
//! The way of a file: `tree` (YAML with places) -> `read` + `scalars` (typed values, as `file` describes them) ->
//! `resolve` and its helpers (names found, defaults filled in, contradictions refused) -> [`Topology`].

mod abilities;
mod addresses;
mod balancer;
mod checks;
mod elected;
mod engines;
mod failover;
mod file;
mod gateways;
mod layer7;
mod methods;
mod names;
mod networks;
mod nodes;
mod peers;
mod problem;
mod read;
mod reals;
mod resolve;
mod routers;
mod scalars;
mod services;
mod site;
mod stores;
mod tree;

#[cfg(test)]
mod tests;

pub use addresses::Family;
pub use elected::Elected;
pub use names::*;
pub(crate) use problem::did_you_mean;
pub use problem::{Invalid, Problem, ProblemKind, Span, nearest};
pub use scalars::{duration, lasting, size};
pub use site::*;

use problem::Problems;

/// The longest file that is read. The largest sites that one machine can hold take a tenth of it.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Makes a topology of the text of a file, or says everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Topology, Invalid> {
    let mut problems = Problems::default();
    match understand(text, &mut problems) {
        Some(topology) if problems.is_empty() => Ok(topology),
        _ => Err(problems.into_invalid(file, text)),
    }
}

fn understand(text: &str, problems: &mut Problems) -> Option<Topology> {
    if text.len() > FILE_BYTES_MAX {
        let help = "generate a smaller site, or give the file that was meant";
        problems.push(Problem::new(ProblemKind::TooLarge(FILE_BYTES_MAX), &(0..0)).help(help));
        return None;
    }
    let tree = tree::read(text, problems)?;
    let file = <file::File as read::Read>::read(&tree, problems)?;
    resolve::topology(&file, problems)
}

/// The JSON Schema of the file format, for editors: completion, and mistakes marked while typing.
pub fn schema() -> String {
    let schema = schemars::schema_for!(file::File);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
