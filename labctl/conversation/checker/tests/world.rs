//! Random histories: of a memory that keeps its word, and of one that does not. Times are small numbers, so that
//! operations overlap, and touch, all the time.

use std::num::NonZeroU32;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::conversation::history::{Append, Ended, History, MonotonicNs, Server, Teller, Telling};
use crate::conversation::names::{ConversationId, TurnKey};

/// Every operation but the late effects of unknown ones is over by then.
const TRANSCRIPTS_FROM: MonotonicNs = 40;
/// So few keys that retries are the rule.
const KEYS: u8 = 5;

/// What one client does.
#[derive(Clone, Debug)]
enum Act {
    /// Is told that the turn was taken, at some point between beginning and end.
    Said,
    /// Is told nothing; the turn is taken after a while, if at all.
    Unknown { taken_after: Option<MonotonicNs> },
    /// Is told that the turn was refused, and it was.
    Refused,
    /// Reads.
    Reads,
}

#[derive(Clone, Debug)]
struct Plan {
    key: u8,
    begins: MonotonicNs,
    point: MonotonicNs,
    lasts: MonotonicNs,
    act: Act,
}

/// A change that a memory, or whoever wrote the history, had no right to make; some change nothing that matters.
#[derive(Clone, Debug)]
enum Lie {
    Forget(Index, Index),
    Swap(Index, Index),
    Repeat(Index, Index),
    Invent(Index, Index),
    Truncate(Index),
    Misplace(Index),
    Claim(Index),
    Doubt(Index),
    Deny(Index),
    Delay(Index, MonotonicNs),
    Hurry(Index, MonotonicNs),
    DelayReading(Index, MonotonicNs),
}

pub(super) fn key(n: u8) -> TurnKey {
    format!("k{n}").parse().unwrap()
}

fn plan() -> impl Strategy<Value = Plan> {
    let act = prop_oneof![
        5 => Just(Act::Said),
        2 => proptest::option::of(0u64..30).prop_map(|taken_after| Act::Unknown { taken_after }),
        1 => Just(Act::Refused),
        3 => Just(Act::Reads),
    ];
    (0..KEYS, 0u64..24, 0u64..6, 0u64..6, act).prop_map(|(key, begins, point, rest, act)| Plan {
        key,
        begins,
        point: begins + point,
        lasts: point + rest,
        act,
    })
}

/// The history of a memory that is one list and changes at one point of each operation.
pub(super) fn true_history(most: usize) -> impl Strategy<Value = History> {
    let transcripts = (0u64..8, 0u64..4, 0u64..8, 0u64..4);
    // Larger histories have more keys, or all of their turns would be retries.
    (proptest::collection::vec(plan(), 1..=most), transcripts, 1u8..=4).prop_map(|(mut plans, of, spread)| {
        for (index, plan) in plans.iter_mut().enumerate() {
            plan.key += KEYS * (index % usize::from(spread)) as u8;
        }
        happen(plans, of)
    })
}

fn happen(plans: Vec<Plan>, (first, lasts, second, lasts_too): (u64, u64, u64, u64)) -> History {
    let mut moments: Vec<(MonotonicNs, Option<Plan>)> = plans
        .into_iter()
        .map(|plan| match plan.act {
            Act::Unknown { taken_after: Some(after) } => (plan.begins + after, Some(plan)),
            _ => (plan.point, Some(plan)),
        })
        .collect();
    let asked = [(first, lasts), (second, lasts_too)].map(|(from, lasts)| (TRANSCRIPTS_FROM + from, lasts));
    moments.extend(asked.iter().map(|(from, lasts)| (from + lasts / 2, None)));
    moments.sort_by_key(|(at, _)| *at);

    let mut history = History::default();
    let mut memory: Vec<TurnKey> = Vec::new();
    let mut webs = ["web1", "web2"].iter().zip(&asked);
    let mut sorted_asked: Vec<_> = asked.to_vec();
    sorted_asked.sort_by_key(|(from, lasts)| from + lasts / 2);
    let mut questions = sorted_asked.into_iter();
    for (line, (_, plan)) in (1..).zip(moments) {
        match plan {
            Some(plan) => act(&plan, line, &mut memory, &mut history),
            None => {
                let (web, _) = webs.next().unwrap();
                let (from, lasts) = questions.next().unwrap();
                let teller = Teller::Final { web: (*web).to_owned() };
                history.tellings.push(telling(line, teller, from, from + lasts, &memory));
            }
        }
    }
    history
}

fn act(plan: &Plan, line: usize, memory: &mut Vec<TurnKey>, history: &mut History) {
    let key = key(plan.key);
    let mut take = || match memory.iter().position(|known| *known == key) {
        Some(position) => position,
        None => {
            memory.push(key.clone());
            memory.len() - 1
        }
    };
    let ended = match plan.act {
        Act::Reads => {
            let teller = Teller::Read { who: "reader".to_owned(), by: Server::default() };
            history.tellings.push(telling(line, teller, plan.begins, plan.begins + plan.lasts, memory));
            return;
        }
        Act::Said => Ended::Acknowledged { at_ns: plan.begins + plan.lasts, position: Some(take() as u64) },
        Act::Refused => Ended::Refused,
        Act::Unknown { taken_after } => {
            taken_after.map(|_| take());
            Ended::Unknown
        }
    };
    history.appends.push(Append {
        line,
        who: "author".to_owned(),
        conversation: ConversationId::from([7; 16]),
        key,
        said: None,
        attempt: NonZeroU32::MIN,
        invoked_ns: plan.begins,
        ended,
        by: Server::default(),
    });
}

fn telling(
    line: usize,
    teller: Teller,
    invoked_ns: MonotonicNs,
    completed_ns: MonotonicNs,
    memory: &[TurnKey],
) -> Telling {
    let conversation = ConversationId::from([7; 16]);
    Telling { line, conversation, teller, invoked_ns, completed_ns, keys: memory.to_vec() }
}

/// A true history in which up to two things are not as they were.
pub(super) fn falsified(most: usize) -> impl Strategy<Value = History> {
    (true_history(most), proptest::collection::vec(lie(), 0..=2)).prop_map(|(mut history, lies)| {
        for lie in lies {
            tell(&mut history, &lie);
        }
        history
    })
}

fn lie() -> impl Strategy<Value = Lie> {
    let of = any::<Index>;
    prop_oneof![
        (of(), of()).prop_map(|(telling, turn)| Lie::Forget(telling, turn)),
        (of(), of()).prop_map(|(telling, turn)| Lie::Swap(telling, turn)),
        (of(), of()).prop_map(|(telling, turn)| Lie::Repeat(telling, turn)),
        (of(), of()).prop_map(|(telling, turn)| Lie::Invent(telling, turn)),
        of().prop_map(Lie::Truncate),
        of().prop_map(Lie::Misplace),
        of().prop_map(Lie::Claim),
        of().prop_map(Lie::Doubt),
        of().prop_map(Lie::Deny),
        (of(), 1u64..16).prop_map(|(append, by)| Lie::Delay(append, by)),
        (of(), 1u64..16).prop_map(|(append, by)| Lie::Hurry(append, by)),
        (of(), 1u64..16).prop_map(|(telling, by)| Lie::DelayReading(telling, by)),
    ]
}

fn tell(history: &mut History, lie: &Lie) {
    let (appends, tellings) = (&mut history.appends, &mut history.tellings);
    match lie {
        Lie::Forget(of, turn) | Lie::Swap(of, turn) | Lie::Repeat(of, turn) | Lie::Invent(of, turn) => {
            retell(&mut of.get_mut(tellings).keys, turn, lie);
        }
        Lie::Truncate(of) => {
            of.get_mut(tellings).keys.pop();
        }
        Lie::DelayReading(of, by) => {
            let telling = of.get_mut(tellings);
            if telling.final_of().is_none() {
                telling.invoked_ns += by;
                telling.completed_ns += by;
            }
        }
        _ if appends.is_empty() => {}
        Lie::Misplace(of) => {
            if let Ended::Acknowledged { position: Some(position), .. } = &mut of.get_mut(appends).ended {
                *position += 1;
            }
        }
        Lie::Claim(of) => {
            let append = of.get_mut(appends);
            append.ended = Ended::Acknowledged { at_ns: append.invoked_ns + 3, position: None };
        }
        Lie::Doubt(of) => of.get_mut(appends).ended = Ended::Unknown,
        Lie::Deny(of) => of.get_mut(appends).ended = Ended::Refused,
        Lie::Delay(of, by) => shift(of.get_mut(appends), |ns| (ns + by).min(TRANSCRIPTS_FROM - 1)),
        Lie::Hurry(of, by) => shift(of.get_mut(appends), |ns| ns.saturating_sub(*by)),
    }
}

fn shift(append: &mut Append, to: impl Fn(MonotonicNs) -> MonotonicNs) {
    append.invoked_ns = to(append.invoked_ns);
    if let Ended::Acknowledged { at_ns, .. } = &mut append.ended {
        *at_ns = to(*at_ns);
    }
}

fn retell(keys: &mut Vec<TurnKey>, turn: &Index, lie: &Lie) {
    let at = if keys.is_empty() { 0 } else { turn.index(keys.len()) };
    match lie {
        Lie::Invent(..) => keys.insert(at, key(200)),
        _ if keys.is_empty() => {}
        Lie::Forget(..) => {
            keys.remove(at);
        }
        Lie::Swap(..) => {
            let other = (at + 1) % keys.len();
            keys.swap(at, other);
        }
        _ => keys.push(keys[at].clone()),
    }
}
