//! What must hold for any bytes that the VRRP codec is given. The fuzz target and the unit test that keeps its corpus
//! alive both come here; the room under test is `crate::vrrp` of either.

use std::net::IpAddr;
use std::num::NonZeroU8;

use crate::vrrp::{
    ChecksumRule, Envelope, Expected, Family, Interval, PROTOCOL, Received, Rejection, TTL, Version,
    Versions, decode, encode, group,
};

// The first octet of an input says what the rest meets.
const OVER_IPV6: u8 = 1;
const ACCEPT_V2: u8 = 1 << 1;
const ACCEPT_V3: u8 = 1 << 2;
const PSEUDO_HEADER: u8 = 1 << 3;
/// The rest is a whole IPv4 packet and not a message.
const PACKET: u8 = 1 << 4;
/// The checksum is made right first: no fuzzer finds one in a reasonable time, and most checks come after it.
const MEND: u8 = 1 << 5;

/// The second octet is the VRID that is expected, with this in the place of 0.
const VRID: NonZeroU8 = NonZeroU8::new(51).expect("not 0");

/// Reads what the input holds. An accepted message must say what its octets say, and say the same when it is written and
/// read again; a dropped one must have a word. Returns that word.
///
/// # Panics
/// If it does not hold.
pub(crate) fn check(input: &[u8]) -> Result<Received, &'static str> {
    let Some((&[flags, vrid], rest)) = input.split_first_chunk() else {
        return Err("too short for a trial");
    };
    let has = |flag| flags & flag != 0;
    let packet = has(PACKET).then(|| rest.to_vec());
    let family = if has(OVER_IPV6) && packet.is_none() { Family::V6 } else { Family::V4 };
    let (source, own, addresses) = neighbours(family);
    let expected = Expected {
        vrid: NonZeroU8::new(vrid).unwrap_or(VRID),
        family,
        versions: Versions { v2: has(ACCEPT_V2), v3: has(ACCEPT_V3) },
        checksum: if has(PSEUDO_HEADER) { ChecksumRule::PseudoHeader } else { ChecksumRule::MessageOnly },
        own,
        interval: Interval::from_centiseconds(100).expect("1 s"),
        addresses,
    };
    let outcome = match &packet {
        Some(packet) => match Envelope::of_ipv4(packet) {
            Ok(envelope) => judge(envelope, &expected, has(MEND)),
            Err(rejection) => Err(rejection),
        },
        None => {
            let envelope = Envelope { source, destination: group(family), ttl: TTL, message: rest };
            judge(envelope, &expected, has(MEND))
        }
    };
    outcome.map_err(|rejection| {
        assert!(!rejection.to_string().is_empty());
        rejection.kind()
    })
}

fn judge(envelope: Envelope<'_>, expected: &Expected, mend: bool) -> Result<Received, Rejection> {
    let mut message = envelope.message.to_vec();
    if mend {
        mend_checksum(&mut message, &envelope, expected.checksum);
    }
    let envelope = Envelope { message: &message, ..envelope };
    let received = decode(&envelope, expected)?;
    let Received { from, advert } = &received;
    assert!(*from == envelope.source && *from != expected.own && envelope.ttl == TTL);
    assert!(advert.vrid == expected.vrid && advert.vrid.get() == message[1] && advert.priority == message[2]);
    assert_eq!(advert.addresses.len(), usize::from(message[3]));
    assert!(!advert.addresses.is_empty() && expected.versions.over(expected.family).accept(advert.version));
    assert!(advert.addresses.iter().all(|&address| Family::of(address) == expected.family));

    let again = encode(advert, expected.checksum, envelope.source, envelope.destination);
    let again = decode(&Envelope { message: &again, ..envelope }, expected);
    assert_eq!(again.as_ref(), Ok(&received), "written and read again");
    Ok(received)
}

/// A sender, the receiver, and the addresses of the virtual router.
fn neighbours(family: Family) -> (IpAddr, IpAddr, Vec<IpAddr>) {
    let words = match family {
        Family::V4 => ["10.10.1.11", "10.10.1.12", "203.0.113.10"],
        Family::V6 => ["fe80::11", "fe80::12", "fe80::5e:33"],
    };
    let [source, own, address] = words.map(|word| word.parse().expect("an address"));
    (source, own, vec![address])
}

/// Puts the right checksum into a message that is long enough, without the codec's own arithmetic.
fn mend_checksum(message: &mut [u8], envelope: &Envelope<'_>, rule: ChecksumRule) {
    let Some(&[first, _, _, count, ..]) = message.first_chunk::<8>() else { return };
    let (address_bytes, is_v6) = if envelope.source.is_ipv6() { (16, true) } else { (4, false) };
    let is_v2 = first >> 4 == Version::V2.number();
    let length = 8 + usize::from(count) * address_bytes + if is_v2 { 8 } else { 0 };
    let Some(message) = message.get_mut(..length) else { return };
    message[6..8].fill(0);
    let mut covered = message.to_vec();
    if is_v6 || !is_v2 && rule == ChecksumRule::PseudoHeader {
        for address in [envelope.source, envelope.destination] {
            match address {
                IpAddr::V4(address) => covered.extend(address.octets()),
                IpAddr::V6(address) => covered.extend(address.octets()),
            }
        }
        covered.extend([0, PROTOCOL]);
        covered.extend((length as u16).to_be_bytes());
    }
    let mut sum: u32 = covered.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
