//! The names of things. A value of these types is well formed; past this folder no plain `String` names anything.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::site::Builtin;

/// The longest name of a network: it becomes an interface name, and the kernel's limit is 15 bytes (IFNAMSIZ - 1).
const NETWORK_NAME_MAX: usize = 15;
/// The longest name of a node: it becomes a host name, and with its network's name stays readable in a table.
const NODE_NAME_MAX: usize = 32;
/// The longest name of a lab: it becomes an abstract socket address with room to spare.
const LAB_NAME_MAX: usize = 48;

/// Why a word cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a {0} name cannot be empty")]
    Empty(&'static str),
    /// Too many bytes.
    #[error("`{name}` is {} bytes long; a {what} name has at most {max}", name.len())]
    TooLong {
        /// What it should have named.
        what: &'static str,
        /// The word.
        name: String,
        /// The limit in bytes.
        max: usize,
    },
    /// A character that the kernel, a host name or a shell would stumble over.
    #[error(
        "`{name}` has {bad:?} in it; a {what} name is lower-case letters, digits and inner hyphens, and begins with a letter"
    )]
    BadCharacter {
        /// What it should have named.
        what: &'static str,
        /// The word.
        name: String,
        /// The first character that is wrong where it stands.
        bad: char,
    },
    /// A number that is not a virtual router identifier.
    #[error("{0} is not a VRID; RFC 9568 section 5.2.3 allows 1 to 255")]
    VridRange(i64),
}

fn check(what: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty(what));
    }
    if name.len() > max {
        return Err(NameError::TooLong { what, name: name.to_owned(), max });
    }
    let last = name.len() - 1;
    let wrong = name.char_indices().find(|&(at, c)| match c {
        'a'..='z' => false,
        '0'..='9' => at == 0,
        '-' => at == 0 || at == last,
        _ => true,
    });
    match wrong {
        Some((_, bad)) => Err(NameError::BadCharacter { what, name: name.to_owned(), bad }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                check($what, name, $max)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                check($what, &name, $max)?;
                Ok(Self(name))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a running lab.
    LabName, "lab", LAB_NAME_MAX
);
name!(
    /// The name of a network, and of every interface plugged into it.
    NetworkName, "network", NETWORK_NAME_MAX
);
name!(
    /// The name of a node, and its host name.
    NodeName, "node", NODE_NAME_MAX
);
name!(
    /// The name of a service on a node, or of a virtual service.
    ServiceName, "service", NODE_NAME_MAX
);

name!(
    /// The name of a drill, and of the folder that its report goes to.
    DrillName, "drill", LAB_NAME_MAX
);

/// Our own daemons go by their words.
impl From<Builtin> for ServiceName {
    fn from(builtin: Builtin) -> Self {
        Self(builtin.word().to_owned())
    }
}

/// A virtual router identifier, 1-255 (RFC 9568 section 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// The number on the wire.
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl TryFrom<i64> for Vrid {
    type Error = NameError;
    fn try_from(number: i64) -> Result<Self, NameError> {
        let id = u8::try_from(number).ok().and_then(NonZeroU8::new);
        id.map(Self).ok_or(NameError::VridRange(number))
    }
}

impl From<Vrid> for i64 {
    fn from(id: Vrid) -> i64 {
        i64::from(id.get())
    }
}

impl From<Vrid> for NonZeroU8 {
    fn from(id: Vrid) -> NonZeroU8 {
        id.0
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Engine, StoreEngine};

    #[test]
    fn names_are_host_names_and_interface_names() {
        for good in ["a", "web1", "db-3", "abcdefghijklmno"] {
            assert_eq!(good.parse::<NetworkName>().map(String::from), Ok(good.to_owned()));
        }
        for bad in
            ["", "Web", "1web", "-web", "web-", "web_1", "web.1", "wéb", "../web", "a b", "abcdefghijklmnop"]
        {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad:?}");
        }
        assert!("abcdefghijklmnop".parse::<NodeName>().is_ok(), "only an interface name is that short");
    }

    #[test]
    fn the_words_of_our_own_daemons_are_names() {
        let services = Engine::ALL.map(Engine::service);
        let stores = StoreEngine::ALL.into_iter().flat_map(|engine| engine.services(1)).map(|(one, _)| one);
        let ours = [Builtin::Balancer, Builtin::Web, Builtin::Witness, Builtin::Whoami];
        for builtin in services.into_iter().chain(ours).chain(stores) {
            assert_eq!(builtin.word().parse(), Ok(ServiceName::from(builtin)));
        }
    }

    #[test]
    fn a_name_from_json_is_checked_too() {
        assert!(serde_json::from_str::<NodeName>("\"web1\"").is_ok());
        assert!(serde_json::from_str::<NodeName>("\"../web1\"").is_err());
        assert!(serde_json::from_str::<Vrid>("0").is_err());
    }

    #[test]
    fn a_vrid_is_a_byte_above_zero() {
        let valid: Vec<i64> = (-1..=300).filter(|number| Vrid::try_from(*number).is_ok()).collect();
        assert_eq!(valid, (1..=255).collect::<Vec<_>>());
    }
}
