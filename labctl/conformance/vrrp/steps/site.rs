//! The whole site with the engine under test in the place of our own daemon: what is broken there, and what becomes of the
//! public address.
#![expect(clippy::disallowed_methods, reason = "a scenario says how long something is left alone")]

use std::ffi::OsStr;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use cucumber::{given, then, when};

use crate::conformance::vrrp::frames::Advertisement;
use crate::conformance::vrrp::sentry::{Sentry, Sightings};
use crate::conformance::vrrp::setup::{BACK, FRONT, VRID, duration};
use crate::conformance::vrrp::wire;
use crate::conformance::vrrp::world::{LATE_MAX, WAIT_MAX, World};
use crate::kernel::packet::{FrameSocket, Mac};
use crate::kernel::process::Spawn;
use crate::kernel::{clock, namespace, wait};
use crate::report::Cable;
use crate::roles::init::Order;
use crate::topology::{Checksum, Failover, NetworkName, NodeName, Topology, parse};

/// The site that the scenarios are about.
const SITE: (&str, &str) = ("topologies/ha.yaml", include_str!("../../../../topologies/ha.yaml"));
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The two who elect a holder.
const PROXIES: [&str; 2] = ["proxy1", "proxy2"];
/// Whom the street sends everything for the site to, and where its kernel shows whose neighbour it is.
const STREET_ROUTER: &str = "router";
const NEIGHBOURS: &str = "/proc/thread-self/net/arp";
/// Fewer answers, or pings that came back, than this have not shown anything.
const SAMPLES_MIN: usize = 50;
/// Announcements of one address that a transition may come to: three of the new holder, and three more if it was contested.
const ANNOUNCEMENTS_MAX: usize = 6;
/// What `timeout` ends with if the time was up, and not the program.
const TIMED_OUT: i32 = 124;
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(10);
/// Longest output of a command that is run about the site.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

#[given("the site with the engine under test")]
fn site(world: &mut World) -> Result<(), String> {
    up(world, |_| ())
}

#[given(regex = r"^the site with the engine under test and an interval of (.*)$")]
fn site_with_interval(world: &mut World, interval: String) -> Result<(), String> {
    let interval = duration(&interval)?;
    up(world, |failover| failover.advert_interval = interval)
}

fn up(world: &mut World, change: impl FnOnce(&mut Failover)) -> Result<(), String> {
    let mut topology = parse(SITE.0, SITE.1).map_err(|invalid| invalid.to_string())?;
    topology.elect_with(world.engine);
    if let Some(failover) = &mut topology.failover {
        change(failover);
    }
    world.up(&topology)
}

fn topology(world: &World) -> Result<Topology, String> {
    world.lab()?.topology().map_err(|error| error.to_string())
}

fn name(text: &str) -> Result<NodeName, String> {
    text.parse().map_err(|_| format!("{text:?} is no node's name"))
}

fn network(text: &str) -> Result<NetworkName, String> {
    text.parse().map_err(|_| format!("{text:?} is no network's name"))
}

fn holders(world: &World) -> Result<Vec<NodeName>, String> {
    world.lab()?.holders().map_err(|error| error.to_string())
}

fn holder(world: &World) -> Result<NodeName, String> {
    world.holder.clone().ok_or_else(|| "nobody watches the public address".to_owned())
}

/// The proxy that did not hold the address when the watch began.
fn other(world: &World) -> Result<NodeName, String> {
    let holder = holder(world)?;
    name(PROXIES.iter().find(|proxy| **proxy != holder.as_str()).ok_or("there is only one proxy")?)
}

/// The hardware address with which a proxy answers on the public network.
fn mac(world: &World, proxy: &NodeName) -> Result<Mac, String> {
    let init = world.lab()?.enter(proxy).map_err(|error| error.to_string())?;
    wire::port(&init, FRONT).map(|port| port.mac)
}

#[given("the public address is watched")]
fn watched(world: &mut World) -> Result<(), String> {
    watch(world, true)
}

#[given("the public address is pinged")]
fn pinged(world: &mut World) -> Result<(), String> {
    watch(world, false)
}

fn watch(world: &mut World, asks: bool) -> Result<(), String> {
    let first = wait::eventually("one proxy holds the public address", WAIT_MAX, || {
        match holders(world)?.as_slice() {
            [one] => Ok(one.clone()),
            several => Err(format!("{several:?}")),
        }
    })?;
    world.holder = Some(first);
    world.sentry = Some(Sentry::start(world.lab()?, VIP, asks)?);
    // Something must be seen before anything is broken.
    thread::sleep(Duration::from_millis(500));
    world.mark = clock::calendar();
    Ok(())
}

fn finish(world: &mut World) -> Result<Sightings, String> {
    let sightings = world.sentry.take().ok_or("nobody watches the public address")?.finish()?;
    let answered = sightings.pings.iter().filter(|ping| ping.is_answered()).count();
    if sightings.answers.len() < SAMPLES_MIN || answered < SAMPLES_MIN {
        return Err(format!("{} answers and {answered} pings show nothing", sightings.answers.len()));
    }
    Ok(sightings)
}

#[when(regex = r"^the daemon of the holder (is stopped|starts again|is killed|hangs|goes on)$")]
fn daemon(world: &mut World, what: String) -> Result<(), String> {
    let service = world.engine.service().into();
    let signal = |signal: nix::sys::signal::Signal| signal as i32;
    let order = match what.as_str() {
        "is stopped" => Order::Stop { service },
        "starts again" => Order::Start { service },
        "is killed" => Order::Signal { service, signal: signal(nix::sys::signal::Signal::SIGKILL) },
        "hangs" => Order::Signal { service, signal: signal(nix::sys::signal::Signal::SIGSTOP) },
        _ => Order::Signal { service, signal: signal(nix::sys::signal::Signal::SIGCONT) },
    };
    world.mark = clock::calendar();
    let node = holder(world)?;
    // A daemon that was told to end may still be about it.
    wait::eventually("the order is taken", WAIT_MAX, || {
        world.lab()?.order(&node, order.clone()).map_err(|error| error.to_string())
    })
}

#[when("the holder is powered off")]
fn powered_off(world: &mut World) -> Result<(), String> {
    world.mark = clock::calendar();
    world.lab()?.power_off(&holder(world)?).map_err(|error| error.to_string())
}

fn cable(world: &mut World, node: &NodeName, link: &str, becomes: Cable) -> Result<(), String> {
    world.mark = clock::calendar();
    world.lab()?.cable(node, &network(link)?, becomes).map_err(|error| error.to_string())
}

#[when(regex = r"^(front|back) lets nothing through to the holder$")]
fn partition(world: &mut World, link: String) -> Result<(), String> {
    let node = holder(world)?;
    cable(world, &node, &link, Cable::Partition)
}

#[when(regex = r"^(front|back) is whole again$")]
fn heal(world: &mut World, link: String) -> Result<(), String> {
    let node = holder(world)?;
    cable(world, &node, &link, Cable::Heal)
}

#[when(regex = r"^the link (front|back) of the (holder|other proxy) (fails|comes back)$")]
fn link_changes(world: &mut World, link: String, whose: String, what: String) -> Result<(), String> {
    let node = if whose == "holder" { holder(world)? } else { other(world)? };
    cable(world, &node, &link, if what == "fails" { Cable::Down } else { Cable::Up })
}

#[when("somebody deletes the public address on the holder")]
fn delete(world: &mut World) -> Result<(), String> {
    world.mark = clock::calendar();
    world.lab()?.delete_floating(&holder(world)?, &network(FRONT)?).map_err(|error| error.to_string())
}

#[when(regex = r"^two programs keep the processors busy for (.*)$")]
fn busy(world: &mut World, span: String) -> Result<(), String> {
    let span = duration(&span)?;
    let script = format!("timeout {} sh -c 'while :; do :; done'", span.as_secs());
    let mut hogs = Vec::new();
    for proxy in PROXIES {
        hogs.push(start(world, &["exec", proxy, "--", "/bin/sh", "-c", &script])?);
    }
    for mut hog in hogs {
        let code = hog.wait().map_err(|error| error.to_string())?.code();
        if code != Some(TIMED_OUT) {
            return Err(format!("a program that was to run for {span:?} ended with {code:?}"));
        }
    }
    Ok(())
}

#[when(regex = r"^(\d.*) pass(?:es)?$")]
fn passes(_: &mut World, span: String) -> Result<(), String> {
    thread::sleep(duration(&span)?);
    Ok(())
}

#[when(regex = "^a stranger advertises (.*) on back$")]
fn stranger(world: &mut World, words: String) -> Result<(), String> {
    let node = name("web1")?;
    let source = topology(world)?.node(&node).and_then(|node| node.address_on(&network(BACK).ok()?));
    let init = world.lab()?.enter(&node).map_err(|error| error.to_string())?;
    let port = wire::port(&init, BACK)?;
    let failover = topology(world)?.failover.ok_or("nothing floats here")?;
    let advert = Advertisement {
        mac: port.mac,
        source: IpAddr::V4(source.ok_or("web1 has no address on back")?),
        ttl: 255,
        version: 3,
        kind: 1,
        vrid: VRID,
        priority: 1,
        interval: failover.advert_interval,
        reserved: 0,
        addresses: failover.addresses.iter().map(|one| one.address.into()).collect(),
        missing: 0,
        authentication: 0,
        checksum: Checksum::Message,
        damaged: false,
    };
    let advert = advert.with(&words)?;
    let socket = namespace::inside(init.as_fd(), || FrameSocket::open(&port));
    let socket = socket.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    socket.send(&advert.frame()).map_err(|error| format!("send: {error}"))
}

/// Starts one of our own commands about the lab.
fn start(world: &World, args: &[&str]) -> Result<std::process::Child, String> {
    let (verb, rest) = args.split_first().ok_or("a verb")?;
    let lab = world.lab()?.name().to_string();
    let mut spawn = Spawn::own(&[verb, "--lab", &lab]);
    spawn.args.extend(rest.iter().map(OsStr::new));
    (spawn.stdout, spawn.stderr, spawn.die_with_parent) = (Stdio::piped(), Stdio::null(), true);
    spawn.start().map_err(|error| format!("run labctl {verb}: {error}"))
}

fn output(world: &World, args: &[&str]) -> Result<String, String> {
    let mut child = start(world, args)?;
    let mut text = String::new();
    let out = child.stdout.take().ok_or("no output")?;
    out.take(OUTPUT_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    child.wait().map_err(|error| error.to_string())?;
    Ok(text)
}

#[then(regex = r"^labctl (explain|doctor) (?:of it )?comes to say (.*)$")]
fn comes_to_say(world: &mut World, verb: String, words: String) -> Result<(), String> {
    let node = if verb == "explain" { vec![holder(world)?.to_string()] } else { vec![] };
    let args: Vec<&str> = std::iter::once(verb.as_str()).chain(node.iter().map(String::as_str)).collect();
    wait::eventually("it says so", WAIT_MAX, || {
        let said = output(world, &args)?;
        if said.contains(&words) { Ok(()) } else { Err(said) }
    })
}

#[then("the holder has no address on front but the public one, and the other proxy none")]
fn zombie(world: &mut World) -> Result<(), String> {
    let (status, front) = (world.lab()?.status().map_err(|error| error.to_string())?, network(FRONT)?);
    let has = |node: &NodeName| {
        let addresses = status.node(node).and_then(|node| node.addresses.get(&front));
        let ipv4 = |address: &&IpAddr| address.is_ipv4();
        addresses.map(|all| all.iter().filter(ipv4).copied().collect::<Vec<IpAddr>>()).unwrap_or_default()
    };
    let (first, second) = (has(&holder(world)?), has(&other(world)?));
    if first == [IpAddr::from(VIP)] && second.is_empty() {
        Ok(())
    } else {
        Err(format!("{first:?} and {second:?}"))
    }
}

#[then("no advert was seen on front")]
fn no_advert(world: &mut World) -> Result<(), String> {
    match finish(world)?.adverts {
        0 => Ok(()),
        several => Err(format!("{several} adverts")),
    }
}

#[then("the holder leaves by front and the other proxy by back")]
fn routes(world: &mut World) -> Result<(), String> {
    let failover = topology(world)?.failover.ok_or("nothing floats here")?;
    let back = network(BACK)?;
    let inner = failover.addresses.iter().find(|one| one.network == back).map(|one| one.address);
    let (outer, inner) = (failover.holder_gateway.map(IpAddr::from), inner.map(IpAddr::from));
    let (first, second) = (holder(world)?, other(world)?);
    wait::eventually("the default routes are these", WAIT_MAX, || {
        let status = world.lab()?.status().map_err(|error| error.to_string())?;
        let gateway = |node: &NodeName| {
            status.node(node).and_then(|node| node.default_routes.first()).map(|route| route.0)
        };
        let (of_holder, of_other) = (gateway(&first), gateway(&second));
        if (of_holder, of_other) == (outer, inner) {
            Ok(())
        } else {
            Err(format!("{of_holder:?} and {of_other:?}"))
        }
    })
}

#[then("both proxies reach the Internet")]
fn internet(world: &mut World) -> Result<(), String> {
    for proxy in PROXIES {
        wait::eventually("it reaches the Internet", WAIT_MAX, || {
            let said = output(world, &["reach", "--from", proxy, "remote:80"])?;
            if said.contains("open") { Ok(()) } else { Err(format!("{proxy}: {said}")) }
        })?;
    }
    Ok(())
}

/// Waits until that proxy is the one that answers for the public address.
fn answers(world: &mut World, proxy: &NodeName) -> Result<(), String> {
    wait::eventually("it comes to hold the public address", WAIT_MAX, || match holders(world)? {
        all if all.contains(proxy) => Ok(()),
        all => Err(format!("{all:?}")),
    })?;
    // What it holds it announces and serves at once, but the watch must have seen it do so.
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

#[then(regex = r"^the (holder|other proxy) comes to hold the public address$")]
#[when(regex = r"^the (holder|other proxy) comes to hold the public address$")]
fn takes(world: &mut World, who: String) -> Result<(), String> {
    let proxy = if who == "holder" { holder(world)? } else { other(world)? };
    answers(world, &proxy)
}

#[then(regex = r"^at no moment did two machines answer for it, and (the holder|both) did$")]
fn never_two(world: &mut World, who: String) -> Result<(), String> {
    let (first, second) = (mac_of_first(world)?, other(world).and_then(|other| mac(world, &other))?);
    let sightings = finish(world)?;
    if let Some((at, one, two)) = sightings.two_at_once() {
        let after = at.saturating_sub(world.mark);
        return Err(format!(
            "{one:02x?} and {two:02x?} answered one question, {after:?} after it was broken"
        ));
    }
    let holders = sightings.holders();
    let both = holders.contains(&second);
    let wanted = first.is_none_or(|first| holders.contains(&first)) && both == (who == "both");
    if wanted { Ok(()) } else { Err(format!("answered by {holders:02x?} in turn")) }
}

/// The hardware address of the first holder, if that still runs.
fn mac_of_first(world: &World) -> Result<Option<Mac>, String> {
    let holder = holder(world)?;
    Ok(mac(world, &holder).ok())
}

#[then("no ping was lost")]
fn no_ping_lost(world: &mut World) -> Result<(), String> {
    match finish(world)?.losses() {
        (0, _) => Ok(()),
        (lost, gap) => Err(format!("{lost} pings were lost, {gap:?} without an answer")),
    }
}

#[then("the outage was no longer than the time-outs of the election")]
fn outage(world: &mut World) -> Result<(), String> {
    let failover = topology(world)?.failover.ok_or("nothing floats here")?;
    let priority = failover.priorities.get(&other(world)?).copied().ok_or("it has no priority")?;
    let interval = failover.advert_interval;
    let bound = interval * 3 + interval * (256 - u32::from(priority)) / 256;
    within(finish(world)?, bound + LATE_MAX)
}

#[then("the outage was no longer than a busy machine may be late")]
fn short_outage(world: &mut World) -> Result<(), String> {
    within(finish(world)?, LATE_MAX)
}

fn within(sightings: Sightings, bound: Duration) -> Result<(), String> {
    let (lost, gap) = sightings.losses();
    if gap <= bound { Ok(()) } else { Err(format!("{lost} pings were lost, {gap:?} without an answer")) }
}

#[then("the roles did not change")]
fn roles_stayed(world: &mut World) -> Result<(), String> {
    let first = mac(world, &holder(world)?)?;
    let holders = finish(world)?.holders();
    if holders == [first] { Ok(()) } else { Err(format!("answered by {holders:02x?} in turn")) }
}

#[then("it was announced, but not too often")]
fn announced(world: &mut World) -> Result<(), String> {
    let (mark, second) = (world.mark, other(world).and_then(|other| mac(world, &other))?);
    let sightings = finish(world)?;
    let times = sightings.announcements.iter().filter(|(at, mac)| *at > mark && *mac == second).count();
    if (1..=ANNOUNCEMENTS_MAX).contains(&times) { Ok(()) } else { Err(format!("{times} announcements")) }
}

#[then("the last to announce or answer is who holds it")]
fn last_word(world: &mut World) -> Result<(), String> {
    let held = holders(world)?;
    let [one] = held.as_slice() else { return Err(format!("{held:?}")) };
    let holder = mac(world, one)?;
    let sightings = finish(world)?;
    let answer = sightings.answers.last().map(|answer| answer.1);
    let announced = sightings.announcements.last().map_or(Some(holder), |announcement| Some(announcement.1));
    if answer == Some(holder) && announced == Some(holder) {
        Ok(())
    } else {
        Err(format!(
            "{one} ({holder:02x?}) holds it, {answer:02x?} answers, {announced:02x?} announced it last"
        ))
    }
}

#[then(regex = r"^for (.*) the other proxy never has the public address$")]
fn never_has(world: &mut World, span: String) -> Result<(), String> {
    let (first, second) = (holder(world)?, other(world)?);
    let until = clock::calendar() + duration(&span)?;
    while clock::calendar() < until {
        let held = holders(world)?;
        if held.contains(&second) || !held.contains(&first) {
            return Err(format!("{held:?}"));
        }
        thread::sleep(LOOK);
    }
    roles_stayed(world)
}

#[then("an interval later the router of the street knows where the public address is")]
fn neighbour_entry(world: &mut World) -> Result<(), String> {
    let interval = topology(world)?.failover.ok_or("nothing floats here")?.advert_interval;
    thread::sleep((world.mark + interval + LATE_MAX).saturating_sub(clock::calendar()));
    let router = world.lab()?.enter(&name(STREET_ROUTER)?).map_err(|error| error.to_string())?;
    let table = namespace::inside(router.as_fd(), || std::fs::read_to_string(NEIGHBOURS));
    let table = table.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let held = holders(world)?;
    let [one] = held.as_slice() else { return Err(format!("{held:?} hold it")) };
    let wanted = mac(world, one)?.map(|octet| format!("{octet:02x}")).join(":");
    let vip = VIP.to_string();
    let entry = table.lines().find(|line| line.split_whitespace().next() == Some(&vip));
    match entry {
        Some(entry) if entry.contains(&wanted) => Ok(()),
        other => Err(format!("{one} ({wanted}) holds it, the entry is {other:?}")),
    }
}
