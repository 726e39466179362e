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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::report::Event;

    fn says(ready: bool, leader: &str, term: u64) -> Option<Answer> {
        Some(Answer { ready, leader: Some((leader.parse().ok(), term)) })
    }

    /// What the holder hears of a member that answers like this.
    fn told(answers: &[Option<Answer>]) -> String {
        let (holder, member) = UnixDatagram::pair().unwrap();
        holder.set_nonblocking(true).unwrap();
        let mut watch = Watch::new(Reporter::new(Some("db1".to_owned()), "etcd", Some(member)));
        answers.iter().for_each(|answer| watch.hear(answer.clone()));
        let mut buffer = [0; 4096];
        let event = || {
            let len = holder.recv(&mut buffer).ok()?;
            serde_json::from_slice::<Event>(&buffer[..len]).ok()
        };
        let lines: Vec<String> = std::iter::from_fn(event)
            .map(|event| match event.what {
                What::RaftLeader { leader, term } => format!("{leader:?} in {term}"),
                other => format!("{other:?}"),
            })
            .collect();
        lines.join("\n")
    }

    #[test]
    fn only_what_changes_is_told_and_ready_once() {
        let answers = [
            None,
            says(false, "", 0),
            says(true, "db1", 2),
            says(true, "db1", 2),
            says(false, "", 3),
            says(true, "db2", 3),
        ];
        insta::assert_snapshot!(told(&answers), @r#"
        None in 0
        Ready
        Some("db1") in 2
        None in 3
        Some("db2") in 3
        "#);
    }

    #[test]
    fn one_lost_answer_means_nothing_and_several_mean_that_it_follows_nobody() {
        let begin = says(true, "db1", 2);
        let told = |silences: usize| {
            let silent = std::iter::repeat_n(None, silences);
            told(&std::iter::once(begin.clone()).chain(silent).collect::<Vec<_>>())
        };
        assert_eq!(told(2), "Ready\nSome(\"db1\") in 2");
        assert_eq!(told(9), "Ready\nSome(\"db1\") in 2\nNone in 2");
    }

    #[test]
    fn one_that_has_no_say_says_nothing_of_leaders() {
        assert_eq!(told(&[Some(Answer { ready: true, leader: None }), None, None, None]), "Ready");
    }
}
