//! The conversation application on a web node: HTTP in front, a memory behind it. Which memory, the topology says; the
//! handlers do not care.

mod answers;
mod app;
mod databases;
mod download;
mod memory;
mod peer;
mod store;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use databases::{Databases, NoAnswer};
pub use peer::PeerError;
pub use store::built;

use self::app::App;
use self::memory::Memory;
use super::listener::{BoundedListener, Limits};
use super::{Reporter, Site, stop};
use crate::report::What;

/// Longest wait for requests in work when the daemon is asked to stop; a request has at most two seconds anyway.
const STOP_MAX: Duration = Duration::from_secs(3);
/// Threads of the runtime: one may encode a long transcript while the other answers health checks.
const WORKERS: usize = 2;

/// Why the application cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime or the signal handler cannot be set up.
    #[error("start the runtime of the web application")]
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
    /// The memory that it should have with another web cannot begin.
    #[error("remember together with another web")]
    Peer(#[from] PeerError),
    /// The listener failed.
    #[error("serve HTTP")]
    Serve(#[source] std::io::Error),
}

/// Runs the application on every interface of its node until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let stop = stop::asked().map_err(Error::Runtime)?;
        // A real server must answer on the floating address too, where the forwarding method leaves it in the packet.
        // With IPv6, one socket hears both families.
        let any = match site.topology.has_ipv6(site.node()) {
            true => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            false => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        };
        let address = SocketAddr::new(any, site.topology.conversation.web_port);
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })?;
        serve(site, reporter, listener, stop).await
    })
}

/// Runs the application on a listener until the future `stop` is done, then finishes the requests in work.
pub async fn serve(
    site: &Site,
    reporter: Reporter,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let memory = Memory::open(site, &reporter).await?;
    let app = Arc::new(App::new(site.me.clone(), memory));
    let mut tasks = JoinSet::new();
    let watched = app.clone();
    tasks.spawn(async move { watched.memory().watch().await });

    let (ask_to_stop, asked) = oneshot::channel::<()>();
    let listener = BoundedListener::new(listener, Limits::default());
    let server = axum::serve(listener, app::router(app)).with_graceful_shutdown(async {
        // A sender that is gone means the same as one that speaks.
        let _ = asked.await;
    });
    reporter.emit(What::Ready);
    let server = server.into_future();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return result.map_err(Error::Serve),
        () = stop => {}
    }
    let _ = ask_to_stop.send(());
    timeout(STOP_MAX, server).await.unwrap_or(Ok(())).map_err(Error::Serve)
}

#[cfg(test)]
mod tests;
