//! A flood of SYNs from addresses that nobody has, through every way of balancing and through plain routing: what of their rate
//! connections keep that are open, whether any breaks, and whether the director forgets one.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use etherparse::PacketBuilder;
use labctl::kernel::link::Mac;
use labctl::kernel::netlink::Netlink;
use labctl::kernel::packet::{FrameSocket, Port};
use labctl::kernel::{namespace, realtime};

use super::Args;
use super::contender::{Contender, DIRECTOR, FRONT, ROUTER};
use super::lab::{Error, Interrupts};
use super::page::{figure, machine, median};
use super::rig::{Program, Rig};
use super::visitors::{Pace, Visitors};

/// SYNs a second, and for how long.
const SYNS_PER_S: u32 = 100_000;
const LASTS: Duration = Duration::from_secs(5);
/// They leave in portions, one in each of these times.
const PORTION_EVERY: Duration = Duration::from_millis(1);
/// A sender that is late by more than this lets the rest go.
const LATE_MAX: Duration = Duration::from_millis(5);
/// Before each measurement, until it runs evenly.
const SETTLE: Duration = Duration::from_millis(500);
/// The network that the sources seem to be in: one for measurements (RFC 2544), behind the router.
const SOURCES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const SOURCES_COUNT: u32 = 1 << 17;
/// From one to the next, so that neighbours do not follow each other: odd, so that all come.
const STRIDE: u32 = 0x9e37_79b9;
/// Those who are measured unless some are named.
const USUAL: [Contender; 5] =
    [Contender::Plain, Contender::PlainOneWay, Contender::Nat, Contender::Tun, Contender::Dr];

/// What became of open connections.
struct Outcome {
    calm: f64,
    flooded: f64,
    syns_per_s: f64,
    broken: usize,
    /// Open connections that the director gave to somebody anew, having forgotten them.
    forgotten: Option<u64>,
    /// Open connections that its table has after the flood.
    remembered: Option<usize>,
}

/// Measures, one site after the other, so that nobody else is awake.
pub fn measure(args: &Args, interrupts: &Interrupts) -> (String, Result<(), Error>) {
    let begun = machine();
    let mut rows: Vec<(Contender, Pace, Vec<Outcome>)> = Vec::new();
    let done = measure_all(args, interrupts, &mut rows);
    (page(&begun, args, &rows), done)
}

fn measure_all(
    args: &Args,
    interrupts: &Interrupts,
    rows: &mut Vec<(Contender, Pace, Vec<Outcome>)>,
) -> Result<(), Error> {
    let program = Program::visible_to_nodes()?;
    let named: Vec<Contender> = match args.contender.as_slice() {
        [] => USUAL.to_vec(),
        some => some.to_vec(),
    };
    for round in 1..=args.rounds {
        for &contender in &named {
            let rig = Rig::with_a_router(contender, &program)?;
            for pace in Pace::ALL {
                interrupts.check()?;
                eprintln!("round {round} of {}: {}, {}", args.rounds, contender.word(), pace.word());
                let outcome = measure_one(&rig, pace, if args.quick { args.each } else { LASTS })?;
                eprintln!(
                    "  {:.0} answers a second, with {:.0} SYNs a second {:.0} ({:.2}); {} broken",
                    outcome.calm,
                    outcome.syns_per_s,
                    outcome.flooded,
                    outcome.flooded / outcome.calm,
                    outcome.broken
                );
                match rows.iter_mut().find(|(of, at, _)| (*of, *at) == (contender, pace)) {
                    Some((_, _, outcomes)) => outcomes.push(outcome),
                    None => rows.push((contender, pace, vec![outcome])),
                }
            }
        }
    }
    Ok(())
}

fn measure_one(rig: &Rig, pace: Pace, lasts: Duration) -> Result<Outcome, Error> {
    let visitors = Visitors::default();
    let measured = thread::scope(|scope| {
        visitors.come(rig, pace, scope)?;
        let measured = between(rig, &visitors, lasts);
        visitors.go();
        measured
    });
    let (calm, flooded, syns_per_s, [before, after]) = measured?;
    let missed = |listing: &Option<serde_json::Value>| listing.as_ref()?["counters"]["missed"].as_u64();
    let is_remembered = |end: &&SocketAddr| {
        let shown = after.as_ref().and_then(|listing| listing["connections"]["shown"].as_array());
        shown.is_some_and(|all| all.iter().any(|one| one["client"] == end.to_string()))
    };
    Ok(Outcome {
        calm,
        flooded,
        syns_per_s,
        broken: visitors.broken().len(),
        forgotten: missed(&after).zip(missed(&before)).map(|(after, before)| after - before),
        remembered: after.as_ref().map(|_| visitors.connected().iter().filter(is_remembered).count()),
    })
}

type Measured = (f64, f64, f64, [Option<serde_json::Value>; 2]);

/// The same connections in peace, and in a flood.
fn between(rig: &Rig, visitors: &Visitors, lasts: Duration) -> Result<Measured, Error> {
    thread::sleep(SETTLE);
    let calm = visitors.rate(lasts);
    let before = rig.listing()?;
    let (director, router) = (rig.enter(DIRECTOR)?, rig.enter(ROUTER)?);
    let to = Port::inside(director.as_fd(), FRONT).map_err(Error::unfit)?.mac;
    let targets: Vec<SocketAddr> = rig.contender.targets();
    let stop = AtomicBool::new(false);
    let (flooded, sent) = thread::scope(|scope| {
        let pour = || namespace::inside(router.as_fd(), || pour(to, &targets, &stop));
        let flood = scope.spawn(pour);
        let flooded = visitors.rate(lasts);
        stop.store(true, Ordering::Relaxed);
        (flooded, flood.join().expect("a flood does not panic"))
    });
    let syns_per_s = sent.map_err(Error::unfit)??;
    Ok((calm, flooded, syns_per_s, [before, rig.listing()?]))
}

/// Sends SYNs until told to stop; says how many a second those were. In the router's network.
fn pour(to: Mac, targets: &[SocketAddr], stop: &AtomicBool) -> Result<f64, Error> {
    // It stands for other machines, which do not wait until this one has time for them.
    realtime::observe_first().map_err(Error::unfit)?;
    let mut netlink = Netlink::open().map_err(Error::unfit)?;
    let port = Port::find(&mut netlink, FRONT).map_err(Error::unfit)?;
    let socket = FrameSocket::open(&port).map_err(Error::unfit)?;
    let portion = SYNS_PER_S / (1000 / PORTION_EVERY.as_millis() as u32);
    let (mut sent, began) = (0_u32, Instant::now());
    let mut due = began;
    let mut frame = Vec::with_capacity(128);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..portion {
            let Some(SocketAddr::V4(target)) = targets.get(sent as usize % targets.len()) else { continue };
            frame.clear();
            let number = sent.wrapping_mul(STRIDE);
            let source = Ipv4Addr::from_bits(SOURCES.to_bits() + number % SOURCES_COUNT);
            let source_port = 1024 + (sent / SOURCES_COUNT * 7919 + number % 60_000) as u16 % 60_000;
            let syn = PacketBuilder::ethernet2(port.mac, to)
                .ipv4(source.octets(), target.ip().octets(), 64)
                .tcp(source_port, target.port(), number, 64_240)
                .syn();
            syn.write(&mut frame, &[]).map_err(Error::unfit)?;
            match socket.send(&frame) {
                // A full queue is what a flood may meet.
                Ok(()) => sent = sent.wrapping_add(1),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        due += PORTION_EVERY;
        let now = Instant::now();
        due = due.max(now.checked_sub(LATE_MAX).unwrap_or(now));
        thread::sleep(due.saturating_duration_since(now));
    }
    Ok(f64::from(sent) / began.elapsed().as_secs_f64())
}

fn page(begun: &str, args: &Args, rows: &[(Contender, Pace, Vec<Outcome>)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "",
        "visitors ask",
        "answers/s",
        "in the flood",
        "ratio",
        "plain's ratio",
        "SYNs/s",
        "broken",
        "forgotten",
        "n",
    ]);
    let of = |outcomes: &[Outcome], figure: &dyn Fn(&Outcome) -> f64| {
        median(outcomes.iter().map(figure).collect())
    };
    let kept = |outcome: &Outcome| outcome.flooded / outcome.calm;
    for (contender, pace, outcomes) in rows {
        let ceiling = rows.iter().find(|(of, at, _)| (*of, at) == (contender.ceiling(), pace));
        let most = |figure: fn(&Outcome) -> Option<u64>| {
            outcomes.iter().filter_map(figure).max().map_or("-".to_owned(), |most| most.to_string())
        };
        table.add_row([
            contender.word().to_owned(),
            pace.word().to_owned(),
            figure(of(outcomes, &|it| it.calm)),
            figure(of(outcomes, &|it| it.flooded)),
            figure(of(outcomes, &kept)),
            figure(ceiling.and_then(|(_, _, outcomes)| of(outcomes, &kept))),
            figure(of(outcomes, &|it| it.syns_per_s)),
            most(|it| Some(it.broken as u64)),
            most(|it| it.forgotten.max(it.remembered.map(|had| (super::visitors::COUNT - had) as u64))),
            outcomes.len().to_string(),
        ]);
    }
    let mut text = format!("## labctl bench: balancer in a flood\n\n{begun}\n\n{table}\n\n");
    let lasts = if args.quick { args.each } else { LASTS };
    let notes = [
        format!(
            "{} connections that were opened before ask for {} bytes each time, {lasts:?} in peace and {lasts:?} in a flood of \
             {SYNS_PER_S} SYNs a second from {SOURCES_COUNT} addresses that nobody has; medians of the rounds",
            super::visitors::COUNT,
            super::visitors::ANSWER_BYTES
        ),
        "the sender, the director, both real servers and the visitors share the machine: who asks as fast as he can loses what the \
         flood takes of its processors, with plain routing as well"
            .to_owned(),
        "SYNs/s: those that really left; broken, forgotten: the most of any round. Forgotten is a connection that the director \
         had to give to a real server anew, or that its table does not have any more"
            .to_owned(),
    ];
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    text
}
