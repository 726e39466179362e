//! What each way of balancing costs beside plain routing by the kernel, all of them in turns:
//! `cargo bench --bench balancer -- [--rounds N] [--contender NAME,...] [--quick]`; and with `--flood`, `--change` or `--share` what a
//! flood of SYNs costs connections that are open, how long a change of a table takes, and what of the work is the director's.
//! Every contender has a site of the same shape: a client, a director, two real servers, one switch on either side. What is
//! routed plainly passes the same director, so its figures are the ceiling.
//!
//! Processor time is that of the whole machine, client and servers included, since all of it runs here: the honest measure
//! where two processors are shared by everybody. Progress goes to standard error, tables to standard output and to
//! `target/bench/balancer.md` or another folder. Each site ends with this program, whatever ends it.

#![allow(unreachable_pub, missing_docs, reason = "a benchmark has no users")]
#![allow(clippy::disallowed_methods, reason = "a benchmark owns the clock")]

mod change;
mod contender;
mod flood;
mod http;
#[path = "../shared/lab.rs"]
mod lab;
mod load;
mod page;
mod rig;
mod serve;
mod share;
mod visitors;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use contender::Contender;
use lab::{Error, INTERRUPTED, Interrupts};
use load::Kind;
use page::Page;
use rig::Rig;

/// Measures ways of balancing on this machine
#[derive(Parser)]
#[command(name = "cargo bench --bench balancer --")]
pub struct Args {
    /// How often everything is measured, each time in the same order
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Contenders; all of them unless some are named. Plain routing is always measured
    #[arg(long, value_delimiter = ',', value_enum)]
    contender: Vec<Contender>,
    /// How long each load lasts
    #[arg(long, default_value = "2s", value_parser = labctl::topology::duration)]
    each: Duration,
    /// One round of half a second each: shows that it works, and measures little
    #[arg(long)]
    quick: bool,
    /// What open connections keep of their rate while 100,000 SYNs a second come in, instead
    #[arg(long, group = "instead")]
    flood: bool,
    /// How long a change of a service's table takes, instead
    #[arg(long, group = "instead")]
    change: bool,
    /// What of the work of downloads is the director's, instead
    #[arg(long, group = "instead")]
    share: bool,
    /// Where the page goes
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"))]
    out: PathBuf,
    /// Cargo says so to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, port] = arguments.as_slice()
        && verb == serve::VERB
    {
        return serve::run(port);
    }
    let mut args = Args::parse();
    if args.quick {
        (args.rounds, args.each) = (1, Duration::from_millis(500));
    }
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            eprintln!("take charge of Ctrl-C: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (name, (mut text, done)) = match (args.flood, args.change, args.share) {
        (true, ..) => ("balancer-flood.md", flood::measure(&args, &interrupts)),
        (_, true, _) => ("balancer-change.md", change::measure(&args, &interrupts)),
        (_, _, true) => ("balancer-share.md", share::measure(&args, &interrupts)),
        _ => ("balancer.md", compare(&args, &interrupts)),
    };
    if let Err(error) = &done {
        text += &format!("- INCOMPLETE: {error}\n");
    }
    print!("{text}");
    let path = args.out.join(name);
    if let Err(error) = std::fs::create_dir_all(&args.out).and_then(|()| std::fs::write(&path, text)) {
        eprintln!("write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    eprintln!("{}", path.display());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args, interrupts: &Interrupts) -> (String, Result<(), Error>) {
    let mut page = Page::begin(args);
    let done = measure(args, interrupts, &mut page);
    (page.markdown(), done)
}

/// All sites are up all the time, and idle but for the one that is measured. One that does not come up is left out, with
/// the reason on the page.
fn measure(args: &Args, interrupts: &Interrupts, page: &mut Page) -> Result<(), Error> {
    let program = rig::Program::visible_to_nodes()?;
    let mut rigs = Vec::new();
    for contender in Contender::ALL {
        if !(contender.is_plain() || args.contender.is_empty() || args.contender.contains(&contender)) {
            continue;
        }
        eprintln!("up: {}", contender.word());
        match Rig::up(contender, &program) {
            Ok(rig) => rigs.push(rig),
            Err(error) if contender.is_plain() => return Err(error),
            Err(error) => page.skip(contender, error.to_string()),
        }
    }
    for round in 1..=args.rounds {
        for kind in Kind::ALL {
            for rig in &rigs {
                interrupts.check()?;
                eprintln!("round {round} of {}: {}, {}", args.rounds, kind.word(), rig.contender.word());
                let outcome = rig.load(kind, args.each);
                page.add(rig.contender, kind, round, outcome);
            }
        }
    }
    Ok(())
}
