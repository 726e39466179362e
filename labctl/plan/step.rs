//! One change of the kernel's state. Steps are data: printed by `--dry-run`, applied by the holder.

use std::fmt;
use std::net::IpAddr;

use super::Route;
use crate::topology::{NetworkName, NodeName};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A bridge in the fabric.
    AddBridge {
        /// Its network.
        network: NetworkName,
    },
    /// A bridge goes.
    RemoveBridge {
        /// Its network.
        network: NetworkName,
    },
    /// A node's network namespace, with its settings.
    AddNamespace {
        /// The node.
        node: NodeName,
    },
    /// A node's network namespace goes, and with it whatever is left in it.
    RemoveNamespace {
        /// The node.
        node: NodeName,
    },
    /// A veth pair from a bridge into a node.
    AddLink {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// A veth pair goes, both ends.
    RemoveLink {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// A node's loopback.
    LoopbackUp {
        /// The node.
        node: NodeName,
    },
    /// A node's end of a cable.
    LinkUp {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// A network lets packets of a node through again.
    Join {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
    },
    /// An address on a node's end.
    AddAddress {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// An address goes.
    RemoveAddress {
        /// The node.
        node: NodeName,
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// An address on a node's loopback, of a service that it answers for.
    AddLoopbackAddress {
        /// The node.
        node: NodeName,
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// An address on a node's loopback goes.
    RemoveLoopbackAddress {
        /// The node.
        node: NodeName,
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix_len: u8,
    },
    /// A node's static default route, one for each family.
    AddRoute {
        /// The node.
        node: NodeName,
        /// Where it leads.
        route: Route,
    },
    /// A static default route goes.
    RemoveRoute {
        /// The node.
        node: NodeName,
        /// Where it led.
        route: Route,
    },
    /// A node's PID 1, which starts its services.
    StartNode {
        /// The node.
        node: NodeName,
    },
    /// A node's PID 1 is killed, and with it everything on the node.
    StopNode {
        /// The node.
        node: NodeName,
    },
}

impl Step {
    /// The node that it concerns; `None` for the fabric.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::AddBridge { .. } | Self::RemoveBridge { .. } => None,
            Self::AddNamespace { node }
            | Self::RemoveNamespace { node }
            | Self::AddLink { node, .. }
            | Self::RemoveLink { node, .. }
            | Self::LoopbackUp { node }
            | Self::LinkUp { node, .. }
            | Self::Join { node, .. }
            | Self::AddAddress { node, .. }
            | Self::RemoveAddress { node, .. }
            | Self::AddLoopbackAddress { node, .. }
            | Self::RemoveLoopbackAddress { node, .. }
            | Self::AddRoute { node, .. }
            | Self::RemoveRoute { node, .. }
            | Self::StartNode { node }
            | Self::StopNode { node } => Some(node),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddBridge { network } => write!(f, "add bridge {network}"),
            Self::RemoveBridge { network } => write!(f, "remove bridge {network}"),
            Self::AddNamespace { node } => write!(f, "add network namespace of {node}"),
            Self::RemoveNamespace { node } => write!(f, "remove network namespace of {node}"),
            Self::AddLink { node, network } => write!(f, "plug {node} into {network}"),
            Self::RemoveLink { node, network } => write!(f, "unplug {node} from {network}"),
            Self::LoopbackUp { node } => write!(f, "bring up loopback of {node}"),
            Self::LinkUp { node, network } => write!(f, "bring up {network} of {node}"),
            Self::Join { node, network } => write!(f, "let {node} through on {network}"),
            Self::AddAddress { node, network, address, prefix_len } => {
                write!(f, "add address {address}/{prefix_len} to {network} of {node}")
            }
            Self::RemoveAddress { node, network, address, prefix_len } => {
                write!(f, "remove address {address}/{prefix_len} from {network} of {node}")
            }
            Self::AddLoopbackAddress { node, address, prefix_len } => {
                write!(f, "add address {address}/{prefix_len} to loopback of {node}")
            }
            Self::RemoveLoopbackAddress { node, address, prefix_len } => {
                write!(f, "remove address {address}/{prefix_len} from loopback of {node}")
            }
            Self::AddRoute { node, route } => write!(f, "add default route of {node} by {route}"),
            Self::RemoveRoute { node, route } => write!(f, "remove default route of {node} by {route}"),
            Self::StartNode { node } => write!(f, "start {node}"),
            Self::StopNode { node } => write!(f, "stop {node}"),
        }
    }
}
