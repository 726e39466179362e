//! How long `labctl check` takes over 200,000 operations: `cargo bench --bench checker`. It times reading the format and
//! deciding apart, on histories that it makes up; files and processes are left out. Besides the time that passed it says
//! how long a processor was at work, which depends less on what else the machine does.

#![expect(clippy::disallowed_methods, reason = "a benchmark owns a clock")]

use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use labctl::conversation::checker::{Demand, Verdict, check};
use labctl::conversation::history::{Append, Ended, History, Server, Teller, Telling};
use labctl::conversation::{ConversationId, TurnKey};
use nix::time::{ClockId, clock_gettime};

const OPERATIONS: usize = 200_000;
/// Operations in a conversation of the history of many: nine appends to one read.
const SHORT: usize = 100;
const RUNS: usize = 11;
/// From one operation to the next, and how long each takes: so that some hundred overlap.
const EVERY_NS: usize = 10_000;
const LASTS_NS: usize = 1_000_000;

fn main() {
    let text = many_short();
    let many = History::parse(text.as_bytes()).expect("a history");
    let one = one_long();
    println!("| {OPERATIONS} operations, medians of {RUNS} | passed ms | at work ms |\n|---|---:|---:|");
    let read = || drop(History::parse(text.as_bytes()).expect("a history"));
    measure(&format!("read {} MB", text.len() / 1_000_000), read);
    let judge = |history| {
        let verdict = check(history, &Demand::default()).verdict;
        assert_eq!(verdict, Verdict::Consistent);
    };
    measure(&format!("judge {} conversations", OPERATIONS / SHORT), || judge(&many));
    measure("judge one conversation", || judge(&one));
}

fn measure(name: &str, work: impl Fn()) {
    let (mut passed, mut at_work): (Vec<_>, Vec<_>) = (0..RUNS)
        .map(|_| {
            let (began, began_work) = (Instant::now(), processor_time());
            work();
            (began.elapsed(), processor_time() - began_work)
        })
        .unzip();
    passed.sort_unstable();
    at_work.sort_unstable();
    println!("| {name} | {:.0} | {:.0} |", ms(passed[RUNS / 2]), ms(at_work[RUNS / 2]));
}

fn processor_time() -> Duration {
    let of_process = ClockId::CLOCK_PROCESS_CPUTIME_ID;
    Duration::from(clock_gettime(of_process).expect("every Linux has this clock"))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Conversations that go on at the same time; every tenth turn times out at first, and every tenth operation reads.
fn many_short() -> String {
    let conversations = OPERATIONS / SHORT;
    let mut kept: Vec<Vec<String>> = vec![Vec::new(); conversations];
    let mut text = String::new();
    for index in 0..OPERATIONS {
        let (conversation, step) = (index % conversations, index / conversations);
        let (from, to) = (index * EVERY_NS, index * EVERY_NS + LASTS_NS);
        let known = &mut kept[conversation];
        let common =
            format!(r#""who":"c{conversation}","conversation":"{conversation:032x}","invoked_ns":{from}"#);
        let written = match step % 10 {
            9 => writeln!(
                text,
                r#"{{"kind":"read",{common},"completed_ns":{to},"result":"ok","keys":["{}"]}}"#,
                known.join("\",\"")
            ),
            8 => writeln!(
                text,
                r#"{{"kind":"append",{common},"key":"turn-{}","said":"hello","result":"info"}}"#,
                step + 2
            ),
            _ => {
                known.push(format!("turn-{step}"));
                writeln!(
                    text,
                    r#"{{"kind":"append",{common},"completed_ns":{to},"key":"turn-{step}","said":"hello","result":"ok","position":{},"served_by":"web1"}}"#,
                    known.len() - 1
                )
            }
        };
        written.expect("memory can be written");
    }
    for (conversation, known) in kept.iter().enumerate() {
        for web in ["web1", "web2"] {
            let (from, to) = (2 * OPERATIONS * EVERY_NS, 2 * OPERATIONS * EVERY_NS + LASTS_NS);
            let keys = known.join("\",\"");
            writeln!(
                text,
                r#"{{"kind":"transcript","conversation":"{conversation:032x}","web":"{web}","invoked_ns":{from},"completed_ns":{to},"keys":["{keys}"]}}"#
            )
            .expect("memory can be written");
        }
    }
    text
}

/// One conversation that is longer than the application allows, with a hundred authors at any time.
fn one_long() -> History {
    let conversation = ConversationId::from([1; 16]);
    let keys: Vec<TurnKey> =
        (0..OPERATIONS).map(|index| format!("turn-{index}").parse().expect("a key")).collect();
    let appends = keys.iter().enumerate().map(|(index, key)| Append {
        line: index + 1,
        who: "somebody".to_owned(),
        conversation,
        key: key.clone(),
        said: None,
        attempt: NonZeroU32::MIN,
        invoked_ns: (index * EVERY_NS) as u64,
        ended: Ended::Acknowledged {
            at_ns: (index * EVERY_NS + LASTS_NS) as u64,
            position: Some(index as u64),
        },
        by: Server::default(),
    });
    let end_ns = (2 * OPERATIONS * EVERY_NS) as u64;
    let transcript = Telling {
        line: OPERATIONS + 1,
        conversation,
        teller: Teller::Final { web: "web1".to_owned() },
        invoked_ns: end_ns,
        completed_ns: end_ns + LASTS_NS as u64,
        keys: keys.clone(),
    };
    History { appends: appends.collect(), tellings: vec![transcript], ..History::default() }
}
