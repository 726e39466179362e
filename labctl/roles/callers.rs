//! Connections of daemons that talk to each other: accepted up to a bound, and each served to its end. It knows no protocol.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Rest after a failed `accept`: it fails for want of descriptors, which come back when connections end.
const ACCEPT_REST: Duration = Duration::from_millis(20);

/// Serves until the future is dropped, with all its connections.
pub(super) async fn serve_each<S, Served>(listener: TcpListener, most: usize, serve: S)
where
    S: Fn(TcpStream) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_REST).await;
            continue;
        };
        // Over the limit a connection is closed at once: the caller then knows, and does not wait in vain.
        if let Ok(permit) = room.clone().try_acquire_owned() {
            let served = serve(stream);
            connections.spawn(async move {
                served.await;
                drop(permit);
            });
        }
    }
}
