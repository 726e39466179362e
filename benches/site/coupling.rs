//! What web and database take from each other on one machine, and what they do not on two: the same faults in
//! `topologies/separate.yaml` and `topologies/colocated.yaml`, by turns. Figures are for comparing the two columns only.
#![allow(clippy::disallowed_methods, reason = "a benchmark owns the clock")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use labctl::holder::client;
use labctl::holder::protocol::{NodeState, NodeStatus, Status};
use labctl::kernel::namespace;
use labctl::kernel::process::Spawn;

use super::lab::{LABCTL, Lab};
use super::page::{Page, Table, quantile};
use super::shell::{Error, Shell};

/// The two placements, and what they are called in the table.
const PLACEMENTS: [(&str, &str); 2] =
    [("apart", "topologies/separate.yaml"), ("together", "topologies/colocated.yaml")];
/// Turns, and questions without a database, in each phase and placement; the rest between two keeps web1 far from its share of the processor.
const TURNS: usize = 100;
const TURN_REST: Duration = Duration::from_millis(20);
/// From where web1 is spoken to, and where it listens.
const SPEAKER: (&str, &str) = ("proxy1", "10.10.1.21:8080");
/// A node's answer, and its hog's, may take so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const ASK_WITHIN: Duration = Duration::from_secs(30);
/// How long a hog goes on, unless its phase ends earlier.
const HOG_LASTS: &str = "120s";
const LEAK: [&str; 6] = ["--memory", "144MiB", "--workers", "48", "--for", "3s"];
/// How often a fact is looked at, and how long it may take.
const LOOK: Duration = Duration::from_millis(50);

pub fn measure(shell: &Shell, runs: u32, page: &mut Page) -> Result<(), Error> {
    page.note(
        "turns are HTTP requests from a proxy straight to web1, one each 20 ms and one at a time, in both labs by turns; \
         a hog is on the machine of web1 in `together`, and in `apart` on that of a database that web1 can do without"
            .to_owned(),
    );
    let table = page.table("What reaches web1, and what is left", &["fault", "figure", "placement"]);
    for run in 1..=runs {
        eprintln!("coupling: run {run} of {runs}");
        round(shell, table)?;
    }
    Ok(())
}

/// One of the two sites.
struct Site<'a> {
    placement: &'static str,
    /// Before the lab, which cannot end while somebody holds a socket in it.
    speaker: Speaker,
    lab: Lab<'a>,
    shell: &'a Shell,
    neighbour: &'static str,
}

/// A hog that ends with this value.
struct Hog(Child);

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn round(shell: &Shell, table: &mut Table) -> Result<(), Error> {
    let mut sites = Vec::new();
    for (placement, file) in PLACEMENTS {
        let mut lab = Lab::named(shell, placement);
        lab.up(file)?;
        let status = status(shell, lab.name())?;
        let leader = status.raft_leader.as_ref().map(|leader| leader.as_str().to_owned());
        let neighbour = match (placement, leader.as_deref()) {
            ("together", _) => "web1",
            (_, Some("db3")) => "db2",
            _ => "db3",
        };
        let speaker = Speaker::of(lab.name())?;
        sites.push(Site { placement, lab, shell, speaker, neighbour });
    }
    turns(&mut sites, "none", table)?;

    let before = sites.iter().map(Site::throttled).collect::<Result<Vec<_>, _>>()?;
    let hogs = sites.iter().map(|site| site.hog(&["--cpu", "2", "--for", HOG_LASTS]));
    let hogs = hogs.collect::<Result<Vec<_>, _>>()?;
    turns(&mut sites, "busy threads", table)?;
    drop(hogs);
    for (site, before) in sites.iter().zip(before) {
        table.add(
            &["busy threads", "periods in which web1 was throttled", site.placement],
            site.throttled()? - before,
        );
    }

    for site in &sites {
        let mut hog = site.hog(&LEAK)?;
        hog.0.wait()?;
    }
    for site in &sites {
        let web1 = site.web1()?;
        let ended: u32 = web1.services.values().map(|service| u32::from(service.last_exit.is_some())).sum();
        table.add(&["leak", "services of web1 that ended", site.placement], f64::from(ended));
        let killed = web1.counters.and_then(|it| it.memory).map_or(0, |it| it.oom_kill);
        table.add(&["leak", "processes killed on web1", site.placement], killed as f64);
    }

    for site in &sites {
        site.until("web1 and all databases run", |status| {
            services(status, "db") == 3 && services(status, "web") == 2
        })?;
        let ended = databases_ended(&site.status()?);
        let mut hog = Hog(site.spawn("web1", &["--disk", "64MiB", "--for", HOG_LASTS], Stdio::piped())?);
        let mut line = String::new();
        BufReader::new(hog.0.stdout.take().ok_or_else(|| unfit("the hog is silent"))?)
            .read_line(&mut line)?;
        // Something must be written; whether it is acknowledged is not the question here.
        let _ = Speaker::of(site.lab.name()).and_then(|mut speaker| speaker.say());
        site.shell.rest(Duration::from_millis(500))?;
        let ended = databases_ended(&site.status()?).saturating_sub(ended);
        table.add(&["disk of web1 full", "databases that ended", site.placement], f64::from(ended));
    }

    for site in &sites {
        site.until("web1 and all databases run", |status| {
            services(status, "db") == 3 && services(status, "web") == 2
        })?;
        site.labctl(&["power", "off", "web1"])?;
        let left = services(&site.status()?, "db");
        table.add(&["web1 off", "databases left", site.placement], left as f64);
    }
    for Site { mut lab, speaker, .. } in sites {
        // It keeps the namespace of its node alive.
        drop(speaker);
        lab.down(true)?;
    }
    Ok(())
}

/// The same number of turns in each, by turns.
fn turns(sites: &mut [Site], fault: &str, table: &mut Table) -> Result<(), Error> {
    compare(sites, fault, ["health p50, ms", "health p99, ms", "health refused"], table, Speaker::greet)?;
    compare(sites, fault, ["turn p50, ms", "turn p99, ms", "turns refused with 503"], table, Speaker::say)
}

fn compare(
    sites: &mut [Site],
    fault: &str,
    names: [&str; 3],
    table: &mut Table,
    ask: impl Fn(&mut Speaker) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut took = vec![Vec::new(); sites.len()];
    for _ in 0..TURNS {
        for (site, took) in sites.iter_mut().zip(&mut took) {
            let began = Instant::now();
            match ask(&mut site.speaker) {
                Ok(()) => took.push(began.elapsed().as_secs_f64() * 1e3),
                // A web that says so has no database that answers in time.
                Err(Error::Unfit(why)) if why.contains(" 503 ") => {}
                Err(error) => return Err(error),
            }
            site.shell.rest(TURN_REST)?;
        }
    }
    for (site, took) in sites.iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        table.add(&[fault, names[2], site.placement], (TURNS - took.len()) as f64);
        if took.is_empty() {
            return Err(Error::Unfit(format!("web1 answered nothing, {}", site.placement)));
        }
    }
    for (name, q) in names.into_iter().zip([0.5, 0.99]) {
        let values: Vec<f64> = took.iter().map(|took| quantile(took, q)).collect();
        for (site, value) in sites.iter().zip(&values) {
            table.add(&[fault, name, site.placement], *value);
        }
        table.add(&[fault, name, "together / apart"], values[1] / values[0]);
    }
    Ok(())
}

fn unfit(why: &str) -> Error {
    Error::Unfit(why.to_owned())
}

fn status(shell: &Shell, lab: &str) -> Result<Status, Error> {
    let args = ["status", lab, "--format", "json"];
    let done = shell.run(OsStr::new(LABCTL), &args, ASK_WITHIN)?.well()?;
    serde_json::from_str(&done.stdout).map_err(|source| Error::Strange { line: done.line.clone(), source })
}

/// How many nodes that are up run a service.
fn services(status: &Status, name: &str) -> usize {
    let up = status.nodes.iter().filter(|node| node.state == NodeState::Up);
    let all = up.flat_map(|node| &node.services);
    all.filter(|(service, is)| service.as_str() == name && is.running && is.ready).count()
}

/// How often databases were started again.
fn databases_ended(status: &Status) -> u32 {
    let all = status.nodes.iter().flat_map(|node| &node.services);
    all.filter(|(name, _)| name.as_str() == "db").map(|(_, is)| is.starts - u32::from(is.running)).sum()
}

impl Site<'_> {
    fn status(&self) -> Result<Status, Error> {
        status(self.shell, self.lab.name())
    }

    fn web1(&self) -> Result<NodeStatus, Error> {
        let nodes = self.status()?.nodes;
        nodes.into_iter().find(|node| node.name.as_str() == "web1").ok_or_else(|| unfit("there is no web1"))
    }

    fn throttled(&self) -> Result<f64, Error> {
        let counted = self.web1()?.counters.and_then(|counters| counters.cpu);
        counted
            .map(|cpu| cpu.nr_throttled as f64)
            .ok_or_else(|| unfit("nobody counts the processors of web1"))
    }

    fn labctl(&self, words: &[&str]) -> Result<(), Error> {
        let (verb, rest) = words.split_at(words.len() - 1);
        let args = [verb, &["--lab", self.lab.name()], rest].concat();
        self.shell.run(OsStr::new(LABCTL), &args, ASK_WITHIN)?.well().map(drop)
    }

    fn spawn(&self, node: &str, appetite: &[&str], stdout: Stdio) -> Result<Child, Error> {
        let args = [&["hog", "--lab", self.lab.name(), node], appetite].concat();
        let spawn = Spawn {
            program: OsStr::new(LABCTL),
            args: args.iter().map(OsStr::new).collect(),
            stdout,
            ..Spawn::own(&[])
        };
        Ok(spawn.start()?)
    }

    fn hog(&self, appetite: &[&str]) -> Result<Hog, Error> {
        Ok(Hog(self.spawn(self.neighbour, appetite, Stdio::null())?))
    }

    fn until(&self, what: &str, is: impl Fn(&Status) -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + ASK_WITHIN;
        while !is(&self.status()?) {
            if Instant::now() > deadline {
                return Err(Error::Unfit(format!("{}: {what}: not within {ASK_WITHIN:?}", self.placement)));
            }
            self.shell.rest(LOOK)?;
        }
        Ok(())
    }
}

/// A conversation with web1 over one connection.
struct Speaker {
    stream: BufReader<TcpStream>,
    turns: String,
    said: usize,
}

impl Speaker {
    fn of(lab: &str) -> Result<Self, Error> {
        let strange = |error: &dyn std::error::Error| Error::Unfit(error.to_string());
        let name = lab.parse().map_err(|error| strange(&error as &labctl::topology::NameError))?;
        let from = SPEAKER.0.parse().map_err(|error| strange(&error as &labctl::topology::NameError))?;
        let init = client::Lab::find(Some(name)).and_then(|lab| lab.enter(&from));
        let init = init.map_err(|error| strange(&error))?;
        let stream = namespace::inside(init.as_fd(), || TcpStream::connect(SPEAKER.1));
        let stream = stream.map_err(|error| strange(&error))??;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_nodelay(true)?;
        let mut speaker = Self { stream: BufReader::new(stream), turns: String::new(), said: 0 };
        let body = speaker.post("/conversations", "", "{}")?;
        let begun: serde_json::Value = serde_json::from_slice(&body).map_err(std::io::Error::from)?;
        let id = begun["id"].as_str().ok_or_else(|| unfit("web1 began no conversation"))?;
        speaker.turns = format!("/conversations/{id}/turns");
        Ok(speaker)
    }

    fn say(&mut self) -> Result<(), Error> {
        self.said += 1;
        let (path, key) = (self.turns.clone(), format!("Idempotency-Key: {}\r\n", self.said));
        self.post(&path, &key, r#"{"text":"so"}"#).map(drop)
    }

    /// Whether the web is well, which it can say without any database.
    fn greet(&mut self) -> Result<(), Error> {
        self.ask("GET /healthz HTTP/1.1\r\nHost: web1\r\n\r\n").map(drop)
    }

    fn post(&mut self, path: &str, headers: &str, body: &str) -> Result<Vec<u8>, Error> {
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: web1\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n\
             {body}",
            body.len()
        ))
    }

    fn ask(&mut self, request: &str) -> Result<Vec<u8>, Error> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut len, mut first) = (String::new(), 0, None);
        while line != "\r\n" {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(unfit("web1 closed the connection"));
            }
            first.get_or_insert_with(|| line.clone());
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                len = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        match first.unwrap_or_default() {
            line if line.contains(" 20") => Ok(body),
            line => Err(Error::Unfit(format!("web1 answered {}", line.trim()))),
        }
    }
}
