//! Requests of clients that wait for an answer, each until its deadline. It does not know what they wait for means.

use std::collections::{BTreeMap, VecDeque};

use super::contract::{Ownership, Reply, RequestId, Time};
use crate::conversation::{Command, ConversationId};

/// Requests that may wait at once: more than a web works on. The turns of those that nobody waits for any more count too, until
/// the other web has them.
pub(super) const REQUESTS_MAX: usize = 1_024;

/// What a client wants.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Command(Command),
    Read(ConversationId),
}

/// How far a request is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Nothing was done.
    Waiting,
    /// The owner was asked.
    Forwarded,
    /// It is applied here, and answered once the other has applied it.
    Applied(Told),
    /// It is answered once this question of ours is.
    Probing { probe: u64, told: Told },
}

/// An answer that is not given yet.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) reply: Reply,
    pub(super) ownership: Option<Ownership>,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) wish: Wish,
    pub(super) stage: Stage,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<RequestId, Request>,
    /// In order; some are answered already.
    deadlines: VecDeque<(Time, RequestId)>,
}

impl Requests {
    pub(super) fn add(&mut self, id: RequestId, request: Request, deadline: Time) {
        self.waiting.insert(id, request);
        self.deadlines.push_back((deadline, id));
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= REQUESTS_MAX
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request> {
        self.waiting.remove(&id)
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.waiting.get_mut(&id)
    }

    /// Those in whose stage something is, in order of arrival.
    pub(super) fn which(&self, are: impl Fn(&Stage) -> bool) -> Vec<RequestId> {
        self.waiting.iter().filter(|(_, request)| are(&request.stage)).map(|(id, _)| *id).collect()
    }

    pub(super) fn is_any(&self, are: impl Fn(&Stage) -> bool) -> bool {
        self.waiting.values().any(|request| are(&request.stage))
    }

    /// The next deadline of one that waits.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// Takes out the next one whose time is over.
    pub(super) fn expired(&mut self, now: Time) -> Option<(RequestId, Request)> {
        while self.deadline().is_some_and(|at| at <= now) {
            let (_, id) = self.deadlines.pop_front()?;
            if let Some(request) = self.waiting.remove(&id) {
                return Some((id, request));
            }
        }
        None
    }

    /// Forgets deadlines of requests that are answered, as far as they stand in front.
    pub(super) fn tidy(&mut self) {
        while self.deadlines.front().is_some_and(|(_, id)| !self.waiting.contains_key(id)) {
            self.deadlines.pop_front();
        }
    }
}
