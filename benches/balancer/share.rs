//! What of the work of downloads is the director's: the bytes that pass it, and the processor time of its programs, by the kernel's
//! own count. The rest of a packet's way through a director (its cables, its routes) the kernel does in the name of whoever runs
//! at the moment, so that nobody can say whose it was.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::time::Duration;

use aya::programs::loaded_programs;
use comfy_table::{Table, presets};
use labctl::kernel::netlink::Netlink;
use labctl::kernel::{namespace, traffic};

use super::Args;
use super::contender::{Contender, DIRECTOR};
use super::lab::{Error, Interrupts};
use super::load::Kind;
use super::page::{figure, machine, median};
use super::rig::{Program, Rig};

/// Those whose programs are counted.
const METHODS: [Contender; 3] = [Contender::Nat, Contender::Tun, Contender::Dr];
/// The director's programs.
const PROGRAMS: [&str; 2] = ["from_street", "from_reals"];

/// What one round of downloads was.
struct Outcome {
    gb_per_s: f64,
    /// Bytes that passed the director, both ways, for each that the client got.
    passed: f64,
    /// Packets that its programs looked at, for each megabyte that the client got.
    packets: f64,
    /// Processor time of its programs for that, and of the whole machine.
    programs_us: f64,
    machine_us: f64,
}

pub fn measure(args: &Args, interrupts: &Interrupts) -> (String, Result<(), Error>) {
    let begun = machine();
    let mut outcomes = BTreeMap::new();
    let done = measure_all(args, interrupts, &mut outcomes);
    (page(&begun, args, &outcomes), done)
}

fn measure_all(
    args: &Args,
    interrupts: &Interrupts,
    outcomes: &mut BTreeMap<Contender, Vec<Outcome>>,
) -> Result<(), Error> {
    let program = Program::visible_to_nodes()?;
    let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(Error::unfit)?;
    for round in 1..=args.rounds {
        for contender in METHODS {
            interrupts.check()?;
            eprintln!("round {round} of {}: {}", args.rounds, contender.word());
            // One at a time: the kernel tells programs of one name apart by numbers only.
            let rig = Rig::up(contender, &program)?;
            outcomes.entry(contender).or_default().push(measure_one(&rig, args.each)?);
        }
    }
    Ok(())
}

fn measure_one(rig: &Rig, each: Duration) -> Result<Outcome, Error> {
    let (passed_before, runs_before) = (passed(rig)?, runs()?);
    let outcome = rig.load(Kind::Download, each).map_err(Error::Unfit)?;
    let (passed_after, runs_after) = (passed(rig)?, runs()?);
    let bytes = outcome.rate * outcome.took_s * 1e9;
    let megabytes = bytes / 1e6;
    Ok(Outcome {
        gb_per_s: outcome.rate,
        passed: (passed_after - passed_before) as f64 / bytes,
        packets: (runs_after.0 - runs_before.0) as f64 / megabytes,
        programs_us: (runs_after.1 - runs_before.1).as_secs_f64() * 1e6 / megabytes,
        machine_us: outcome.cpu_s * 1e6 / 1e3,
    })
}

/// Bytes that came to the director and left it, by whatever cable.
fn passed(rig: &Rig) -> Result<u64, Error> {
    let director = rig.enter(DIRECTOR)?;
    let count = || traffic::passed(&mut Netlink::open()?);
    let passed = namespace::inside(director.as_fd(), count).map_err(Error::unfit)?.map_err(Error::unfit)?;
    let cables = passed.iter().filter(|(name, _)| *name != "lo");
    Ok(cables.map(|(_, passed)| passed.received + passed.sent).sum())
}

/// How often the director's programs ran so far, and how long.
fn runs() -> Result<(u64, Duration), Error> {
    let mut sum = (0, Duration::ZERO);
    for program in loaded_programs() {
        // One that ends while we look is nobody's.
        let Ok(program) = program else { continue };
        if program.name_as_str().is_some_and(|name| PROGRAMS.contains(&name)) {
            sum = (sum.0 + program.run_count(), sum.1 + program.run_time());
        }
    }
    Ok(sum)
}

fn page(begun: &str, args: &Args, outcomes: &BTreeMap<Contender, Vec<Outcome>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "",
        "GB/s",
        "bytes through the director by bytes downloaded",
        "its packets/MB",
        "its programs us/MB",
        "whole machine us/MB",
        "n",
    ]);
    for (contender, outcomes) in outcomes {
        let of = |of: &dyn Fn(&Outcome) -> f64| figure(median(outcomes.iter().map(of).collect()));
        table.add_row([
            contender.word().to_owned(),
            of(&|it| it.gb_per_s),
            of(&|it| it.passed),
            of(&|it| it.packets),
            of(&|it| it.programs_us),
            of(&|it| it.machine_us),
            outcomes.len().to_string(),
        ]);
    }
    let mut text = format!("## labctl bench: the director's share of downloads\n\n{begun}\n\n{table}\n\n");
    let _ = writeln!(
        text,
        "- medians of {} rounds of {:?}, each method alone on the machine; packets as the director sees them: the kernel hands it up to \
         64 KB at once\n- its programs: the run time that the kernel counts for the eBPF programs of the director. What its cables \
         and routes cost is part of the whole machine's time, and of nobody's in particular",
        args.rounds, args.each
    );
    text
}
