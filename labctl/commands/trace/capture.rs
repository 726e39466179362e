//! Listens on every interface of every node while one request is made. It opens all of its sockets before the first packet
//! leaves, reads them afterwards, and does not look into what they saw.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use super::super::Failure;
use super::request::{self, Question};
use crate::holder::client::Lab;
use crate::holder::lab::chain;
use crate::holder::protocol::NodeState;
use crate::kernel::link::{self, LOOPBACK};
use crate::kernel::netlink::Netlink;
use crate::kernel::packet::Port;
use crate::kernel::process::PidFd;
use crate::kernel::tap::{self, Tap};
use crate::kernel::{clock, namespace, wait};
use crate::topology::{NodeName, Topology};
use crate::walk::{Frame, Interface, Outcome, Record, Way};

/// After the answer, the connection ends: by packets that take a millisecond, on a machine under load some more.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// A node that is listened to.
struct Post {
    node: NodeName,
    init: PidFd,
    tap: Tap,
    /// By the kernel's number of an interface, its place in the record.
    places: BTreeMap<u32, usize>,
}

/// Makes the request, and returns everything that was seen of it.
pub(super) fn record(
    lab: &Lab,
    topology: &Topology,
    from: &NodeName,
    question: &Question,
) -> Result<Record, Failure> {
    let mut interfaces = Vec::new();
    let posts = posts(lab, &mut interfaces)?;
    let client = posts.iter().find(|post| post.node == *from);
    // Also asks the lab, which says why a node that is off cannot ask.
    let client = match client {
        Some(post) => post,
        None => {
            return Err(Failure::usage(
                lab.enter(from)
                    .map_or_else(|error| error.to_string(), |_| format!("{from} has just come up")),
                "try again",
            ));
        }
    };
    let failed = |act: &str, why: String| Failure::machine(format!("{act} on {from}: {why}"), "try again");
    namespace::inside(client.init.as_fd(), || client.tap.wait_for_stamps())
        .map_err(|error| failed("enter the network", chain(&error)))?
        .map_err(|error| failed("wait for the kernel to stamp frames", error.to_string()))?;
    let began = clock::calendar();
    let token = format!("{:x}-{:x}", std::process::id(), clock::monotonic_ns());
    let (from_end, outcome) = match request::ready(client.init.as_fd(), question.to)
        .map_err(|error| failed("make a socket", chain(&error)))?
    {
        Ok(ready) => (ready.from, ready.ask(question, &token)),
        Err(error) => {
            (SocketAddr::new(IpAddr::from(Ipv4Addr::UNSPECIFIED), 0), Outcome::Failed(error.to_string()))
        }
    };
    let (mut frames, lost_frames) =
        seen(&posts, began).map_err(|error| failed("read what was captured", error.to_string()))?;
    frames.sort_by_key(|frame| frame.at_ns);
    Ok(Record {
        lab: lab.name().to_string(),
        forward: super::forward(topology).map(|forward| forward.word().to_owned()),
        client: from.clone(),
        from: from_end,
        to: question.to,
        token,
        outcome,
        interfaces,
        frames,
        lost_frames,
    })
}

/// Opens a tap on every node that is up, and notes what interfaces there are.
fn posts(lab: &Lab, interfaces: &mut Vec<Interface>) -> Result<Vec<Post>, Failure> {
    let status = lab.status()?;
    let mut posts = Vec::new();
    for node in status.nodes.iter().filter(|node| node.state == NodeState::Up) {
        let init = lab.enter(&node.name)?;
        let opened = namespace::inside(init.as_fd(), || open(&node.name));
        let (own, indices, tap) =
            opened.map_err(|error| chain(&error)).and_then(|opened| opened).map_err(|why| {
                Failure::machine(
                    format!("listen on {}: {why}", node.name),
                    "this needs the privilege that `labctl up` had",
                )
            })?;
        let places = indices.into_iter().zip(interfaces.len()..).collect();
        interfaces.extend(own);
        posts.push(Post { node: node.name.clone(), init, tap, places });
    }
    Ok(posts)
}

/// In the network namespace of the calling thread: its interfaces, their numbers, and a tap on all of them.
fn open(node: &NodeName) -> Result<(Vec<Interface>, Vec<u32>, Tap), String> {
    let tap = Tap::open_all().map_err(|error| error.to_string())?;
    let mut netlink = Netlink::open().map_err(|error| chain(&error))?;
    let ports = Port::all(&mut netlink).map_err(|error| chain(&error))?;
    let mut held = link::addresses_and_loopback(&mut netlink).map_err(|error| chain(&error))?;
    held.extend(link::addresses_and_loopback6(&mut netlink).map_err(|error| chain(&error))?);
    let interfaces = ports.iter().map(|port| Interface {
        node: node.clone(),
        name: port.name.clone(),
        mac: (port.index != LOOPBACK).then_some(port.mac),
        addresses: held.iter().filter(|it| it.index == port.index).map(|it| it.address).collect(),
    });
    Ok((interfaces.collect(), ports.iter().map(|port| port.index).collect(), tap))
}

/// What passed since then, until the connection must have ended; and how many frames passed unseen.
fn seen(posts: &[Post], began: Duration) -> io::Result<(Vec<Frame>, u64)> {
    let until = clock::calendar() + AFTERWARDS;
    let mut frames = Vec::new();
    loop {
        let left = until.saturating_sub(clock::calendar());
        for post in posts {
            while let Some(frame) = post.tap.next()? {
                let place = post.places.get(&frame.index);
                frames.extend(place.filter(|_| frame.at >= began).map(|&interface| Frame {
                    at_ns: (frame.at - began).as_nanos() as u64,
                    interface,
                    way: way(frame.way),
                    bytes: frame.bytes,
                }));
            }
        }
        if left.is_zero() {
            break;
        }
        // All taps are read once more when the time is over, however few frames the first of them sees.
        if let Some(first) = posts.first() {
            wait::readable(first.tap.as_fd(), left)?;
        }
    }
    let mut lost = 0;
    for post in posts {
        lost += u64::from(post.tap.lost()?);
    }
    Ok((frames, lost))
}

fn way(way: tap::Way) -> Way {
    match way {
        tap::Way::Out => Way::Out,
        tap::Way::In => Way::In,
        tap::Way::Overheard => Way::Overheard,
    }
}
