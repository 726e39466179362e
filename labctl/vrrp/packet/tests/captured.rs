//! What other daemons really sent. Each fixture is a whole IP packet in hexadecimal, below a line that says what it is.

use super::*;

/// The packet of a fixture.
fn octets(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(str::split_whitespace);
    words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect()
}

fn open(packet: &[u8]) -> Envelope<'_> {
    if packet[0] >> 4 == 4 {
        return Envelope::of_ipv4(packet).unwrap();
    }
    let (header, message) = etherparse::Ipv6Header::from_slice(packet).unwrap();
    assert_eq!(header.next_header.0, PROTOCOL);
    let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
    Envelope { source, destination, ttl: header.hop_limit, message }
}

/// What a packet says to a router of that version and rule, after proof that our own router would send the same bytes.
fn says(text: &str, versions: Versions, rule: ChecksumRule) -> String {
    let packet = octets(text);
    let envelope = open(&packet);
    let family = Family::of(envelope.source);
    let like = if family == Family::V6 { version3_over_ipv6() } else { version3() };
    let addresses = like.expected.addresses.clone();
    let expected = Expected { versions, checksum: rule, addresses, ..like.expected };
    let Received { from, advert } = decode(&envelope, &expected).unwrap();
    assert_eq!(envelope.destination, group(family));
    assert_eq!(encode(&advert, rule, from, envelope.destination), envelope.message);
    format!("{from}: {advert}")
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vrrp/", $name, ".hex"))
    };
}

#[test]
fn keepalived_is_understood_and_would_be_written_alike() {
    let (message, pseudo) = (ChecksumRule::MessageOnly, ChecksumRule::PseudoHeader);
    let said = [
        says(fixture!("keepalived-v3-ipv4"), Versions::V3, pseudo),
        says(fixture!("keepalived-v3-ipv4-goodbye"), Versions::V3, pseudo),
        says(fixture!("keepalived-v3-ipv6"), Versions::V3, message),
        says(fixture!("keepalived-v3-ipv6-goodbye"), Versions::V3, pseudo),
        says(fixture!("keepalived-v2"), Versions::V2, message),
        says(fixture!("keepalived-v2-goodbye"), Versions::BOTH, pseudo),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    10.10.1.11: VRRPv3, VRID 51, priority 150, every 100ms, for [203.0.113.10, 10.10.1.1]
    10.10.1.11: VRRPv3, VRID 51, priority 0, every 100ms, for [203.0.113.10, 10.10.1.1]
    fe80::ff:fe00:101: VRRPv3, VRID 51, priority 100, every 100ms, for [fe80::51, 2001:db8:113::10]
    fe80::ff:fe00:101: VRRPv3, VRID 51, priority 0, every 100ms, for [fe80::51, 2001:db8:113::10]
    10.10.1.11: VRRPv2, VRID 51, priority 150, every 1s, for [203.0.113.10, 10.10.1.1]
    10.10.1.11: VRRPv2, VRID 51, priority 0, every 1s, for [203.0.113.10, 10.10.1.1]
    ");
}

#[test]
fn keepalived_is_named_for_its_checksum_rule_by_a_router_that_keeps_to_the_rfc() {
    let packet = octets(fixture!("keepalived-v3-ipv4"));
    let rejection = decode(&open(&packet), &version3().expected).unwrap_err();
    assert_eq!(rejection, Rejection::ChecksumRule(ChecksumRule::PseudoHeader));
}
