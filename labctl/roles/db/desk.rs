//! The leader's desk: commands and reads queue here, and all that wait together cost one log entry or one round of
//! heartbeats. Queues are bounded, and nothing waits for an answer that will not come.

use std::time::Duration;

use openraft::Raft;
use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::protocol::{TypeConfig, Unavailable};
use crate::conversation::{Command, Outcome};

/// Most commands, and most reads, that wait at the desk: beyond it a visitor would give up before his turn comes.
const QUEUE_MAX: usize = 256;
/// Most commands in one log entry.
const BATCH_MAX: usize = 64;
/// Most bytes of text in one log entry. The command that would exceed it opens the next entry; one command is far
/// below it, since longer ones are refused before they come here.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Longest wait for raft. Whoever asked has given up by then, and the next batch must not wait for a leader that was
/// cut off; an entry that is decided later all the same is harmless, since commands may be sent twice.
const RAFT_MAX: Duration = Duration::from_millis(250);

type Answer<T> = oneshot::Sender<Result<T, Unavailable>>;
/// A command, and who waits for its outcome.
type Wish = (Command, Answer<Outcome>);

/// Where commands and reads are handed in. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    commands: mpsc::Sender<Wish>,
    reads: mpsc::Sender<Answer<()>>,
}

impl Desk {
    /// Opens the desk; its work is done by two tasks of the set.
    pub(super) fn open(raft: Raft<TypeConfig>, tasks: &mut JoinSet<()>) -> Self {
        let (commands, waiting_commands) = mpsc::channel(QUEUE_MAX);
        let (reads, waiting_reads) = mpsc::channel(QUEUE_MAX);
        tasks.spawn(work_off_commands(raft.clone(), waiting_commands));
        tasks.spawn(work_off_reads(raft, waiting_reads));
        Self { commands, reads }
    }

    /// Has a command decided and applied.
    pub(super) async fn apply(&self, command: Command) -> Result<Outcome, Unavailable> {
        let (answer, outcome) = oneshot::channel();
        self.commands.try_send((command, answer)).map_err(|_| Unavailable::Busy)?;
        outcome.await.unwrap_or(Err(Unavailable::TimedOut))
    }

    /// Returns once what this member has applied is no older than this call.
    pub(super) async fn catch_up(&self) -> Result<(), Unavailable> {
        let (answer, fresh) = oneshot::channel();
        self.reads.try_send(answer).map_err(|_| Unavailable::Busy)?;
        fresh.await.unwrap_or(Err(Unavailable::TimedOut))
    }
}

async fn work_off_commands(raft: Raft<TypeConfig>, mut waiting: mpsc::Receiver<Wish>) {
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(wish) => Some(wish),
            None => waiting.recv().await,
        };
        let Some(first) = first else { return };
        let (batch, answers);
        (batch, answers, left) = gather(first, &mut waiting);
        if batch.is_empty() {
            continue;
        }
        match timeout(RAFT_MAX, raft.client_write(batch)).await {
            Ok(Ok(written)) => {
                for (answer, outcome) in answers.into_iter().zip(written.data) {
                    let _ = answer.send(Ok(outcome));
                }
            }
            Ok(Err(error)) => refuse(answers, why_not_written(&error)),
            Err(_) => refuse(answers, Unavailable::TimedOut),
        }
    }
}

/// The first command and those that wait behind it, without those that nobody waits for any more; and the one that has
/// no room any more.
fn gather(
    first: Wish,
    waiting: &mut mpsc::Receiver<Wish>,
) -> (Vec<Command>, Vec<Answer<Outcome>>, Option<Wish>) {
    let (mut batch, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some((command, answer)) = next.take() {
        if !answer.is_closed() {
            bytes += command.text_bytes();
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                return (batch, answers, Some((command, answer)));
            }
            batch.push(command);
            answers.push(answer);
        }
        if batch.len() < BATCH_MAX {
            next = waiting.try_recv().ok();
        }
    }
    (batch, answers, None)
}

async fn work_off_reads(raft: Raft<TypeConfig>, mut waiting: mpsc::Receiver<Answer<()>>) {
    let mut answers = Vec::new();
    let mut proven = false;
    while waiting.recv_many(&mut answers, QUEUE_MAX).await > 0 {
        let result = match timeout(RAFT_MAX, confirm(&raft, &mut proven)).await {
            Ok(confirmed) => confirmed,
            Err(_) => Err(Unavailable::TimedOut),
        };
        for answer in answers.drain(..) {
            let _ = answer.send(result);
        }
    }
}

/// Makes sure that this member leads, and has applied what was acknowledged before.
async fn confirm(raft: &Raft<TypeConfig>, proven: &mut bool) -> Result<(), Unavailable> {
    // A leader that is started anew before another is elected leads on at once, and raft does not know then how much of its
    // log had been acknowledged. An entry of this life that is decided tells.
    if !*proven {
        raft.client_write(Vec::new()).await.map_err(|error| why_not_written(&error))?;
        *proven = true;
    }
    raft.ensure_linearizable().await.map(drop).map_err(|error| why_not_read(&error))
}

fn refuse<T>(answers: Vec<Answer<T>>, why: Unavailable) {
    for answer in answers {
        // Whoever stopped waiting needs no answer.
        let _ = answer.send(Err(why));
    }
}

fn why_not_written(error: &RaftError<u64, ClientWriteError<u64, openraft::EmptyNode>>) -> Unavailable {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Unavailable::NotLeader,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) | RaftError::Fatal(_) => {
            Unavailable::NoQuorum
        }
    }
}

fn why_not_read(error: &RaftError<u64, CheckIsLeaderError<u64, openraft::EmptyNode>>) -> Unavailable {
    match error {
        RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)) => Unavailable::NotLeader,
        RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)) | RaftError::Fatal(_) => {
            Unavailable::NoQuorum
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::TURN_BYTES_MAX;

    fn wish(n: usize) -> (Wish, oneshot::Receiver<Result<Outcome, Unavailable>>) {
        let key = n.to_string().parse().unwrap();
        let body = "x".repeat(TURN_BYTES_MAX);
        let (answer, outcome) = oneshot::channel();
        ((Command::AppendTurn { id: [7; 16].into(), key, body }, answer), outcome)
    }

    #[test]
    fn no_entry_is_over_its_bounds_and_nobody_is_forgotten() {
        let (queue, mut waiting) = mpsc::channel(QUEUE_MAX);
        let mut patient = Vec::new();
        for n in 0..QUEUE_MAX {
            let (wish, outcome) = wish(n);
            queue.try_send(wish).unwrap();
            // Every third visitor gives up.
            if n % 3 > 0 {
                patient.push((n.to_string(), outcome));
            }
        }
        let (mut seen, mut left) = (Vec::new(), None);
        while let Some(first) = left.take().or_else(|| waiting.try_recv().ok()) {
            let (batch, answers, over) = gather(first, &mut waiting);
            left = over;
            assert_eq!(batch.len(), answers.len());
            assert!(batch.len() <= BATCH_MAX);
            assert!(batch.iter().map(Command::text_bytes).sum::<usize>() <= BATCH_BYTES_MAX);
            seen.extend(batch.into_iter().map(|command| match command {
                Command::AppendTurn { key, .. } => key.to_string(),
                other => panic!("{other:?}"),
            }));
        }
        assert_eq!(seen, patient.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
    }
}
