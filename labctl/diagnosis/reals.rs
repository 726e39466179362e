//! Whether the kernels of real servers are set as the forwarding method of the balancer needs them: what each says of itself,
//! held against its topology. Each finding says what that costs, and the command that puts it right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::plan::tunnel_mss;
use crate::topology::{Failover, Forward, Node, NodeName, Topology};

/// The name of loopback on every machine.
const LOOPBACK: &str = "lo";
/// `rp_filter`: a packet is dropped unless its answer would leave by the interface that it came by (RFC 3704 section 2.2).
const STRICT: u8 = 1;
/// `arp_announce`: a request for an address carries one of the interface that it leaves by.
const OWN_ADDRESS: u8 = 2;

/// What the kernel of a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Its interfaces by name.
    pub links: BTreeMap<String, LinkSurvey>,
    /// Its default routes.
    pub routes: Vec<RouteSurvey>,
}

/// What it says of an interface. Settings are those in force, of the interface's own and that of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSurvey {
    /// Its addresses, but for those that every machine has.
    pub addresses: BTreeSet<IpAddr>,
    /// For which addresses it answers ARP (`arp_ignore`).
    pub arp_ignore: u8,
    /// Which address its own ARP requests carry (`arp_announce`).
    pub arp_announce: u8,
    /// Which packets it takes by their source (`rp_filter`).
    pub rp_filter: u8,
    /// The longest packet that it takes.
    pub mtu: u32,
}

/// What it says of a default route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSurvey {
    /// Its next hop.
    pub gateway: IpAddr,
    /// Lower wins.
    pub metric: u32,
    /// The largest TCP segment that it has asked for, if it says one.
    pub mss: Option<u32>,
    /// The interface that it leaves by.
    pub link: String,
}

/// Who has to be asked, because a balancer hands connections to it as packets.
pub fn to_be_asked(topology: &Topology) -> BTreeSet<NodeName> {
    let balancer = topology.balancer.iter().filter(|balancer| balancer.forward != Forward::Proxy);
    let reals = balancer.flat_map(|balancer| &balancer.services).flat_map(|service| &service.reals);
    reals.map(|real| real.node.clone()).collect()
}

/// What is wrong with the real servers of a site, by what they say.
pub fn findings(topology: &Topology, surveys: &BTreeMap<NodeName, Result<Survey, String>>) -> Vec<Finding> {
    let Some(balancer) = &topology.balancer else { return Vec::new() };
    let mut found = Vec::new();
    for (name, survey) in surveys {
        let Some(node) = topology.node(name) else { continue };
        match survey {
            Err(why) => found.push(silent(name, why)),
            Ok(survey) => {
                let real = Examined { topology, node, survey };
                match balancer.forward {
                    Forward::Nat => real.check_gateways(&mut found),
                    Forward::Tun | Forward::Dr => real.check_direct(balancer.forward, &mut found),
                    Forward::Proxy => {}
                }
            }
        }
    }
    found
}

fn silent(name: &NodeName, why: &str) -> Finding {
    let what = format!("the kernel of {name} cannot be asked how it is set: {why}");
    Finding::new("silent", what, format!("`labctl exec {name}`"), "`labctl status` shows whether it runs")
}

/// One real server and what it says.
struct Examined<'a> {
    topology: &'a Topology,
    node: &'a Node,
    survey: &'a Survey,
}

impl Examined<'_> {
    fn finding(&self, kind: &str, what: String, show: &str, remedy: &str) -> Finding {
        let name = &self.node.name;
        let on_node = |command: &str| format!("`labctl exec {name} -- {command}`");
        Finding::new(kind, what, on_node(show), on_node(remedy))
    }

    /// In nat, whoever put the service's address in must take it out again.
    fn check_gateways(&self, found: &mut Vec<Finding>) {
        let name = &self.node.name;
        let floating: BTreeSet<IpAddr> = self.topology.failover.iter().flat_map(Failover::floating).collect();
        for wanted in [self.node.gateway.map(IpAddr::V4), self.node.gateway6.map(IpAddr::V6)] {
            // Whatever the file says on purpose (`force`) is not for the doctor to find.
            let Some(wanted) = wanted.filter(|hop| floating.contains(hop) || self.is_proxys(*hop)) else {
                continue;
            };
            let (by, remedy) = match self.route(wanted.is_ipv6()) {
                Some(route) if route.gateway == wanted => continue,
                Some(route) => (
                    format!("by {} instead of {wanted}", route.gateway),
                    format!("ip route replace default via {wanted} metric {}", route.metric),
                ),
                None => (
                    "by no default route".to_owned(),
                    format!("ip route add default via {wanted} metric 200"),
                ),
            };
            let what = format!(
                "{name} answers {by}: its answers do not pass the director, which alone can put the service's address into them"
            );
            found.push(self.finding("gateway", what, "ip route show default", &remedy));
        }
    }

    fn is_proxys(&self, hop: IpAddr) -> bool {
        use crate::topology::Role;
        let mut proxies = self.topology.nodes_of(Role::Proxy);
        proxies.any(|proxy| proxy.interfaces.iter().any(|interface| interface.all().any(|own| own == hop)))
    }

    /// In tun and dr, the real server answers as the service.
    fn check_direct(&self, forward: Forward, found: &mut Vec<Finding>) {
        let served = self.topology.served_directly(&self.node.name);
        for address in &served {
            self.check_presence(*address, found);
        }
        self.check_arp(&served, found);
        self.check_filters(found);
        if forward == Forward::Tun {
            for v6 in [false, true] {
                if served.iter().any(|address| address.is_ipv6() == v6) {
                    self.check_segments(v6, found);
                }
            }
        }
    }

    fn check_presence(&self, address: IpAddr, found: &mut Vec<Finding>) {
        let name = &self.node.name;
        let has = |link: &LinkSurvey| link.addresses.contains(&address);
        for (link, _) in self.survey.links.iter().filter(|(link, survey)| *link != LOOPBACK && has(survey)) {
            let what = format!(
                "{name} has {address} on {link}, and tells everybody there: clients come past the director"
            );
            let remedy = format!("ip address del {address}/{} dev {link}", self.length_on(link, address));
            found.push(self.finding("arp", what, "ip address show", &remedy));
        }
        if !self.survey.links.values().any(has) {
            let what = format!("{name} does not have {address}, so it drops what the director hands it");
            let length = if address.is_ipv4() { 32 } else { 128 };
            let remedy = format!("ip address add {address}/{length} dev {LOOPBACK}");
            found.push(self.finding("vip-missing", what, &format!("ip address show {LOOPBACK}"), &remedy));
        }
    }

    /// The prefix length of an address that somebody put on a link: that of the network, most likely.
    fn length_on(&self, link: &str, address: IpAddr) -> u8 {
        let network = self.node.interfaces.iter().find(|interface| interface.network.as_str() == link);
        network.map_or(32, |interface| self.topology.prefix_len_of(&interface.network, address))
    }

    /// Whoever asks for the service's address on a network of the director must hear the director alone. (In IPv6, nobody
    /// answers for an address of another interface.)
    fn check_arp(&self, served: &BTreeSet<IpAddr>, found: &mut Vec<Finding>) {
        let name = &self.node.name;
        let routers = self.topology.failover.iter().flat_map(Failover::routers);
        let floating: BTreeSet<_> = routers.flat_map(|router| router.floating()).collect();
        for (network, address) in floating.iter().filter(|(_, address)| served.contains(address)) {
            let Some(link) = self.survey.links.get(network.as_str()).filter(|_| address.is_ipv4()) else {
                continue;
            };
            let show = format!("sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.{network}.arp_ignore");
            if !matches!(link.arp_ignore, 1 | 2 | 8) {
                let what =
                    format!("{name} answers ARP for {address} on {network}: clients come past the director");
                let remedy = "sysctl -w net.ipv4.conf.all.arp_ignore=1";
                found.push(self.finding("arp", what, &show, remedy));
            }
            if link.arp_announce < OWN_ADDRESS {
                let what = format!(
                    "{name} may ask for others on {network} in the name of {address}: they then take it for its holder"
                );
                let remedy = "sysctl -w net.ipv4.conf.all.arp_announce=2";
                found.push(self.finding("arp", what, &show.replace("arp_ignore", "arp_announce"), remedy));
            }
        }
    }

    fn check_filters(&self, found: &mut Vec<Finding>) {
        let name = &self.node.name;
        let strict =
            |(link, survey): &(&String, &LinkSurvey)| *link != LOOPBACK && survey.rp_filter == STRICT;
        for (link, _) in self.survey.links.iter().filter(strict) {
            let what = format!(
                "{name} drops requests that come by {link} unless their answers leave by it too (rp_filter {STRICT}), and \
                 in this method the two ways have nothing to do with each other"
            );
            let show = format!("sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.{link}.rp_filter");
            let remedy = format!("sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{link}.rp_filter=0");
            found.push(self.finding("rp-filter", what, &show, &remedy));
        }
    }

    fn check_segments(&self, v6: bool, found: &mut Vec<Finding>) {
        let name = &self.node.name;
        let Some(route) = self.route(v6) else { return };
        let headers = if v6 { 60 } else { 40 };
        let fits = self.survey.links.get(&route.link).map(|link| link.mtu.saturating_sub(headers));
        let (takes, fits) = (tunnel_mss(v6), fits.unwrap_or(u32::MAX));
        let asks = route.mss.unwrap_or(fits).min(fits);
        if asks > takes {
            let what = format!(
                "{name} asks clients for TCP segments of {asks} bytes, and the tunnel takes {takes}: large uploads stall"
            );
            let family = if v6 { "-6 " } else { "" };
            let RouteSurvey { gateway, metric, .. } = route;
            let remedy =
                format!("ip {family}route change default via {gateway} metric {metric} advmss {takes}");
            found.push(self.finding("mss", what, &format!("ip {family}route show default"), &remedy));
        }
    }

    /// The default route that counts in one family.
    fn route(&self, v6: bool) -> Option<&RouteSurvey> {
        let all = self.survey.routes.iter().filter(|route| route.gateway.is_ipv6() == v6);
        all.min_by_key(|route| route.metric)
    }
}

#[cfg(test)]
mod tests;
