//! Answers over HTTP with the address that it sees: the far end of connections that leave the site, which shows by
//! what address they left. It knows nothing of the site but its own node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::any;
use axum::serve::IncomingStream;
use tokio::net::TcpListener;

use super::listener::{BoundedListener, Limits};
use super::{Reporter, Site, stop};
use crate::report::What;

/// The port of HTTP.
const PORT: u16 = 80;

/// Why nobody is told who he is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime or the signal handler cannot be set up.
    #[error("start the runtime of whoami")]
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
    /// The listener failed.
    #[error("serve HTTP")]
    Serve(#[source] std::io::Error),
}

/// Answers on port 80 of every interface until SIGTERM.
pub fn run(_site: &Site, reporter: Reporter) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(async {
        let stop = stop::asked().map_err(Error::Runtime)?;
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })?;
        reporter.emit(What::Ready);
        tokio::select! {
            result = serve(listener) => result,
            // Answers are one packet long: there is nothing to finish.
            () = stop => Ok(()),
        }
    })
}

/// Answers on a listener until the future is dropped.
pub async fn serve(listener: TcpListener) -> Result<(), Error> {
    let app = Router::new().fallback(any(answer)).into_make_service_with_connect_info::<Visitor>();
    axum::serve(BoundedListener::new(listener, Limits::default()), app).await.map_err(Error::Serve)
}

/// Whoever is told who he is.
#[derive(Clone, Copy, Debug)]
struct Visitor(IpAddr);

impl Connected<IncomingStream<'_, BoundedListener>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

async fn answer(ConnectInfo(Visitor(address)): ConnectInfo<Visitor>) -> String {
    format!("{address}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_visitor_reads_the_address_it_came_from() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener));
        let visitor = reqwest::Client::builder().local_address(Some("127.0.0.9".parse().unwrap()));
        let visitor = visitor.no_proxy().build().unwrap();
        let answer = visitor.get(format!("http://{here}/any/path")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "127.0.0.9\n");
        server.abort();
    }
}
