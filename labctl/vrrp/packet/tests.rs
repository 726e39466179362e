//! Golden messages of each layout, and one broken message for each check.

use super::*;

mod captured;
mod corpus;
mod properties;

const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 11));
const RECEIVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 12));
const SENDER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11));
const RECEIVER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x12));

// Each says VRID 51, priority 100, 1 s. All checksums come from a sum that shares no code with this crate.

/// VRRPv3 over IPv4 for 203.0.113.10 and 10.10.1.1.
const GOLDEN: [u8; 16] = [
    0x31, 51, 100, 2, 0x00, 0x64, 0x23, 0x50, // version/type, VRID, priority, count, interval, checksum
    203, 0, 113, 10, 10, 10, 1, 1,
];
/// Its checksum under the pseudo-header 10.10.1.11 -> 224.0.0.18, protocol 112, 16 bytes.
const GOLDEN_PSEUDO: [u8; 2] = [0x37, 0xa8];
/// VRRPv3 over IPv6 for fe80::5e:33 and 2001:db8:113::10, from fe80::11 to ff02::12.
#[rustfmt::skip]
const GOLDEN6: [u8; 40] = [
    0x31, 51, 100, 2, 0x00, 0x64, 0x3e, 0x39,
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x5e, 0, 0x33,
    0x20, 0x01, 0x0d, 0xb8, 0x01, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// Its checksum without a pseudo-header, which is wrong always.
const GOLDEN6_MESSAGE_ONLY: [u8; 2] = [0x3c, 0x78];
/// VRRPv2 for 203.0.113.10 and 10.10.1.1: authentication type and seconds instead of centiseconds, 8 octets at the end.
const GOLDEN2: [u8; 24] = [
    0x21, 51, 100, 2, 0, 1, 0x33,
    0xb3, // version/type, VRID, priority, count, auth type, seconds, checksum
    203, 0, 113, 10, 10, 10, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A layout: its golden message, what that says, and who expects it.
#[derive(Debug)]
struct Case {
    message: Vec<u8>,
    advert: Advert,
    expected: Expected,
    sender: IpAddr,
}

fn interval(centiseconds: u16) -> Interval {
    Interval::from_centiseconds(centiseconds).unwrap()
}

fn case(message: &[u8], version: Version, sender: IpAddr, addresses: &[&str]) -> Case {
    let vrid = NonZeroU8::new(51).unwrap();
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let family = Family::of(sender);
    let expected = Expected {
        vrid,
        family,
        versions: Versions { v2: version == Version::V2, v3: version == Version::V3 },
        checksum: ChecksumRule::MessageOnly,
        own: if family == Family::V4 { RECEIVER } else { RECEIVER6 },
        interval: interval(100),
        addresses: addresses.clone(),
    };
    let advert = Advert { version, vrid, priority: 100, interval: interval(100), addresses };
    Case { message: message.to_vec(), advert, expected, sender }
}

fn version3() -> Case {
    case(&GOLDEN, Version::V3, SENDER, &["203.0.113.10", "10.10.1.1"])
}

fn version3_over_ipv6() -> Case {
    case(&GOLDEN6, Version::V3, SENDER6, &["fe80::5e:33", "2001:db8:113::10"])
}

fn version2() -> Case {
    case(&GOLDEN2, Version::V2, SENDER, &["203.0.113.10", "10.10.1.1"])
}

fn all() -> [Case; 3] {
    [version3(), version3_over_ipv6(), version2()]
}

impl Case {
    fn envelope<'a>(&self, message: &'a [u8]) -> Envelope<'a> {
        Envelope { source: self.sender, destination: group(self.expected.family), ttl: TTL, message }
    }

    fn read(&self, message: &[u8]) -> Result<Received, Rejection> {
        decode(&self.envelope(message), &self.expected)
    }

    fn write(&self) -> Vec<u8> {
        encode(&self.advert, self.expected.checksum, self.sender, group(self.expected.family))
    }

    fn received(&self) -> Result<Received, Rejection> {
        Ok(Received { from: self.sender, advert: self.advert.clone() })
    }

    /// The golden message with some octets changed and its checksum made right again.
    fn changed(&self, changes: &[(usize, u8)]) -> Vec<u8> {
        let mut message = self.message.clone();
        for &(at, octet) in changes {
            message[at] = octet;
        }
        let rule = self.advert.version.checksum_rule(self.expected.family, self.expected.checksum);
        let sum = checksum::compute(&message, rule, self.sender, group(self.expected.family));
        message[6..8].copy_from_slice(&sum.to_be_bytes());
        message
    }

    /// What becomes of the golden message with those octets.
    fn with(&self, changes: &[(usize, u8)]) -> Result<Received, Rejection> {
        self.read(&self.changed(changes))
    }
}

/// Puts an IP header before a message, as a raw socket would hand it over.
fn packet(ttl: u8, message: &[u8]) -> Vec<u8> {
    let protocol = etherparse::IpNumber(PROTOCOL);
    let length = message.len() as u16;
    let mut header =
        etherparse::Ipv4Header::new(length, ttl, protocol, [10, 10, 1, 11], GROUP_V4.octets()).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut packet = header.to_bytes().to_vec();
    packet.extend_from_slice(message);
    packet
}

fn kind_and_words(outcome: Result<Received, Rejection>) -> String {
    let rejection = outcome.unwrap_err();
    format!("{}: {rejection}", rejection.kind())
}

#[test]
fn golden_bytes_are_written_and_read() {
    for case in all() {
        assert_eq!(case.write(), case.message, "{}", case.advert);
        assert_eq!(case.read(&case.message), case.received());
    }
}

#[test]
fn a_pseudo_header_is_an_option_over_ipv4_the_rule_over_ipv6_and_unknown_to_version_2() {
    let mut with_pseudo = version3();
    with_pseudo.expected.checksum = ChecksumRule::PseudoHeader;
    with_pseudo.message[6..8].copy_from_slice(&GOLDEN_PSEUDO);
    assert_eq!(with_pseudo.write(), with_pseudo.message);
    assert_eq!(with_pseudo.read(&with_pseudo.message), with_pseudo.received());
    for mut case in [version3_over_ipv6(), version2()] {
        case.expected.checksum = ChecksumRule::PseudoHeader;
        assert_eq!(case.write(), case.message);
        assert_eq!(case.read(&case.message), case.received());
    }
}

#[test]
fn the_two_checksum_rules_do_not_pass_for_one_another() {
    let mut case = version3();
    let mut pseudo = GOLDEN;
    pseudo[6..8].copy_from_slice(&GOLDEN_PSEUDO);
    insta::assert_snapshot!(
        kind_and_words(case.read(&pseudo)),
        @"checksum-rule: checksum over message and pseudo-header instead of the message alone"
    );
    case.expected.checksum = ChecksumRule::PseudoHeader;
    insta::assert_snapshot!(
        kind_and_words(case.read(&GOLDEN)),
        @"checksum-rule: checksum over the message alone instead of message and pseudo-header"
    );
    let mut message_only = GOLDEN6;
    message_only[6..8].copy_from_slice(&GOLDEN6_MESSAGE_ONLY);
    assert_eq!(
        version3_over_ipv6().read(&message_only),
        Err(Rejection::ChecksumRule(ChecksumRule::MessageOnly))
    );
}

#[test]
fn reserved_bits_trailing_bytes_and_authentication_data_do_not_matter() {
    for case in [version3(), version3_over_ipv6()] {
        assert_eq!(case.with(&[(4, 0xf0)]), case.received());
    }
    assert_eq!(version2().with(&[(16, 1), (23, 2)]), version2().received());
    for case in all() {
        let longer = [&case.message[..], &[1, 2, 3, 4, 5]].concat();
        assert_eq!(case.read(&longer), case.received());
    }
}

#[test]
fn an_ipv4_packet_is_opened_with_options_and_padding() {
    let case = version3();
    let mut with_option = packet(TTL, &GOLDEN);
    with_option.splice(20..20, [148, 4, 0, 0]);
    (with_option[0], with_option[3]) = (0x46, 24 + GOLDEN.len() as u8);
    with_option.extend([0xff; 6]);
    let envelope = Envelope::of_ipv4(&with_option).unwrap();
    assert_eq!((envelope.source, envelope.destination), (SENDER, group(Family::V4)));
    assert_eq!((envelope.ttl, envelope.message, envelope.vrid()), (TTL, &GOLDEN[..], Some(51)));
    assert_eq!(decode(&envelope, &case.expected), case.received());
}

#[test]
fn what_is_not_a_vrrp_packet_is_not_opened() {
    let mut tcp = packet(TTL, &GOLDEN);
    tcp[9] = 6;
    assert_eq!(Envelope::of_ipv4(&tcp).unwrap_err(), Rejection::Protocol(6));
    let mut ipv6 = packet(TTL, &GOLDEN);
    ipv6[0] = 0x65;
    for bytes in [&[][..], &ipv6] {
        assert_eq!(Envelope::of_ipv4(bytes).unwrap_err(), Rejection::NotIpv4);
    }
}

#[test]
fn each_check_of_every_layout_drops_its_packet() {
    for case in all() {
        let (family, versions) = (case.expected.family, case.expected.versions);
        let far = Envelope { ttl: 254, ..case.envelope(&case.message) };
        assert_eq!(decode(&far, &case.expected), Err(Rejection::Ttl { family, found: 254 }));
        for first in [0x01, 0x11, 0x41, 0xf1] {
            let rejection = Rejection::Version { found: first >> 4, accepted: versions };
            assert_eq!(case.with(&[(0, first)]), Err(rejection));
        }
        let other = case.message[0] & 0xf0 | 2;
        assert_eq!(case.with(&[(0, other)]), Err(Rejection::Type(2)));
        assert_eq!(case.with(&[(3, 0)]), Err(Rejection::NoAddresses));
        let (has, needs) = (case.message.len(), case.message.len() + family.address_bytes());
        assert_eq!(case.with(&[(3, 3)]), Err(Rejection::Truncated { needs, has }));
        assert_eq!(case.with(&[(1, 0)]), Err(Rejection::Vrid(0)));
        assert_eq!(case.with(&[(1, 52)]), Err(Rejection::Vrid(52)));
        assert_eq!(case.with(&[(5, 0)]), Err(Rejection::IntervalZero));
        let ours = Expected { own: case.sender, ..case.expected.clone() };
        assert_eq!(decode(&case.envelope(&case.message), &ours), Err(Rejection::Ours));
        let mut damaged = case.message.clone();
        damaged[2] = 101;
        assert!(matches!(case.read(&damaged), Err(Rejection::Checksum { .. })));
    }
}

#[test]
fn each_family_is_an_instance_of_its_own() {
    let (v4, v6) = (version3(), version3_over_ipv6());
    let crossed = decode(&v4.envelope(&v4.message), &v6.expected);
    assert_eq!(crossed, Err(Rejection::Family(Family::V4)));
    assert_eq!(decode(&v6.envelope(&v6.message), &v4.expected), Err(Rejection::Family(Family::V6)));
}

#[test]
fn an_ipv6_message_begins_with_a_link_local_address() {
    let case = version3_over_ipv6();
    let global = kind_and_words(case.with(&[(8, 0x20), (9, 0x01)]));
    insta::assert_snapshot!(global, @"link-local-first: first address 2001::5e:33 instead of a link-local one");
    // fe80::/10 and not fe80::/16.
    assert!(case.with(&[(9, 0xbf)]).is_ok());
    assert!(case.with(&[(9, 0xc0)]).is_err());
}

#[test]
fn version_2_has_stricter_checks() {
    let case = version2();
    insta::assert_snapshot!(
        kind_and_words(case.with(&[(4, 1)])),
        @"authentication: authentication type 1 instead of 0"
    );
    insta::assert_snapshot!(
        kind_and_words(case.with(&[(5, 2)])),
        @"v2-interval: VRRPv2 interval 2 s instead of 1 s"
    );
    insta::assert_snapshot!(
        kind_and_words(case.with(&[(15, 2)])),
        @"v2-addresses: VRRPv2 for [203.0.113.10, 10.10.1.2] instead of [203.0.113.10, 10.10.1.1]"
    );
    assert!(case.with(&[(15, 2), (2, 255)]).is_ok(), "their owner knows better");
    let addresses = vec!["10.10.1.1".parse().unwrap(), "203.0.113.10".parse().unwrap()];
    let reordered = Expected { addresses, ..case.expected.clone() };
    assert!(decode(&case.envelope(&case.message), &reordered).is_ok(), "the order is nobody's business");
}

#[test]
fn version_3_takes_what_version_2_would_drop() {
    let case = version3();
    assert!(case.with(&[(5, 200)]).is_ok(), "another interval");
    assert!(case.with(&[(15, 2)]).is_ok(), "another address");
}

#[test]
fn a_router_of_one_version_drops_the_other_and_names_it() {
    let v2_alone = Expected { versions: Versions::V2, ..version3().expected };
    let dropped = decode(&version3().envelope(&GOLDEN), &v2_alone);
    insta::assert_snapshot!(kind_and_words(dropped), @"version: version 3 instead of 2");
    insta::assert_snapshot!(kind_and_words(version3().read(&GOLDEN2)), @"version: version 2 instead of 3");
    let mut both6 = version3_over_ipv6();
    both6.expected.versions = Versions::BOTH;
    assert!(both6.read(&GOLDEN6).is_ok());
    let dropped = both6.with(&[(0, 0x21)]);
    insta::assert_snapshot!(kind_and_words(dropped), @"version: version 2 instead of 3");
}

#[test]
fn a_router_of_both_versions_lives_by_the_rate_of_the_active() {
    let mut case = version2();
    case.expected.versions = Versions::BOTH;
    case.expected.interval = interval(2);
    assert_eq!(case.with(&[(5, 3)]).unwrap().advert.interval, interval(300));
    assert_eq!(case.with(&[(5, 40)]).unwrap().advert.interval, interval(4000));
    for longer in [41, 255] {
        assert_eq!(case.with(&[(5, longer)]).unwrap().advert.interval, Interval::MAX, "{longer} s");
    }
    assert!(case.read(&GOLDEN).is_ok(), "and version 3 is taken too");
}

#[test]
fn version_2_says_whole_seconds() {
    let mut case = version2();
    for (centiseconds, seconds) in [(1, 1), (100, 1), (101, 2), (4095, 41)] {
        case.advert.interval = interval(centiseconds);
        assert_eq!(case.write()[5], seconds, "{centiseconds} cs");
    }
}

#[test]
fn a_router_of_version_2_understands_its_own_longest_interval() {
    let mut case = version2();
    case.expected.interval = Interval::MAX;
    assert_eq!(case.with(&[(5, 41)]).unwrap().advert.interval, Interval::MAX);
    assert_eq!(case.with(&[(5, 42)]), Err(Rejection::Interval2 { found: 42, ours: 41 }));
}

#[test]
fn groups_and_virtual_macs_are_those_of_the_rfc() {
    let vrid = NonZeroU8::new(0xab).unwrap();
    assert_eq!(group(Family::V4).to_string(), "224.0.0.18");
    assert_eq!(group(Family::V6).to_string(), "ff02::12");
    assert_eq!(virtual_mac(Family::V4, vrid), [0, 0, 0x5e, 0, 1, 0xab]);
    assert_eq!(virtual_mac(Family::V6, vrid), [0, 0, 0x5e, 0, 2, 0xab]);
    assert_eq!(virtual_link_local(vrid).to_string(), "fe80::200:5eff:fe00:2ab");
}
