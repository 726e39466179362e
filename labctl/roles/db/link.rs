//! The client's end of the database protocol: one address, and connections to it that are kept open between requests.
//! It carries one request at a time on a connection and knows nothing of leaders or of other databases.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{self, FrameError, PREAMBLE};
use super::protocol::{Reply, Request};

/// How long a connection may take. The databases are one switch away; a node without power answers nothing at all, and
/// whoever asks must not wait for the kernel to give up (minutes).
const CONNECT_MAX: Duration = Duration::from_millis(150);
/// Most connections kept open without a request: the usual load of one web node.
const IDLE_MAX: usize = 32;

/// Why a database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No answer in time.
    #[error("the database at {0} did not answer in time")]
    Silent(SocketAddr),
    /// The connection cannot be made.
    #[error("connect to the database at {address}")]
    Connect {
        /// Whose.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or what came makes no sense.
    #[error("talk to the database at {address}")]
    Frame {
        /// Whose.
        address: SocketAddr,
        /// What happened.
        #[source]
        source: FrameError,
    },
}

/// The way to one database.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl Link {
    /// The way to the database at an address. Nothing is connected yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::new(Vec::new()) }
    }

    /// Asks, and waits for the answer at most this long.
    pub async fn call(&self, request: &Request, limit: Duration) -> Result<Reply, LinkError> {
        let frame = frame::encode(request).map_err(|source| self.broken(source))?;
        match timeout(limit, self.exchange(&frame)).await {
            Ok(answer) => answer,
            Err(_) => {
                // The other idle connections are as dead as this one, and each would cost another wait.
                self.idle().clear();
                Err(LinkError::Silent(self.address))
            }
        }
    }

    async fn exchange(&self, frame: &[u8]) -> Result<Reply, LinkError> {
        let kept = self.idle().pop();
        if let Some(mut stream) = kept {
            if let Ok(reply) = converse(&mut stream, frame).await {
                self.keep(stream);
                return Ok(reply);
            }
            // The database was started anew since; every request may be sent twice, so a fresh connection decides.
            self.idle().clear();
        }
        let mut stream = self.connect().await?;
        let reply = converse(&mut stream, frame).await.map_err(|source| self.broken(source))?;
        self.keep(stream);
        Ok(reply)
    }

    async fn connect(&self) -> Result<BufReader<TcpStream>, LinkError> {
        let failed = |source| LinkError::Connect { address: self.address, source };
        let connecting = timeout(CONNECT_MAX, TcpStream::connect(self.address));
        let mut stream = connecting.await.map_err(|_| LinkError::Silent(self.address))?.map_err(failed)?;
        // Nagle's algorithm would hold a small frame back until the answer to the one before.
        stream.set_nodelay(true).map_err(failed)?;
        stream.write_all(PREAMBLE).await.map_err(failed)?;
        Ok(BufReader::new(stream))
    }

    fn keep(&self, stream: BufReader<TcpStream>) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(stream);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<BufReader<TcpStream>>> {
        // A list of connections is sound at every step, so a panic elsewhere does not spoil it.
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn broken(&self, source: FrameError) -> LinkError {
        LinkError::Frame { address: self.address, source }
    }
}

async fn converse(stream: &mut BufReader<TcpStream>, frame: &[u8]) -> Result<Reply, FrameError> {
    stream.get_mut().write_all(frame).await?;
    frame::read(stream).await
}
