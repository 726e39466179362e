//! Two webs that remember for each other, and their witness, over real sockets: each web in a runtime of its own, which can
//! be killed, and frozen as SIGSTOP freezes a process: what it is sent waits in the kernel.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::super::tests::{assert_statuses, body, header};
use super::PeerError;
use crate::conversation::TURN_BYTES_MAX;
use crate::report::{Event, What};
use crate::roles::db::tests::cluster::{WAIT_MAX, eventually};
use crate::roles::witness::tests::{Running, topology};
use crate::roles::{Reporter, Site, web};
use crate::topology::{Degrade, Topology};

/// Time from one attempt to the next.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A web that ends with this value.
pub(super) struct Web {
    base: String,
    visitor: Client,
    runtime: Option<Runtime>,
    events: UnixDatagram,
    states: Vec<String>,
    notes: Vec<String>,
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Web {
    async fn start(topology: &Topology, name: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let site =
            Site { topology: topology.clone(), me: name.parse().unwrap(), disk: "/nonexistent".into() };
        let (events, theirs) = UnixDatagram::pair().unwrap();
        events.set_nonblocking(true).unwrap();
        let reporter = Reporter::new(Some(name.to_owned()), "web", Some(theirs));
        runtime.spawn(async move {
            // A process that was killed has let go of its port; a runtime may need a moment for that.
            loop {
                let listener = TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
                match web::serve(&site, reporter.clone(), listener, std::future::pending()).await {
                    Err(web::Error::Peer(PeerError::Bind { .. })) => sleep(LOOK_EVERY).await,
                    ended => return ended.unwrap(),
                }
            }
        });
        let visitor = Client::builder().no_proxy().timeout(WAIT_MAX).build().unwrap();
        Self { base, visitor, runtime: Some(runtime), events, states: Vec::new(), notes: Vec::new() }
    }

    /// Ends it without giving it time for anything.
    fn kill(mut self) {
        self.runtime.take().expect("it runs").shutdown_background();
    }

    /// Stops everything in it until the returned value is dropped.
    async fn freeze(&self) -> std::sync::mpsc::Sender<()> {
        let (thaw, thawed) = std::sync::mpsc::channel();
        let (frozen, is_frozen) = tokio::sync::oneshot::channel();
        self.runtime.as_ref().expect("it runs").spawn(async move {
            frozen.send(()).unwrap();
            // Its only worker waits here.
            let _: Result<(), _> = thawed.recv();
        });
        is_frozen.await.unwrap();
        thaw
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let request = self.visitor.request(method, format!("{}{path}", self.base)).body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], "").await
    }

    /// Says something once; the answer, whatever it is.
    async fn try_say(&self, id: &str, key: &str) -> Response {
        let body = json!({ "text": format!("words of {key}") }).to_string();
        let path = format!("/conversations/{id}/turns");
        self.send(Method::POST, &path, &[("idempotency-key", key)], &body).await
    }

    /// Says something until it counts.
    async fn say(&self, id: &str, key: &str) -> Response {
        eventually("an acknowledgement", async || {
            let response = self.try_say(id, key).await;
            if response.status().is_success() { Ok(response) } else { Err(body(response).await) }
        })
        .await
    }

    async fn conversation(&self) -> String {
        let response = eventually("a conversation", async || {
            let response = self.send(Method::POST, "/conversations", &[], "").await;
            if response.status() == StatusCode::CREATED { Ok(response) } else { Err(body(response).await) }
        })
        .await;
        body(response).await["id"].as_str().unwrap().to_owned()
    }

    async fn whole(&self, id: &str) -> Result<Value, Value> {
        let response = self.get(&format!("/conversations/{id}")).await;
        let good = response.status() == StatusCode::OK;
        let body = body(response).await;
        if good { Ok(body) } else { Err(body) }
    }

    /// Keys of a conversation that is told, in order.
    async fn keys(&self, id: &str) -> Vec<String> {
        let whole = eventually("the conversation", async || self.whole(id).await).await;
        let turns = whole["turns"].as_array().unwrap();
        turns.iter().map(|turn| turn["key"].as_str().unwrap().to_owned()).collect()
    }

    fn learn(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(len) = self.events.recv(&mut bytes) {
            let event: Event = serde_json::from_slice(&bytes[..len]).unwrap();
            match event.what {
                What::MemoryState { state, .. } => self.states.push(state),
                What::Note { text } => self.notes.push(text),
                _ => {}
            }
        }
    }

    async fn becomes(&mut self, state: &str) {
        eventually(state, async || {
            self.learn();
            match self.states.last() {
                Some(last) if last == state => Ok(()),
                _ => Err(self.states.clone()),
            }
        })
        .await;
    }

    async fn refuses(&self, id: &str) {
        eventually("a refusal", async || {
            let path = format!("/conversations/{id}");
            let (said, read, ready) =
                (self.try_say(id, "refused").await, self.get(&path).await, self.get("/readyz").await);
            for response in [said, read, ready] {
                if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                    return Err(response);
                }
                assert_eq!(header(&response, "retry-after"), "1");
                assert!(!response.headers().contains_key("x-lab-durability"));
            }
            Ok(())
        })
        .await;
        assert_eq!(self.get("/healthz").await.status(), StatusCode::OK);
    }
}

/// Two webs and their witness.
struct Site2 {
    topology: Topology,
    witness: Running,
    webs: [Web; 2],
}

async fn paired(degrade: Degrade) -> Site2 {
    let topology = topology(degrade);
    let witness = Running::start(&topology);
    let mut webs = [Web::start(&topology, "web1").await, Web::start(&topology, "web2").await];
    for web in &mut webs {
        web.becomes("paired").await;
    }
    Site2 { topology, witness, webs }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_with_a_peer() {
    let site = paired(Degrade::Witness).await;
    let web = super::super::tests::Web::at(&site.webs[0].base);
    assert_statuses(&web, "peer", "pair").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_goes_on_at_either_web() {
    let site = paired(Degrade::Witness).await;
    let [one, other] = &site.webs;
    let id = one.conversation().await;
    for round in 0..10 {
        let key = format!("key-{round}");
        let web = if round % 3 == 0 { other } else { one };
        let response = web.try_say(&id, &key).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{response:?}");
        let claim =
            ["x-lab-durability", "x-lab-epoch", "x-lab-owner"].map(|name| header(&response, name).to_owned());
        assert_eq!(claim, ["pair", "1", "web1"].map(str::to_owned));
        assert_eq!(body(response).await["position"], round);
    }
    assert_eq!(one.whole(&id).await.unwrap(), other.whole(&id).await.unwrap());
    assert_eq!(one.keys(&id).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_through_both_peers_at_once_is_one_turn() {
    let site = paired(Degrade::Witness).await;
    let [one, other] = &site.webs;
    let id = one.conversation().await;
    for round in 0..20 {
        let key = format!("key-{round}");
        let (left, right) = tokio::join!(one.say(&id, &key), other.say(&id, &key));
        let (left, right) = (body(left).await, body(right).await);
        assert_eq!(left, right);
        assert_eq!(left["position"], round);
    }
    assert_eq!(one.whole(&id).await.unwrap(), other.whole(&id).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_dies_and_comes_back_and_then_the_other_dies() {
    let site = paired(Degrade::Witness).await;
    let Site2 { topology, witness: _witness, webs: [mut one, other] } = site;
    let id = one.conversation().await;
    one.say(&id, "both").await;
    one.kill();
    let solo = other.say(&id, "other").await;
    assert_eq!(header(&solo, "x-lab-durability"), "solo");
    assert_eq!(header(&solo, "x-lab-owner"), "web2");
    assert_ne!(header(&solo, "x-lab-epoch"), "1");

    one = Web::start(&topology, "web1").await;
    one.becomes("paired").await;
    assert_eq!(one.states[0], "joining");
    let pair = one.say(&id, "one").await;
    assert_eq!(header(&pair, "x-lab-durability"), "pair");
    other.kill();
    one.say(&id, "last").await;
    assert_eq!(one.keys(&id).await, ["both", "other", "one", "last"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_peer_and_witness_it_refuses_and_loses_nothing() {
    let site = paired(Degrade::Witness).await;
    let Site2 { topology: _, witness, webs: [one, mut other] } = site;
    let id = one.conversation().await;
    one.say(&id, "both").await;
    let stopped = witness.stop().await;
    one.kill();
    other.becomes("fenced").await;
    other.refuses(&id).await;
    let _witness = stopped.start();
    other.say(&id, "alone").await;
    assert_eq!(other.keys(&id).await, ["both", "alone"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_never_be_alone_waits_for_the_other() {
    let site = paired(Degrade::Never).await;
    let Site2 { topology, witness: _witness, webs: [one, mut other] } = site;
    let id = one.conversation().await;
    one.say(&id, "both").await;
    one.kill();
    other.becomes("fenced").await;
    other.refuses(&id).await;
    let one = Web::start(&topology, "web1").await;
    let pair = one.say(&id, "again").await;
    assert_eq!(header(&pair, "x-lab-durability"), "pair");
    assert_eq!(other.keys(&id).await, ["both", "again"]);
    assert!(!other.states.contains(&"alone".to_owned()), "{:?}", other.states);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_always_be_alone_needs_nobody() {
    let site = paired(Degrade::Always).await;
    let Site2 { topology: _, witness, webs: [one, mut other] } = site;
    let id = one.conversation().await;
    one.say(&id, "both").await;
    let _stopped = witness.stop().await;
    one.kill();
    let solo = other.say(&id, "alone").await;
    assert_eq!(header(&solo, "x-lab-durability"), "solo");
    other.becomes("alone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_lost_its_disk_hears_again_who_has_everything() {
    let site = paired(Degrade::Witness).await;
    let Site2 { topology, witness, webs: [one, mut other] } = site;
    let id = one.conversation().await;
    one.say(&id, "both").await;
    drop(witness.stop().await);
    let witness = Running::start(&topology);
    eventually("both are written down", async || match witness.page() {
        Some(page) if page.contains("Both") => Ok(()),
        page => Err(page),
    })
    .await;
    one.kill();
    other.say(&id, "alone").await;
    assert_eq!(other.keys(&id).await, ["both", "alone"]);
    other.learn();
    assert!(other.notes.iter().any(|note| note.contains("the witness has forgotten")), "{:?}", other.notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_is_lost_is_told_to_be() {
    let site = paired(Degrade::Witness).await;
    let Site2 { topology, witness: _witness, webs: [one, other] } = site;
    let id = one.conversation().await;
    one.say(&id, "both").await;
    one.kill();
    other.kill();
    let mut webs = [Web::start(&topology, "web1").await, Web::start(&topology, "web2").await];
    for web in &mut webs {
        web.becomes("paired").await;
        let error = web.whole(&id).await.unwrap_err();
        assert_eq!(error["error"], "no-such-conversation");
    }
    let notes: Vec<&String> = webs.iter().flat_map(|web| &web.notes).collect();
    assert!(notes.iter().any(|note| note.starts_with("memory lost")), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_that_froze_answers_nothing_stale_when_it_wakes() {
    let site = paired(Degrade::Witness).await;
    let [one, mut other] = site.webs;
    let id = one.conversation().await;
    one.say(&id, "both").await;
    let thaw = one.freeze().await;
    // These wait in its kernel until it wakes.
    let path = format!("{}/conversations/{id}", one.base);
    let reads: Vec<_> = (0..8).map(|_| tokio::spawn(one.visitor.get(&path).send())).collect();
    other.becomes("alone").await;
    other.say(&id, "meanwhile").await;
    drop(thaw);
    for read in reads {
        let response = read.await.unwrap().unwrap();
        match response.status() {
            StatusCode::SERVICE_UNAVAILABLE => {}
            StatusCode::OK => {
                assert_eq!(body(response).await["turns"].as_array().unwrap().len(), 2);
            }
            _ => panic!("{response:?}"),
        }
    }
    assert_eq!(one.keys(&id).await, ["both", "meanwhile"]);
    other.becomes("paired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_the_line_between_webs_change_nothing() {
    let site = paired(Degrade::Witness).await;
    let topology = &site.topology;
    let peers = topology.conversation.peers.as_ref().unwrap();
    let address =
        |name: &str| topology.node(&name.parse().unwrap()).unwrap().address_on(&peers.network).unwrap();
    let line = std::net::SocketAddr::new(address("web1").into(), peers.port);
    // Not the other web; then by its address, without the preamble; then with a frame that is too long.
    let long = [b"LPE1".as_slice(), &u32::MAX.to_be_bytes()].concat();
    let strangers: [(&str, &[u8]); 3] = [("db1", b"LPE1"), ("web2", b"HTTP"), ("web2", &long)];
    for (who, says) in strangers {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(std::net::SocketAddr::new(address(who).into(), 0)).unwrap();
        let mut stream = socket.connect(line).await.unwrap();
        let _ = stream.write_all(says).await;
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{who} {says:?}");
    }
    let id = site.webs[0].conversation().await;
    site.webs[1].say(&id, "still").await;
    assert_eq!(site.webs[0].keys(&id).await, ["still"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_of_many_pieces_is_taken_over_while_it_grows() {
    let site = paired(Degrade::Witness).await;
    let Site2 { topology, witness: _witness, webs: [one, other] } = site;
    let id = other.conversation().await;
    let long = "x".repeat(TURN_BYTES_MAX);
    let path = format!("/conversations/{id}/turns");
    let text = json!({ "text": long }).to_string();
    let mut keys = Vec::new();
    for at in 0..64 {
        let key = format!("long-{at}");
        let response = other.send(Method::POST, &path, &[("idempotency-key", &key)], &text).await;
        assert!(response.status().is_success(), "{response:?}");
        keys.push(key);
    }
    one.kill();
    other.say(&id, "alone").await;
    keys.push("alone".to_owned());
    let mut one = Web::start(&topology, "web1").await;
    let growing = async {
        for at in 0..32 {
            let key = format!("growing-{at}");
            other.say(&id, &key).await;
            keys.push(key);
        }
    };
    tokio::join!(growing, one.becomes("paired"));
    assert_eq!(one.keys(&id).await, keys);
    other.kill();
    assert_eq!(one.keys(&id).await, keys);
}
