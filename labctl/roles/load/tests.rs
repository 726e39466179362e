//! The load against an application of a few lines that misbehaves on purpose, in a network namespace of its own where
//! that is permitted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;
use tokio::sync::Notify;

use super::*;
use crate::kernel::netlink::{Netlink, Request};
use crate::report::{Event, Outcome};

/// What the application knows, and how it is to misbehave.
#[derive(Default)]
struct App {
    turns: BTreeMap<String, Vec<String>>,
    sources: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    attempts: HashMap<String, u32>,
    /// The first attempt of every so many-th request fails.
    fail_each: Option<usize>,
    /// Conversation 0 gets no answer before conversation 1 has so many turns.
    hold_until: Option<usize>,
    /// Whoever asks for a conversation hears that there is none.
    forgets: bool,
    requests: usize,
    reads: usize,
}

#[derive(Clone, Default)]
struct Shared {
    app: Arc<Mutex<App>>,
    progress: Arc<Notify>,
}

async fn open(State(shared): State<Shared>) -> Response {
    let mut app = shared.app.lock().expect("no test panics with the lock");
    let id = format!("c{}", app.turns.len());
    app.turns.insert(id.clone(), Vec::new());
    (StatusCode::CREATED, Json(serde_json::json!({ "id": id }))).into_response()
}

async fn say(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let key = headers["idempotency-key"].to_str().expect("keys are plain text").to_owned();
    let hold = {
        let mut app = shared.app.lock().expect("no test panics with the lock");
        app.requests += 1;
        if let std::net::IpAddr::V4(source) = peer.ip() {
            app.sources.entry(id.clone()).or_default().insert(source);
        }
        let attempts = app.attempts.entry(key.clone()).or_default();
        *attempts += 1;
        let first = *attempts == 1;
        if first && app.fail_each.is_some_and(|each| app.requests.is_multiple_of(each)) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        app.hold_until.filter(|_| id == "c0")
    };
    while hold.is_some_and(|turns| shared.app.lock().expect("no panic").turns["c1"].len() < turns) {
        shared.progress.notified().await;
    }
    let mut app = shared.app.lock().expect("no test panics with the lock");
    let turns = app.turns.get_mut(&id).expect("an open conversation");
    if !turns.contains(&key) {
        turns.push(key.clone());
    }
    shared.progress.notify_waiters();
    let place = turns.iter().position(|kept| *kept == key);
    let signed = [("x-served-by", "web1"), ("x-lab-durability", "pair"), ("x-lab-epoch", "7")];
    (signed, Json(serde_json::json!({ "position": place, "key": key }))).into_response()
}

async fn read(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let mut app = shared.app.lock().expect("no test panics with the lock");
    app.requests += 1;
    app.reads += 1;
    let web = if app.requests.is_multiple_of(2) { "web1" } else { "web2" };
    if app.forgets {
        return (StatusCode::NOT_FOUND, [("x-served-by", web)]).into_response();
    }
    let turns: Vec<_> = app.turns[&id].iter().map(|key| serde_json::json!({ "key": key })).collect();
    ([("x-served-by", web)], Json(serde_json::json!({ "turns": turns }))).into_response()
}

/// A sink that the test can read afterwards.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn spec(port: u16) -> Spec {
    Spec {
        vip: Ipv4Addr::LOCALHOST,
        port,
        sources: vec![Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)],
        webs: 2,
        conversations: 3,
        turns_per_s: 150,
        timeout: Duration::from_secs(5),
        probe_interval: Duration::from_millis(2),
        duration: Duration::from_millis(300),
        reads_percent: 0,
    }
}

/// Runs the load against the application and returns what it told.
fn told(app: App, change: impl FnOnce(&mut Spec) + Send + 'static) -> (Vec<Event>, Shared) {
    let shared = Shared { app: Arc::new(Mutex::new(app)), ..Shared::default() };
    let serving = shared.clone();
    // A thread of its own, so that its namespace is nobody else's.
    let thread = std::thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
            let message = LinkUnspec::new_with_index(1).up().build();
            let up =
                Request { message: rtnetlink::packet_route::RouteNetlinkMessage::SetLink(message), flags: 0 };
            let results = Netlink::open().and_then(|mut netlink| netlink.run(&[up]));
            assert_eq!(results.expect("netlink answers"), [Ok(())]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let routes = axum::Router::new()
            .route("/conversations", post(open))
            .route("/conversations/{id}", get(read))
            .route("/conversations/{id}/turns", post(say))
            .with_state(serving)
            .into_make_service_with_connect_info::<SocketAddr>();
        let sink = Sink::default();
        let out = sink.clone();
        let load = std::thread::spawn(move || {
            let mut spec = spec(port);
            change(&mut spec);
            run(spec, Some("client".to_owned()), out)
        });
        let server = axum::serve(listener, routes);
        runtime.block_on(async {
            let ended = tokio::task::spawn_blocking(move || load.join());
            tokio::select! {
                _ = server.into_future() => panic!("the application ended"),
                ended = ended => ended.expect("joined").expect("no panic").expect("a load without error"),
            }
        });
        let text = String::from_utf8(sink.0.lock().expect("no panic").clone()).expect("events are text");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is an event")).collect()
    });
    (thread.join().expect("no panic"), shared)
}

fn acknowledged(events: &[Event]) -> Vec<(String, String)> {
    let turn = |event: &Event| match &event.what {
        What::Request { outcome: Outcome::Ok, conversation: Some(id), key: Some(key), .. } => {
            Some((id.clone(), key.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(turn).collect()
}

#[test]
fn every_turn_of_the_timetable_is_said_and_read_back() {
    let (events, shared) = told(App::default(), |_| ());
    let turns = acknowledged(&events);
    // 150 turns per second for 300 ms.
    assert_eq!(turns.len(), 45);
    let app = shared.app.lock().expect("no panic");
    let last_octets = |of: &BTreeSet<Ipv4Addr>| of.iter().map(|ip| ip.octets()[3]).collect::<Vec<_>>();
    let sources: Vec<_> = app.sources.values().map(last_octets).collect();
    assert_eq!(sources, [vec![1], vec![2], vec![1]], "a conversation keeps to one address, in turn");

    let mut webs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for event in &events {
        if let What::Transcript { conversation, served_by, keys, .. } = &event.what {
            webs.entry(conversation).or_default().insert(served_by);
            assert_eq!(keys, &app.turns[conversation], "of {conversation} by {served_by}");
        }
    }
    assert!(webs.len() == 3 && webs.values().all(|asked| asked.len() == 2), "{webs:?}");
}

#[test]
fn a_failed_turn_is_tried_again_under_its_key_and_from_its_place_on_the_timetable() {
    let (events, shared) = told(App { fail_each: Some(4), ..App::default() }, |_| ());
    let mut attempts: BTreeMap<String, Vec<(Outcome, u64)>> = BTreeMap::new();
    for event in &events {
        if let What::Request { outcome, key: Some(key), intended_ns, .. } = &event.what {
            attempts.entry(key.clone()).or_default().push((outcome.clone(), *intended_ns));
        }
    }
    let retried: Vec<_> = attempts.values().filter(|tries| tries.len() > 1).collect();
    assert!(!retried.is_empty());
    for tries in retried {
        assert_eq!(
            tries.iter().map(|(outcome, _)| outcome).collect::<Vec<_>>(),
            [&Outcome::Status(503), &Outcome::Ok]
        );
        assert_eq!(tries[0].1, tries[1].1);
    }
    assert_eq!(acknowledged(&events).len(), 45);
    let kept: usize = shared.app.lock().expect("no panic").turns.values().map(Vec::len).sum();
    assert_eq!(kept, 45, "a retry is not another turn");
}

#[test]
fn what_an_acknowledgement_says_of_itself_is_recorded() {
    let (events, _) = told(App::default(), |_| ());
    let mut positions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in &events {
        let What::Request { conversation: Some(id), key: Some(_), position, epoch, durability, .. } =
            &event.what
        else {
            continue;
        };
        assert_eq!((*epoch, durability.as_deref()), (Some(7), Some("pair")));
        positions.entry(id).or_default().push(position.expect("the acknowledgement has one"));
    }
    assert!(positions.values().all(|all| all.iter().copied().eq(0..15)), "{positions:?}");
}

#[test]
fn a_share_of_the_turns_is_followed_by_a_read() {
    let (events, shared) = told(App::default(), |spec| spec.reads_percent = 40);
    let reads: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            What::Read { outcome: Outcome::Ok, conversation, keys: Some(keys), .. } => {
                Some((conversation, keys))
            }
            _ => None,
        })
        .collect();
    // Two in five of 45 turns, but for those that came while two were under way already.
    assert!((9..=18).contains(&reads.len()), "{}", reads.len());
    let app = shared.app.lock().expect("no panic");
    assert!(reads.iter().all(|(id, keys)| app.turns[*id].starts_with(keys)), "{reads:?}");
}

#[test]
fn a_slow_conversation_does_not_hold_up_another() {
    // Conversation 0 is answered only after conversation 1 is complete: a load that waits for it never gets there.
    let (events, _) = told(App { hold_until: Some(15), ..App::default() }, |_| ());
    let order = acknowledged(&events);
    let first_of = |id: &str| order.iter().position(|(conversation, _)| conversation == id);
    let last_of = |id: &str| order.iter().rposition(|(conversation, _)| conversation == id);
    assert_eq!(order.len(), 45, "{order:?}");
    assert!(last_of("c1") < first_of("c0"), "{order:?}");
    assert!(
        events.iter().all(|event| !matches!(&event.what, What::Request { outcome: Outcome::Timeout, .. }))
    );
}

#[test]
fn a_conversation_that_the_site_has_forgotten_is_read_back_without_turns() {
    let (events, shared) = told(App { forgets: true, ..App::default() }, |_| ());
    let transcripts: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            What::Transcript { conversation, served_by, keys, .. } => Some((conversation, served_by, keys)),
            _ => None,
        })
        .collect();
    let webs: BTreeSet<_> = transcripts.iter().map(|(_, web, _)| web.as_str()).collect();
    assert_eq!(webs, ["web1", "web2"].into());
    assert_eq!(transcripts.len(), 6, "three conversations by two webs: {transcripts:?}");
    assert!(transcripts.iter().all(|(_, _, keys)| keys.is_empty()));
    assert_eq!(shared.app.lock().expect("no panic").reads, 6, "no is an answer, and asked for once");
    assert!(events.iter().all(|event| !matches!(event.what, What::Note { .. })));
}

#[test]
fn probes_keep_to_their_timetable_and_are_told_after_the_beginning() {
    let (events, _) = told(App::default(), |_| ());
    let ready = events.iter().find(|event| event.what == What::Ready).expect("the load says when it begins");
    let probes: Vec<_> = events
        .iter()
        .filter_map(|event| match event.what {
            What::Probe { intended_ns, sent_ns, answered_ns } => Some((intended_ns, sent_ns, answered_ns)),
            _ => None,
        })
        .collect();
    if probes.is_empty() {
        // Neither raw nor ping sockets here: then the record must say so.
        assert!(
            events.iter().any(|event| matches!(&event.what, What::Note { text } if text.contains("probed")))
        );
        return;
    }
    assert_eq!(probes.len(), 150);
    for (index, (intended, sent, answered)) in probes.iter().enumerate() {
        assert_eq!(*intended, ready.at_ns + index as u64 * 2_000_000);
        assert!(sent >= intended && answered.is_some_and(|at| at >= *sent), "probe {index}");
    }
}

#[test]
fn an_address_without_a_site_is_no_load() {
    let refused = Spec { port: 1, ..spec(1) };
    let json = serde_json::to_string(&refused).expect("a specification can be written");
    assert_eq!(json.parse::<Spec>().expect("and read"), refused);
    assert!(matches!("{\"vip\":1}".parse::<Spec>(), Err(Error::Spec(_))));
    let none = json.replace("[\"127.0.0.1\",\"127.0.0.2\"]", "[]");
    assert!(matches!(none.parse::<Spec>(), Err(Error::Empty("sources"))));
}
