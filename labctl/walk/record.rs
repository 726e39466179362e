//! What was captured: who asked whom, every interface there was, and every frame on it. It is all that a walk is made of,
//! and what a file of one keeps. It knows nothing of what is in a frame.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::topology::NodeName;

/// One request, and all frames of the site while it was under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Name of the lab.
    pub lab: String,
    /// How its balancer forwards, in the word of the topology; null if it has none.
    pub forward: Option<String>,
    /// The node that asked.
    #[schemars(with = "String")]
    pub client: NodeName,
    /// Its end of the connection.
    pub from: SocketAddr,
    /// What it asked.
    pub to: SocketAddr,
    /// A word of the request that nobody else sends: by it the request is known again after a proxy has read it and asks
    /// by a connection of its own.
    pub token: String,
    /// What came of the request.
    pub outcome: Outcome,
    /// Every interface of every node that was up, loopback included, in the order of the file.
    pub interfaces: Vec<Interface>,
    /// What passed them, in order of time.
    pub frames: Vec<Frame>,
    /// Frames that the capture missed because too many were waiting.
    pub lost_frames: u64,
}

/// What came of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An answer, with this status.
    Answered(u16),
    /// None, for this reason.
    Failed(String),
}

impl Outcome {
    /// Was the request answered, and not with an error?
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Answered(status) if (200..400).contains(status))
    }
}

/// An interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// The node.
    #[schemars(with = "String")]
    pub node: NodeName,
    /// Its name there.
    pub name: String,
    /// Its hardware address; null for an interface that needs none, as loopback.
    #[serde(with = "mac")]
    #[schemars(with = "Option<String>")]
    pub mac: Option<[u8; 6]>,
    /// Its addresses at the time.
    pub addresses: Vec<IpAddr>,
}

/// A frame on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// When, in nanoseconds since the capture began, by the kernel's stamp; one clock for all nodes.
    pub at_ns: u64,
    /// Where, as a place in the list of interfaces.
    pub interface: usize,
    /// In which direction.
    pub way: Way,
    /// From the Ethernet header on, in hexadecimal digits.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub bytes: Vec<u8>,
}

/// How a frame passed an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It left.
    Out,
    /// It came in.
    In,
    /// It came in and was for somebody else: a bridge that does not know where that is tells everybody.
    Overheard,
}

impl Record {
    /// Whether a node has an address.
    pub fn has(&self, node: &NodeName, address: IpAddr) -> bool {
        self.interfaces.iter().any(|it| it.node == *node && it.addresses.contains(&address))
    }

    /// The node with that hardware address; `None` where nobody has it, or several do, as with that of a virtual router.
    pub fn owner(&self, mac: [u8; 6]) -> Option<&NodeName> {
        let mut owners = self.interfaces.iter().filter(|it| it.mac == Some(mac)).map(|it| &it.node);
        let first = owners.next()?;
        owners.all(|it| it == first).then_some(first)
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let octet = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
        let bytes = text.as_bytes().chunks(2).map(|two| octet(two).filter(|_| two.len() == 2));
        bytes
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("a frame is hexadecimal digits, two an octet"))
    }
}

mod mac {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mac: &Option<[u8; 6]>, to: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => to.serialize_str(&super::super::packet::mac(*mac)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 6]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let octets: Option<Vec<u8>> = text.split(':').map(|two| u8::from_str_radix(two, 16).ok()).collect();
        let mac = octets.and_then(|octets| octets.try_into().ok());
        mac.map(Some).ok_or_else(|| D::Error::custom("a hardware address is six octets with colons between"))
    }
}
