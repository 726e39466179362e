//! The format of a topology file, key by key. This page is the only description of it: the reader, the list of known
//! keys in a suggestion and `topologies/schema.json` are all made from it. What the values mean together is checked
//! elsewhere.

use super::names::{LabName, NetworkName, NodeName, ServiceName, Vrid};
use super::problem::Problems;
use super::read::{At, Map, Read, Record, Slot, record};
use super::scalars::{
    Address, Addresses, Argument, Choice, Count, Gateway, Interval, Off, Path, Port, Prefix, Priority,
    Switch, Weight,
};
use super::site::{Forward, Memory, Restart, Role, Scheduler};
use super::tree::{Tree, Value};

record! {
    /// A site: its networks, the machines on them, and what they do for each other.
    #[schemars(title = "labctl topology")]
    File = "a topology"
    required {
        /// The name of the lab, unless `labctl up --name` gives another.
        name: LabName,
        /// Every layer-2 network and its prefix. Its name is also the name of each interface plugged into it.
        networks: Map<NetworkName, Prefix>,
        /// Every machine. Output follows this order.
        nodes: Map<NodeName, FileNode>,
    }
    optional {
        /// The floating addresses, and the VRRP election that decides which proxy holds them.
        failover: FileFailover,
        /// What the proxies balance.
        balancer: FileBalancer,
        /// How the web nodes remember a conversation.
        conversation: FileConversation,
    }
}

record! {
    /// A machine.
    FileNode = "a node"
    required {
        /// What it is for: this decides its default services, gateway and sysctls.
        role: Choice<Role>,
        /// The networks it is on, and its addresses there.
        on: Map<NetworkName, Addresses>,
    }
    optional {
        /// The next hop of its default route, or `none`. Default: the router for clients, remotes and lone proxies,
        /// the inner floating address for webs and elected proxies, nothing for databases and routers.
        gateway: Gateway,
        /// Priority of a proxy in the election, 1 to 254; the highest wins. Default: 100.
        priority: Priority,
        /// What is done when a service ends; each service may say otherwise. Default: always.
        restart: Choice<Restart>,
        /// Services beside those of its role, or changes to these.
        services: Map<ServiceName, ServiceChange>,
    }
}

record! {
    /// A process that the node starts and watches.
    FileService = "a service"
    required {}
    optional {
        /// The program and its arguments. It is not given to a shell. Needed unless the role has a service of this name.
        run: Vec<At<Argument>>,
        /// TCP ports that it must listen on before the node counts as ready.
        listen: Vec<At<Port>>,
        /// What is done when it ends.
        restart: Choice<Restart>,
    }
}

record! {
    /// The floating addresses and their election by VRRP (RFC 9568) among the proxies.
    FileFailover = "failover"
    required {
        /// The network that carries the advertisements.
        network: NetworkName,
        /// The floating address on each network that has one; the first is the public one.
        vip: Map<NetworkName, Address>,
    }
    optional {
        /// Virtual router identifier, 1 to 255. Default: 51.
        vrid: Vrid,
        /// Time between advertisements, 10 ms to 40.95 s in steps of 10 ms. Default: 1s.
        advert: Interval,
        /// May a proxy with a higher priority take over from one that works? Default: true.
        preempt: Switch,
    }
}

record! {
    /// What the proxies balance, and how.
    FileBalancer = "the balancer"
    required {
        /// The virtual services.
        services: Map<ServiceName, FileVirtual>,
    }
    optional {
        /// The forwarding method. Default: nat.
        forward: Choice<Forward>,
    }
}

record! {
    /// A virtual service: an address and port that clients use, and the real servers behind it.
    FileVirtual = "a virtual service"
    required {
        /// The port that clients connect to.
        port: Port,
    }
    optional {
        /// The address that clients connect to. Default: the first floating address.
        address: Address,
        /// Who gets the next new connection: `rr` in turn, `sh` always the same for one client address. Default: rr.
        scheduler: Choice<Scheduler>,
        /// The nodes behind it, each with its weight; 0 drains. Default: every web node with weight 1.
        real: Map<NodeName, Weight>,
        /// The port on the nodes behind it. Default: `web_port` of the conversation.
        real_port: Port,
        /// How a node behind it proves that it is available. Default: its port accepts a connection.
        check: FileCheck,
    }
}

record! {
    /// A health check: TCP connect unless `http` is given.
    FileCheck = "a health check"
    required {}
    optional {
        /// Path of a `GET` that must answer 2xx.
        http: Path,
        /// Time from one check to the next. Default: 1s.
        interval: Interval,
        /// How long an answer may take, at most the interval. Default: 500ms.
        timeout: Interval,
        /// Consecutive successes that take a node back. Default: 2.
        rise: Count,
        /// Consecutive failures that take a node out. Default: 2.
        fall: Count,
    }
}

record! {
    /// How the web nodes remember a conversation.
    FileConversation = "the conversation"
    required {}
    optional {
        /// `database` keeps turns in the database nodes, `none` in the one web process only. Default: `database` if
        /// there are database nodes.
        memory: Choice<Memory>,
        /// Port of the web application. Default: 8080.
        web_port: Port,
        /// Port of the database. Default: 7000.
        db_port: Port,
    }
}

/// What the file says about one service of a node: its particulars, or `off`.
#[derive(Debug, schemars::JsonSchema)]
#[schemars(untagged)]
pub(super) enum ServiceChange {
    /// Leaves out a default service.
    Off(Off),
    /// Adds or changes one.
    Set(FileService),
}

impl Read for ServiceChange {
    fn read(tree: &Tree, problems: &mut Problems) -> Option<Self> {
        match &tree.value {
            Value::Text(_) => Off::read(tree, problems).map(Self::Off),
            _ => FileService::read(tree, problems).map(Self::Set),
        }
    }
}
