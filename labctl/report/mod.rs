//! Reports: from events and a verdict to files. Pure: the same events give the same bytes.

mod event;

pub use event::*;
