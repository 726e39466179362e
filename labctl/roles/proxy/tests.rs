//! The proxy over real sockets: what reaches a real server, what comes back, and what becomes of a request when a real server
//! does not answer it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method};
use axum::routing::{any, post};
use reqwest::{Client, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::balancer::{Method as Forwarding, Real, Scheduler};
use crate::topology::{self, HealthCheck, Layer7, Probe};

/// The longest wait for anything: generous, since the machine may be slow and busy.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// More than any buffer on the way.
const LONG_BYTES: usize = 4 * 1024 * 1024;

/// What the real server of a test has seen.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicUsize,
    connections: AtomicUsize,
}

/// A real server: it says its name and what came.
async fn real(name: &'static str) -> (SocketAddr, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let echo = |State((name, seen)): State<(&'static str, Arc<Seen>)>, method: Method, headers: HeaderMap| async move {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        format!("{name} {method}\n{}", lines.join("\n"))
    };
    let router = Router::new()
        .route("/back", post(|body: Bytes| async move { body }).layer(DefaultBodyLimit::disable()))
        .fallback(any(echo))
        .with_state((name, seen.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let counted = Counted(listener, seen.clone());
    tokio::spawn(async move { axum::serve(counted, router).await.unwrap() });
    (here, seen)
}

struct Counted(TcpListener, Arc<Seen>);

impl axum::serve::Listener for Counted {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let accepted = self.0.accept().await.unwrap();
        self.1.connections.fetch_add(1, Ordering::SeqCst);
        accepted
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A real server that reads a request and hangs up, or says nothing more.
async fn broken(hangs: bool) -> (SocketAddr, Arc<Seen>, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let (seen, asked) = (Arc::new(Seen::default()), Arc::new(Notify::new()));
    let (seen_too, asked_too) = (seen.clone(), asked.clone());
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            seen_too.requests.fetch_add(1, Ordering::SeqCst);
            asked_too.notify_one();
            if hangs {
                held.push(stream);
            }
        }
    });
    (here, seen, asked)
}

/// Where nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

struct Site {
    proxy: Proxy,
    entrance: SocketAddr,
    visitor: Client,
    reals: Vec<SocketAddr>,
}

impl Site {
    /// A proxy in front of these, in turn and in this order.
    async fn open(reals: &[SocketAddr], layer7: Layer7) -> Self {
        static HOSTS: AtomicUsize = AtomicUsize::new(1);
        // Its own address for each test, so that nobody else has its port.
        let host = HOSTS.fetch_add(1, Ordering::SeqCst) as u8;
        let address = Ipv4Addr::new(127, 0, 71, host);
        let port = TcpListener::bind((address, 0)).await.unwrap().local_addr().unwrap().port();
        let wanted = VirtualService {
            name: "web".parse().unwrap(),
            address: address.into(),
            port,
            protocol: Protocol::Tcp,
            scheduler: topology::Scheduler::Rr,
            reals: vec![],
            check: HealthCheck { probe: Probe::Tcp, interval: WAIT_MAX, timeout: WAIT_MAX, rise: 1, fall: 1 },
            slow_start: Duration::ZERO,
            fail_open: true,
            layer7,
        };
        let proxy = Proxy::open(&[wanted]).unwrap();
        proxy.gate().set(true);
        let visitor = Client::builder().no_proxy().timeout(WAIT_MAX).build().unwrap();
        let entrance = SocketAddrV4::new(address, port).into();
        let site = Self { proxy, entrance, visitor, reals: reals.to_vec() };
        site.install(&vec![true; reals.len()]);
        site
    }

    fn install(&self, available: &[bool]) {
        let real = |(at, (real, &available)): (usize, (&SocketAddr, &bool))| Real {
            name: format!("web{}", at + 1),
            endpoint: Endpoint::tcp(real.ip(), real.port()),
            weight: 1,
            available,
        };
        let service = Service {
            address: Endpoint::tcp(self.entrance.ip(), self.entrance.port()),
            method: Forwarding::Nat,
            scheduler: Scheduler::RoundRobin,
            reals: self.reals.iter().zip(available).enumerate().map(real).collect(),
        };
        self.proxy.install(&[service]).unwrap();
    }

    fn request(&self, method: Method, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let request = self.visitor.request(method, format!("http://{}/page", self.entrance));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    async fn ask(&self, method: Method, headers: &[(&str, &str)]) -> Response {
        self.request(method, headers).send().await.unwrap()
    }

    /// Who answered.
    async fn who(&self, method: Method, headers: &[(&str, &str)]) -> String {
        let answer = self.ask(method, headers).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap().split(' ').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_real_server_hears_who_asks_and_nothing_of_the_hop_before() {
    let (web, _) = real("web1").await;
    let site = Site::open(&[web], Layer7::default()).await;
    let headers =
        [("host", "www.example"), ("connection", "Upgrade"), ("upgrade", "websocket"), ("te", "trailers")];
    let answer = site.ask(Method::GET, &headers).await;
    assert_eq!(answer.headers()["via"], "1.1 labctl");
    insta::assert_snapshot!(answer.text().await.unwrap(), @r"
    web1 GET
    accept: */*
    host: www.example
    via: 1.1 labctl
    x-forwarded-for: 127.0.0.1
    x-forwarded-host: www.example
    x-forwarded-proto: http
    ");
}

#[tokio::test]
async fn long_bodies_pass_both_ways() {
    let (web, _) = real("web1").await;
    let site = Site::open(&[web], Layer7::default()).await;
    let long: Vec<u8> = (0..LONG_BYTES).map(|at| (at % 251) as u8).collect();
    for body in [reqwest::Body::from(long.clone()), reqwest::Body::from(Vec::new())] {
        let len = body.as_bytes().map_or(0, <[u8]>::len);
        let url = format!("http://{}/back", site.entrance);
        let back = site.visitor.post(url).body(body).send().await.unwrap().bytes().await.unwrap();
        assert!(back == long[..len], "{len} bytes came back as {}", back.len());
    }
    let usage: Vec<_> = site.proxy.usage().into_values().collect();
    assert_eq!((usage[0].connections, usage[0].active), (2, 0));
    assert!(usage[0].bytes_in > LONG_BYTES as u64 && usage[0].bytes_out > LONG_BYTES as u64, "{usage:?}");
}

/// All that comes over a connection by which these parts are sent, one by one.
async fn heard(site: &Site, parts: &[&[u8]]) -> String {
    /// Long enough that the proxy reads each part by itself; if it does not, the test asks less and still holds.
    const PAUSE: Duration = Duration::from_millis(50);
    let mut visit = TcpStream::connect(site.entrance).await.unwrap();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        visit.write_all(part).await.unwrap();
    }
    let mut heard = Vec::new();
    timeout(WAIT_MAX, visit.read_to_end(&mut heard)).await.expect("the connection ends").unwrap();
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn a_last_answer_is_whole_and_says_that_it_is_the_last() {
    let (web, _) = real("web1").await;
    let site = Site::open(&[web], Layer7::default()).await;
    let short = b"GET /page HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".to_vec();
    let old = b"GET /page HTTP/1.0\r\nhost: test\r\n\r\n".to_vec();
    for request in [short, old] {
        let answer = heard(&site, &[&request]).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nconnection: close"), "{head}");
        assert!(body.starts_with("web1 GET\n") && body.ends_with("x-forwarded-proto: http"), "{body}");
    }
    let head = format!(
        "POST /back HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {LONG_BYTES}\r\n\r\n"
    );
    let answer = heard(&site, &[&[head.as_bytes(), &[b'x'; LONG_BYTES]].concat()]).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), LONG_BYTES);
}

#[tokio::test]
async fn a_visitor_that_is_slow_to_speak_is_heard() {
    let (web, _) = real("web1").await;
    let site = Site::open(&[web], Layer7::default()).await;
    let parts: [&[u8]; 3] = [b"GET /page HTTP/1.1\r\n", b"host: test\r\n", b"connection: close\r\n\r\n"];
    let heard = heard(&site, &parts).await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
}

#[tokio::test]
async fn connections_to_real_servers_are_used_again() {
    let (web, seen) = real("web1").await;
    let site = Site::open(&[web], Layer7::default()).await;
    for _ in 0..50 {
        assert_eq!(site.who(Method::GET, &[]).await, "web1");
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 50);
    // One visitor over one connection has one worker, whose one connection is free again each time.
    assert_eq!(seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_take_turns() {
    let (first, _) = real("web1").await;
    let (second, _) = real("web2").await;
    let site = Site::open(&[first, second], Layer7::default()).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(site.who(Method::GET, &[]).await);
    }
    assert_eq!(names, ["web1", "web2", "web1", "web2"]);
}

#[tokio::test]
async fn whatever_was_not_sent_goes_to_another() {
    let (web, seen) = real("web2").await;
    let site = Site::open(&[nowhere().await, web], Layer7::default()).await;
    for _ in 0..4 {
        assert_eq!(site.who(Method::POST, &[]).await, "web2");
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn what_may_have_been_done_is_repeated_only_if_that_does_no_harm() {
    let (web, _) = real("web2").await;
    let (dead, seen, _) = broken(false).await;
    let site = Site::open(&[dead, web], Layer7::default()).await;
    // web1 has the first turn of every other request.
    assert_eq!(site.who(Method::GET, &[]).await, "web2");
    assert_eq!(site.who(Method::GET, &[]).await, "web2");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 1);
    let unlucky = site.ask(Method::POST, &[]).await;
    assert_eq!(unlucky.status(), StatusCode::BAD_GATEWAY);
    let said = unlucky.text().await.unwrap();
    assert_eq!(said, "502 Bad Gateway: the real server hung up before it answered\n");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 2);
    assert_eq!(site.who(Method::POST, &[]).await, "web2");
    assert_eq!(site.who(Method::POST, &[("idempotency-key", "1")]).await, "web2");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_request_does_not_wait_for_whoever_is_taken_out() {
    let (web, _) = real("web2").await;
    let (silent, _, asked) = broken(true).await;
    let site = Site::open(&[silent, web], Layer7::default()).await;
    let request = tokio::spawn(site.request(Method::GET, &[]).send());
    timeout(WAIT_MAX, asked.notified()).await.expect("web1 is asked first");
    site.install(&[false, true]);
    let answer = request.await.unwrap().unwrap();
    assert!(answer.text().await.unwrap().starts_with("web2"));
}

#[tokio::test]
async fn without_anybody_it_says_so() {
    let site = Site::open(&[nowhere().await], Layer7::default()).await;
    let refused = site.ask(Method::GET, &[]).await;
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(refused.text().await.unwrap(), "502 Bad Gateway: the real server refused the connection\n");
    site.install(&[false]);
    let nobody = site.ask(Method::GET, &[]).await;
    assert_eq!(
        (nobody.status(), &nobody.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(
        nobody.text().await.unwrap(),
        "503 Service Unavailable: no real server for this is available\n"
    );
}

#[tokio::test]
async fn a_cookie_keeps_a_visitor_with_a_real_server() {
    let (first, _) = real("web1").await;
    let (second, _) = real("web2").await;
    let layer7 = Layer7 { sticky: Some("lab_real".to_owned()), rules: vec![] };
    let site = Site::open(&[first, second], layer7).await;
    let mut met = BTreeSet::new();
    for _ in 0..2 {
        let answer = site.ask(Method::GET, &[]).await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        let pair = cookie.split(';').next().unwrap().to_owned();
        let name = answer.text().await.unwrap().split(' ').next().unwrap().to_owned();
        for _ in 0..5 {
            assert_eq!(site.who(Method::GET, &[("cookie", &pair)]).await, name);
        }
        met.insert(name);
    }
    assert_eq!(met.len(), 2);
}

#[tokio::test]
async fn a_demoted_holder_ends_its_visits() {
    let (web, seen) = real("web1").await;
    let site = Site::open(&[web], Layer7::default()).await;
    let ask = b"GET /page HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut visit = TcpStream::connect(site.entrance).await.unwrap();
    visit.write_all(ask).await.unwrap();
    assert!(timeout(WAIT_MAX, visit.read(&mut [0; 4096])).await.unwrap().unwrap() > 0);
    site.proxy.gate().set(false);
    let ended = timeout(WAIT_MAX, visit.read(&mut [0; 4096])).await.expect("the visit ends");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 1);
    // And there is no end to it.
    site.proxy.gate().set(true);
    // Each worker hears of it when it comes to it; until then it ends what comes.
    let served = async {
        while site.request(Method::GET, &[]).send().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT_MAX, served).await.expect("the next visit is served");
}

#[tokio::test]
async fn an_exchange_under_way_may_end_when_the_proxy_does() {
    let (silent, _, asked) = broken(true).await;
    let (web, _) = real("web2").await;
    let site = Site::open(&[silent, web], Layer7::default()).await;
    let request = tokio::spawn(site.request(Method::GET, &[]).send());
    timeout(WAIT_MAX, asked.notified()).await.expect("a request under way");
    site.install(&[false, true]);
    let ended = tokio::task::spawn_blocking(move || drop(site.proxy));
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
    timeout(WAIT_MAX, ended).await.expect("the proxy ends").unwrap();
}

#[test]
fn udp_has_no_requests() {
    let mut topology = topology::parse("ha.yaml", include_str!("../../../topologies/ha.yaml")).unwrap();
    let service = &mut topology.balancer.as_mut().unwrap().services[0];
    service.protocol = Protocol::Udp;
    let refused = Proxy::open(std::slice::from_ref(service)).map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "web is a UDP service, and `forward: proxy` understands HTTP alone: forward it by nat, tun or dr"
    );
}

#[test]
fn an_address_that_this_machine_does_not_have_is_listened_on() {
    for address in [IpAddr::from([203, 0, 113, 10]), "2001:db8::10".parse().unwrap()] {
        worker::listen(SocketAddr::new(address, 0)).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
}
