//! The values of a topology file that are addresses, prefixes and next hops of either family: how each is read, and its
//! JSON Schema. Whether an address fits its network is checked elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::problem::ProblemKind;
use super::read::{Refusal, Scalar, not_a};
use super::scalars::schema;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An address of IPv4.
pub(super) fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

/// An address of IPv6.
pub(super) fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(address) } else { None }
}

/// Is it an address that means something on one link only?
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// A prefix of a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix(pub(super) IpNet);
schema!(Prefix, "Prefix", {
    "type": "string",
    "pattern": r"^(\d+\.\d+\.\d+\.\d+|[0-9A-Fa-f:.]+)/\d+$",
    "examples": ["10.10.1.0/24", "fd00:10:1::/64"]
});

impl Scalar for Prefix {
    const EXPECTED: &'static str = "a prefix such as 10.10.1.0/24";
    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.parse::<IpNet>() {
            Ok(net) if net != net.trunc() => {
                Err((ProblemKind::HostBits(net), Some(format!("did you mean `{}`?", net.trunc()))))
            }
            Ok(net) if unusable(&net) => {
                let help = match net {
                    IpNet::V4(_) => {
                        "take one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or a documentation prefix, /30 or wider"
                    }
                    IpNet::V6(_) => "take one of fd00::/8 or 2001:db8::/32, best a /64",
                };
                Err((ProblemKind::UnusableNetwork(net), Some(help.to_owned())))
            }
            Ok(net) => Ok(Self(net)),
            Err(_) => Err(not_a::<Self>(text)),
        }
    }
}

/// "This network", loopback, link-local, multicast and everything above, and prefixes without room for two machines.
fn unusable(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => {
            let first = net.network().octets()[0];
            first == 0 || first == 127 || first >= 224 || net.prefix_len() > 30
        }
        IpNet::V6(net) => {
            let first = net.network().segments()[0];
            first == 0 || first >= 0xfe80 || net.prefix_len() > 126
        }
    }
}

/// One address of either family.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyAddress(pub(super) IpAddr);
schema!(AnyAddress, "AnyAddress", {
    "anyOf": [{ "type": "string", "format": "ipv4" }, { "type": "string", "format": "ipv6" }]
});

impl Scalar for AnyAddress {
    const EXPECTED: &'static str = "an address such as 203.0.113.10 or 2001:db8:f::10";
    fn parse(text: &str) -> Result<Self, Refusal> {
        text.parse().map(Self).map_err(|_| not_a::<Self>(text))
    }
}

/// Addresses of an interface: none, one, or first to last.
#[derive(Clone, Copy, Debug)]
pub(super) enum Addresses {
    None,
    One(IpAddr),
    Range(Ipv4Addr, Ipv4Addr),
}
schema!(Addresses, "Addresses", {
    "type": "string",
    "pattern": r"^(none|\d+\.\d+\.\d+\.\d+(-\d+)?|[0-9A-Fa-f:.]+)$",
    "examples": ["10.10.1.21", "198.51.100.10-29", "fd00:10:1::21", "none"]
});

impl Scalar for Addresses {
    const EXPECTED: &'static str = "an address, a range such as 10.10.1.10-29, or `none`";
    fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "none" {
            return Ok(Self::None);
        }
        let Some((first, last)) = text.split_once('-') else {
            return text.parse().map(Self::One).map_err(|_| not_a::<Self>(text));
        };
        let first: Ipv4Addr = first.trim_end().parse().map_err(|_| not_a::<Self>(text))?;
        let last: u8 = last.trim().parse().map_err(|_| not_a::<Self>(text))?;
        let [a, b, c, d] = first.octets();
        match d <= last {
            true => Ok(Self::Range(first, Ipv4Addr::new(a, b, c, last))),
            false => {
                let help = format!("did you mean `{}-{d}`?", Ipv4Addr::new(a, b, c, last));
                Err((ProblemKind::BackwardRange(text.to_owned()), Some(help)))
            }
        }
    }
}

impl Addresses {
    /// One by one; at most 256, since a range ends in the last byte.
    pub(super) fn list(self) -> Vec<IpAddr> {
        match self {
            Self::None => Vec::new(),
            Self::One(address) => vec![address],
            Self::Range(first, last) => {
                (u32::from(first)..=u32::from(last)).map(|bits| Ipv4Addr::from(bits).into()).collect()
            }
        }
    }
}

/// A next hop, or the wish for none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gateway(pub(super) Option<IpAddr>);
schema!(Gateway, "Gateway", {
    "anyOf": [{ "const": "none" }, { "type": "string", "format": "ipv4" }, { "type": "string", "format": "ipv6" }]
});

impl Scalar for Gateway {
    const EXPECTED: &'static str = "an address, or `none`";
    fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "none" => Ok(Self(None)),
            _ => text.parse().map(|hop| Self(Some(hop))).map_err(|_| not_a::<Self>(text)),
        }
    }
}
