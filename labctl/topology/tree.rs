//! YAML as a tree in which every value knows its place. All scalars stay text as it was written, since what a text means
//! is decided by whoever reads it: `10` may be a name. It knows YAML, and nothing of topologies.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, MessageFormatter, NonFiniteFloatPolicy, Spanned,
};

use super::problem::{Problem, ProblemKind, Problems, Span};

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) value: Value,
    /// A scalar's own place. A mapping or a list stands where its key stands, since it begins nowhere in particular.
    pub(super) span: Span,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Tree>),
    /// Without duplicates, in the order of the file.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) span: Span,
    pub(super) value: Tree,
}

/// The deepest nesting that is followed: a topology needs 7, and each level costs the stack some 30 KiB in debug builds.
const DEPTH_MAX: usize = 16;

/// Reads one YAML document. Syntax errors end it; a duplicate key is reported and its first value kept.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Tree> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        strict_booleans: true,
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Some(Reader { text, problems }.tree(raw, None)),
        Err(error) => {
            problems.push(syntax(text, &error));
            None
        }
    }
}

fn syntax(text: &str, error: &serde_saphyr::Error) -> Problem {
    let start = error.location().map_or(0, |location| {
        let column = usize::try_from(location.column()).unwrap_or(1).max(1);
        let line = usize::try_from(location.line()).unwrap_or(1).max(1);
        let line_start = match line {
            1 => 0,
            line => text.match_indices('\n').nth(line - 2).map_or(text.len(), |(newline, _)| newline + 1),
        };
        let in_line = text[line_start..].char_indices().nth(column - 1).map(|(at, _)| at);
        in_line.map_or(text.len(), |at| line_start + at)
    });
    let end = text[start..].chars().next().map_or(start, |c| start + c.len_utf8());
    let (what, help) = match error {
        serde_saphyr::Error::MultipleDocuments { .. } => {
            ("a second document begins here".to_owned(), "a file holds one topology; remove the `---`")
        }
        // The message alone: the place is told by the problem.
        _ => (
            DefaultMessageFormatter.format_message(error).into_owned(),
            "indent with spaces, close every bracket and quote, and put a space after each colon",
        ),
    };
    Problem::new(ProblemKind::Syntax(what), &(start..end)).help(help)
}

/// What the YAML library hands over.
enum Raw {
    Null,
    /// Something that the library took for a number or a boolean; its text is in the source.
    Plain,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any YAML value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
                Ok(Raw::Plain)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
                Ok(Raw::Plain)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
                Ok(Raw::Plain)
            }
            fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
                Ok(Raw::Plain)
            }
            fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
                Ok(Raw::Plain)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
                Ok(Raw::Plain)
            }
            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Raw, D::Error> {
                Raw::deserialize(inner)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Raw::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Raw::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

struct Reader<'t, 'p> {
    text: &'t str,
    problems: &'p mut Problems,
}

impl Reader<'_, '_> {
    fn tree(&mut self, raw: Spanned<Raw>, key: Option<&Span>) -> Tree {
        let own = self.span(&raw);
        let owner = key.cloned().unwrap_or_else(|| own.clone());
        match raw.value {
            Raw::Null => Tree { value: Value::Null, span: owner },
            Raw::Plain => Tree { value: Value::Text(self.text[own.clone()].to_owned()), span: own },
            Raw::Text(text) => Tree { value: Value::Text(text), span: own },
            Raw::List(items) => {
                let items = items.into_iter().map(|item| self.tree(item, None)).collect();
                Tree { value: Value::List(items), span: owner }
            }
            Raw::Map(entries) => Tree { value: Value::Map(self.entries(entries)), span: owner },
        }
    }

    fn entries(&mut self, raw: Vec<(Spanned<Raw>, Spanned<Raw>)>) -> Vec<Entry> {
        let mut first: HashMap<String, Span> = HashMap::new();
        let mut entries = Vec::with_capacity(raw.len());
        for (key, value) in raw {
            let span = self.span(&key);
            let key = match key.value {
                Raw::Text(text) => text,
                Raw::Plain | Raw::Null => self.text[span.clone()].to_owned(),
                Raw::List(_) | Raw::Map(_) => {
                    let kind = ProblemKind::WrongType("a word as key", "a collection".to_owned());
                    self.problems.push(Problem::new(kind, &span));
                    continue;
                }
            };
            if let Some(before) = first.get(&key) {
                let kind = ProblemKind::DuplicateKey(key);
                self.problems.push(Problem::new(kind, &span).also(before, "the first one"));
                continue;
            }
            first.insert(key.clone(), span.clone());
            let value = self.tree(value, Some(&span));
            entries.push(Entry { key, span, value });
        }
        entries
    }

    /// Where a value was written, which for an alias is at its anchor. Never outside of the source.
    fn span(&self, spanned: &Spanned<Raw>) -> Span {
        let span = spanned.defined.span();
        let start = span.byte_offset().map_or(0, |at| at as usize);
        let end = start + span.byte_len().map_or(0, |len| len as usize);
        if self.text.get(start..end).is_some() { start..end } else { 0..0 }
    }
}
