//! Glue from sentences to the wire, one file a kind of sentence.

mod frames;
mod judgement;
mod neighbours;
mod router;
mod site;
