//! Glue from sentences to visitors.

use std::collections::BTreeSet;

use cucumber::{given, then, when};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::visitor::{Answer, Visitor};
use super::world::{PATH, VIP, WAIT_MAX, World, name};
use crate::kernel::netlink::Netlink;
use crate::kernel::packet::Port;
use crate::kernel::tap::{Frame, Tap, Way};
use crate::kernel::{traffic, wait};
use crate::topology::{NodeName, Role};

/// Where the client is.
const STREET: &str = "street";
/// One in so many: 5 %.
const FEW: u64 = 20;

#[given(regex = r"^the site with the balancer under test(?:, in which (\S+) has weight 0)?$")]
fn site(world: &mut World, drained: String) -> Result<(), String> {
    let drained = if drained.is_empty() { None } else { Some(name(&drained)?) };
    world.up(drained.as_ref())
}

#[given("the client listens")]
fn listens(world: &mut World) -> Result<(), String> {
    let tap = world.inside(&name("client")?, || {
        let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
        let port = Port::find(&mut netlink, STREET).map_err(|error| error.to_string())?;
        Tap::open(&port).map_err(|error| format!("listen on {STREET}: {error}"))
    })?;
    world.tap = Some(tap);
    Ok(())
}

#[when("every visitor asks")]
fn ask(world: &mut World) -> Result<(), String> {
    world.visitors = world.ask(PATH, None)?;
    Ok(())
}

#[then("nobody but the public address was heard")]
fn one_address(world: &mut World) -> Result<(), String> {
    let tap = world.tap.take().ok_or("nobody listens")?;
    let mut heard = BTreeSet::new();
    while let Some(frame) = tap.next().map_err(|error| error.to_string())? {
        heard.extend(sender(&frame));
    }
    if heard == BTreeSet::from([VIP.to_string()]) { Ok(()) } else { Err(format!("heard {heard:?}")) }
}

/// Who sent the segment that came in, if it is one.
fn sender(frame: &Frame) -> Option<String> {
    let packet = LaxSlicedPacket::from_ethernet(&frame.bytes).ok()?;
    match (frame.way, packet.net.as_ref()?, packet.transport.as_ref()?) {
        (Way::In, LaxNetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            Some(format!("{}:{}", ip.header().source_addr(), tcp.source_port()))
        }
        _ => None,
    }
}

fn webs(visitors: &[(Visitor, Answer)]) -> BTreeSet<&str> {
    visitors.iter().map(|(_, answer)| answer.by.as_str()).collect()
}

/// Nobody else may have answered, and none of them be missing.
fn only(visitors: &[(Visitor, Answer)], wanted: &[&str]) -> Result<(), String> {
    let webs = webs(visitors);
    if webs.iter().eq(wanted) { Ok(()) } else { Err(format!("{webs:?} answered")) }
}

#[then("both webs answered")]
fn both(world: &mut World) -> Result<(), String> {
    only(&world.visitors, &["web1", "web2"])
}

#[then(regex = r"^all were answered by (\S+)$")]
fn all_by(world: &mut World, web: String) -> Result<(), String> {
    only(&world.visitors, &[&web])
}

#[when(regex = r"^(\S+) is powered (off|on)$")]
fn power(world: &mut World, node: String, state: String) -> Result<(), String> {
    let (lab, node) = (world.lab()?, name(&node)?);
    let done = if state == "off" { lab.power_off(&node) } else { lab.power_on(&node) };
    done.map_err(|error| error.to_string())
}

#[when("the holder is powered off")]
fn holder_off(world: &mut World) -> Result<(), String> {
    let lab = world.lab()?;
    match lab.holders().map_err(|error| error.to_string())?.as_slice() {
        [holder] => lab.power_off(holder).map_err(|error| error.to_string()),
        several => Err(format!("the public address is held by {several:?}")),
    }
}

/// All ask again and again until every one is answered, and by these.
fn soon(world: &World, wanted: &[&str]) -> Result<(), String> {
    wait::eventually("every visitor is answered", WAIT_MAX, || only(&world.ask(PATH, None)?, wanted))
}

#[then(regex = r"^soon every visitor is answered by (\S+)$")]
fn soon_by(world: &mut World, web: String) -> Result<(), String> {
    soon(world, &[&web])
}

#[then("soon both webs answer")]
fn soon_both(world: &mut World) -> Result<(), String> {
    soon(world, &["web1", "web2"])
}

/// Visitors are answered by whom they met before.
fn same(visitors: &[(Visitor, Answer)], again: &[(Visitor, Answer)]) -> Result<(), String> {
    let moved = visitors.iter().zip(again).filter(|((_, was), (_, is))| was.by != is.by).count();
    if moved == 0 { Ok(()) } else { Err(format!("{moved} of {} met another web", visitors.len())) }
}

#[then(regex = r"^(\d+) times more every visitor meets the same web$")]
fn faithful(world: &mut World, times: usize) -> Result<(), String> {
    (0..times).try_for_each(|_| same(&world.visitors, &world.ask(PATH, None)?))
}

#[then("every visitor is answered as before over the connection that is open")]
fn live_on(world: &mut World) -> Result<(), String> {
    let mut broken = Vec::new();
    for (visitor, before) in &mut world.visitors {
        match visitor.ask(PATH, None) {
            Ok(answer) if answer.by == before.by => {}
            Ok(answer) => broken.push(format!("{} answered instead of {}", answer.by, before.by)),
            Err(error) => broken.push(error.to_string()),
        }
        // The first of them has waited long enough for all.
        if broken.len() > 2 {
            break;
        }
    }
    match broken.first() {
        None => Ok(()),
        Some(first) => Err(format!("connections broke: {first}")),
    }
}

/// What the directors sent so far, by whatever cable.
fn sent(world: &World) -> Result<u64, String> {
    let topology = world.lab()?.topology().map_err(|error| error.to_string())?;
    let sent_by = |director: &NodeName| {
        world.inside(director, || {
            let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
            let passed = traffic::passed(&mut netlink).map_err(|error| error.to_string())?;
            Ok(passed.iter().filter(|(name, _)| *name != "lo").map(|(_, passed)| passed.sent).sum::<u64>())
        })
    };
    topology.nodes_of(Role::Proxy).map(|director| sent_by(&director.name)).sum()
}

#[when(regex = r"^every visitor downloads (\d+) bytes$")]
fn download(world: &mut World, bytes: u64) -> Result<(), String> {
    let before = sent(world)?;
    let visitors = world.ask(&format!("/bytes/{bytes}"), None)?;
    let got = visitors.iter().map(|(_, answer)| answer.len).sum();
    if got != bytes * visitors.len() as u64 {
        return Err(format!("{} visitors got {got} bytes", visitors.len()));
    }
    world.carried = Some((got, sent(world)? - before));
    Ok(())
}

#[then("the directors sent less than 5 % of that")]
fn carried(world: &mut World) -> Result<(), String> {
    match world.carried.ok_or("nobody downloaded anything")? {
        (_, 0) => Err("they sent nothing at all, so nobody counted".to_owned()),
        (got, sent) if sent * FEW < got => Ok(()),
        (got, sent) => Err(format!("they sent {:.0} % of it", sent as f64 / got as f64 * 100.0)),
    }
}

#[then("with the cookie of any visitor all others meet the same web")]
fn sticky(world: &mut World) -> Result<(), String> {
    for web in webs(&world.visitors) {
        let of = |(_, answer): &&(Visitor, Answer)| answer.by == web;
        let (_, answer) = world.visitors.iter().find(of).ok_or("nobody met it")?;
        let cookie = answer.cookie.as_deref().ok_or("the answer has no cookie")?;
        only(&world.ask(PATH, Some(cookie))?, &[web])?;
    }
    Ok(())
}
