//! Redis on the database nodes, and a Sentinel beside each: their configuration, written for the site, and what they say of
//! themselves. Replication is asynchronous, as Redis has it: this is the control case, and nothing here makes it safer. The
//! webs speak to it in `roles/web/store/redis.rs`.
#![cfg_attr(not(feature = "redis"), allow(dead_code, unused_imports, reason = "nobody is there to be told"))]

#[cfg(feature = "redis")]
pub(super) mod speech;

use std::path::{Path, PathBuf};

use super::db::{Directory, Seat};
#[cfg(feature = "redis")]
use super::foreign::member::{self, Answer};
use super::foreign::{Error, Program};
use super::{Reporter, Site};
use crate::kernel::process;
use crate::topology::{REDIS_PORT, SENTINEL_PORT};

const PROGRAM: &str = "redis-server";
const PACKAGE: &str = "redis-server";
/// A Sentinel is a Redis with another job, in a package of its own on Debian.
const SENTINEL: &str = "redis-sentinel";
const SENTINEL_PACKAGE: &str = "redis-sentinel";
/// Where both keep their data and their configuration, which they rewrite themselves, below the node's disk.
const FOLDER: &str = "redis";
/// What the Sentinels call the primary and its replicas.
pub(super) const SITE: &str = "site";
/// Silence after which a Sentinel takes an instance for dead; 30 s by default, which is for sites and not for labs.
const DOWN_AFTER_MS: u32 = 500;
/// How long a failover may take before another is tried.
const FAILOVER_MAX_MS: u32 = 3_000;

/// The first of its parts that is not installed, and its package.
pub fn missing() -> Option<(&'static str, &'static str)> {
    let parts = [(PROGRAM, PACKAGE), (SENTINEL, SENTINEL_PACKAGE)];
    parts.into_iter().find(|(program, _)| process::find_program(program).is_none())
}

/// One node's part.
struct Place {
    seats: Vec<Seat>,
    place: usize,
    folder: PathBuf,
}

impl Place {
    fn of(site: &Site) -> Result<Self, Error> {
        let directory = Directory::of(&site.topology);
        let place = directory.place_of(&site.me).ok_or_else(|| Error::NoSeat(site.me.clone()))?;
        let folder = site.disk.join(FOLDER);
        Ok(Self { seats: directory.seats().to_vec(), place, folder })
    }

    fn me(&self) -> &Seat {
        &self.seats[self.place]
    }

    /// What Redis is told; whoever is not the primary follows it.
    fn server(&self, primary: &Seat) -> String {
        let mut text = format!(
            "# Written by labctl for {}.\nbind {}\nport {REDIS_PORT}\nprotected-mode no\n{}",
            self.me().name,
            self.me().address.ip(),
            SERVER
        );
        text +=
            &format!("dir {}\nmaxmemory {}\n", self.folder.display(), crate::conversation::STORE_BYTES_MAX);
        if primary != self.me() {
            text += &format!("replicaof {} {REDIS_PORT}\n", primary.address.ip());
        }
        text
    }

    /// What a Sentinel is told.
    fn sentinel(&self, primary: &Seat) -> String {
        let quorum = self.seats.len() / 2 + 1;
        let monitored = primary.address.ip();
        format!(
            "# Written by labctl for {}.\nbind {}\nport {SENTINEL_PORT}\nprotected-mode no\ndir {}\n\
             sentinel monitor {SITE} {monitored} {REDIS_PORT} {quorum}\n\
             sentinel down-after-milliseconds {SITE} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {SITE} {FAILOVER_MAX_MS}\n",
            self.me().name,
            self.me().address.ip(),
            self.folder.display(),
        )
    }
}

/// What does not differ between nodes. A log that is written before the answer and flushed each second is what most people
/// run, and survives a killed process; that nobody waits for replicas is the default.
const SERVER: &str = "\
appendonly yes
appendfsync everysec
save \"\"
maxmemory-policy noeviction
repl-diskless-sync-delay 0
repl-ping-replica-period 1
repl-timeout 5
shutdown-timeout 1
";

/// Writes a file that the program rewrites itself, unless it has one and there is nothing better.
fn put(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    std::fs::write(path, text).map_err(failed)
}

fn program(name: &'static str, package: &'static str) -> Result<PathBuf, Error> {
    process::find_program(name).ok_or(Error::Missing { program: name, package })
}

/// Runs a Redis until SIGTERM.
#[cfg(feature = "redis")]
pub fn run(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let path = program(PROGRAM, PACKAGE)?;
    let place = Place::of(site)?;
    let file = place.folder.join("redis.conf");
    // One that was away may have been replaced meanwhile, which only the others know.
    match speech::elected(&place.seats, place.place)? {
        Some(primary) => put(&file, &place.server(&place.seats[primary]))?,
        None if !file.exists() => put(&file, &place.server(&place.seats[0]))?,
        None => {}
    }
    let mut server = speech::Server::new(&place.seats, place.place);
    let args = vec![file.display().to_string()];
    member::run(PROGRAM, Program { path, args }, reporter, async move || {
        let (follows, epoch, ready) = server.ask().await?;
        let leader = follows.and_then(|address| place.seats.iter().find(|seat| seat.address.ip() == address));
        let name = leader.map(|seat| seat.name.clone());
        Some(Answer { ready: ready && name.is_some(), leader: Some((name, epoch)) })
    })
}

/// Runs a Sentinel until SIGTERM.
#[cfg(feature = "redis")]
pub fn watch(site: &Site, reporter: Reporter) -> Result<(), Error> {
    let path = program(SENTINEL, SENTINEL_PACKAGE)?;
    let place = Place::of(site)?;
    let file = place.folder.join("sentinel.conf");
    // What it has found out itself is in the file, votes included.
    if !file.exists() {
        let primary = speech::elected(&place.seats, place.place)?.unwrap_or(0);
        put(&file, &place.sentinel(&place.seats[primary]))?;
    }
    let mut sentinel = speech::Sentinel::new(place.me(), place.seats.len() - 1);
    let args = vec![file.display().to_string()];
    member::run(SENTINEL, Program { path, args }, reporter, async move || {
        let ready = sentinel.ask().await?;
        Some(Answer { ready, leader: None })
    })
}

/// Runs a Redis until SIGTERM.
#[cfg(not(feature = "redis"))]
pub fn run(_: &Site, _: Reporter) -> Result<(), Error> {
    Err(Error::Unbuilt("redis"))
}

/// Runs a Sentinel until SIGTERM.
#[cfg(not(feature = "redis"))]
pub fn watch(_: &Site, _: Reporter) -> Result<(), Error> {
    Err(Error::Unbuilt("redis"))
}

#[cfg(test)]
mod tests;
