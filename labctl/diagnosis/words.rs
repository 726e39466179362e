//! Figures and addresses as people read them.

use std::net::IpAddr;

use crate::topology::Topology;

const NS_IN_MS: u64 = 1_000_000;

/// A span of time, as exact as it is worth.
pub(super) fn span(ns: u64) -> String {
    let ms = ns / NS_IN_MS;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// How long ago something was.
pub(super) fn ago(at_ns: u64, now_ns: u64) -> String {
    format!("{} ago", span(now_ns.saturating_sub(at_ns)))
}

/// An address with the node that has it for its own, if one has.
pub(super) fn who(address: IpAddr, topology: &Topology) -> String {
    match owner(address, topology) {
        Some(node) => format!("{node} ({address})"),
        None => address.to_string(),
    }
}

fn owner(address: IpAddr, topology: &Topology) -> Option<&str> {
    let has = |interface: &crate::topology::Interface| match address {
        IpAddr::V4(address) => interface.addresses.contains(&address),
        IpAddr::V6(address) => interface.addresses6.contains(&address),
    };
    let node = topology.nodes.iter().find(|node| node.interfaces.iter().any(has))?;
    Some(node.name.as_str())
}

/// Things in a row.
pub(super) fn list<T: std::fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// `1 packet`, `2 packets`.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_exact_as_they_are_worth() {
        let ms = |ms: u64| span(ms * NS_IN_MS);
        let all = [0, 20, 999, 1_000, 3_249, 59_999, 60_000, 125_000, 3_599_999, 3_600_000, 90_000_000];
        insta::assert_snapshot!(
            all.map(ms).join(" | "),
            @"0 ms | 20 ms | 999 ms | 1.0 s | 3.2 s | 59.9 s | 1 min 0 s | 2 min 5 s | 59 min 59 s | 1 h 0 min | 25 h 0 min"
        );
        assert_eq!(ago(5 * NS_IN_MS, 4 * NS_IN_MS), "0 ms ago", "clocks of two CPUs may differ by a little");
    }
}
