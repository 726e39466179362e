//! Peer memory: two webs keep conversations by talking to each other, and a witness remembers which of them have everything.
//! State machines without I/O: what happens and the time go in, what to do comes out. It knows no socket, no clock and no HTTP.
//!
//! **What is promised.** A turn is acknowledged once every web that counts as a holder has applied it, so a turn is lost
//! only if all holders are. Reads and turns are linearizable, but for [`Degrade::Always`].
//!
//! **Who is a holder** is written down at the witness, as a [`Record`]: both webs, or one. Each change of the record names the
//! term that it is based on and begins the next one, so that of two changes only one takes place, and a change that was long on
//! its way none. A web is named with the [`Incarnation`] of its process, because its memory ends with that: one that
//! was restarted is somebody else, with nothing to remember, and must not be taken for the other half of the pair.
//! - *Pair to one*: a half that has lost the other asks to be the sole holder. From then on the other can acknowledge
//!   nothing: alone it would have to be in the record, and as one of two it would need this one to apply.
//! - *One to pair*: the sole holder gives a joiner everything, piece by piece, and in the same stream every turn that changes what
//!   was given already. After the last piece it says [`Message::PairUp`]; from then on it acknowledges nothing alone in
//!   this term. Once the joiner has taken that, and not before, the record may name both; the joiner may ask for that itself,
//!   so that nothing is lost if who gave it everything dies before the witness knows.
//! - *None to one*: there is no record yet and the webs have met with nothing, or everybody in it is known to have been restarted. Then memory begins
//!   anew under the next *founding number*; from the second on that is told as [`Notice::MemoryLost`]. A web that still has
//!   an outdated copy founds with that rather than with nothing.
//!
//! Whoever is in the record and may come back is waited for: nobody goes on without the turns that it alone has.
//!
//! **A witness that lost its disk** cannot tell that from being new, so it lets nobody begin who has not met the other web.
//! It learns again who has everything: from a sole holder, which knows that nobody else has, or from both of a pair
//! that talk. Two that do not hear each other then both wait. If only one of them is left, memory begins anew with its copy, and that is
//! told as a loss, since the other may have had more.
//!
//! **Leases.** A sole holder answers only with a lease of the witness, measured from the moment it asked, so that one who is cut off from
//! everybody, or was asleep, stops by itself. The record alone keeps two from acknowledging past each other; the lease makes
//! sure besides that a holder who was taken for dead is silent before memory begins anew.
//!
//! **Reads** in state PAIRED cost one way to the other web and back, whoever owns the conversation: its answer, sent after the
//! question came, shows that it was not alone then, and that it had applied everything this read may tell. A lease between the two webs
//! would save the way, but would rest on two clocks; so would an owner that trusts in not having been left.
//! Several reads share one way. A sole holder with a lease answers at once.
//!
//! **Order.** Each conversation has one owner, who alone decides on the order of its turns. The other forwards, and answers its
//! client when the turn comes back to be applied: both have it then. A sole holder that needs a conversation of the
//! other takes it over, under the next epoch.

mod admission;
mod asking;
mod contract;
mod link;
mod machine;
mod memory;
mod message;
mod requests;
mod service;
mod tenure;
mod witness;

pub use asking::*;
pub use contract::*;
pub use machine::Peer;
pub use message::*;
pub use witness::{Witness, WitnessAction, WitnessConfig};

#[cfg(test)]
mod tests;
