//! Machines that are shared and machines that are not: what one thing takes from another. The two labs are called `together`
//! and `apart` in the scenarios; figures are compared between the two, and never with a time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cucumber::{then, when};
use labctl::holder::client::Lab;
use labctl::holder::protocol::{NodeState, NodeStatus, Status};
use labctl::kernel::cgroup::{CpuCounters, MemoryCounters};
use labctl::kernel::process::PidFd;
use labctl::topology::NodeName;
use nix::sys::signal::Signal;

use super::forwarding::inside;
use crate::audit::Audit;
use crate::visit::connection::Speaker;
use crate::world::{World, labctl};

/// Questions of which the median is taken, in each lab.
const QUESTIONS: usize = 25;
/// From one question to the next: few enough that nobody is stopped for them.
const REST: Duration = Duration::from_millis(20);
/// Whoever speaks to web1, and from where.
const SPEAKER: [&str; 3] = ["proxy1", "10.10.1.11", "10.10.1.21:8080"];
/// A hog lives at most so long; its scenario ends it earlier.
const HOG_LASTS: &str = "30s";
/// More than any machine of the two labs has, by processes of which none is as large as a web or a database.
const LEAK: [&str; 6] = ["--memory", "144MiB", "--workers", "48", "--for", "3s"];
const FULL_DISK: [&str; 2] = ["--disk", "64MiB"];

/// Somebody who uses up what others need, until this value ends.
#[derive(Debug)]
pub struct Hog(Child);

impl Hog {
    fn send(lab: &Lab, node: &NodeName, appetite: &[&str]) -> Result<Self, String> {
        let mut hog = labctl();
        hog.args(["hog", "--lab", lab.name().as_str(), node.as_str()]).args(appetite);
        let child = hog.stdout(Stdio::piped()).spawn().map_err(|error| format!("send a hog: {error}"))?;
        Ok(Self(child))
    }

    /// Waits for the line that it says when it has what it can get.
    fn hears(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().ok_or("the hog has no standard output")?;
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(line)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(lab: &Lab) -> Result<Status, String> {
    lab.status().map_err(|error| error.to_string())
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a well-formed name")
}

/// Who is a neighbour of web1: the database that web1 shares its machine with, or one that web1 can do without, since it
/// neither leads nor is the one that web1 asks, which is the first.
fn neighbour(lab: &Lab, shared: bool) -> Result<NodeName, String> {
    let leader = status(lab)?.raft_leader.ok_or("there is no leader")?;
    Ok(match (shared, leader.as_str()) {
        (true, _) => name("web1"),
        (false, "db3") => name("db2"),
        (false, _) => name("db3"),
    })
}

/// The lab in which web1 shares its machine, and the one in which it does not, each with web1's neighbour.
fn both(world: &World) -> Result<[(Lab, NodeName); 2], String> {
    let (together, apart) = (world.lab_called("together")?, world.lab_called("apart")?);
    let (near, far) = (neighbour(&together, true)?, neighbour(&apart, false)?);
    Ok([(together, near), (apart, far)])
}

fn node<'s>(status: &'s Status, node: &NodeName) -> Result<&'s NodeStatus, String> {
    status.node(node).ok_or_else(|| format!("there is no {node}"))
}

fn cpu(lab: &Lab, of: &NodeName) -> Result<CpuCounters, String> {
    let status = status(lab)?;
    let counters = node(&status, of)?.counters.and_then(|counters| counters.cpu);
    counters.ok_or_else(|| format!("nobody counts the processors of {of}"))
}

fn memory(lab: &Lab, of: &NodeName) -> Result<MemoryCounters, String> {
    let status = status(lab)?;
    let counters = node(&status, of)?.counters.and_then(|counters| counters.memory);
    counters.ok_or_else(|| format!("nobody counts the memory of {of}"))
}

#[when("a neighbour of web1 keeps two threads busy, on the same machine in together and on another in apart")]
fn busy(world: &mut World) -> Result<(), String> {
    for (lab, neighbour) in both(world)? {
        world.hogs.push(Hog::send(&lab, &neighbour, &["--cpu", "2", "--for", HOG_LASTS])?);
        world.eventually("the hog is stopped for what it used", |_| match cpu(&lab, &neighbour)? {
            counted if counted.nr_throttled > 0 => Ok(()),
            counted => Err(format!("{counted:?}")),
        })?;
        world.counted.insert(format!("{}", lab.name()), cpu(&lab, &name("web1"))?.nr_throttled);
    }
    Ok(())
}

fn speak_to_web1(lab: &Lab) -> Result<Speaker, String> {
    let [from, source, target] = SPEAKER;
    inside(lab, &name(from), || Speaker::begin(source, target))
}

#[then(regex = r"^web1 of together answers at least (\d+) times as slowly as web1 of apart$")]
fn slower(world: &mut World, times: u32) -> Result<(), String> {
    let labs = both(world)?;
    let mut speakers = labs.iter().map(|(lab, _)| speak_to_web1(lab)).collect::<Result<Vec<_>, String>>()?;
    // A hog that gets no processor, because others of the machine have it, has not begun yet.
    world.eventually("so many times as slowly", |_| {
        let [together, apart] = medians(&mut speakers)?;
        println!("median answer of web1: {together:?} together, {apart:?} apart");
        if together >= apart * times { Ok(()) } else { Err(format!("{together:?} beside {apart:?}")) }
    })
}

/// How long each takes to answer.
fn medians(speakers: &mut [Speaker]) -> Result<[Duration; 2], String> {
    let mut took = [Vec::new(), Vec::new()];
    // By turns, so that whatever else the machine does is the same for both.
    for _ in 0..QUESTIONS {
        for (speaker, took) in speakers.iter_mut().zip(&mut took) {
            let began = Instant::now();
            speaker.greet()?;
            took.push(began.elapsed());
            std::thread::sleep(REST);
        }
    }
    Ok(took.map(|mut took| {
        took.sort();
        took[QUESTIONS / 2]
    }))
}

#[then(
    regex = r"^the kernel throttled that neighbour's machine in both labs, and web1 of apart at most a tenth as often$"
)]
fn throttled(world: &mut World) -> Result<(), String> {
    let [(together, near), (apart, far)] = both(world)?;
    let before = |lab: &Lab| world.counted.get(lab.name().as_str()).copied().unwrap_or_default();
    let (near, far) = (cpu(&together, &near)?.nr_throttled, cpu(&apart, &far)?.nr_throttled);
    let apart = cpu(&apart, &name("web1"))?.nr_throttled - before(&apart);
    let together = near - before(&together);
    println!("periods throttled: {near} and {far} with a hog, {apart} on web1 of apart");
    match together > 0 && far > 0 && apart * 10 <= together {
        true => Ok(()),
        false => Err(format!("together {together}, apart {apart}, hogs {near} and {far}")),
    }
}

#[when("a neighbour of web1 leaks memory, on the same machine in together and on another in apart")]
fn leaks(world: &mut World) -> Result<(), String> {
    let hogs: Result<Vec<Hog>, String> =
        both(world)?.iter().map(|(lab, neighbour)| Hog::send(lab, neighbour, &LEAK)).collect();
    for hog in &mut hogs? {
        let line = hog.hears()?;
        if !line.contains("were killed") {
            return Err(format!("the hog said {line:?}"));
        }
    }
    Ok(())
}

#[then("the kernel killed processes for their memory on that neighbour's machine in both labs")]
fn killed(world: &mut World) -> Result<(), String> {
    for (lab, neighbour) in both(world)? {
        // After a kill the leader may be another: whoever of the databases had the hog has lost processes.
        let status = status(&lab)?;
        let kills = |node: &NodeStatus| Some(node.counters?.memory?.oom_kill);
        let killed: Vec<_> =
            status.nodes.iter().filter(|it| kills(it).is_some_and(|it| it > 0)).map(|it| &it.name).collect();
        if killed.len() != 1 {
            return Err(format!("of {}, with a hog on {neighbour}, killed on {killed:?}", lab.name()));
        }
    }
    Ok(())
}

#[then("web1 of together lost its web or its database to that, and web1 of apart nothing")]
fn lost(world: &mut World) -> Result<(), String> {
    let web1 = name("web1");
    let ended = |lab: &Lab| -> Result<Vec<String>, String> {
        let status = status(lab)?;
        let services = node(&status, &web1)?.services.iter();
        Ok(services.filter(|(_, it)| it.last_exit.is_some()).map(|(name, _)| name.to_string()).collect())
    };
    let (together, apart) = (world.lab_called("together")?, world.lab_called("apart")?);
    let (near, far) = (ended(&together)?, ended(&apart)?);
    println!("ended on web1: {near:?} together, {far:?} apart");
    match !near.is_empty() && far.is_empty() && memory(&apart, &web1)?.oom_kill == 0 {
        true => Ok(()),
        false => Err(format!("together {near:?}, apart {far:?}")),
    }
}

#[then(regex = r"^a program on web1 of apart can have port (\d+), and on web1 of together it cannot$")]
fn can_have(world: &mut World, port: String) -> Result<(), String> {
    let mut outcomes = Vec::new();
    for lab in ["apart", "together"] {
        let lab = world.lab_called(lab)?;
        let said =
            world.run(&["hog", "--lab", lab.name().as_str(), "web1", "--port", &port, "--for", "1ms"])?;
        outcomes.push((said.code, said.stderr.contains("in use")));
    }
    if outcomes == [(0, false), (1, true)] { Ok(()) } else { Err(format!("{outcomes:?}")) }
}

#[when("web1 fills its disk in both labs")]
fn fills(world: &mut World) -> Result<(), String> {
    for lab in ["apart", "together"] {
        let lab = world.lab_called(lab)?;
        let mut hog = Hog::send(&lab, &name("web1"), &[&FULL_DISK[..], &["--for", HOG_LASTS]].concat())?;
        let line = hog.hears()?;
        if !line.contains("the disk is full") {
            return Err(format!("the hog said {line:?}"));
        }
        world.hogs.push(hog);
    }
    Ok(())
}

/// Databases that run, and how many of them never ended.
fn databases(lab: &Lab) -> Result<(usize, usize), String> {
    let status = status(lab)?;
    let up = status.nodes.iter().filter(|node| node.state == NodeState::Up);
    let databases: Vec<_> = up.filter_map(|node| node.services.get("db")).filter(|it| it.running).collect();
    Ok((databases.len(), databases.iter().filter(|it| it.last_exit.is_none()).count()))
}

#[then(regex = r"^the database of web1 in together has ended, and all (\d+) of apart run$")]
fn database_ended(world: &mut World, all: usize) -> Result<(), String> {
    let (together, apart) = (world.lab_called("together")?, world.lab_called("apart")?);
    world.eventually("the database of web1 has ended", |_| {
        // Something must be written. Whoever takes the other web notices nothing.
        speak_to_web1(&together)?;
        let status = status(&together)?;
        let db = node(&status, &name("web1"))?.services.get("db").ok_or("web1 has no database")?;
        if db.last_exit.is_some() { Ok(()) } else { Err(format!("{db:?}")) }
    })?;
    speak_to_web1(&apart)?.say()?;
    let (running, never_ended) = databases(&apart)?;
    if (running, never_ended) == (all, all) { Ok(()) } else { Err(format!("{running}, {never_ended}")) }
}

#[when("web1 is switched off in both labs")]
fn switched_off(world: &mut World) -> Result<(), String> {
    world.hogs.clear();
    for lab in ["apart", "together"] {
        world.lab_called(lab)?.power_off(&name("web1")).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[then(regex = r"^(\d+) databases of together are left, and (\d+) of apart$")]
fn left(world: &mut World, together: usize, apart: usize) -> Result<(), String> {
    for (lab, wanted) in [("together", together), ("apart", apart)] {
        let lab = world.lab_called(lab)?;
        world.eventually("so many databases run", |_| match databases(&lab)? {
            (running, _) if running == wanted => Ok(()),
            other => Err(format!("{other:?} of {}", lab.name())),
        })?;
    }
    Ok(())
}

fn kill(pid: i32) -> Result<(), String> {
    let process = PidFd::open(pid).map_err(|error| format!("find {pid}: {error}"))?;
    process.signal(Signal::SIGKILL).map_err(|error| format!("kill {pid}: {error}"))
}

#[when("its holder is killed")]
fn holder_killed(world: &mut World) -> Result<(), String> {
    kill(world.status()?.holder_pid.ok_or("the holder has no process id")?)
}

/// The process that waits for the end of this scenario's lab.
fn sweeper(lab: &Lab) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split('\0').skip(1).take(2).eq(["__sweep", lab.name().as_str()])
    })
}

#[when("its holder and whoever sweeps after it are killed")]
fn both_killed(world: &mut World) -> Result<(), String> {
    kill(sweeper(&world.lab()?).ok_or("nobody waits for the lab's end")?)?;
    holder_killed(world)
}

#[then("control groups are left")]
fn groups_left(world: &mut World) -> Result<(), String> {
    let before = world.before.clone().ok_or("nothing was taken down")?;
    world.eventually("nothing is left but control groups", |_| {
        let more = Audit::take().more_than(&before);
        let groups = more.iter().filter(|it| it.starts_with("control group ")).count();
        if groups > 0 && groups == more.len() { Ok(()) } else { Err(more.join("\n")) }
    })
}
