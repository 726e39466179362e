//! Requests of clients: carried out alone, or by both webs of a pair. It does not know how a web became what it is.

use super::contract::{Action, Answer, Durability, Member, Refusal, Reply, RequestId, Side};
use super::machine::{Footing, Half, Peer, Phase, Unacked};
use super::memory::Decision;
use super::message::{Entry, Message};
use super::requests::{REQUESTS_MAX, Request, Stage, Told, Wish};
use crate::conversation::{Command, ConversationId, Outcome};

impl Peer {
    /// A client wants something changed.
    pub(super) fn command(&mut self, request: RequestId, command: Command) {
        self.receive(request, Wish::Command(command));
    }

    /// A client wants to know a conversation.
    pub(super) fn read(&mut self, request: RequestId, id: ConversationId) {
        self.receive(request, Wish::Read(id));
    }

    fn receive(&mut self, request: RequestId, wish: Wish) {
        let footing = self.footing();
        match footing {
            Footing::None => return self.refuse(request, Refusal::NotServing(self.state())),
            Footing::Paired | Footing::Waiting if self.is_full() => {
                return self.refuse(request, Refusal::Busy);
            }
            Footing::Alone | Footing::Paired | Footing::Waiting => {}
        }
        let deadline = self.now + self.config.request_max;
        self.requests.add(request, Request { wish, stage: Stage::Waiting }, deadline);
        match footing {
            Footing::Alone => self.serve_alone(request),
            Footing::Paired => self.serve_as_pair(request),
            Footing::Waiting | Footing::None => {}
        }
    }

    fn is_full(&self) -> bool {
        let unacked = match &self.phase {
            Phase::Half(half) => half.unacked.len(),
            Phase::Blank(_) | Phase::Sole(_) => 0,
        };
        self.requests.is_full() || unacked >= REQUESTS_MAX
    }

    /// Whatever waits, if it can be served or refused now.
    pub(super) fn serve_waiting(&mut self) {
        match self.footing() {
            Footing::Alone => {
                for request in self.requests.which(|_| true) {
                    self.serve_alone(request);
                }
            }
            Footing::Paired => self.probe(),
            Footing::Waiting => {}
            Footing::None => {
                let refusal = Refusal::NotServing(self.standing_state().0);
                for request in self.requests.which(|stage| matches!(stage, Stage::Waiting)) {
                    self.requests.remove(request);
                    self.refuse(request, refusal);
                }
            }
        }
        while let Some((id, request)) = self.requests.expired(self.now) {
            self.refuse(id, unanswered(&request, Refusal::TimedOut));
        }
        self.requests.tidy();
    }

    /// Nobody will answer these any more.
    pub(super) fn abandon_requests(&mut self) {
        for id in self.requests.which(|_| true) {
            if let Some(request) = self.requests.remove(id) {
                let refusal = unanswered(&request, Refusal::NotServing(self.state()));
                self.refuse(id, refusal);
            }
        }
    }

    /// As the only one who has everything. What was begun as a pair is complete with that.
    fn serve_alone(&mut self, id: RequestId) {
        let Some(Request { wish, stage }) = self.requests.remove(id) else { return };
        let told = match (stage, wish) {
            (Stage::Applied(told), _) => {
                self.count_turn();
                told
            }
            (Stage::Probing { told, .. }, _) => told,
            (Stage::Waiting | Stage::Forwarded, Wish::Read(id)) => self.transcript(id),
            (Stage::Waiting | Stage::Forwarded, Wish::Command(command)) => self.change_alone(command),
        };
        self.answer(id, told, Durability::Solo);
    }

    fn change_alone(&mut self, command: Command) -> Told {
        let (id, me) = (id_of(&command), self.config.me.side);
        let outcome = match self.memory.decide(me, me, command) {
            Decision::Settled(outcome) => outcome,
            Decision::Changed(outcome, entry) => {
                self.count_turn();
                self.pass_on(entry);
                outcome
            }
        };
        self.told(outcome, id)
    }

    /// Something counts that nobody else has.
    fn count_turn(&mut self) {
        if let Phase::Sole(sole) = &mut self.phase {
            sole.turns += 1;
        }
    }

    /// Together with the other.
    fn serve_as_pair(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let wish = request.wish.clone();
        let stage = match wish {
            #[cfg(test)]
            Wish::Read(conversation) if self.has(super::tests::Flaw::ReadsLocally) => {
                self.requests.remove(id);
                return self.answer(id, self.transcript(conversation), Durability::Pair);
            }
            Wish::Read(conversation) => self.after_probe(self.transcript(conversation)),
            Wish::Command(command) => match self.owner(&command) {
                _ if command.is_too_long() => {
                    self.after_probe(self.told(Outcome::TurnTooLong, id_of(&command)))
                }
                Some(owner) if owner != self.config.me.side => {
                    self.say(Message::Forward { request: id, command });
                    Stage::Forwarded
                }
                Some(_) | None => self.change_as_owner(id, command),
            },
        };
        if let Some(request) = self.requests.get_mut(id) {
            request.stage = stage;
        }
        self.probe();
    }

    /// Who decides on a command; nobody if there is nothing to decide. What begins a conversation is decided by the first web, lest
    /// both begin the same one.
    fn owner(&self, command: &Command) -> Option<Side> {
        let id = id_of(command);
        match (command, self.memory.ownership(&id)) {
            (Command::Create { .. }, None) => Some(Side::First),
            (Command::Create { .. }, Some(_)) => None,
            (Command::AppendTurn { .. }, ownership) => ownership.map(|ownership| ownership.owner),
        }
    }

    fn change_as_owner(&mut self, request: RequestId, command: Command) -> Stage {
        let (id, me) = (id_of(&command), self.config.me.side);
        match self.memory.decide(me, me, command) {
            Decision::Settled(outcome) => self.after_probe(self.told(outcome, id)),
            Decision::Changed(outcome, entry) => {
                self.replicate(entry, Some(request), None);
                #[cfg(test)]
                if self.has(super::tests::Flaw::AcknowledgesEarly) && self.requests.remove(request).is_some()
                {
                    self.answer(request, self.told(outcome.clone(), id), Durability::Pair);
                }
                Stage::Applied(self.told(outcome, id))
            }
        }
    }

    /// Says a change, which is applied here, to the other.
    fn replicate(&mut self, entry: Entry, own: Option<RequestId>, theirs: Option<RequestId>) {
        let Phase::Half(half) = &mut self.phase else { return };
        half.sent += 1;
        let number = half.sent;
        half.unacked.push_back(Unacked { number, entry: entry.clone(), own, theirs });
        self.say(Message::Replicate { number, request: theirs, entry });
    }

    /// An answer that the other must confirm: that it was one of the pair after the request had come, and has applied what is told.
    /// A question that is on its way already may have been answered before that.
    fn after_probe(&self, told: Told) -> Stage {
        Stage::Probing { probe: self.probes.asked + 1, told }
    }

    /// Asks the other, if somebody waits for that and no question is on its way.
    fn probe(&mut self) {
        if !self.probes.in_flight && self.requests.is_any(|stage| matches!(stage, Stage::Probing { .. })) {
            self.probes.asked += 1;
            self.probes.in_flight = true;
            self.say(Message::Probe { number: self.probes.asked });
        }
    }

    /// What a partner says.
    pub(super) fn take_from_partner(&mut self, other: Member, message: Message) -> bool {
        match message {
            Message::Replicate { number, request, entry } => self.take_change(other, number, request, entry),
            Message::Applied { through } => self.applied(through),
            Message::Forward { request, command } => self.decide_for(other.side, request, command),
            Message::Settled { request, outcome, ownership } => {
                let told = Told { reply: Reply::Outcome(outcome), ownership };
                self.answer_forwarded(request, told);
                true
            }
            Message::Declined { request } => {
                if self.take_forwarded(request) {
                    self.refuse(request, Refusal::Unknown);
                }
                true
            }
            Message::Probe { number } => {
                self.say(Message::Probed { number });
                true
            }
            Message::Probed { number } => self.probed(number),
            Message::Hello { .. }
            | Message::Alive
            | Message::Snapshot
            | Message::Piece { .. }
            | Message::PieceTaken { .. }
            | Message::Tail { .. }
            | Message::PairUp { .. }
            | Message::Joined { .. } => false,
        }
    }

    /// A change that the other has decided on. Both have it with that, so whoever asked for it here can be told.
    fn take_change(&mut self, other: Member, number: u64, request: Option<RequestId>, entry: Entry) -> bool {
        let Phase::Half(half) = &mut self.phase else { return false };
        if number != half.applied + 1 {
            return false;
        }
        let (Entry::Create { id, .. } | Entry::Append { id, .. }) = entry;
        let Ok(outcome) = self.memory.adopt(other.side, entry) else { return false };
        half.applied = number;
        self.say(Message::Applied { through: number });
        if let Some(request) = request {
            self.answer_forwarded(request, self.told(outcome, id));
        }
        true
    }

    /// The other has applied changes.
    fn applied(&mut self, through: u64) -> bool {
        let Phase::Half(half) = &mut self.phase else { return false };
        if through > half.sent {
            return false;
        }
        for request in half.release(through) {
            if let Some(Request { stage: Stage::Applied(told), .. }) = self.requests.remove(request) {
                self.answer(request, told, Durability::Pair);
            }
        }
        true
    }

    /// A command of the other's client.
    fn decide_for(&mut self, other: Side, request: RequestId, command: Command) -> bool {
        let (id, me) = (id_of(&command), self.config.me.side);
        let mine = self.owner(&command).is_none_or(|owner| owner == me);
        if !mine || self.is_full() {
            self.say(Message::Declined { request });
            return true;
        }
        match self.memory.decide(me, other, command) {
            // The turn, if it is one, was said to the other before this, so it has it.
            Decision::Settled(outcome) => {
                self.say(Message::Settled { request, outcome, ownership: self.memory.ownership(&id) });
            }
            Decision::Changed(_, entry) => self.replicate(entry, None, Some(request)),
        }
        true
    }

    fn probed(&mut self, number: u64) -> bool {
        if !self.probes.in_flight || number != self.probes.asked {
            return false;
        }
        self.probes.in_flight = false;
        let answered = |stage: &Stage| matches!(stage, Stage::Probing { probe, .. } if *probe <= number);
        for request in self.requests.which(answered) {
            if let Some(Request { stage: Stage::Probing { told, .. }, .. }) = self.requests.remove(request) {
                self.answer(request, told, Durability::Pair);
            }
        }
        true
    }

    fn take_forwarded(&mut self, request: RequestId) -> bool {
        let forwarded = self.requests.get_mut(request).is_some_and(|it| matches!(it.stage, Stage::Forwarded));
        forwarded && self.requests.remove(request).is_some()
    }

    fn answer_forwarded(&mut self, request: RequestId, told: Told) {
        if self.take_forwarded(request) {
            self.answer(request, told, Durability::Pair);
        }
    }

    /// The pair goes on after an interruption: the other has applied this many changes, and gets the rest again.
    pub(super) fn resume(&mut self, applied: u64) {
        self.applied(applied);
        let Phase::Half(half) = &self.phase else { return };
        let again = |unacked: &Unacked| Message::Replicate {
            number: unacked.number,
            request: unacked.theirs,
            entry: unacked.entry.clone(),
        };
        let messages: Vec<_> = half.unacked.iter().map(again).collect();
        messages.into_iter().for_each(|message| self.say(message));
        for request in self.requests.which(|stage| matches!(stage, Stage::Waiting | Stage::Forwarded)) {
            self.serve_as_pair(request);
        }
        self.probe_again();
    }

    /// A new pair: what was applied before it, both have.
    pub(super) fn go_on_as_pair(&mut self) {
        let asked = self.probes.asked;
        for id in self.requests.which(|stage| matches!(stage, Stage::Applied(_))) {
            if let Some(request) = self.requests.get_mut(id)
                && let Stage::Applied(told) = &request.stage
            {
                request.stage = Stage::Probing { probe: asked + 1, told: told.clone() };
            }
        }
        for request in self.requests.which(|stage| matches!(stage, Stage::Waiting | Stage::Forwarded)) {
            self.serve_as_pair(request);
        }
        self.probe_again();
    }

    /// Whatever was asked before was asked on another connection.
    fn probe_again(&mut self) {
        let next = self.probes.asked + 1;
        for id in self.requests.which(|stage| matches!(stage, Stage::Probing { .. })) {
            if let Some(Request { stage: Stage::Probing { probe, .. }, .. }) = self.requests.get_mut(id) {
                *probe = next;
            }
        }
        self.probes.in_flight = false;
        self.probe();
    }

    fn transcript(&self, id: ConversationId) -> Told {
        let transcript = self.memory.get(&id).cloned();
        Told { reply: Reply::Transcript(transcript), ownership: self.memory.ownership(&id) }
    }

    fn told(&self, outcome: Outcome, id: ConversationId) -> Told {
        Told { reply: Reply::Outcome(outcome), ownership: self.memory.ownership(&id) }
    }

    fn answer(&mut self, request: RequestId, told: Told, durability: Durability) {
        let Told { reply, ownership } = told;
        let answer = Ok(Answer { reply, durability, ownership });
        self.actions.push(Action::Answer { request, answer });
    }

    fn refuse(&mut self, request: RequestId, refusal: Refusal) {
        self.actions.push(Action::Answer { request, answer: Err(refusal) });
    }
}

impl Half {
    /// Can the other have applied this many changes?
    pub(super) fn knows(&self, applied: u64) -> bool {
        let first = self.unacked.front().map_or(self.sent + 1, |unacked| unacked.number);
        (first - 1..=self.sent).contains(&applied)
    }

    /// The other has changes up to this one; these clients waited for them.
    fn release(&mut self, through: u64) -> Vec<RequestId> {
        let has = self.unacked.iter().take_while(|unacked| unacked.number <= through).count();
        self.unacked.drain(..has).filter_map(|unacked| unacked.own).collect()
    }
}

/// What its client is told of a request that nobody answers: was something done?
fn unanswered(request: &Request, otherwise: Refusal) -> Refusal {
    match (&request.stage, &request.wish) {
        (Stage::Waiting, _) | (_, Wish::Read(_)) => otherwise,
        (Stage::Forwarded | Stage::Applied(_) | Stage::Probing { .. }, Wish::Command(_)) => Refusal::Unknown,
    }
}

fn id_of(command: &Command) -> ConversationId {
    match command {
        Command::Create { id } | Command::AppendTurn { id, .. } => *id,
    }
}
