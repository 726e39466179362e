//! Patroni and the PostgreSQL that it looks after, on the database nodes: its configuration, written for the site, and what it
//! says of itself. Its state is in the etcd beside it; the webs speak to PostgreSQL in `roles/web/store/postgres.rs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::db::{Directory, Seat};
use super::etcd::client_url;
use super::etcd::gateway::Gateway;
use super::foreign::member::{self, Answer};
use super::foreign::{self, Error, Program};
use super::{Reporter, Site};
use crate::kernel::process;
use crate::kernel::user::Ordinary;
use crate::topology::{ETCD_PORT, PATRONI_PORT, POSTGRES_PORT};

const PROGRAM: &str = "patroni";
const PACKAGE: &str = "patroni";
/// What Patroni looks after.
pub const POSTGRES: &str = "postgres";
const POSTGRES_PACKAGE: &str = "postgresql";
/// Where Debian keeps every version of PostgreSQL, in a folder of its number.
const VERSIONS: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";
/// Its part of the node's disk.
const FOLDER: &str = "postgres";
/// Its part of the node's `/run`: sockets and what changes.
const RUN: &str = "/run/labctl/postgres";
/// Tables of the conversations, made once by whoever bootstraps.
const SCHEMA: &str = include_str!("patroni/schema.sql");

/// How long the primary's claim lasts. Patroni wants at least its round and twice its patience with etcd, which is this; later
/// versions than Debian's 3.0 make 20 of everything below 20.
const TTL_S: u32 = LOOP_S + 2 * RETRY_S;
/// From one round of Patroni to the next.
const LOOP_S: u32 = 1;
/// Its patience with etcd and PostgreSQL: one second for each of three members of etcd.
const RETRY_S: u32 = 3;
/// How long a standby may be silent, and the primary to a standby.
const SILENCE_MAX: &str = "3s";
/// Patroni that finds no etcd rests for five seconds, so it is started when etcd is there, or after this long.
const ETCD_MAX: Duration = Duration::from_secs(15);
/// From one look at etcd to the next.
const ETCD_REST: Duration = Duration::from_millis(50);
/// Patience with an answer about who leads.
const ASK_MAX: Duration = Duration::from_millis(300);
/// Rest before a question: each costs Patroni a thread, and it is written in Python.
const ASK_REST: Duration = Duration::from_millis(150);

/// The name and package of the first that is not installed.
pub fn missing() -> Option<(&'static str, &'static str)> {
    match (process::find_program(PROGRAM), binaries()) {
        (None, _) => Some((PROGRAM, PACKAGE)),
        (_, None) => Some((POSTGRES, POSTGRES_PACKAGE)),
        (Some(_), Some(_)) => super::etcd::missing(),
    }
}

/// The programs of the newest PostgreSQL of this machine.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?.flatten();
    let numbers = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let folder = |number: u32| Path::new(VERSIONS).join(number.to_string()).join("bin");
    numbers.filter(|number| folder(*number).join(POSTGRES).is_file()).max().map(folder)
}

/// Where PostgreSQL itself is, if it is installed.
pub fn server() -> Option<PathBuf> {
    binaries().map(|folder| folder.join(POSTGRES))
}

/// Runs Patroni until SIGTERM.
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let path = process::find_program(PROGRAM).ok_or(Error::Missing { program: PROGRAM, package: PACKAGE })?;
    let missing = Error::Missing { program: POSTGRES, package: POSTGRES_PACKAGE };
    let binaries = binaries().ok_or(missing)?;
    let directory = Directory::of(&site.topology);
    let place = directory.place_of(&site.me).ok_or_else(|| Error::NoSeat(site.me.clone()))?;
    let me = directory.seats()[place].clone();

    let user = Ordinary::named(USER)?;
    let disk = site.disk.join(FOLDER);
    [disk.as_path(), Path::new(RUN)].into_iter().try_for_each(|folder| user.own_folder(folder))?;
    let schema = foreign::write("schema.sql", SCHEMA)?;
    let text = configuration(site, &directory, &me, &Places { disk, binaries, schema });
    let file = foreign::write("patroni.yml", &text)?;
    user.become_for_good()?;
    // PostgreSQL is no child of Patroni. It should share the fate of this service all the same.
    process::adopt_orphans().map_err(|source| Error::System { act: "adopt PostgreSQL", source })?;
    await_etcd(&me)?;

    let url = format!("http://{}:{PATRONI_PORT}/cluster", me.address.ip());
    let (name, http) = (site.me.to_string(), reqwest::Client::new());
    let args = vec![file.display().to_string()];
    member::run(PROGRAM, Program { path, args }, reporter, async move || {
        sleep(ASK_REST).await;
        let asked = async { http.get(&url).send().await.ok()?.json::<Cluster>().await.ok() };
        timeout(ASK_MAX, asked).await.ok().flatten().map(|cluster| cluster.seen_by(&name))
    })
}

/// Returns when the etcd of this node follows a leader.
fn await_etcd(me: &Seat) -> Result<(), Error> {
    let failed = |source| Error::Runtime { program: PROGRAM, source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let (gateway, deadline) = (Gateway::new(client_url(me)), Instant::now() + ETCD_MAX);
        while Instant::now() < deadline {
            let status = timeout(ASK_MAX, gateway.status()).await;
            if status.is_ok_and(|status| status.is_ok_and(|status| status.leader.is_some_and(|id| id != 0))) {
                return;
            }
            sleep(ETCD_REST).await;
        }
        tracing::warn!("etcd knows no leader yet; {PROGRAM} is started all the same");
    });
    Ok(())
}

/// How many standbys make a majority together with the primary.
pub(super) fn standbys(directory: &Directory) -> usize {
    directory.seats().len() / 2
}

/// Where things are on this machine.
struct Places {
    disk: PathBuf,
    binaries: PathBuf,
    schema: PathBuf,
}

/// Its configuration for this node. Nobody but webs and databases is on the network that it trusts, so there are no passwords.
fn configuration(site: &Site, directory: &Directory, me: &Seat, places: &Places) -> String {
    let (name, ip, disk) = (&me.name, me.address.ip(), places.disk.display());
    let etcd: Vec<String> =
        directory.seats().iter().map(|seat| format!("{}:{ETCD_PORT}", seat.address.ip())).collect();
    let networks = site.topology.networks.values().find(|network| ip_is_in(ip, network));
    let trusted = networks.map_or_else(|| format!("{ip}/32"), |network| network.trunc().to_string());
    let mut text = format!("# Written by labctl for {name}.\nscope: {}\nname: {name}\n", site.topology.name);
    let rest = format!("{ip}:{PATRONI_PORT}");
    let _ = writeln!(text, "restapi: {{ listen: \"{rest}\", connect_address: \"{rest}\" }}");
    // By the third version of etcd's interface, Patroni 3.0 renews its claim by an unconditional write: one that hung for
    // longer than its claim lasts may take it from whoever was promoted meanwhile, and what that one acknowledged is lost
    // (github.com/patroni/patroni/pull/2689).
    let _ = writeln!(text, "etcd: {{ hosts: [{}] }}", listed(&etcd));
    let _ = writeln!(text, "bootstrap:\n  dcs:");
    let _ = writeln!(text, "    ttl: {TTL_S}\n    loop_wait: {LOOP_S}\n    retry_timeout: {RETRY_S}");
    // What is acknowledged is on the primary and on the standbys of which one may take over from it.
    text += "    synchronous_mode: true\n    synchronous_mode_strict: true\n";
    let _ = writeln!(text, "    synchronous_node_count: {}", standbys(directory));
    // A new primary makes slots in its second round only, and until then nobody could follow it.
    text += "    postgresql:\n      use_pg_rewind: true\n      use_slots: false\n      parameters:\n";
    for (name, value) in PARAMETERS {
        let _ = writeln!(text, "        {name}: \"{value}\"");
    }
    text += "  initdb: [{ encoding: UTF8 }, { locale: C }, data-checksums]\n";
    let psql = places.binaries.join("psql");
    let _ = writeln!(
        text,
        "  post_bootstrap: {} --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --file={}",
        psql.display(),
        places.schema.display()
    );
    let _ = writeln!(text, "postgresql:\n  listen: \"{ip},127.0.0.1:{POSTGRES_PORT}\"");
    let _ = writeln!(text, "  connect_address: \"{ip}:{POSTGRES_PORT}\"");
    let _ = writeln!(text, "  data_dir: {disk}/data\n  bin_dir: {}", places.binaries.display());
    let _ = writeln!(text, "  pgpass: {RUN}/pgpass\n  use_unix_socket: true");
    let _ = writeln!(text, "  parameters: {{ unix_socket_directories: {RUN} }}");
    // With a slot, the backup of a standby to be would count as a standby, and turns be acknowledged because of it.
    text += "  basebackup: [{ checkpoint: fast }, no-slot]\n";
    text += "  pg_hba:\n";
    let from = ["local DATABASE all trust".to_owned()].into_iter();
    // Patroni asks its own standby by the way of replication whether it must be rewound.
    let from = from.chain(["127.0.0.1/32", &trusted].map(|from| format!("host DATABASE all {from} trust")));
    for line in from {
        for database in ["all", "replication"] {
            let _ = writeln!(text, "    - {}", line.replace("DATABASE", database));
        }
    }
    text += "  authentication:\n    superuser: { username: postgres }\n    replication: { username: replicator }\n";
    // There is no such device in a lab.
    text += "watchdog: { mode: \"off\" }\n";
    text
}

/// Of PostgreSQL, the same on all of them.
const PARAMETERS: [(&str, &str); 16] = [
    // On the disk of the standby, too.
    ("synchronous_commit", "on"),
    ("max_connections", "100"),
    ("shared_buffers", "16MB"),
    // The disks of a lab are small. A standby that is away while more than this is written does not find back.
    ("min_wal_size", "32MB"),
    ("max_wal_size", "64MB"),
    ("wal_keep_size", "64MB"),
    ("wal_sender_timeout", SILENCE_MAX),
    ("wal_receiver_timeout", SILENCE_MAX),
    ("wal_retrieve_retry_interval", "250ms"),
    // A web that lost its power must not keep its connections, nor what they locked.
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("checkpoint_warning", "0"),
    ("log_checkpoints", "off"),
];

fn ip_is_in(ip: std::net::IpAddr, network: &ipnet::Ipv4Net) -> bool {
    matches!(ip, std::net::IpAddr::V4(ip) if network.contains(&ip))
}

fn listed(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// What Patroni says of all of them.
#[derive(Debug, Deserialize)]
struct Cluster {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
struct Member {
    name: String,
    role: String,
    state: String,
    /// Begins anew with every promotion. There is none while it is not known.
    #[serde(default)]
    timeline: Option<u64>,
}

impl Cluster {
    /// A primary without its standby acknowledges nothing, so it is not ready.
    fn seen_by(&self, me: &str) -> Answer {
        let leader = self.members.iter().find(|member| member.role == "leader");
        let running = |member: &&Member| matches!(member.state.as_str(), "running" | "streaming");
        let runs = self.members.iter().filter(running).any(|member| member.name == me);
        let kept = self.members.iter().filter(running).any(|member| member.role == "sync_standby");
        let timeline = self.members.iter().filter_map(|member| member.timeline).max();
        Answer {
            ready: runs && kept && leader.is_some(),
            leader: timeline.map(|timeline| (leader.and_then(|leader| leader.name.parse().ok()), timeline)),
        }
    }
}

#[cfg(test)]
mod tests;
