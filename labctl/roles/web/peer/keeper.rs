//! The one owner of a web's peer memory: it hands everything that happens to the state machine, with the time, and does what
//! that says. It knows neither sockets nor what the messages mean.
#![expect(clippy::disallowed_methods, reason = "owns the clock of the state machine")]

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::line::Wire;
use crate::conversation::peer::{
    Action, Answer, Ask, Config, ConnectionId, DropCause, Event, Frame, Notice, Peer, Refusal, RequestId,
    State, Time, WitnessReply,
};
use crate::conversation::{Command, ConversationId};
use crate::report::What;
use crate::roles::Reporter;

/// A tick this late means that the process did not run; what came meanwhile is still on its way through the kernel.
const LATE: Duration = Duration::from_millis(50);
/// How long a wait is where the state machine waits for nothing.
const IDLE: Duration = Duration::from_secs(1);

/// A question of the application, and where the answer goes.
#[derive(Debug)]
pub(super) enum Question {
    /// Change something.
    Apply(Command, oneshot::Sender<Result<Answer, Refusal>>),
    /// Tell a conversation.
    Read(ConversationId, oneshot::Sender<Result<Answer, Refusal>>),
}

/// What comes from other machines.
#[derive(Debug)]
pub(super) enum Heard {
    /// There is a connection to the other web.
    Connected(Wire),
    /// The other web says something.
    Said(ConnectionId, Frame),
    /// A connection is gone.
    Lost(ConnectionId),
    /// The witness answers.
    Verdict(WitnessReply),
}

/// The owner.
pub(super) struct Keeper {
    machine: Peer,
    /// The machine's time is counted from here.
    start: Instant,
    wire: Option<Wire>,
    voter: mpsc::Sender<Ask>,
    waiting: HashMap<RequestId, oneshot::Sender<Result<Answer, Refusal>>>,
    requests: u64,
    says: watch::Sender<State>,
    reporter: Reporter,
}

impl Keeper {
    pub(super) fn new(
        config: Config,
        voter: mpsc::Sender<Ask>,
        says: watch::Sender<State>,
        reporter: Reporter,
    ) -> Self {
        Self {
            machine: Peer::new(config, Time::ZERO),
            start: Instant::now(),
            wire: None,
            voter,
            waiting: HashMap::new(),
            requests: 0,
            says,
            reporter,
        }
    }

    /// Keeps the memory, until nobody asks any more or the future is dropped.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Question>, mut heard: mpsc::Receiver<Heard>) {
        let first = *self.says.borrow();
        self.report(first, "the web has just started and remembers nothing");
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                Some(heard) = heard.recv() => self.hear(heard),
                question = asked.recv() => match question {
                    Some(question) => self.take(question),
                    None => return,
                },
                () = sleep_until(deadline.into()) => {}
            }
            let now = Instant::now();
            if now < deadline {
                continue;
            }
            // What waits is handed over first: who runs late must not take for silence what is in its own queue.
            if now - deadline > LATE {
                yield_now().await;
            }
            for _ in 0..heard.len() {
                let Ok(heard) = heard.try_recv() else { break };
                self.hear(heard);
            }
            self.handle(Event::Tick);
        }
    }

    fn deadline(&self) -> Instant {
        match self.machine.next_deadline() {
            Some(deadline) => self.start + deadline,
            None => Instant::now() + IDLE,
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Connected(wire) => {
                let connection = wire.connection();
                // The one before ends with this.
                self.wire = Some(wire);
                self.handle(Event::PeerConnected { connection });
            }
            Heard::Said(connection, frame) => self.handle(Event::PeerMessage { connection, frame }),
            Heard::Lost(connection) => self.lose(connection),
            Heard::Verdict(reply) => self.handle(Event::WitnessReply(reply)),
        }
    }

    fn take(&mut self, question: Question) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let (event, answer) = match question {
            Question::Apply(command, answer) => (Event::Command { request, command }, answer),
            Question::Read(id, answer) => (Event::Read { request, id }, answer),
        };
        self.waiting.insert(request, answer);
        self.handle(event);
    }

    fn lose(&mut self, connection: ConnectionId) {
        self.wire.take_if(|wire| wire.connection() == connection);
        self.handle(Event::PeerLost { connection });
    }

    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let actions = self.machine.handle(self.start.elapsed(), event);
            for action in actions {
                events.extend(self.perform(action));
            }
        }
    }

    /// Does one thing, which may have a consequence.
    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::SendPeer { connection, frame } => {
                let wire = self.wire.as_ref().filter(|wire| wire.connection() == connection)?;
                if wire.send(frame).is_ok() {
                    return None;
                }
                // Frames are counted, so a line that cannot take one is of no use any more.
                tracing::warn!("the other web takes frames too slowly; the connection is given up");
                self.wire = None;
                Some(Event::PeerLost { connection })
            }
            Action::DropPeer { connection, because } => {
                if because != DropCause::Replaced {
                    tracing::info!("drop the connection to the other web: {because}");
                }
                self.wire.take_if(|wire| wire.connection() == connection);
                None
            }
            Action::AskWitness(ask) => {
                // A question that finds no room is asked again.
                let _ = self.voter.try_send(ask);
                None
            }
            Action::Answer { request, answer } => {
                // Who has hung up needs no answer.
                let _ = self.waiting.remove(&request).map(|waiting| waiting.send(answer));
                None
            }
            Action::SetState { to, because, .. } => {
                self.says.send_replace(to);
                self.report(to, &because.to_string());
                None
            }
            Action::Tell(notice) => {
                self.tell(notice);
                None
            }
        }
    }

    fn report(&self, state: State, because: &str) {
        tracing::info!("{state}, because {because}");
        let state = state.to_string().to_lowercase();
        self.reporter.emit(What::MemoryState { state, because: because.to_owned() });
    }

    fn tell(&self, notice: Notice) {
        tracing::warn!("{notice}");
        self.reporter.emit(What::Note { text: notice.to_string() });
    }
}
