//! The way back from each fault, in phases, and the way of the VIP from node to node. It says what happened when, not
//! whether that is good enough.

use std::net::Ipv4Addr;

use super::event::{Event, MonotonicNs, What};
use super::outage::{Outage, Probed};

/// A fault and the time until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the fault was injected.
    pub from_ns: MonotonicNs,
    /// When the next one was, or the load ended.
    pub to_ns: MonotonicNs,
    /// In the words of the drill file.
    pub action: String,
    /// The node.
    pub target: String,
    /// Whether the lab itself saw the fault take place, which a drill that broke nothing must not pass without.
    pub seen: bool,
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
    for window in &mut windows {
        // Faults at the same time have empty windows; what they did shows shortly after.
        let after = events.iter().filter(|event| event.at_ns >= window.from_ns);
        let mut on_target = after.filter(|event| event.node.as_deref() == Some(&window.target));
        window.seen = on_target.any(|event| shows(&event.what, &window.action));
    }
    windows
}

/// Whether an event on its target shows that a fault of this name took place.
fn shows(what: &What, action: &str) -> bool {
    match action.split_whitespace().next() {
        Some("power-off" | "kill-node") => matches!(what, What::NodeDown { .. }),
        Some("power-on") => matches!(what, What::NodeUp),
        Some("kill-service" | "stop") => matches!(what, What::ServiceExited { .. }),
        _ => false,
    }
}

/// The phases after a fault. Events and probes are in order of time.
pub(super) fn phases(
    window: &Window,
    vip: Ipv4Addr,
    events: &[Event],
    probes: &[Probed],
    outages: &[Outage],
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
        leader_ns: leader_change(window, events),
        first_success_ns: first_loss_ns.and_then(answered_after),
        steady_ns: mine.last().and_then(|outage| outage.first_ok_ns),
    }
}

fn leader_change(window: &Window, events: &[Event]) -> Option<MonotonicNs> {
    let mut leader: Option<&str> = None;
    for event in events {
        let now = match &event.what {
            What::DrillBegan(began) => began.leader.as_deref(),
            What::RaftLeader { leader, .. } => leader.as_deref(),
            _ => None,
        };
        let Some(now) = now else { continue };
        let changed = leader.is_some_and(|before| before != now);
        leader = Some(now);
        if changed && (window.from_ns..window.to_ns).contains(&event.at_ns) {
            return Some(event.at_ns);
        }
    }
    None
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
