//! A contradiction, told so that a person can follow it with the history beside: which operations, when, and what follows.
//! It does not look for contradictions.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::Claim;
use super::order::Step;
use crate::conversation::history::{Append, MonotonicNs, Teller, Telling};
use crate::conversation::names::{ConversationId, TurnKey};

/// Digits after the second that a story shows as a rule; more where two of its times would look the same.
const DIGITS: [usize; 3] = [3, 6, 9];

/// A contradiction, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Story {
    /// What it breaks.
    pub claim: Claim,
    /// The conversation.
    pub conversation: String,
    /// The operations that do not go together.
    pub facts: Vec<Fact>,
    /// What follows from them.
    pub follows: String,
}

/// One operation of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fact {
    /// Its line in the history.
    pub line: u64,
    /// The time that matters, from the beginning of the first operation.
    pub at_ns: u64,
    /// What it shows.
    pub text: String,
}

/// The story for people: a line each, and what follows from them.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The first contradiction ({}), in conversation {}:", self.claim, self.conversation)?;
        for fact in &self.facts {
            write!(f, "\n  line {}: {}", fact.line, fact.text)?;
        }
        write!(f, "\n  So {}.", self.follows)
    }
}

/// Operations that no order explains.
#[derive(Clone, Copy, Debug)]
pub(super) enum Contradiction<'h> {
    /// One telling has a turn twice.
    Duplicate { telling: &'h Telling, key: &'h TurnKey, places: (usize, usize) },
    /// A telling has a turn that nobody said; `refused` is an attempt, if all were refused.
    Phantom { telling: &'h Telling, key: &'h TurnKey, place: usize, refused: Option<&'h Append> },
    /// Two tellings have different turns at one place.
    Fork { tellings: (&'h Telling, &'h Telling), place: usize },
    /// A final transcript is without an acknowledged turn.
    Lost { append: &'h Append, at_ns: MonotonicNs, telling: &'h Telling, kept_by: Option<&'h Telling> },
    /// An acknowledgement named another position.
    Position { append: &'h Append, at_ns: MonotonicNs, telling: &'h Telling, place: usize },
    /// The first was done before the second began, and stands behind it.
    Order { done: Step<'h>, begun: Step<'h> },
}

impl Contradiction<'_> {
    /// What it breaks.
    pub(super) fn claim(&self) -> Claim {
        match self {
            Self::Duplicate { .. } => Claim::Duplicate,
            Self::Phantom { .. } => Claim::Phantom,
            Self::Fork { .. } => Claim::Agreement,
            Self::Lost { .. } => Claim::Lost,
            Self::Position { .. } => Claim::Position,
            Self::Order { .. } => Claim::Order,
        }
    }

    /// When it could be noticed.
    pub(super) fn at_ns(&self) -> MonotonicNs {
        match self {
            Self::Duplicate { telling, .. }
            | Self::Phantom { telling, .. }
            | Self::Lost { telling, .. }
            | Self::Position { telling, .. } => telling.completed_ns,
            Self::Fork { tellings: (one, other), .. } => one.completed_ns.max(other.completed_ns),
            Self::Order { begun, .. } => begun.done_ns().unwrap_or(begun.began_ns()),
        }
    }

    /// Tells it, with times counted from a zero.
    pub(super) fn story(&self, zero_ns: MonotonicNs) -> Story {
        let (conversation, facts, follows) = match *self {
            Self::Duplicate { telling, key, places } => duplicate(telling, key, places),
            Self::Phantom { telling, key, place, refused } => phantom(telling, key, place, refused),
            Self::Fork { tellings: (one, other), place } => fork(one, other, place),
            Self::Lost { append, at_ns, telling, kept_by } => lost(append, at_ns, telling, kept_by),
            Self::Position { append, at_ns, telling, place } => position(append, at_ns, telling, place),
            Self::Order { done, begun } => order(done, begun),
        };
        Story {
            claim: self.claim(),
            conversation: conversation.to_string(),
            facts: facts_from(zero_ns, facts),
            follows: follows.to_owned(),
        }
    }
}

/// A fact before its time is put into words: what comes before it, when, and what comes after.
struct Raw {
    line: usize,
    at_ns: MonotonicNs,
    before: String,
    after: String,
}

type Parts = (ConversationId, Vec<Raw>, &'static str);

fn duplicate(telling: &Telling, key: &TurnKey, (first, second): (usize, usize)) -> Parts {
    let fact = told(telling, format!("has key {key} twice, as turn {first} and as turn {second}"));
    (telling.conversation, vec![fact], "one turn was appended twice")
}

fn phantom(telling: &Telling, key: &TurnKey, place: usize, refused: Option<&Append>) -> Parts {
    let fact = told(telling, format!("has key {key} as turn {place}"));
    match refused {
        None => (telling.conversation, vec![fact], "a turn is told that nobody tried to say"),
        Some(attempt) => {
            let last = Raw {
                line: attempt.line,
                at_ns: attempt.invoked_ns,
                before: format!("key {key} was said by {}", attempt.who),
                after: format!(
                    " and refused{}, as was every attempt at it",
                    served_by(&attempt.by.served_by)
                ),
            };
            (telling.conversation, vec![last, fact], "a turn took effect that was refused")
        }
    }
}

fn fork(one: &Telling, other: &Telling, place: usize) -> Parts {
    let has = |telling: &Telling| match telling.keys.get(place) {
        Some(key) => told(telling, format!("has key {key} as turn {place}")),
        None => told(telling, format!("has no turn {place}")),
    };
    (one.conversation, vec![has(one), has(other)], "these two do not tell the same conversation")
}

fn lost(append: &Append, at_ns: MonotonicNs, telling: &Telling, kept_by: Option<&Telling>) -> Parts {
    let without = told(telling, format!("does not have it; it tells {}", turns(telling)));
    let mut facts = vec![acknowledged(append, at_ns, None), without];
    facts.extend(kept_by.map(|kept_by| told(kept_by, "has it".to_owned())));
    (append.conversation, facts, "an acknowledged turn is lost")
}

fn position(append: &Append, at_ns: MonotonicNs, telling: &Telling, place: usize) -> Parts {
    let facts = vec![acknowledged(append, at_ns, None), told(telling, format!("has it as turn {place}"))];
    (append.conversation, facts, "the turn does not stand where its acknowledgement said")
}

fn order(done: Step, begun: Step) -> Parts {
    match (done, begun) {
        (Step::Turn { place, acknowledged: of_done, begun: first, .. }, begun) => {
            let (at_ns, append) = of_done.unwrap_or((first.invoked_ns, first));
            let done = acknowledged(append, at_ns, Some(place));
            match begun {
                Step::Turn { place, begun, .. } => {
                    let later = said(begun, format!(", and stands before it as turn {place}"));
                    let follows = "a turn overtook one that was acknowledged before it was said";
                    (append.conversation, vec![done, later], follows)
                }
                Step::Telling(telling) => {
                    let later = asked(telling, format!("told {} and not this one", turns(telling)));
                    let follows = "an acknowledged turn was hidden from somebody who asked for it later";
                    (append.conversation, vec![done, later], follows)
                }
            }
        }
        (Step::Telling(telling), Step::Turn { place, begun, .. }) => {
            let early = told(telling, format!("has key {} as turn {place}", begun.key));
            let facts = vec![early, said(begun, String::new())];
            (telling.conversation, facts, "a turn was told before anybody said it")
        }
        (Step::Telling(earlier), Step::Telling(later)) => {
            let facts = vec![
                told(earlier, format!("tells {}", turns(earlier))),
                asked(later, format!("told {} only", turns(later))),
            ];
            (
                earlier.conversation,
                facts,
                "turns that were told once were hidden from somebody who asked later",
            )
        }
    }
}

fn turns(telling: &Telling) -> String {
    match telling.keys.len() {
        1 => "1 turn".to_owned(),
        count => format!("{count} turns"),
    }
}

fn served_by(web: &Option<String>) -> String {
    web.as_ref().map(|web| format!(" by {web}")).unwrap_or_default()
}

/// An acknowledgement; the turn is called by the position that it names, or by its place.
fn acknowledged(append: &Append, at_ns: MonotonicNs, place: Option<usize>) -> Raw {
    let position = append.acknowledged().and_then(|(_, position)| position);
    let name = match position.or(place.map(|place| place as u64)) {
        Some(position) => format!("turn {position} (key {})", append.key),
        None => format!("the turn with key {}", append.key),
    };
    let mut circumstances = vec![format!("said by {}", append.who), format!("attempt {}", append.attempt)];
    circumstances.extend(append.by.epoch.map(|epoch| format!("epoch {epoch}")));
    circumstances.extend(append.by.durability.as_ref().map(|durability| format!("durability {durability}")));
    Raw {
        line: append.line,
        at_ns,
        before: format!("{name} was acknowledged{}", served_by(&append.by.served_by)),
        after: format!(" ({})", circumstances.join(", ")),
    }
}

/// The beginning of the first attempt at a turn.
fn said(append: &Append, and: String) -> Raw {
    let before =
        format!("the first attempt at key {} that was not refused, by {}, began", append.key, append.who);
    Raw { line: append.line, at_ns: append.invoked_ns, before, after: and }
}

fn teller(telling: &Telling) -> String {
    match &telling.teller {
        Teller::Final { web } => format!("the final transcript of {web}"),
        Teller::Read { who, by } => format!("the answer{} to {who}", served_by(&by.served_by)),
    }
}

/// What somebody was told, by the time when they knew.
fn told(telling: &Telling, what: String) -> Raw {
    let before = match telling.final_of() {
        Some(_) => format!("{}, read", teller(telling)),
        None => format!("{}, given", teller(telling)),
    };
    Raw { line: telling.line, at_ns: telling.completed_ns, before, after: format!(", {what}") }
}

/// What somebody was told, by the time when they asked.
fn asked(telling: &Telling, what: String) -> Raw {
    let before = format!("{}, asked for", teller(telling));
    Raw { line: telling.line, at_ns: telling.invoked_ns, before, after: format!(", {what}") }
}

/// Puts the times in, with as many digits as it takes to tell them apart.
fn facts_from(zero_ns: MonotonicNs, facts: Vec<Raw>) -> Vec<Fact> {
    let since = |at_ns: MonotonicNs| at_ns.saturating_sub(zero_ns);
    let shown = |digits: usize, at_ns| {
        let cut = 10u64.pow(9 - digits as u32);
        let (whole, rest) = (since(at_ns) / 1_000_000_000, since(at_ns) % 1_000_000_000 / cut);
        format!("{whole}.{rest:0digits$} s")
    };
    let apart = |digits: &usize| {
        facts.iter().enumerate().all(|(index, one)| {
            facts[..index].iter().all(|other| {
                one.at_ns == other.at_ns || shown(*digits, one.at_ns) != shown(*digits, other.at_ns)
            })
        })
    };
    let digits = DIGITS.into_iter().find(apart).unwrap_or(9);
    let fact = |raw: &Raw| Fact {
        line: raw.line as u64,
        at_ns: since(raw.at_ns),
        text: format!("{} at {}{}", raw.before, shown(digits, raw.at_ns), raw.after),
    };
    facts.iter().map(fact).collect()
}
