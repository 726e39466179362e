//! The application over real sockets: every status, two web nodes on one database, and what it says when there is none.

use std::time::Duration;

use axum::response::IntoResponse;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::conversation::TURN_BYTES_MAX;
use crate::roles::db::tests::cluster::{self, Cluster, WAIT_MAX, eventually};
use crate::topology::{self, Topology};

/// A web node of a test.
pub(super) struct Web {
    base: String,
    visitor: Client,
    server: Option<JoinHandle<()>>,
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl Web {
    async fn start(topology: &Topology, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let site =
            Site { topology: topology.clone(), me: name.parse().unwrap(), disk: "/nonexistent".into() };
        let reporter = Reporter::new(None, "web", None);
        let server = tokio::spawn(async move {
            serve(&site, reporter, listener, std::future::pending()).await.unwrap();
        });
        let visitor = Client::builder().no_proxy().timeout(WAIT_MAX).build().unwrap();
        Self { base, visitor, server: Some(server) }
    }

    /// A web that somebody else runs.
    pub(super) fn at(base: &str) -> Self {
        let visitor = Client::builder().no_proxy().timeout(WAIT_MAX).build().unwrap();
        Self { base: base.to_owned(), visitor, server: None }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let request = self.visitor.request(method, format!("{}{path}", self.base)).body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], "").await
    }

    async fn say(&self, id: &str, key: &str, text: &str) -> Response {
        let body = json!({ "text": text }).to_string();
        let path = format!("/conversations/{id}/turns");
        self.send(Method::POST, &path, &[("idempotency-key", key)], &body).await
    }

    async fn conversation(&self) -> String {
        let response = self.send(Method::POST, "/conversations", &[], "").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        body(response).await["id"].as_str().unwrap().to_owned()
    }
}

pub(super) async fn body(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

pub(super) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name} in {response:?}")).to_str().unwrap()
}

/// Every answer that needs no database to be broken, in any mode.
pub(super) async fn assert_statuses(web: &Web, mode: &str, durability: &str) {
    let created = web.send(Method::POST, "/conversations", &[], "").await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let (location, cookie) =
        (header(&created, "location").to_owned(), header(&created, "set-cookie").to_owned());
    let id = body(created).await["id"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/conversations/{id}"));
    assert_eq!(cookie, format!("lab_sid={id}; Path=/; HttpOnly; SameSite=Lax"));

    let turns = format!("/conversations/{id}/turns");
    let unknown = format!("/conversations/{}", "0".repeat(32));
    let unknown_turns = format!("{unknown}/turns");
    let whole = format!("/conversations/{id}");
    let hello = r#"{"text":"hello"}"#;
    let long = json!({ "text": "x".repeat(TURN_BYTES_MAX + 1) }).to_string();
    let huge = json!({ "text": "x".repeat(TURN_BYTES_MAX * 10) }).to_string();
    let long_key = "k".repeat(65);
    let (get, post) = (Method::GET, Method::POST);
    let none: Option<&str> = None;
    let table = [
        (&get, "/healthz", none, "", 200, ""),
        (&get, "/readyz", none, "", 200, ""),
        (&get, "/nothing-here", none, "", 404, ""),
        (&get, "/conversations", none, "", 405, ""),
        (&post, &turns, none, hello, 400, "key-missing"),
        (&post, &turns, Some(""), hello, 400, "key-invalid"),
        (&post, &turns, Some("two words"), hello, 400, "key-invalid"),
        (&post, &turns, Some(&long_key), hello, 400, "key-invalid"),
        (&post, &turns, Some("a"), "", 400, "body-invalid"),
        (&post, &turns, Some("a"), r#"{"words":"hello"}"#, 400, "body-invalid"),
        (&post, &turns, Some("a"), hello, 201, ""),
        (&post, &turns, Some("a"), hello, 200, ""),
        (&post, &turns, Some("a"), r#"{"text":"other"}"#, 422, "key-reused"),
        (&post, &turns, Some("b"), &long, 413, "turn-too-long"),
        (&post, &turns, Some("b"), &huge, 413, "turn-too-long"),
        (&post, &turns, Some("b"), hello, 201, ""),
        (&post, &unknown_turns, Some("a"), hello, 404, "no-such-conversation"),
        (&post, "/conversations/x/turns", Some("a"), hello, 404, "no-such-conversation"),
        (&get, &whole, none, "", 200, ""),
        (&get, &unknown, none, "", 404, "no-such-conversation"),
        (&get, "/conversations/not-an-id", none, "", 404, "no-such-conversation"),
        (&get, "/bytes/0", none, "", 200, ""),
        (&get, "/bytes/1073741825", none, "", 400, "length-invalid"),
        (&get, "/bytes/-1", none, "", 400, "length-invalid"),
        (&get, "/bytes/all", none, "", 400, "length-invalid"),
    ];
    for (method, path, key, text, status, error) in table {
        let headers: Vec<_> = key.iter().map(|key| ("idempotency-key", *key)).collect();
        let response = web.send(method.clone(), path, &headers, text).await;
        let row = format!("{method} {path} with key {key:?}");
        assert_eq!(response.status().as_u16(), status, "{row}");
        assert_eq!(header(&response, "x-served-by"), "web1", "{row}");
        assert_eq!(header(&response, "x-lab-mode"), mode, "{row}");
        assert_eq!(header(&response, "x-lab-durability"), durability, "{row}");
        if !error.is_empty() {
            let body = body(response).await;
            assert_eq!(body["error"], error, "{row}");
            assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{row}");
        }
    }
    assert_transcript(web, &id).await;
}

async fn assert_transcript(web: &Web, id: &str) {
    let path = format!("/conversations/{id}");
    let response = web.get(&path).await;
    let tag = header(&response, "etag").to_owned();
    let whole = body(response).await;
    let turns = whole["turns"].as_array().unwrap();
    let seen: Vec<_> = turns.iter().map(|turn| (&turn["position"], &turn["key"], &turn["text"])).collect();
    let (zero, one, a, b, hello) = (json!(0), json!(1), json!("a"), json!("b"), json!("hello"));
    assert_eq!(seen, [(&zero, &a, &hello), (&one, &b, &hello)]);
    assert_eq!(whole["digest"], turns[1]["digest"]);
    assert_eq!(tag, format!("\"{}\"", whole["digest"].as_str().unwrap()));

    let receipt = body(web.say(id, "a", "hello").await).await;
    assert_eq!(receipt, json!({ "position": 0, "digest": turns[0]["digest"], "key": "a" }));

    let others = format!("\"x\", W/{tag}");
    for (known, status) in [(tag.as_str(), 304), (others.as_str(), 304), ("*", 304), ("\"x\"", 200)] {
        let response = web.send(Method::GET, &path, &[("if-none-match", known)], "").await;
        assert_eq!(response.status().as_u16(), status, "{known}");
        assert_eq!(header(&response, "etag"), tag);
    }
}

#[tokio::test]
async fn statuses_without_databases() {
    let web = Web::start(&cluster::topology(3, topology::Memory::None), "web1").await;
    assert_statuses(&web, "none", "local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_with_databases() {
    let cluster = Cluster::started(1).await;
    let web = Web::start(&cluster.topology, "web1").await;
    assert_statuses(&web, "database", "db-quorum").await;
}

#[tokio::test]
async fn a_download_has_the_length_that_was_asked_for() {
    let web = Web::start(&cluster::topology(1, topology::Memory::None), "web1").await;
    assert_eq!(web.get("/bytes/20").await.text().await.unwrap(), "0123456789abcdef0123");
    // Neither a whole number of blocks nor of digits.
    let len = 1_000_003;
    let long = web.get(&format!("/bytes/{len}")).await;
    assert_eq!(header(&long, "content-length"), len.to_string());
    let text = long.text().await.unwrap();
    assert_eq!(text.len(), len);
    assert!(text.bytes().zip(b"0123456789abcdef".iter().cycle()).all(|(found, wanted)| found == *wanted));
}

#[tokio::test]
async fn without_databases_the_other_web_knows_nothing() {
    let topology = cluster::topology(1, topology::Memory::None);
    let (one, other) = (Web::start(&topology, "web1").await, Web::start(&topology, "web2").await);
    let id = one.conversation().await;
    assert_eq!(one.say(&id, "a", "hello").await.status(), StatusCode::CREATED);
    assert_eq!(other.get(&format!("/conversations/{id}")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(other.say(&id, "b", "hello").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_through_both_webs_at_once_is_one_turn() {
    let cluster = Cluster::started(3).await;
    let webs = [Web::start(&cluster.topology, "web1").await, Web::start(&cluster.topology, "web2").await];
    let id = webs[0].conversation().await;
    for round in 0..20 {
        let key = format!("key-{round}");
        let (one, other) = tokio::join!(webs[0].say(&id, &key, "same"), webs[1].say(&id, &key, "same"));
        let mut receipts = Vec::new();
        for response in [one, other] {
            assert!(response.status().is_success(), "{response:?}");
            receipts.push(body(response).await);
        }
        assert_eq!(receipts[0], receipts[1]);
        assert_eq!(receipts[0]["position"], round);
    }
    let path = format!("/conversations/{id}");
    let (one, other) = (body(webs[0].get(&path).await).await, body(webs[1].get(&path).await).await);
    assert_eq!(one, other);
    assert_eq!(one["turns"].as_array().unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_work_is_a_conflict_on_its_web() {
    // A database that takes connections and never answers keeps the first request in work.
    let topology = cluster::topology(1, topology::Memory::Database);
    let _silent = silent(&topology, 0).await;
    let web = Web::start(&topology, "web1").await;
    let id = "0".repeat(32);
    let both = async { tokio::join!(web.say(&id, "a", "hello"), web.say(&id, "a", "hello")) };
    let (one, other) = both.await;
    assert_eq!([header(&one, "retry-after"), header(&other, "retry-after")], ["1", "1"]);
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [409, 503]);
}

#[test]
fn only_what_passes_is_answered_as_if_it_did() {
    // Clients send again what was answered 409; a full conversation stays full.
    let full = answers::Failure::ConversationFull.into_response();
    assert_eq!(full.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!full.headers().contains_key("retry-after"));
    let in_work = answers::Failure::KeyInFlight.into_response();
    assert_eq!(in_work.status(), StatusCode::CONFLICT);
    assert!(in_work.headers().contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_turned_away_and_health_checks_are_not() {
    let topology = cluster::topology(1, topology::Memory::Database);
    let _silent = silent(&topology, 0).await;
    let web = Web::start(&topology, "web1").await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..app::IN_FLIGHT_MAX + 1 {
        let request = web.visitor.get(format!("{}/readyz", web.base));
        requests.spawn(async move { body(request.send().await.unwrap()).await["error"].clone() });
    }
    // All others wait for the silent database, so the first to return is the one too many.
    assert_eq!(requests.join_next().await.unwrap().unwrap(), "overloaded");
    assert_eq!(web.get("/healthz").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_told_to_come_back_before_anybody_is_served_and_leaves_nothing_behind() {
    let topology = cluster::topology(1, topology::Memory::Database);
    let silent = silent(&topology, 0).await;
    let web = Web::start(&topology, "web1").await;
    // One address alone does not get that many connections.
    let visitors = [2, 3, 4, 5].map(|host| {
        let visitor = Client::builder().no_proxy().timeout(WAIT_MAX);
        visitor.local_address(IpAddr::from([127, 0, 0, host])).build().unwrap()
    });
    let flood = |count: usize| {
        let mut requests = tokio::task::JoinSet::new();
        for n in 0..count {
            let turns = format!("{}/conversations/{}/turns", web.base, "0".repeat(32));
            let request = visitors[n % visitors.len()].post(turns).header("idempotency-key", n.to_string());
            let request = request.body(r#"{"text":"hello"}"#);
            requests.spawn(async move {
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert_eq!(header(&response, "retry-after"), "1");
                body(response).await["error"].as_str().unwrap().to_owned()
            });
        }
        requests
    };
    let over = app::IN_FLIGHT_MAX;
    let mut requests = flood(app::IN_FLIGHT_MAX + over);
    let mut answers = Vec::new();
    while let Some(answer) = requests.join_next().await {
        answers.push(answer.unwrap());
    }
    // Those for whom there was no room did not wait for those who had some.
    let refused = answers.iter().filter(|answer| *answer == "overloaded").count();
    assert_eq!(refused, over);
    assert!(answers[..over].iter().all(|answer| answer == "overloaded"), "{answers:?}");
    assert!(answers[over..].iter().all(|answer| answer == "databases-unavailable"), "{answers:?}");
    drop(silent);
    // All the room is there again.
    let mut requests = flood(app::IN_FLIGHT_MAX);
    while let Some(answer) = requests.join_next().await {
        assert_eq!(answer.unwrap(), "databases-unavailable");
    }
}

/// A listener in a database's place that takes connections and says nothing, like a machine that hangs.
async fn silent(topology: &Topology, place: usize) -> TcpListener {
    let address = crate::roles::db::Directory::of(topology).seats()[place].address;
    eventually("a free port", async || TcpListener::bind(address).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_or_dies_is_passed_by() {
    let mut cluster = Cluster::started(3).await;
    let web = Web::start(&cluster.topology, "web1").await;
    let id = web.conversation().await;
    // The first web likes the first database best.
    cluster.crash(0);
    cluster.leader().await;
    assert!(web.say(&id, "dead", "hello").await.status().is_success());
    let _silent = silent(&cluster.topology, 0).await;
    assert!(web.say(&id, "hung", "hello").await.status().is_success());
    let whole = body(web.get(&format!("/conversations/{id}")).await).await;
    assert_eq!(whole["turns"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_it_says_so_and_stays_alive() {
    let mut cluster = Cluster::started(3).await;
    let web = Web::start(&cluster.topology, "web1").await;
    let id = web.conversation().await;
    let leader = cluster.leader().await;
    (0..3).filter(|place| *place != leader).for_each(|place| cluster.crash(place));
    let path = format!("/conversations/{id}");
    let (said, read, ready) = tokio::join!(web.say(&id, "a", "hello"), web.get(&path), web.get("/readyz"));
    for response in [said, read, ready] {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&response, "retry-after"), "1");
        assert_eq!(body(response).await["error"], "databases-unavailable");
    }
    assert_eq!(web.get("/healthz").await.status(), StatusCode::OK);
    cluster.start((leader + 1) % 3);
    eventually("an answer again", async || {
        let response = web.say(&id, "a", "hello").await;
        if response.status().is_success() { Ok(()) } else { Err(response.status()) }
    })
    .await;
}

#[tokio::test]
async fn a_request_in_work_is_finished_before_the_end() {
    let topology = cluster::topology(1, topology::Memory::Database);
    let silent = silent(&topology, 0).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site { topology, me: "web1".parse().unwrap(), disk: "/nonexistent".into() };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        serve(&site, Reporter::new(None, "web", None), listener, stopped).await
    });
    let visitor = Client::builder().no_proxy().build().unwrap();
    let request = visitor.get(format!("http://{address}/readyz"));
    let answer = tokio::spawn(async move { request.send().await });
    // The probe of the database and the question are both on their way once there are two connections.
    for _ in 0..2 {
        tokio::time::timeout(WAIT_MAX, silent.accept()).await.unwrap().unwrap();
    }
    stop.send(()).unwrap();
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    server.await.unwrap().unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address)).await;
    assert!(refused.unwrap().is_err());
}
