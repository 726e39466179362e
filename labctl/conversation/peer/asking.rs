//! What webs and their witness say to each other, and what the witness remembers. It decides nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contract::{Incarnation, Member, Side};
use super::message::Copied;

/// The version of these messages.
pub const WITNESS_VERSION: u16 = 2;

/// A question to the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// [`WITNESS_VERSION`] of the web.
    pub version: u16,
    /// Who asks.
    pub from: Member,
    /// Counted by the web, so that it knows to which question an answer belongs, and when it asked.
    pub number: u64,
    /// The term on which the question is based. Whatever was said on another term is void.
    pub term: u64,
    /// What it has, or had: for a witness that has forgotten everything.
    pub copy: Option<Copied>,
    /// What it wants.
    pub want: Want,
}

/// What a web wants of the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// To be the only holder, and a lease.
    Alone,
    /// A new lease, as the only holder that it is.
    Renew,
    /// That both are written down as holders: each has everything that the other has.
    Pair {
        /// The other.
        with: Member,
    },
    /// To be the holder of a memory that begins anew, and a lease.
    Found {
        /// The other web, if this one hears it, and that it has nothing better: whatever it had in an earlier life is gone.
        met: Option<Member>,
    },
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessReply {
    /// [`WITNESS_VERSION`] of the witness.
    pub version: u16,
    /// Whom it is for.
    pub to: Member,
    /// The number of the question.
    pub number: u64,
    /// What it says.
    pub verdict: Verdict,
    /// What it remembers.
    pub record: Record,
}

/// What the witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The web is the only holder.
    Granted {
        /// How long it may go on alone, from when it asked.
        lease: Duration,
    },
    /// Both are written down.
    Noted,
    /// Nothing has changed.
    Refused(Why),
}

/// Why nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The question is based on another term.
    OtherTerm,
    /// The web, or whom it names, is not a holder, or not the only one.
    NotHolder,
    /// Somebody in the record may still be there, with everything.
    HolderLives,
    /// Somebody may still have a lease.
    LeaseRuns,
    /// Nothing is written down, and what the web knows is not enough to begin: the other may have everything.
    Forgotten,
    /// There was a later life of this web.
    Superseded,
    /// The web speaks another version.
    Version,
}

/// What the witness remembers, on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How often memory has begun. 0: never, or nobody knows any more, because the disk was wiped.
    pub founding: u64,
    /// Raised with each change of the holders.
    pub term: u64,
    /// Who has everything.
    pub holders: Holders,
    /// The latest life of the first web that it has heard of.
    pub first: Option<Incarnation>,
    /// The latest life of the second web that it has heard of.
    pub second: Option<Incarnation>,
}

/// Who has everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holders {
    /// Nobody, because there never was anything.
    #[default]
    Nobody,
    /// One web.
    One(Member),
    /// Both, in this life each.
    Both {
        /// Of the first web.
        first: Incarnation,
        /// Of the second web.
        second: Incarnation,
    },
}

impl Holders {
    /// Both of these, which are different webs.
    pub fn both(one: Member, other: Member) -> Self {
        let (first, second) = if one.side == Side::First { (one, other) } else { (other, one) };
        Self::Both { first: first.incarnation, second: second.incarnation }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = Member> + use<> {
        let member = |side, incarnation| Some(Member { side, incarnation });
        let (one, other) = match *self {
            Self::Nobody => (None, None),
            Self::One(member) => (Some(member), None),
            Self::Both { first, second } => (member(Side::First, first), member(Side::Second, second)),
        };
        one.into_iter().chain(other)
    }

    /// Is it one of them?
    pub fn include(&self, member: Member) -> bool {
        self.iter().any(|holder| holder == member)
    }
}

impl Record {
    /// The latest life of a web that the witness has heard of.
    pub fn latest(&self, side: Side) -> Option<Incarnation> {
        match side {
            Side::First => self.first,
            Side::Second => self.second,
        }
    }

    /// Takes note of a life.
    pub fn hear_of(&mut self, member: Member) {
        let latest = match member.side {
            Side::First => &mut self.first,
            Side::Second => &mut self.second,
        };
        *latest = (*latest).max(Some(member.incarnation));
    }

    /// Is everybody who had everything gone, and the memory with them?
    pub fn is_orphaned(&self) -> bool {
        self.holders.iter().all(|holder| self.latest(holder.side) > Some(holder.incarnation))
    }
}
