//! The floating addresses: who holds them, and whether that was ever more than one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cucumber::{given, then};
use labctl::holder::client::Lab;
use labctl::kernel::link::Mac;
use labctl::kernel::neighbour::NeighbourWatch;
use labctl::kernel::packet::Port;
use labctl::kernel::{namespace, wait};
use labctl::topology::{NodeName, Role, Topology};

use crate::cast::{Address, Node};
use crate::visit::Visitor;
use crate::world::World;

/// How long each question waits for answers. Neighbours answer in tens of microseconds; and whoever takes an address first
/// finds it unanswered for 4 ms, so that an answer and the announcement of the next holder are never heard to one question.
const SAMPLE: Duration = Duration::from_millis(2);
/// A question that took longer, because the machine had something else to do, has heard more than its own answers.
const SAMPLE_MAX: Duration = Duration::from_millis(3);
/// Fewer looks than this have not watched anything; the watch goes on until it has that many.
const SAMPLES_MIN: usize = 100;

/// The network of the public address, in every topology on file.
const PUBLIC: &str = "front";
/// More lines than somebody who asks has to say.
const ANSWERS_MAX: usize = 8;

/// Somebody on the street side of the VIP who asks all the time who has it. That two kernels have the address is none of
/// his business: during a handover the one that leaves has it still, and is silent about it.
#[derive(Debug)]
pub struct Watch {
    lab: Lab,
    place: Place,
    /// Hardware addresses change when a node is switched off and on, so these are those of the beginning.
    names: BTreeMap<Mac, NodeName>,
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<Vec<BTreeSet<Mac>>, String>>>,
}

/// The VIP, and who is on its link.
#[derive(Clone, Debug)]
struct Place {
    vip: IpAddr,
    interface: String,
    asker: NodeName,
    proxies: Vec<NodeName>,
}

impl Place {
    fn of(topology: &Topology) -> Result<Self, String> {
        let failover = topology.failover.as_ref().ok_or("nothing floats")?;
        let public = failover.addresses.first().ok_or("no IPv4 address floats")?;
        let routers = topology.nodes_of(Role::Router);
        let asker = routers.into_iter().find(|node| node.on(&public.network).is_some());
        Ok(Self {
            vip: public.address.into(),
            interface: public.network.to_string(),
            asker: asker.ok_or("no router is on the link of the VIP")?.name.clone(),
            proxies: failover.priorities.keys().cloned().collect(),
        })
    }

    /// Those proxies that live, by the hardware address that they answer with.
    fn names(&self, lab: &Lab) -> BTreeMap<Mac, NodeName> {
        let mac = |proxy: &NodeName| {
            let init = lab.enter(proxy).ok()?;
            Some(Port::inside(init.as_fd(), &self.interface).ok()?.mac)
        };
        self.proxies.iter().filter_map(|proxy| Some((mac(proxy)?, proxy.clone()))).collect()
    }
}

/// Asks once, and waits for every answer; `None` if it cannot be told which answers those were.
fn look(watch: &NeighbourWatch, vip: IpAddr) -> Result<Option<BTreeSet<Mac>>, String> {
    let hear = || watch.hear().map_err(|error| error.to_string());
    let begin = Instant::now();
    while hear()?.is_some() {}
    watch.probe(vip).map_err(|error| error.to_string())?;
    let mut seen = BTreeSet::new();
    loop {
        let left = SAMPLE.saturating_sub(begin.elapsed());
        // The wait is in whole milliseconds, and none would be no wait.
        let left = left.max(Duration::from_millis(u64::from(!left.is_zero())));
        wait::readable(watch.as_fd(), left).map_err(|errno| errno.to_string())?;
        while let Some(sighting) = hear()? {
            seen.insert(sighting.mac);
        }
        if left.is_zero() {
            return Ok((begin.elapsed() <= SAMPLE_MAX).then_some(seen));
        }
    }
}

impl Watch {
    fn start(lab: Lab) -> Result<Self, String> {
        let topology = lab.topology().map_err(|error| error.to_string())?;
        let place = Place::of(&topology)?;
        let stop = Arc::new(AtomicBool::new(false));
        let looks = Arc::new(AtomicUsize::new(0));
        let (stopped, counter, vip) = (stop.clone(), looks.clone(), place.vip);
        let init = lab.enter(&place.asker).map_err(|error| error.to_string())?;
        let port = Port::inside(init.as_fd(), &place.interface).map_err(|error| error.to_string())?;
        let watch = namespace::inside(init.as_fd(), || NeighbourWatch::open(&port, &[vip]));
        let watch = watch.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                samples.extend(look(&watch, vip)?);
                counter.store(samples.len(), Ordering::Relaxed);
            }
            Ok(samples)
        });
        let names = place.names(&lab);
        Ok(Self { lab, place, names, stop, looks, thread: Some(thread) })
    }

    /// Who answered to each question.
    fn finish(&mut self) -> Result<Vec<BTreeSet<NodeName>>, String> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("the watch is over already")?;
        let samples = thread.join().map_err(|_| "the watcher fell asleep".to_owned())??;
        let mut names = std::mem::take(&mut self.names);
        names.append(&mut self.place.names(&self.lab));
        let name = |mac: &Mac| names.get(mac).cloned().ok_or(format!("{mac:02x?} is nobody's"));
        samples.iter().map(|seen| seen.iter().map(name).collect()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

#[given("somebody watches who holds the VIP")]
fn watch(world: &mut World) -> Result<(), String> {
    world.watch = Some(Watch::start(world.lab()?)?);
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
        return Err(format!("{holders:?} answered for it at one time"));
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
