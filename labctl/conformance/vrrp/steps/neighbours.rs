//! What the neighbours of the router under test get: answers about its addresses, announcements, echoes, and packets
//! that it forwards.

use std::net::IpAddr;
use std::time::Duration;

use cucumber::{then, when};

use crate::conformance::vrrp::frames::{self, echo, question};
use crate::conformance::vrrp::setup::{BACK, DUT_BACK, FRONT, PEER_FRONT};
use crate::conformance::vrrp::wire::{Seen, What};
use crate::conformance::vrrp::world::{LATE_MAX, WAIT_MAX, World, link_local};
use crate::kernel::clock;
use crate::kernel::packet::Mac;
use crate::topology::MacMode;

/// Marks the suite's own echo requests.
const ECHO: u16 = 7;
const ICMP_REPLY: (u8, u8) = (1, 0);
const ICMPV6_REPLY: (u8, u8) = (58, 129);
/// Flags of a neighbour advertisement: Router, Override.
const ROUTER: u8 = 0b100;
const OVERRIDE: u8 = 0b001;

/// The hardware address that the words mean: the announced one is that of the configured mode.
fn mac(world: &World, which: &str) -> Result<Mac, String> {
    let setup = world.setup()?;
    let own = which == "own" || which == "announced" && setup.mac == MacMode::Physical;
    Ok(if own { world.dut()?.mac } else { setup.virtual_mac() })
}

fn first(world: &World) -> Result<IpAddr, String> {
    world.setup()?.addresses().first().copied().ok_or_else(|| "it has no address".to_owned())
}

/// The first thing that somebody else sends after the mark and that the question is about.
fn find<T>(
    world: &mut World,
    within: Duration,
    look: impl Fn(&Seen) -> Option<T>,
) -> Result<Option<T>, String> {
    let mark = world.mark;
    world
        .wire()?
        .until(mark + within, |seen| seen.iter().filter(|seen| seen.at > mark && !seen.ours).find_map(&look))
}

#[when("somebody asks who has its virtual address")]
pub(super) fn ask(world: &mut World) -> Result<(), String> {
    let frame = question(world.own_mac()?, world.own()?, first(world)?);
    world.send(BACK, &frame)
}

/// Who answers for the virtual address: the hardware address, and for IPv6 whether it calls itself a router.
fn answer(world: &mut World, within: Duration) -> Result<Option<(Mac, bool)>, String> {
    let about = first(world)?;
    find(world, within, |seen| match seen.what {
        What::Arp { reply: true, sha, spa, .. } if about == spa => Some((sha, true)),
        What::Advertised { target, flags, mac, to_all: false } if about == target => {
            Some((mac.unwrap_or(seen.mac), flags & ROUTER != 0))
        }
        _ => None,
    })
}

#[then("nobody answers")]
pub(super) fn nobody_answers(world: &mut World) -> Result<(), String> {
    match answer(world, LATE_MAX)? {
        None => Ok(()),
        Some((mac, _)) => Err(format!("{mac:02x?} answers")),
    }
}

#[then(regex = "^the answer names its (announced|own|virtual) MAC$")]
fn answers(world: &mut World, which: String) -> Result<(), String> {
    let wanted = mac(world, &which)?;
    match answer(world, WAIT_MAX)? {
        Some((mac, true)) if mac == wanted => Ok(()),
        Some((mac, true)) => Err(format!("it names {mac:02x?}")),
        Some((_, false)) => Err("it does not say that it is a router".to_owned()),
        None => Err(format!("no answer in {WAIT_MAX:?}")),
    }
}

#[when(regex = "^somebody pings its (own|virtual) address$")]
fn ping(world: &mut World, which: String) -> Result<(), String> {
    let setup = world.setup()?;
    let own: IpAddr = if setup.ipv4 { DUT_BACK.into() } else { link_local(world.dut()?.mac).into() };
    let about = if which == "own" { own } else { first(world)? };
    // In backup, nobody has the virtual MAC; whoever must not take a packet must not take it by its own one either.
    let mode = world.setup()?.mac;
    let to = match mode {
        MacMode::Virtual if which == "virtual" && answers_by_virtual(world)? => world.setup()?.virtual_mac(),
        _ => world.dut()?.mac,
    };
    let frame = echo(world.own_mac()?, to, world.own()?, about, ECHO);
    world.noted = None;
    world.send(BACK, &frame)
}

/// Does it say that it is active now?
fn answers_by_virtual(world: &mut World) -> Result<bool, String> {
    let (now, interval) = (clock::calendar(), world.setup()?.interval);
    Ok(world.next_advert(now, interval * 2)?.is_some())
}

fn echoed(world: &mut World, within: Duration) -> Result<bool, String> {
    let found = find(world, within, |seen| match seen.what {
        What::Ip { protocol: ICMP_REPLY | ICMPV6_REPLY, .. } => Some(()),
        _ => None,
    })?;
    Ok(found.is_some())
}

#[then("it answers the ping")]
fn answers_ping(world: &mut World) -> Result<(), String> {
    if echoed(world, WAIT_MAX)? { Ok(()) } else { Err(format!("no echo in {WAIT_MAX:?}")) }
}

#[then("it does not answer the ping")]
fn no_answer_to_ping(world: &mut World) -> Result<(), String> {
    if echoed(world, LATE_MAX)? { Err("it answers".to_owned()) } else { Ok(()) }
}

#[when(regex = "^a packet for the other side comes to its (own|virtual) MAC$")]
fn packet(world: &mut World, which: String) -> Result<(), String> {
    let to = mac(world, &which)?;
    let frame = echo(world.own_mac()?, to, world.own()?, PEER_FRONT.into(), ECHO);
    world.send(BACK, &frame)
}

#[when(regex = "^a packet for its virtual address comes to its (own|announced) MAC$")]
fn packet_for_virtual(world: &mut World, which: String) -> Result<(), String> {
    let to = mac(world, &which)?;
    let frame = echo(world.own_mac()?, to, world.own()?, first(world)?, ECHO);
    world.send(BACK, &frame)
}

/// Somebody else says that the virtual address is here, so that whoever wants to forward the packet can.
#[then("it does not forward the packet to whoever says to have the address")]
fn does_not_forward_back(world: &mut World) -> Result<(), String> {
    let (own, about, mut asked) = (world.own_mac()?, first(world)?, world.mark);
    let IpAddr::V4(address) = about else { return Err("this is about ARP".to_owned()) };
    let deadline = clock::calendar() + LATE_MAX;
    while clock::calendar() < deadline {
        let question = world.wire()?.until(deadline, |seen| {
            seen.iter().filter(|seen| seen.at > asked && !seen.ours).find_map(|seen| match seen.what {
                What::Arp { reply: false, sha, spa, tpa } if tpa == about && spa != tpa => {
                    Some((seen.at, sha, spa))
                }
                _ => None,
            })
        })?;
        if let Some((at, sha, spa)) = question {
            asked = at;
            world
                .wire()?
                .sender(BACK)?
                .send(&frames::answer(own, address, (sha, spa)))
                .map_err(|error| error.to_string())?;
        }
    }
    if forwarded(world, about, LATE_MAX * 2)? { Err("it forwarded the packet".to_owned()) } else { Ok(()) }
}

fn forwarded(world: &mut World, to: IpAddr, within: Duration) -> Result<bool, String> {
    let found = find(world, within, |seen| match seen.what {
        What::Ip { destination, protocol: (1 | 58, 8 | 128), .. } if destination == to => Some(()),
        _ => None,
    })?;
    Ok(found.is_some())
}

#[then("it forwards the packet")]
fn forwards(world: &mut World) -> Result<(), String> {
    let to = PEER_FRONT.into();
    if forwarded(world, to, WAIT_MAX)? { Ok(()) } else { Err(format!("nothing came to {FRONT}")) }
}

#[then("it does not forward the packet")]
fn does_not_forward(world: &mut World) -> Result<(), String> {
    let (front, virtual_address) = (PEER_FRONT.into(), first(world)?);
    if forwarded(world, front, LATE_MAX)? || forwarded(world, virtual_address, LATE_MAX)? {
        return Err("it forwarded the packet".to_owned());
    }
    Ok(())
}

/// The addresses that were announced to everybody since the mark, and with which hardware address.
fn announced(world: &mut World) -> Result<Vec<(IpAddr, Mac)>, String> {
    let mark = world.mark;
    let wire = world.wire()?;
    wire.look()?;
    let theirs = wire.seen.iter().filter(|seen| seen.at > mark && !seen.ours && seen.link == BACK);
    Ok(theirs
        .filter_map(|seen| match seen.what {
            What::Arp { sha, spa, tpa, .. } if spa == tpa => Some((spa.into(), sha)),
            What::Advertised { target, flags, mac, to_all: true }
                if flags & OVERRIDE != 0 && flags & ROUTER != 0 =>
            {
                Some((target.into(), mac.unwrap_or(seen.mac)))
            }
            _ => None,
        })
        .collect())
}

#[then(regex = "^it announces every virtual address with its (announced|own|virtual) MAC$")]
fn announces(world: &mut World, which: String) -> Result<(), String> {
    let wanted = mac(world, &which)?;
    let deadline = clock::calendar() + WAIT_MAX;
    loop {
        let found = announced(world)?;
        let missing: Vec<IpAddr> = world
            .setup()?
            .addresses()
            .into_iter()
            .filter(|address| !found.contains(&(*address, wanted)))
            .collect();
        if missing.is_empty() {
            return match found.iter().find(|(_, mac)| *mac != wanted) {
                None => Ok(()),
                Some((address, mac)) => Err(format!("{address} was announced with {mac:02x?}")),
            };
        }
        if clock::calendar() > deadline {
            return Err(format!("{missing:?} not announced; seen: {found:02x?}"));
        }
        world.listen(Duration::from_millis(20))?;
    }
}

#[then("it announces nothing")]
fn announces_nothing(world: &mut World) -> Result<(), String> {
    world.listen(LATE_MAX)?;
    match announced(world)?.first() {
        None => Ok(()),
        Some((address, mac)) => Err(format!("{address} was announced with {mac:02x?}")),
    }
}
