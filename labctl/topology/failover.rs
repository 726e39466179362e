//! The floating addresses and their election: that every proxy can take part and hold what it wins, and that what the
//! election is told goes together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::addresses::{Family, is_link_local, v4, v6};
use super::checks::tracks;
use super::elected::Elected;
use super::engines::engine_of;
use super::file::{File, FileFailover};
use super::names::{NetworkName, NodeName, Vrid};
use super::networks::Book;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::routers::{self, Routers};
use super::scalars::{Choice, Interval, Switch};
use super::site::{Checksum, Engine, Failover, MacMode, Profile, Role, VirtualRouter, VrrpVersion};

/// The unit of the field on the wire (RFC 9568 section 5.2.7).
const ADVERT_STEP: Duration = Duration::from_millis(10);
/// The field has 12 bits.
const ADVERT_MAX: Duration = Duration::from_millis(40_950);
/// The unit of the field of version 2 (RFC 3768 section 5.3.7).
const ADVERT_STEP_V2: Duration = Duration::from_secs(1);
/// RFC 9568 section 5.2.4.
const PRIORITY_DEFAULT: u8 = 100;

/// One floating address, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Floating {
    pub(super) network: NetworkName,
    pub(super) address: IpAddr,
    pub(super) span: Span,
}

/// What the rest of the file may know about the election, even where parts of it are broken.
#[derive(Debug, Default)]
pub(super) struct Election {
    /// In the order of the file, those of further virtual routers last.
    addresses: Vec<Floating>,
    /// The network that carries it.
    pub(super) network: Option<NetworkName>,
    /// Everything could be read: an address that is not here does not float.
    pub(super) whole: bool,
    /// Where it says that nothing is accepted on the floating addresses.
    pub(super) refuses: Option<Span>,
    /// The default routes of whoever wins.
    holder_gateways: Vec<IpAddr>,
    /// The result, if nothing is missing for it.
    pub(super) failover: Option<Failover>,
}

impl Election {
    /// Every floating address.
    pub(super) fn all(&self) -> impl Iterator<Item = &Floating> {
        self.addresses.iter()
    }

    /// Those of one family.
    pub(super) fn of(&self, family: Family) -> impl Iterator<Item = &Floating> {
        self.all().filter(move |floating| Family::of(floating.address) == family)
    }

    pub(super) fn floats(&self, address: IpAddr) -> bool {
        self.all().any(|floating| floating.address == address)
    }

    /// The address that clients know: one of IPv4, if there is one.
    pub(super) fn public(&self) -> Option<IpAddr> {
        let mut all = Family::BOTH.into_iter().flat_map(|family| self.of(family));
        all.find(|floating| !is_link_local(floating.address)).map(|floating| floating.address)
    }

    /// The default route of whoever wins, in one family.
    pub(super) fn holder_gateway(&self, family: Family) -> Option<IpAddr> {
        self.holder_gateways.iter().find(|hop| Family::of(**hop) == family).copied()
    }
}

/// Reads the election. `None` if the file has none.
pub(super) fn election(
    file: &File,
    machines: &Machines<'_>,
    book: &mut Book,
    problems: &mut Problems,
) -> Option<Election> {
    let mut election = Election::default();
    let At { value: given, span } = match &file.failover {
        Slot::Absent => return None,
        Slot::Broken => return Some(election),
        Slot::Given(given) => given,
    };
    if machines.lacks(Role::Proxy) {
        let problem = Problem::new(ProblemKind::NoProxy("failover"), span);
        problems.push(problem.help("give a node `role: proxy`, or remove `failover`"));
    }
    check_settings(given, machines, problems);
    let mut routers = Routers::new(given, machines, book);
    let vrid = routers.vrid(span, problems);
    let own = routers.vips("failover", &given.vip, problems);
    let priorities: BTreeMap<_, _> = machines.of(Role::Proxy).map(priority).collect();
    let more = routers.more(&priorities, problems);
    election.whole = routers.whole;
    election.addresses = routers.floating;
    if let Some(network) = given.network.given()
        && machines.networks.check(network, problems)
    {
        machines.of(Role::Proxy).for_each(|proxy| check_voter(proxy, network, problems));
        election.network = Some(network.value.clone());
    }
    check_unicast(given, &election, problems);
    election.refuses =
        given.accept.given().filter(|accept| !accept.value.0).map(|accept| accept.span.clone());
    let ways_out = Family::BOTH.into_iter().filter_map(|family| way_out(machines, &election, family));
    election.holder_gateways = ways_out.collect();
    let engines = machines.of(Role::Proxy).map(|proxy| (proxy.name.value.clone(), engine_of(file, proxy)));
    let routed = Routed { own, priorities, more, engines: engines.collect() };
    let checks = tracks(file, given, problems);
    election.failover = failover(given, vrid, &election, routed);
    if let Some(failover) = &mut election.failover {
        failover.checks = checks;
    }
    Some(election)
}

/// Who moves what, by which program.
struct Routed {
    /// The addresses of the first virtual router.
    own: Vec<Floating>,
    priorities: BTreeMap<NodeName, u8>,
    more: Vec<VirtualRouter>,
    engines: BTreeMap<NodeName, Engine>,
}

fn failover(
    given: &FileFailover,
    vrid: Option<Vrid>,
    election: &Election,
    Routed { own, priorities, more, engines }: Routed,
) -> Option<Failover> {
    let on = |switch: &Slot<Switch>, default: bool| switch.value().map_or(default, |switch| switch.0);
    let runs = |engine| engines.values().any(|runs| *runs == engine);
    let profile = given.profile.value().map(|choice| choice.0).unwrap_or_default();
    let version = given.version.value().map(|choice| choice.0).unwrap_or_default();
    // Whoever follows the other rule is taken for silent, and the other programs have this one.
    let foreign = runs(Engine::Keepalived) || runs(Engine::Frr);
    let over_ipv4 = election.of(Family::V4).next().is_some();
    let checksum = match foreign && version == VrrpVersion::V3 && over_ipv4 {
        true => Checksum::PseudoHeader,
        false => Checksum::default(),
    };
    let mac = if runs(Engine::Frr) { MacMode::Virtual } else { MacMode::Physical };
    let mut failover = Failover {
        advert_interval: given.advert.value().map_or(Failover::ADVERT_DEFAULT, |advert| advert.0),
        preempt: on(&given.preempt, true),
        preempt_delay: given.preempt_delay.value().map(|delay| delay.0).unwrap_or_default(),
        addresses: routers::v4(&own),
        addresses6: routers::v6(&own),
        holder_gateway: election.holder_gateway(Family::V4).and_then(v4),
        holder_gateway6: election.holder_gateway(Family::V6).and_then(v6),
        priorities,
        more,
        profile,
        version,
        checksum: given.checksum.value().map_or(checksum, |choice| choice.0),
        mac: given.mac.value().map_or(mac, |choice| choice.0),
        accept: on(&given.accept, true),
        lease: on(&given.lease, profile == Profile::Lab && runs(Engine::Labctl)),
        unicast: on(&given.unicast, false),
        ..Failover::new(vrid?, election.network.clone()?)
    };
    let together = profile == Profile::Lab && !runs(Engine::Frr) && is_one(&failover);
    failover.engines = engines;
    failover.sync = on(&given.sync, together);
    Some(failover)
}

/// Are there several instances, and would they all choose the same proxy?
fn is_one(failover: &Failover) -> bool {
    let families =
        |it: Elected<'_>| usize::from(!it.addresses.is_empty()) + usize::from(!it.addresses6.is_empty());
    let alike = failover.routers().all(|router| *router.priorities == failover.priorities);
    failover.routers().map(families).sum::<usize>() > 1 && alike
}

fn priority(proxy: &Draft<'_>) -> (NodeName, u8) {
    let given = proxy.file.and_then(|node| node.priority.value()).map(|priority| priority.0);
    (proxy.name.value.clone(), given.unwrap_or(PRIORITY_DEFAULT))
}

/// A router's address where a floating address is.
fn way_out(machines: &Machines<'_>, election: &Election, family: Family) -> Option<IpAddr> {
    election.of(family).find_map(|floating| {
        machines.of(Role::Router).find_map(|router| router.first_on(&floating.network, family))
    })
}

/// What the election is told must go together.
fn check_settings(given: &FileFailover, machines: &Machines<'_>, problems: &mut Problems) {
    let version = given.version.value().map(|choice| choice.0).unwrap_or_default();
    check_advert(given, version, problems);
    if let Some(At { value: Choice(Checksum::PseudoHeader), span }) = given.checksum.given()
        && version == VrrpVersion::V2
    {
        let problem = Problem::new(ProblemKind::ChecksumWithV2, span);
        problems.push(problem.help("leave `checksum` out, or take `version: 3`"));
    }
    let alone = machines.whole && machines.of(Role::Proxy).count() == 1;
    if let Some(unicast) = given.unicast.given().filter(|unicast| unicast.value.0 && alone) {
        let problem = Problem::new(ProblemKind::UnicastAlone, &unicast.span);
        problems.push(problem.help("add a node of role proxy, or remove `unicast`"));
    }
}

/// Adverts over IPv6 come from the link-local address of a router (RFC 9568 section 5.1.2.1), and no file says which one a
/// peer has.
fn check_unicast(given: &FileFailover, election: &Election, problems: &mut Problems) {
    let Some(unicast) = given.unicast.given().filter(|unicast| unicast.value.0) else { return };
    if let Some(floating) = election.of(Family::V6).next() {
        let problem = Problem::new(ProblemKind::UnicastWithIpv6(floating.address), &unicast.span);
        let problem = problem.also(&floating.span, "the first such address");
        problems.push(problem.help("remove `unicast`, or let IPv4 addresses float only"));
    }
}

fn check_advert(given: &FileFailover, version: VrrpVersion, problems: &mut Problems) {
    let near = |advert: Duration, step: Duration| {
        let steps = (advert.as_nanos() + step.as_nanos() / 2) / step.as_nanos();
        let most = u32::try_from(ADVERT_MAX.as_nanos() / step.as_nanos()).unwrap_or(u32::MAX);
        step * u32::try_from(steps).unwrap_or(u32::MAX).clamp(1, most)
    };
    let Some(At { value: Interval(advert), span }) = given.advert.given() else { return };
    let fits =
        |step: Duration| advert.as_nanos() % step.as_nanos() == 0 && (step..=ADVERT_MAX).contains(advert);
    let problem = if !fits(ADVERT_STEP) {
        let kind = ProblemKind::AdvertInterval(format!("{advert:?}"));
        Problem::new(kind, span).help(format!("the nearest is {:?}", near(*advert, ADVERT_STEP)))
    } else if version != VrrpVersion::V3 && !fits(ADVERT_STEP_V2) {
        // With both versions, too: one that rounds would promise each peer another interval, and a router of version 2
        // drops an advertisement whose interval is not its own.
        let kind = ProblemKind::AdvertSeconds(format!("{advert:?}"));
        let near = near(*advert, ADVERT_STEP_V2);
        Problem::new(kind, span).help(format!("the nearest is {near:?}; only `version: 3` has shorter ones"))
    } else {
        return;
    };
    problems.push(match given.version.given().filter(|_| version != VrrpVersion::V3) {
        Some(version) => problem.also(&version.span, "the version"),
        None => problem,
    });
}

/// Can the proxy take part in the election?
fn check_voter(proxy: &Draft<'_>, network: &At<NetworkName>, problems: &mut Problems) {
    if !proxy.whole || !proxy.addresses_on(&network.value).is_empty() {
        return;
    }
    let (name, on) = (proxy.name.value.clone(), network.value.clone());
    let kind = match proxy.is_on(&network.value) {
        true => ProblemKind::ProxyWithoutElectionAddress(name, on),
        false => ProblemKind::ProxyOffElection(name, on),
    };
    let help = format!("give it an address: `{}: ADDRESS` in its `on`", network.value);
    let problem = Problem::new(kind, &proxy.name.span).help(help);
    problems.push(problem.also(&network.span, "the network of the election"));
}
