//! The programs in the kernel against the specification, by `BPF_PROG_TEST_RUN`: the same frames, the same fate, the
//! same bytes, the same counts. Where eBPF is not to be had these tests say so on the terminal.

mod tables;
mod world;

use std::io::Write as _;

use aya::programs::{TestRun as _, TestRunOptions};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::balancer::forward::fixtures::packet::Sent;
use crate::balancer::forward::fixtures::{self, Side, fixtures, services};
use crate::balancer::forward::{Director, Verdict, described};
use world::{Step, step};

const LOOPBACK: u32 = 1;
/// `TC_ACT_REDIRECT`: the verdict of a program that chose another interface.
const REDIRECT: i32 = 7;
/// `TCX_NEXT`.
const NEXT: i32 = -1;
/// Ethernet and IP headers: the kernel tries no shorter frame out.
const FRAME_BYTES_MIN: usize = 14 + 20;
const FRAME_BYTES_MIN_V6: usize = 14 + 40;
/// The kernel takes what fits into a page, and wants some of that for itself.
const FRAME_BYTES_MAX: usize = 3000;
/// A director begins anew with each case, and a change of services waits for the kernel's readers: a tenth of a second.
const CASES: u32 = 8;
/// How many random packets one director gets, unless the environment says otherwise.
const PACKETS: usize = 20_000;
/// The environment variable that says it.
const PACKETS_VARIABLE: &str = "LABCTL_RANDOM_PACKETS";
/// Connections of a large site, and the kernel memory that they may take.
const MILLION: u32 = 1_000_000;
const MILLION_BYTES_MAX: u64 = 110 << 20;
/// Client addresses, and the way from one to the next: 2^32 by the golden ratio, which spreads them over the space.
const CLIENTS: u32 = 4096;
const STRIDE: u32 = 0x9e37_79b9;

/// What the fixtures' director is told, in the terms of a data plane.
fn settings() -> Settings {
    let fixtures = fixtures::settings();
    Settings {
        inside: fixtures.inside,
        tunnel_v4: fixtures.tunnel_v4,
        tunnel_v6: fixtures.tunnel_v6,
        front_mtu: fixtures.front.mtu,
        back_mtu: fixtures.back.mtu,
        sync: true,
        ..Settings::between("lo", "lo")
    }
}

/// Programs and maps, attached nowhere; `None`, and a line on the terminal, where there is no eBPF.
fn plane() -> Option<(EbpfPlane, Switch)> {
    match EbpfPlane::load(settings(), LOOPBACK, LOOPBACK) {
        Ok(pair) => Some(pair),
        Err(error) if error.lacks_ebpf() => {
            // Not `println!`, which the test harness swallows when a test passes.
            let _ = writeln!(std::io::stderr(), "skipped: no eBPF ({error})");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// What the kernel does to a frame, and whether it sends it on.
fn run(plane: &mut EbpfPlane, by: Side, frame: &[u8]) -> (Vec<u8>, bool) {
    let name = if by == Side::Front { FROM_STREET } else { FROM_REALS };
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() };
    let result = program(&mut plane.ebpf, name).expect("the program").test_run(options);
    let result = result.unwrap_or_else(|error| panic!("try {frame:02x?} out: {error:?}"));
    out.truncate(result.data_size_out as usize);
    match result.return_value as i32 {
        NEXT => (out, false),
        REDIRECT => (out, true),
        other => panic!("an unexpected verdict: {other}"),
    }
}

/// A director in the kernel and one by the book, who live through the same.
struct Twins {
    kernel: EbpfPlane,
    switch: Switch,
    book: Director,
}

impl Twins {
    /// Active, with all services.
    fn new() -> Option<Self> {
        let (kernel, switch) = plane()?;
        let mut twins = Self { kernel, switch, book: Director::new(fixtures::settings()) };
        twins.live(&Step::Install([true, true]));
        twins.live(&Step::Active(true));
        Some(twins)
    }

    fn live(&mut self, step: &Step) {
        match step {
            Step::Frame(by, frame) => drop(self.meet(*by, frame)),
            Step::Install(available) => {
                let services = services(*available);
                self.kernel.install(&services).expect("install");
                self.book.install(&services).expect("install");
            }
            Step::InstallSome(count) => {
                let services = services([true, true]);
                self.kernel.install(&services[..*count]).expect("install");
                self.book.install(&services[..*count]).expect("install");
            }
            Step::Active(active) => {
                self.switch.set(*active).expect("switch");
                self.book.set_active(*active);
            }
            Step::Adopt(flow) => {
                let adopted = self.kernel.adopt(&[*flow]).expect("adopt");
                assert_eq!(adopted, self.book.adopt(&[*flow]), "{flow:?}");
            }
        }
    }

    /// Both get a frame, and must do and count the same.
    fn meet(&mut self, by: Side, frame: &[u8]) -> Verdict {
        let (expected, verdict) = fixtures::run(&mut self.book, by, frame);
        let (got, sent_on) = run(&mut self.kernel, by, frame);
        let what = || format!("by {by:?}: {:#?}", described(frame));
        assert_eq!(sent_on, verdict != Verdict::Kernel, "{verdict:?} {}", what());
        assert_eq!(described(&got), described(&expected), "{}", what());
        assert_eq!(got, expected, "{}", what());
        assert_eq!(self.kernel.stats().expect("stats"), self.book.counters(), "{}", what());
        verdict
    }

    /// What they remember must be the same. Usage says, too, to which real server each packet went: that is an argument of
    /// a call that a test run does not show.
    fn compare(&mut self) {
        assert_eq!(self.kernel.usage().expect("usage"), self.book.usage());
        let mut flows = self.kernel.flows().expect("flows");
        flows.sort();
        assert_eq!(flows, self.book.flows());
        assert_eq!(self.kernel.fresh_flows().expect("fresh flows"), self.book.fresh_flows());
    }
}

/// Kernel memory of the map of this many entries of connections, as `bpftool map` shows it.
fn memory(entries: u32) -> u64 {
    let fact = |info: &str, name: &str| {
        let text = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        text.and_then(|text| text.trim().parse::<u64>().ok())
    };
    let folder = std::fs::read_dir("/proc/self/fdinfo").expect("our descriptors");
    let infos = folder.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let mut flows = infos.filter(|info| fact(info, "max_entries") == Some(entries.into()));
    flows.find_map(|info| fact(&info, "memlock")).expect("a map of that size")
}

/// README.md states the figure.
#[test]
fn a_million_connections_take_no_more_memory_than_is_said() {
    let settings = Settings { flows_max: MILLION, ..settings() };
    let _plane = match EbpfPlane::load(settings, LOOPBACK, LOOPBACK) {
        Ok((plane, _switch)) => plane,
        Err(error) => {
            assert!(error.lacks_ebpf(), "{error:?}");
            return;
        }
    };
    let bytes = memory(MILLION);
    let _ = writeln!(std::io::stderr(), "{MILLION} connections take {bytes} bytes");
    assert!(bytes < MILLION_BYTES_MAX, "{bytes} bytes");
}

fn is_long_enough(frame: &[u8]) -> bool {
    let is_v6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
    frame.len() >= if is_v6 { FRAME_BYTES_MIN_V6 } else { FRAME_BYTES_MIN }
}

#[test]
fn kernel_and_specification_agree_on_every_fixture() {
    // One pair for all, since a new one takes a second. So what a fixture meets is not always what it was written for, but
    // the same for both.
    let Some(mut twins) = Twins::new() else { return };
    for fixture in fixtures().filter(|fixture| is_long_enough(&fixture.frame)) {
        for (by, frame) in &fixture.before {
            twins.meet(*by, frame);
        }
        twins.meet(fixture.by, &fixture.frame);
        twins.compare();
    }
}

#[test]
fn a_plane_that_is_not_active_does_nothing() {
    let Some((mut plane, _switch)) = plane() else { return };
    plane.install(&services([true, true])).expect("install");
    for fixture in fixtures().filter(|fixture| is_long_enough(&fixture.frame)) {
        let outcome = run(&mut plane, fixture.by, &fixture.frame);
        assert_eq!(outcome, (fixture.frame, false), "{}", fixture.what);
    }
    assert_eq!(plane.stats().expect("stats"), Stats::default());
}

#[test]
fn kernel_and_specification_agree_on_every_history() {
    if plane().is_none() {
        return;
    }
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..200), |steps| {
        let mut twins = Twins::new().expect("there was eBPF a moment ago");
        for step in &steps {
            twins.live(step);
        }
        twins.compare();
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// One long history of one director, so that tables fill and services come and go many times.
#[test]
fn kernel_and_specification_agree_on_many_random_packets() {
    let Some(mut twins) = Twins::new() else { return };
    let packets = std::env::var(PACKETS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(PACKETS);
    let seed: [u8; 32] = std::array::from_fn(|place| place as u8);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let steps = step();
    let (mut met, mut sent_on) = (0, 0);
    while met < packets {
        let step = steps.new_tree(&mut runner).expect("a step").current();
        match &step {
            Step::Frame(by, frame) => {
                met += 1;
                sent_on += usize::from(twins.meet(*by, frame) != Verdict::Kernel);
            }
            other => {
                twins.compare();
                twins.live(other);
            }
        }
    }
    twins.compare();
    let counted = twins.book.counters();
    assert!(sent_on > packets / 4, "only {sent_on} of {packets} packets were for the director");
    assert!(
        counted.no_real > 0 && counted.missed > 0,
        "a history without trouble proves little: {counted:?}"
    );
    let _ = writeln!(std::io::stderr(), "{packets} random packets, {sent_on} sent on: {counted:?}");
}

#[test]
fn kernel_and_specification_send_a_client_to_the_same_server() {
    let Some(mut twins) = Twins::new() else { return };
    for client in (0..CLIENTS).map(|number| u32::wrapping_mul(number, STRIDE)) {
        for to in ["203.0.113.10:80", "203.0.113.10:8000"] {
            let mut sent = Sent::tcp("0.0.0.0:40000", to, "S");
            sent.from.set_ip(std::net::Ipv4Addr::from_bits(client).into());
            twins.meet(Side::Front, &sent.frame());
        }
    }
    twins.compare();
}
