//! Visitors that take all they can get, against limits that are small enough to reach.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::get;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// The longest wait for anything: generous, since the machine may be slow and busy.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// No test reaches it.
const NEVER: Duration = Duration::from_secs(3_600);
/// Reached soon by whoever does nothing.
const SOON: Duration = Duration::from_millis(300);
/// More than the kernel keeps for a visitor that does not read.
const LONG_BYTES: usize = 32 * 1024 * 1024;

fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 7, host)
}

/// An application behind the listener: a short answer, and a long one.
async fn start(limits: Limits) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let app = Router::new()
        .route("/short", get(|| async { "here" }))
        .route("/long", get(|| async { "x".repeat(LONG_BYTES) }));
    let server = tokio::spawn(async move {
        axum::serve(BoundedListener::new(listener, limits), app).await.unwrap();
    });
    (here, server)
}

async fn visit(here: SocketAddr, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address(host), 0).into()).unwrap();
    timeout(WAIT_MAX, socket.connect(here)).await.unwrap().unwrap()
}

/// Asks on an open connection; whether the whole answer came.
async fn is_served(stream: &mut TcpStream) -> bool {
    let exchange = async {
        stream.write_all(b"GET /short HTTP/1.1\r\nhost: test\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    timeout(WAIT_MAX, exchange).await.expect("an answer or an end").is_ok()
}

/// Waits until the server has ended a connection, politely or not, and returns how much came before.
async fn ended(stream: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    bytes.len()
}

#[tokio::test]
async fn whoever_says_nothing_is_shown_out() {
    let (here, server) = start(Limits { request: SOON, answer: NEVER, ..Limits::default() }).await;
    let mut silent = visit(here, 1).await;
    assert_eq!(ended(&mut silent).await, 0);
    server.abort();
}

#[tokio::test]
async fn trickling_a_request_gains_no_time() {
    let (here, server) = start(Limits { request: SOON, answer: NEVER, ..Limits::default() }).await;
    let mut slow = visit(here, 1).await;
    // Each byte comes well within the limit, and the head has no end.
    let trickle = async {
        slow.write_all(b"GET /short HTTP/1.1\r\nx: ").await?;
        loop {
            slow.write_all(b"x").await?;
            sleep(SOON / 20).await;
        }
    };
    let end: io::Result<()> = timeout(WAIT_MAX, trickle).await.expect("the connection ends");
    assert!(end.is_err());
    server.abort();
}

#[tokio::test]
async fn whoever_does_not_take_an_answer_gets_no_more_of_it() {
    let (here, server) = start(Limits { connections: 1, request: NEVER, answer: SOON }).await;
    let mut lazy = visit(here, 1).await;
    lazy.write_all(b"GET /long HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    lazy.readable().await.unwrap();
    // There is room for one only, so another is served once the first is out.
    let other = async { while !is_served(&mut visit(here, 2).await).await {} };
    timeout(WAIT_MAX, other).await.expect("room again");
    assert!(ended(&mut lazy).await < LONG_BYTES);
    server.abort();
}

#[tokio::test]
async fn a_visitor_may_think_between_requests() {
    let (here, server) = start(Limits { request: SOON, answer: NEVER, ..Limits::default() }).await;
    let mut visitor = visit(here, 1).await;
    for _ in 0..3 {
        assert!(is_served(&mut visitor).await);
        // As long as a visitor would have who never asked anything.
        ended(&mut visit(here, 2).await).await;
    }
    server.abort();
}

#[tokio::test]
async fn one_visitor_cannot_use_up_all_connections() {
    let limits = Limits { connections: 40, request: NEVER, answer: NEVER };
    let (here, server) = start(limits).await;
    let mut greedy = Vec::new();
    for _ in 0..limits.connections * 2 {
        greedy.push(visit(here, 1).await);
    }
    // The first ones were let in, the last one was not, and others do not notice.
    assert!(is_served(&mut greedy[0]).await);
    assert!(!is_served(greedy.last_mut().unwrap()).await);
    for host in 2..10 {
        assert!(is_served(&mut visit(here, host).await).await, "{host}");
    }
    // What ends makes room.
    greedy.clear();
    let again = async { while !is_served(&mut visit(here, 1).await).await {} };
    timeout(WAIT_MAX, again).await.expect("room again");
    server.abort();
}

proptest! {
    #[test]
    fn however_many_are_greedy_a_newcomer_finds_room(arrivals in prop::collection::vec(2u8..=100, 0..4_000)) {
        let mut room = Room::new(Limits::default().connections);
        for host in &arrivals {
            room.enter(address(*host).into());
        }
        prop_assert!(room.enter(address(1).into()));
    }

    #[test]
    fn a_room_that_all_have_left_is_empty(arrivals in prop::collection::vec(0u8..20, 0..1_000)) {
        let room = Arc::new(Mutex::new(Room::new(100)));
        let places: Vec<_> = arrivals.iter().map(|host| Place::take(&room, address(*host).into())).collect();
        let inside = places.iter().flatten().count();
        prop_assert_eq!(lock(&room).free, 100 - inside);
        let visitors: BTreeSet<_> = places.iter().flatten().map(|place| place.address).collect();
        prop_assert_eq!(lock(&room).taken.len(), visitors.len());
        drop(places);
        prop_assert_eq!(lock(&room).free, 100);
        prop_assert!(lock(&room).taken.is_empty());
    }
}
