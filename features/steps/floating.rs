//! The floating addresses: who holds them, and whether that was ever more than one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cucumber::{given, then};
use labctl::holder::client::Lab;
use labctl::topology::NodeName;

use crate::cast::{Address, Node};
use crate::world::World;

/// Between two looks at the kernel. A takeover takes a hundred times as long.
const SAMPLE: Duration = Duration::from_millis(2);
/// Fewer looks than this have not watched anything; the watch goes on until it has that many.
const SAMPLES_MIN: usize = 100;

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
