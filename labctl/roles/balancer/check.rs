//! Asks one real server whether it is well, from the proxy's own address on the back and within a time limit. It does
//! not judge: one answer is no state.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use reqwest::header::{CONNECTION, HeaderValue};
use socket2::SockRef;
use tokio::net::TcpSocket;

use crate::balancer::Endpoint;
use crate::topology::Probe;

/// Makes checks. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    from: Ipv4Addr,
    http: reqwest::Client,
}

impl Prober {
    /// A prober that speaks from this address.
    pub(super) fn new(from: Ipv4Addr) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .local_address(IpAddr::from(from))
            .no_proxy()
            // A redirect is not the 2xx that was asked for.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { from, http })
    }

    /// Checks once. The error says why not, in words for people.
    pub(super) async fn check(
        &self,
        probe: &Probe,
        endpoint: Endpoint,
        timeout: Duration,
    ) -> Result<(), String> {
        let answer = async {
            match probe {
                Probe::Tcp => self.connect(endpoint).await.map_err(|error| error.to_string()),
                Probe::Http(path) => self.get(endpoint, path).await,
                // No topology can say so yet.
                Probe::Command(_) => Err("programs are not asked".to_owned()),
            }
        };
        match tokio::time::timeout(timeout, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer in {timeout:?}")),
        }
    }

    async fn connect(&self, endpoint: Endpoint) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddrV4::new(self.from, 0).into())?;
        let stream = socket.connect(endpoint.into()).await?;
        // Ends with a reset: checks many times a second would use up our ports by TIME-WAIT.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))
    }

    async fn get(&self, endpoint: Endpoint, path: &str) -> Result<(), String> {
        let request = self.http.get(format!("http://{endpoint}{path}"));
        // The server closes first, so that TIME-WAIT is on its side.
        let request = request.header(CONNECTION, HeaderValue::from_static("close"));
        let answer = request.send().await.map_err(|error| innermost(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("answered {status}")),
        }
    }
}

/// The cause at the bottom: `Connection refused` tells more than `error sending request`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const IMPATIENCE: Duration = Duration::from_millis(20);

    fn prober() -> Prober {
        Prober::new(Ipv4Addr::LOCALHOST).expect("a prober")
    }

    async fn listener() -> (TcpListener, Endpoint) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        (listener, Endpoint::tcp(Ipv4Addr::LOCALHOST, port))
    }

    /// Answers one request with a status line, or never.
    async fn server(status: Option<&'static str>) -> Endpoint {
        let (listener, endpoint) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let _ = stream.read(&mut [0; 1024]).await;
            match status {
                Some(status) => {
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.expect("an answer");
                }
                None => std::future::pending().await,
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn a_port_that_listens_is_well() {
        let (_listener, endpoint) = listener().await;
        assert_eq!(prober().check(&Probe::Tcp, endpoint, PATIENCE).await, Ok(()));
    }

    #[tokio::test]
    async fn a_port_that_refuses_is_not() {
        let (listener, endpoint) = listener().await;
        drop(listener);
        for probe in [Probe::Tcp, Probe::Http("/healthz".into())] {
            let because = prober().check(&probe, endpoint, PATIENCE).await.expect_err("refused");
            assert!(because.contains("Connection refused"), "{because}");
        }
    }

    #[tokio::test]
    async fn only_2xx_is_well() {
        let probe = Probe::Http("/healthz".into());
        for (status, well) in [
            ("200 OK", Ok(())),
            ("204 No Content", Ok(())),
            ("302 Found", Err("answered 302 Found".to_owned())),
            ("503 Service Unavailable", Err("answered 503 Service Unavailable".to_owned())),
        ] {
            assert_eq!(prober().check(&probe, server(Some(status)).await, PATIENCE).await, well);
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_not_well() {
        let probe = Probe::Http("/healthz".into());
        let outcome = prober().check(&probe, server(None).await, IMPATIENCE).await;
        assert_eq!(outcome, Err("no answer in 20ms".to_owned()));
    }
}
