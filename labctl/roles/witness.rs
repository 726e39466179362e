//! The daemon with the third vote: it remembers on its disk which of two webs have everything, and lets one of them go on
//! alone. It keeps no conversation. What it answers is decided in `conversation::peer`; here are its port, its clock and its
//! disk.
#![expect(clippy::disallowed_methods, reason = "owns the clock of the state machine")]

mod ledger;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::timeout;

pub use ledger::LedgerError;

use self::ledger::Ledger;
use super::db::frame;
use super::{Reporter, Site, callers, stop};
use crate::conversation::peer::{Ask, Record, Time, Witness, WitnessAction, WitnessConfig, WitnessReply};
use crate::report::What;
use crate::topology::NodeName;

/// The first bytes of a connection, so that a stranger or another version of the framing is known at once.
pub(super) const PREAMBLE: &[u8; 4] = b"LWI1";
/// Most bytes of a question or an answer; both are a few dozen.
pub(super) const FRAME_BYTES_MAX: usize = 1024;
/// Most connections: one from each web, and those that they gave up without a word.
const CONNECTIONS_MAX: usize = 64;
/// Most questions that wait. Two webs ask one at a time each.
const QUESTIONS_MAX: usize = 64;
/// How long a connection may be open without a question; webs that hear each other ask once a second.
const QUIET_MAX: Duration = Duration::from_secs(120);
/// How long a web may take to send the preamble, or to take an answer.
const WEB_MAX: Duration = Duration::from_secs(2);
/// Threads of the runtime: one may wait for the disk.
const WORKERS: usize = 2;

/// What is said of a disk without a record: nobody can tell why there is none.
const EMPTY: &str = "nothing is written down: the site is new, or this disk was wiped. Memory begins once the two webs have met with \
                     nothing; who has everything is written down once a web that is alone, or both of a pair, have said it";

/// Why the witness cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The site has another witness, or none.
    #[error("{0} is not the witness of the site")]
    NotWitness(NodeName),
    /// The runtime or the signal handler cannot be set up.
    #[error("start the runtime of the witness")]
    Runtime(#[source] std::io::Error),
    /// The port cannot be listened on.
    #[error("listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The disk cannot be used.
    #[error("keep the record of the holders")]
    Ledger(#[from] LedgerError),
}

/// A question and where the answer goes.
type Question = (Ask, oneshot::Sender<WitnessReply>);

/// Runs the witness until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let stop = stop::asked().map_err(Error::Runtime)?;
        serve(site, reporter, stop).await
    })
}

/// Runs the witness until the future `stop` is done.
pub async fn serve(site: &Site, reporter: Reporter, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let address = address(site).ok_or_else(|| Error::NotWitness(site.me.clone()))?;
    let (ledger, record) = Ledger::open::<Record>(&site.disk)?;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })?;
    if record.is_none() {
        tracing::warn!("{EMPTY}");
        reporter.emit(What::Note { text: EMPTY.to_owned() });
    }
    // Dropped on return, which ends every connection.
    let mut tasks = JoinSet::new();
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    tasks.spawn(accept(listener, questions));
    reporter.emit(What::Ready);
    tokio::select! {
        result = judge(&ledger, record.unwrap_or_default(), asked) => result,
        () = stop => Ok(()),
    }
}

fn address(site: &Site) -> Option<SocketAddr> {
    let peers = site.topology.conversation.peers.as_ref()?;
    let address = site.topology.node(&site.me)?.address_on(&peers.network)?;
    (peers.witness == site.me).then(|| SocketAddr::new(address.into(), peers.witness_port))
}

/// Answers one question after the other. Returns when the disk fails: what cannot be written down must not be said.
async fn judge(ledger: &Ledger, record: Record, mut asked: mpsc::Receiver<Question>) -> Result<(), Error> {
    let start = Instant::now();
    let mut witness = Witness::new(WitnessConfig::lab(), record, Time::ZERO);
    while let Some((ask, answer)) = asked.recv().await {
        let mut answer = Some(answer);
        for action in witness.handle(start.elapsed(), ask) {
            match action {
                WitnessAction::Persist(record) => {
                    block_in_place(|| ledger.write(&record))?;
                    tracing::info!("term {}: {}", record.term, told(&record));
                }
                // Who has hung up asks again.
                WitnessAction::Reply(reply) => drop(answer.take().map(|answer| answer.send(reply))),
            }
        }
    }
    Ok(())
}

/// Who has everything, in words for the log.
fn told(record: &Record) -> String {
    let holders: Vec<String> = record.holders.iter().map(|holder| holder.to_string()).collect();
    match holders.as_slice() {
        [] => "nobody has anything".to_owned(),
        [one] => format!("{one} alone has everything"),
        several => format!("{} have everything", several.join(" and ")),
    }
}

async fn accept(listener: TcpListener, questions: mpsc::Sender<Question>) {
    callers::serve_each(listener, CONNECTIONS_MAX, |stream| converse(stream, questions.clone())).await;
}

async fn converse(stream: TcpStream, questions: mpsc::Sender<Question>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    let mut preamble = [0; PREAMBLE.len()];
    match timeout(WEB_MAX, stream.read_exact(&mut preamble)).await {
        Ok(Ok(_)) if &preamble == PREAMBLE => {}
        _ => return,
    }
    while let Ok(Ok(ask)) = timeout(QUIET_MAX, frame::read_within(FRAME_BYTES_MAX, &mut stream)).await {
        let (answer, answered) = oneshot::channel();
        if questions.send((ask, answer)).await.is_err() {
            return;
        }
        let Ok(reply) = answered.await else { return };
        let Ok(bytes) = frame::encode(&reply) else { return };
        match timeout(WEB_MAX, stream.get_mut().write_all(&bytes)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
