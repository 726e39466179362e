//! A frame in words, one line a header, for people who read a fixture or follow a packet. It reads frames in its own way, and
//! so doubts the director: checksums are computed anew, and what comes after a header that it cannot read it leaves out.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{Ipv4Header, Ipv6Header, TcpHeader};

use super::frame::ETHERNET_BYTES;

/// The headers of a frame, from the outermost to the innermost.
pub fn described(frame: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let Some((ethernet, payload)) = frame.split_at_checked(ETHERNET_BYTES) else {
        return vec![format!("{} bytes, no frame", frame.len())];
    };
    let (to, from) = (mac(&ethernet[..6]), mac(&ethernet[6..12]));
    let ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    lines.push(format!("ethernet {from} > {to} type {ethertype:04x}"));
    if matches!(ethertype, 0x0800 | 0x86dd) {
        let packet_bytes = packet(payload, &mut lines);
        let rest = payload.len().saturating_sub(packet_bytes);
        if rest > 0 {
            lines.push(format!("{rest} bytes after the packet"));
        }
    }
    lines
}

/// An IP packet, whole or the beginning of one. Returns how long it says it is.
fn packet(bytes: &[u8], lines: &mut Vec<String>) -> usize {
    if let Ok((header, rest)) = Ipv4Header::from_slice(bytes) {
        let length = usize::from(header.total_len);
        lines.push(ipv4(&header));
        let ends = Ends { source: header.source.into(), destination: header.destination.into() };
        let payload = &rest[..rest.len().min(length.saturating_sub(header.header_len()))];
        if header.fragment_offset.value() == 0 {
            let is_whole = length <= bytes.len() && !header.more_fragments;
            self::payload(header.protocol.0, &ends, payload, is_whole, lines);
        }
        return length;
    }
    if let Ok((header, rest)) = Ipv6Header::from_slice(bytes) {
        let length = Ipv6Header::LEN + usize::from(header.payload_length);
        lines.push(ipv6(&header));
        let ends = Ends { source: header.source.into(), destination: header.destination.into() };
        let payload = &rest[..rest.len().min(header.payload_length.into())];
        extensions(header.next_header.0, &ends, payload, length <= bytes.len(), lines);
        return length;
    }
    lines.push(format!("{} bytes, no IP packet", bytes.len()));
    bytes.len()
}

fn ipv4(header: &Ipv4Header) -> String {
    let [source, destination] = [header.source, header.destination].map(Ipv4Addr::from);
    let mut line =
        format!("ipv4 {source} > {destination} ttl {} length {}", header.time_to_live, header.total_len);
    class(&mut line, header.dscp.value() << 2 | header.ecn.value());
    let flags = [(header.dont_fragment, " df"), (header.more_fragments, " mf")];
    flags.iter().filter(|(is_set, _)| *is_set).for_each(|(_, word)| line.push_str(word));
    if header.fragment_offset.value() > 0 {
        let _ = write!(line, " offset {}", header.fragment_offset.value());
    }
    if !header.options.is_empty() {
        let _ = write!(line, " options {}", header.options.len());
    }
    let is_right = header.header_checksum == header.calc_header_checksum();
    line + if is_right { " checksum ok" } else { " checksum bad" }
}

fn ipv6(header: &Ipv6Header) -> String {
    let [source, destination] = [header.source, header.destination].map(Ipv6Addr::from);
    let length = Ipv6Header::LEN + usize::from(header.payload_length);
    let mut line = format!("ipv6 {source} > {destination} hops {} length {length}", header.hop_limit);
    class(&mut line, header.traffic_class);
    line
}

fn class(line: &mut String, class: u8) {
    if class != 0 {
        let _ = write!(line, " dscp {} ecn {:02b}", class >> 2, class & 0b11);
    }
}

/// Between whom a payload travels, for the pseudo header of its checksum.
struct Ends {
    source: IpAddr,
    destination: IpAddr,
}

/// Extension headers, and what comes after them.
fn extensions(mut kind: u8, ends: &Ends, mut bytes: &[u8], is_whole: bool, lines: &mut Vec<String>) {
    while let Some(name) = match kind {
        0 => Some("hop-by-hop options"),
        43 => Some("routing header"),
        60 => Some("destination options"),
        _ => None,
    } {
        let length = bytes.get(1).map(|words| 8 * (usize::from(*words) + 1));
        let Some((header, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            return lines.push(format!("{name}, cut short"));
        };
        lines.push(format!("{name} {} bytes", header.len()));
        (kind, bytes) = (header[0], rest);
    }
    payload(kind, ends, bytes, is_whole, lines);
}

fn payload(protocol: u8, ends: &Ends, bytes: &[u8], is_whole: bool, lines: &mut Vec<String>) {
    match protocol {
        1 | 58 => icmp(protocol, ends, bytes, is_whole, lines),
        4 | 41 => drop(packet(bytes, lines)),
        6 => lines.push(ports("tcp", bytes) + &tcp(bytes) + verdict(6, ends, bytes, is_whole, 16)),
        17 => lines.push(ports("udp", bytes) + verdict(17, ends, bytes, is_whole, 6)),
        44 => lines.push("fragment header".to_owned()),
        other => lines.push(format!("protocol {other} {} bytes", bytes.len())),
    }
}

fn ports(name: &str, bytes: &[u8]) -> String {
    match bytes {
        [a, b, c, d, ..] => {
            let [source, destination] = [[*a, *b], [*c, *d]].map(u16::from_be_bytes);
            format!("{name} {source} > {destination}")
        }
        _ => format!("{name} cut short"),
    }
}

/// The flags, as tcpdump writes them, and the length of the data.
fn tcp(bytes: &[u8]) -> String {
    let Ok((header, data)) = TcpHeader::from_slice(bytes) else { return String::new() };
    let flags =
        [(header.syn, 'S'), (header.fin, 'F'), (header.rst, 'R'), (header.psh, 'P'), (header.ack, '.')];
    let flags: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| letter).collect();
    format!(" [{flags}] data {}", data.len())
}

/// An error with what it is about, or another message.
fn icmp(protocol: u8, ends: &Ends, bytes: &[u8], is_whole: bool, lines: &mut Vec<String>) {
    let (name, checksum) = (if protocol == 1 { "icmp" } else { "icmpv6" }, 2);
    let Some((header, quoted)) = bytes.split_at_checked(8) else {
        return lines.push(format!("{name} cut short"));
    };
    let what = match (protocol, header[0], header[1]) {
        (1, 3, 4) => format!("too big, mtu {}", u16::from_be_bytes([header[6], header[7]])),
        (58, 2, _) => {
            format!("too big, mtu {}", u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
        }
        (1, 3, code) | (58, 1, code) => format!("unreachable, code {code}"),
        (1, 11, _) | (58, 3, _) => "time exceeded".to_owned(),
        (1, 12, _) | (58, 4, _) => "parameter problem".to_owned(),
        (_, kind, code) => format!("type {kind} code {code}"),
    };
    let checksum = verdict(protocol, ends, bytes, is_whole, checksum);
    lines.push(format!("{name} {what}{checksum}"));
    let is_error = if protocol == 1 { matches!(header[0], 3 | 11 | 12) } else { header[0] < 128 };
    if is_error {
        lines.push(format!("about {} bytes of", quoted.len()));
        packet(quoted, lines);
    }
}

/// Whether the checksum at `at` is right; nothing of a packet that is not all there, or has none.
fn verdict(protocol: u8, ends: &Ends, bytes: &[u8], is_whole: bool, at: usize) -> &'static str {
    match bytes.get(at..at + 2) {
        _ if !is_whole => ", cut",
        None => ", cut short",
        Some([0, 0]) if protocol == 17 => " checksum none",
        Some(_) => {
            let sum = pseudo_header(protocol, ends, bytes.len()).add_slice(bytes);
            if sum.ones_complement() == 0 { " checksum ok" } else { " checksum bad" }
        }
    }
}

/// What a checksum covers beside the payload (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo_header(protocol: u8, ends: &Ends, length: usize) -> Sum16BitWords {
    let mut sum = Sum16BitWords::new();
    match (ends.source, ends.destination) {
        // ICMP over IPv4 covers itself alone.
        (IpAddr::V4(_), _) if protocol == 1 => sum,
        (IpAddr::V4(source), IpAddr::V4(destination)) => sum
            .add_4bytes(source.octets())
            .add_4bytes(destination.octets())
            .add_2bytes([0, protocol])
            .add_2bytes((length as u16).to_be_bytes()),
        (IpAddr::V6(source), IpAddr::V6(destination)) => sum
            .add_16bytes(source.octets())
            .add_16bytes(destination.octets())
            .add_2bytes([0, protocol])
            .add_4bytes((length as u32).to_be_bytes()),
        _ => unreachable!("both ends come from one header"),
    }
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
