//! The floating addresses and their election: that every proxy can take part and hold what it wins.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::file::{File, FileFailover};
use super::names::{NetworkName, Vrid};
use super::networks::Book;
use super::nodes::{Draft, Machines};
use super::problem::{Problem, ProblemKind, Problems, Span};
use super::read::{At, Slot};
use super::site::{Engine, Failover, FloatingAddress, Role};

/// VRID of a file that names none. Any would do; this is the one that most examples in the world use.
const VRID_DEFAULT: i64 = 51;
/// The unit of the field on the wire (RFC 9568 section 5.2.7).
const ADVERT_STEP: Duration = Duration::from_millis(10);
/// The field has 12 bits.
const ADVERT_MAX: Duration = Duration::from_millis(40_950);
/// RFC 9568 section 5.2.4.
const PRIORITY_DEFAULT: u8 = 100;

/// What the rest of the file may know about the election, even where parts of it are broken.
#[derive(Debug)]
pub(super) struct Election {
    /// In the order of the file; the first is the public one.
    pub(super) addresses: Vec<FloatingAddress>,
    /// The network that carries it.
    pub(super) network: Option<NetworkName>,
    /// The default route of whoever wins.
    pub(super) holder_gateway: Option<Ipv4Addr>,
    /// Everything could be read: an address that is not here does not float.
    pub(super) whole: bool,
    /// The result, if nothing is missing for it.
    pub(super) failover: Option<Failover>,
}

/// Reads the election. `None` if the file has none.
pub(super) fn election(
    file: &File,
    machines: &Machines<'_>,
    book: &mut Book,
    problems: &mut Problems,
) -> Option<Election> {
    let mut election =
        Election { addresses: Vec::new(), network: None, holder_gateway: None, whole: false, failover: None };
    let given = match &file.failover {
        Slot::Absent => return None,
        Slot::Broken => return Some(election),
        Slot::Given(given) => given,
    };
    if machines.lacks(Role::Proxy) {
        let problem = Problem::new(ProblemKind::NoProxy("failover"), &given.span);
        problems.push(problem.help("give a node `role: proxy`, or remove `failover`"));
    }
    check_advert(&given.value, problems);
    floating(&given.value, machines, book, &mut election, problems);
    if let Some(network) = given.value.network.given()
        && machines.networks.check(network, problems)
    {
        machines.of(Role::Proxy).for_each(|proxy| check_voter(proxy, network, problems));
        election.network = Some(network.value.clone());
    }
    election.holder_gateway = election.addresses.iter().find_map(|floating| {
        machines.of(Role::Router).find_map(|router| router.addresses_on(&floating.network).first().copied())
    });
    election.failover = failover(&given.value, machines, &election);
    Some(election)
}

fn failover(given: &FileFailover, machines: &Machines<'_>, election: &Election) -> Option<Failover> {
    let priority = |proxy: &Draft<'_>| {
        let given = proxy.file.and_then(|node| node.priority.value()).map(|priority| priority.0);
        (proxy.name.value.clone(), given.unwrap_or(PRIORITY_DEFAULT))
    };
    let vrid = given.vrid.value().copied().or_else(|| Vrid::try_from(VRID_DEFAULT).ok())?;
    Some(Failover {
        advert_interval: given.advert.value().map_or(Failover::ADVERT_DEFAULT, |advert| advert.0),
        preempt: given.preempt.value().is_none_or(|preempt| preempt.0),
        addresses: election.addresses.clone(),
        holder_gateway: election.holder_gateway,
        priorities: machines.of(Role::Proxy).map(priority).collect(),
        engines: machines
            .of(Role::Proxy)
            .map(|proxy| (proxy.name.value.clone(), Engine::default()))
            .collect(),
        ..Failover::new(vrid, election.network.clone()?)
    })
}

fn check_advert(given: &FileFailover, problems: &mut Problems) {
    let Some(At { value: advert, span }) = given.advert.given() else { return };
    let whole_steps = advert.0.as_nanos() % ADVERT_STEP.as_nanos() == 0;
    if !whole_steps || !(ADVERT_STEP..=ADVERT_MAX).contains(&advert.0) {
        let steps = (advert.0.as_nanos() + ADVERT_STEP.as_nanos() / 2) / ADVERT_STEP.as_nanos();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).clamp(1, 4095);
        let near = ADVERT_STEP * steps;
        let kind = ProblemKind::AdvertInterval(format!("{:?}", advert.0));
        problems.push(Problem::new(kind, span).help(format!("the nearest is {near:?}")));
    }
}

/// Enters the floating addresses, and reports what is wrong with them.
fn floating(
    given: &FileFailover,
    machines: &Machines<'_>,
    book: &mut Book,
    election: &mut Election,
    problems: &mut Problems,
) {
    let Some(vip) = given.vip.given() else { return };
    election.whole = !vip.value.incomplete;
    for (network, slot) in &vip.value.entries {
        let known = machines.networks.check(network, problems);
        let Some(At { value: address, span }) = slot.given() else {
            election.whole = false;
            continue;
        };
        election.whole &= known;
        if known {
            let who = "failover (a floating address)";
            book.claim(&machines.networks, &network.value, &[address.0], (who, span), problems);
            // A proxy off the election's own network is told so once, not once more for the address there.
            if given.network.value() != Some(&network.value) {
                let proxies = machines.of(Role::Proxy);
                proxies.for_each(|proxy| check_home(proxy, network, (address.0, span), problems));
            }
        }
        let floating = FloatingAddress { network: network.value.clone(), address: address.0 };
        election.addresses.push(floating);
    }
    if vip.value.entries.is_empty() && !vip.value.incomplete {
        let problem = Problem::new(ProblemKind::NoFloatingAddress, &vip.span);
        problems.push(problem.help("give at least one: `vip: { NETWORK: ADDRESS }`"));
    }
}

/// Can the proxy hold this floating address?
fn check_home(
    proxy: &Draft<'_>,
    network: &At<NetworkName>,
    (address, span): (Ipv4Addr, &Span),
    problems: &mut Problems,
) {
    if proxy.whole && !proxy.is_on(&network.value) {
        let kind = ProblemKind::ProxyOffFloating(proxy.name.value.clone(), network.value.clone(), address);
        let help = format!(
            "add `{}: none` to its `on`: up, and without an address until it holds the floating one",
            network.value
        );
        problems.push(Problem::new(kind, &proxy.name.span).help(help).also(span, "the floating address"));
    }
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
