//! The way back from each fault, in phases, and the way of the VIP from node to node. It says what happened when, not
//! whether that is good enough.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::event::{ApartFrom, Cable, Event, MonotonicNs, What};
use super::outage::{Outage, Probed};

/// The service on a web node that tells conversations, as its events name it.
const WEB_SERVICE: &str = "web";

/// Between the names of nodes that one fault hits.
const SEPARATOR: &str = ", ";

/// The nodes that a fault hits as its event and its report name them.
pub fn targets<N: ToString>(nodes: &[N]) -> String {
    nodes.iter().map(N::to_string).collect::<Vec<_>>().join(SEPARATOR)
}

/// A fault and the time until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the fault was injected.
    pub from_ns: MonotonicNs,
    /// When the next one was, or the load ended.
    pub to_ns: MonotonicNs,
    /// In the words of the drill file.
    pub action: String,
    /// The nodes, as [`targets`] writes them.
    pub target: String,
    /// Whether the lab itself saw the fault take place, which a drill that broke nothing must not pass without.
    pub seen: bool,
}

impl Window {
    /// The nodes that were hit.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.target.split(SEPARATOR)
    }
}

/// When each phase after a fault was reached; `None` if it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// The first probe without an answer left.
    pub first_loss_ns: Option<MonotonicNs>,
    /// A proxy went to the active state.
    pub elected_ns: Option<MonotonicNs>,
    /// An interface got the VIP.
    pub vip_added_ns: Option<MonotonicNs>,
    /// Gratuitous ARP for the VIP left.
    pub announced_ns: Option<MonotonicNs>,
    /// The databases agreed on another leader.
    pub leader_ns: Option<MonotonicNs>,
    /// The first probe left that was answered again.
    pub first_success_ns: Option<MonotonicNs>,
    /// The first probe left after which none was lost any more.
    pub steady_ns: Option<MonotonicNs>,
}

/// The VIP came to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// When.
    pub at_ns: MonotonicNs,
    /// From which node; `None` if nobody was known to have it.
    pub from: Option<String>,
    /// To which.
    pub to: String,
}

/// The faults among events that are in order of time; the last window lasts until `end_ns`.
pub(super) fn windows(events: &[Event], end_ns: MonotonicNs) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for event in events {
        let What::Fault { action, target } = &event.what else { continue };
        if let Some(before) = windows.last_mut() {
            before.to_ns = event.at_ns;
        }
        windows.push(Window {
            from_ns: event.at_ns,
            to_ns: end_ns.max(event.at_ns),
            action: action.clone(),
            target: target.clone(),
            seen: false,
        });
    }
    // One event proves one fault: a second kill of what is dead already did nothing.
    let mut proofs = BTreeSet::new();
    for window in &mut windows {
        // Faults at the same time have empty windows; what they did shows shortly after.
        let after = events.iter().enumerate().skip_while(|(_, event)| event.at_ns < window.from_ns);
        window.seen = match is_between(&window.action) {
            true => after.clone().any(|(_, event)| shows_apart(event, window)),
            false => window.nodes().all(|node| {
                let mut proof = after.clone();
                let proof = proof
                    .find(|(place, event)| !proofs.contains(place) && shows(event, &window.action, node));
                proof.is_some_and(|(place, _)| proofs.insert(place))
            }),
        };
    }
    windows
}

/// Whether a fault is one between nodes, and not of each.
fn is_between(action: &str) -> bool {
    matches!(action.split_whitespace().next(), Some("split" | "cut-link"))
}

/// Whether an event shows that nodes were cut off.
fn shows_apart(event: &Event, fault: &Window) -> bool {
    let mut words = fault.action.split_whitespace();
    let wanted = if words.next() == Some("split") { ApartFrom::TheRest } else { ApartFrom::EachOther };
    let What::Apart { nodes, from, networks } = &event.what else { return false };
    let on = words.next();
    *from == wanted
        && nodes.iter().map(String::as_str).eq(fault.nodes().collect::<BTreeSet<_>>())
        && on.is_none_or(|on| networks.iter().all(|network| network == on))
}

/// Whether an event shows that a fault took place on a node.
fn shows(event: &Event, action: &str, node: &str) -> bool {
    if event.node.as_deref() != Some(node) {
        return false;
    }
    let mut words = action.split_whitespace();
    match (words.next(), words.next()) {
        (Some("power-off" | "kill-node"), None) => matches!(event.what, What::NodeDown { .. }),
        (Some("power-on"), None) => matches!(event.what, What::NodeUp),
        (Some("wipe-disk"), None) => matches!(event.what, What::DiskWiped { .. }),
        (Some("fill-disk"), None) => event.what == What::DiskFull { full: true },
        (Some("free-disk"), None) => event.what == What::DiskFull { full: false },
        (Some("freeze"), None) => event.what == What::Hung { hangs: true },
        (Some("thaw"), None) => event.what == What::Hung { hangs: false },
        (Some("heal"), None) => matches!(event.what, What::Cable { becomes: Cable::Heal, .. }),
        (Some("kill-service" | "stop"), Some(service)) => {
            matches!(event.what, What::ServiceExited { .. }) && event.source == service
        }
        (Some("signal"), Some(service)) => {
            let sent = words.next();
            event.source == service
                && matches!(&event.what, What::Signalled { signal } if Some(signal.as_str()) == sent)
        }
        (Some("delete-address"), Some(on)) => {
            matches!(&event.what, What::AddressDeleted { network, .. } if network == on)
        }
        (Some(change), Some(to)) => {
            let wanted = match change {
                "link-down" => Cable::Down,
                "link-up" => Cable::Up,
                "partition" => Cable::Partition,
                "heal" => Cable::Heal,
                _ => return false,
            };
            matches!(&event.what, What::Cable { network, becomes } if network == to && *becomes == wanted)
        }
        _ => false,
    }
}

/// Which of these web nodes tell nothing in the end, by events in order of time from when all did.
pub(super) fn webs_down(events: &[Event], webs: &BTreeSet<String>) -> BTreeSet<String> {
    let mut down = BTreeSet::new();
    for event in events {
        let Some(node) = event.node.as_ref().filter(|node| webs.contains(*node)) else { continue };
        match &event.what {
            What::NodeDown { .. } => down.insert(node.clone()),
            What::ServiceExited { .. } if event.source == WEB_SERVICE => down.insert(node.clone()),
            What::Ready if event.source == WEB_SERVICE => down.remove(node),
            _ => continue,
        };
    }
    down
}

/// The phases after a fault. Events and probes are in order of time.
pub(super) fn phases(
    window: &Window,
    vip: Ipv4Addr,
    events: &[Event],
    probes: &[Probed],
    outages: &[Outage],
    leader_changes: &[MonotonicNs],
) -> Phases {
    let within = |at_ns: MonotonicNs| (window.from_ns..window.to_ns).contains(&at_ns);
    let first = |is: &dyn Fn(&What) -> bool| {
        events.iter().find(|event| within(event.at_ns) && is(&event.what)).map(|event| event.at_ns)
    };
    let mine: Vec<&Outage> = outages.iter().filter(|outage| within(outage.first_lost_ns)).collect();
    let first_loss_ns = mine.first().map(|outage| outage.first_lost_ns);
    let answered_after = |loss: MonotonicNs| {
        probes.iter().find(|probe| probe.answered && probe.sent_ns > loss).map(|probe| probe.sent_ns)
    };
    Phases {
        first_loss_ns,
        elected_ns: first(&|what| matches!(what, What::VrrpState { to, .. } if to == "active")),
        vip_added_ns: first(&|what| matches!(what, What::AddressAdded { address } if *address == vip)),
        announced_ns: first(&|what| matches!(what, What::Announced { address } if *address == vip)),
        leader_ns: leader_changes.iter().copied().find(|&at_ns| within(at_ns)),
        first_success_ns: first_loss_ns.and_then(answered_after),
        steady_ns: mine.last().and_then(|outage| outage.first_ok_ns),
    }
}

/// When another leader was first seen, by all events of a lab in order of time. A database that lags behind may still
/// name the leader of an older term, which is no news.
pub(super) fn leader_changes(events: &[Event]) -> Vec<MonotonicNs> {
    let (mut leader, mut newest): (Option<&str>, u64) = (None, 0);
    let mut changes = Vec::new();
    for event in events {
        match &event.what {
            What::DrillBegan(began) => leader = leader.or(began.leader.as_deref()),
            What::RaftLeader { leader: Some(now), term } if *term >= newest => {
                newest = *term;
                if leader.replace(now).is_some_and(|before| before != now) {
                    changes.push(event.at_ns);
                }
            }
            _ => {}
        }
    }
    changes
}

/// Where the VIP went, by events in order of time.
pub(super) fn moves(events: &[Event], vip: Ipv4Addr, at_first: Option<&str>) -> Vec<Move> {
    let mut holder = at_first.map(str::to_owned);
    let mut moves = Vec::new();
    for event in events {
        let (What::AddressAdded { address }, Some(node)) = (&event.what, &event.node) else { continue };
        if *address != vip || holder.as_ref() == Some(node) {
            continue;
        }
        let from = holder.replace(node.clone());
        moves.push(Move { at_ns: event.at_ns, from, to: node.clone() });
    }
    moves
}

/// The nodes that had the VIP on an interface at one time, when these were most, by events in order of time. A machine
/// that lost its power has nothing any more, although the lab says so only when the last of it is gone.
pub(super) fn most_holders(events: &[Event], vip: Ipv4Addr, at_first: Option<&str>) -> BTreeSet<String> {
    let mut holders: BTreeSet<String> = at_first.map(str::to_owned).into_iter().collect();
    let mut most = holders.clone();
    for event in events {
        let node = event.node.as_deref().unwrap_or_default();
        match &event.what {
            What::AddressAdded { address } if *address == vip => {
                holders.insert(node.to_owned());
                if holders.len() > most.len() {
                    most.clone_from(&holders);
                }
            }
            What::AddressRemoved { address } | What::AddressDeleted { address, .. } if *address == vip => {
                holders.remove(node);
            }
            What::NodeDown { .. } => {
                holders.remove(node);
            }
            What::Fault { action, target } if action == "power-off" => {
                holders.retain(|holder| !target.split(SEPARATOR).any(|node| node == holder));
            }
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests;
