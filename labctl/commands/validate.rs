//! `labctl validate`: is this file a topology? It shows every mistake at once with a pointer into the source, and lends
//! its loader to every other command that is given a topology.

use std::fmt;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use miette::{Diagnostic, LabeledSpan, NamedSource, Report, Severity, SourceCode};
use serde_json::{Value, json};

use super::{Outcome, output};
use crate::topology::{self, FILE_BYTES_MAX, Invalid, Problem, Topology};

/// Exit code of a command that was given something wrong.
const EXIT_USAGE: u8 = 2;
/// How many nearby topologies are named to somebody who mistyped a file.
const NEARBY_MAX: usize = 8;

const EXAMPLES: &str = "\
Examples:
  labctl validate topologies/*.yaml                every mistake at once, with a pointer into the source
  labctl validate --format json site.yaml          the same for an editor or a script
  labctl validate --schema > schema.json           what the format is";

/// Arguments of `labctl validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Topology files; `-` is standard input.
    #[arg(required_unless_present = "schema")]
    files: Vec<PathBuf>,
    /// How problems are shown.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print the JSON Schema of topology files, for editors.
    #[arg(long, conflicts_with = "files")]
    schema: bool,
}

/// How problems are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: problems on standard error, with the source.
    Text,
    /// For programs: one JSON array on standard output.
    Json,
}

/// Checks every file. A file that is wrong does not keep the next ones from being checked.
pub fn run(args: &Args) -> Outcome {
    if args.schema {
        output::write(topology::schema().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut all_ok = true;
    let mut findings = Vec::new();
    for path in &args.files {
        let checked = read(path).map(|text| topology::parse(&name_of(path), &text));
        all_ok &= matches!(checked, Ok(Ok(_)));
        match (args.format, checked) {
            (Format::Text, Ok(Ok(topology))) => {
                print_line!("{}: ok ({})", name_of(path), summary(&topology))?;
            }
            (Format::Text, Ok(Err(invalid))) => complain(&report(invalid)),
            (Format::Text, Err(error)) => complain(&Report::new(error)),
            (Format::Json, Ok(Ok(_))) => {}
            (Format::Json, Ok(Err(invalid))) => findings.extend(problems_as_json(&invalid)),
            (Format::Json, Err(error)) => findings.push(error.as_json()),
        }
    }
    if args.format == Format::Json {
        print_line!("{:#}", Value::Array(findings))?;
    }
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) })
}

/// Reads the topology in a file, or on standard input if the path is `-`.
pub fn load(path: &Path) -> Result<Topology, Report> {
    let text = read(path)?;
    topology::parse(&name_of(path), &text).map_err(report)
}

/// The problems of a file, each with a pointer into its source.
pub fn report(invalid: Invalid) -> Report {
    let source = NamedSource::new(&invalid.file, invalid.source).with_language("yaml");
    let summary = match invalid.problems.len() + invalid.left_out {
        1 => format!("{} is not a topology", invalid.file),
        count if invalid.left_out > 0 => {
            format!("{} is not a topology: {count} problems, the first of them", invalid.file)
        }
        count => format!("{} is not a topology: {count} problems", invalid.file),
    };
    Report::new(Findings {
        summary,
        pointers: invalid
            .problems
            .into_iter()
            .map(|problem| Pointer { problem, text: source.clone() })
            .collect(),
    })
}

/// What a file holds, in a few words.
fn summary(topology: &Topology) -> String {
    let services: usize = topology.nodes.iter().map(|node| node.services.len()).sum();
    let parts = [(topology.nodes.len(), "node"), (topology.networks.len(), "network"), (services, "service")];
    let count = |(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    parts.map(count).join(", ")
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn complain(report: &Report) {
    // Nowhere is left to say that standard error is gone; the exit code still tells.
    let _ = writeln!(std::io::stderr(), "{report:?}");
}

fn problems_as_json(invalid: &Invalid) -> impl Iterator<Item = Value> + '_ {
    invalid.problems.iter().map(|problem| {
        json!({
            "file": invalid.file,
            "line": problem.line,
            "column": problem.column,
            "code": problem.kind.code(),
            "message": problem.kind.to_string(),
            "help": problem.help,
            "span": { "start": problem.span.start, "end": problem.span.end },
            "also": problem.also.as_ref().map(|(span, what)| json!({
                "start": span.start, "end": span.end, "message": what,
            })),
        })
    })
}

/// Why there is no text to check.
#[derive(Debug, thiserror::Error)]
#[error("read the topology {name}")]
struct ReadError {
    name: String,
    help: String,
    source: std::io::Error,
}

impl ReadError {
    fn new(path: &Path, source: std::io::Error) -> Self {
        let help = match source.kind() {
            std::io::ErrorKind::NotFound => nearby(path),
            std::io::ErrorKind::InvalidData => "a topology is YAML text in UTF-8".to_owned(),
            std::io::ErrorKind::IsADirectory => nearby(&path.join("*")),
            _ => "check that the file can be read".to_owned(),
        };
        Self { name: name_of(path), help, source }
    }

    fn as_json(&self) -> Value {
        json!({
            "file": self.name,
            "code": "labctl::read",
            "message": format!("{self}: {}", self.source),
            "help": self.help,
        })
    }
}

impl Diagnostic for ReadError {
    fn code(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new("labctl::read"))
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(&self.help))
    }
}

fn read(path: &Path) -> Result<String, ReadError> {
    let mut text = String::new();
    // One byte more than allowed is enough for `parse` to say that there is too much.
    let limit = FILE_BYTES_MAX as u64 + 1;
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(limit).read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)),
    };
    read.map(|_| text).map_err(|source| ReadError::new(path, source))
}

/// Topologies beside a file that is not there, or the next step if there are none.
fn nearby(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    for folder in folder.into_iter().chain([Path::new("topologies"), Path::new(".")]) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_yaml).collect();
        if !found.is_empty() {
            found.sort();
            let names: Vec<_> =
                found.iter().take(NEARBY_MAX).map(|path| path.display().to_string()).collect();
            return format!("there are: {}", names.join(", "));
        }
    }
    "name a topology file; `labctl validate --schema` describes the format".to_owned()
}

/// All problems of a file.
#[derive(Debug, thiserror::Error)]
#[error("{summary}")]
struct Findings {
    summary: String,
    pointers: Vec<Pointer>,
}

impl Diagnostic for Findings {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.pointers.iter().map(|pointer| pointer as &dyn Diagnostic)))
    }
}

/// One problem, as miette shows it.
#[derive(Debug, thiserror::Error)]
#[error("{}", problem.kind)]
struct Pointer {
    problem: Problem,
    text: NamedSource<String>,
}

impl Diagnostic for Pointer {
    fn code(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(self.problem.kind.code()))
    }

    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = LabeledSpan::new_primary_with_span(
            Some(self.problem.kind.label().to_owned()),
            self.problem.span.clone(),
        );
        let second = self.problem.also.as_ref();
        let second = second.map(|(span, what)| LabeledSpan::new_with_span(Some(what.clone()), span.clone()));
        Some(Box::new(std::iter::once(first).chain(second)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use miette::{GraphicalReportHandler, GraphicalTheme};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn exit(arguments: &[&str]) -> ExitCode {
        let line = Line::try_parse_from([&["validate"], arguments].concat()).unwrap();
        run(&line.args).unwrap()
    }

    /// Tests run at the root of the package, where the paths of the documentation are right.
    const GOOD: &str = "topologies/ha.yaml";
    const BAD: &str = "fixtures/topologies/bad-routes.yaml";

    #[test]
    fn exit_codes_tell_good_from_bad() {
        assert_eq!(exit(&[GOOD]), ExitCode::SUCCESS);
        for format in ["text", "json"] {
            assert_eq!(exit(&["--format", format, GOOD, BAD]), ExitCode::from(EXIT_USAGE));
            assert_eq!(exit(&["--format", format, "no-such.yaml"]), ExitCode::from(EXIT_USAGE));
        }
        assert_eq!(exit(&["--schema"]), ExitCode::SUCCESS);
        assert!(Line::try_parse_from(["validate"]).is_err(), "no file is no success");
    }

    #[test]
    fn a_missing_file_is_named_with_those_nearby() {
        let report = load(Path::new("topologies/h.yaml")).unwrap_err();
        assert_eq!(report.to_string(), "read the topology topologies/h.yaml");
        assert!(report.help().unwrap().to_string().contains("topologies/ha.yaml"));
        let report = load(Path::new("topologies")).unwrap_err();
        assert!(report.help().unwrap().to_string().contains("topologies/ha.yaml"));
    }

    #[test]
    fn what_a_good_file_holds() {
        let topology = load(Path::new(GOOD)).unwrap();
        insta::assert_snapshot!(summary(&topology), @"11 nodes, 4 networks, 10 services");
    }

    #[test]
    fn programs_get_every_field() {
        let text = read(Path::new(BAD)).unwrap();
        let invalid = topology::parse(BAD, &text).unwrap_err();
        let problems: Vec<Value> = problems_as_json(&invalid).collect();
        insta::assert_snapshot!(format!("{:#}", problems[1]), @r#"
        {
          "also": null,
          "code": "labctl::gateway_off_link",
          "column": 36,
          "file": "fixtures/topologies/bad-routes.yaml",
          "help": "the usual one is 198.51.100.1; leave `gateway` out to have it",
          "line": 7,
          "message": "node client is on no network with its gateway 203.0.113.1",
          "span": {
            "end": 355,
            "start": 344
          }
        }
        "#);
    }

    #[test]
    fn people_get_a_pointer_into_the_source() {
        let report = load(Path::new("fixtures/topologies/bad-addresses.yaml")).unwrap_err();
        let mut shown = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110);
        handler.render_report(&mut shown, report.as_ref()).unwrap();
        insta::assert_snapshot!(shown, @"
          × fixtures/topologies/bad-addresses.yaml is not a topology: 4 problems

        Error: labctl::outside_network

          × 10.10.2.11 is not in network back (10.10.1.0/24)
           ╭─[fixtures/topologies/bad-addresses.yaml:6:51]
         5 │   router: { role: router, on: { front: 203.0.113.1 } }
         6 │   proxy1: { role: proxy, on: { front: none, back: 10.10.2.11 } }
           ·                                                   ─────┬────
           ·                                                        ╰── outside of its network
         7 │   proxy2: { role: proxy, on: { front: none, back: 10.10.1.12 } }
           ╰────
          help: 10.10.1.2 is free

        Error: labctl::duplicate_address

          × 10.10.1.12 already belongs to node proxy2
           ╭─[fixtures/topologies/bad-addresses.yaml:8:34]
         6 │   proxy1: { role: proxy, on: { front: none, back: 10.10.2.11 } }
         7 │   proxy2: { role: proxy, on: { front: none, back: 10.10.1.12 } }
           ·                                                   ─────┬────
           ·                                                        ╰── node proxy2 has it here
         8 │   web1: { role: web, on: { back: 10.10.1.12 } }
           ·                                  ─────┬────
           ·                                       ╰── used again here
         9 │   web2: { role: web, on: { back: 10.10.1.255 } }
           ╰────
          help: 10.10.1.2 is free

        Error: labctl::broadcast_address

          × 10.10.1.255 is the broadcast address of network back
            ╭─[fixtures/topologies/bad-addresses.yaml:9:34]
          8 │   web1: { role: web, on: { back: 10.10.1.12 } }
          9 │   web2: { role: web, on: { back: 10.10.1.255 } }
            ·                                  ─────┬─────
            ·                                       ╰── no node can have it
         10 │ failover: { network: back, vip: { front: 203.0.113.1, back: 10.10.1.1 } }
            ╰────
          help: 10.10.1.2 is free

        Error: labctl::duplicate_address

          × 203.0.113.1 already belongs to node router
            ╭─[fixtures/topologies/bad-addresses.yaml:10:42]
          4 │ nodes:
          5 │   router: { role: router, on: { front: 203.0.113.1 } }
            ·                                        ─────┬─────
            ·                                             ╰── node router has it here
          6 │   proxy1: { role: proxy, on: { front: none, back: 10.10.2.11 } }
          7 │   proxy2: { role: proxy, on: { front: none, back: 10.10.1.12 } }
          8 │   web1: { role: web, on: { back: 10.10.1.12 } }
          9 │   web2: { role: web, on: { back: 10.10.1.255 } }
         10 │ failover: { network: back, vip: { front: 203.0.113.1, back: 10.10.1.1 } }
            ·                                          ─────┬─────
            ·                                               ╰── used again here
         11 │ balancer: { services: { web: { port: 80 } } }
            ╰────
          help: 203.0.113.2 is free
        ");
    }
}
