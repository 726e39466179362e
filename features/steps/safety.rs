//! Sudden ends: whatever is killed, nothing stays.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cucumber::{given, then, when};
use labctl::holder::client::Lab;
use labctl::kernel::process::PidFd;
use nix::sys::signal::Signal;

use super::lab::changed;
use crate::audit::Audit;
use crate::world::{WAIT_MAX, World, labctl};

/// How often a lab is built and killed.
const ROUNDS: u64 = 20;
/// `up` takes some hundred milliseconds; its rounds are killed at even steps through that time.
const HALFWAY_STEP: Duration = Duration::from_millis(30);

#[given("I take down what is on the machine")]
fn take_audit(world: &mut World) {
    world.before = Some(Audit::take());
}

fn nothing_new(world: &mut World) -> Result<(), String> {
    let before = world.before.clone().ok_or("nothing was taken down")?;
    world.eventually("the machine is as before", |_| {
        let more = Audit::take().more_than(&before);
        if more.is_empty() { Ok(()) } else { Err(more.join("\n")) }
    })
}

#[then("the machine is as it was")]
fn as_it_was(world: &mut World) -> Result<(), String> {
    nothing_new(world)
}

fn kill(pid: i32) -> Result<(), String> {
    PidFd::open(pid)
        .and_then(|process| process.signal(Signal::SIGKILL))
        .map_err(|error| format!("kill {pid}: {error}"))
}

#[when(regex = r"^20 times (\S+) is up and its holder is killed$")]
fn kill_holder(world: &mut World, file: String) -> Result<(), String> {
    for round in 0..ROUNDS {
        world.up(&file, "victim")?;
        let holder = world.status()?.holder_pid.ok_or("the holder has no process id")?;
        let mut watcher = world.lab()?.watch().map_err(|error| error.to_string())?;
        kill(holder)?;
        watcher.wait(WAIT_MAX).map_err(|error| format!("round {round}: {error}"))?;
        nothing_new(world).map_err(|error| format!("round {round}: {error}"))?;
    }
    Ok(())
}

#[when(regex = r"^20 times labctl up of (\S+) is killed half-way$")]
fn kill_up(world: &mut World, file: String) -> Result<(), String> {
    let name = world.lab_name("victim");
    let mut unfinished = 0;
    for round in 0..ROUNDS {
        let mut up: Child = labctl()
            .args(["up", &file, "--name", name.as_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        std::thread::sleep(HALFWAY_STEP * round as u32);
        if up.try_wait().map_err(|error| error.to_string())?.is_none() {
            up.kill().map_err(|error| error.to_string())?;
        }
        let status = up.wait().map_err(|error| error.to_string())?;
        if status.success() {
            // It was done before the signal came; then the lab is to stay, and this round proves nothing.
            Lab::find(Some(name.clone())).and_then(|lab| lab.down()).map_err(|error| error.to_string())?;
        } else {
            unfinished += 1;
        }
        nothing_new(world).map_err(|error| format!("round {round}: {error}"))?;
    }
    // Rounds that came too late prove nothing.
    if unfinished * 2 >= ROUNDS {
        Ok(())
    } else {
        Err(format!("only {unfinished} of {ROUNDS} were half-way"))
    }
}

#[when(regex = r"^20 times a node of (\S+) is killed and then the lab goes down$")]
fn kill_nodes(world: &mut World, file: String) -> Result<(), String> {
    for round in 0..ROUNDS {
        world.up(&file, "victim")?;
        let status = world.status()?;
        let node = &status.nodes[round as usize % status.nodes.len()];
        kill(node.pid.ok_or("the node has no process id")?)?;
        let name = node.name.clone();
        world.eventually("the holder notices", |world| match world.status()?.node(&name) {
            Some(node) if node.pid.is_none() => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
        world.lab()?.down().map_err(|error| error.to_string())?;
        nothing_new(world).map_err(|error| format!("round {round}, {name}: {error}"))?;
    }
    Ok(())
}

/// A database of the site with a service that never listens where it says, so that the lab is never ready.
const NEVER_READY: [&str; 2] =
    ["db1: { role: db, ", "db1: { role: db, services: { mute: { run: [sleep, infinity], listen: [9] } }, "];

#[when("Ctrl-C interrupts labctl up")]
fn interrupt(world: &mut World) -> Result<(), String> {
    let name = world.lab_name("victim");
    let [ready, never] = NEVER_READY;
    let mut site = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let text = changed("topologies/ha.yaml", never, ready)?;
    site.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    let mut up = labctl()
        .arg("up")
        .arg(site.path())
        .args(["--name", name.as_str()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    world.eventually("the lab is there", |_| {
        let found = Lab::find(Some(name.clone())).map_err(|error| error.to_string())?;
        if found.status().is_ok() { Ok(()) } else { Err("not yet".to_owned()) }
    })?;
    PidFd::open(up.id() as i32)
        .and_then(|up| up.signal(Signal::SIGINT))
        .map_err(|error| error.to_string())?;
    let status = up.wait().map_err(|error| error.to_string())?;
    if status.success() { Err("it says that the lab is ready".to_owned()) } else { Ok(()) }
}

#[when("the lab goes down with --wait")]
fn down_wait(world: &mut World) -> Result<(), String> {
    let lab = world.lab()?;
    let began = Instant::now();
    let said = world.run(&["down", lab.name().as_str(), "--wait"])?;
    if began.elapsed() > WAIT_MAX {
        return Err(format!("it took {:?}", began.elapsed()));
    }
    if said.code == 0 { Ok(()) } else { Err(said.stderr) }
}
