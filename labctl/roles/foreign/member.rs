//! What a daemon that others wrote as a member of a database says of itself: whether it is ready, and whom it takes for the
//! leader. A thread beside the supervisor asks it again and again, and tells the holder what changed. How it is asked is the
//! engine's business.

use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use tokio::time::sleep;

use super::Error;
use super::supervisor::{Program, supervise_until_ready};
use crate::report::What;
use crate::roles::Reporter;
use crate::topology::NodeName;

/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Questions without an answer after which it knows of no leader any more; one may be lost on a busy machine.
const SILENT_MAX: u32 = 3;

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::roles) struct Answer {
    /// Could it serve now, or follow whoever does?
    pub(in crate::roles) ready: bool,
    /// Whom it takes for the leader, if it has a say in that, and since which term or epoch.
    pub(in crate::roles) leader: Option<(Option<NodeName>, u64)>,
}

/// Runs the program until SIGTERM, or until it ends by itself, which is an error. Meanwhile `ask` is asked what the member
/// says; `None` is no answer.
pub(in crate::roles) fn run(
    name: &'static str,
    program: Program,
    reporter: Reporter,
    ask: impl AsyncFnMut() -> Option<Answer> + Send + 'static,
) -> Result<(), Error> {
    // Threads inherit the mask, and only the supervisor may take these.
    let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    mask.thread_block().map_err(|source| Error::System { act: "watch for signals", source })?;
    let failed = |source| Error::Runtime { program: name, source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let watch = Watch::new(reporter.clone());
    std::thread::Builder::new().spawn(move || runtime.block_on(follow(watch, ask))).map_err(failed)?;
    supervise_until_ready(&[program], Vec::new(), reporter, || {})
}

async fn follow(mut watch: Watch, mut ask: impl AsyncFnMut() -> Option<Answer>) {
    loop {
        let answer = ask().await;
        watch.hear(answer);
        sleep(ASK_EVERY).await;
    }
}

/// What was told last.
struct Watch {
    reporter: Reporter,
    ready: bool,
    silent: u32,
    leader: Option<(Option<NodeName>, u64)>,
}

impl Watch {
    fn new(reporter: Reporter) -> Self {
        Self { reporter, ready: false, silent: 0, leader: None }
    }

    fn hear(&mut self, answer: Option<Answer>) {
        self.silent = if answer.is_some() { 0 } else { self.silent.saturating_add(1) };
        let leader = match answer {
            Some(Answer { ready, leader }) => {
                if ready && !self.ready {
                    self.ready = true;
                    self.reporter.emit(What::Ready);
                }
                leader
            }
            // Whoever does not answer does not follow anybody either.
            None if self.silent >= SILENT_MAX => self.leader.as_ref().map(|(_, term)| (None, *term)),
            None => return,
        };
        if leader.is_none() || leader == self.leader {
            return;
        }
        self.leader = leader;
        let Some((leader, term)) = &self.leader else { return };
        tracing::info!("leader {}, term {term}", leader.as_ref().map_or("unknown", NodeName::as_str));
        self.reporter
            .emit(What::RaftLeader { leader: leader.as_ref().map(ToString::to_string), term: *term });
    }
}
