//! Clients of the simulated site: they begin conversations, say something, say it again with the same key if no answer came, read,
//! and write down what they were told.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::*;
use super::world::{Happening, Site, index};
use crate::conversation::history::{Append, Ended, MonotonicNs, Server, Teller, Telling};
use crate::conversation::{Command, ConversationId, Outcome, TurnKey};

/// How long a client waits for an answer.
pub(super) const CLIENT_PATIENCE: Duration = Duration::from_millis(1_900);
pub(super) const CLIENTS: usize = 3;
/// How often a client tries to say one thing.
const ATTEMPTS_MAX: u32 = 6;
const CONVERSATIONS: u64 = 2;

#[derive(Default)]
pub(super) struct Client {
    /// The request that it waits for.
    waits_for: Option<u64>,
    requests: u64,
    turns: u32,
    /// What it has to say again.
    again: Option<Doing>,
}

/// What a client does.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    Says { id: ConversationId, key: TurnKey, attempt: u32 },
    Reads { id: ConversationId },
    Creates { id: ConversationId },
}

/// A request of a client, or of whoever reads everything in the end.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) client: Option<usize>,
    pub(super) number: u64,
    pub(super) at: Duration,
    pub(super) what: Doing,
}

fn ns(at: Duration) -> MonotonicNs {
    at.as_nanos() as MonotonicNs
}

fn name(web: Side) -> String {
    format!("web{}", index(web) + 1)
}

impl Site {
    /// A client does the next thing.
    pub(super) fn act(&mut self, client: usize) {
        if self.quiet {
            return;
        }
        let what = match self.clients[client].again.take() {
            Some(again) => again,
            None => self.something_new(client),
        };
        let it = &mut self.clients[client];
        it.requests += 1;
        it.waits_for = Some(it.requests);
        let asked = Asked { client: Some(client), number: it.requests, at: self.now, what };
        // Mostly the same web, as with sticky sessions; but any.
        let web = match self.random() % 10 {
            0..=5 if client.is_multiple_of(2) => Side::First,
            0..=5 => Side::Second,
            6 | 7 => Side::First,
            _ => Side::Second,
        };
        self.push(CLIENT_PATIENCE, Happening::GivesUp { asked: asked.clone(), of: web });
        self.request(web, asked);
    }

    fn something_new(&mut self, client: usize) -> Doing {
        let id = ConversationId::from([1 + (self.random() % CONVERSATIONS) as u8; 16]);
        if !self.created.contains(&id) {
            return Doing::Creates { id };
        }
        if self.one_in(3) {
            return Doing::Reads { id };
        }
        let it = &mut self.clients[client];
        it.turns += 1;
        Doing::Says { id, key: format!("{client}-{}", it.turns).parse().unwrap(), attempt: 1 }
    }

    pub(super) fn request(&mut self, web: Side, asked: Asked) {
        let after = self.between(40, 500);
        let it = &mut self.webs[index(web)];
        if it.peer.is_none() {
            // Nobody listens.
            let answer = Err(Refusal::NotServing(State::Joining));
            return self.push(after, Happening::Answered { asked, answer, by: web });
        }
        it.next_request += 1;
        let request = RequestId(it.next_request);
        let life = it.life;
        let event = match &asked.what {
            Doing::Reads { id } => Event::Read { request, id: *id },
            Doing::Creates { id } => Event::Command { request, command: Command::Create { id: *id } },
            Doing::Says { id, key, .. } => {
                let body = format!("turn {key}");
                Event::Command { request, command: Command::AppendTurn { id: *id, key: key.clone(), body } }
            }
        };
        it.asked.insert(request, asked);
        self.push(after, Happening::Web { web, life, event });
    }

    /// An answer arrives, or patience ends.
    pub(super) fn answered(&mut self, asked: Asked, answer: Option<Result<Answer, Refusal>>, by: Side) {
        let Some(client) = asked.client else {
            let (web, id) = self.finals[asked.number as usize - 1];
            let teller = Teller::Final { web: name(web) };
            return self.tell_of(teller, id, asked.at, answer);
        };
        if self.clients[client].waits_for != Some(asked.number) {
            return;
        }
        self.clients[client].waits_for = None;
        match asked.what {
            Doing::Creates { id } => {
                if let Some(Ok(Answer { reply: Reply::Outcome(Outcome::Created), .. })) = answer {
                    self.created.insert(id);
                }
            }
            Doing::Reads { id } => {
                let by = server(by, answer.as_ref());
                self.tell_of(Teller::Read { who: format!("client {client}"), by }, id, asked.at, answer);
            }
            Doing::Says { id, key, attempt } => {
                let ended = self.ended(answer.as_ref());
                self.history.appends.push(Append {
                    line: self.lines(),
                    who: format!("client {client}"),
                    conversation: id,
                    key: key.clone(),
                    said: None,
                    attempt: NonZeroU32::new(attempt).unwrap(),
                    invoked_ns: ns(asked.at),
                    ended,
                    by: server(by, answer.as_ref()),
                });
                if !matches!(ended, Ended::Acknowledged { .. }) && attempt < ATTEMPTS_MAX {
                    self.clients[client].again = Some(Doing::Says { id, key, attempt: attempt + 1 });
                }
            }
        }
        let after = self.between(5_000, 200_000);
        self.push(after, Happening::Acts { client });
    }

    fn ended(&mut self, answer: Option<&Result<Answer, Refusal>>) -> Ended {
        match answer {
            None => Ended::Unknown,
            Some(Err(refusal)) if refusal.may_be_done() => Ended::Unknown,
            Some(Err(_)) => Ended::Refused,
            Some(Ok(Answer { reply: Reply::Outcome(outcome), .. })) => match outcome {
                Outcome::Appended { position, .. } | Outcome::Replayed { position, .. } => {
                    Ended::Acknowledged { at_ns: ns(self.now), position: Some(*position) }
                }
                // The conversation was acknowledged, so it is gone.
                Outcome::NoSuchConversation => Ended::Refused,
                other => {
                    self.must(false, || format!("a turn was answered with {other:?}"));
                    Ended::Unknown
                }
            },
            Some(Ok(_)) => {
                self.must(false, || "a turn was answered with a transcript".to_owned());
                Ended::Unknown
            }
        }
    }

    /// A conversation that is gone is told as one without turns.
    fn tell_of(
        &mut self,
        teller: Teller,
        conversation: ConversationId,
        asked_at: Duration,
        answer: Option<Result<Answer, Refusal>>,
    ) {
        let Some(Ok(Answer { reply: Reply::Transcript(transcript), .. })) = answer else {
            self.history.unanswered_reads += 1;
            return;
        };
        let turns = transcript.iter().flat_map(|transcript| transcript.turns());
        let telling = Telling {
            line: self.lines(),
            conversation,
            teller,
            invoked_ns: ns(asked_at),
            completed_ns: ns(self.now),
            keys: turns.map(|turn| turn.key.clone()).collect(),
        };
        self.history.tellings.push(telling);
    }

    fn lines(&self) -> usize {
        self.history.appends.len() + self.history.tellings.len() + 1
    }
}

fn server(by: Side, answer: Option<&Result<Answer, Refusal>>) -> Server {
    let answer = answer.and_then(|answer| answer.as_ref().ok());
    Server {
        served_by: Some(name(by)),
        epoch: answer.and_then(|answer| answer.ownership).map(|ownership| ownership.epoch),
        durability: answer.map(|answer| answer.durability.to_string()),
    }
}
