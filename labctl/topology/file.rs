//! The format of a topology file, key by key. This page is the only description of it: the reader, the list of known
//! keys in a suggestion and `topologies/schema.json` are all made from it. What the values mean together is checked
//! elsewhere.

use super::addresses::{Addresses, AnyAddress, Gateway, Prefix};
use super::names::{LabName, NetworkName, NodeName, ServiceName, Vrid};
use super::problem::Problems;
use super::read::{At, Map, Read, Record, Several, Slot, record};
use super::scalars::{
    Argument, Choice, CookieValue, Count, Cpu, FieldValue, Host, Interval, Off, Path, Penalty, Port,
    Priority, Size, Switch, Token, Weight,
};
use super::site::{
    Backend, BalancerEngine, Checksum, Degrade, Engine, Forward, MacMode, Memory, Placement, Profile,
    Protocol, Restart, Role, Scheduler, StoreEngine, VrrpVersion,
};
use super::tree::{Tree, Value};

record! {
    /// A site: its networks, the machines on them, and what they do for each other.
    #[schemars(title = "labctl topology")]
    File = "a topology"
    required {
        /// The name of the lab, unless `labctl up --name` gives another.
        name: LabName,
        /// Every layer-2 network and its IPv4 prefix, or `[IPv4 prefix, IPv6 prefix]`. Its name is also the name of each
        /// interface plugged into it.
        networks: Map<NetworkName, Several<Prefix>>,
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
        /// Do web and database share machines? `separate`, or `colocated`: each web runs a database as well, beside those
        /// on nodes of role db. Default: separate.
        placement: Choice<Placement>,
    }
}

record! {
    /// A machine.
    FileNode = "a node"
    required {
        /// What it is for: this decides its default services, gateway and sysctls.
        role: Choice<Role>,
        /// The networks it is on, and its addresses there: one, a range of IPv4, a list of these, or `none`. A node with
        /// an IPv6 address has IPv6 on all of its interfaces; the others have it on none.
        on: Map<NetworkName, Several<Addresses>>,
    }
    optional {
        /// The next hop of its default route, or `none`. Default: the router for clients, remotes and proxies that have an
        /// address of their own beside it, the inner floating address for other proxies and for webs, nothing for
        /// databases and routers. Webs that answer clients directly (`forward: tun` and `dr`) have the router, too. A
        /// list has one of each family; the family that it leaves out keeps its default.
        gateway: Several<Gateway>,
        /// Priority of a proxy in the election, 1 to 255; the highest wins. 255 is that of the owner of the addresses,
        /// which begins as their holder and always takes them back. Default: 100.
        priority: Priority,
        /// The program by which a proxy takes part in the election. Default: `engine` of `failover`.
        engine: Choice<Engine>,
        /// What is done when a service ends; each service may say otherwise. Default: always.
        restart: Choice<Restart>,
        /// The processors that all processes of the machine may use together, such as 0.5 or 2. Default: those of the
        /// machine that `labctl` runs on, shared with all others.
        cpu: Cpu,
        /// The memory that they may use together, files in memory included, such as 64MiB. Default: not limited.
        memory: Size,
        /// The size of its disk, such as 16MiB. Default: 1 GiB, shared with all other nodes that name none.
        disk: Size,
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
    /// The floating addresses and their election by VRRP (RFC 9568) among the proxies. A proxy whose `services` say
    /// `vrrpd: off` takes no part in it; whatever the proxies run instead then moves the addresses.
    FileFailover = "failover"
    required {
        /// The network that carries the advertisements.
        network: NetworkName,
        /// The floating addresses on each network that has some; the first IPv4 address is the public one. IPv4 and
        /// IPv6 are elected each by itself unless `sync` ties them; the link-local address that IPv6 needs is made of
        /// the VRID unless there is one here.
        vip: Map<NetworkName, Several<AnyAddress>>,
    }
    optional {
        /// Virtual router identifier, 1 to 255. Default: 51.
        vrid: Vrid,
        /// Time between advertisements, 10 ms to 40.95 s in steps of 10 ms; whole seconds wherever VRRPv2 is spoken.
        /// Default: 1s.
        advert: Interval,
        /// May a proxy with a higher priority take over from one that works? Default: true.
        preempt: Switch,
        /// How long such a proxy waits first, counted from when it started. Default: not at all.
        preempt_delay: Interval,
        /// `rfc9568` is nothing but the RFC; `lab` adds what keeps two from holding an address and one from losing it
        /// without need. Only our own engine has profiles. Default: lab.
        profile: Choice<Profile>,
        /// The version of VRRP: 2, 3, or `2+3` for both. Version 2 is IPv4 only. Default: 3.
        version: Choice<VrrpVersion>,
        /// What the checksum of VRRPv3 over IPv4 covers: `message` (the RFC), or `pseudo-header` too, as keepalived up to
        /// 2.2.7 and FRRouting have it. Default: pseudo-header if an engine is not ours, else message.
        checksum: Choice<Checksum>,
        /// The hardware address of the floating addresses: that of the interface (`physical`), or that of the virtual
        /// router (`virtual`, RFC 9568 section 7.3). Default: virtual if an engine is frr, else physical.
        mac: Choice<MacMode>,
        /// Does the holder answer on the floating addresses although it does not own them? Default: true.
        accept: Switch,
        /// Do the addresses fall silent as soon as the daemon stops to renew its permit in the kernel? Only our own engine
        /// can do that. Default: true for profile lab, false for rfc9568.
        lease: Switch,
        /// Are advertisements sent to each other proxy by itself instead of to the group? Only for IPv4.
        /// Default: false.
        unicast: Switch,
        /// The program by which the proxies take part. Default: labctl, which is our own.
        engine: Choice<Engine>,
        /// Do all virtual routers of a proxy, and both families, change their state together? Default: true for profile
        /// lab if there are several and none orders the proxies otherwise than the first, else false.
        sync: Switch,
        /// What counts against a proxy while it fails. The name `balancer` without `run` asks the proxy's own balancer.
        checks: Map<ServiceName, FileTrack>,
        /// Further virtual routers of the same proxies.
        more: Map<ServiceName, FileRouter>,
    }
}

record! {
    /// A further virtual router: addresses that may have another holder than those of `failover`.
    FileRouter = "a virtual router"
    required {
        /// Virtual router identifier, 1 to 255.
        vrid: Vrid,
        /// Its floating addresses.
        vip: Map<NetworkName, Several<AnyAddress>>,
    }
    optional {
        /// Priorities of proxies. Default: those of the nodes.
        priority: Map<NodeName, Priority>,
    }
}

record! {
    /// A tracked check.
    FileTrack = "a tracked check"
    required {}
    optional {
        /// The program and its arguments; status 0 is a success. It is not given to a shell.
        run: Vec<At<Argument>>,
        /// By how much the priority is lowered while it fails. Default: the proxy leaves the election.
        weight: Penalty,
        /// Time from one check to the next. Default: 1s.
        interval: Interval,
        /// How long an answer may take, at most the interval. Default: 500ms.
        timeout: Interval,
        /// Consecutive successes that end a failure. Default: 2.
        rise: Count,
        /// Consecutive failures that begin one. Default: 2.
        fall: Count,
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
        /// The forwarding method: `nat` rewrites addresses and takes the answers back, `tun` sends packets in a tunnel and
        /// `dr` to another hardware address, and the answers go straight to the client; `proxy` asks for each request.
        /// Default: proxy for haproxy and nginx, else nat.
        forward: Choice<Forward>,
        /// The program that balances. Default: labctl, which is our own.
        engine: Choice<BalancerEngine>,
        /// What our own engine forwards packets with: `ebpf`, `nft`, or `auto` for the first that the kernel allows.
        /// Default: auto.
        backend: Choice<Backend>,
        /// Do directors tell each other of their connections, so that these survive a takeover whatever the tables say?
        /// Default: true for our own engine in nat, tun and dr, if there are several proxies.
        sync: Switch,
        /// Is a real server that no answer can come from taken all the same, to see how that fails? Default: false.
        force: Switch,
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
        /// Whose port: `tcp` or `udp`. Default: tcp.
        protocol: Choice<Protocol>,
        /// The address that clients connect to, of either family: the nodes behind it are reached in the same. Default:
        /// the first floating address.
        address: AnyAddress,
        /// Who gets the next new connection, in the words of `ipvsadm`: `rr` and `wrr` in turn, without and with weights;
        /// `lc`, `wlc`, `sed` and `nq` by connections; `sh` by the client's address, `mh` by its address and port.
        /// Default: wrr.
        scheduler: Choice<Scheduler>,
        /// The nodes behind it, each with its weight; 0 drains. Default: every web node with weight 1.
        real: Map<NodeName, Weight>,
        /// The port on the nodes behind it; in tun and dr nothing rewrites it. Default: `web_port` of the conversation for
        /// TCP in nat and proxy, else the port that clients connect to.
        real_port: Port,
        /// How a node behind it proves that it is available. Default: its port accepts a connection; UDP has no default.
        check: FileCheck,
        /// How long a node that comes back takes to get its whole share. Default: it has it at once.
        slow_start: Interval,
        /// Do all nodes with a weight get connections when none of them is available? Default: true.
        fail_open: Switch,
        /// The name of a cookie that keeps a visitor with one node. Only for `forward: proxy`.
        sticky: Token,
        /// Which requests belong to some of the nodes; the first rule that a request meets counts. Only for
        /// `forward: proxy`.
        rules: Vec<At<FileRule>>,
    }
}

record! {
    /// Requests that belong to some of the nodes: those that meet all that is given.
    FileRule = "a rule"
    required {
        /// Who may answer.
        real: Vec<At<NodeName>>,
    }
    optional {
        /// The host that is asked for, without a port.
        host: Host,
        /// What the path begins with, by whole segments: `/a` is met by `/a` and `/a/b`, and not by `/ab`.
        path: Path,
        /// One header and its value.
        header: Map<Token, FieldValue>,
        /// One cookie and its value.
        cookie: Map<Token, CookieValue>,
    }
}

record! {
    /// A health check: TCP connect unless `http` or `run` is given.
    FileCheck = "a health check"
    required {}
    optional {
        /// Path of a `GET` that must answer 2xx.
        http: Path,
        /// A program on the proxy and its arguments; status 0 is a success. It is not given to a shell, and is told the node
        /// in LABCTL_REAL_NODE, LABCTL_REAL_ADDRESS and LABCTL_REAL_PORT.
        run: Vec<At<Argument>>,
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
        /// `database` keeps turns in the database nodes, `peer` in both of two webs, `none` in the one web process only.
        /// Default: `database` if there are database nodes.
        memory: Choice<Memory>,
        /// What a web does that has lost its peer: `never` go on, go on with a lease from the `witness`, or `always` go
        /// on, at the price of two memories where both live. Only for `memory: peer`. Default: witness.
        degrade: Choice<Degrade>,
        /// The node that keeps the record of who has everything, and with `degrade: witness` has the third vote; then it is
        /// no web. It shares a network with both. Default: the last database node by name; without a vote, the first web.
        witness: NodeName,
        /// Port on which the first web by name hears the other. Default: 7100.
        peer_port: Port,
        /// Port of the witness. Default: 7101.
        witness_port: Port,
        /// Which databases keep them with `memory: database`: our own (`embedded`), or PostgreSQL with Patroni (`postgres`),
        /// `etcd`, or `redis` with Sentinel from the machine, which `labctl engines` compares. Default: embedded.
        engine: Choice<StoreEngine>,
        /// Port of the web application. Default: 8080; in tun and dr, where nothing rewrites ports, that of the first
        /// virtual service of TCP.
        web_port: Port,
        /// Port of the embedded database; the other engines keep their own ports. Default: 7000.
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
