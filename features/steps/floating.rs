//! The floating addresses: who holds them, and whether that was ever more than one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cucumber::{given, then};
use labctl::holder::client::Lab;
use labctl::topology::{NodeName, Role};

use crate::cast::{Address, Node};
use crate::visit::Visitor;
use crate::world::World;

/// Between two looks at the kernel. A takeover takes a hundred times as long.
const SAMPLE: Duration = Duration::from_millis(2);
/// Fewer looks than this have not watched anything; the watch goes on until it has that many.
const SAMPLES_MIN: usize = 100;

/// The network of the public address, in every topology on file.
const PUBLIC: &str = "front";
/// More lines than somebody who asks has to say.
const ANSWERS_MAX: usize = 8;

/// Somebody who looks all the time.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Vec<Vec<NodeName>>>>,
}

impl Watch {
    fn start(lab: Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let looks = Arc::new(AtomicUsize::new(0));
        let (stopped, counter) = (stop.clone(), looks.clone());
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                samples.extend(lab.holders());
                counter.store(samples.len(), Ordering::Relaxed);
                std::thread::sleep(SAMPLE);
            }
            samples
        });
        Self { stop, looks, thread: Some(thread) }
    }

    fn finish(&mut self) -> Result<Vec<Vec<NodeName>>, String> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("the watch is over already")?;
        thread.join().map_err(|_| "the watcher fell asleep".to_owned())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

#[given("somebody watches who holds the VIP")]
fn watch(world: &mut World) -> Result<(), String> {
    world.watch = Some(Watch::start(world.lab()?));
    Ok(())
}

#[then(regex = r"^at no moment did two nodes hold it, and (\S+)(?: and (\S+))? did$")]
fn never_two(world: &mut World, one: String, other: String) -> Result<(), String> {
    world.eventually("the watch has looked often enough", |world| {
        let looks = world.watch.as_ref().ok_or("nobody watched")?.looks.load(Ordering::Relaxed);
        if looks >= SAMPLES_MIN { Ok(()) } else { Err(format!("{looks} looks")) }
    })?;
    let samples = world.watch.take().ok_or("nobody watched")?.finish()?;
    if let Some(holders) = samples.iter().find(|holders| holders.len() > 1) {
        return Err(format!("{holders:?} held it at one time"));
    }
    // A watch that has not seen the change has not watched.
    let seen: BTreeSet<&str> = samples.iter().flatten().map(NodeName::as_str).collect();
    let wanted: BTreeSet<&str> =
        [one.as_str(), other.as_str()].into_iter().filter(|name| !name.is_empty()).collect();
    if seen == wanted { Ok(()) } else { Err(format!("held by {seen:?} in turn")) }
}

#[given(expr = "somebody on {node} asks all the time who on {word} has {address}")]
fn asks(world: &mut World, node: Node, network: String, address: Address) -> Result<(), String> {
    let visitor = Visitor::send(&world.lab()?, &node.0, &["who-has", &address.0.to_string(), &network])?;
    world.visitor = Some((visitor, String::new()));
    Ok(())
}

#[then(regex = r"^(one|two) nodes? comes? to answer$")]
fn come_to_answer(world: &mut World, count: String) -> Result<(), String> {
    let wanted = if count == "one" { "1" } else { "2" };
    let (visitor, _) = world.visitor.as_mut().ok_or("nobody asks")?;
    let mut said = Vec::new();
    // It speaks up whenever more answer than ever before, which cannot be often.
    for _ in 0..ANSWERS_MAX {
        let line = visitor.hears()?;
        if line == wanted {
            return Ok(());
        }
        said.push(line);
    }
    Err(format!("it said {said:?}"))
}

#[then("for seconds never more than one node answers")]
fn one_answers(world: &mut World) -> Result<(), String> {
    let (mut visitor, _) = world.visitor.take().ok_or("nobody asks")?;
    visitor.goes_on()?;
    for _ in 0..ANSWERS_MAX {
        match visitor.hears()?.as_str() {
            "at most 1" => return Ok(()),
            "1" => {}
            other => return Err(format!("it said {other:?}")),
        }
    }
    Err("it does not come to an end".to_owned())
}

#[then(regex = r"^the proxies have (\d+) public address(?:es)? between them$")]
fn public_addresses(world: &mut World, count: usize) -> Result<(), String> {
    world.eventually("so many public addresses", |world| {
        let status = world.status()?;
        let proxies = status.nodes.iter().filter(|node| node.role == Role::Proxy);
        let on_front = proxies.filter_map(|node| node.addresses.get(PUBLIC)).flatten();
        // Those that the kernel of either has, not those of the file.
        let public: BTreeSet<String> =
            on_front.filter(|address| address.is_ipv4()).map(ToString::to_string).collect();
        if public.len() == count { Ok(()) } else { Err(format!("{public:?}")) }
    })
}

#[then(expr = "{node} holds the VIP")]
fn holds(world: &mut World, node: Node) -> Result<(), String> {
    world.eventually("it holds the VIP", |world| {
        let holders = world.status()?.vip_holders;
        if holders == [node.0.clone()] { Ok(()) } else { Err(format!("held by {holders:?}")) }
    })
}

#[then(expr = "{node} still holds the VIP")]
fn still_holds(world: &mut World, node: Node) -> Result<(), String> {
    let holders = world.status()?.vip_holders;
    if holders == [node.0.clone()] { Ok(()) } else { Err(format!("held by {holders:?}")) }
}

#[then(expr = "exactly one node comes to have the address {address}")]
fn one_comes_to_have(world: &mut World, address: Address) -> Result<(), String> {
    world.eventually("exactly one node has it", |world| one_has(world, address))
}

#[then(expr = "exactly one node has the address {address}")]
fn one_has(world: &mut World, address: Address) -> Result<(), String> {
    let status = world.status()?;
    let with =
        status.nodes.iter().filter(|node| node.addresses.values().flatten().any(|one| *one == address.0));
    let names: Vec<_> = with.map(|node| node.name.to_string()).collect();
    if names.len() == 1 { Ok(()) } else { Err(format!("{} is on {names:?}", address.0)) }
}
