//! The lab's network: a fabric namespace full of bridges, and one namespace a node. It carries out the network steps
//! of a plan and says what is there; which steps, and when, is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::tripwire;
use crate::kernel::link::{self, End, LOOPBACK};
use crate::kernel::namespace::{self, NetNs};
use crate::kernel::netlink::{self, Netlink, Request};
use crate::plan::{Observed, ObservedInterface, ObservedNode, Route, STATIC_METRIC, Step, Wanted};
use crate::topology::{NetworkName, NodeName, Topology};

/// First index of a bridge in the fabric, and of a cable in a node: above those that the kernel hands out to the tunnel
/// devices that it puts into every namespace.
const BRIDGES: u32 = 1000;
const CABLES: u32 = 1000;
/// First index of a port in the fabric: above all bridges.
const PORTS: u32 = 100_000;
/// First index of a bridge for nodes that are cut off together, between the two.
const SIDES: u32 = 50_000;
/// A bridge port is up within a millisecond; after this long something is wrong with the kernel.
const CARRIER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why the network is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a step.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: Box<Step>,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The kernel refused to break a cable.
    #[error("break the cable between {node} and {network}")]
    Cable {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// No namespace.
    #[error("make the network namespace of {of}")]
    Namespace {
        /// The node, or `the fabric`.
        of: String,
        /// Why not.
        #[source]
        source: namespace::Error,
    },
    /// The kernel did not answer.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] namespace::Error),
    /// Cables that carry nothing.
    #[error("no carrier on {} after {CARRIER_WAIT_MAX:?}", .ports.join(", "))]
    NoCarrier {
        /// `web1:back` and the like.
        ports: Vec<String>,
    },
}

/// The namespaces of a lab.
#[derive(Debug)]
pub struct Network {
    numbers: Numbers,
    fabric: NetNs,
    notices: Netlink,
    nodes: BTreeMap<NodeName, NetNs>,
}

/// Which index stands for what: by position in the topology, so that nothing has to be looked up.
#[derive(Debug)]
struct Numbers {
    networks: Vec<NetworkName>,
    nodes: Vec<NodeName>,
    cables: BTreeMap<NodeName, Vec<NetworkName>>,
    /// Nodes with IPv6. The others are never asked about it.
    v6: BTreeSet<NodeName>,
}

impl Numbers {
    fn of(topology: &Topology) -> Self {
        let cables = topology.nodes.iter().map(|node| {
            let networks = node.interfaces.iter().map(|interface| interface.network.clone()).collect();
            (node.name.clone(), networks)
        });
        let v6 = topology.nodes.iter().filter(|node| topology.has_ipv6(node));
        Self {
            networks: topology.networks.keys().cloned().collect(),
            nodes: topology.nodes.iter().map(|node| node.name.clone()).collect(),
            cables: cables.collect(),
            v6: v6.map(|node| node.name.clone()).collect(),
        }
    }

    fn bridge(&self, network: &NetworkName) -> u32 {
        BRIDGES + position(&self.networks, network)
    }

    fn port(&self, node: &NodeName, network: &NetworkName) -> u32 {
        let row = self.networks.len() as u32 + 1;
        PORTS + position(&self.nodes, node) * row + position(&self.networks, network)
    }

    /// The bridge on which this node and those cut off with it are, where there is one.
    fn side(&self, node: &NodeName, network: &NetworkName) -> u32 {
        self.port(node, network) - PORTS + SIDES
    }

    fn cable(&self, node: &NodeName, network: &NetworkName) -> u32 {
        CABLES + self.cables.get(node).map_or(0, |cables| position(cables, network))
    }

    /// A locally administered address that tells node and network apart at a glance.
    fn mac(&self, node: &NodeName, network: &NetworkName) -> link::Mac {
        let [network_high, network_low] = (position(&self.networks, network) as u16).to_be_bytes();
        let [node_high, node_low] = (position(&self.nodes, node) as u16).to_be_bytes();
        [0x02, b'l', network_high, network_low, node_high, node_low]
    }

    fn ports(&self) -> impl Iterator<Item = (u32, &NodeName, &NetworkName)> {
        self.cables.iter().flat_map(move |(node, cables)| {
            cables.iter().map(move |network| (self.port(node, network), node, network))
        })
    }
}

/// Plans name only what the topology names, so a miss can only be a name that was asked for by hand; it maps to an
/// index that does not exist, which the kernel then refuses.
fn position<T: PartialEq>(all: &[T], one: &T) -> u32 {
    all.iter().position(|each| each == one).unwrap_or(all.len()) as u32
}

/// Whose socket takes a request.
#[derive(Clone, PartialEq)]
enum Target {
    Fabric,
    Node(NodeName),
}

impl Network {
    /// An empty fabric for a topology.
    pub fn create(topology: &Topology) -> Result<Self, Error> {
        let quiet = [
            // Docker's hooks on bridges must not see a lab's packets.
            ("?net.bridge.bridge-nf-call-iptables", "0"),
            ("?net.bridge.bridge-nf-call-ip6tables", "0"),
            ("?net.bridge.bridge-nf-call-arptables", "0"),
            ("?net.ipv6.conf.all.disable_ipv6", "1"),
            ("?net.ipv6.conf.default.disable_ipv6", "1"),
        ];
        let quiet = quiet.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let fabric = NetNs::create(&quiet)
            .map_err(|source| Error::Namespace { of: "the fabric".to_owned(), source })?;
        let notices = fabric.enter(|| Netlink::open_groups(&[netlink::LINK_GROUP]))??;
        Ok(Self { numbers: Numbers::of(topology), fabric, notices, nodes: BTreeMap::new() })
    }

    /// The namespace of a node.
    pub fn node(&self, name: &NodeName) -> Option<&NetNs> {
        self.nodes.get(name)
    }

    /// The namespace of the bridges.
    pub fn fabric(&self) -> BorrowedFd<'_> {
        self.fabric.as_fd()
    }

    /// Carries out network steps in order; consecutive ones for one namespace go to the kernel together.
    pub fn carry_out(&mut self, wanted: &Wanted, steps: &[Step]) -> Result<(), Error> {
        let mut batch: Vec<(&Step, Request)> = Vec::new();
        let mut target = Target::Fabric;
        for step in steps {
            let (next, request) = match step {
                Step::AddNamespace { node } => {
                    self.flush(&target, &mut batch)?;
                    let settings = wanted.node(node).map(|node| node.settings.as_slice()).unwrap_or_default();
                    let namespace = NetNs::create(settings)
                        .map_err(|source| Error::Namespace { of: node.to_string(), source })?;
                    self.nodes.insert(node.clone(), namespace);
                    continue;
                }
                Step::RemoveNamespace { node } => {
                    self.flush(&target, &mut batch)?;
                    self.nodes.remove(node);
                    continue;
                }
                Step::StartNode { .. } | Step::StopNode { .. } => continue,
                step => {
                    let Some(request) = self.request(step) else { continue };
                    (self.target(step), request)
                }
            };
            if next != target {
                self.flush(&target, &mut batch)?;
                target = next;
            }
            batch.push((step, request));
        }
        self.flush(&target, &mut batch)
    }

    fn target(&self, step: &Step) -> Target {
        match step {
            Step::LoopbackUp { node }
            | Step::LinkUp { node, .. }
            | Step::AddAddress { node, .. }
            | Step::RemoveAddress { node, .. }
            | Step::AddLoopbackAddress { node, .. }
            | Step::RemoveLoopbackAddress { node, .. }
            | Step::AddRoute { node, .. }
            | Step::RemoveRoute { node, .. } => Target::Node(node.clone()),
            _ => Target::Fabric,
        }
    }

    fn request(&self, step: &Step) -> Option<Request> {
        let numbers = &self.numbers;
        Some(match step {
            Step::AddBridge { network } => link::add_bridge(numbers.bridge(network), network.as_str()),
            Step::RemoveBridge { network } => link::delete(numbers.bridge(network)),
            Step::AddLink { node, network } => {
                let index = numbers.port(node, network);
                let near = End { name: &format!("port{index}"), index, mac: None };
                let mac = Some(numbers.mac(node, network));
                let far = End { name: network.as_str(), index: numbers.cable(node, network), mac };
                let alias = format!("{node}:{network}");
                let far_ns = self.nodes.get(node)?.as_fd();
                link::add_veth(&near, &alias, numbers.bridge(network), &far, far_ns)
            }
            Step::RemoveLink { node, network } => link::delete(numbers.port(node, network)),
            Step::LoopbackUp { .. } => link::up(LOOPBACK),
            Step::LinkUp { node, network } => link::up(numbers.cable(node, network)),
            Step::Join { node, network } => link::join(numbers.port(node, network), numbers.bridge(network)),
            Step::AddAddress { node, network, address, prefix_len } => {
                add_address(numbers.cable(node, network), *address, *prefix_len)
            }
            Step::RemoveAddress { node, network, address, prefix_len } => {
                delete_address(numbers.cable(node, network), *address, *prefix_len)
            }
            Step::AddLoopbackAddress { address, prefix_len, .. } => {
                add_address(LOOPBACK, *address, *prefix_len)
            }
            Step::RemoveLoopbackAddress { address, prefix_len, .. } => {
                delete_address(LOOPBACK, *address, *prefix_len)
            }
            Step::AddRoute { route: Route { gateway, mss }, .. } => match *gateway {
                IpAddr::V4(hop) => link::add_default_route(hop, STATIC_METRIC, *mss),
                IpAddr::V6(hop) => link::add_default_route6(hop, STATIC_METRIC, *mss),
            },
            Step::RemoveRoute { route, .. } => match route.gateway {
                IpAddr::V4(hop) => link::delete_default_route(hop, STATIC_METRIC),
                IpAddr::V6(hop) => link::delete_default_route6(hop, STATIC_METRIC),
            },
            Step::AddNamespace { .. }
            | Step::RemoveNamespace { .. }
            | Step::StartNode { .. }
            | Step::StopNode { .. } => return None,
        })
    }

    fn flush(&mut self, target: &Target, batch: &mut Vec<(&Step, Request)>) -> Result<(), Error> {
        let (steps, requests): (Vec<&Step>, Vec<Request>) = batch.drain(..).unzip();
        let netlink = match target {
            Target::Fabric => &mut self.fabric.netlink,
            Target::Node(name) => match self.nodes.get_mut(name) {
                Some(namespace) => &mut namespace.netlink,
                None => return Ok(()),
            },
        };
        for (step, result) in steps.into_iter().zip(netlink.run(&requests)?) {
            result.map_err(|source| Error::Step { step: Box::new(step.clone()), source })?;
        }
        Ok(())
    }

    /// Takes all cables of a node down at its own end, that one first: from now on it is silent.
    pub fn silence(&mut self, node: &NodeName, first: Option<&NetworkName>) -> Result<(), Error> {
        let Some(cables) = self.numbers.cables.get(node) else { return Ok(()) };
        let mut cables: Vec<&NetworkName> = cables.iter().collect();
        cables.sort_by_key(|network| Some(*network) != first);
        let requests: Vec<_> =
            cables.into_iter().map(|network| link::down(self.numbers.cable(node, network))).collect();
        if let Some(namespace) = self.nodes.get_mut(node) {
            // A refusal means that the cable is gone already, which is silence enough.
            let _ = namespace.netlink.run(&requests)?;
        }
        Ok(())
    }

    /// Takes one cable of a node down at its own end.
    pub fn take_down(&mut self, node: &NodeName, network: &NetworkName) -> Result<(), Error> {
        let request = link::down(self.numbers.cable(node, network));
        let Some(namespace) = self.nodes.get_mut(node) else { return Ok(()) };
        let refused = |source| Error::Cable { node: node.clone(), network: network.clone(), source };
        namespace.netlink.run(&[request])?.into_iter().collect::<Result<(), _>>().map_err(refused)
    }

    /// Takes a node's cable out of a network, and leaves the carrier.
    pub fn cut(&mut self, node: &NodeName, network: &NetworkName) -> Result<(), Error> {
        let request = link::leave(self.numbers.port(node, network));
        self.fabric_requests(node, network, &[request])
    }

    /// Puts these nodes on a bridge of their own in the place of a network's, and leaves the carriers.
    pub fn split(&mut self, nodes: &[&NodeName], network: &NetworkName) -> Result<(), Error> {
        let Some(&first) = nodes.first() else { return Ok(()) };
        let side = self.numbers.side(first, network);
        let links = link::links(&mut self.fabric.netlink)?;
        let mut requests = Vec::new();
        // One of an earlier cut lies there still; removing it would take the kernel's lock for longer than this.
        if !links.iter().any(|link| link.index == side) {
            requests.push(link::add_bridge(side, &format!("side{side}:{network}")));
        }
        requests.extend(nodes.iter().map(|node| link::join(self.numbers.port(node, network), side)));
        self.fabric_requests(first, network, &requests)
    }

    /// Lets nothing through between these nodes on a network.
    pub fn isolate(&mut self, nodes: &[&NodeName], network: &NetworkName) -> Result<(), Error> {
        let Some(&first) = nodes.first() else { return Ok(()) };
        let requests: Vec<_> =
            nodes.iter().map(|node| link::isolate(self.numbers.port(node, network), true)).collect();
        self.fabric_requests(first, network, &requests)
    }

    /// Who is isolated on a network.
    pub fn isolated(&mut self, network: &NetworkName) -> Result<Vec<NodeName>, Error> {
        let links = link::links(&mut self.fabric.netlink)?;
        let port = |node: &NodeName| self.numbers.port(node, network);
        let isolated = |node: &&NodeName| links.iter().any(|link| link.index == port(node) && link.isolated);
        Ok(self.numbers.nodes.iter().filter(isolated).cloned().collect())
    }

    /// The end of isolation for one node.
    pub fn associate(&mut self, node: &NodeName, network: &NetworkName) -> Result<(), Error> {
        if !self.isolated(network)?.contains(node) {
            return Ok(());
        }
        let request = link::isolate(self.numbers.port(node, network), false);
        self.fabric_requests(node, network, &[request])
    }

    fn fabric_requests(
        &mut self,
        node: &NodeName,
        network: &NetworkName,
        requests: &[Request],
    ) -> Result<(), Error> {
        let refused = |source| Error::Cable { node: node.clone(), network: network.clone(), source };
        self.fabric.netlink.run(requests)?.into_iter().collect::<Result<(), _>>().map_err(refused)
    }

    /// Waits until packets pass on every cable that there is, or on those of one node: others may be dead, or cut on purpose.
    #[expect(clippy::disallowed_methods, reason = "owns the clock of this wait")]
    pub fn wait_for_carrier(&mut self, of: Option<&NodeName>) -> Result<(), Error> {
        let awaited = self.numbers.ports().filter(|(_, node, _)| of.is_none_or(|of| of == *node));
        let awaited: BTreeSet<u32> = awaited.map(|(port, ..)| port).collect();
        let deadline = Instant::now() + CARRIER_WAIT_MAX;
        loop {
            let dark: Vec<u32> = link::links(&mut self.fabric.netlink)?
                .into_iter()
                .filter(|link| awaited.contains(&link.index) && !link.operational)
                .map(|link| link.index)
                .collect();
            if dark.is_empty() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let ports = self.numbers.ports().filter(|(index, ..)| dark.contains(index));
                let ports = ports.map(|(_, node, network)| format!("{node}:{network}")).collect();
                return Err(Error::NoCarrier { ports });
            }
            self.notices.wait_for_notice(left);
        }
    }

    /// Ties a tripwire from every namespace of the lab into a watcher's; returns whose they are, in order.
    pub fn tie(&mut self, watcher: BorrowedFd) -> Result<Vec<String>, tripwire::Error> {
        let mut names = vec!["the fabric".to_owned()];
        tripwire::tie(&mut self.fabric.netlink, 0, &names[0], watcher)?;
        for (name, namespace) in &mut self.nodes {
            tripwire::tie(&mut namespace.netlink, names.len(), name.as_str(), watcher)?;
            names.push(name.to_string());
        }
        Ok(names)
    }

    /// Whether a node has an address now.
    pub fn has_address(&mut self, node: &NodeName, address: IpAddr) -> Result<bool, Error> {
        let Some(namespace) = self.nodes.get_mut(node) else { return Ok(false) };
        let all = match address {
            IpAddr::V4(_) => link::addresses(&mut namespace.netlink)?,
            IpAddr::V6(_) => link::addresses6(&mut namespace.netlink)?,
        };
        Ok(all.iter().any(|held| held.address == address))
    }

    /// TCP ports that somebody listens on, per node.
    pub fn listening(&mut self) -> Result<BTreeMap<NodeName, BTreeSet<u16>>, Error> {
        let mut all = BTreeMap::new();
        for (name, namespace) in &mut self.nodes {
            all.insert(name.clone(), namespace.listeners.ports().map_err(namespace::Error::from)?);
        }
        Ok(all)
    }

    /// What there is; `running` says whose PID 1 lives, and `floating` which addresses may live on a macvlan.
    pub fn observe(
        &mut self,
        running: impl Fn(&NodeName) -> bool,
        floating: &BTreeSet<IpAddr>,
    ) -> Result<Observed, Error> {
        let in_fabric = link::links(&mut self.fabric.netlink)?;
        let exists = |index: u32| in_fabric.iter().any(|link| link.index == index);
        let numbers = &self.numbers;
        let bridges = numbers.networks.iter().filter(|network| exists(numbers.bridge(network))).cloned();
        let mut observed = Observed { bridges: bridges.collect(), nodes: BTreeMap::new() };
        for (name, namespace) in &mut self.nodes {
            let ours = numbers.cables.get(name).map(Vec::as_slice).unwrap_or_default();
            let mut node = observe_node(&mut namespace.netlink, ours, numbers.v6.contains(name), floating)?;
            for (network, interface) in &mut node.interfaces {
                let port = numbers.port(name, network);
                let bridge = Some(numbers.bridge(network));
                interface.cut = in_fabric
                    .iter()
                    .any(|link| link.index == port && (link.controller != bridge || link.isolated));
            }
            node.running = running(name);
            observed.nodes.insert(name.clone(), node);
        }
        Ok(observed)
    }
}

fn add_address(index: u32, address: IpAddr, prefix_len: u8) -> Request {
    match address {
        IpAddr::V4(address) => link::add_address(index, address, prefix_len),
        IpAddr::V6(address) => link::add_address6(index, address, prefix_len),
    }
}

fn delete_address(index: u32, address: IpAddr, prefix_len: u8) -> Request {
    match address {
        IpAddr::V4(address) => link::delete_address(index, address, prefix_len),
        IpAddr::V6(address) => link::delete_address6(index, address, prefix_len),
    }
}

/// Interfaces are named after their networks, so the kernel's names say it all. Those that somebody made on the node are
/// not the plan's, but for the macvlan of a virtual router: what floats on it is held on the cable below.
fn observe_node(
    netlink: &mut Netlink,
    ours: &[NetworkName],
    v6: bool,
    floating: &BTreeSet<IpAddr>,
) -> Result<ObservedNode, Error> {
    let mut node = ObservedNode::default();
    let mut addresses = link::addresses_and_loopback(netlink)?;
    let mut routes = link::default_routes(netlink)?;
    if v6 {
        addresses.extend(link::addresses_and_loopback6(netlink)?);
        routes.extend(link::default_routes6(netlink)?);
    }
    let links = link::links(netlink)?;
    for link in &links {
        if link.index == LOOPBACK {
            node.loopback_up = link.admin_up;
            let own = addresses.iter().filter(|held| held.index == LOOPBACK);
            node.loopback = own.map(|held| (held.address, held.prefix_len)).collect();
            continue;
        }
        let Some(network) = ours.iter().find(|network| network.as_str() == link.name) else { continue };
        let above = |index: u32| links.iter().any(|it| it.index == index && it.lower == Some(link.index));
        let own = addresses
            .iter()
            .filter(|held| held.index == link.index || floating.contains(&held.address) && above(held.index));
        let interface = ObservedInterface {
            up: link.admin_up,
            addresses: own.map(|held| (held.address, held.prefix_len)).collect(),
            // The bridge's end knows.
            cut: false,
        };
        node.interfaces.insert(network.clone(), interface);
    }
    let route = |it: &link::DefaultRoute| (Route { gateway: it.gateway, mss: it.mss }, it.metric);
    node.routes = routes.iter().map(route).collect();
    Ok(node)
}

#[cfg(test)]
mod tests;
