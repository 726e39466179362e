//! From the text of a drill file to a [`Drill`], or to everything that is wrong with it, each with its place and, where
//! there is one, the likely remedy. It reads text that it is given, never a file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::spec::{Action, Drill, Expect, Fault, Load, Signal, Target};
use crate::conversation::TURNS_MAX;
use crate::topology::{DrillName, NetworkName, NodeName, ServiceName, duration};

/// Most conversations at a time: each has a connection and a task of its own.
pub const CONVERSATIONS_MAX: u32 = 512;
/// Most turns per second; beyond this one client node measures itself.
pub const TURNS_PER_S_MAX: u32 = 5_000;
/// Most probes of one drill; the load keeps each in memory until the end.
pub const PROBES_MAX: u128 = 2_000_000;
/// Probes at a smaller distance would keep a processor busy.
const PROBE_INTERVAL_MIN: Duration = Duration::from_micros(100);
/// The longest patience with an answer: an attempt that begins at the end of the load's drain must end within the
/// runner's.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// The shortest: over any network, an answer that is on time takes longer than nothing.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// The longest drill.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Every fault that there is.
const FAULTS: [&str; 18] = [
    "power-off",
    "power-on",
    "kill-node",
    "kill-service",
    "stop",
    "signal",
    "link-down",
    "link-up",
    "partition",
    "heal",
    "split",
    "cut-link",
    "freeze",
    "thaw",
    "wipe-disk",
    "fill-disk",
    "free-disk",
    "delete-address",
];
/// A word this similar (Jaro-Winkler) to one that is known is taken for a slip of the pen.
const SIMILAR: f64 = 0.75;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to us.
    pub file: String,
    /// Line, from 1; 0 if unknown.
    pub line: u64,
    /// Column, from 1; 0 if unknown.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to write in its place.
    pub help: Option<String>,
}

/// Everything that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Understands the text of the drill file of this name.
pub fn parse(name: &str, text: &str) -> Result<Drill, Problems> {
    let mut reader = Reader { file: name, problems: Vec::new() };
    let drill = match serde_saphyr::from_str::<RawDrill>(text) {
        Ok(raw) => reader.drill(raw),
        Err(error) => {
            reader.structure(&error);
            None
        }
    };
    match drill {
        Some(drill) if reader.problems.is_empty() => Ok(drill),
        _ => {
            reader.problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(Problems(reader.problems))
        }
    }
}

type Word = Spanned<String>;

/// One word or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::Many(words) => words,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDrill {
    name: Word,
    topology: PathBuf,
    #[serde(default)]
    load: RawLoad,
    duration: Word,
    faults: Vec<RawFault>,
    #[serde(default)]
    expect: RawExpect,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLoad {
    conversations: Option<Spanned<u32>>,
    turns_per_s: Option<Spanned<u32>>,
    timeout: Option<Word>,
    probe_interval: Option<Word>,
    reads: Option<Word>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    at: Word,
    #[serde(rename = "do")]
    action: Word,
    target: Spanned<Words>,
    service: Option<Word>,
    network: Option<Word>,
    signal: Option<Word>,
}

/// What a fault is about besides its target, as far as it is not read yet.
struct More {
    service: Option<Word>,
    network: Option<Word>,
    signal: Option<Word>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpect {
    outage_max: Option<Word>,
    pause_max: Option<Word>,
    p99_max: Option<Word>,
    lost_turns: Option<u64>,
    lost_turns_min: Option<Spanned<u64>>,
    consistent: Option<bool>,
    duplicate_turns: Option<u64>,
    unacknowledged_turns: Option<u64>,
    refusals_min: Option<u64>,
    holder_changes_min: Option<u64>,
    holder_changes_max: Option<u64>,
    holders_max: Option<u64>,
    acknowledged_min: Option<u64>,
}

/// Collects what is wrong, so that the author reads it all at once. Where a value is wrong, a harmless one takes its
/// place until the end.
struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, at: Location, message: String, help: Option<String>) {
        let file = self.file.to_owned();
        self.problems.push(Problem { file, line: at.line(), column: at.column(), message, help });
    }

    /// What the YAML reader says: wrong syntax, an unknown or missing key, a wrong type.
    fn structure(&mut self, error: &serde_saphyr::Error) {
        use serde_saphyr::Error;
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let (message, help) = match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                (format!("there is no key `{field}` here"), Some(suggestion(field, expected)))
            }
            Error::SerdeMissingField { field, .. } => (format!("the key `{field}` is missing"), None),
            other => {
                // The message ends with the place, which is said already.
                let text = other.to_string();
                let said = text.lines().next().unwrap_or("not YAML");
                (said.split(" at line ").next().unwrap_or(said).to_owned(), None)
            }
        };
        self.problem(at, message, help);
    }

    fn drill(&mut self, raw: RawDrill) -> Option<Drill> {
        let at = raw.name.referenced;
        let name = self.name::<DrillName>(raw.name);
        let duration = self.duration(&raw.duration).filter(|duration| {
            let is_one = !duration.is_zero() && *duration <= DURATION_MAX;
            if !is_one {
                let message = format!("a drill lasts more than nothing and at most {DURATION_MAX:?}");
                self.problem(raw.duration.referenced, message, None);
            }
            is_one
        });
        let load = self.load(raw.load, duration, at);
        if let Some(duration) = duration {
            self.room(&load, duration, raw.duration.referenced);
        }
        let mut faults = Vec::with_capacity(raw.faults.len());
        let mut before = None;
        for fault in raw.faults {
            let due = self.duration(&fault.at);
            if due.is_some() && due < before {
                let message = format!("the fault at {} stands after a later one", fault.at.value);
                self.problem(fault.at.referenced, message, Some("write faults in order of time".to_owned()));
            }
            faults.extend(self.fault(fault, due, before.is_none(), duration));
            before = before.max(due.or(Some(Duration::ZERO)));
        }
        let expect = self.expect(raw.expect);
        Some(Drill { name: name?, topology: raw.topology, load, duration: duration?, faults, expect })
    }

    /// What depends on how long the drill lasts is not asked of one that says it wrongly.
    fn load(&mut self, raw: RawLoad, duration: Option<Duration>, drill: Location) -> Load {
        let usual = Load::default();
        let probe_at = raw.probe_interval.as_ref().map_or(drill, |word| word.referenced);
        let timeout_at = raw.timeout.as_ref().map_or(drill, |word| word.referenced);
        let load = Load {
            conversations: self.count(raw.conversations, usual.conversations, CONVERSATIONS_MAX),
            turns_per_s: self.count(raw.turns_per_s, usual.turns_per_s, TURNS_PER_S_MAX),
            timeout: self.optional(raw.timeout).unwrap_or(usual.timeout),
            probe_interval: self.optional(raw.probe_interval).unwrap_or(usual.probe_interval),
            reads_percent: raw.reads.and_then(|word| self.percent(&word)).unwrap_or(usual.reads_percent),
        };
        if load.timeout > TIMEOUT_MAX {
            let message =
                format!("a load waits at most {TIMEOUT_MAX:?} for an answer, or it would outlast its drill");
            self.problem(timeout_at, message, Some("write a shorter `timeout`".to_owned()));
        } else if !load.timeout.is_zero() && load.timeout < TIMEOUT_MIN {
            let message =
                format!("a load waits at least {TIMEOUT_MIN:?} for an answer, or no site gives one");
            self.problem(timeout_at, message, Some("write a longer `timeout`".to_owned()));
        }
        if load.probe_interval < PROBE_INTERVAL_MIN {
            let message = format!("probes are at least {PROBE_INTERVAL_MIN:?} apart");
            self.problem(probe_at, message, None);
        } else if duration.is_some_and(|it| it.as_nanos() / load.probe_interval.as_nanos() > PROBES_MAX) {
            let message = format!("that would be more than {PROBES_MAX} probes");
            self.problem(probe_at, message, Some("write a longer `probe_interval`".to_owned()));
        }
        load
    }

    /// A conversation holds so many turns and no more; a timetable beyond that is one that the application must refuse.
    fn room(&mut self, load: &Load, duration: Duration, at: Location) {
        let conversations = u64::from(load.conversations);
        let (turns, room) = (load.turns_within(duration), TURNS_MAX as u64);
        let wanted = turns.div_ceil(room);
        // A number that is wrong by itself has been complained of already.
        if conversations == 0 || turns.div_ceil(conversations) <= room {
            return;
        }
        let help = match u32::try_from(wanted).ok().filter(|&wanted| wanted <= CONVERSATIONS_MAX) {
            Some(wanted) => format!("write `conversations: {wanted}` or more, or a shorter `duration`"),
            None => "write fewer `turns_per_s` or a shorter `duration`".to_owned(),
        };
        let message = format!(
            "{turns} turns in {conversations} conversations are too many: a conversation holds {room}"
        );
        self.problem(at, message, Some(help));
    }

    fn fault(
        &mut self,
        raw: RawFault,
        at: Option<Duration>,
        first: bool,
        duration: Option<Duration>,
    ) -> Option<Fault> {
        let (due_at, target_at) = (raw.at.referenced, raw.target.referenced);
        if at.zip(duration).is_some_and(|(at, duration)| at >= duration) {
            self.problem(due_at, format!("at {} the drill is over", raw.at.value), None);
        }
        let more = More { service: raw.service, network: raw.network, signal: raw.signal };
        let action = self.action(&raw.action, more);
        let targets = self.targets(raw.target);
        if first && targets.contains(&Target::Same) {
            let help = Some("write `holder`, `raft-leader` or a node".to_owned());
            self.problem(target_at, "the first fault has none before it to be `same` as".to_owned(), help);
        }
        let living = |target: &Target| !matches!(target, Target::Same | Target::Node(_));
        if action.as_ref().is_some_and(Action::wants_dead) && targets.iter().any(living) {
            let help = Some("write `same` or a node".to_owned());
            self.problem(target_at, "a node that is off holds and leads nothing".to_owned(), help);
        }
        if matches!(action, Some(Action::CutLink(_))) && targets.len() < 2 && !targets.contains(&Target::Same)
        {
            let help = Some("write for instance `target: [web1, web2]`".to_owned());
            self.problem(target_at, "a link has two ends".to_owned(), help);
        }
        Some(Fault { at: at?, action: action?, targets })
    }

    fn targets(&mut self, words: Spanned<Words>) -> Vec<Target> {
        let at = words.referenced;
        let words = words.value.all();
        if words.is_empty() {
            self.problem(at, "nobody is hit".to_owned(), Some("name a node".to_owned()));
        }
        let mut targets = Vec::with_capacity(words.len());
        for word in words {
            match word.parse::<NodeName>() {
                Ok(name) => targets.push(Target::from(name)),
                Err(error) => self.problem(at, error.to_string(), None),
            }
        }
        targets
    }

    fn action(&mut self, word: &Word, mut more: More) -> Option<Action> {
        let action = match word.value.as_str() {
            "power-off" => Some(Action::PowerOff),
            "power-on" => Some(Action::PowerOn),
            "kill-node" => Some(Action::KillNode),
            "kill-service" => self.service(word, &mut more).map(Action::KillService),
            "stop" => self.service(word, &mut more).map(Action::Stop),
            "signal" => {
                let service = self.service(word, &mut more);
                service
                    .zip(self.signal(word, &mut more))
                    .map(|(service, signal)| Action::Signal(service, signal))
            }
            "link-down" => self.network(word, &mut more).map(Action::LinkDown),
            "link-up" => self.network(word, &mut more).map(Action::LinkUp),
            "partition" => self.network(word, &mut more).map(Action::Partition),
            "heal" => Some(Action::Heal(self.some_network(&mut more))),
            "split" => Some(Action::Split(self.some_network(&mut more))),
            "cut-link" => Some(Action::CutLink(self.some_network(&mut more))),
            "freeze" => Some(Action::Freeze),
            "thaw" => Some(Action::Thaw),
            "wipe-disk" => Some(Action::WipeDisk),
            "fill-disk" => Some(Action::FillDisk),
            "free-disk" => Some(Action::FreeDisk),
            "delete-address" => self.network(word, &mut more).map(Action::DeleteAddress),
            unknown => {
                let message = format!("there is no fault `{unknown}`");
                self.problem(word.referenced, message, Some(suggestion(unknown, &FAULTS)));
                return None;
            }
        };
        let spare = [("service", more.service), ("network", more.network), ("signal", more.signal)];
        for (key, value) in spare.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            let message = format!("`{}` takes no `{key}`", word.value);
            let with: Vec<&str> = FAULTS.into_iter().filter(|fault| takes(fault, key)).collect();
            self.problem(value.referenced, message, Some(format!("it is for `{}`", with.join("`, `"))));
        }
        action
    }

    fn service(&mut self, of: &Word, more: &mut More) -> Option<ServiceName> {
        let word = self.needed(of, more.service.take(), "service", "vrrpd")?;
        self.name(word)
    }

    fn network(&mut self, of: &Word, more: &mut More) -> Option<NetworkName> {
        let word = self.needed(of, more.network.take(), "network", "front")?;
        self.name(word)
    }

    /// A network where there is one; without it, all are meant.
    fn some_network(&mut self, more: &mut More) -> Option<NetworkName> {
        let word = more.network.take()?;
        self.name(word)
    }

    fn signal(&mut self, of: &Word, more: &mut More) -> Option<Signal> {
        let word = self.needed(of, more.signal.take(), "signal", "STOP")?;
        let found = Signal::ALL.into_iter().find(|signal| signal.word() == word.value);
        if found.is_none() {
            let help = suggestion(&word.value, &Signal::ALL.map(Signal::word));
            self.problem(word.referenced, format!("there is no signal `{}`", word.value), Some(help));
        }
        found
    }

    fn needed(&mut self, of: &Word, given: Option<Word>, key: &str, example: &str) -> Option<Word> {
        if given.is_none() {
            let message = format!("`{}` needs a `{key}`", of.value);
            self.problem(of.referenced, message, Some(format!("write for instance `{key}: {example}`")));
        }
        given
    }

    fn expect(&mut self, raw: RawExpect) -> Expect {
        let usual = Expect::default();
        // A control that must lose something is not held to losing nothing, unless it says how much is too much.
        let lost_turns = raw.lost_turns.unwrap_or(match &raw.lost_turns_min {
            Some(_) => u64::MAX,
            None => usual.lost_turns,
        });
        if let Some(min) = raw.lost_turns_min.as_ref().filter(|min| min.value > lost_turns) {
            let message =
                format!("at least {} lost turns and at most {lost_turns} cannot both be", min.value);
            self.problem(min.referenced, message, Some("leave `lost_turns` out".to_owned()));
        }
        Expect {
            outage_max: self.optional(raw.outage_max).unwrap_or(usual.outage_max),
            pause_max: self.optional(raw.pause_max),
            p99_max: self.optional(raw.p99_max),
            lost_turns,
            lost_turns_min: raw.lost_turns_min.map(|min| min.value),
            consistent: raw.consistent.unwrap_or(usual.consistent),
            duplicate_turns: raw.duplicate_turns.unwrap_or(usual.duplicate_turns),
            unacknowledged_turns: raw.unacknowledged_turns.unwrap_or(usual.unacknowledged_turns),
            refusals_min: raw.refusals_min,
            holder_changes_min: raw.holder_changes_min.unwrap_or(usual.holder_changes_min),
            holder_changes_max: raw.holder_changes_max,
            holders_max: raw.holders_max,
            acknowledged_min: raw.acknowledged_min.unwrap_or(usual.acknowledged_min),
        }
    }

    fn count(&mut self, number: Option<Spanned<u32>>, usual: u32, max: u32) -> u32 {
        let Some(number) = number else { return usual };
        if number.value == 0 || number.value > max {
            self.problem(number.referenced, format!("{} is not between 1 and {max}", number.value), None);
        }
        number.value
    }

    fn percent(&mut self, word: &Word) -> Option<u32> {
        let number = word.value.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
        let percent = number.filter(|number| (0..=100).contains(number));
        if percent.is_none() {
            let message = format!("`{}` is no share of the turns", word.value);
            self.problem(word.referenced, message, Some("write for instance 10%".to_owned()));
        }
        percent
    }

    fn optional(&mut self, word: Option<Word>) -> Option<Duration> {
        let word = word?;
        let duration = self.duration(&word)?;
        if duration.is_zero() {
            self.problem(word.referenced, "a duration of nothing".to_owned(), None);
        }
        Some(duration)
    }

    fn duration(&mut self, word: &Word) -> Option<Duration> {
        let text = word.value.as_str();
        let parsed = duration(text).ok();
        if parsed.is_none() {
            let help = match text.parse::<u64>() {
                Ok(number) => format!("it has no unit; write {number}s or {number}ms"),
                Err(_) => "write for instance 2s, 500ms or 1m30s".to_owned(),
            };
            self.problem(word.referenced, format!("`{text}` is not a duration"), Some(help));
        }
        parsed
    }

    fn name<N: std::str::FromStr<Err = crate::topology::NameError>>(&mut self, word: Word) -> Option<N> {
        match word.value.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.problem(word.referenced, error.to_string(), None);
                None
            }
        }
    }
}

/// Whether a fault is about something of that kind.
fn takes(fault: &str, key: &str) -> bool {
    match key {
        "service" => matches!(fault, "kill-service" | "stop" | "signal"),
        "signal" => fault == "signal",
        _ => matches!(
            fault,
            "link-down" | "link-up" | "partition" | "heal" | "split" | "cut-link" | "delete-address"
        ),
    }
}

/// The most similar of the known words, or all of them.
fn suggestion(word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((similarity, candidate)) if similarity >= SIMILAR => format!("did you mean `{candidate}`?"),
        _ => format!("known are `{}`", known.join("`, `")),
    }
}

#[cfg(test)]
mod tests;
