//! Two webs that remember for each other: what each of them tells, and what it says of its memory.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Stdio};

use cucumber::{then, when};
use labctl::report::What;
use labctl::roles::init::Order;
use labctl::topology::{NodeName, Role};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::conversation::{talk, try_to_say_at};
use super::traffic::fetch;
use crate::cast::Node;
use crate::world::{World, labctl};

/// Who asks the webs one by one: it is on a network with both, and its way is not cut.
const ASKER: &str = "proxy2";
/// Where it finds them.
const ASKED_ON: &str = "back";
/// Who asks a web that hangs, by a network on which no health check comes: what waits there is the question.
const BYSTANDER: &str = "third";
const UNCHECKED: &str = "data";
/// Port of the application.
const WEB_PORT: u16 = 8080;
/// The states of a web that has lost the other: it goes on, or must not.
const APART: [&str; 2] = ["alone", "fenced"];

/// The webs of the site.
fn webs(world: &World) -> Result<Vec<NodeName>, String> {
    let status = world.status()?;
    Ok(status.nodes.iter().filter(|node| node.role == Role::Web).map(|node| node.name.clone()).collect())
}

/// The address at which one web is asked, past the balancer.
fn base(world: &World, web: &NodeName) -> Result<String, String> {
    Ok(format!("http://{}:{WEB_PORT}", address(world, web, ASKED_ON)?))
}

fn address(world: &World, web: &NodeName, network: &str) -> Result<Ipv4Addr, String> {
    let status = world.status()?;
    let node = status.node(web).ok_or_else(|| format!("there is no {web}"))?;
    let on = node.addresses.iter().find(|(name, _)| name.as_str() == network);
    let mut addresses = on.into_iter().flat_map(|(_, addresses)| addresses);
    let v4 = addresses.find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    v4.ok_or_else(|| format!("{web} has no address on {network}"))
}

/// The whole conversation as one web tells it.
fn told_by(world: &mut World, web: &NodeName) -> Result<Value, String> {
    let url = format!("{}/conversations/{}", base(world, web)?, talk(world)?.id);
    fetch(world, ASKER, &url, &[])
}

/// What a web says of its memory.
fn state(world: &World, web: &NodeName) -> Result<String, String> {
    let status = world.status()?;
    let node = status.node(web).ok_or_else(|| format!("there is no {web}"))?;
    let service = node.services.iter().find(|(name, _)| name.as_str() == "web");
    let says = service.and_then(|(_, service)| service.says.clone()).unwrap_or_default();
    Ok(says.split(',').next().unwrap_or_default().to_owned())
}

fn other(world: &World, web: &NodeName) -> Result<NodeName, String> {
    webs(world)?.into_iter().find(|one| one != web).ok_or_else(|| format!("{web} is the only web"))
}

#[when(regex = r"^(web\d) is told (\d+) things?$")]
fn is_told(world: &mut World, web: String, count: usize) -> Result<(), String> {
    let web: NodeName = web.parse().map_err(|error| format!("{error}"))?;
    let base = base(world, &web)?;
    for _ in 0..count {
        let key = format!("turn-{}", talk(world)?.acknowledged.len());
        world.eventually("the turn is acknowledged", |world| {
            try_to_say_at(world, (ASKER, &base, &[]), &key)
        })?;
    }
    Ok(())
}

#[then(regex = r"^what was said last is kept by (both webs|one web)$")]
fn kept_by(world: &mut World, whom: String) -> Result<(), String> {
    let wanted = if whom == "one web" { "solo" } else { "pair" };
    let talk = talk(world)?;
    if talk.durability == wanted { Ok(()) } else { Err(format!("{talk:?}")) }
}

#[then("both webs tell the same")]
fn same(world: &mut World) -> Result<(), String> {
    let expected = talk(world)?.acknowledged.clone();
    world.eventually("both webs tell the same", |world| {
        for web in webs(world)? {
            let answer = told_by(world, &web)?;
            if answer["headers"]["x-served-by"] != web.as_str() || keys(&answer)? != expected {
                return Err(answer.to_string());
            }
        }
        Ok(())
    })
}

fn keys(answer: &Value) -> Result<Vec<String>, String> {
    let body: Value =
        serde_json::from_str(answer["body"].as_str().unwrap_or_default()).map_err(|_| answer.to_string())?;
    let turns = body["turns"].as_array().ok_or_else(|| answer.to_string())?;
    let positions = turns.iter().enumerate().all(|(at, turn)| turn["position"] == at);
    let keys = turns.iter().filter_map(|turn| turn["key"].as_str().map(str::to_owned)).collect();
    if positions { Ok(keys) } else { Err(format!("positions are wrong: {body}")) }
}

#[then("one web goes on alone and the other is fenced")]
fn apart(world: &mut World) -> Result<(), String> {
    world.eventually("one is alone and one is fenced", |world| {
        let mut seen = webs(world)?.iter().map(|web| state(world, web)).collect::<Result<Vec<_>, _>>()?;
        seen.sort();
        if seen == APART { Ok(()) } else { Err(format!("{seen:?}")) }
    })
}

#[then(expr = "the other web is {word}")]
fn other_is(world: &mut World, wanted: String) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing happened to a web")?;
    let web = other(world, &victim)?;
    world.eventually("the other web is that", |world| {
        let seen = state(world, &web)?;
        if seen == wanted { Ok(()) } else { Err(seen) }
    })
}

#[then("the other web refuses, and says when to ask again")]
fn other_refuses(world: &mut World) -> Result<(), String> {
    let victim = world.victim.clone().ok_or("nothing happened to a web")?;
    let web = other(world, &victim)?;
    let base = base(world, &web)?;
    world.eventually("it refuses", |world| {
        let answer = told_by(world, &web)?;
        let alive = fetch(world, ASKER, &format!("{base}/healthz"), &[])?;
        let ready = fetch(world, ASKER, &format!("{base}/readyz"), &[])?;
        let refuses = [&answer, &ready].iter().all(|it| {
            it["status"] == 503
                && it["headers"]["retry-after"].is_string()
                && it["headers"]["x-lab-durability"].is_null()
        });
        if refuses && alive["status"] == 200 { Ok(()) } else { Err(format!("{answer} {ready} {alive}")) }
    })
}

/// By what they said themselves, in the order of one clock.
#[then("at no time were both webs alone")]
fn never_both_alone(world: &mut World) -> Result<(), String> {
    let events = world.lab()?.events(false).map_err(|error| error.to_string())?;
    let mut said: Vec<_> = events
        .filter_map(|event| match event.what {
            What::MemoryState { state, .. } => Some((event.at_ns, event.node, Some(state))),
            What::NodeDown { .. } | What::ServiceExited { .. } => Some((event.at_ns, event.node, None)),
            _ => None,
        })
        .collect();
    said.sort_by_key(|(at, ..)| *at);
    let mut alone = std::collections::BTreeSet::new();
    let mut ever = false;
    for (_, node, state) in said {
        match state.as_deref() {
            Some("alone") => drop(alone.insert(node)),
            _ => drop(alone.remove(&node)),
        }
        ever |= !alone.is_empty();
        if alone.len() > 1 {
            return Err(format!("both were: {alone:?}"));
        }
    }
    if ever { Ok(()) } else { Err("nobody was ever alone".to_owned()) }
}

#[when("both webs are killed at once")]
fn both_killed(world: &mut World) -> Result<(), String> {
    for web in webs(world)? {
        world.victim = Some(web.clone());
        signal(world, &web, Signal::SIGKILL)?;
    }
    Ok(())
}

#[when("the web that answered hangs")]
fn answerer_hangs(world: &mut World) -> Result<(), String> {
    let web = talk(world)?.served_by.clone().ok_or("nobody answered yet")?;
    world.victim = Some(web.clone());
    signal(world, &web, Signal::SIGSTOP)
}

fn signal(world: &World, web: &NodeName, signal: Signal) -> Result<(), String> {
    let service = "web".parse().map_err(|error| format!("{error}"))?;
    let order = Order::Signal { service, signal: signal as i32 };
    world.lab()?.order(web, order).map_err(|error| error.to_string())
}

/// The question waits in the kernel of the web that hangs, so it is the first thing that it finds when it goes on.
#[then("asked before it goes on, it answers nothing stale when it does")]
fn nothing_stale(world: &mut World) -> Result<(), String> {
    let web = world.victim.clone().ok_or("nothing hangs")?;
    let here = address(world, &web, UNCHECKED)?;
    let url = format!("http://{here}:{WEB_PORT}/conversations/{}", talk(world)?.id);
    let expected = talk(world)?.acknowledged.clone();
    let lab = world.lab()?;
    let args =
        ["fetch", "--lab", lab.name().as_str(), "--from", BYSTANDER, "--format", "json", "--timeout", "20s"];
    let asking = labctl().args(args).arg(&url).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let asking = Asking(Some(asking));
    world.eventually("the question has arrived", |world| arrived(world, &web, here))?;
    signal(world, &web, Signal::SIGCONT)?;
    let answer = asking.answer()?;
    match answer["status"].as_u64() {
        Some(503) => Ok(()),
        Some(200) if keys(&answer)? == expected => Ok(()),
        _ => Err(format!("{answer}, and {expected:?} were acknowledged")),
    }
}

/// Bytes wait in a connection to the port of the application (`/proc/net/tcp`, proc(5)).
fn arrived(world: &mut World, web: &NodeName, here: Ipv4Addr) -> Result<(), String> {
    const ESTABLISHED: &str = "01";
    // The kernel prints the bytes of an address as one number of the machine.
    let here = format!("{:08X}:{WEB_PORT:04X}", u32::from_ne_bytes(here.octets()));
    let table = world.run_in_lab("exec", &[web.as_str(), "--", "cat", "/proc/net/tcp"])?.stdout;
    let waits = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, queues, ..] = columns.as_slice() else { return false };
        let unread = queues.split_once(':').map_or("", |(_, unread)| unread);
        *local == here && *state == ESTABLISHED && !unread.trim_matches('0').is_empty()
    };
    if table.lines().any(waits) { Ok(()) } else { Err(table) }
}

/// A question that is under way, and ends with the step.
struct Asking(Option<Child>);

impl Asking {
    fn answer(mut self) -> Result<Value, String> {
        let child = self.0.take().ok_or("asked twice")?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[when(expr = "{node} is switched on again")]
fn switched_on(world: &mut World, node: Node) -> Result<(), String> {
    world.lab()?.power_on(&node.0).map_err(|error| error.to_string())
}

#[then("the conversation is gone from both webs, and one of them says that memory was lost")]
fn lost_and_told(world: &mut World) -> Result<(), String> {
    world.eventually("neither web knows it", |world| {
        for web in webs(world)? {
            let answer = told_by(world, &web)?;
            if answer["status"] != 404 {
                return Err(answer.to_string());
            }
        }
        Ok(())
    })?;
    let mut events = world.lab()?.events(false).map_err(|error| error.to_string())?;
    let told = |what: &What| matches!(what, What::Note { text } if text.starts_with("memory lost"));
    if events.any(|event| told(&event.what)) { Ok(()) } else { Err("nobody said so".to_owned()) }
}
