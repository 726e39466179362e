//! The values of a topology file that are written as one word: how each is read, and its JSON Schema. What values mean
//! together is checked elsewhere.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, Visitor};

use super::names::{LabName, NameError, NetworkName, NodeName, ServiceName, Vrid};
use super::problem::{ProblemKind, did_you_mean};
use super::read::{Refusal, Scalar, not_a};
use super::site::{
    Backend, BalancerEngine, Checksum, Degrade, Engine, Forward, MacMode, Memory, Placement, Profile,
    Protocol, Restart, Role, Scheduler, StoreEngine, VrrpVersion,
};

/// Gives a type its schema, in place wherever it is used.
macro_rules! schema {
    ($type:ty, $name:literal, $($json:tt)+) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($json)+)
            }
        }
    };
}
pub(super) use schema;

/// Names that the kernel gives to its own: the loopback interface, and two folders beside the interfaces' sysctls.
const RESERVED_NETWORKS: [&str; 3] = ["lo", "all", "default"];

macro_rules! name_scalar {
    ($type:ty, $expected:literal, $reserved:expr, $why:literal) => {
        impl Scalar for $type {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Result<Self, Refusal> {
                let reserved: &[&str] = &$reserved;
                if reserved.contains(&text) {
                    return Err((ProblemKind::ReservedName(text.to_owned(), $why), None));
                }
                text.parse().map_err(|error| (ProblemKind::BadName(error), tidy::<$type>(text)))
            }
        }
        schema!($type, "Name", { "type": "string", "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$" });
    };
}
name_scalar!(LabName, "a lab name", [], "");
name_scalar!(NetworkName, "a network name", RESERVED_NETWORKS, "the kernel uses it in every namespace");
name_scalar!(NodeName, "a node name", ["localhost"], "it names every machine itself");
name_scalar!(ServiceName, "a service name", [], "");

/// The nearest word that would do.
fn tidy<T: std::str::FromStr>(text: &str) -> Option<String> {
    let lower = text.to_lowercase().replace(['_', '.', ' '], "-");
    let tidied = lower.trim_matches('-');
    (tidied != text && tidied.parse::<T>().is_ok()).then(|| format!("did you mean `{tidied}`?"))
}

/// A span of time as people write it everywhere: `1s`, `500ms`, `1m 30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

/// The longest span of time that a command lasts or waits: longer than any lab lives, and short enough to be added to any
/// point in time.
const LASTING_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A span of time that something lasts or may take: more than nothing.
pub fn lasting(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a duration of nothing; write for instance 10s".to_owned()),
        longest if longest > LASTING_MAX => Err("a duration of more than a year".to_owned()),
        duration => Ok(duration),
    }
}

/// A span of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval(pub(super) Duration);
schema!(Interval, "Interval", { "type": "string", "examples": ["100ms", "1s", "2s 500ms"] });

impl Scalar for Interval {
    const EXPECTED: &'static str = "a duration such as 100ms, 1s or 2s 500ms";
    fn parse(text: &str) -> Result<Self, Refusal> {
        match duration(text) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ if text.parse::<f64>().is_ok() => {
                let (kind, _) = not_a::<Self>(text);
                Err((kind, Some(format!("give the unit: `{text}s` or `{text}ms`"))))
            }
            _ => Err(not_a::<Self>(text)),
        }
    }
}

/// Processors, in hundredths of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu(pub(super) u32);
schema!(Cpu, "Cpu", { "type": "number", "minimum": 0.01, "maximum": 1024 });

impl Cpu {
    const HUNDREDTHS_MAX: u32 = 1024 * 100;

    fn of(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 2 || !digits(whole) || !digits(part) {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let part: u32 = format!("{part:0<2}").parse().ok()?;
        let hundredths = whole.checked_mul(100)?.checked_add(part)?;
        (1..=Self::HUNDREDTHS_MAX).contains(&hundredths).then_some(Self(hundredths))
    }
}

impl Scalar for Cpu {
    const EXPECTED: &'static str = "processors from 0.01 to 1024 in steps of 0.01, such as 0.5";
    fn parse(text: &str) -> Result<Self, Refusal> {
        Self::of(text).ok_or_else(|| {
            // As others write half of one: 50 %, 500 thousandths.
            let per_cent = text.strip_suffix('%').and_then(|number| number.trim().parse::<u32>().ok());
            let thousandths = text.strip_suffix('m').and_then(|number| number.parse::<u32>().ok());
            let hundredths = per_cent.or(thousandths.map(|number| number / 10)).filter(|it| *it > 0);
            let meant = hundredths.map(|it| format!("did you mean `{}`?", f64::from(it) / 100.0));
            (not_a::<Self>(text).0, meant)
        })
    }
}

/// An amount of memory or of disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);
schema!(Size, "Size", { "type": "string", "pattern": "^[0-9]+ ?[KMGT]i?B$", "examples": ["64MiB", "1GiB"] });

impl Scalar for Size {
    const EXPECTED: &'static str = "a size from 1MiB to 1TiB, such as 64MiB";
    fn parse(text: &str) -> Result<Self, Refusal> {
        size(text).map(Self).map_err(|help| (not_a::<Self>(text).0, help))
    }
}

/// What a unit of size is worth.
const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A size as people write it: `64MiB`. It may fail with what to write instead.
pub fn size(text: &str) -> Result<u64, Option<String>> {
    const BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 40;
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| None)?;
    let unit = unit.trim_start();
    let Some((_, worth)) = UNITS.iter().find(|(word, _)| *word == unit) else {
        let first = unit.chars().next().map(|c| c.to_ascii_uppercase());
        let meant = match first {
            None => Some(format!("give the unit: `{number}MiB`")),
            // `64M`, `64mb`, `64mib`.
            Some(first @ ('K' | 'M' | 'G' | 'T')) if unit.len() <= 3 => {
                Some(format!("did you mean `{number}{first}iB`?"))
            }
            Some(_) => None,
        };
        return Err(meant);
    };
    number.checked_mul(*worth).filter(|bytes| BYTES.contains(bytes)).ok_or(None)
}

/// Whole numbers: the type, what it is called, the numbers it can be.
macro_rules! number {
    ($(#[$meta:meta])* $type:ident($inner:ty), $expected:literal, $min:literal, $max:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $type(pub(super) $inner);
        schema!($type, "Number", { "type": "integer", "minimum": $min, "maximum": $max });

        impl Scalar for $type {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Result<Self, Refusal> {
                match text.parse::<$inner>() {
                    Ok(number) if ($min..=$max).contains(&number) => Ok(Self(number)),
                    _ => Err(not_a::<Self>(text)),
                }
            }
        }
    };
}
number!(
    /// A port of TCP or UDP.
    Port(u16), "a port from 1 to 65535", 1, u16::MAX
);
number!(
    /// A relative share. The limit keeps every table small that has a slot for each unit of weight.
    Weight(u32), "a weight from 0 to 1000", 0, 1000
);
number!(
    /// How many checks in a row.
    Count(u32), "a number from 1 to 1000", 1, 1000
);

number!(
    /// By how much a check lowers a priority: never below 1, since 0 says that a router gives up.
    Penalty(u8), "a weight from 1 to 254", 1, 254
);

/// Priority of a proxy (RFC 9568 section 5.2.4). 255 is the owner's: it begins as Active and preempts always.
#[derive(Clone, Copy, Debug)]
pub(super) struct Priority(pub(super) u8);
schema!(Priority, "Priority", { "type": "integer", "minimum": 1, "maximum": 255 });

impl Scalar for Priority {
    const EXPECTED: &'static str = "a priority from 1 to 255";
    fn parse(text: &str) -> Result<Self, Refusal> {
        let number: i64 = text.parse().map_err(|_| not_a::<Self>(text))?;
        match u8::try_from(number) {
            Ok(priority @ 1..) => Ok(Self(priority)),
            _ => Err((ProblemKind::Priority(number), None)),
        }
    }
}

schema!(Vrid, "Vrid", { "type": "integer", "minimum": 1, "maximum": 255 });

impl Scalar for Vrid {
    const EXPECTED: &'static str = "a VRID from 1 to 255";
    fn parse(text: &str) -> Result<Self, Refusal> {
        let number: i64 = text.parse().map_err(|_| not_a::<Self>(text))?;
        number.try_into().map_err(|error: NameError| (ProblemKind::Vrid(error), None))
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch(pub(super) bool);
schema!(Switch, "Switch", { "type": "boolean" });

impl Scalar for Switch {
    const EXPECTED: &'static str = "true or false";
    fn parse(text: &str) -> Result<Self, Refusal> {
        text.parse().map(Self).map_err(|_| not_a::<Self>(text))
    }
}

/// The word `off`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Off;
schema!(Off, "Off", { "const": "off" });

impl Scalar for Off {
    const EXPECTED: &'static str = "keys and values, or `off`";
    fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "off" { Ok(Self) } else { Err(not_a::<Self>(text)) }
    }
}

/// One argument of a program.
#[derive(Clone, Debug)]
pub(super) struct Argument(pub(super) String);
schema!(Argument, "Argument", { "type": ["string", "number"] });

impl Scalar for Argument {
    const EXPECTED: &'static str = "an argument without NUL";
    fn parse(text: &str) -> Result<Self, Refusal> {
        // The kernel ends an argument at the first NUL.
        if text.contains('\0') {
            Err(not_a::<Self>(&text.escape_debug().to_string()))
        } else {
            Ok(Self(text.into()))
        }
    }
}

/// The path of a request.
#[derive(Clone, Debug)]
pub(super) struct Path(pub(super) String);
schema!(Path, "Path", { "type": "string", "pattern": "^/[!-~]*$" });

impl Scalar for Path {
    const EXPECTED: &'static str = "a path such as /healthz, without spaces";
    fn parse(text: &str) -> Result<Self, Refusal> {
        let clean = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        if clean { Ok(Self(text.to_owned())) } else { Err(not_a::<Self>(text)) }
    }
}

/// The host of a request, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Host(pub(super) String);
schema!(Host, "Host", { "type": "string", "pattern": "^[A-Za-z0-9.-]+$" });

impl Scalar for Host {
    const EXPECTED: &'static str = "a host such as www.example.org, without a port";
    fn parse(text: &str) -> Result<Self, Refusal> {
        let of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        let clean = !text.is_empty() && text.bytes().all(of_host);
        if clean { Ok(Self(text.to_ascii_lowercase())) } else { Err(not_a::<Self>(text)) }
    }
}

/// The name of a header or of a cookie: a token of RFC 9110 section 5.6.2.
#[derive(Clone, Debug)]
pub(super) struct Token(pub(super) String);
schema!(Token, "Token", { "type": "string", "pattern": r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" });

impl Scalar for Token {
    const EXPECTED: &'static str = "a name of letters, digits and hyphens";
    fn parse(text: &str) -> Result<Self, Refusal> {
        let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let clean = !text.is_empty() && text.bytes().all(of_token);
        if clean { Ok(Self(text.to_owned())) } else { Err(not_a::<Self>(text)) }
    }
}

/// The value of a header: RFC 9110 section 5.5, without what is obsolete.
#[derive(Clone, Debug)]
pub(super) struct FieldValue(pub(super) String);
schema!(FieldValue, "FieldValue", { "type": ["string", "number", "boolean"] });

impl Scalar for FieldValue {
    const EXPECTED: &'static str = "a value of visible characters, with spaces inside at most";
    fn parse(text: &str) -> Result<Self, Refusal> {
        let clean = text == text.trim() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if clean { Ok(Self(text.to_owned())) } else { Err(not_a::<Self>(&text.escape_debug().to_string())) }
    }
}

/// The value of a cookie: RFC 6265 section 4.1.1.
#[derive(Clone, Debug)]
pub(super) struct CookieValue(pub(super) String);
schema!(CookieValue, "CookieValue", { "type": ["string", "number", "boolean"] });

impl Scalar for CookieValue {
    const EXPECTED: &'static str = "a value without spaces, quotes, commas, semicolons and backslashes";
    fn parse(text: &str) -> Result<Self, Refusal> {
        let of_cookie = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
        let clean = text.bytes().all(of_cookie);
        if clean { Ok(Self(text.to_owned())) } else { Err(not_a::<Self>(&text.escape_debug().to_string())) }
    }
}

/// One word of a closed list that the site's types define.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<T>(pub(super) T);

/// A closed list of words.
pub(super) trait Words: for<'de> Deserialize<'de> {
    const WHAT: &'static str;
    const EXPECTED: &'static str;
}

macro_rules! words {
    ($($type:ty = $what:literal, $expected:literal;)*) => {
        $(impl Words for $type { const WHAT: &'static str = $what; const EXPECTED: &'static str = $expected; })*
    };
}
words! {
    Role = "role", "a role";
    Restart = "restart policy", "a restart policy";
    Forward = "forwarding method", "a forwarding method";
    BalancerEngine = "known balancer", "an engine";
    Backend = "backend", "a backend";
    Protocol = "protocol of a virtual service", "a protocol";
    Scheduler = "scheduler", "a scheduler";
    Memory = "kind of memory", "a kind of memory";
    Degrade = "way to degrade", "a way to degrade";
    StoreEngine = "known database", "an engine";
    Placement = "placement", "a placement";
    Engine = "known engine", "an engine";
    Profile = "profile", "a profile";
    VrrpVersion = "version of VRRP", "a version of VRRP";
    Checksum = "rule of the checksum", "a rule of the checksum";
    MacMode = "hardware address", "a hardware address";
}

impl<T: Words> Scalar for Choice<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn parse(text: &str) -> Result<Self, Refusal> {
        let deserializer: StrDeserializer<'_, ValueError> = text.into_deserializer();
        T::deserialize(deserializer).map(Self).map_err(|_| {
            let help = did_you_mean(text, variants::<T>().iter().copied());
            (ProblemKind::UnknownWord(T::WHAT, text.to_owned()), help)
        })
    }
}

impl<T: Words> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::WHAT.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A version may be written as the number that it looks like.
        let words = variants::<T>().iter().map(|word| serde_json::Value::from(*word));
        let numbers = variants::<T>().iter().filter_map(|word| word.parse::<u8>().ok()).map(Into::into);
        json_schema!({ "enum": words.chain(numbers).collect::<Vec<_>>() })
    }
}

/// The words of an enum, asked of its own `Deserialize`, so that a new variant is known here at once.
fn variants<T: Words>() -> &'static [&'static str] {
    struct Ask<'a>(&'a Cell<&'static [&'static str]>);
    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = ValueError;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
            Err(ValueError::custom("only an enum has words"))
        }
        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            words: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, ValueError> {
            self.0.set(words);
            Err(ValueError::custom("only asked for the words"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }
    let words = Cell::new(&[][..]);
    let _ = T::deserialize(Ask(&words));
    words.get()
}
