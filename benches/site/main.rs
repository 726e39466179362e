//! How fast, how long, how many: every figure that this project claims, by one command,
//! `cargo bench --bench site -- up|failover|database|memory|coupling|all [--runs N]`. It uses `labctl` as people do, from the
//! command line; of the code behind it, it takes only what describes sites and reports.
//!
//! Tables go to standard output and to `reports/bench-<what>.md`, progress to standard error. Whatever ends a
//! measurement early, Ctrl-C included, the labs of it are taken down and what was measured so far is printed.

#![allow(unreachable_pub, missing_docs, reason = "a benchmark has no users")]

mod coupling;
mod database;
mod drill;
mod failover;
mod iproute;
mod lab;
mod memory;
mod page;
mod shell;
mod up;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use page::Page;
use shell::{Error, Shell};

/// What Ctrl-C ends a program with, as shells count it.
const INTERRUPTED: u8 = 130;

/// Measures labctl on this machine
#[derive(Parser)]
#[command(name = "cargo bench --bench site --")]
struct Args {
    /// What is measured
    what: What,
    /// How often; everything that is compared takes turns
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Cargo says so to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// A lab comes and goes, beside the same network by `ip -batch`
    Up,
    /// How long the VIP is away when its proxy dies
    Failover,
    /// Turns per second, and the pause when the leader of the databases dies
    Database,
    /// Every memory and every database engine, what it costs and what a death costs its visitors
    Memory,
    /// What web and database take from each other on one machine
    Coupling,
    /// All of these
    All,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let shell = match Shell::new() {
        Ok(shell) => shell,
        Err(error) => {
            eprintln!("take charge of Ctrl-C: {error}");
            return ExitCode::FAILURE;
        }
    };
    let all = [What::Up, What::Failover, What::Database, What::Memory, What::Coupling];
    let wanted = all.into_iter().filter(|what| [*what, What::All].contains(&args.what));
    let mut code = ExitCode::SUCCESS;
    for what in wanted {
        match measure(what, &shell, args.runs) {
            Ok(()) => {}
            Err(Error::Interrupted) => return ExitCode::from(INTERRUPTED),
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Measures one thing, and publishes what there is of it however it ended.
fn measure(what: What, shell: &Shell, runs: u32) -> Result<(), Error> {
    let name = match what {
        What::Up => "up",
        What::Failover => "failover",
        What::Database => "database",
        What::Memory => "memory",
        What::Coupling => "coupling",
        What::All => unreachable!("`all` was taken apart by the caller"),
    };
    let mut page = Page::new(&format!("labctl bench: {name}"));
    page.machine("before");
    let result = match what {
        What::Up => up::measure(shell, runs, &mut page),
        What::Failover => failover::measure(shell, runs, &mut page),
        What::Database => database::measure(shell, runs, &mut page),
        What::Memory => memory::measure(shell, runs, &mut page),
        What::Coupling | What::All => coupling::measure(shell, runs, &mut page),
    };
    page.machine("after");
    if let Err(error) = &result {
        page.note(format!("INCOMPLETE: {error}"));
    }
    let text = page.markdown();
    print!("{text}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("reports/bench-{name}.md"));
    std::fs::write(&path, text)?;
    eprintln!("{}", path.display());
    result
}

/// The site that everything is measured on.
fn site() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/ha.yaml")
}
