//! `labctl engines`: which programs can be put in the place of ours, what each promises, and how to get it.

use std::io::IsTerminal;
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{Format, Outcome};
use crate::conformance::version::said;
use crate::kernel::process::find_program;
use crate::roles::catalogue::{self, Entry, Section};
use crate::roles::{frr, patroni};

/// Width of a table that nobody's terminal limits.
const WIDTH: u16 = 150;

const EXAMPLES: &str = "\
Examples:
  labctl engines
  labctl engines --format json | jq -r '.engines[] | select(.section == \"conversation\") | .engine'
  labctl setup etcd                                install one that is missing";

/// List the engines: what each promises, and how to get it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How they are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let all = catalogue::all();
    match args.format {
        Format::Table => print_line!("{}", table(&all))?,
        Format::Json => {
            let engines: Vec<Value> = all.iter().map(as_json).collect();
            print_line!("{:#}", json!({ "engines": engines }))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What it says of itself, or none if a part of it is missing.
fn version(entry: &Entry) -> Option<String> {
    let Some((program, asked_by)) = entry.version else { return Some(env!("CARGO_PKG_VERSION").to_owned()) };
    if (entry.missing)().is_some() {
        return None;
    }
    let path = match program {
        frr::PROGRAM => frr::path(program),
        patroni::POSTGRES => patroni::server(),
        name => find_program(name),
    };
    Some(said(path, asked_by, number))
}

/// The number in what a program says of its version: `2.6.12` of `HAProxy version 2.6.12 2026/10/17`.
fn number(line: &str) -> Option<&str> {
    let words = line.split([' ', '/', '=']).map(|word| word.trim_start_matches('v'));
    let mut numbers =
        words.filter(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()));
    numbers.next().map(|word| word.split(['-', ',']).next().unwrap_or(word))
}

fn section(section: Section) -> &'static str {
    match section {
        Section::Failover => "failover",
        Section::Balancer => "balancer",
        Section::Conversation => "conversation",
    }
}

/// How to get what is not there.
fn way(entry: &Entry) -> String {
    let mut ways = Vec::new();
    if (entry.missing)().is_some() {
        ways.push(format!("labctl setup {}", entry.word));
    }
    if !entry.built {
        ways.push(format!("cargo build --features {}", entry.word));
    }
    ways.join("; ")
}

fn as_json(entry: &Entry) -> Value {
    let missing =
        (entry.missing)().map(|(program, package)| json!({ "program": program, "package": package }));
    json!({
        "section": section(entry.section),
        "engine": entry.word,
        "version": version(entry),
        "missing": missing,
        "built": entry.built,
        "packages": entry.packages,
        "promises": entry.promises,
        "fails_over": entry.fails_over,
        "loses": entry.loses,
    })
}

fn table(all: &[Entry]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_width(WIDTH);
    }
    table.set_header(["SECTION", "ENGINE", "VERSION", "PROMISES", "FAILS OVER", "LOSES", "GET IT"]);
    for entry in all {
        let version = version(entry).unwrap_or_else(|| "missing".to_owned());
        let cells =
            [section(entry.section), entry.word, &version, entry.promises, entry.fails_over, entry.loses];
        table.add_row(cells.into_iter().map(str::to_owned).chain([way(entry)]));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_whatever_a_program_says() {
        let said = [
            "Keepalived v2.2.7 (01/16,2022)",
            "vrrpd version 8.4.4",
            "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
            "nginx version: nginx/1.22.1",
            "nftables v1.0.6 (Lester Gooch #5)",
            "etcd Version: 3.4.23",
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0",
            "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)",
        ];
        let numbers: Vec<&str> = said.into_iter().filter_map(number).collect();
        assert_eq!(numbers, ["2.2.7", "8.4.4", "2.6.12", "1.22.1", "1.0.6", "3.4.23", "7.0.15", "15.20"]);
    }

    #[test]
    fn every_engine_says_what_it_promises_and_what_is_lost() {
        let all = catalogue::all();
        let silent = |entry: &&Entry| [entry.promises, entry.fails_over, entry.loses].contains(&"");
        assert_eq!(all.iter().filter(silent).map(|entry| entry.word).collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(as_json(&all[0])["version"].is_string());
    }
}
