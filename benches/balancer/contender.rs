//! Who is measured, and on what site. It knows the file format and no figures.

use std::net::{Ipv4Addr, SocketAddr};

use clap::ValueEnum;

/// Where real servers listen, and the virtual service too, since nothing rewrites ports in two of the methods.
pub const PORT: u16 = 80;
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// What the real servers are called.
pub const NAMES: [&str; 2] = ["web1", "web2"];
pub const REALS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 10, 1, 21), Ipv4Addr::new(10, 10, 1, 22)];

/// Other nodes of a site, and the client's network.
pub const DIRECTOR: &str = "proxy1";
pub const ROUTER: &str = "router";
pub const FRONT: &str = "front";

/// A way from the client to a real server and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Contender {
    /// Nobody balances: the director is a router, both ways
    Plain,
    /// The same, with answers that go straight to the client
    PlainOneWay,
    /// Ours, VS/NAT by eBPF
    Nat,
    /// Ours, VS/TUN by eBPF
    Tun,
    /// Ours, VS/DR by eBPF
    Dr,
    /// Ours, VS/NAT by nftables
    NatNft,
    /// Ours, layer 7
    Proxy,
    /// Destination NAT by nftables with connection tracking
    NftDnat,
    /// HAProxy that passes bytes
    HaproxyTcp,
    /// HAProxy that reads requests
    HaproxyHttp,
    /// nginx
    Nginx,
}

impl Contender {
    /// Plain routing first: the others are held against it.
    pub const ALL: [Self; 11] = [
        Self::Plain,
        Self::PlainOneWay,
        Self::Nat,
        Self::Tun,
        Self::Dr,
        Self::NatNft,
        Self::Proxy,
        Self::NftDnat,
        Self::HaproxyTcp,
        Self::HaproxyHttp,
        Self::Nginx,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain routing",
            Self::PlainOneWay => "plain routing, answers direct",
            Self::Nat => "labctl nat (eBPF)",
            Self::Tun => "labctl tun (eBPF)",
            Self::Dr => "labctl dr (eBPF)",
            Self::NatNft => "labctl nat (nftables)",
            Self::Proxy => "labctl proxy",
            Self::NftDnat => "nft dnat, conntrack",
            Self::HaproxyTcp => "haproxy, tcp",
            Self::HaproxyHttp => "haproxy, http",
            Self::Nginx => "nginx",
        }
    }

    pub fn is_plain(self) -> bool {
        matches!(self, Self::Plain | Self::PlainOneWay)
    }

    /// The plain routing that goes the same way.
    pub fn ceiling(self) -> Self {
        if self.answers_directly() { Self::PlainOneWay } else { Self::Plain }
    }

    /// Answers do not pass the director.
    pub fn answers_directly(self) -> bool {
        matches!(self, Self::PlainOneWay | Self::Tun | Self::Dr)
    }

    /// What the client connects to.
    pub fn targets(self) -> Vec<SocketAddr> {
        let addresses = if self.is_plain() { REALS.to_vec() } else { vec![VIP] };
        addresses.into_iter().map(|address| SocketAddr::from((address, PORT))).collect()
    }

    fn balancer(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain | Self::PlainOneWay | Self::HaproxyTcp => return None,
            Self::Nat => "forward: nat, backend: ebpf",
            Self::Tun => "forward: tun, backend: ebpf",
            Self::Dr => "forward: dr, backend: ebpf",
            Self::NatNft => "forward: nat, backend: nft",
            Self::Proxy => "forward: proxy",
            Self::NftDnat => "forward: nat, engine: nft",
            Self::HaproxyHttp => "forward: proxy, engine: haproxy",
            Self::Nginx => "forward: proxy, engine: nginx",
        })
    }

    /// Its site. Real servers run `server`; HAProxy passes bytes by the configuration in `haproxy`. With `a_router`, who is no
    /// neighbour is beyond one.
    pub fn site(self, server: &str, haproxy: &str, a_router: bool) -> String {
        let direct = |host: u8| match self.answers_directly() {
            true => format!(", front: 203.0.113.{host}"),
            false => String::new(),
        };
        let serves = format!(
            "services: {{ web: {{ run: [\"{server}\", {}, {PORT}], listen: [{PORT}] }} }}",
            super::serve::VERB
        );
        let passes = match self {
            Self::HaproxyTcp => format!(
                ", services: {{ haproxy: {{ run: [haproxy, -db, -f, \"{haproxy}\"], listen: [{PORT}] }} }}"
            ),
            _ => String::new(),
        };
        let router = match a_router {
            true => format!("  {ROUTER}: {{ role: router, on: {{ {FRONT}: 203.0.113.1 }} }}\n"),
            false => String::new(),
        };
        // Those who are balanced so have that gateway by themselves.
        let leaves = match (a_router, self) {
            (true, Self::PlainOneWay) => ", gateway: 203.0.113.1",
            _ => "",
        };
        let mut site = format!(
            "name: bench
networks: {{ front: 203.0.113.0/24, back: 10.10.1.0/24 }}
nodes:
  client: {{ role: client, gateway: {VIP}, on: {{ front: 203.0.113.100-119 }} }}
  {DIRECTOR}: {{ role: proxy, on: {{ {FRONT}: none, back: 10.10.1.11 }}{passes} }}
  web1: {{ role: web, on: {{ back: {}{} }}{leaves}, {serves} }}
  web2: {{ role: web, on: {{ back: {}{} }}{leaves}, {serves} }}
{router}failover: {{ network: back, vip: {{ front: {VIP}, back: 10.10.1.1 }} }}
conversation: {{ memory: none, web_port: {PORT} }}
",
            REALS[0],
            direct(21),
            REALS[1],
            direct(22)
        );
        if let Some(how) = self.balancer() {
            // By address and port: connections of the few clients are spread, as others spread them in turn. In a flood in turn
            // as well: of every SYN it must be remembered who got it.
            let in_turn = a_router || matches!(self, Self::HaproxyHttp | Self::Nginx);
            let scheduler = if in_turn { "wrr" } else { "mh" };
            site += &format!(
                "balancer: {{ {how}, services: {{ web: {{ port: {PORT}, scheduler: {scheduler} }} }} }}\n"
            );
        }
        site
    }

    /// What HAProxy is told in order to pass bytes.
    pub fn haproxy_configuration() -> String {
        format!(
            "global
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen web
    bind :{PORT}
    balance roundrobin
    server web1 {}:{PORT}
    server web2 {}:{PORT}
",
            REALS[0], REALS[1]
        )
    }
}
