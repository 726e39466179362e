//! etcd on the database nodes: its arguments, written for the site, and what it says of itself. The webs speak to it in
//! `roles/web/store/etcd.rs`; Patroni may, too.

pub(super) mod gateway;
mod rejoin;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use self::gateway::{Gateway, MemberId};
use self::rejoin::{Beginning, Other};
use super::db::{Directory, Seat};
use super::foreign::member::{self, Answer};
use super::foreign::{Error, Program};
use super::{Reporter, Site};
use crate::kernel::process;
use crate::topology::{ETCD_PEER_PORT, ETCD_PORT, NodeName, StoreEngine};

const PROGRAM: &str = "etcd";
const PACKAGE: &str = "etcd-server";
/// Where it keeps its data, below the node's disk.
const FOLDER: &str = "etcd";
/// As far apart as with our own database would be 50 and 250 ms; below ten heartbeats it elects without need under load.
const HEARTBEAT_MS: u32 = 50;
const ELECTION_MS: u32 = 500;
/// Old values that are kept, for a transcript that is read in pages.
const REVISIONS_KEPT: u32 = 10_000;
/// What it may keep, as much as our own store; its log needs three times 64 MB beside that.
const STORE_BYTES_MAX: usize = crate::conversation::STORE_BYTES_MAX;
/// Patience with an answer about who leads.
const ASK_MAX: Duration = Duration::from_millis(300);

/// Its name and package, if it is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    process::find_program(PROGRAM).is_none().then_some((PROGRAM, PACKAGE))
}

/// Runs a member of etcd until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let path = process::find_program(PROGRAM).ok_or(Error::Missing { program: PROGRAM, package: PACKAGE })?;
    let directory = Directory::of(&site.topology);
    let place = directory.place_of(&site.me).ok_or_else(|| Error::NoSeat(site.me.clone()))?;
    let me = &directory.seats()[place];
    let data = site.disk.join(FOLDER);
    // What it keeps says who it is; without that, the others know whether it was somebody.
    let beginning = match data.join("member").exists() {
        true => Beginning::Existing,
        false => {
            let others = directory.seats().iter().filter(|seat| *seat != me);
            let other = |seat| Other { gateway: Gateway::new(client_url(seat)), peer_url: peer_url(seat) };
            let others: Vec<Other> = others.map(other).collect();
            let failed = |source| Error::Runtime { program: PROGRAM, source };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            runtime.block_on(rejoin::begin(&others, &peer_url(me)))
        }
    };
    let args = arguments(site, directory.seats(), me, &data, beginning);
    // Beside another engine it keeps that one's state, and who leads is that one's to say.
    let leads = site.topology.conversation.engine == StoreEngine::Etcd;
    let mut member = Member::new(Gateway::new(client_url(me)));
    member::run(PROGRAM, Program { path, args }, reporter, async move || {
        let answer = timeout(ASK_MAX, member.ask()).await.ok().flatten()?;
        Some(Answer { leader: answer.leader.filter(|_| leads), ..answer })
    })
}

/// Where clients find a member.
pub(super) fn client_url(seat: &Seat) -> String {
    format!("http://{}:{ETCD_PORT}", seat.address.ip())
}

fn peer_url(seat: &Seat) -> String {
    format!("http://{}:{ETCD_PEER_PORT}", seat.address.ip())
}

/// What it is started with.
fn arguments(site: &Site, seats: &[Seat], me: &Seat, data: &Path, beginning: Beginning) -> Vec<String> {
    let cluster: Vec<String> = seats.iter().map(|seat| format!("{}={}", seat.name, peer_url(seat))).collect();
    let pairs = [
        ("name", me.name.to_string()),
        ("data-dir", data.display().to_string()),
        ("listen-peer-urls", peer_url(me)),
        ("initial-advertise-peer-urls", peer_url(me)),
        ("listen-client-urls", client_url(me)),
        ("advertise-client-urls", client_url(me)),
        ("initial-cluster", cluster.join(",")),
        ("initial-cluster-state", beginning.word().to_owned()),
        ("initial-cluster-token", site.topology.name.to_string()),
        ("heartbeat-interval", HEARTBEAT_MS.to_string()),
        ("election-timeout", ELECTION_MS.to_string()),
        // One that was cut off asks before it raises the term, and so does not depose the leader when it is back.
        ("pre-vote", "true".to_owned()),
        ("quota-backend-bytes", STORE_BYTES_MAX.to_string()),
        ("auto-compaction-mode", "revision".to_owned()),
        ("auto-compaction-retention", REVISIONS_KEPT.to_string()),
        ("max-wals", "1".to_owned()),
        ("max-snapshots", "1".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-outputs", "stderr".to_owned()),
        // Below that it says twenty times a second that a member is away.
        ("log-level", "error".to_owned()),
    ];
    // Patroni comes by the second version of its interface, for a reason that is told there.
    let second = site.topology.conversation.engine == StoreEngine::Postgres;
    let second = second.then(|| ("enable-v2", "true".to_owned()));
    pairs.into_iter().chain(second).map(|(name, value)| format!("--{name}={value}")).collect()
}

/// One member, asked by itself about itself.
struct Member {
    gateway: Gateway,
    names: BTreeMap<MemberId, NodeName>,
}

impl Member {
    fn new(gateway: Gateway) -> Self {
        Self { gateway, names: BTreeMap::new() }
    }

    async fn ask(&mut self) -> Option<Answer> {
        let status = self.gateway.status().await.ok()?;
        let leader = status.leader.filter(|leader| *leader != 0);
        if let Some(leader) = leader.filter(|leader| !self.names.contains_key(leader)) {
            let named = self.gateway.members().await.ok()?.into_iter();
            self.names = named.filter_map(|one| Some((one.id, one.name.parse().ok()?))).collect();
            tracing::debug!("member {leader:x} is {:?}", self.names.get(&leader));
        }
        let name = leader.and_then(|leader| self.names.get(&leader)).cloned();
        Some(Answer { ready: name.is_some(), leader: Some((name, status.raft_term)) })
    }
}

#[cfg(test)]
mod tests;
