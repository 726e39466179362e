//! What this process may do. Capabilities are asked for by name, never uid 0: root of a user namespace has them too.

use std::fmt;
use std::fs;

/// A capability that some part of a lab needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Links, addresses, routes, netfilter.
    NetAdmin,
    /// VRRP, ARP and ICMP sockets.
    NetRaw,
    /// Namespaces and mounts.
    SysAdmin,
    /// eBPF programs; counts only in the initial user namespace.
    Bpf,
}

impl Capability {
    /// Bit number, as in `linux/capability.h`.
    fn bit(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysAdmin => 21,
            Self::Bpf => 39,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// Those of `wanted` that this process does not have. Where `/proc` cannot be read, it has all: the kernel will say.
pub fn missing(wanted: &[Capability]) -> Vec<Capability> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    wanted.iter().copied().filter(|capability| effective >> capability.bit() & 1 == 0).collect()
}

/// Whether this process is in the initial user namespace, the only one in which eBPF programs can be loaded.
pub fn in_initial_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}
