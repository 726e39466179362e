//! What a fault costs the client, ours beside keepalived, on the same site and in turns:
//! `cargo bench --bench failover -- [--runs N] [--advert 10ms,100ms,1s] [--engine labctl,keepalived] [--fault stop,...] [--quick]`.
//! It looks from outside only: at probes of the VIP, at who answers ARP for it, at the kernels of both proxies and of the
//! router. It believes no daemon.
//!
//! Progress goes to standard error, the table to standard output, and both the table and every single run to
//! `target/bench/failover.{md,json}` or another folder. Each lab ends with this program, whatever ends it.

#![allow(unreachable_pub, missing_docs, reason = "a benchmark has no users")]
#![allow(clippy::disallowed_methods, reason = "a benchmark owns the clock")]

mod fault;
mod figures;
mod instruments;
#[path = "../shared/lab.rs"]
mod lab;
mod notices;
mod page;
mod run;
mod site;
mod watcher;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use labctl::topology::{Engine, duration};

use fault::Fault;
use lab::{Error, INTERRUPTED, Interrupts};
use page::Page;
use site::Site;

/// How often a run is tried whose own pace was not good enough to tell by.
const ATTEMPTS_MAX: u32 = 3;
/// After so many runs of an engine in a row that could not be done, it is given up.
const FAILURES_MAX: u32 = 3;

/// Measures failovers on this machine
#[derive(Parser)]
#[command(name = "cargo bench --bench failover --")]
pub struct Args {
    /// How often each fault is tried with each engine and interval
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Advertisement intervals
    #[arg(long, value_delimiter = ',', default_value = "10ms,100ms,1s", value_parser = duration)]
    advert: Vec<Duration>,
    /// Engines, in the order in which they take turns
    #[arg(long, value_delimiter = ',', default_value = "labctl,keepalived")]
    engine: Vec<Engine>,
    /// Faults; all of them unless some are named
    #[arg(long, value_delimiter = ',', value_enum)]
    fault: Vec<Fault>,
    /// How long nothing is broken while two ordinary threads keep the processors busy
    #[arg(long, default_value = "90s", value_parser = duration)]
    idle: Duration,
    /// One run at 100 ms, 5 s of nothing broken: shows that it works, and measures little
    #[arg(long)]
    quick: bool,
    /// Where failover.md and failover.json go
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"))]
    out: PathBuf,
    /// Cargo says so to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.quick {
        (args.runs, args.advert, args.idle) = (1, vec![Duration::from_millis(100)], Duration::from_secs(5));
    }
    if args.fault.is_empty() {
        args.fault = Fault::ALL.to_vec();
    }
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            eprintln!("take charge of Ctrl-C: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut page = Page::begin(&args);
    let done = measure(&args, &interrupts, &mut page);
    if let Err(error) = &done {
        page.note(format!("INCOMPLETE: {error}"));
    }
    print!("{}", page.markdown());
    if let Err(error) = page.write(&args.out) {
        eprintln!("write to {}: {error}", args.out.display());
        return ExitCode::FAILURE;
    }
    eprintln!("{}", args.out.join("failover.md").display());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that is compared takes turns: a machine that is busy for a while is busy for both engines.
fn measure(args: &Args, interrupts: &Interrupts, page: &mut Page) -> Result<(), Error> {
    let mut failures = vec![0; args.engine.len()];
    for run in 1..=args.runs {
        for &advert in &args.advert {
            // Nothing broken is long enough to be looked at once.
            for &fault in args.fault.iter().filter(|fault| run == 1 || **fault != Fault::Idle) {
                for (&engine, failures) in args.engine.iter().zip(&mut failures) {
                    if *failures == FAILURES_MAX {
                        continue;
                    }
                    let site = Site::build(engine, advert)?;
                    eprintln!(
                        "run {run} of {}: {} at {advert:?}, {}",
                        args.runs,
                        fault.word(),
                        site.engine()
                    );
                    *failures = match attempts(args, interrupts, &site, fault, run, page) {
                        Ok(()) => 0,
                        Err(Error::Interrupted) => return Err(Error::Interrupted),
                        Err(error) => {
                            eprintln!("  not done: {error}");
                            page.fail(&site, fault, run, &error);
                            *failures + 1
                        }
                    };
                    if *failures == FAILURES_MAX {
                        let engine = site.engine();
                        page.note(format!(
                            "{engine} was given up after {FAILURES_MAX} runs that could not be done"
                        ));
                    }
                    // Whatever ends this program, what was measured so far is kept.
                    page.write(&args.out)?;
                }
            }
        }
    }
    Ok(())
}

fn attempts(
    args: &Args,
    interrupts: &Interrupts,
    site: &Site,
    fault: Fault,
    run: u32,
    page: &mut Page,
) -> Result<(), Error> {
    let mut known: Vec<&str> = Vec::new();
    for attempt in 1..=ATTEMPTS_MAX {
        let mut records = run::run(site, fault, args.idle, interrupts)?;
        // What was known already is not measured twice, so that each engine has as many runs as the other.
        records.retain(|record| !known.contains(&record.what));
        let all = records.iter().all(|record| record.figures.unknown.is_none());
        for record in records {
            eprintln!("  {}", record.line());
            known.extend(record.figures.unknown.is_none().then_some(record.what));
            page.add(site, run, attempt, record);
        }
        if all {
            break;
        }
    }
    Ok(())
}
