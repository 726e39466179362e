//! `labctl check`: did the memory keep its word? Whether a history contradicts itself is decided in
//! `conversation::checker`; here are the arguments, the file and the words.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use miette::{Diagnostic, MietteDiagnostic, Report};

use super::{Failure, Format, Outcome};
use crate::conversation::checker::{self, Balance, Demand, Judgement, Verdict, Window};
use crate::conversation::history::{HISTORY_BYTES_MAX, History, Invalid, Problem};
use crate::topology::duration;

const EXAMPLES: &str = "\
Examples:
  labctl check history.jsonl                                a history with its faults in it
  labctl check history.jsonl --windows 2s..6s,9s..10s       faults that are not in it, from its first operation on
  zcat history.jsonl.gz | labctl check - --format json

A history is JSON Lines: appends, reads, final transcripts and faults, as reports/history.schema.json describes them;
fixtures/histories has examples. Unknown fields are refused.

Exit codes: 0 consistent, 1 a contradiction, 2 bad arguments or a faulty history, 4 vacuous: nothing contradicts itself, but
the history shows too little for that to mean anything.";

/// Decide whether a history of conversations is consistent
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The history; `-` is standard input
    history: PathBuf,
    /// When something was broken, besides the faults in the history: FROM..TO, counted from its first operation
    #[arg(long, value_name = "FROM..TO", value_delimiter = ',', value_parser = window)]
    windows: Vec<Window>,
    /// How many turns must have been acknowledged before, during and after each fault
    #[arg(long, value_name = "TURNS", default_value_t = Demand::default().acknowledged_min)]
    at_least: u64,
    /// How the judgement is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn window(text: &str) -> Result<Window, String> {
    let (from, to) = text.split_once("..").ok_or("a window is FROM..TO, such as 2s..6s")?;
    let ns = |text| {
        let nanoseconds = duration(text)?.as_nanos();
        u64::try_from(nanoseconds).map_err(|_| format!("{text} is longer than any run"))
    };
    let window = Window { began_ns: ns(from)?, ended_ns: ns(to)? };
    if window.began_ns > window.ended_ns {
        return Err(format!("the window {text} ends before it begins"));
    }
    Ok(window)
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let name = name_of(&args.history);
    let text = read(&args.history).map_err(|error| {
        Failure::usage(format!("read the history {name}: {error}"), "`labctl check --help` has examples")
    })?;
    if text.len() > HISTORY_BYTES_MAX {
        let message = format!("the history {name} is longer than {} MiB", HISTORY_BYTES_MAX >> 20);
        return Err(Failure::usage(message, "check a part of it; conversations do not depend on each other"));
    }
    let history = History::parse(&text).map_err(|invalid| report(&name, &invalid))?;
    let demand = Demand { acknowledged_min: args.at_least, windows: args.windows.clone() };
    let judgement = checker::check(&history, &demand);
    match args.format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&judgement).map_err(io::Error::from)?;
            print_line!("{json}")?;
        }
        Format::Table => print_line!("{}", render(&judgement))?,
    }
    Ok(ExitCode::from(match judgement.verdict {
        Verdict::Consistent => 0,
        Verdict::Contradiction => Failure::FAILED,
        Verdict::Vacuous => Failure::INFRASTRUCTURE,
    }))
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // One byte more than allowed is enough to see that there is too much.
    let limit = HISTORY_BYTES_MAX as u64 + 1;
    let mut text = Vec::new();
    match path == Path::new("-") {
        true => io::stdin().lock().take(limit).read_to_end(&mut text)?,
        false => std::fs::File::open(path)?.take(limit).read_to_end(&mut text)?,
    };
    Ok(text)
}

/// The judgement for people.
fn render(judgement: &Judgement) -> String {
    let verdict = match judgement.verdict {
        Verdict::Consistent => "consistent: one order explains every answer",
        Verdict::Contradiction => "CONTRADICTION: no order explains these answers",
        Verdict::Vacuous => "vacuous: nothing contradicts itself, but this proves too little",
    };
    let mut text = format!("{verdict}\n{}", balance(&judgement.balance));
    if !judgement.contradictions.is_empty() {
        let by_claim: Vec<String> =
            judgement.contradictions.iter().map(|(claim, count)| format!("{claim} {count}")).collect();
        text += &format!("\nconversations that contradict themselves: {}", by_claim.join(", "));
    }
    // A contradiction stands, however little else there is.
    let lacks = if judgement.story.is_some() { &[][..] } else { &judgement.shortfalls };
    for shortfall in lacks {
        text += &format!("\nproves too little: {shortfall}");
    }
    if !lacks.is_empty() && judgement.shortfalls_left_out > 0 {
        text += &format!("\nand {} reasons more", judgement.shortfalls_left_out);
    }
    if let Some(story) = &judgement.story {
        text += &format!("\n\n{story}");
    }
    text
}

fn balance(of: &Balance) -> String {
    format!(
        "{} operations: {} attempts to append, {} reads ({} not answered)\n\
         {} turns: {} acknowledged, {} unknown ({} of them kept), {} refused; {} took more than one attempt\n\
         {} conversations, {} final transcripts{}; faults: {}",
        of.operations,
        of.attempts,
        of.reads + of.unanswered_reads,
        of.unanswered_reads,
        of.turns,
        of.acknowledged_turns,
        of.unknown_turns,
        of.unknown_turns_kept,
        of.refused_turns,
        of.retried_turns,
        of.conversations,
        of.transcripts,
        if of.webs.is_empty() { String::new() } else { format!(" from {}", of.webs.join(", ")) },
        of.faults,
    )
}

/// All problems of a history, each with its line and a way out.
#[derive(Debug, thiserror::Error)]
#[error("{summary}")]
struct Faulty {
    summary: String,
    problems: Vec<MietteDiagnostic>,
}

impl Diagnostic for Faulty {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

fn report(name: &str, invalid: &Invalid) -> Report {
    let count = invalid.problems.len() + invalid.left_out;
    let summary = match (count, invalid.left_out) {
        (1, _) => format!("{name} is not a history"),
        (_, 0) => format!("{name} is not a history: {count} problems"),
        _ => format!("{name} is not a history: {count} problems, the first of them"),
    };
    let problem = |problem: &Problem| {
        MietteDiagnostic::new(format!("line {}: {}", problem.line, problem.kind))
            .with_code("labctl::history")
            .with_help(problem.kind.help())
    };
    Report::new(Faulty { summary, problems: invalid.problems.iter().map(problem).collect() })
}

#[cfg(test)]
mod tests;
