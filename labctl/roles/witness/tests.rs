//! The witness over real sockets: it remembers after a restart what it said before, and strangers do not disturb it.

use tokio::task::JoinHandle;

use super::*;
use crate::conversation::peer::{Holders, Incarnation, Member, Side, Verdict, WITNESS_VERSION, Want, Why};
use crate::roles::db::tests::cluster::{self, WAIT_MAX, eventually};
use crate::topology::{Degrade, Memory, Peers, Topology};

/// A site of two webs that remember for each other, on loopback addresses that no other test uses. The witness is `db1`.
pub(crate) fn topology(degrade: Degrade) -> Topology {
    let mut topology = cluster::topology(1, Memory::Peer);
    topology.conversation.peers = Some(Peers {
        webs: ["web1", "web2"].map(|name| name.parse().unwrap()),
        network: "data".parse().unwrap(),
        port: 7100,
        degrade,
        witness: "db1".parse().unwrap(),
        witness_port: 7101,
    });
    topology
}

/// A witness that ends with this value.
pub(crate) struct Running {
    pub(crate) site: Site,
    server: JoinHandle<Result<(), Error>>,
    disk: Option<tempfile::TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Running {
    /// A witness with an empty disk.
    pub(crate) fn start(topology: &Topology) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let me = topology.conversation.peers.as_ref().unwrap().witness.clone();
        let site = Site { topology: topology.clone(), me, disk: disk.path().to_owned() };
        Self::on(site).with(Some(disk))
    }

    fn on(site: Site) -> Self {
        let serving = site.clone();
        let server = tokio::spawn(async move {
            serve(&serving, Reporter::new(None, "witness", None), std::future::pending()).await
        });
        Self { site, server, disk: None }
    }

    fn with(mut self, disk: Option<tempfile::TempDir>) -> Self {
        self.disk = disk;
        self
    }

    /// Ends it without giving it time for anything. Its disk stays. Its port is free on return: tasks that were told to end
    /// do so a moment later, and until then the old socket would take connections of the next witness.
    pub(crate) async fn stop(mut self) -> Stopped {
        self.server.abort();
        let _ = (&mut self.server).await;
        let address = address(&self.site).unwrap();
        eventually("a free port", async || TcpListener::bind(address).await).await;
        Stopped { site: self.site.clone(), disk: self.disk.take() }
    }

    /// What is written down.
    pub(crate) fn page(&self) -> Option<String> {
        Ledger::open::<serde_json::Value>(&self.site.disk).ok()?.1.map(|page| page.to_string())
    }

    async fn connect(&self) -> BufReader<TcpStream> {
        let address = address(&self.site).unwrap();
        let connecting = async || TcpStream::connect(address).await;
        BufReader::new(eventually("a connection", connecting).await)
    }

    async fn ask(&self, from: Member, term: u64, want: Want) -> WitnessReply {
        let mut stream = self.connect().await;
        let ask = Ask { version: WITNESS_VERSION, from, number: 7, term, copy: None, want };
        let frame = frame::encode(&ask).unwrap();
        stream.get_mut().write_all(&[PREAMBLE, frame.as_slice()].concat()).await.unwrap();
        let reply: WitnessReply = frame::read_within(FRAME_BYTES_MAX, &mut stream).await.unwrap();
        assert_eq!((reply.to, reply.number), (from, 7));
        reply
    }

    /// Waits until the connection is closed from the other end.
    async fn closes(stream: &mut BufReader<TcpStream>) {
        let mut rest = Vec::new();
        let _ = timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await.expect("it is closed");
        assert!(rest.is_empty());
    }
}

/// A witness that does not run.
pub(crate) struct Stopped {
    site: Site,
    disk: Option<tempfile::TempDir>,
}

impl Stopped {
    pub(crate) fn start(self) -> Running {
        let running = Running::on(self.site);
        running.with(self.disk)
    }
}

fn member(side: Side, incarnation: u64) -> Member {
    Member { side, incarnation: Incarnation(incarnation) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_said_holds_after_a_restart() {
    let witness = Running::start(&topology(Degrade::Witness));
    let (first, second) = (member(Side::First, 10), member(Side::Second, 20));
    let founds = Want::Found { met: Some(second) };
    let reply = eventually("a lease", async || match witness.ask(first, 0, founds).await {
        reply if matches!(reply.verdict, Verdict::Granted { .. }) => Ok(reply),
        early => Err(early),
    })
    .await;
    let term = reply.record.term;
    assert_eq!(reply.record.holders, Holders::One(first));

    let witness = witness.stop().await.start();
    let refused = witness.ask(second, term, Want::Found { met: None }).await;
    assert_eq!(refused.verdict, Verdict::Refused(Why::HolderLives));
    assert_eq!(refused.record.holders, Holders::One(first));
    let renewed = witness.ask(first, term, Want::Renew).await;
    assert!(matches!(renewed.verdict, Verdict::Granted { .. }), "{renewed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_hung_up_on() {
    let witness = Running::start(&topology(Degrade::Witness));
    let mut other = witness.connect().await;
    other.get_mut().write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    Running::closes(&mut other).await;
    let mut long = witness.connect().await;
    let len = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    long.get_mut().write_all(&[PREAMBLE.as_slice(), &len].concat()).await.unwrap();
    Running::closes(&mut long).await;
    let reply = witness.ask(member(Side::First, 1), 0, Want::Renew).await;
    assert_eq!(reply.verdict, Verdict::Refused(Why::NotHolder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_the_witness_is_told() {
    let topology = topology(Degrade::Witness);
    let site = Site { topology, me: "web1".parse().unwrap(), disk: "/nonexistent".into() };
    let error = serve(&site, Reporter::new(None, "witness", None), std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "web1 is not the witness of the site");
}
