//! Throws bytes at the VRRP codec. What is asked of it is in `harness.rs`, which the unit tests share.
#![no_main]

// The room as source and not the package: it needs two dependencies instead of three hundred.
#[allow(dead_code, unused_imports)]
#[path = "../../labctl/vrrp/mod.rs"]
mod vrrp;

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = harness::check(input);
});
