//! What holds for every message: what is written is read, damage is noticed, and no bytes make the codec panic.

use proptest::prelude::*;

use super::*;

fn cases() -> impl Strategy<Value = Case> {
    let layout = prop_oneof![
        Just((Version::V3, Family::V4)),
        Just((Version::V3, Family::V6)),
        Just((Version::V2, Family::V4)),
    ];
    let rule = prop_oneof![Just(ChecksumRule::MessageOnly), Just(ChecksumRule::PseudoHeader)];
    let addresses = prop::collection::vec(any::<[u8; 16]>(), 1..=255);
    (layout, any::<NonZeroU8>(), any::<u8>(), 1..=4095u16, 1..=40u16, addresses, rule).prop_map(
        |((version, family), vrid, priority, centiseconds, seconds, octets, rule)| {
            let address = |(number, mut octets): (usize, [u8; 16])| match family {
                Family::V4 => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
                Family::V6 => {
                    if number == 0 {
                        octets[..2].copy_from_slice(&[0xfe, 0x80]);
                    }
                    octets.into()
                }
            };
            let addresses = octets.into_iter().enumerate().map(address).collect();
            let mut case = match (version, family) {
                (Version::V2, _) => version2(),
                (Version::V3, Family::V4) => version3(),
                (Version::V3, Family::V6) => version3_over_ipv6(),
            };
            let interval = match version {
                Version::V2 => interval(seconds * 100),
                Version::V3 => interval(centiseconds),
            };
            case.advert = Advert { version, vrid, priority, interval, addresses };
            case.expected = Expected {
                vrid,
                checksum: rule,
                interval,
                addresses: case.advert.addresses.clone(),
                ..case.expected
            };
            case.message = case.write();
            case
        },
    )
}

/// Where the count of addresses is. A smaller count is a shorter message, whose checksum may be right by accident: one
/// in 65,535 messages is such.
const COUNT_AT: usize = 3;

#[test]
fn no_changed_octet_of_a_golden_message_passes() {
    for case in all() {
        for at in 0..case.message.len() {
            for octet in (0..=u8::MAX).filter(|&octet| octet != case.message[at]) {
                let mut damaged = case.message.clone();
                damaged[at] = octet;
                assert!(case.read(&damaged).is_err(), "{} with {octet:#04x} at {at}", case.advert);
            }
        }
    }
}

#[test]
fn no_changed_octet_of_a_packet_passes_for_another_advert() {
    let case = version3();
    let sound = packet(TTL, &GOLDEN);
    for at in 0..sound.len() {
        // The kernel drops a packet whose source was damaged: the IP header has a checksum of its own.
        if (12..16).contains(&at) {
            continue;
        }
        for octet in (0..=u8::MAX).filter(|&octet| octet != sound[at]) {
            let mut damaged = sound.clone();
            damaged[at] = octet;
            let outcome = Envelope::of_ipv4(&damaged).and_then(|one| decode(&one, &case.expected));
            assert!(outcome.is_err() || outcome == case.received(), "{octet:#04x} at {at}: {outcome:?}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(case in cases()) {
        prop_assert!(packet(TTL, &case.message).len() <= DATAGRAM_BYTES_MAX);
        prop_assert_eq!(case.read(&case.message), case.received());
    }

    #[test]
    fn a_message_that_was_cut_is_truncated(case in cases(), at in any::<prop::sample::Index>()) {
        let length = at.index(case.message.len());
        let outcome = case.read(&case.message[..length]);
        prop_assert!(matches!(outcome, Err(Rejection::Truncated { has, .. }) if has == length), "{:?}", outcome);
    }

    #[test]
    fn a_changed_octet_is_seen(case in cases(), at in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
        let at = at.index(case.message.len());
        prop_assume!(at != COUNT_AT);
        let mut damaged = case.message.clone();
        damaged[at] ^= by;
        prop_assert!(case.read(&damaged).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..DATAGRAM_BYTES_MAX),
        case in cases(),
    ) {
        let _ = case.read(&bytes);
        let _ = Envelope::of_ipv4(&bytes).and_then(|envelope| decode(&envelope, &case.expected));
    }

    /// Any content behind a right first octet and under a right checksum, so that the later checks meet it too.
    #[test]
    fn almost_right_bytes_are_read_without_a_panic(
        tail in prop::collection::vec(any::<u8>(), 7..64),
        number in 0..3usize,
    ) {
        let [a, b, c] = all();
        let mut case = [a, b, c].into_iter().nth(number).unwrap();
        case.message = [&case.message[..1], &tail].concat();
        let count = (case.message.len() - HEADER_BYTES) / case.expected.family.address_bytes();
        let changes = [(1, 51), (3, count as u8)];
        let _ = case.read(&case.changed(&changes[..1]));
        let _ = case.read(&case.changed(&changes));
    }
}
