//! The end of a tunnel against its beginning: what the specification of a director puts in comes out as it was, one hop
//! older. By `BPF_PROG_TEST_RUN`; where eBPF is not to be had these tests say so on the terminal.

use std::io::Write as _;

use aya::programs::{TestRun as _, TestRunOptions};

use super::*;
use crate::balancer::forward::fixtures::packet::Sent;
use crate::balancer::forward::fixtures::{VIP, VIP_V6, director};

/// `TCX_NEXT`.
const NEXT: i32 = -1;
/// `TCX_DROP`.
const DROP: i32 = 2;
/// "Congestion experienced" (RFC 3168).
const CONGESTION: u8 = 3;
/// Where the outer header begins, and where the class of service is in it.
const OUTER: usize = 14;
const CLASS_V4: usize = OUTER + 1;
const CLASS_V6: usize = OUTER + 1;

/// The program, attached nowhere; `None`, and a line on the terminal, where there is no eBPF.
fn tunnel() -> Option<Decapsulation> {
    match Decapsulation::load(&[VIP.into(), VIP_V6.into()]) {
        Ok(tunnel) => Some(tunnel),
        Err(error) if error.lacks_ebpf() => {
            // Not `println!`, which the test harness swallows when a test passes.
            let _ = writeln!(std::io::stderr(), "skipped: no eBPF ({error})");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn run(tunnel: &mut Decapsulation, frame: &[u8]) -> (Vec<u8>, i32) {
    let mut out = vec![0; frame.len()];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() };
    let program = program(&mut tunnel.ebpf, DECAPSULATE).expect("the program");
    let result = program.test_run(options).expect("a test run");
    out.truncate(result.data_size_out as usize);
    (out, result.return_value as i32)
}

/// What clients send to `tun` services.
fn sent() -> [Sent; 4] {
    let ecn_capable = |sent: Sent| Sent { class: 2, payload: vec![7; 900], ..sent };
    [
        Sent::tcp("198.51.100.10:40000", "203.0.113.10:8000", "S"),
        ecn_capable(Sent::udp("198.51.100.10:40000", "203.0.113.10:8053")),
        Sent::tcp("[2001:db8:100::10]:40000", "[2001:db8:113::10]:8000", "A"),
        ecn_capable(Sent::udp("[2001:db8:100::10]:40000", "[2001:db8:113::10]:8053")),
    ]
}

fn encapsulated(sent: &Sent) -> Vec<u8> {
    director([true, true]).from_street(&sent.frame()).0
}

/// The frame after one hop.
fn passed_on(sent: &Sent) -> Vec<u8> {
    Sent { ttl: sent.ttl - 1, ..sent.clone() }.frame()
}

#[test]
fn what_goes_into_a_tunnel_comes_out_of_it() {
    let Some(mut tunnel) = tunnel() else { return };
    for sent in sent() {
        assert_eq!(run(&mut tunnel, &encapsulated(&sent)), (passed_on(&sent), NEXT), "{sent:?}");
    }
}

#[test]
fn what_is_not_for_a_virtual_address_stays_in_its_tunnel() {
    let Some(mut tunnel) = tunnel() else { return };
    for sent in sent() {
        let mut frame = encapsulated(&sent);
        // The last byte of the inner destination.
        let at = OUTER + if sent.to.is_ipv4() { 20 + 19 } else { 40 + 39 };
        frame[at] ^= 1;
        assert_eq!(run(&mut tunnel, &frame), (frame, NEXT), "{sent:?}");
    }
}

#[test]
fn what_is_in_no_tunnel_goes_on() {
    let Some(mut tunnel) = tunnel() else { return };
    for sent in sent() {
        assert_eq!(run(&mut tunnel, &sent.frame()), (sent.frame(), NEXT), "{sent:?}");
    }
}

#[test]
fn congestion_in_the_tunnel_is_passed_on_or_is_a_loss() {
    let Some(mut tunnel) = tunnel() else { return };
    for sent in sent() {
        let mut frame = encapsulated(&sent);
        if sent.to.is_ipv4() {
            frame[CLASS_V4] |= CONGESTION;
        } else {
            frame[CLASS_V6] |= CONGESTION << 4;
        }
        let (out, verdict) = run(&mut tunnel, &frame);
        if sent.class == 0 {
            assert_eq!(verdict, DROP, "{sent:?}");
        } else {
            assert_eq!(
                (out, verdict),
                (passed_on(&Sent { class: CONGESTION, ..sent.clone() }), NEXT),
                "{sent:?}"
            );
        }
    }
}
