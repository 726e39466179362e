//! Whatever happens to two webs and their witness: every acknowledged turn stays, no answer contradicts another, and they become a
//! pair again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::Flaw;
use super::world::{Cable, Deed, Fault, Moment, Site};
use crate::conversation::checker::{Demand, Verdict, check};

/// Cases of a property, unless `PROPTEST_CASES` says otherwise: as many as a few seconds have room for.
pub(super) fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(default), max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

/// What happens to a site.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) faults: Vec<(u16, Fault)>,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::First), Just(Side::Second)]
}

fn span() -> impl Strategy<Value = u16> {
    prop_oneof![2 => 1..120u16, 3 => 100..700u16, 2 => 500..2_500u16]
}

fn ambush() -> impl Strategy<Value = Fault> {
    let moment = prop_oneof![
        Just(Moment::Hello),
        Just(Moment::Snapshot),
        Just(Moment::Piece),
        Just(Moment::PairUp),
        Just(Moment::Joined),
        Just(Moment::Replicate),
        Just(Moment::Applied),
        Just(Moment::AsksAlone),
        Just(Moment::AsksPair),
        Just(Moment::AsksFound),
    ];
    let deed = prop_oneof![
        2 => Just(Deed::Cut),
        2 => Just(Deed::Reset),
        1 => any::<bool>().prop_map(|speaker| Deed::CutFromWitness { speaker }),
        2 => any::<bool>().prop_map(|speaker| Deed::Freeze { speaker }),
        2 => any::<bool>().prop_map(|speaker| Deed::Kill { speaker }),
    ];
    (moment, deed, span()).prop_map(|(at, deed, ms)| Fault::Ambush { at, deed, ms })
}

fn fault() -> impl Strategy<Value = Fault> {
    let cable = prop_oneof![
        3 => Just(Cable::Webs),
        1 => side().prop_map(Cable::Witness),
    ];
    prop_oneof![
        6 => (cable, span()).prop_map(|(cable, ms)| Fault::Cut { cable, ms }),
        3 => Just(Fault::Reset),
        1 => (0..3u8).prop_map(|how| Fault::Mangle { how }),
        4 => (side(), span(), any::<bool>()).prop_map(|(web, ms, mid)| Fault::Freeze { web, ms, mid }),
        3 => (side(), 1..1_500u16, any::<bool>()).prop_map(|(web, ms, loud)| Fault::Restart { web, ms, loud }),
        1 => (1..1_500u16).prop_map(|ms| Fault::RestartWitness { ms }),
        1 => (1..1_500u16).prop_map(|ms| Fault::WipeWitness { ms }),
        6 => ambush(),
    ]
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let gap = prop_oneof![3 => 0..40u16, 3 => 20..400u16, 2 => 300..1_200u16];
    (any::<u64>(), prop::collection::vec((gap, fault()), 0..9))
        .prop_map(|(seed, faults)| Case { seed, faults })
}

/// What a run showed, if nothing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shown {
    /// Every turn stayed.
    Consistent,
    /// All who had everything were restarted, and that was told.
    MemoryLost,
}

/// Plays a case to its end.
pub(super) fn play(
    case: &Case,
    degrade: Degrade,
    flaw: Option<Flaw>,
    aloud: bool,
) -> (Site, Result<Shown, String>) {
    let mut site = Site::new(degrade, case.seed);
    if let Some(flaw) = flaw {
        site = site.with_flaw(flaw);
    }
    if aloud {
        site.record();
    }
    let result = play_on(&mut site, case);
    (site, result)
}

fn play_on(site: &mut Site, case: &Case) -> Result<Shown, String> {
    site.run_for(Duration::from_millis(150))?;
    site.open();
    let mut after = Duration::from_millis(100);
    for (gap, fault) in &case.faults {
        after += Duration::from_millis((*gap).into());
        site.plan(after, *fault);
    }
    site.run_for(after + Duration::from_millis(50))?;
    site.heal()?;
    for web in [Side::First, Side::Second] {
        if site.state(web) != Some(State::Paired) {
            return Err(format!("{web} is {:?} in the end", site.state(web)));
        }
    }
    if site.lost_memory() {
        let told = site.told.iter().any(|(_, notice)| matches!(notice, Notice::MemoryLost { .. }));
        let told = told || site.began_again();
        // Whoever was to tell it may have been killed before; the next beginning is told then.
        return if told {
            Ok(Shown::MemoryLost)
        } else {
            Err("memory was lost, and nobody says so".to_owned())
        };
    }
    site.read_back()?;
    let judgement = check(&site.history, &Demand::default());
    match judgement.verdict {
        Verdict::Consistent => Ok(Shown::Consistent),
        Verdict::Contradiction | Verdict::Vacuous => {
            Err(format!("{:#?}\n{:?}", judgement.story, judgement.shortfalls))
        }
    }
}

/// Without permission turns may be lost. What both webs had acknowledged while they were alone is counted by the one that gave way;
/// what one had when it was killed, nobody knows any more.
fn loses_nothing_unsaid(case: &Case) -> Result<(), String> {
    let kills = |fault: &Fault| {
        matches!(fault, Fault::Restart { .. } | Fault::Ambush { deed: Deed::Kill { .. }, .. })
    };
    let killed = case.faults.iter().any(|(_, fault)| kills(fault));
    let (site, result) = play(case, Degrade::Always, None, false);
    let diverged = site.told.iter().any(|(_, notice)| matches!(notice, Notice::Diverged { turns_lost: 1.. }));
    match result {
        Err(wrong) if wrong.contains("claim: Lost") && !killed && !diverged => Err(wrong),
        Err(wrong) if wrong.contains("claim") => Ok(()),
        result => result.map(|_| ()),
    }
}

fn holds(case: &Case, degrade: Degrade) -> Result<Shown, TestCaseError> {
    let (_, result) = play(case, degrade, None, false);
    result.map_err(|_| {
        let (site, again) = play(case, degrade, None, true);
        TestCaseError::fail(format!("{}\n{again:?}", site.story()))
    })
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn with_a_witness_no_acknowledged_turn_is_lost(case in case()) {
        holds(&case, Degrade::Witness)?;
    }

    #[test]
    fn without_going_alone_no_acknowledged_turn_is_lost(case in case()) {
        holds(&case, Degrade::Never)?;
    }

    #[test]
    fn without_permission_webs_meet_again_and_tell_what_is_lost(case in case()) {
        loses_nothing_unsaid(&case).map_err(|wrong| {
            let (site, _) = play(&case, Degrade::Always, None, true);
            TestCaseError::fail(format!("{}\n{wrong}", site.story()))
        })?;
    }
}

/// Runs that show nothing would be no proof.
#[test]
fn the_runs_show_something() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    static PAIR: AtomicU64 = AtomicU64::new(0);
    static SOLO: AtomicU64 = AtomicU64::new(0);
    let mut runner = TestRunner::deterministic();
    let mut shown: BTreeMap<Shown, u32> = BTreeMap::new();
    for _ in 0..60 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let (site, result) = play(&case, Degrade::Witness, None, false);
        PAIR.fetch_add(site.pair_acks, Ordering::Relaxed);
        SOLO.fetch_add(site.solo_acks, Ordering::Relaxed);
        *shown.entry(result.unwrap()).or_default() += 1;
    }
    let (pair, solo) = (PAIR.load(Ordering::Relaxed), SOLO.load(Ordering::Relaxed));
    assert!(shown[&Shown::Consistent] > 30 && shown[&Shown::MemoryLost] > 0, "{shown:?}");
    assert!(pair > 1_000 && solo > 100, "{pair} turns of a pair, {solo} of one");
}
