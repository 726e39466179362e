//! The corpus of the fuzz target, so that it is tried with every run of the tests and not only when somebody fuzzes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "../../../../fuzz/harness.rs"]
mod harness;

const CORPUS: &str = "fuzz/corpus/vrrp_decode";

#[test]
fn the_corpus_of_the_fuzz_target_holds_and_reaches_every_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS);
    let mut reached = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        reached.insert(match harness::check(&input) {
            Ok(received) => format!("accepted VRRPv{}", received.advert.version),
            Err(kind) => kind.to_owned(),
        });
    }
    // All but `family` and `hop-limit`: a trial makes the envelope of an IPv6 message itself, and makes it right.
    insta::assert_snapshot!(reached.into_iter().collect::<Vec<_>>().join("\n"), @r"
    accepted VRRPv2
    accepted VRRPv3
    authentication
    checksum
    checksum-rule
    interval-zero
    link-local-first
    no-addresses
    not-ipv4
    ours
    protocol
    too short for a trial
    truncated
    ttl
    type
    v2-addresses
    v2-interval
    version
    vrid
    ");
}
