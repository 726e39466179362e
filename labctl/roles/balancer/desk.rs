//! The balancer's desk: whoever connects says one line, or nothing, and is told one line. The loop hears questions only,
//! one after the other; slow talkers and slow listeners cost a bounded time and nobody else's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::request::{Answer, Request};
use crate::roles::inquiry;

/// People, checks and commands at the same time. Whoever comes after them waits at the door.
const ASKERS_MAX: usize = 32;
/// How long a question may take to be said, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest question; a change takes a tenth of that.
const QUESTION_BYTES_MAX: u64 = 4096;

/// Somebody who waits for an answer.
#[derive(Debug)]
pub(super) struct Question {
    /// `None` asks how the balancer is.
    pub(super) request: Option<Request>,
    pub(super) asker: Asker,
}

/// The one to tell.
#[derive(Debug)]
pub(super) struct Asker(oneshot::Sender<Vec<u8>>);

impl Asker {
    /// Tells. Whoever is gone by now does not mind.
    pub(super) fn tell(self, answer: &impl serde::Serialize) {
        if let Ok(line) = serde_json::to_vec(answer) {
            let _ = self.0.send(line);
        }
    }
}

/// Listens from now on.
pub(super) fn open(path: &Path) -> io::Result<mpsc::Receiver<Question>> {
    let listener = UnixListener::from_std(inquiry::Desk::open(path)?.into_listener())?;
    let (sender, receiver) = mpsc::channel(ASKERS_MAX);
    tokio::spawn(serve(listener, sender));
    Ok(receiver)
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let seats = Arc::new(Semaphore::new(ASKERS_MAX));
    while let Ok(seat) = seats.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let questions = questions.clone();
        tokio::spawn(async move {
            let _seat = seat;
            hear_and_tell(stream, &questions).await;
        });
    }
}

async fn hear_and_tell(mut stream: UnixStream, questions: &mpsc::Sender<Question>) {
    let Ok(Ok(question)) = timeout(PATIENCE, hear(&mut stream)).await else { return };
    let (sender, answer) = oneshot::channel();
    let asker = Asker(sender);
    match question {
        Ok(request) => {
            // The loop has ended if nobody takes questions any more.
            let _ = questions.send(Question { request, asker }).await;
        }
        Err(error) => asker.tell(&Answer::Refused(format!("understand the question: {error}"))),
    }
    let Ok(mut line) = answer.await else { return };
    line.push(b'\n');
    // Whoever takes no more has less than an answer, and sees that it does not end as JSON does.
    let _ = timeout(PATIENCE, stream.write_all(&line)).await;
}

/// One line, or all that is said before somebody ends it.
async fn hear(stream: &mut UnixStream) -> io::Result<Result<Option<Request>, serde_json::Error>> {
    let mut said = Vec::new();
    let mut limited = stream.take(QUESTION_BYTES_MAX);
    while !said.ends_with(b"\n") && limited.read_buf(&mut said).await? > 0 {}
    match said.trim_ascii() {
        [] => Ok(Ok(None)),
        line => Ok(serde_json::from_slice(line).map(Some)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::roles::inquiry::{ask, converse};

    const WITHIN: Duration = Duration::from_secs(10);

    /// A desk that tells everybody what it was asked.
    fn desk() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("desk");
        let mut questions = open(&path).expect("a desk");
        tokio::spawn(async move {
            while let Some(Question { request, asker }) = questions.recv().await {
                asker.tell(&request);
            }
        });
        (folder, path)
    }

    async fn said(path: &Path, line: &'static str) -> String {
        let path = path.to_owned();
        let heard = tokio::task::spawn_blocking(move || match line {
            "" => ask(&path, WITHIN),
            line => converse(&path, line.as_bytes(), WITHIN),
        });
        String::from_utf8(heard.await.expect("a thread").expect("an answer")).expect("text")
    }

    #[tokio::test]
    async fn whoever_says_nothing_and_whoever_says_a_line_are_both_told() {
        let (_folder, path) = desk();
        assert_eq!(said(&path, "").await, "null\n");
        let line = r#"{"listing":{"connections":true}}"#;
        assert_eq!(said(&path, line).await, format!("{line}\n"));
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_somebody_who_stays_silent_keeps_nobody_waiting() {
        let (_folder, path) = desk();
        let _silent: Vec<_> = std::iter::repeat_with(|| std::os::unix::net::UnixStream::connect(&path))
            .take(ASKERS_MAX - 1)
            .collect::<Result<_, _>>()
            .expect("connections");
        let answer = said(&path, "all your base").await;
        assert!(answer.starts_with(r#"{"refused":"understand the question: "#), "{answer}");
    }
}
