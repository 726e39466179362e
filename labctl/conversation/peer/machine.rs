//! One web of peer memory: an event and the time in, actions out.

use super::contract::{Action, Config, Event, Refusal, State, Time};

/// One web. The driver calls [`Peer::handle`] for everything that happens and once [`Peer::next_deadline`] has come.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    state: State,
    now: Time,
}

impl Peer {
    /// A web that has just started, with nothing in its memory.
    pub fn new(config: Config, now: Time) -> Self {
        Self { config, state: State::Joining, now }
    }

    /// What it is, as of the last event.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes one event, at this time, and says what to do about it.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Command { request, .. } | Event::Read { request, .. } => {
                vec![Action::Answer { request, answer: Err(Refusal::NotServing(self.state)) }]
            }
            Event::PeerConnected { .. }
            | Event::PeerMessage { .. }
            | Event::PeerLost { .. }
            | Event::WitnessReply(_)
            | Event::Tick => vec![],
        }
    }

    /// When it wants [`Event::Tick`], at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        Some(self.now + self.config.alive_every)
    }
}
