//! The words of a scenario that stand for something: each is parsed once, into a type.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::str::FromStr;

use cucumber::Parameter;
use labctl::topology::NodeName;

/// A node by its name.
#[derive(Clone, Debug, Parameter)]
#[param(name = "node", regex = "[a-z][a-z0-9-]*")]
pub struct Node(pub NodeName);

impl FromStr for Node {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: labctl::topology::NameError| error.to_string())
    }
}

/// Where a connection goes: host and port.
#[derive(Clone, Debug, Parameter)]
#[param(name = "target", regex = "[a-z0-9.-]+:[0-9]+")]
pub struct Target(pub String);

impl FromStr for Target {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// An address.
#[derive(Clone, Copy, Debug, Parameter)]
#[param(name = "address", regex = r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")]
pub struct Address(pub Ipv4Addr);

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: std::net::AddrParseError| error.to_string())
    }
}

/// The three deaths of a machine, and the two of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameter)]
#[param(name = "death", regex = "killed|powered off|stopped")]
pub enum Death {
    /// SIGKILL to the whole machine, cables in.
    Killed,
    /// Cables out, then SIGKILL.
    PoweredOff,
    /// Its daemon that matters is told to end (SIGTERM).
    Stopped,
}

impl FromStr for Death {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "killed" => Ok(Self::Killed),
            "powered off" => Ok(Self::PoweredOff),
            "stopped" => Ok(Self::Stopped),
            _ => Err(format!("no death {text}")),
        }
    }
}
