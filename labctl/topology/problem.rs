//! What can be wrong with a topology file, and how it is said: one variant a mistake, each with its own code, the place
//! in the source, and a way out. It knows nothing of how mistakes are found or of how a terminal shows them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;

use super::addresses::Family;
use super::names::{NameError, NetworkName, NodeName, ServiceName, Vrid};
use super::site::Role;

/// Where something stands in the source, in bytes.
pub type Span = Range<usize>;

/// The most problems that one file reports. Somebody who fed the wrong file to `labctl` is not helped by 20,000 of them.
const PROBLEMS_MAX: usize = 100;

/// Declares [`ProblemKind`] with its codes and labels side by side, so that no variant can lack one.
macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident $(($($field:ty),*))? => $code:literal, $label:literal;)*) => {
        /// One kind of mistake.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum ProblemKind { $($(#[$meta])* $name $(($($field),*))?,)* }

        impl ProblemKind {
            /// Every code there is.
            pub const CODES: &[&str] = &[$(concat!("labctl::", $code)),*];

            /// A stable word for scripts and searches.
            pub fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => concat!("labctl::", $code),)* }
            }

            /// A few words for the place that [`Problem::span`] points at.
            pub fn label(&self) -> &'static str {
                match self { $(Self::$name { .. } => $label,)* }
            }
        }
    };
}

kinds! {
    /// The file is larger than any topology.
    #[error("the file has more than {0} bytes")]
    TooLarge(usize) => "too_large", "a topology is a page of text";
    /// Not YAML.
    #[error("this is not one YAML document: {0}")]
    Syntax(String) => "syntax", "the YAML parser stopped here";
    /// The same key twice in one mapping.
    #[error("`{0}` is given twice")]
    DuplicateKey(String) => "duplicate_key", "the second one";
    /// A key that the format does not have: key, owner.
    #[error("{1} has no `{0}`")]
    UnknownKey(String, &'static str) => "unknown_key", "unknown key";
    /// A key that must be there: key, owner.
    #[error("{1} needs `{0}`")]
    MissingKey(&'static str, String) => "missing_key", "something is missing here";
    /// A value of another shape: expected, found.
    #[error("expected {0}, found {1}")]
    WrongType(&'static str, String) => "wrong_type", "this value";
    /// A word that cannot be a name.
    #[error("{0}")]
    BadName(NameError) => "bad_name", "not a name";
    /// A well-formed name that the kernel or the resolver already uses: name, what uses it.
    #[error("`{0}` is taken: {1}")]
    ReservedName(String, &'static str) => "reserved_name", "reserved";
    /// A word outside a closed list: what, word.
    #[error("`{1}` is not a {0}")]
    UnknownWord(&'static str, String) => "unknown_word", "unknown";
    /// A network without an IPv4 prefix.
    #[error("network {0} has no IPv4 prefix, which every network needs")]
    NoIpv4Prefix(NetworkName) => "no_ipv4_prefix", "IPv6 comes beside IPv4";
    /// An IPv6 address on a network without an IPv6 prefix.
    #[error("{0} is on network {1}, which has no IPv6 prefix")]
    NoIpv6Prefix(IpAddr, NetworkName) => "no_ipv6_prefix", "no prefix for it";
    /// More of one family than there can be: what, family.
    #[error("{0} for {1} is given twice")]
    TwiceInFamily(&'static str, Family) => "twice_in_family", "the second one";
    /// A prefix with bits set after its length: as written.
    #[error("{0} is the prefix of a host, not of a network")]
    HostBits(IpNet) => "host_bits", "has bits set after the prefix length";
    /// A network on which no node can have an address.
    #[error("{0} cannot number machines")]
    UnusableNetwork(IpNet) => "unusable_network", "reserved by the protocol or too small";
    /// Two networks share addresses.
    #[error("network {0} overlaps network {1}")]
    OverlappingNetworks(NetworkName, NetworkName) => "overlapping_networks", "overlaps";
    /// A network that is not in `networks`.
    #[error("there is no network `{0}`")]
    UnknownNetwork(NetworkName) => "unknown_network", "unknown network";
    /// A node that is not in `nodes`.
    #[error("there is no node `{0}`")]
    UnknownNode(NodeName) => "unknown_node", "unknown node";
    /// A node that is plugged in nowhere.
    #[error("node {0} is on no network")]
    NodeWithoutNetwork(NodeName) => "node_without_network", "plugged in nowhere";
    /// A range whose end comes before its beginning.
    #[error("the range {0} ends before it begins")]
    BackwardRange(String) => "backward_range", "ends before it begins";
    /// An address outside of its network.
    #[error("{0} is not in network {1} ({2})")]
    OutsideNetwork(IpAddr, NetworkName, IpNet) => "outside_network", "outside of its network";
    /// The address of the network itself.
    #[error("{0} is the address of network {1} itself")]
    NetworkAddress(IpAddr, NetworkName) => "network_address", "no node can have it";
    /// The broadcast address.
    #[error("{0} is the broadcast address of network {1}")]
    BroadcastAddress(Ipv4Addr, NetworkName) => "broadcast_address", "no node can have it";
    /// An address that is somewhere else already: address, holder.
    #[error("{0} already belongs to {1}")]
    DuplicateAddress(IpAddr, String) => "duplicate_address", "used again here";
    /// A gateway on a network that the node is not on.
    #[error("node {1} is on no network with its gateway {0}")]
    GatewayOffLink(IpAddr, NodeName) => "gateway_off_link", "out of reach";
    /// A gateway that no node has.
    #[error("no node has the address {0} of this gateway")]
    GatewayUnheld(IpAddr) => "gateway_unheld", "nobody answers here";
    /// Gateways that lead back to where they began.
    #[error("the default routes go round in a circle: {0}")]
    GatewayCycle(String) => "gateway_cycle", "part of the circle";
    /// A number outside of the range of a VRID.
    #[error("{0}")]
    Vrid(NameError) => "vrid", "not a VRID";
    /// A number outside of the range of a priority.
    #[error("{0} is not a priority; RFC 9568 section 5.2.4 allows 1 to 255, which is the owner's")]
    Priority(i64) => "priority", "not a priority";
    /// A priority on a node that takes part in no election.
    #[error("node {0} is a {1}; only a proxy has a priority")]
    PriorityWithoutElection(NodeName, Role) => "priority_without_election", "takes part in no election";
    /// An engine on a node that takes part in no election.
    #[error("node {0} takes part in no election, so no engine runs on it")]
    EngineWithoutElection(NodeName) => "engine_without_election", "takes part in no election";
    /// An interval that no advertisement can carry: as written.
    #[error("an advertisement interval is 10 ms to 40.95 s in steps of 10 ms, not {0}")]
    AdvertInterval(String) => "advert_interval", "not an advertisement interval";
    /// An interval that no VRRPv2 advertisement can carry: as written.
    #[error("VRRPv2 has an interval in whole seconds (RFC 3768 section 5.3.7), not {0}")]
    AdvertSeconds(String) => "advert_seconds", "not whole seconds";
    /// An election about nothing.
    #[error("{0} has no floating address to move")]
    NoFloatingAddress(String) => "no_floating_address", "empty";
    /// More addresses than one advertisement should list: how many, family, at most.
    #[error("{0} floating {1} addresses are more than the {2} that one virtual router can have")]
    TooManyAddresses(usize, Family, usize) => "too_many_addresses", "split it: `more` has further virtual routers";
    /// Two virtual routers with one identifier: it, the other.
    #[error("VRID {0} already belongs to {1}")]
    DuplicateVrid(Vrid, String) => "duplicate_vrid", "used again here";
    /// A rule for the checksum of another version.
    #[error("a checksum over a pseudo-header is a matter of VRRPv3, and the version is 2")]
    ChecksumWithV2 => "checksum_with_v2", "not in this version";
    /// An IPv6 address that nothing elects.
    #[error("{0} is IPv6, which VRRPv2 does not have")]
    Ipv6WithV2(IpAddr) => "ipv6_with_v2", "not in this version";
    /// A virtual service on an address that accepts nothing: address, service.
    #[error("{0} is not to accept anything, and virtual service {1} is on it")]
    NotAccepted(IpAddr, ServiceName) => "not_accepted", "drops what the service is for";
    /// Unicast without anybody to send to.
    #[error("unicast needs two proxies or more")]
    UnicastAlone => "unicast_alone", "nobody to send to";
    /// Unicast to addresses that nobody knows: an address of that family.
    #[error("unicast is for IPv4 only, and {0} is IPv6: adverts would go to link-local addresses, which no file has")]
    UnicastWithIpv6(IpAddr) => "unicast_with_ipv6", "not in IPv6";
    /// A setting that the engine of a proxy does not have: setting, engine, proxy, why.
    #[error("{0} is not for {1}, the engine of {2}: {3}")]
    EngineCannot(&'static str, &'static str, NodeName, &'static str) => "engine_cannot", "not with this engine";
    /// A tracked check that asks nothing.
    #[error("check {0} has no program to run; only `balancer` needs none")]
    CheckWithoutProgram(ServiceName) => "check_without_program", "asks nothing";
    /// A check of a balancer that is not there.
    #[error("check balancer asks the proxy's own balancer, and the file has none")]
    CheckWithoutBalancer => "check_without_balancer", "nobody to ask";
    /// A part of the file that only proxies can do: which.
    #[error("{0} needs a node of role proxy, and there is none")]
    NoProxy(&'static str) => "no_proxy", "nobody does this";
    /// A proxy that cannot hear the election.
    #[error("proxy {0} is not on network {1}, which carries the election")]
    ProxyOffElection(NodeName, NetworkName) => "proxy_off_election", "cannot take part";
    /// A proxy that cannot speak in the election.
    #[error("proxy {0} has no address on network {1}, which carries the election")]
    ProxyWithoutElectionAddress(NodeName, NetworkName) =>
        "proxy_without_election_address", "advertisements need a source address";
    /// A proxy that could never hold an address.
    #[error("proxy {0} is not on network {1}, so it can never hold {2}")]
    ProxyOffFloating(NodeName, NetworkName, IpAddr) => "proxy_off_floating", "cannot hold the address";
    /// No address can be found for a virtual service.
    #[error("virtual service {0} needs `address`: there is neither a floating address nor a proxy with its own")]
    NoEntrance(ServiceName) => "no_entrance", "has no address";
    /// A virtual service on an address that does not move.
    #[error("{0} is not a floating address, so the service would not survive a failover")]
    NotFloating(IpAddr) => "not_floating", "does not move";
    /// A virtual service on an address that no proxy has.
    #[error("no proxy has the address {0}")]
    NotOnProxy(IpAddr) => "not_on_proxy", "no proxy has it";
    /// A virtual service on an address that no other network knows.
    #[error("{0} means something on one link only, and clients are on others")]
    LinkLocalEntrance(IpAddr) => "link_local_entrance", "clients cannot reach it";
    /// Two virtual services on one address and port: these, the other.
    #[error("{0} already belongs to virtual service {1}")]
    SharedEntrance(SocketAddr, ServiceName) => "shared_entrance", "used again here";
    /// A virtual service with nobody behind it.
    #[error("virtual service {0} has no real server")]
    NoRealServer(ServiceName) => "no_real_server", "nobody behind it";
    /// A real server that no proxy can reach.
    #[error("no proxy shares a network with {0}, a real server of {1}")]
    RealOffLink(NodeName, ServiceName) => "real_off_link", "out of reach";
    /// A real server that is a director: node, service.
    #[error("{0}, a real server of {1}, is a director, and a director serves nobody itself")]
    RealIsDirector(NodeName, ServiceName) => "real_is_director", "balances, and is not balanced to";
    /// A real server without an address of the service's family: node, family, service.
    #[error("{0} has no {1} address by which it could serve {2}, whose address is {1}")]
    RealOtherFamily(NodeName, Family, ServiceName) => "real_other_family", "another family";
    /// A proxy that cannot ask the real servers of a service: proxy, family, service.
    #[error("{0} has no {1} address of its own, from which it could reach the real servers of {2}")]
    DirectorOtherFamily(NodeName, Family, ServiceName) => "director_other_family", "cannot reach them";
    /// A real server of VS/DR behind a router: node, proxy, service.
    #[error("{0}, a real server of {2}, is on no network with {1}, and dr changes nothing but the hardware address")]
    RealBehindRouter(NodeName, NodeName, ServiceName) => "real_behind_router", "not on one switch";
    /// A real server of VS/NAT whose answers do not pass the director: node, service, where they go.
    #[error("{0}, a real server of {1}, answers {2}, and only the director that a request came by can answer in nat")]
    AnswersElsewhere(NodeName, ServiceName, String) => "answers_elsewhere", "its answers do not pass the director";
    /// A real server of VS/TUN or VS/DR whose answers pass a director: node, service, gateway.
    #[error("{0}, a real server of {1}, answers by {2}, a director, which drops what comes from its own address")]
    AnswersByDirector(NodeName, ServiceName, IpAddr) => "answers_by_director", "its answers end at the director";
    /// A real server on another port where nothing rewrites ports: its port, the service's, the method.
    #[error("real_port {0} is not the port {1} that clients connect to, and {2} leaves ports as they are")]
    PortKept(u16, u16, &'static str) => "port_kept", "nothing rewrites it";
    /// A web that listens where nothing rewrites ports to: its port, the method.
    #[error("web_port {0} is the port of no virtual service, and {1} leaves ports as they are")]
    WebPortUnreached(u16, &'static str) => "web_port_unreached", "nobody connects there";
    /// A key or a value that the method or the engine does not have: what, for whom, why.
    #[error("{0} is not for {1}: {2}")]
    BalancerCannot(String, String, &'static str) => "balancer_cannot", "not with this method or engine";
    /// A check that asks two things.
    #[error("a check asks one thing, and this one has `http` and `run`")]
    TwoProbes => "two_probes", "the second one";
    /// A UDP service that nobody said how to check.
    #[error("virtual service {0} is UDP, and nothing says how its real servers are checked")]
    UdpWithoutCheck(ServiceName) => "udp_without_check", "there is no handshake";
    /// A rule that every request meets.
    #[error("a rule without `host`, `path`, `header` and `cookie` asks nothing")]
    RuleWithoutCondition => "rule_without_condition", "every request meets it";
    /// A rule that names somebody who is not behind the service: node, service.
    #[error("{0} is not behind virtual service {1}")]
    RuleOffService(NodeName, ServiceName) => "rule_off_service", "gets no requests of this service";
    /// Two virtual services with one real server and port: node, port, the other.
    #[error("{0} port {1} already serves virtual service {2}")]
    SharedReal(NodeName, u16, ServiceName) => "shared_real", "its answers could belong to either";
    /// A check that is still waiting when the next one starts.
    #[error("a check with timeout {0} does not end before the next one, {1} later")]
    SlowCheck(String, String) => "slow_check", "longer than the interval";
    /// Nowhere to keep the conversations.
    #[error("conversations are to be kept in the database, and there is no node of role db")]
    NoDatabase => "no_database", "kept nowhere";
    /// A database where nothing is kept in one: its word.
    #[error("`engine: {0}` is a matter of `memory: database`, and the conversations are kept elsewhere")]
    EngineWithoutDatabase(&'static str) => "engine_without_database", "nothing would be kept in it";
    /// Databases that cannot outvote one that is gone: the engine, how many it needs, how many there are.
    #[error("{0} chooses its leader among {1} databases or more, and the site has {2}")]
    TooFewDatabases(&'static str, usize, usize) => "too_few_databases", "wants more nodes of role db";
    /// The port of another engine's database: the engine.
    #[error("`db_port` is the port of the embedded database, and {0} has its own")]
    PortOfEmbedded(&'static str) => "port_of_embedded", "not with this engine";
    /// Webs that are to run databases, and are not there.
    #[error("each web is to run a database as well, and there is no node of role web")]
    NothingToColocate => "nothing_to_colocate", "nothing shares a machine";
    /// A web node that cannot reach a database.
    #[error("web {0} shares no network with {1}, where it is to keep its conversations")]
    WebOffDatabase(NodeName, NodeName) => "web_off_database", "cannot reach it";
    /// Not the two webs that can remember for each other: how many there are.
    #[error("two webs remember for each other, and there are {0}")]
    PeersNotTwo(usize) => "peers_not_two", "takes two webs";
    /// Two webs that cannot talk to each other.
    #[error("web {0} shares no network with {1}, with which it is to keep its conversations")]
    PeersOffLink(NodeName, NodeName) => "peers_off_link", "cannot reach it";
    /// A key that only peers have.
    #[error("`{0}` is for webs that remember for each other")]
    WithoutPeers(&'static str) => "without_peers", "there are no peers";
    /// Nobody has the third vote.
    #[error("a web that loses the other may go on with the vote of a witness, and there is none")]
    NoWitness => "no_witness", "nobody has the third vote";
    /// A third voter that is one of the two.
    #[error("{0} has a vote of its own, and the witness is the third")]
    WitnessIsPeer(NodeName) => "witness_is_peer", "one of the two";
    /// A third voter that the two cannot ask: it, and they.
    #[error("witness {0} has an address on no network that both {1} and {2} are on")]
    WitnessOffLink(NodeName, NodeName, NodeName) => "witness_off_link", "out of reach";
    /// Two services of a node on one port: port, service.
    #[error("port {0} is already listened on by service {1} of this node")]
    DuplicatePort(u16, ServiceName) => "duplicate_port", "used again here";
    /// A change to a default service that the node does not have.
    #[error("node {1} has no service `{0}` to leave out")]
    UnknownService(ServiceName, NodeName) => "unknown_service", "not there anyway";
}

/// One mistake in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// Where, in bytes of the source.
    pub span: Span,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place that has to do with it, and what it is.
    pub also: Option<(Span, String)>,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, span: &Span) -> Self {
        Self { kind, span: span.clone(), line: 0, column: 0, help: None, also: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Suggests a word, if there is one near enough.
    pub(super) fn maybe(mut self, suggestion: Option<String>) -> Self {
        self.help = suggestion.or(self.help);
        self
    }

    pub(super) fn also(mut self, span: &Span, what: impl Into<String>) -> Self {
        self.also = Some((span.clone(), what.into()));
        self
    }
}

/// A file that is not a topology, and all the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The name of the file.
    pub file: String,
    /// Its text.
    pub source: String,
    /// What is wrong, in order of place.
    pub problems: Vec<Problem>,
    /// How many more problems there are than are listed.
    pub left_out: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{}:{}: {}", self.file, problem.line, problem.column, problem.kind)?;
            if let Some((span, what)) = &problem.also {
                write!(f, "\n  see line {}: {what}", place(&self.source, span.start).0)?;
            }
            if let Some(help) = &problem.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.file),
        }
    }
}

impl std::error::Error for Invalid {}

/// Line and column, both from 1, of a byte of the source.
fn place(source: &str, byte: usize) -> (usize, usize) {
    let before = source.get(..byte).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(problem);
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Gives each problem its line and puts them in the order of the source.
    pub(super) fn into_invalid(mut self, file: &str, source: &str) -> Invalid {
        for problem in &mut self.found {
            (problem.line, problem.column) = place(source, problem.span.start);
        }
        self.found.sort_by_key(|problem| problem.span.start);
        Invalid {
            file: file.to_owned(),
            source: source.to_owned(),
            problems: self.found,
            left_out: self.left_out,
        }
    }
}

/// How alike two words must be (Jaro-Winkler, 0 to 1) to suggest one for the other; below, suggestions are noise.
const ALIKE_MIN: f64 = 0.75;
/// How many candidates are compared at most, which bounds the work on a file of 20,000 names.
const CANDIDATES_MAX: usize = 500;
/// The longest list of words that is a help: that of the networks or nodes of a site on one page.
const LIST_MAX: usize = 12;

/// The known word that was most likely meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike =
        known.into_iter().take(CANDIDATES_MAX).map(|known| (strsim::jaro_winkler(word, known), known));
    let nearest = alike.filter(|(alike, _)| *alike >= ALIKE_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, known)| known)
}

/// "Did you mean", if a known word is near; else the list of known words, if it is short enough to read.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().take(CANDIDATES_MAX).collect();
    match nearest(word, known.iter().copied()) {
        Some(meant) => Some(format!("did you mean `{meant}`?")),
        None if known.is_empty() || known.len() > LIST_MAX => None,
        None => Some(format!("known are: {}", known.join(", "))),
    }
}
