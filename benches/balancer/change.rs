//! How long a change of a service's table takes while connections are open and busy: until no packet sees the old table any
//! more. The data plane is this program's own, on the director of a site that has no other.

use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use labctl::balancer::{Endpoint, Method, Real, SLOTS, Scheduler, Service};
use labctl::dataplane::ebpf::EbpfPlane;
use labctl::dataplane::{Plane as _, Settings, Switch};
use labctl::kernel::namespace;

use super::Args;
use super::contender::{Contender, DIRECTOR, FRONT, PORT, REALS, VIP};
use super::lab::{Error, Interrupts};
use super::page::{figure, machine, median};
use super::rig::{Program, Rig};
use super::visitors::{self, Pace, Visitors};

/// How often the table is changed, and how long it rests in between.
const CHANGES: usize = 20;
const REST: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_millis(500);
/// Real servers of the service: those of the site, and as many as a service can have.
const COUNTS: [usize; 2] = [2, 256];

/// How 20 changes went.
struct Outcome {
    reals: usize,
    pace: Option<Pace>,
    took_ms: Vec<f64>,
    answers_per_s: f64,
    broken: usize,
    forgotten: u64,
}

pub fn measure(_args: &Args, interrupts: &Interrupts) -> (String, Result<(), Error>) {
    let begun = machine();
    let mut outcomes = Vec::new();
    let done = measure_all(interrupts, &mut outcomes);
    (page(&begun, &outcomes), done)
}

fn measure_all(interrupts: &Interrupts, outcomes: &mut Vec<Outcome>) -> Result<(), Error> {
    let program = Program::visible_to_nodes()?;
    // Nobody balances there, so nobody is in the way.
    let rig = Rig::up(Contender::Plain, &program)?.aimed_at_the_service();
    let settings = Settings {
        inside: vec!["10.10.1.0/24".parse().map_err(Error::unfit)?],
        ..Settings::between(FRONT, "back")
    };
    let attach = || EbpfPlane::attach(settings);
    let attached = namespace::inside(rig.enter(DIRECTOR)?.as_fd(), attach).map_err(Error::unfit)?;
    let (mut plane, mut switch): (EbpfPlane, Switch) = attached.map_err(Error::unfit)?;
    plane.install(&[service(COUNTS[0], 1)]).map_err(Error::unfit)?;
    switch.set(true).map_err(Error::unfit)?;
    for reals in COUNTS {
        for pace in [None, Some(Pace::Steady), Some(Pace::Greedy)] {
            interrupts.check()?;
            // Whoever connects meets somebody who is there.
            plane.install(&[service(COUNTS[0], 1)]).map_err(Error::unfit)?;
            let outcome = measure_one(&rig, &mut plane, reals, pace)?;
            eprintln!(
                "{reals} real servers, {}: {:.1} ms, at most {:.1} ms; {} broken",
                pace.map_or("nobody asks", Pace::word),
                median(outcome.took_ms.clone()).unwrap_or_default(),
                outcome.took_ms.iter().copied().fold(0.0, f64::max),
                outcome.broken
            );
            outcomes.push(outcome);
        }
    }
    Ok(())
}

fn measure_one(rig: &Rig, plane: &mut EbpfPlane, reals: usize, pace: Option<Pace>) -> Result<Outcome, Error> {
    let visitors = Visitors::default();
    thread::scope(|scope| {
        if let Some(pace) = pace {
            visitors.come(rig, pace, scope)?;
        }
        let changed = change(plane, &visitors, reals);
        visitors.go();
        changed
    })
    .map(|(took_ms, answers_per_s, forgotten)| Outcome {
        reals,
        pace,
        took_ms,
        answers_per_s,
        broken: visitors.broken().len(),
        forgotten,
    })
}

fn change(plane: &mut EbpfPlane, visitors: &Visitors, reals: usize) -> Result<(Vec<f64>, f64, u64), Error> {
    visitors.rate(SETTLE);
    let before = plane.stats().map_err(Error::unfit)?.missed;
    let mut took_ms = Vec::with_capacity(CHANGES);
    let mut rates = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let wanted = service(reals, 1 + (number % 2) as u32 * 2);
        let began = Instant::now();
        plane.install(&[wanted]).map_err(Error::unfit)?;
        took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        rates.push(visitors.rate(REST));
    }
    let missed = plane.stats().map_err(Error::unfit)?.missed - before;
    Ok((took_ms, median(rates).unwrap_or_default(), missed))
}

/// The service with so many real servers, of which the first has that weight. Two of them are there.
fn service(count: usize, weight: u32) -> Service {
    let there = REALS.map(std::net::IpAddr::from);
    let absent = (0..).map(|number: u32| std::net::IpAddr::from([10, 10, 1, 100 + (number % 100) as u8]));
    let reals = there.into_iter().chain(absent).take(count).enumerate().map(|(at, address)| Real {
        name: format!("web{at:03}"),
        endpoint: Endpoint::tcp(address, PORT + (at.saturating_sub(REALS.len()) / 100) as u16),
        weight: if at == 0 { weight } else { 1 },
        available: true,
    });
    Service {
        address: Endpoint::tcp(VIP, PORT),
        method: Method::Nat,
        scheduler: Scheduler::Maglev,
        reals: reals.collect(),
    }
}

fn page(begun: &str, outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "real servers",
        "visitors ask",
        "median ms",
        "most ms",
        "answers/s",
        "broken",
        "forgotten",
    ]);
    for outcome in outcomes {
        table.add_row([
            outcome.reals.to_string(),
            outcome.pace.map_or("not at all", Pace::word).to_owned(),
            figure(median(outcome.took_ms.clone())),
            figure(outcome.took_ms.iter().copied().reduce(f64::max)),
            figure(Some(outcome.answers_per_s)),
            outcome.broken.to_string(),
            outcome.forgotten.to_string(),
        ]);
    }
    let mut text = format!("## labctl bench: change of a table\n\n{begun}\n\n{table}\n\n");
    let _ = writeln!(
        text,
        "- {CHANGES} changes of the Maglev table of {SLOTS} slots, one every {REST:?}: the weight of one real server changes. Each \
         takes until the table is made, installed, and seen by all packets\n- {} connections that were opened before ask for {} \
         bytes each time; forgotten are those that the director had to give to a real server anew",
        visitors::COUNT,
        visitors::ANSWER_BYTES
    );
    text
}
