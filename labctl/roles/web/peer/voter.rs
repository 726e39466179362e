//! The web's end of the way to the witness: one connection, one question at a time. A question that finds no answer is
//! dropped; whoever asked asks again. It does not know what is asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::keeper::Heard;
use crate::conversation::peer::{Ask, WitnessReply};
use crate::report::What;
use crate::roles::Reporter;
use crate::roles::db::frame::{self, FrameError};
use crate::roles::witness::{FRAME_BYTES_MAX, PREAMBLE};

/// Most questions that wait. Those behind the first are out of date soon.
pub(super) const ASKS_MAX: usize = 4;
/// How long a connection may take. The witness is one switch away.
const CONNECT_MAX: Duration = Duration::from_millis(150);
/// How long an answer may take: one flush of a disk.
const ANSWER_MAX: Duration = Duration::from_millis(250);

/// Passes questions on, until nobody asks any more.
pub(super) async fn ask(
    from: IpAddr,
    witness: SocketAddr,
    mut asks: mpsc::Receiver<Ask>,
    heard: mpsc::Sender<Heard>,
    reporter: Reporter,
) {
    let mut kept = None;
    let mut answers = true;
    while let Some(question) = asks.recv().await {
        match exchange(from, witness, &mut kept, &question).await {
            Ok(reply) => {
                if !std::mem::replace(&mut answers, true) {
                    tracing::info!("the witness at {witness} answers again");
                    reporter.emit(What::WitnessReached { answers: true });
                }
                let _ = heard.send(Heard::Verdict(reply)).await;
            }
            Err(error) => {
                kept = None;
                if std::mem::replace(&mut answers, false) {
                    tracing::warn!("ask the witness at {witness}: {}", crate::roles::described(&error));
                    reporter.emit(What::WitnessReached { answers: false });
                }
            }
        }
    }
}

async fn exchange(
    from: IpAddr,
    witness: SocketAddr,
    kept: &mut Option<BufReader<TcpStream>>,
    question: &Ask,
) -> Result<WitnessReply, FrameError> {
    let question = frame::encode(question)?;
    if let Some(stream) = kept
        && let Ok(reply) = converse(stream, &question).await
    {
        return Ok(reply);
    }
    // The witness was started anew since, or is silent; asking twice is safe.
    let stream = kept.insert(connect(from, witness).await?);
    converse(stream, &question).await
}

async fn connect(from: IpAddr, witness: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let socket = if witness.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = timeout(CONNECT_MAX, socket.connect(witness)).await??;
    stream.set_nodelay(true)?;
    stream.write_all(PREAMBLE).await?;
    Ok(BufReader::new(stream))
}

async fn converse(stream: &mut BufReader<TcpStream>, question: &[u8]) -> Result<WitnessReply, FrameError> {
    let exchange = async {
        stream.get_mut().write_all(question).await?;
        frame::read_within(FRAME_BYTES_MAX, stream).await
    };
    timeout(ANSWER_MAX, exchange).await.map_err(io::Error::from)?
}
