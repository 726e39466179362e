//! One thread of the proxy: it has its own listeners, visitors and connections to real servers, so that an exchange never
//! leaves its thread. The kernel deals out new connections among the workers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::desk::Desk;
use super::exchange::Visitor;
use super::line::{Line, Talk};
use super::pool::Pool;

/// Connections that the kernel accepts before we do.
const BACKLOG: i32 = 1024;
/// Most visitors of one service in one worker. Each may need a second connection, to a real server.
pub(super) const VISITORS_MAX: usize = 2048;
/// Rest after a failed `accept`: it fails for want of descriptors, which come back when connections end.
const ACCEPT_REST: Duration = Duration::from_millis(20);
/// Longest wait for exchanges under way when the proxy is asked to stop.
const STOP_MAX: Duration = Duration::from_secs(3);

/// What a worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// This machine does not have the virtual address.
    Wait,
    /// It has.
    Serve,
    /// The proxy ends.
    Stop,
}

/// Serves visitors at all entrances on this thread until the proxy ends.
pub(super) fn run(
    entrances: Vec<(Arc<Desk>, std::net::TcpListener)>,
    duty: &watch::Receiver<Duty>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let pool = Rc::new(Pool::default());
        let mut porters = JoinSet::new();
        for (desk, listener) in entrances {
            let listener = TcpListener::from_std(listener)?;
            let porter = Porter { desk, pool: pool.clone(), duty: duty.clone() };
            porters.spawn_local(porter.attend(listener));
        }
        porters.join_all().await;
        Ok(())
    })
}

/// Who lets visitors of one service in.
#[derive(Clone)]
struct Porter {
    desk: Arc<Desk>,
    pool: Rc<Pool>,
    duty: watch::Receiver<Duty>,
}

impl Porter {
    async fn attend(mut self, mut listener: TcpListener) {
        let mut visits = JoinSet::new();
        let mut now = *self.duty.borrow_and_update();
        while now != Duty::Stop {
            let open = now == Duty::Serve && visits.len() < VISITORS_MAX;
            tokio::select! {
                biased;
                _ = self.duty.changed() => {
                    now = *self.duty.borrow_and_update();
                    if now == Duty::Wait {
                        // Whoever waits to be let in came to an address that is no longer here.
                        match listen(self.desk.address.into()).and_then(TcpListener::from_std) {
                            Ok(fresh) => listener = fresh,
                            Err(error) => tracing::warn!("{}: the old listener stays: {error}", self.desk.name),
                        }
                    }
                }
                Some(_) = visits.join_next(), if !visits.is_empty() => {}
                accepted = listener.accept(), if open => match accepted {
                    Ok((stream, address)) => drop(visits.spawn_local(self.clone().receive(stream, address))),
                    Err(_) => sleep(ACCEPT_REST).await,
                },
            }
        }
        drop(listener);
        visits.join_all().await;
    }

    /// One visit, from the first request of a connection to its end.
    async fn receive(mut self, stream: TcpStream, address: SocketAddr) {
        let talk = Arc::new(Talk::default());
        let text = address.ip().to_canonical().to_string();
        let Ok(forwarded) = HeaderValue::try_from(text) else { return };
        let line = Line::accepted(stream, talk.clone());
        let (desk, pool) = (self.desk.clone(), self.pool.clone());
        let visitor = Rc::new(Visitor { address, forwarded, talk: talk.clone(), desk, pool });
        let service = service_fn(move |request| {
            let visitor = visitor.clone();
            async move { Ok::<_, Infallible>(visitor.answer(request).await) }
        });
        let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(line), service));
        let end =
            async { self.duty.wait_for(|duty| *duty != Duty::Serve).await.map_or(Duty::Stop, |duty| *duty) };
        let duty = tokio::select! {
            biased;
            // Nobody is left to be told how it ended.
            _ = connection.as_mut() => return,
            duty = end => duty,
        };
        match duty {
            Duty::Stop => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(STOP_MAX, connection).await;
            }
            Duty::Wait | Duty::Serve => talk.lose(),
        }
    }
}

/// A listener on a virtual address, whether this machine has it now or not: so there is no moment after a takeover at which a
/// visitor is refused.
pub(super) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Every connection that it accepts is like this. Otherwise they work all the same, only less well.
    let _ = socket.set_tcp_nodelay(true);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
