//! One conversation: its turns, each the sum of its attempts, and what was told of it; and the first way in which they
//! contradict each other. It knows nothing of other conversations, nor how a contradiction is told.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::order::{self, Step};
use super::story::Contradiction;
use super::tally::Balance;
use crate::conversation::history::{Append, Ended, History, MonotonicNs, Telling};
use crate::conversation::names::{ConversationId, TurnKey};

/// A conversation as the history has it.
pub(super) struct Conversation<'h> {
    pub(super) id: ConversationId,
    /// Everything that somebody tried to say, or that the longest telling has.
    pub(super) turns: HashMap<&'h TurnKey, Turn<'h>>,
    pub(super) tellings: Vec<&'h Telling>,
    /// The telling that all others must be a beginning of; a final one, if there are several.
    longest: Option<&'h Telling>,
}

/// A turn: all attempts with one key. Since a memory appends a key at most once, it takes effect between the beginning of
/// its first attempt that was not refused and its first acknowledgement.
#[derive(Default)]
pub(super) struct Turn<'h> {
    pub(super) attempts: Vec<&'h Append>,
    /// The earliest attempt that may have taken effect.
    pub(super) begun: Option<&'h Append>,
    /// The earliest acknowledgement.
    pub(super) acknowledged: Option<(MonotonicNs, &'h Append)>,
    /// Where it stands in the longest telling; the last of its places, if it has several.
    place: Option<usize>,
}

impl<'h> Turn<'h> {
    fn add(&mut self, attempt: &'h Append) {
        self.attempts.push(attempt);
        if attempt.ended == Ended::Refused {
            return;
        }
        if self.begun.is_none_or(|begun| attempt.invoked_ns < begun.invoked_ns) {
            self.begun = Some(attempt);
        }
        if let Some((at_ns, _)) = attempt.acknowledged()
            && self.acknowledged.is_none_or(|(earliest_ns, _)| at_ns < earliest_ns)
        {
            self.acknowledged = Some((at_ns, attempt));
        }
    }
}

impl<'h> Conversation<'h> {
    /// All conversations of a history, in order of identifier.
    pub(super) fn all_of(history: &'h History) -> Vec<Self> {
        let mut all: BTreeMap<ConversationId, Self> = BTreeMap::new();
        for append in &history.appends {
            let of = all.entry(append.conversation).or_insert_with(|| Self::empty(append.conversation));
            of.turns.entry(&append.key).or_default().add(append);
        }
        for telling in &history.tellings {
            let of = all.entry(telling.conversation).or_insert_with(|| Self::empty(telling.conversation));
            of.tellings.push(telling);
        }
        all.into_values().map(Self::with_places).collect()
    }

    fn empty(id: ConversationId) -> Self {
        Self { id, turns: HashMap::new(), tellings: Vec::new(), longest: None }
    }

    fn with_places(mut self) -> Self {
        let finals_last = |telling: &&Telling| (telling.keys.len(), telling.final_of().is_some());
        self.longest = self.tellings.iter().copied().max_by_key(finals_last);
        for (place, key) in self.longest.iter().flat_map(|longest| &longest.keys).enumerate() {
            self.turns.entry(key).or_default().place = Some(place);
        }
        self
    }

    /// The final transcripts.
    pub(super) fn transcripts(&self) -> impl Iterator<Item = &'h Telling> {
        self.tellings.iter().copied().filter(|telling| telling.final_of().is_some())
    }

    /// Adds this conversation to the balance.
    pub(super) fn count(&self, balance: &mut Balance) {
        balance.conversations += 1;
        for turn in self.turns.values().filter(|turn| !turn.attempts.is_empty()) {
            balance.turns += 1;
            balance.retried_turns += u64::from(turn.attempts.len() > 1);
            match (turn.acknowledged, turn.begun) {
                (Some(_), _) => balance.acknowledged_turns += 1,
                (None, None) => balance.refused_turns += 1,
                (None, Some(_)) => {
                    balance.unknown_turns += 1;
                    balance.unknown_turns_kept += u64::from(turn.place.is_some());
                }
            }
        }
    }

    /// The first way in which this conversation contradicts itself. Of a conversation without a final transcript nothing
    /// is said: turns may be missing in what was read before the end, and nobody knows what came after it.
    pub(super) fn contradiction(&self) -> Option<Contradiction<'h>> {
        self.transcripts().next()?;
        let longest = self.longest?;
        // What can be strange about the longest telling shows without looking its keys up once more.
        let told = || self.turns.values().filter(|turn| turn.place.is_some());
        if told().count() < longest.keys.len() || told().any(|turn| turn.begun.is_none()) {
            return self.strange(longest);
        }
        self.fork(longest).or_else(|| self.lost()).or_else(|| self.elsewhere(longest)).or_else(|| {
            let (done, begun) = order::violation(self.steps())?;
            Some(Contradiction::Order { done, begun })
        })
    }

    /// A turn that is told twice, or that nobody said.
    fn strange(&self, telling: &'h Telling) -> Option<Contradiction<'h>> {
        let mut seen = HashSet::with_capacity(telling.keys.len());
        for (place, key) in telling.keys.iter().enumerate() {
            if !seen.insert(key) {
                let first = telling.keys.iter().position(|earlier| earlier == key)?;
                return Some(Contradiction::Duplicate { telling, key, places: (first, place) });
            }
            let turn = self.turns.get(key);
            if turn.is_none_or(|turn| turn.begun.is_none()) {
                let refused = turn.and_then(|turn| turn.attempts.last().copied());
                return Some(Contradiction::Phantom { telling, key, place, refused });
            }
        }
        None
    }

    /// A telling that is no beginning of the longest. If it also tells what cannot be, that is the better story.
    fn fork(&self, longest: &'h Telling) -> Option<Contradiction<'h>> {
        let other = |telling: &&Telling| longest.keys[..telling.keys.len()] != telling.keys[..];
        let telling = self
            .tellings
            .iter()
            .copied()
            .filter(other)
            .min_by_key(|telling| (telling.final_of().is_none(), telling.completed_ns))?;
        self.strange(telling).or_else(|| {
            let place = telling.keys.iter().zip(&longest.keys).position(|(here, there)| here != there)?;
            Some(Contradiction::Fork { tellings: (telling, longest), place })
        })
    }

    /// A final transcript without a turn that was acknowledged before it was asked for.
    fn lost(&self) -> Option<Contradiction<'h>> {
        let shortest = self.transcripts().min_by_key(|telling| (telling.keys.len(), telling.completed_ns))?;
        let is_missing = |turn: &&Turn| turn.place.is_none_or(|place| place >= shortest.keys.len());
        let missing = self.turns.values().filter(is_missing);
        let (at_ns, append) =
            missing.filter_map(|turn| turn.acknowledged).min_by_key(|(at_ns, of)| (*at_ns, of.line))?;
        let kept_by = self.tellings.iter().copied().find(|telling| telling.keys.contains(&append.key));
        Some(Contradiction::Lost { append, at_ns, telling: shortest, kept_by })
    }

    /// An acknowledgement that named another position than that of the turn.
    fn elsewhere(&self, telling: &'h Telling) -> Option<Contradiction<'h>> {
        let wrong = self.turns.values().flat_map(|turn| {
            turn.attempts.iter().filter_map(|append| {
                let (place, (at_ns, position)) = (turn.place?, append.acknowledged()?);
                (position? != place as u64).then_some((at_ns, *append, place))
            })
        });
        let (at_ns, append, place) = wrong.min_by_key(|(at_ns, append, _)| (*at_ns, append.line))?;
        Some(Contradiction::Position { append, at_ns, telling, place })
    }

    /// What has a place in the order: the turns that are told at all, and the tellings.
    fn steps(&self) -> Vec<Step<'h>> {
        let turns = self.turns.values().filter_map(|turn| {
            Some(Step::Turn { place: turn.place?, begun: turn.begun?, acknowledged: turn.acknowledged })
        });
        turns.chain(self.tellings.iter().map(|telling| Step::Telling(telling))).collect()
    }
}
