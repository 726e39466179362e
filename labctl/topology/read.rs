//! From a tree to typed values without stopping at the first mistake: each value that cannot be read leaves a problem
//! behind and is marked as broken, so that whatever depends on it can stay silent. It knows nothing of topologies.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::problem::{Problem, ProblemKind, Problems, Span, did_you_mean, nearest};
use super::tree::{Entry, Tree, Value};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// The value of a key.
#[derive(Debug, Default)]
pub(super) enum Slot<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// It is there and was already complained about.
    Broken,
    /// It is there and can be read.
    Given(At<T>),
}

impl<T> Slot<T> {
    pub(super) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Broken => None,
        }
    }

    pub(super) fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    /// The value, or the default where the key is absent or broken.
    pub(super) fn or(&self, default: T) -> T
    where
        T: Clone,
    {
        self.value().cloned().unwrap_or(default)
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: Read> Slot<T> {
    pub(super) fn read(tree: &Tree, problems: &mut Problems) -> Self {
        match T::read(tree, problems) {
            Some(value) => Self::Given(At { value, span: tree.span.clone() }),
            None => Self::Broken,
        }
    }
}

/// What a key may hold. `None` means that a problem was reported.
pub(super) trait Read: Sized {
    fn read(tree: &Tree, problems: &mut Problems) -> Option<Self>;
}

/// Why a text is not a value, and what to write instead.
pub(super) type Refusal = (ProblemKind, Option<String>);

/// A value that is written as one word or line.
pub(super) trait Scalar: Sized {
    /// What to call it: "a port from 1 to 65535".
    const EXPECTED: &'static str;

    fn parse(text: &str) -> Result<Self, Refusal>;
}

/// The refusal of a text that is nothing like it.
pub(super) fn not_a<T: Scalar>(text: &str) -> Refusal {
    (ProblemKind::WrongType(T::EXPECTED, format!("`{text}`")), None)
}

impl<T: Scalar> Read for T {
    fn read(tree: &Tree, problems: &mut Problems) -> Option<Self> {
        let Value::Text(text) = &tree.value else {
            problems.push(wrong(T::EXPECTED, tree));
            return None;
        };
        scalar(text, &tree.span, problems)
    }
}

fn scalar<T: Scalar>(text: &str, span: &Span, problems: &mut Problems) -> Option<T> {
    match T::parse(text) {
        Ok(value) => Some(value),
        Err((kind, help)) => {
            problems.push(Problem::new(kind, span).maybe(help));
            None
        }
    }
}

fn wrong(expected: &'static str, tree: &Tree) -> Problem {
    let found = match &tree.value {
        Value::Null => "nothing".to_owned(),
        Value::Text(text) => format!("`{text}`"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "keys and values".to_owned(),
    };
    Problem::new(ProblemKind::WrongType(expected, found), &tree.span)
}

impl<T: Read> Read for Vec<At<T>> {
    fn read(tree: &Tree, problems: &mut Problems) -> Option<Self> {
        let Value::List(items) = &tree.value else {
            problems.push(wrong("a list", tree).help("write it as [one, two]"));
            return None;
        };
        let read = |item: &Tree| T::read(item, problems).map(|value| At { value, span: item.span.clone() });
        let list: Vec<_> = items.iter().map(read).collect();
        list.into_iter().collect()
    }
}

/// One value or a list of them, each in its place.
#[derive(Debug)]
pub(super) struct Several<T>(pub(super) Vec<At<T>>);

impl<T: Scalar> Read for Several<T> {
    fn read(tree: &Tree, problems: &mut Problems) -> Option<Self> {
        match &tree.value {
            Value::List(items) if items.is_empty() => {
                let kind = ProblemKind::WrongType(T::EXPECTED, "an empty list".to_owned());
                problems.push(Problem::new(kind, &tree.span));
                None
            }
            Value::List(_) => Vec::read(tree, problems).map(Self),
            _ => {
                let value = T::read(tree, problems)?;
                Some(Self(vec![At { value, span: tree.span.clone() }]))
            }
        }
    }
}

impl<T> Several<T> {
    /// The values without their places.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|at| &at.value)
    }
}

/// A mapping whose keys are the author's, in the order of the file.
#[derive(Debug)]
pub(super) struct Map<K, V> {
    pub(super) entries: Vec<(At<K>, Slot<V>)>,
    /// Some keys could not be read: what is not in `entries` may be in the file all the same.
    pub(super) incomplete: bool,
}

impl<K: Scalar, V: Read> Read for Map<K, V> {
    fn read(tree: &Tree, problems: &mut Problems) -> Option<Self> {
        let Value::Map(found) = &tree.value else {
            problems.push(wrong("keys and values", tree).help("write it as { key: value }"));
            return None;
        };
        let mut map = Self { entries: Vec::with_capacity(found.len()), incomplete: false };
        for entry in found {
            let key = scalar(&entry.key, &entry.span, problems);
            let value = Slot::read(&entry.value, problems);
            match key {
                Some(key) => map.entries.push((At { value: key, span: entry.span.clone() }, value)),
                None => map.incomplete = true,
            }
        }
        Some(map)
    }
}

/// A mapping whose keys are the format's.
pub(super) struct Record<'t> {
    what: &'static str,
    span: &'t Span,
    entries: &'t [Entry],
    /// Keys that an unknown key was taken for. They count as broken: to call them missing, or to complain about what
    /// follows from their absence, would be to say the same thing twice.
    misspelt: Vec<&'static str>,
}

impl<'t> Record<'t> {
    /// Reports every key that is not one of `keys`.
    pub(super) fn open(
        what: &'static str,
        keys: &[&'static str],
        tree: &'t Tree,
        problems: &mut Problems,
    ) -> Option<Self> {
        let entries = match &tree.value {
            Value::Map(entries) => entries.as_slice(),
            _ => {
                let help = format!("{what} has keys and values; known are: {}", keys.join(", "));
                problems.push(wrong("keys and values", tree).help(help));
                return None;
            }
        };
        // A key that is there already cannot have been meant.
        let given = |key: &&&str| entries.iter().any(|entry| entry.key == **key);
        let absent: Vec<&'static str> = keys.iter().filter(|key| !given(key)).copied().collect();
        let mut misspelt = Vec::new();
        for entry in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            misspelt.extend(nearest(&entry.key, absent.iter().copied()));
            let help = did_you_mean(&entry.key, absent.iter().copied());
            let kind = ProblemKind::UnknownKey(entry.key.clone(), what);
            problems.push(Problem::new(kind, &entry.span).maybe(help));
        }
        Some(Self { what, span: &tree.span, entries, misspelt })
    }

    pub(super) fn optional<T: Read>(&self, key: &'static str, problems: &mut Problems) -> Slot<T> {
        match self.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => Slot::read(&entry.value, problems),
            None if self.misspelt.contains(&key) => Slot::Broken,
            None => Slot::Absent,
        }
    }

    pub(super) fn required<T: Read>(&self, key: &'static str, problems: &mut Problems) -> Slot<T> {
        let slot = self.optional(key, problems);
        if slot.is_absent() {
            let kind = ProblemKind::MissingKey(key, self.what.to_owned());
            problems.push(Problem::new(kind, self.span).help(format!("add `{key}: ...`")));
            return Slot::Broken;
        }
        slot
    }
}

/// Declares a mapping of the format once: the struct, the keys it knows, how it is read and its schema.
macro_rules! record {
    (
        $(#[$meta:meta])* $name:ident = $what:literal
        required { $($(#[$must_meta:meta])* $must:ident : $must_type:ty,)* }
        optional { $($(#[$may_meta:meta])* $may:ident : $may_type:ty,)* }
    ) => {
        #[derive(Debug, ::schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$meta])*
        pub(super) struct $name {
            $($(#[$must_meta])* pub(super) $must: Slot<$must_type>,)*
            $($(#[$may_meta])* #[schemars(default)] pub(super) $may: Slot<$may_type>,)*
        }

        impl Read for $name {
            fn read(tree: &Tree, problems: &mut Problems) -> Option<Self> {
                const KEYS: &[&str] = &[$(stringify!($must),)* $(stringify!($may),)*];
                let record = Record::open($what, KEYS, tree, problems)?;
                Some(Self {
                    $($must: record.required(stringify!($must), problems),)*
                    $($may: record.optional(stringify!($may), problems),)*
                })
            }
        }
    };
}
pub(super) use record;

impl<T: JsonSchema> JsonSchema for Slot<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Several{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

impl<K: JsonSchema, V: JsonSchema> JsonSchema for Map<K, V> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", V::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names = generator.subschema_for::<K>();
        let values = generator.subschema_for::<V>();
        json_schema!({ "type": "object", "propertyNames": names, "additionalProperties": values })
    }
}
