//! Golden packets, one broken packet for each check, and the two properties of a codec.

use proptest::prelude::*;

use super::*;

const SENDER: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 11);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 12);

/// VRID 51, priority 100, 1 s, 203.0.113.10 and 10.10.1.1. The checksum comes from an independent sum.
const GOLDEN: [u8; 16] = [
    0x31, 51, 100, 2, 0x00, 0x64, 0x23, 0x50, // version/type, VRID, priority, count, interval, checksum
    203, 0, 113, 10, 10, 10, 1, 1,
];
/// The same under the pseudo-header 10.10.1.11 -> 224.0.0.18, protocol 112, 16 bytes.
const GOLDEN_PSEUDO: [u8; 2] = [0x37, 0xa8];

fn golden_advert() -> Advert {
    Advert {
        vrid: NonZeroU8::new(51).unwrap(),
        priority: 100,
        interval: Interval::from_centiseconds(100).unwrap(),
        addresses: vec![Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(10, 10, 1, 1)],
    }
}

fn expected(checksum: ChecksumRule) -> Expected {
    Expected { vrid: NonZeroU8::new(51).unwrap(), checksum, own: RECEIVER }
}

/// Puts an IP header before a message, as a raw socket would hand it over.
fn packet(ttl: u8, message: &[u8]) -> Vec<u8> {
    let mut header = etherparse::Ipv4Header::new(
        message.len() as u16,
        ttl,
        etherparse::IpNumber(PROTOCOL),
        SENDER.octets(),
        GROUP.octets(),
    )
    .unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut packet = header.to_bytes().to_vec();
    packet.extend_from_slice(message);
    packet
}

fn read(ttl: u8, message: &[u8]) -> Result<Received, Rejection> {
    decode(&packet(ttl, message), &expected(ChecksumRule::MessageOnly))
}

/// The golden message with some octets changed and its checksum made right again.
fn changed(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut message = GOLDEN.to_vec();
    for &(at, octet) in changes {
        message[at] = octet;
    }
    let sum = checksum(&message, ChecksumRule::MessageOnly, SENDER, GROUP);
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn golden_bytes_are_written() {
    assert_eq!(encode(&golden_advert(), ChecksumRule::MessageOnly, SENDER, GROUP), GOLDEN);
    let pseudo = encode(&golden_advert(), ChecksumRule::PseudoHeader, SENDER, GROUP);
    assert_eq!(pseudo[6..8], GOLDEN_PSEUDO);
    assert_eq!((&pseudo[..6], &pseudo[8..]), (&GOLDEN[..6], &GOLDEN[8..]));
}

#[test]
fn golden_bytes_are_read() {
    let received = Received { from: SENDER, advert: golden_advert() };
    assert_eq!(read(255, &GOLDEN), Ok(received.clone()));
    let mut pseudo = GOLDEN;
    pseudo[6..8].copy_from_slice(&GOLDEN_PSEUDO);
    assert_eq!(decode(&packet(255, &pseudo), &expected(ChecksumRule::PseudoHeader)), Ok(received));
}

#[test]
fn the_two_checksum_rules_do_not_pass_for_one_another() {
    let by_pseudo = decode(&packet(255, &GOLDEN), &expected(ChecksumRule::PseudoHeader)).unwrap_err();
    assert_eq!(by_pseudo, Rejection::ChecksumRule(ChecksumRule::MessageOnly));
    assert_eq!(by_pseudo.to_string(), "checksum over the message alone instead of message and pseudo-header");
    let mut pseudo = GOLDEN;
    pseudo[6..8].copy_from_slice(&GOLDEN_PSEUDO);
    assert_eq!(read(255, &pseudo), Err(Rejection::ChecksumRule(ChecksumRule::PseudoHeader)));
}

#[test]
fn reserved_bits_trailing_bytes_and_ip_options_do_not_matter() {
    let received = Ok(Received { from: SENDER, advert: golden_advert() });
    assert_eq!(read(255, &changed(&[(4, 0xf0)])), received);
    let mut longer = GOLDEN.to_vec();
    longer.extend([1, 2, 3, 4, 5]);
    assert_eq!(read(255, &longer), received);

    let mut with_option = packet(255, &GOLDEN);
    with_option.splice(20..20, [148, 4, 0, 0]);
    (with_option[0], with_option[3]) = (0x46, 24 + GOLDEN.len() as u8);
    assert_eq!(decode(&with_option, &expected(ChecksumRule::MessageOnly)), received);
}

#[test]
fn each_check_drops_its_packet() {
    assert_eq!(read(254, &GOLDEN), Err(Rejection::Ttl(254)));
    assert_eq!(read(255, &changed(&[(0, 0x21)])), Err(Rejection::Version(2)));
    assert_eq!(read(255, &changed(&[(0, 0x32)])), Err(Rejection::Type(2)));
    assert_eq!(read(255, &changed(&[(3, 0)])), Err(Rejection::NoAddresses));
    assert_eq!(read(255, &changed(&[(3, 3)])), Err(Rejection::Truncated { needs: 20, has: 16 }));
    assert_eq!(read(255, &GOLDEN[..7]), Err(Rejection::Truncated { needs: 8, has: 7 }));
    assert_eq!(read(255, &changed(&[(1, 0)])), Err(Rejection::Vrid(0)));
    assert_eq!(read(255, &changed(&[(1, 52)])), Err(Rejection::Vrid(52)));
    assert_eq!(read(255, &changed(&[(5, 0)])), Err(Rejection::IntervalZero));
    let mut damaged = GOLDEN;
    damaged[2] = 101;
    assert_eq!(read(255, &damaged), Err(Rejection::Checksum { found: 0x2350, computed: 0x2250 }));

    let ours = Expected { own: SENDER, ..expected(ChecksumRule::MessageOnly) };
    assert_eq!(decode(&packet(255, &GOLDEN), &ours), Err(Rejection::Ours));
    let mut tcp = packet(255, &GOLDEN);
    tcp[9] = 6;
    assert_eq!(decode(&tcp, &expected(ChecksumRule::MessageOnly)), Err(Rejection::Protocol(6)));
    assert_eq!(decode(&[], &expected(ChecksumRule::MessageOnly)), Err(Rejection::NotIpv4));
    let mut ipv6 = packet(255, &GOLDEN);
    ipv6[0] = 0x65;
    assert_eq!(decode(&ipv6, &expected(ChecksumRule::MessageOnly)), Err(Rejection::NotIpv4));
}

fn rules() -> impl Strategy<Value = ChecksumRule> {
    prop_oneof![Just(ChecksumRule::MessageOnly), Just(ChecksumRule::PseudoHeader)]
}

fn adverts() -> impl Strategy<Value = Advert> {
    let addresses = prop::collection::vec(any::<[u8; 4]>().prop_map(Ipv4Addr::from), 1..=255);
    (any::<NonZeroU8>(), any::<u8>(), 1..=4095u16, addresses).prop_map(
        |(vrid, priority, interval, addresses)| Advert {
            vrid,
            priority,
            interval: Interval::from_centiseconds(interval).unwrap(),
            addresses,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(advert in adverts(), rule in rules()) {
        let message = encode(&advert, rule, SENDER, GROUP);
        let packet = packet(TTL, &message);
        prop_assert!(packet.len() <= DATAGRAM_BYTES_MAX);
        let expected = Expected { vrid: advert.vrid, checksum: rule, own: RECEIVER };
        prop_assert_eq!(decode(&packet, &expected), Ok(Received { from: SENDER, advert }));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200), rule in rules()) {
        let _ = decode(&bytes, &expected(rule));
    }

    /// Bytes that get past the IP header and the version, so that the later checks meet them too.
    #[test]
    fn almost_right_bytes_are_read_without_a_panic(
        tail in prop::collection::vec(any::<u8>(), 0..64),
        cut in 0..100usize,
        rule in rules(),
    ) {
        let mut packet = packet(TTL, &[&GOLDEN[..1], &tail[..]].concat());
        packet.truncate(cut.max(20));
        let _ = decode(&packet, &expected(rule));
    }

    /// One flipped bit never passes for another advertisement.
    #[test]
    fn a_flipped_bit_is_seen(advert in adverts(), at in any::<prop::sample::Index>(), bit in 0..8u8, rule in rules()) {
        let mut message = encode(&advert, rule, SENDER, GROUP);
        let octet = at.index(message.len());
        message[octet] ^= 1 << bit;
        let expected = Expected { vrid: advert.vrid, checksum: rule, own: RECEIVER };
        prop_assert!(decode(&packet(TTL, &message), &expected).is_err());
    }
}
