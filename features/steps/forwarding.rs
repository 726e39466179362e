//! Which way packets take between a client, the directors and the real servers: by the kernel's counts, and by what is heard
//! on a wire.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::time::Instant;

use cucumber::{given, then, when};
use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TransportSlice};
use labctl::holder::client::Lab;
use labctl::kernel::link::Mac;
use labctl::kernel::namespace;
use labctl::kernel::netlink::Netlink;
use labctl::kernel::packet::Port;
use labctl::kernel::tap::{Frame, Tap, Way};
use labctl::kernel::traffic::{self, Passed};
use labctl::topology::{NodeName, Role};

use crate::cast::{Address, Node};
use crate::visit::Visitor;
use crate::world::World;

/// What clients know of a site.
pub const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 80);
/// The client's addresses, each a visitor of its own.
const CLIENTS: std::ops::RangeInclusive<u8> = 10..=29;
/// What a director whose link is narrow may send, in bytes a second.
const NARROW: u32 = 2_000_000;
/// What each visitor downloads through it.
const THROUGH_NARROW: &str = "1048576";
/// One in so many: 5 %.
const FEW: u64 = 20;

/// One of the client's addresses, the same for the same number.
pub fn source(at: usize) -> Ipv4Addr {
    let count = usize::from(CLIENTS.end() - CLIENTS.start() + 1);
    Ipv4Addr::new(198, 51, 100, CLIENTS.start() + (at % count) as u8)
}

fn is_client(address: Ipv4Addr) -> bool {
    let [a, b, c, host] = address.octets();
    [a, b, c] == [198, 51, 100] && CLIENTS.contains(&host)
}

/// Does something in the network of a node.
pub fn inside<T: Send>(
    lab: &Lab,
    node: &NodeName,
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    let init = lab.enter(node).map_err(|error| error.to_string())?;
    namespace::inside(init.as_fd(), work).map_err(|error| error.to_string())?
}

/// What passed every interface of every node that lives.
type Tally = BTreeMap<(NodeName, String), Passed>;

fn tally(lab: &Lab) -> Result<Tally, String> {
    let mut tally = Tally::new();
    for node in lab.topology().map_err(|error| error.to_string())?.nodes {
        let passed = inside(lab, &node.name, || {
            let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
            traffic::passed(&mut netlink).map_err(|error| error.to_string())
        })?;
        tally.extend(passed.into_iter().map(|(interface, passed)| ((node.name.clone(), interface), passed)));
    }
    Ok(tally)
}

/// What the client got, and what passed meanwhile.
#[derive(Debug)]
pub struct Carried {
    bytes: u64,
    passed: Tally,
}

impl Carried {
    fn at(&self, node: &NodeName, interface: &str) -> Passed {
        self.passed.get(&(node.clone(), interface.to_owned())).copied().unwrap_or_default()
    }

    /// What a node sent, by whatever cable.
    fn sent_by(&self, node: &NodeName) -> u64 {
        let cables = self.passed.iter().filter(|((of, interface), _)| of == node && interface != "lo");
        cables.map(|(_, passed)| passed.sent).sum()
    }
}

/// Somebody who is about to download so many bytes.
fn downloader(lab: &Lab, at: usize, bytes: &str) -> Result<Visitor, String> {
    let client = "client".parse().map_err(|error| format!("{error}"))?;
    let work = ["download", &source(at).to_string(), &VIP.to_string(), bytes];
    let mut visitor = Visitor::send(lab, &client, &work)?;
    match visitor.hears()?.as_str() {
        "ready" => Ok(visitor),
        other => Err(other.to_owned()),
    }
}

/// Lets a download begin and end; says who it came from.
fn downloads(visitor: &mut Visitor, bytes: &str) -> Result<String, String> {
    let said = visitor.hears()?;
    match said.split_once(' ') {
        Some((by, got)) if got == bytes => Ok(by.to_owned()),
        _ => Err(said),
    }
}

#[when(regex = r"^the client downloads (\d+) bytes over each of (\d+) connections$")]
fn client_downloads(world: &mut World, bytes: String, count: usize) -> Result<(), String> {
    let lab = world.lab()?;
    let before = tally(&lab)?;
    world.counted.clear();
    for at in 0..count {
        let mut visitor = downloader(&lab, at, &bytes)?;
        visitor.goes_on()?;
        *world.counted.entry(downloads(&mut visitor, &bytes)?).or_default() += 1;
        world.ears.iter_mut().try_for_each(Ear::listen)?;
    }
    let mut passed = tally(&lab)?;
    for (interface, now) in &mut passed {
        let was = before.get(interface).copied().unwrap_or_default();
        *now = Passed { received: now.received - was.received, sent: now.sent - was.sent };
    }
    let each: u64 = bytes.parse().map_err(|error| format!("{bytes}: {error}"))?;
    world.carried = Some(Carried { bytes: each * count as u64, passed });
    Ok(())
}

fn carried(world: &World) -> Result<&Carried, String> {
    world.carried.as_ref().ok_or_else(|| "nobody downloaded anything".to_owned())
}

#[then(expr = "every byte of that came to {node} by {word} and left it by {word}")]
fn came_and_left(world: &mut World, node: Node, came_by: String, left_by: String) -> Result<(), String> {
    let carried = carried(world)?;
    let (came, left) = (carried.at(&node.0, &came_by).received, carried.at(&node.0, &left_by).sent);
    if came.min(left) >= carried.bytes {
        Ok(())
    } else {
        Err(format!("of {} bytes {came} came and {left} left", carried.bytes))
    }
}

#[then(expr = "{node} sent less than 5 % of that")]
fn sent_little(world: &mut World, node: Node) -> Result<(), String> {
    let carried = carried(world)?;
    let sent = carried.sent_by(&node.0);
    if sent * FEW < carried.bytes { Ok(()) } else { Err(format!("{sent} of {} bytes", carried.bytes)) }
}

#[then("the directors together sent less than 5 % of that")]
fn directors_sent_little(world: &mut World) -> Result<(), String> {
    let topology = world.lab()?.topology().map_err(|error| error.to_string())?;
    let carried = carried(world)?;
    let sent: u64 = topology.nodes_of(Role::Proxy).map(|proxy| carried.sent_by(&proxy.name)).sum();
    match sent {
        0 => Err("they sent nothing at all, so nobody counted".to_owned()),
        sent if sent * FEW < carried.bytes => Ok(()),
        sent => Err(format!("{sent} of {} bytes", carried.bytes)),
    }
}

/// Somebody who listens on an interface.
#[derive(Debug)]
pub struct Ear {
    node: NodeName,
    port: Port,
    tap: Tap,
    heard: Vec<Heard>,
}

/// A segment of TCP that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Heard {
    outgoing: bool,
    from: Mac,
    to: Mac,
    /// The packet that it travelled in, if that is not its own.
    tunnel: Option<(Ipv4Addr, Ipv4Addr)>,
    source: SocketAddrV4,
    target: SocketAddrV4,
}

impl Ear {
    fn open(lab: &Lab, node: &NodeName, interface: &str) -> Result<Self, String> {
        let (port, tap) = inside(lab, node, || {
            let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
            let port = Port::find(&mut netlink, interface).map_err(|error| error.to_string())?;
            let tap = Tap::open(&port).map_err(|error| format!("listen on {interface}: {error}"))?;
            Ok((port, tap))
        })?;
        Ok(Self { node: node.clone(), port, tap, heard: vec![] })
    }

    /// Takes in what passed since the last time, before too much of it waits.
    fn listen(&mut self) -> Result<(), String> {
        while let Some(frame) = self.tap.next().map_err(|error| error.to_string())? {
            self.heard.extend(heard(&frame));
        }
        Ok(())
    }
}

fn heard(frame: &Frame) -> Option<Heard> {
    let packet = LaxSlicedPacket::from_ethernet(&frame.bytes).ok()?;
    let Some(LinkSlice::Ethernet2(link)) = &packet.link else { return None };
    let outer = ends(&packet)?;
    let inner = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(outer) if outer.payload().ip_number == etherparse::ip_number::IPV4 => {
            LaxSlicedPacket::from_ip(outer.payload().payload).ok()
        }
        _ => None,
    };
    let (tunnel, packet) = match inner {
        Some(inner) => (Some(outer), inner),
        None => (None, packet.clone()),
    };
    let (source, target) = ends(&packet)?;
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    Some(Heard {
        outgoing: frame.way == Way::Out,
        from: link.source(),
        to: link.destination(),
        tunnel,
        source: SocketAddrV4::new(source, tcp.source_port()),
        target: SocketAddrV4::new(target, tcp.destination_port()),
    })
}

/// Source and destination of an IPv4 packet.
fn ends(packet: &LaxSlicedPacket<'_>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(packet) => {
            Some((packet.header().source_addr(), packet.header().destination_addr()))
        }
        _ => None,
    }
}

#[given(expr = "somebody listens on {word} of {node}")]
fn listens(world: &mut World, interface: String, node: Node) -> Result<(), String> {
    let ear = Ear::open(&world.lab()?, &node.0, &interface)?;
    world.ears.push(ear);
    Ok(())
}

/// What was heard at a node; at least something.
fn heard_at(
    world: &World,
    node: &NodeName,
    that: impl Fn(&Heard) -> bool,
) -> Result<BTreeSet<Heard>, String> {
    let ears = world.ears.iter().filter(|ear| ear.node == *node);
    let heard: BTreeSet<Heard> = ears.flat_map(|ear| &ear.heard).copied().filter(that).collect();
    if heard.is_empty() { Err(format!("nothing of the kind was heard at {node}")) } else { Ok(heard) }
}

/// All that was heard is as it should be.
fn all(heard: BTreeSet<Heard>, that: impl Fn(&Heard) -> bool) -> Result<(), String> {
    let odd: Vec<_> = heard.into_iter().filter(|heard| !that(heard)).collect();
    if odd.is_empty() { Ok(()) } else { Err(format!("heard {odd:?}")) }
}

#[then(expr = "{node} was answered by nobody but the VIP")]
fn answered_by_vip(world: &mut World, node: Node) -> Result<(), String> {
    all(heard_at(world, &node.0, |heard| !heard.outgoing)?, |heard| {
        heard.source == VIP && heard.tunnel.is_none()
    })
}

/// What came to a node for the VIP.
fn asked(heard: &Heard) -> bool {
    !heard.outgoing && heard.target == VIP
}

#[then(
    expr = "what the client sends to the VIP reaches {node} inside of packets from {address} to {address}"
)]
fn reaches_in_tunnel(world: &mut World, node: Node, from: Address, to: Address) -> Result<(), String> {
    all(heard_at(world, &node.0, asked)?, |heard| {
        heard.tunnel == Some((from.0, to.0)) && is_client(*heard.source.ip())
    })
}

#[then(expr = "what the client sends to the VIP reaches {node} from the hardware address of {node}")]
fn reaches_by_hardware(world: &mut World, node: Node, director: Node) -> Result<(), String> {
    let ear = world.ears.iter().find(|ear| ear.node == node.0).ok_or("nobody listens there")?;
    let (interface, own) = (ear.port.name.clone(), ear.port.mac);
    let init = world.lab()?.enter(&director.0).map_err(|error| error.to_string())?;
    let director = Port::inside(init.as_fd(), &interface).map_err(|error| error.to_string())?.mac;
    all(heard_at(world, &node.0, asked)?, |heard| {
        (heard.from, heard.to) == (director, own) && heard.tunnel.is_none() && is_client(*heard.source.ip())
    })
}

#[then(expr = "{node} answers the client as the VIP and by the hardware address of {node}")]
fn answers_as_vip(world: &mut World, node: Node, router: Node) -> Result<(), String> {
    let ear = world.ears.iter().find(|ear| ear.node == node.0).ok_or("nobody listens there")?;
    let interface = ear.port.name.clone();
    let init = world.lab()?.enter(&router.0).map_err(|error| error.to_string())?;
    let router = Port::inside(init.as_fd(), &interface).map_err(|error| error.to_string())?.mac;
    let to_client = |heard: &Heard| heard.outgoing && is_client(*heard.target.ip());
    all(heard_at(world, &node.0, to_client)?, |heard| {
        heard.source == VIP && heard.tunnel.is_none() && heard.to == router
    })
}

#[when(regex = r"^in (\S+), by a director with a narrow link, one visitor downloads, and then four at once$")]
fn through_a_narrow_link(world: &mut World, method: String) -> Result<(), String> {
    world.up(&format!("topologies/vs-{method}.yaml"), &method)?;
    let lab = world.lab_called(&method)?;
    let director = "proxy1".parse().map_err(|error| format!("{error}"))?;
    inside(&lab, &director, || {
        let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
        let port = Port::find(&mut netlink, "front").map_err(|error| error.to_string())?;
        let done = netlink.run(&[traffic::limit(port.index, NARROW)]).map_err(|error| error.to_string())?;
        done.into_iter().collect::<Result<(), _>>().map_err(|errno| format!("limit front: {errno}"))
    })?;
    for count in [1, 4] {
        let visitors = (0..count).map(|at| downloader(&lab, at, THROUGH_NARROW));
        let mut visitors: Vec<Visitor> = visitors.collect::<Result<_, _>>()?;
        let began = Instant::now();
        visitors.iter_mut().try_for_each(Visitor::goes_on)?;
        for visitor in &mut visitors {
            downloads(visitor, THROUGH_NARROW)?;
        }
        world.counted.insert(format!("{method} {count}"), began.elapsed().as_millis() as u64);
    }
    lab.down().map_err(|error| error.to_string())
}

fn took(world: &World, method: &str, count: &str) -> Result<u64, String> {
    let took = world.counted.get(&format!("{method} {count}")).copied();
    took.ok_or_else(|| format!("{count} by {method} were not looked at: {:?}", world.counted))
}

#[then(regex = r"^in (\S+) four at once took more than twice as long as one$")]
fn share_the_link(world: &mut World, method: String) -> Result<(), String> {
    let (one, four) = (took(world, &method, "1")?, took(world, &method, "4")?);
    if four > 2 * one { Ok(()) } else { Err(format!("{four} ms and {one} ms")) }
}

#[then(regex = r"^four at once took less than half as long in (\S+) as in (\S+)$")]
fn pass_it_by(world: &mut World, fast: String, slow: String) -> Result<(), String> {
    let (fast, slow) = (took(world, &fast, "4")?, took(world, &slow, "4")?);
    if 2 * fast < slow { Ok(()) } else { Err(format!("{fast} ms and {slow} ms")) }
}
