//! What the engines do not even claim to do: a scenario that needs that is skipped, with the reason.

use crate::topology::Engine;

/// Why an engine cannot play a scenario with that tag; nothing if it can, or if the tag is about something else.
pub fn lack(engine: Engine, tag: &str) -> Option<&'static str> {
    match (tag, engine) {
        ("needs-both-versions", Engine::Keepalived) => {
            Some("keepalived speaks VRRPv2 or VRRPv3, not both at once (RFC 9568 section 8.4 is a MAY)")
        }
        ("needs-both-versions", Engine::Frr) => {
            Some("FRRouting speaks VRRPv2 or VRRPv3, not both at once (RFC 9568 section 8.4 is a MAY)")
        }
        ("needs-owner", Engine::Frr) => Some(
            "FRRouting cannot be told that it is the owner: it concludes that from the addresses of its interface",
        ),
        ("needs-own-mac", Engine::Frr) => Some("FRRouting knows the virtual MAC only"),
        ("needs-accept-choice", Engine::Frr) => {
            Some("FRRouting has no switch for Accept_Mode: it always accepts")
        }
        ("needs-site", Engine::Frr) => Some(
            "FRRouting holds addresses on the election's own network only, and the public one is not there",
        ),
        ("needs-account", Engine::Keepalived | Engine::Frr) => {
            Some("`labctl explain` and `labctl doctor` can ask our own daemon only")
        }
        ("needs-log", Engine::Keepalived | Engine::Frr) => {
            Some("what a daemon writes to its log is judged of our own only")
        }
        _ => None,
    }
}
